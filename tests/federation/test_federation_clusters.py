"""Clusters: choice by loss, slots in one vector, starving models are closed, and nobody's choice in the sum alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from federation_pair import Pair, local_rows, make_plan  # type: ignore[import-not-found]

from wardround.federation import clusters, reach
from wardround.federation.algorithms import EMPTY, FedAvg
from wardround.federation.clusters import Ifca
from wardround.federation.fairness import Term
from wardround.federation.mixtures import SoftClusters
from wardround.federation.sketches import Histograms
from wardround.training.task import LocalTraining, Rows, Trained

D = 4
TRAINING = LocalTraining()


def trained(value: float) -> Trained:
    return Trained(0, np.full(D, value, dtype=np.float32), 5, 1.0, 10)


def choice(number: int) -> Any:
    return np.array([number], dtype=np.float32)


def chosen(algorithm: Any, models: Any, told: Any, losses: Any) -> int:
    rows = Rows(np.zeros((1, 2), np.float32), np.zeros(1, np.int64))
    view = clusters.View(clusters.each(algorithm, models), told, rows, losses, EMPTY)
    return int(clusters.place(algorithm, view)[1][0])


def test_each_model_moves_by_the_mean_of_those_who_chose_it() -> None:
    ifca = Ifca(clusters=3)
    blocks = [ifca.block(trained(v), TRAINING, choice(k), EMPTY)[0] for v, k in ((1.0, 0), (3.0, 0), (-5.0, 2))]
    delta, shares = ifca.delta(np.mean(blocks, axis=0, dtype=np.float32), EMPTY, 3 * D, 1.0)
    assert np.allclose(clusters.each(ifca, delta), [[2.0] * D, [0.0] * D, [-5.0] * D])
    assert shares.sum() == pytest.approx(1.0)
    assert shares[1] < 1 / 3 < shares[0]


def test_with_one_cluster_it_is_fedavg() -> None:
    block, _ = Ifca(clusters=1, starve=0.0).block(trained(2.0), TRAINING, EMPTY, EMPTY)
    delta, _ = Ifca(clusters=1, starve=0.0).delta(block, EMPTY, D, 1.0)
    assert np.array_equal(delta, FedAvg().delta(trained(2.0).delta, EMPTY, D, 1.0)[0])


def test_a_model_that_starves_is_closed_and_the_largest_never_is() -> None:
    ifca, shares = Ifca(clusters=3, starve=0.1), np.array([0.05, 0.9, 0.05], dtype=np.float32)
    models = np.arange(3 * D, dtype=np.float32)
    assert clusters.still_open(ifca, shares).tolist() == [False, True, False]
    first = lambda w: np.array([float(w[0])])  # noqa: E731
    assert chosen(ifca, models, shares, first) == 1  # model 0 has less loss and is closed
    assert chosen(ifca, models, np.zeros(3, dtype=np.float32), first) == 0
    assert chosen(ifca, models, EMPTY, lambda w: np.array([np.nan if w[0] == 0 else float(w[0])])) == 1


def test_models_are_closed_for_good() -> None:
    ifca, state = Ifca(clusters=2, starve=0.1), EMPTY
    block, _ = ifca.block(trained(1.0), TRAINING, choice(0), EMPTY)
    for _ in range(10):
        _, state = ifca.delta(block, state, 2 * D, 1.0)
    assert clusters.still_open(ifca, state).tolist() == [True, False]


def test_gateways_that_disagree_find_models_of_their_own() -> None:
    """Two groups with opposite labels: one model is at chance for all, two models serve both."""
    rules = {"fedavg": FedAvg(), "ifca": Ifca(clusters=2)}
    scores = {}
    for name, algorithm in rules.items():
        pair = Pair(make_plan(algorithm=algorithm), sizes=(60,) * 6)
        for i, gateway in enumerate(pair.names):
            rows = local_rows(i, 60)
            pair.rows[gateway] = replace(rows, y=1 - rows.y) if i % 2 else rows
        pair.plan = replace(pair.plan, schedule=replace(pair.plan.schedule, rounds=12))
        pair = Pair(pair.plan, sizes=(60,) * 6)
        for i, gateway in enumerate(pair.names):
            rows = local_rows(i, 60)
            pair.rows[gateway] = replace(rows, y=1 - rows.y) if i % 2 else rows
        pair.run()
        scores[name] = [e.macro_f1 for e in pair.events if type(e).__name__ == "Measured"][-1]
        outcome = pair.server.outcome()
        assert outcome.parameters.size == pair.server.prepared.layout.size
        if name == "ifca":
            assert {int(c.state.memory[0]) for c in pair.clients.values()} == {0, 1}
    assert scores["ifca"] > scores["fedavg"] + 0.2


def test_a_federation_of_clusters_survives_restarts_to_the_bit() -> None:
    plan = make_plan(algorithm=Ifca(clusters=2))
    ends = [Pair(plan, restart=restart).run().server.parameters for restart in (False, True)]
    assert np.array_equal(*ends)


def test_what_the_server_divides_by_keeps_its_reach() -> None:
    parts = Ifca(clusters=3).parts(3 * D)
    assert reach.held(parts, np.array([0.125, 0.25], np.float32)).tolist() == [0.125, 1.0]
    assert [part.fixed for part in Term().parts(D)] == [False, True]


def test_under_a_secure_sum_no_model_may_be_smaller_than_the_least_set() -> None:
    assert clusters.secured(Ifca(clusters=3), 4, 20) == Ifca(clusters=3, starve=0.2)
    assert clusters.secured(Ifca(clusters=3, starve=0.3), 4, 20) == Ifca(clusters=3, starve=0.3)
    assert clusters.secured(FedAvg(), 4, 20) == FedAvg()
    assert clusters.secured(SoftClusters(), 4, 20) == SoftClusters()  # every client is in every slot there
    with pytest.raises(ValueError, match="do not fit a cohort of 10"):
        clusters.secured(Ifca(clusters=3), 4, 10)


@pytest.mark.parametrize("algorithm", [SoftClusters(clusters=2), Histograms(clusters=2, warm=1, settle=2)])
def test_other_clusters_survive_restarts_to_the_bit(algorithm: Any) -> None:
    plan = make_plan(algorithm=algorithm)
    ends = [Pair(plan, restart=restart).run() for restart in (False, True)]
    assert np.array_equal(ends[0].server.parameters, ends[1].server.parameters)
    assert np.array_equal(ends[0].server.measures, ends[1].server.measures)


@pytest.mark.parametrize(
    "bad", [lambda: Ifca(clusters=0), lambda: Ifca(clusters=2, starve=0.5), lambda: Ifca(memory=1.0)]
)
def test_settings_out_of_range_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        bad()
