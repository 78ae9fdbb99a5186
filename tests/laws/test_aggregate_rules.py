"""The laws of rule.py, for every rule of the catalogue, with and without mixing."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.aggregate.gate import NORM_CEILING
from wardround.aggregate.rules import RULES, Context, Rule, RuleState
from wardround.wire import decode, encode

ROOTED = ("fltrust", "rooted-mean", "zeno")
FROM_ORIGIN = ("norm-clipping", *ROOTED)  # rules that measure from the origin: no translation law
SHAPE = st.tuples(st.integers(1, 14), st.integers(1, 30), st.integers(0, 2**32 - 1))
LAW = settings(max_examples=12, deadline=None, derandomize=True)


def variants() -> list[Rule]:
    plain = [cls(hostile=0.2) for cls in RULES]
    mixed = [cls(hostile=0.2, pre=("nnm",)) for cls in RULES]
    return (
        plain + mixed + [dataclasses.replace(rule, pre=("arc", "nnm")) for rule in plain if rule.name == "trimmed-mean"]
    )


def label(rule: Rule) -> str:
    return "+".join((*rule.pre, rule.name))


EVERY = pytest.mark.parametrize("rule", variants(), ids=label)


def context(goal: np.ndarray) -> Context:
    """A server whose root set knows where the honest rows point."""
    return Context(
        root=goal.astype(np.float32),
        loss=lambda change: float(np.sum((change.astype(float) - goal) ** 2)),
        rng=np.random.default_rng(5),
    )


def draw(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows [m, d] around a goal, weights [m], goal [d])."""
    m, d, seed = shape
    rng = np.random.default_rng(seed)
    goal = rng.normal(size=d)
    rows = (goal + 0.3 * rng.normal(size=(m, d))).astype(np.float32)
    return rows, rng.uniform(0.5, 2.0, m), goal


def far(rows: np.ndarray) -> float:
    return 1e-4 * float(np.abs(rows).max() + 1e-3)


# mixed rows often differ by the same swap of one neighbour: Bulyan then has ties to break, which it does by order
@pytest.mark.parametrize("rule", [r for r in variants() if label(r) != "nnm+bulyan"], ids=label)
@LAW
@given(shape=SHAPE)
def test_the_order_of_the_rows_does_not_matter(rule: Rule, shape: tuple[int, int, int]) -> None:
    rows, weights, goal = draw(shape)
    order = np.random.default_rng(1).permutation(len(rows))
    one = rule.combine(rows, weights, context(goal))
    other = rule.combine(rows[order], weights[order], context(goal))
    np.testing.assert_allclose(one.vector, other.vector, atol=far(rows), rtol=1e-4)
    if one.weights is not None and other.weights is not None:
        np.testing.assert_allclose(one.weights[order], other.weights, atol=1e-4)


@EVERY
@LAW
@given(shape=SHAPE)
def test_equal_rows_give_that_row(rule: Rule, shape: tuple[int, int, int]) -> None:
    rows, weights, _ = draw(shape)
    same = np.tile(rows[0], (len(rows), 1))
    got = rule.combine(same, weights, context(rows[0].astype(float)))
    np.testing.assert_allclose(got.vector, rows[0], rtol=1e-4, atol=far(rows))


