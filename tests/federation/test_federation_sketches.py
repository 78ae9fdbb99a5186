"""Clusters by federated histograms: k-means in sums, a stated number of clusters, FedAvg until the models part."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from federation_pair import Pair, local_rows, make_plan  # type: ignore[import-not-found]
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.federation.algorithms import EMPTY, FedAvg
from wardround.federation.clusters import View, still_open
from wardround.federation.sketches import Found, Histograms, divergences, sketch
from wardround.training.task import LocalTraining, Rows, Trained

TRAINING, D = LocalTraining(), 2


def labels(*counts: int) -> Rows:
    y = np.repeat(np.arange(len(counts)), counts)
    return Rows(np.zeros((len(y), 2), np.float32), y)


def rounds(
    algorithm: Histograms, clients: list[Rows], count: int, weights: Any = None
) -> list[tuple[Any, float, list[int]]]:
    """(state, mean divergence, choices) after each of ``count`` rounds; changes are +1 or -1 by the client's first label."""
    state, told = EMPTY, []
    models = np.zeros((algorithm.clusters, D), np.float32)
    w = np.ones(len(clients)) if weights is None else np.asarray(weights, dtype=float)
    for _ in range(count):
        broadcast = algorithm.broadcast(state, algorithm.clusters * D)
        memories = [algorithm.place(View(models, broadcast, rows, lambda m: np.zeros(1), EMPTY)) for rows in clients]
        trained = [
            Trained(i, np.full(D, 1.0 if rows.y[0] == 0 else -1.0, np.float32), 1, 1.0, 1)
            for i, rows in enumerate(clients)
        ]
        blocks = [algorithm.block(t, TRAINING, m, broadcast)[0] for t, m in zip(trained, memories, strict=True)]
        mean = np.average(blocks, axis=0, weights=w).astype(np.float32)
        delta, state = algorithm.delta(mean, state, algorithm.clusters * D, 1.0)
        models = models + delta.reshape(models.shape)
        told.append((state, float(np.average([m[1] for m in memories], weights=w)), [int(m[0]) for m in memories]))
    return told


GROUPS = [
    labels(40, 10, 0, 0),
    labels(35, 12, 0, 0),
    labels(38, 9, 0, 0),
    labels(0, 0, 20, 30),
    labels(0, 0, 22, 25),
    labels(0, 0, 30, 28),
]


def test_two_kinds_of_hospitals_get_two_clusters() -> None:
    found = rounds(Histograms(clusters=4, warm=12), GROUPS, 14)
    state, _, choices = found[-1]
    assert choices[:3] == [choices[0]] * 3
    assert choices[3:] == [choices[3]] * 3
    assert choices[0] != choices[3]
    assert (
        still_open(Histograms(clusters=4, warm=12), state).sum() == 2
    )  # half of the information is explained: no third is asked for


def test_the_whole_information_is_what_clients_tell_about_labels() -> None:
    clients = [labels(10, 0), labels(0, 10)]
    found = Found.of(h := Histograms(clusters=2, explained=0.0), rounds(h, clients, 3)[-1][0])
    assert found.whole == pytest.approx(np.log(2), abs=2e-3)
    assert np.allclose(found.centres[0][:2], 0.5)


def test_more_is_explained_with_more_clusters_and_never_less_from_round_to_round() -> None:
    clients = [
        labels(*row)
        for row in np.random.default_rng(3).multinomial(60, np.random.default_rng(4).dirichlet(np.full(5, 0.2), 12))
    ]
    clients = [one for one in clients if len(one)]
    apart = {
        k: [d for _, d, _ in rounds(Histograms(clusters=k, explained=1.0, warm=30, starve=0.0), clients, 30)]
        for k in (1, 2, 4)
    }
    assert apart[4][-1] < apart[2][-1] < apart[1][-1]
    for k, course in apart.items():
        fixed = course[-8:]  # no split is due any more once all clusters are there
        assert all(b <= a + 1e-6 for a, b in pairwise(fixed)), k


