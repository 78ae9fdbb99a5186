"""The server optimisers against the paper's formulas, written out for one number at a time."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from wardround.aggregate.optimise import OPTIMISERS, SGD, Adagrad, Adam, OptimiserState, ServerOptimiser, Yogi
from wardround.arrays import F32
from wardround.wire import decode, encode

DELTAS = np.array([[0.5, -2.0, 0.0], [-0.25, 1.0, 1e-3], [3.0, 0.125, -1e-3], [0.0, 0.0, 7.0]], dtype=np.float32)
START = np.array([1.0, -1.0, 0.5], dtype=np.float32)


def walk(optimiser: ServerOptimiser) -> F32:
    state, parameters = optimiser.init(3), START
    for delta in DELTAS:
        parameters, state = optimiser.apply(state, parameters, delta)
    return parameters


def reference(second_moment: Callable[[float, float], float], lr: float, b1: float, tau: float) -> list[float]:
    """Reddi et al. 2021, Algorithm 2, one coordinate at a time in plain Python floats."""
    out = []
    for column in range(3):
        w, m, v = float(START[column]), 0.0, tau**2
        for step in range(len(DELTAS)):
            change = float(DELTAS[step, column])
            m = b1 * m + (1 - b1) * change
            v = second_moment(v, change * change)
            w = w + lr * m / (math.sqrt(v) + tau)
        out.append(w)
    return out


def test_sgd_with_rate_one_adds_the_change_exactly() -> None:
    moved, _ = SGD().apply(SGD().init(3), START, DELTAS[0])
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(moved, START + DELTAS[0])


def test_sgd_momentum_is_heavy_ball() -> None:
    w, v = START.astype(float), np.zeros(3)
    for delta in DELTAS:
        v = 0.9 * v + delta
        w = w + 0.5 * v
    np.testing.assert_allclose(walk(SGD(learning_rate=0.5, momentum=0.9)), w, rtol=1e-6)


def test_adam_follows_the_paper() -> None:
    expected = reference(lambda v, s: 0.98 * v + 0.02 * s, 0.1, 0.8, 1e-2)
    np.testing.assert_allclose(walk(Adam(0.1, 0.8, 0.98, 1e-2)), expected, rtol=1e-5)


def test_yogi_follows_the_paper() -> None:
    expected = reference(lambda v, s: v - 0.02 * s * ((v > s) - (v < s)), 0.1, 0.8, 1e-2)
    np.testing.assert_allclose(walk(Yogi(0.1, 0.8, 0.98, 1e-2)), expected, rtol=1e-5)


def test_adagrad_follows_the_paper() -> None:
    expected = reference(lambda v, s: v + s, 0.1, 0.3, 1e-2)
    np.testing.assert_allclose(walk(Adagrad(0.1, 0.3, 1e-2)), expected, rtol=1e-5)


@pytest.mark.parametrize("cls", [*OPTIMISERS, lambda: SGD(momentum=0.9)])
def test_nothing_given_is_changed(cls: Callable[[], ServerOptimiser]) -> None:
    optimiser = cls()
    state = optimiser.init(3)
    before = [a.copy() for a in (state.first, state.second, START, DELTAS[0])]
    moved, _ = optimiser.apply(state, START, DELTAS[0])
    for was, now in zip(before, (state.first, state.second, START, DELTAS[0]), strict=True):
        np.testing.assert_array_equal(was, now)
    assert moved.dtype == np.float32
    assert not np.shares_memory(moved, START)


@pytest.mark.parametrize("cls", [*OPTIMISERS, lambda: SGD(momentum=0.9)])
def test_a_state_survives_the_wire_in_the_middle_of_a_walk(cls: Callable[[], ServerOptimiser]) -> None:
    optimiser = cls()
    parameters, state = optimiser.apply(optimiser.init(3), START, DELTAS[0])
    back = decode(encode(state), OptimiserState)
    one, _ = optimiser.apply(state, parameters, DELTAS[1])
    other, _ = optimiser.apply(back, parameters, DELTAS[1])
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("cls", OPTIMISERS)
def test_a_change_of_another_length_is_refused(cls: Callable[[], ServerOptimiser]) -> None:
    optimiser = cls()
    with pytest.raises(ValueError, match="parameters"):
        optimiser.apply(optimiser.init(3), START, np.zeros(2, dtype=np.float32))


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: SGD(learning_rate=0.0), "learning_rate"),
        (lambda: SGD(momentum=1.0), "momentum"),
        (lambda: Adam(beta1=-0.1), "beta1"),
        (lambda: Yogi(beta2=1.0), "beta2"),
        (lambda: Adagrad(tau=0.0), "tau"),
        (lambda: Adam(learning_rate=float("nan")), "learning_rate"),
    ],
)
def test_a_setting_out_of_range_is_named(make: Callable[[], ServerOptimiser], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        make()
