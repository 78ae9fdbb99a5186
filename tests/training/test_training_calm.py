"""A site without labels: its threshold moves where a calm window proves that attacks are there, and only there."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.training.calm import CalmPrior, attacks_share, scores, threshold


def site(seed: int, n: int = 2000, share: float = 0.6, apart: float = 6.0, at: float = -20.0) -> Any:
    """(scores, attack?) of a site whose scores all lie below the model's threshold of 0."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < share
    return rng.normal(at, 1.5, n) + apart * y, y


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
@pytest.mark.parametrize("most", [0.03, 0.2, 1.0])
def test_a_shifted_site_finds_its_threshold(share: float, most: float) -> None:
    s, y = site(1, share=share)
    calm = np.random.default_rng(2).normal(-20.0, 1.5, 200)
    at = threshold(calm, s, CalmPrior(most=most))
    assert at is not None
    assert (s > 0).sum() == 0
    assert ((s > at) == y).mean() > 0.93


def test_the_share_is_bounded_from_below() -> None:
    calm = np.random.default_rng(2).normal(-20.0, 1.5, 400)
    for share, most in itertools.product((0.0, 0.05, 0.3, 0.8), (0.03, 0.2, 1.0)):
        bound = attacks_share(calm, site(3, share=share)[0], CalmPrior(most=most))
        assert bound <= share
        assert bound >= 0.6 * (share - 0.15)


@pytest.mark.parametrize("most", [0.03, 1.0])
def test_a_site_without_attacks_is_left_alone_as_often_as_promised(most: float) -> None:
    moved, asked = 0, CalmPrior(confidence=0.9, most=most, least=0.0)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        moved += threshold(rng.normal(size=100), rng.normal(size=500), asked) is not None
    assert moved <= 20


def test_a_new_mix_of_normal_traffic_moves_nothing() -> None:
    rng = np.random.default_rng(5)

    def mix(n: int, dns: float) -> Any:
        return np.where(rng.random(n) < dns, rng.normal(-24, 0.3, n), rng.normal(-18, 0.3, n))

    calm, later = mix(100, 0.8), mix(2000, 0.1)  # the window saw DNS for the most part, the day did not
    assert threshold(calm, later, CalmPrior()) is None
    assert threshold(calm, later, CalmPrior(most=1.0)) is not None  # who trusts the mix is misled


def test_no_moved_threshold_alarms_on_more_of_the_window_than_allowed() -> None:
    for seed in range(20):
        calm, s = np.random.default_rng(seed).normal(-20, 1.5, 100), site(seed, apart=3.0)[0]
        at = threshold(calm, s, CalmPrior(most=0.05))
        assert at is not None
        assert (calm > at).mean() <= 0.05


@pytest.mark.parametrize("benign", [0, 1])
def test_rows_that_are_alike_stay_on_one_side_of_a_moved_threshold(benign: int) -> None:
    moved, asked = 0, CalmPrior()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        kinds = rng.normal(0, 8, (12, 2)).astype(np.float32)  # twelve kinds of rows, the last six are attacks
        kinds[:, benign] += np.where(np.arange(12) < 6, 20, 8).astype(np.float32)
        calm, seen = kinds[rng.integers(0, 6, 100)], kinds[rng.integers(0, 12, 2000)]
        at = threshold(scores(calm, benign), scores(seen, benign), asked)
        found = asked.moved(calm, seen, benign).argmax(1) != benign
        if at is not None:
            moved += 1
            assert np.array_equal(found, scores(seen, benign) > at)
            assert (scores(calm, benign) > at).mean() <= asked.most
    assert moved > 10


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(0, 60), st.integers(0, 60), st.integers(2, 5), st.floats(-50, 50, width=32))
def test_moved_logits_differ_in_the_benign_class_alone_and_by_one_number(
    seed: int, m: int, n: int, classes: int, constant: float
) -> None:
    rng = np.random.default_rng(seed)
    calm, logits = (rng.normal(0, 3, (k, classes)).astype(np.float32) for k in (m, n))
    prior, benign = CalmPrior(), int(rng.integers(classes))
    found = prior.moved(calm, logits, benign)
    assert np.array_equal(np.delete(found, benign, 1), np.delete(logits, benign, 1))
    steps = found[:, benign] - logits[:, benign]
    assert np.allclose(steps, steps[:1] if n else 0.0, atol=1e-4)
    shifted = prior.moved(calm + np.float32(constant), logits + np.float32(constant), benign)
    np.testing.assert_allclose(shifted - np.float32(constant), found, atol=1e-3)


def test_scores_say_attack_where_the_model_does() -> None:
    logits = np.random.default_rng(4).normal(size=(50, 4)).astype(np.float32)
    assert np.array_equal(scores(logits, 1) > 0, logits.argmax(1) != 1)


@pytest.mark.parametrize("bad", [{"rows": 0}, {"confidence": 1.0}, {"floor": 0.0}, {"most": 0.0}, {"least": 1.0}])
def test_settings_out_of_range_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        CalmPrior(**bad)
