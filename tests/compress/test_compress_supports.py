import numpy as np
import pytest

from wardround.arrays import F64, U8
from wardround.compress.chain import LinearChain
from wardround.compress.codec import Public, flat, round_id
from wardround.compress.projections import Sketch
from wardround.compress.supports import (
    _UNIT,
    SIZES,
    UNSEEN,
    Importance,
    RandomK,
    SharedTop,
    draw,
    follow,
    probabilities,
)

N = 2000


def levels_of(sizes: F64) -> U8:
    return follow(np.full(len(sizes), UNSEEN, np.uint8), np.ones(len(sizes), bool), sizes, 0.0)


def test_levels_are_an_eighth_of_a_power_of_two() -> None:
    assert SIZES[UNSEEN] == 1.0
    assert SIZES[UNSEEN + 8] == 2.0
    assert SIZES[UNSEEN - 16] == 0.25
    np.testing.assert_allclose(np.diff(np.log2(SIZES)), 1 / 8, rtol=1e-12)


def test_sizes_follow_changes_relative_to_their_mean_and_within_half_a_level() -> None:
    sizes = np.random.default_rng(1).gamma(0.3, size=N) + 1e-3
    got = SIZES[levels_of(sizes)]
    np.testing.assert_allclose(got, sizes / sizes.mean(), rtol=2 ** (1 / 16) - 1 + 1e-9)


def test_an_unmoved_coordinate_keeps_its_level() -> None:
    levels = levels_of(np.arange(1.0, N + 1))
    moved = np.zeros(N, bool)
    moved[:5] = True
    after = follow(levels, moved, np.full(N, 100.0), 0.5)
    assert (after[5:] == levels[5:]).all()
    assert (after[:5] > levels[:5]).all()
    assert follow(levels, moved, np.zeros(N), 0.5) is levels


def test_probabilities_sum_to_k_and_follow_the_formula() -> None:
    levels = levels_of(np.random.default_rng(2).gamma(0.3, size=N))
    k, explore = 100, 0.3
    p = probabilities(levels, k, explore)[levels] / _UNIT
    assert abs(p.sum() - k) < 1e-4
    weights = SIZES[levels]
    free = p < 1
    want = (1 - explore) * weights / weights.sum() + explore / N
    ratio = p[free] / want[free]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
    assert p.min() >= k * explore / N * 0.99


def test_exactly_k_are_drawn_whatever_the_chances() -> None:
    rng = np.random.default_rng(3)
    for k in (1, 7, 500, N - 1, N):
        levels = rng.integers(0, 256, N).astype(np.uint8)
        chances = probabilities(levels, k, 0.2)[levels]
        positions = draw(chances, k, round_id(b"x", k))
        assert len(np.unique(positions)) == k
        assert (np.diff(positions) > 0).all()


def test_coordinates_are_drawn_as_often_as_their_probability_says() -> None:
    levels = levels_of(np.random.default_rng(4).gamma(0.3, size=200))
    chances = probabilities(levels, 20, 0.3)[levels]
    rounds = 1500
    count = np.zeros(200)
    for r in range(rounds):
        count[draw(chances, 20, round_id(b"odds", r))] += 1
    p = chances / _UNIT
    assert (np.abs(count / rounds - p) < 5 * np.sqrt(p * (1 - p) / rounds) + 1e-9).all()


def test_the_support_is_a_function_of_public_data_and_changes_with_the_round() -> None:
    codec, layout = Importance(0.1), flat(N)
    public = LinearChain((codec,)).init(layout)
    one, same, other = (codec.plan(public, round_id(b"f", r), layout).positions for r in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()
    assert (one != codec.plan(public, round_id(b"g", 1), layout).positions).any()


def test_a_coordinate_that_moves_much_is_drawn_more_often_later() -> None:
    codec, layout = Importance(0.05), flat(N)
    public = LinearChain((codec,)).init(layout)
    for r in range(60):
        applied = codec.plan(public, round_id(b"f", r), layout)
        moved = applied.backward(np.where(applied.positions < 50, 10.0, 0.1).astype(np.float32))
        public = codec.learn(public, applied, moved)
    share = [np.mean(codec.plan(public, round_id(b"f", r), layout).positions < 50) for r in range(60, 70)]
    assert np.mean(share) > 0.1  # 50 of 2000 would be 0.025


def test_shared_top_takes_the_largest_levels_and_some_others() -> None:
    levels = np.full(N, UNSEEN, np.uint8)
    levels[100:170] = 200
    positions = SharedTop(0.05, explore=0.3).plan(Public(levels), round_id(b"f", 1), flat(N)).positions
    assert len(positions) == 100
    assert np.isin(np.arange(100, 170), positions).all()


def test_random_k_weighs_by_the_inverse_share() -> None:
    applied = RandomK(0.25).plan(Public(), round_id(b"f", 1), flat(N))
    v = np.ones(N, np.float32)
    assert applied.backward(applied.forward(v)).sum() == pytest.approx(N)


def test_a_support_learns_only_from_its_own_map() -> None:
    with pytest.raises(TypeError):
        Importance().learn(
            Public(), Sketch(np.zeros((1, 3), np.int64), np.zeros((1, 3), np.float32), 1), np.zeros(3, np.float32)
        )
