"""Group testing: single clients' scores from sums over changing cohorts, and whether there are two crowds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.arrays import F64, I64
from wardround.federation.crowds import crowds
from wardround.federation.grouptest import FEATURES, Observation, estimate, scores
from wardround.wire import decode, encode

LAW = settings(max_examples=15, deadline=None, derandomize=True)


def watched(own: F64, size: int, rounds: int, noise: float, seed: int) -> list[Observation]:
    """Rounds in which a cohort's score is the mean of its members' ``own`` and noise."""
    rng = np.random.default_rng(seed)
    out = []
    for number in range(1, rounds + 1):
        parts = np.array_split(rng.permutation(len(own)), len(own) // size)
        cohort = np.empty(len(own), dtype=np.int64)
        for row, members in enumerate(parts):
            cohort[members] = row
        mean = np.array([own[members].mean() for members in parts]) + noise * rng.normal(size=len(parts))
        out.append(Observation(number, cohort, np.stack([mean] * len(FEATURES), axis=1)))
    return out


def test_own_scores_follow_from_sums() -> None:
    own = np.random.default_rng(1).normal(size=40)
    got = estimate(watched(own, 4, 30, 0.0, 2), 40).values[:, 0]
    np.testing.assert_allclose(got - got.mean(), own - own.mean(), atol=0.05)


@LAW
@given(seed=st.integers(0, 2**31))
def test_the_names_of_the_clients_do_not_matter(seed: int) -> None:
    own = np.random.default_rng(seed).normal(size=20)
    rounds = watched(own, 4, 12, 0.1, seed)
    order = np.random.default_rng(3).permutation(20)
    renamed = [Observation(o.round, o.cohort[order], o.scores) for o in rounds]
    np.testing.assert_allclose(estimate(renamed, 20).values, estimate(rounds, 20).values[order], atol=1e-8)


def test_a_client_that_never_took_part_has_no_score() -> None:
    rounds = watched(np.random.default_rng(1).normal(size=12), 3, 8, 0.1, 2)
    absent = [Observation(o.round, np.append(o.cohort, -1), o.scores) for o in rounds]
    got = estimate(absent, 13)
    assert got.seen[12] == 0
    assert not got.values[12].any()


@pytest.mark.parametrize(("size", "share"), [(3, 0.1), (5, 0.2), (5, 0.1), (8, 0.2)])
def test_a_hostile_minority_is_a_second_crowd_although_most_cohorts_hold_one(size: int, share: float) -> None:
    rng = np.random.default_rng(5)
    own = rng.normal(size=100)
    liars = rng.permutation(100)[: int(100 * share)]
    own[liars] += 7.0
    values = estimate(watched(own, size, 25, 0.5, 6), 100).values[:, 0]
    found = crowds(values)
    assert found.apart > 3
    assert found.evidence > 20
    assert set(np.flatnonzero(found.hostile >= 0.9)) == set(liars.tolist())


@pytest.mark.parametrize("tail", [0.0, 0.5, 1.0])
def test_one_crowd_is_not_called_two_even_where_it_has_a_tail(tail: float) -> None:
    """Of 60 federations in which nobody lies (some with a long tail of honest, odd clients), how many suspect anybody?"""
    wrong = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        own = rng.normal(size=100) + tail * rng.exponential(size=100)
        found = crowds(estimate(watched(own, 5, 20, 0.5, seed), 100).values[:, 0])
        wrong += found.apart >= 3.0 and found.evidence >= 20.0
    assert wrong <= 1


def test_too_few_clients_make_no_crowds() -> None:
    assert crowds(np.array([0.0, 9.0])).evidence == 0.0


def test_scores_see_who_goes_against_the_reference_who_sends_nothing_and_who_shouts() -> None:
    rng = np.random.default_rng(1)
    goal = rng.normal(size=200).astype(np.float32)
    rows = (goal + rng.normal(size=(12, 200))).astype(np.float32)
    rows[0] *= -1
    rows[1] = 0
    rows[2] += 9 * rng.normal(size=200)
    reference, consensus, spread = scores(rows, goal, np.ones(12)).T
    assert reference.argmax() == 0
    assert set(np.argsort(-consensus)[:2]) == {0, 1}
    assert spread[2] == spread.max()
    assert spread[1] < np.median(spread)
    assert np.isfinite(scores(np.zeros((4, 7), dtype=np.float32), np.zeros(7, dtype=np.float32), np.ones(4))).all()


def test_a_row_that_is_not_finite_and_one_that_was_not_opened_stand_at_the_far_end() -> None:
    rng = np.random.default_rng(1)
    goal = rng.normal(size=50).astype(np.float32)
    rows = (goal + rng.normal(size=(10, 50))).astype(np.float32)
    rows[4, 7] = np.nan
    got = scores(rows, goal, np.full(10, 3.0), spoilt=2)
    assert got.shape == (12, len(FEATURES))
    assert np.isfinite(got).all()
    for far in (4, 10, 11):
        assert (got[far] >= np.delete(got, (4, 10, 11), axis=0).max(axis=0)).all()


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_smaller_crowd_is_suspect_on_either_side(side: float) -> None:
    rng = np.random.default_rng(7)
    values = rng.normal(size=(80, 2))
    values[:12, 1] += 8.0 * side
    found = crowds(values)
    assert set(np.flatnonzero(found.hostile > 0.9)) == set(range(12))
    along = values @ found.towards
    assert along[:12].min() > along[12:].max(), "the combination grows towards the smaller crowd"
    np.testing.assert_allclose(found.lift, along[:12].mean() - along[12:].mean(), rtol=0.1)


def test_the_units_of_a_score_and_the_order_of_the_clients_do_not_matter() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(size=(60, 3))
    values[:9] += 4.0
    order = rng.permutation(60)
    one, other = crowds(values), crowds((values * [1e-3, 50.0, 1.0] + [3.0, -2.0, 0.0])[order])
    np.testing.assert_allclose(other.hostile, one.hostile[order], atol=1e-3)
    np.testing.assert_allclose(other.evidence, one.evidence, rtol=1e-3)


def test_an_observation_survives_the_checkpoint() -> None:
    cohort: I64 = np.array([0, -1, 1, 0])
    seen = Observation(4, cohort, np.zeros((2, 3)))
    back = decode(encode(seen), Observation)
    np.testing.assert_array_equal(back.cohort, cohort)
    assert back.scores.shape == (2, 3)
