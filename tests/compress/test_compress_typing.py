"""A codec that is not linear cannot be put under a secure sum: mypy refuses it, and so does the reading of a file.

``make check`` runs mypy --strict over the tests with warn_unused_ignores: every ignore below must be needed, so this file fails
the type check on the day one of these lines becomes acceptable.
"""

from __future__ import annotations

import pytest

from wardround.compress.chain import Chain, LinearChain, is_feedback, is_linear
from wardround.compress.codec import Codec, LinearCodec
from wardround.compress.codecs import CODECS, LINEAR
from wardround.compress.feedback import ErrorFeedback
from wardround.compress.quantise import Float32, Integer, Sign
from wardround.compress.rotation import Eden
from wardround.compress.sparsify import SparseTernary, Threshold, TopK
from wardround.compress.supports import Importance, RandomK


def secure(codec: LinearCodec) -> str:
    return codec.name


def test_mypy_accepts_linear_codecs_and_refuses_all_others() -> None:
    assert secure(Importance()) == "importance"
    assert secure(TopK()) == "top-k"  # type: ignore[arg-type]
    assert secure(Threshold()) == "threshold"  # type: ignore[arg-type]
    assert secure(Integer()) == "int"  # type: ignore[arg-type]
    assert secure(Sign()) == "sign"  # type: ignore[arg-type]
    assert secure(Eden()) == "eden"  # type: ignore[arg-type]
    assert secure(SparseTernary()) == "sparse-ternary"  # type: ignore[arg-type]
    assert secure(ErrorFeedback()) == "error-feedback"  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", [TopK(), Threshold(), Float32(), Integer(), Sign(), Eden(), SparseTernary()])
def test_a_linear_chain_from_a_file_refuses_every_other_codec(codec: Codec) -> None:
    with pytest.raises(ValueError, match=f"codec '{codec.name}' is not linear"):
        LinearChain.of([RandomK(), codec])


def test_a_linear_chain_takes_error_feedback_only_in_front_and_only_around_what_shrinks() -> None:
    assert LinearChain.of([ErrorFeedback(), RandomK(unbiased=False)]).feedback == ErrorFeedback()
    with pytest.raises(ValueError, match="must be the first"):
        LinearChain.of([RandomK(unbiased=False), ErrorFeedback()])
    with pytest.raises(ValueError, match="stands twice"):
        LinearChain.of([ErrorFeedback(), ErrorFeedback()])
    with pytest.raises(ValueError, match="would grow without bound"):
        Chain.of([ErrorFeedback(), Importance()])


def test_a_codec_that_learns_from_the_whole_model_must_come_first() -> None:
    with pytest.raises(ValueError, match="must be the first linear codec"):
        LinearChain.of([RandomK(), Importance()])


@pytest.mark.parametrize(
    "codecs",
    [
        [Integer(), TopK()],
        [TopK(), RandomK()],
        [TopK(), TopK()],
        [Sign(), Integer()],
        [TopK(), SparseTernary()],
    ],
)
def test_chains_in_a_wrong_order_are_refused(codecs: list[Codec]) -> None:
    with pytest.raises(ValueError, match=r"order|chooses coordinates itself"):
        Chain.of(codecs)


def test_every_codec_says_what_it_is() -> None:
    names = [cls.name for cls in CODECS]
    assert len(set(names)) == len(names)
    for cls in CODECS:
        codec: Codec = cls()
        assert (cls.__doc__ or "").strip(), cls
        assert is_linear(codec) == (cls in LINEAR)
        assert is_feedback(codec) == (cls is ErrorFeedback)
        assert hash(codec) == hash(cls())


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: TopK(0.0), "share"),
        (lambda: TopK(1.5), "share"),
        (lambda: Threshold(times=0.0), "times"),
        (lambda: Integer(1), "bits"),
        (lambda: Integer(8, -1), "block"),
        (lambda: Eden(5), "bits"),
        (lambda: Importance(explore=0.0), "explore"),
        (lambda: Importance(cap=0.5), "cap"),
        (lambda: Importance(decay=1.0), "decay"),
        (lambda: ErrorFeedback(momentum=1.0), "momentum"),
        (lambda: ErrorFeedback(decay=0.0), "decay"),
    ],
)
def test_a_setting_out_of_range_is_named(make, what) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=what):
        make()
