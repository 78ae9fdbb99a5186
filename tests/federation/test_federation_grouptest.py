"""Group testing: single clients' scores from sums over changing cohorts, and whether there are two crowds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.arrays import F64, I64
from wardround.federation.crowds import TAILS, _Pairs, crowds, long_tailed, settled, starts
from wardround.federation.grouptest import FEATURES, Observation, _Design, estimate, rounds_in, scores
from wardround.federation.trust import Watch
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
    got = estimate(watched(own, 4, 30, 0.0, 2), 40)[:, 0]
    np.testing.assert_allclose(got - got.mean(), own - own.mean(), atol=0.05)


@LAW
@given(seed=st.integers(0, 2**31))
def test_the_names_of_the_clients_do_not_matter(seed: int) -> None:
    own = np.random.default_rng(seed).normal(size=20)
    rounds = watched(own, 4, 12, 0.1, seed)
    order = np.random.default_rng(3).permutation(20)
    renamed = [Observation(o.round, o.cohort[order], o.scores) for o in rounds]
    np.testing.assert_allclose(estimate(renamed, 20), estimate(rounds, 20)[order], atol=1e-8)


def test_a_client_that_never_took_part_has_no_score() -> None:
    rounds = watched(np.random.default_rng(1).normal(size=12), 3, 8, 0.1, 2)
    absent = [Observation(o.round, np.append(o.cohort, -1), o.scores) for o in rounds]
    got = estimate(absent, 13)
    assert rounds_in(absent, 13).tolist() == [8] * 12 + [0]
    assert not got[12].any()


@pytest.mark.parametrize(("size", "share"), [(3, 0.1), (5, 0.2), (5, 0.1), (8, 0.2)])
def test_a_hostile_minority_is_a_second_crowd_although_most_cohorts_hold_one(size: int, share: float) -> None:
    rng = np.random.default_rng(5)
    own = rng.normal(size=100)
    liars = rng.permutation(100)[: int(100 * share)]
    own[liars] += 7.0
    values = estimate(watched(own, size, 25, 0.5, 6), 100)[:, 0]
    found = crowds(values)
    assert found.apart > 3
    assert found.evidence > Watch().evidence
    assert set(np.flatnonzero(found.hostile >= 0.9)) == set(liars.tolist())


@pytest.mark.parametrize("tail", [0.0, 0.5, 1.0])
def test_one_crowd_is_not_called_two_even_where_it_has_a_tail(tail: float) -> None:
    """Of 60 federations in which nobody lies (some with a long tail of honest, odd clients), how many suspect anybody?"""
    wrong = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        own = rng.normal(size=100) + tail * rng.exponential(size=100)
        found = crowds(estimate(watched(own, 5, 20, 0.5, seed), 100)[:, 0])
        wrong += found.apart >= Watch().apart and found.evidence >= Watch().evidence
    assert wrong <= 1


@pytest.mark.parametrize("views", [1, 3])
def test_long_tails_on_both_sides_are_one_crowd(views: int) -> None:
    """Scores as of hospitals that differ much (Student's t with three degrees of freedom): one normal crowd explains them far
    worse than two do, and still nobody is suspected.
    """
    wrong = 0
    for seed in range(40):
        found = crowds(np.random.default_rng(seed).standard_t(3, size=(100, views)))
        wrong += found.apart >= Watch().apart and found.evidence >= Watch().evidence * (1 if views == 1 else 2)
    assert wrong == 0


def test_long_tails_do_not_hide_a_fifth_that_stands_apart() -> None:
    values = np.random.default_rng(3).standard_t(3, size=100)
    values[:20] = 9.0 + 0.5 * np.random.default_rng(4).normal(size=20)
    found = crowds(values)
    assert found.apart >= Watch().apart
    assert found.evidence >= Watch().evidence
    assert set(np.flatnonzero(found.hostile > 0.9)) >= set(range(20))


def test_the_likelihood_of_long_tails_is_that_of_students_t() -> None:
    """Against numerical search over middle and scatter of one score."""
    values = np.random.default_rng(5).standard_t(3, size=200)

    def likelihood(middle: float, scatter: float) -> float:
        squared = (values - middle) ** 2 / scatter
        normal = math.lgamma(2) - math.lgamma(1.5) + 0.5 * math.log(2 / TAILS)  # less the normal's constant
        return float((normal - 0.5 * math.log(scatter) - 2 * np.log1p(squared / TAILS)).sum())

    best = max(likelihood(m, s) for m in np.linspace(-0.3, 0.3, 61) for s in np.linspace(0.5, 2.0, 151))
    assert long_tailed(values[:, None]) == pytest.approx(best, abs=0.01)


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


@pytest.mark.parametrize("features", [1, 3])
@pytest.mark.parametrize("hostile", [0, 9])
def test_all_starts_at_once_end_where_each_ends_by_itself(features: int, hostile: int) -> None:
    rng = np.random.default_rng(9)
    values = rng.normal(size=(60, features))
    values[:hostile] += 4.0
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    guesses = starts(values)
    assert len(guesses) == 4 * 2 * features
    before, after = settled(values, guesses)
    for at, guess in enumerate(guesses):
        alone = settled(values, guess[None])
        np.testing.assert_allclose(before[at], alone[0][0], atol=1e-9)
        np.testing.assert_allclose(after[at], alone[1][0], atol=1e-9)
    assert not np.allclose(after, guesses)


def test_a_start_is_a_mixture_fitted_step_by_step() -> None:
    """One step from one guess, against the densities written out."""
    rng = np.random.default_rng(10)
    values = rng.normal(size=(40, 2))
    values -= values.mean(axis=0)
    guess = rng.uniform(0.1, 0.6, size=40)
    share = guess.mean()
    high, low = np.average(values, axis=0, weights=guess), np.average(values, axis=0, weights=1 - guess)
    within = sum(
        np.einsum("n,ni,nj->ij", part, values - centre, values - centre) / 40
        for part, centre in ((guess, high), (1 - guess, low))
    )
    density = [
        part * np.exp(-0.5 * np.einsum("ni,ij,nj->n", values - centre, np.linalg.inv(within), values - centre))
        for part, centre in ((share, high), (1 - share, low))
    ]
    whole = values.T @ values / 40
    pairs = _Pairs.fitted(values, whole, guess[None])
    np.testing.assert_allclose(pairs.covariance[0], within, rtol=1e-9)
    np.testing.assert_allclose(pairs.odds(values)[0], np.log(density[0] / density[1]), rtol=1e-9)
    expected = np.log(density[0] + density[1]).sum() - 20 * np.linalg.slogdet(within)[1]
    np.testing.assert_allclose(pairs.likelihood(values)[0], expected, rtol=1e-9)


def test_the_rounds_equations_are_those_of_the_dense_design() -> None:
    rng = np.random.default_rng(11)
    rows, clients, weights = [4, 2, 5], 13, np.array([1.0, 0.3, 0.6])
    cohorts = [rng.integers(-1, count - 1, size=clients) for count in rows]  # a row without members each
    dense = []
    for cohort, count in zip(cohorts, rows, strict=True):
        inside = (cohort == np.arange(count)[:, None]).astype(np.float64)
        shares = inside / np.maximum(inside.sum(axis=1, keepdims=True), 1.0)
        dense.append(shares - shares.mean(axis=0))
    design, every = _Design.of(cohorts, rows), np.concatenate(dense)
    normal = sum(weight * part.T @ part for weight, part in zip(weights, dense, strict=True))
    np.testing.assert_allclose(design.normal(weights), normal, atol=1e-12)
    values, y = rng.normal(size=clients), every @ rng.normal(size=clients)
    np.testing.assert_allclose(design.predicted(values), every @ values, atol=1e-12)
    np.testing.assert_allclose(design.transposed(y), every.T @ y, atol=1e-12)


def test_an_observation_survives_the_checkpoint() -> None:
    cohort: I64 = np.array([0, -1, 1, 0])
    seen = Observation(4, cohort, np.zeros((2, 3)))
    back = decode(encode(seen), Observation)
    np.testing.assert_array_equal(back.cohort, cohort)
    assert back.scores.shape == (2, 3)
