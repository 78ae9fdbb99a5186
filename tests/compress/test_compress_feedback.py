import numpy as np
import pytest

from wardround.compress.chain import Chain, LinearChain
from wardround.compress.codec import Memory, Public, flat, round_id
from wardround.compress.feedback import ErrorFeedback
from wardround.compress.quantise import Integer
from wardround.compress.sparsify import TopK, largest
from wardround.compress.supports import RandomK

ONE = np.array([1.0, -0.5, 0.25, 0.0], dtype=np.float32)


def test_momentum_correction_gathers_a_velocity_and_masking_forgets_what_was_sent() -> None:
    """Deep Gradient Compression, Algorithm 1, by hand: u <- m u + g, v <- v + u; sent coordinates of u and v are zeroed."""
    coding = Chain.of((ErrorFeedback(momentum=0.5), TopK(0.25))).plan(Public(), b"", flat(4))
    rng = np.random.default_rng(1)
    data, memory = coding.encode(ONE, Memory(), rng)
    assert coding.decode(data).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert memory.velocity.tolist() == [0.0, -0.5, 0.25, 0.0]
    assert memory.residual.tolist() == [0.0, -0.5, 0.25, 0.0]
    data, memory = coding.encode(ONE, memory, rng)  # velocity 1, -.75, .375; with the residual 1, -1.25, .625
    assert coding.decode(data).tolist() == [0.0, -1.25, 0.0, 0.0]
    assert memory.velocity.tolist() == [1.0, 0.0, 0.375, 0.0]
    assert memory.residual.tolist() == [1.0, 0.0, 0.625, 0.0]


def test_decay_forgets_stale_residuals() -> None:
    feedback = ErrorFeedback(decay=0.5)
    corrected, _ = feedback.correct(Memory(residual=ONE), ONE)
    assert corrected.tolist() == [1.5, -0.75, 0.375, 0.0]


def test_memory_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="remembers 4 values, the update has 5"):
        ErrorFeedback().correct(Memory(residual=ONE), np.zeros(5, np.float32))


def test_state_sizes() -> None:
    assert Chain.of((ErrorFeedback(), TopK())).state_bytes(100) == 400
    assert Chain.of((ErrorFeedback(momentum=0.9), TopK())).state_bytes(100) == 800
    assert Chain.of((TopK(),)).state_bytes(100) == 0


def test_a_linear_chain_sends_numbers_with_error_feedback() -> None:
    chain = LinearChain.of((ErrorFeedback(), RandomK(0.5, unbiased=False)))
    coding = chain.plan(Public(), round_id(b"f", 1), flat(4))
    z, memory = coding.send(ONE, Memory())
    np.testing.assert_array_equal(coding.backward(z) + memory.residual, ONE)


def test_an_update_that_is_not_finite_or_of_another_length_is_refused() -> None:
    coding = Chain.of((Integer(8),)).plan(Public(), b"", flat(4))
    for bad in (np.full(4, np.nan, np.float32), np.full(4, np.inf, np.float32), np.zeros(5, np.float32)):
        with pytest.raises(ValueError, match=r"not finite|is due"):
            coding.encode(bad, Memory(), np.random.default_rng(1))


def test_ties_are_broken_by_position() -> None:
    assert largest(np.array([1, -1, 1, 2, -1], np.float32), 3).tolist() == [0, 1, 3]
