"""Soft clusters: weights are a client's own, floored and summing to 1, and the models learn what their clients have."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from federation_pair import Pair, local_rows, make_plan  # type: ignore[import-not-found]
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.federation import clusters
from wardround.federation.algorithms import EMPTY, FedAvg
from wardround.federation.clusters import View
from wardround.federation.mixtures import SoftClusters
from wardround.training.models import Mlp
from wardround.training.task import LocalTraining, Rows, Trained

TRAINING = LocalTraining()


def view(models: Any, losses: Any, n: int, told: Any = EMPTY) -> View:
    """``losses`` [K, n] of the models, told apart by their first number."""
    rows = Rows(np.zeros((n, 2), np.float32), np.zeros(n, np.int64))
    return View(models, told, rows, lambda w: np.asarray(losses)[int(w[0])], EMPTY)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(1, 4), st.integers(0, 30), st.integers(0, 10**6))
def test_weights_are_floored_shares_of_the_rows(k: int, n: int, seed: int) -> None:
    soft = SoftClusters(clusters=k, floor=0.05)
    models = np.arange(k, dtype=np.float32)[:, None]
    losses = np.random.default_rng(seed).random((k, n))
    weights = soft.place(view(models, losses, n))
    assert weights.sum() == pytest.approx(1.0, abs=1e-6)
    assert weights.min() >= 0.05 - 1e-6
    if n:
        won = np.bincount(losses.argmin(0), minlength=k) / n
        assert np.allclose(weights, 0.05 + (1 - 0.05 * k) * won, atol=1e-6)


def test_a_closed_model_gets_no_weight() -> None:
    soft, models = SoftClusters(clusters=3, starve=0.1), np.arange(3, dtype=np.float32)[:, None]
    told = np.array([0.02, 0.5, 0.48], dtype=np.float32)
    weights = soft.place(view(models, [[0.0] * 4, [1, 1, 1, 2], [2, 2, 2, 1]], 4, told))
    assert np.allclose(weights, [0, 0.05 + 0.9 * 0.75, 0.05 + 0.9 * 0.25])


def test_the_mixture_is_trained_and_its_change_parted_by_weight() -> None:
    soft = SoftClusters(clusters=2)
    models, weights = np.array([[0.0, 2.0], [4.0, 6.0]], dtype=np.float32), np.array([0.25, 0.75], dtype=np.float32)
    assert np.allclose(clusters.mixed(models, weights), [3.0, 5.0])
    one = Trained(0, np.array([1.0, -1.0], dtype=np.float32), 5, 1.0, 10)
    block, _ = soft.block(one, TRAINING, weights, EMPTY)
    assert np.allclose(block, [0.25, -0.25, 0.75, -0.75, 0.25, 0.75])
    delta, shares = soft.delta(block, EMPTY, 4, 1.0)
    assert np.allclose(delta, [1, -1, 1, -1])
    assert np.allclose(shares, 0.8 * 0.5 + 0.2 * weights)


def test_models_start_near_each_other() -> None:
    drawn = [np.full(3, v, dtype=np.float32) for v in (1.0, 3.0)]
    assert np.allclose(SoftClusters(clusters=2, apart=0.1).begin(drawn), [1, 1, 1, 1.2, 1.2, 1.2])


def test_one_model_is_fedavg() -> None:
    plans = [make_plan(algorithm=algorithm) for algorithm in (FedAvg(), SoftClusters(clusters=1, floor=0.5))]
    fedavg, soft = (Pair(plan).run().server.parameters for plan in plans)
    np.testing.assert_allclose(fedavg, soft, atol=1e-6)


def test_gateways_that_disagree_get_mixtures_of_their_own() -> None:
    """Two groups with opposite labels: weights part by group, and the mixtures serve both."""
    scores = {}
    for name, algorithm in {"fedavg": FedAvg(), "soft": SoftClusters(clusters=2)}.items():
        plan = make_plan(algorithm=algorithm, model=Mlp((8,)))
        pair = Pair(replace(plan, schedule=replace(plan.schedule, rounds=40, measure_every=40)), sizes=(80,) * 6)
        for i, gateway in enumerate(pair.names):
            rows = local_rows(i, 80)
            pair.rows[gateway] = replace(rows, y=1 - rows.y) if i % 2 else rows
        pair.run()
        scores[name] = [e.macro_f1 for e in pair.events if type(e).__name__ == "Measured"][-1]
        if name == "soft":
            heavy = [int(c.state.memory.argmax()) for c in pair.clients.values()]
            assert heavy[::2] == [heavy[0]] * 3
            assert heavy[1::2] == [1 - heavy[0]] * 3
    assert scores["soft"] > scores["fedavg"] + 0.2


@pytest.mark.parametrize("bad", [{"floor": 0.4}, {"floor": 0.0}, {"apart": 0.0}, {"clusters": 0}])
def test_settings_out_of_range_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        SoftClusters(**bad)
