import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.detect.thresholds import BINS, ENOUGH, REACH, Calibration, counts, p_value, threshold
from wardround.errors import DecodeError
from wardround.wire import decode, encode

scores = st.lists(st.floats(-25, 25), min_size=1, max_size=400).map(np.array)


@given(scores, st.floats(1e-4, 0.4), st.floats(1e-4, 0.4))
def test_a_threshold_never_rises_with_the_rate(values: np.ndarray, a: float, b: float) -> None:
    held = counts(values)
    assert threshold(held, min(a, b)) >= threshold(held, max(a, b)) - 1e-9


@given(scores, scores)
def test_counts_add_up(a: np.ndarray, b: np.ndarray) -> None:
    assert np.array_equal(counts(a) + counts(b), counts(np.concatenate([a, b])))


@given(scores, scores)
def test_p_values_lie_in_their_range_and_never_rise(values: np.ndarray, asked: np.ndarray) -> None:
    found = p_value(counts(values), np.sort(asked))
    assert ((found >= 1 / (1 + len(values)) - 1e-12) & (found <= 1)).all()
    assert (np.diff(found) <= 1e-12).all()


@pytest.mark.parametrize("rate", [0.1, 0.01, 0.002])
def test_the_asked_rate_comes_out(rate: float) -> None:
    rng = np.random.default_rng(1)
    limit = threshold(counts(rng.logistic(0, 1, 4000)), rate)
    achieved = float((rng.logistic(0, 1, 400_000) > limit).mean())
    assert abs(achieved / rate - 1) < 0.35  # four thousand rows tell a rate of .002 to a third


def test_below_what_counting_can_tell_the_tail_speaks() -> None:
    rng = np.random.default_rng(2)
    held = counts(rng.exponential(1.0, 2000))
    limit = threshold(held, 1e-4)  # a fifth of one row
    assert limit == pytest.approx(-math.log(1e-4), abs=2.0)
    assert limit > threshold(held, 1e-2)


def test_a_site_moves_the_federations_threshold_once_it_has_enough_and_no_further_than_its_reach() -> None:
    rng = np.random.default_rng(3)
    rate = 0.01
    first = Calibration(rate, federation=counts(rng.normal(0, 1, 5000)))
    few = first.with_site(rng.normal(2, 1, int(ENOUGH / rate) - 1))
    assert not few.own
    assert few.value == first.value == first.prior
    enough = few.with_site(rng.normal(2, 1, 1))
    assert enough.own
    assert enough.value == pytest.approx(first.value + 2, abs=0.5)
    poisoned = first.with_site(np.full(2000, 19.0))
    assert poisoned.value == pytest.approx(first.value + REACH)


def test_without_a_basis_a_detector_is_silent_and_says_so() -> None:
    nothing = Calibration(0.01)
    assert nothing.value == math.inf
    assert "silent" in nothing.status
    assert Calibration(0.01, fixed=1.5).value == 1.5
    alone = nothing.with_site(np.random.default_rng(0).normal(0, 1, 2000))
    assert math.isfinite(alone.value)
    assert "own threshold" in alone.status


def test_two_votes_take_more_than_one() -> None:
    held = Calibration(0.01, federation=counts(np.random.default_rng(0).normal(0, 1, 5000)))
    assert held.stricter(10) > held.value
    assert Calibration(0.01, fixed=1.0).stricter(10) == 1.0


def test_it_survives_a_restart_and_refuses_nonsense() -> None:
    held = Calibration(0.01).with_site(np.arange(5.0))
    assert decode(encode(held), Calibration).value == held.value
    for wrong in (np.full(BINS.count, -1.0), np.zeros(3), np.full(BINS.count, np.nan)):
        with pytest.raises(DecodeError):
            decode(encode_raw(wrong), Calibration)
    with pytest.raises(ValueError, match="rate"):
        Calibration(1.0)
    with pytest.raises(ValueError, match="rate"):
        threshold(np.zeros(BINS.count), 0.0)


def encode_raw(site: np.ndarray) -> bytes:
    """A calibration's bytes with ``site`` in it, past its own checks."""
    made = Calibration(0.01)
    object.__setattr__(made, "site", site)
    return encode(made)
