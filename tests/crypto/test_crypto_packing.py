"""Bit packing: round trips for every width, one encoding per vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wardround.crypto.packing import MAX_WIDTH, check, pack, packed_bytes, unpack
from wardround.errors import DecodeError


@pytest.mark.parametrize("width", range(1, MAX_WIDTH + 1))
def test_every_width_comes_back(width: Any) -> None:
    rng = np.random.default_rng(width)
    for count in (0, 1, 31, 64, 65, 333):
        values = rng.integers(0, 1 << 63, count, dtype=np.uint64) & np.uint64((1 << width) - 1)
        data = pack(values, width)
        assert len(data) == packed_bytes(count, width)
        assert np.array_equal(unpack(data, count, width), values)
        # no gap but at the end: fewer than one period of values is padding
        assert len(data) * 8 - count * width < 64 * width + 64


def test_the_size_is_that_of_the_documents() -> None:
    assert packed_bytes(20_000, 15) == 37_500
    assert packed_bytes(100_000, 15) == 187_500


@pytest.mark.parametrize("width", [5, 15, 32, 36])
def test_other_lengths_and_padding_bits_are_refused(width: Any) -> None:
    values = np.arange(33, dtype=np.uint64) & np.uint64(31)
    data = pack(values, width)
    for changed in (data[:-1], data + b"\0", b""):
        with pytest.raises(DecodeError, match="values of"):
            unpack(changed, 33, width)
    for at in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << (at % 8)
        try:
            again = unpack(bytes(flipped), 33, width)
        except DecodeError:
            continue
        assert pack(again, width) == bytes(flipped)  # accepted: then it is the one encoding of what it decodes to
    check(data, 33, width)


@pytest.mark.parametrize("width", [0, 64])
def test_widths_out_of_range_are_refused(width: Any) -> None:
    with pytest.raises(ValueError, match="1 to 63 bits"):
        pack(np.zeros(3, np.uint64), width)