def test_with_nothing_to_explain_it_is_fedavg() -> None:
    plans = [make_plan(algorithm=algorithm) for algorithm in (FedAvg(), Histograms(clusters=3, explained=0.0, warm=0))]
    fedavg, one = (Pair(plan).run().server for plan in plans)
    np.testing.assert_allclose(one.common, fedavg.parameters, atol=1e-6)


def test_models_move_together_until_they_part() -> None:
    pair = Pair(make_plan(algorithm=Histograms(clusters=2, warm=2))).run()
    assert pair.server.outcome().models.shape[0] == 2
    together = Pair(make_plan(algorithm=Histograms(clusters=2, warm=100))).run()
    assert np.array_equal(*together.server.outcome().models)
    fedavg = Pair(make_plan()).run()
    np.testing.assert_allclose(together.server.common, fedavg.server.parameters, atol=1e-6)


def test_gateways_with_other_traffic_find_a_model_of_their_own() -> None:
    """Two groups with other inputs and opposite labels: histograms of inputs part them, and both are served."""
    scores = {}
    for name, algorithm in {
        "fedavg": FedAvg(),
        "histograms": Histograms(clusters=2, of="inputs", warm=5, settle=2),
    }.items():
        plan = make_plan(algorithm=algorithm)
        pair = Pair(replace(plan, schedule=replace(plan.schedule, rounds=20, measure_every=20)), sizes=(80,) * 6)
        for i, gateway in enumerate(pair.names):
            rows = local_rows(i, 80)
            pair.rows[gateway] = replace(rows, x=rows.x * [1, 1, 1, 4] + [0, 0, 0, 9], y=1 - rows.y) if i % 2 else rows
            pair.rows[gateway] = replace(pair.rows[gateway], x=pair.rows[gateway].x.astype(np.float32))
        pair.run()
        scores[name] = [e.macro_f1 for e in pair.events if type(e).__name__ == "Measured"][-1]
    assert scores["histograms"] > scores["fedavg"] + 0.1


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(["labels", "inputs", "both"]), st.integers(0, 40), st.integers(2, 40), st.integers(0, 10**6))
def test_sketches_are_histograms_and_divergences_are_finite(of: Any, n: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    algorithm = Histograms(of=of, size=size)
    own = sketch(algorithm, Rows(rng.normal(size=(n, 3)).astype(np.float32), rng.integers(0, 9, n)))
    assert own.shape == (size,)
    assert own.sum() == pytest.approx(1.0)
    assert own.min() >= 0
    centres = rng.dirichlet(np.full(size, 0.1), 4).astype(np.float32)
    apart = divergences(own, centres)
    assert np.isfinite(apart).all()
    assert apart.min() >= 0
    assert divergences(own, own[None].astype(np.float32))[0] < 0.01


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.floats(-10, 10, width=32), min_size=4, max_size=4), st.integers(0, 10**6))
def test_whatever_the_sum_says_centres_stay_histograms(marks: Any, seed: int) -> None:
    algorithm = Histograms(clusters=4, size=8)
    rng = np.random.default_rng(seed)
    d = 4 * D
    mean = np.concatenate([rng.normal(size=d), marks, rng.normal(size=2 * 32), rng.normal(size=4)]).astype(np.float32)
    state = EMPTY
    for _ in range(4):
        delta, state = algorithm.delta(mean, state, d, 1.0)
        found = Found.of(algorithm, state)
        assert np.isfinite(delta).all()
        assert np.allclose(found.centres.sum(1), 1.0, atol=1e-4)
        assert found.centres.min() >= 0


@pytest.mark.parametrize("bad", [{"size": 1}, {"warm": -1}, {"settle": 1}, {"explained": 1.5}, {"starve": 0.5}])
def test_settings_out_of_range_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        Histograms(**bad)
