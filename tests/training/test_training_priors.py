"""Correction by label shares: laws, and a world in which the right answer is known."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.training.priors import STRATEGIES, ClientPrior, WindowPrior, estimate, floored, offset, trained_shares

C = 4
TRAINED = np.array([0.4, 0.3, 0.2, 0.1])
shares = st.lists(st.integers(0, 50), min_size=C, max_size=C).map(lambda n: np.array(n, dtype=np.float64))


def logits_of(rng: Any, y: Any, prior: Any) -> Any:
    """Logits of a perfect model under ``prior`` for rows whose one feature is a Gaussian around the class."""
    x = y + 0.7 * rng.standard_normal(len(y))
    likelihood = -((x[:, None] - np.arange(C)) ** 2) / (2 * 0.7**2)
    return (likelihood + np.log(prior)).astype(np.float32)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(shares, st.floats(0.01, 1.0))
def test_a_class_the_client_never_had_loses_at_most_the_logarithm_of_the_floor(counts: Any, floor: Any) -> None:
    moved = offset(floored(counts, TRAINED, floor), TRAINED)
    assert (moved >= np.log(floor) - 1e-5).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_trained_shares_change_no_decision(strategy: Any) -> None:
    rng = np.random.default_rng(0)
    y = rng.choice(C, 3000, p=TRAINED)
    logits = logits_of(rng, y, TRAINED)
    corrected = strategy().correct(logits, 1000 * TRAINED, TRAINED)
    assert (corrected.argmax(1) == logits.argmax(1)).mean() > (0.999 if strategy is not WindowPrior else 0.97)


def test_floor_one_changes_nothing() -> None:
    logits = np.random.default_rng(1).standard_normal((20, C)).astype(np.float32)
    counts = np.array([100.0, 0, 0, 0])
    np.testing.assert_allclose(ClientPrior(1.0).correct(logits, counts, TRAINED), logits, atol=1e-6)


def test_a_client_without_rows_keeps_the_model() -> None:
    logits = np.random.default_rng(1).standard_normal((20, C)).astype(np.float32)
    np.testing.assert_allclose(ClientPrior().correct(logits, np.zeros(C), TRAINED), logits, atol=1e-6)


def test_the_correction_is_bayes_rule() -> None:
    """Under shifted shares the corrected logits are those of a model made for them."""
    rng = np.random.default_rng(2)
    own = np.array([0.05, 0.05, 0.1, 0.8])
    y = rng.choice(C, 500, p=own)
    logits = logits_of(rng, y, TRAINED)
    right = logits - np.log(TRAINED) + np.log(0.9 * own + 0.1 * TRAINED)
    corrected = ClientPrior(0.1).correct(logits, 1e6 * own, TRAINED)
    np.testing.assert_allclose(corrected - corrected[:, :1], right - right[:, :1], atol=1e-4)


def test_em_finds_shares_that_nobody_told() -> None:
    rng = np.random.default_rng(3)
    own = np.array([0.1, 0.1, 0.1, 0.7])
    logits = logits_of(rng, rng.choice(C, 4000, p=own), TRAINED)
    np.testing.assert_allclose(estimate(logits, TRAINED, TRAINED, 1.0), own, atol=0.04)


def test_the_window_follows_a_drift_that_the_clients_counts_do_not_know() -> None:
    rng = np.random.default_rng(4)
    before, after = np.array([0.7, 0.1, 0.1, 0.1]), np.array([0.1, 0.1, 0.1, 0.7])
    y = np.concatenate([rng.choice(C, 1500, p=before), rng.choice(C, 1500, p=after)])
    logits = logits_of(rng, y, TRAINED)
    late = slice(2000, None)  # the window holds rows of the new shares alone

    def right(prior: Any) -> float:
        return float((prior.correct(logits, 1000 * before, TRAINED).argmax(1) == y)[late].mean())

    assert right(WindowPrior(0.05)) > right(ClientPrior(0.05)) + 0.1


def test_class_weights_are_part_of_what_was_trained() -> None:
    balanced = trained_shares(TRAINED, (1 / TRAINED).astype(np.float32))
    np.testing.assert_allclose(balanced, np.full(C, 0.25), atol=1e-6)


@pytest.mark.parametrize(
    "bad", [lambda: ClientPrior(0.0), lambda: WindowPrior(window=0), lambda: WindowPrior(strength=-1)]
)
def test_settings_out_of_range_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        bad()
