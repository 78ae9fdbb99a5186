from dataclasses import dataclass

import numpy as np
import pytest

from wardround.arrays import F32, F64
from wardround.errors import DecodeError
from wardround.wire import decode, encode, message


@message(0x7001)
@dataclass(frozen=True)
class Inner:
    name: str
    flag: bool


@message(0x7002)
@dataclass(frozen=True, eq=False)
class Everything:
    number: int
    real: float
    data: bytes
    names: tuple[str, ...]
    inner: Inner
    inners: tuple[Inner, ...]
    maybe: F64 | None
    vector: F32


def sample() -> Everything:
    return Everything(
        -5,
        2.5,
        b"\x00\xff",
        ("a", "ä"),
        Inner("x", True),
        (Inner("", False),),
        None,
        np.array([[1, 2], [3, 4]], dtype=np.float32),
    )


def test_round_trip() -> None:
    back = decode(encode(sample()), Everything)
    assert encode(back) == encode(sample())
    assert back.inner == Inner("x", True)
    assert back.vector.shape == (2, 2)


def test_known_bytes() -> None:
    assert encode(Inner("ab", True)).hex() == "575201" + "7001" + "00000002" + "6162" + "01"


def test_every_truncation_and_extension_is_refused() -> None:
    good = encode(sample())
    for end in range(len(good)):
        with pytest.raises(DecodeError):
            decode(good[:end], Everything)
    with pytest.raises(DecodeError, match="too many"):
        decode(good + b"\x00", Everything)


def test_another_type_is_refused() -> None:
    with pytest.raises(DecodeError, match="not one of the expected"):
        decode(encode(Inner("x", True)), Everything)


def test_truth_values_have_one_encoding() -> None:
    with pytest.raises(DecodeError, match="0 or 1"):
        decode(encode(Inner("", True))[:-1] + b"\x02", Inner)


def test_values_that_do_not_fit_are_our_bug() -> None:
    with pytest.raises(TypeError, match=r"Inner\.name"):
        encode(Inner(5, True))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="float64"):
        encode(Everything(1, 1.0, b"", (), Inner("", True), (), None, np.zeros(2)))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not a wire message"):
        encode(object())


def test_two_messages_cannot_share_a_tag() -> None:
    with pytest.raises(ValueError, match="belongs to Inner"):

        @message(0x7001)
        @dataclass(frozen=True)
        class Other:
            pass


def test_a_huge_announced_array_allocates_nothing() -> None:
    head = encode(sample())
    with pytest.raises(DecodeError):
        decode(head[:-24] + b"\x04" + b"\xff" * 16, Everything)