@pytest.mark.parametrize("rule", [r for r in variants() if r.name not in FROM_ORIGIN and "arc" not in r.pre], ids=label)
@LAW
@given(shape=SHAPE, by=st.floats(-30, 30))
def test_moving_all_rows_moves_the_result(rule: Rule, shape: tuple[int, int, int], by: float) -> None:
    rows, weights, goal = draw(shape)
    state = RuleState(rows.mean(axis=0)) if rule.remembers else RuleState()
    moved_state = RuleState(state.centre + np.float32(by))
    one = rule.combine(rows, weights, context(goal), state)
    other = rule.combine(rows + np.float32(by), weights, context(goal + by), moved_state)
    np.testing.assert_allclose(one.vector + by, other.vector, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rule", [r for r in variants() if r.name != "zeno"], ids=label)
@LAW
@given(shape=SHAPE, by=st.sampled_from([1e-6, 0.125, 8.0, 1e6]))
def test_scaling_all_rows_scales_the_result(rule: Rule, shape: tuple[int, int, int], by: float) -> None:
    rows, weights, goal = draw(shape)
    one = rule.combine(rows, weights, context(goal))
    other = rule.combine(rows * np.float32(by), weights, context(goal * by))
    np.testing.assert_allclose(one.vector, other.vector / by, atol=far(rows), rtol=1e-3)


@EVERY
@LAW
@given(shape=SHAPE, bad=st.sampled_from([np.nan, np.inf, 1e30]), where=st.integers(0, 13))
def test_a_refused_row_is_as_if_absent(rule: Rule, shape: tuple[int, int, int], bad: float, where: int) -> None:
    rows, weights, goal = draw(shape)
    at = where % (len(rows) + 1)
    spoilt = np.insert(rows, at, np.float32(bad), axis=0)
    got = rule.combine(spoilt, np.insert(weights, at, 1.0), context(goal))
    expected = rule.combine(rows, weights, context(goal))
    assert [refusal.row for refusal in got.refused] == [at]
    np.testing.assert_array_equal(got.vector, expected.vector)
    if got.weights is not None:
        assert expected.weights is not None
        assert got.weights[at] == 0
        np.testing.assert_array_equal(np.delete(got.weights, at), expected.weights)


@pytest.mark.parametrize("rule", variants(), ids=label)
@LAW
@given(
    m=st.integers(3, 24),
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from(["together", "apart", "one axis", "very long"]),
)
def test_up_to_the_tolerated_number_of_hostile_rows_keeps_the_result_near(
    rule: Rule, m: int, seed: int, shape: str
) -> None:
    hostile = rule.tolerates(m)
    rows, weights, goal = draw((m, 20, seed))
    rng = np.random.default_rng(seed + 1)
    chosen = rng.permutation(m)[:hostile]
    rows[chosen] = forged(shape, hostile, 20, rng)
    honest = np.delete(rows, chosen, axis=0)
    got = rule.combine(rows, weights, context(goal))
    assert np.linalg.norm(got.vector - honest.mean(axis=0)) < 30.0  # the honest rows lie within about 2.5 of each other


def forged(shape: str, count: int, d: int, rng: np.random.Generator) -> np.ndarray:
    if shape == "together":
        return np.full((count, d), 1e6, dtype=np.float32)
    if shape == "apart":
        return (1e6 * rng.normal(size=(count, d))).astype(np.float32)
    if shape == "very long":  # a tenth of what the gate refuses
        return np.float32(NORM_CEILING / 10 / d**0.5) * rng.uniform(-2, 2, (count, d)).astype(np.float32)
    rows = np.zeros((count, d), dtype=np.float32)
    rows[:, 0] = 1e6 * rng.choice([-1, 1], count)
    return rows


@EVERY
def test_inputs_stay_as_they_were(rule: Rule) -> None:
    rows, weights, goal = draw((9, 12, 4))
    rows[3] = np.nan
    before, weights_before = rows.copy(), weights.copy()
    rows.setflags(write=False)
    weights.setflags(write=False)
    state = RuleState(np.ones(12, dtype=np.float32))
    state.centre.setflags(write=False)
    rule.combine(rows, weights, context(goal), state)
    np.testing.assert_array_equal(rows, before)
    np.testing.assert_array_equal(weights, weights_before)


@EVERY
def test_the_weights_explain_the_vector(rule: Rule) -> None:
    rows, weights, goal = draw((9, 12, 4))
    got = rule.combine(rows, weights, context(goal))
    if got.weights is None:
        assert rule.name in ("median", "trimmed-mean", "bulyan")
    else:
        np.testing.assert_allclose(got.weights @ rows, got.vector, atol=1e-4)


@EVERY
@pytest.mark.parametrize("m", [1, 2, 3])
def test_few_rows_are_combined_too(rule: Rule, m: int) -> None:
    rows, weights, goal = draw((m, 5, 2))
    got = rule.combine(rows, weights, context(goal))
    assert np.isfinite(got.vector).all()
    assert rule.tolerates(m) <= max(m - 1, 0)


def test_a_rule_state_survives_the_wire() -> None:
    state = RuleState(np.arange(4, dtype=np.float32))
    np.testing.assert_array_equal(decode(encode(state), RuleState).centre, state.centre)
    assert decode(encode(RuleState()), RuleState).centre.size == 0
