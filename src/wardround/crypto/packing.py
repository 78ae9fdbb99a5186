"""Bit packing: ``width`` bits per value and no gap but at the end.

Values are laid out in columns so that every step is one operation on a long vector: with words of w bits (32 where
width <= 32, else 64), ``period`` = w / gcd(width, w) consecutive *rows* of values fill width / gcd rows of words.
m values are padded with zeros to a whole number of columns.

Laws: ``unpack(pack(v, width), v.size, width) == v``; ``pack`` of ``unpack`` gives the same bytes or ``unpack`` raises:
padding bits must be zero, so a vector has one encoding.
"""

from __future__ import annotations

import math

import numpy as np

from wardround.arrays import U32, U64, Array
from wardround.errors import DecodeError

MAX_WIDTH = 63


def packed_bytes(count: int, width: int) -> int:
    """Length of ``count`` packed values in bytes."""
    word, period, rows = _shape(width)
    return -(-count // period) * rows * word // 8


def padded(count: int, width: int) -> int:
    """``count`` rounded up to whole columns: ``pack`` does not copy a vector of such a length."""
    period = _shape(width)[1]
    return -(-count // period) * period


def pack(values: U32 | U64, width: int) -> bytes:
    """``values`` [m], each below 2^width, as bytes."""
    word, period, rows = _shape(width)
    columns = -(-values.size // period)
    dtype = np.dtype(f"u{word // 8}")
    grid: Array = values
    if values.size != period * columns or values.dtype != dtype:
        grid = np.zeros(period * columns, dtype)
        grid[: values.size] = values
    grid = grid.reshape(period, columns)
    out, spare = np.empty((rows, columns), dtype), np.empty(columns, dtype)
    for row, part in enumerate(grid):
        at, shift = divmod(row * width, word)
        if shift == 0:
            out[at] = part
        else:
            np.left_shift(part, dtype.type(shift), out=spare)
            out[at] |= spare
        if shift + width > word:  # the first bits in the next word
            np.right_shift(part, dtype.type(word - shift), out=out[at + 1])
    return out.astype(dtype.newbyteorder("<"), copy=False).tobytes()


def unpack(data: bytes, count: int, width: int) -> U64:
    """The ``count`` values in ``data``.

    Raises:
        DecodeError: the length is not that of ``count`` values, or a padding bit is set.
    """
    check(data, count, width)
    word, period, rows = _shape(width)
    dtype = np.dtype(f"u{word // 8}")
    columns = -(-count // period)
    words: Array = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(rows, columns)
    grid = np.empty((period, columns), dtype)
    mask = dtype.type((1 << width) - 1)
    for row in range(period):
        at, shift = divmod(row * width, word)
        np.right_shift(words[at], dtype.type(shift), out=grid[row])
        if shift + width > word:
            grid[row] |= words[at + 1] << dtype.type(word - shift)
        grid[row] &= mask
    return grid.reshape(-1)[:count].astype(np.uint64)


def check(data: bytes, count: int, width: int) -> None:
    """Refuse what is not the one encoding of ``count`` values, without unpacking all of it.

    Raises:
        DecodeError: the length is not that of ``count`` values, or a padding bit is set.
    """
    if len(data) != packed_bytes(count, width):
        raise DecodeError(f"{count} values of {width} bits are {packed_bytes(count, width)} bytes, not {len(data)}")
    word, period, rows = _shape(width)
    columns = -(-count // period)
    words = np.frombuffer(data, f"<u{word // 8}").reshape(rows, columns)
    for position in range(count, period * columns):  # the padding: fewer than ``period`` values
        row, column = divmod(position, columns)
        at, shift = divmod(row * width, word)
        value = int(words[at, column]) >> shift
        if shift + width > word:
            value |= int(words[at + 1, column]) << (word - shift)
        if value & ((1 << width) - 1):
            raise DecodeError("the padding after the last packed value is not zero")


def _shape(width: int) -> tuple[int, int, int]:
    """(bits of a word, rows of values per period, rows of words per period).

    Raises:
        ValueError: the width is not in 1..63.
    """
    if not 1 <= width <= MAX_WIDTH:
        raise ValueError(f"a packed value has 1 to {MAX_WIDTH} bits, not {width}")
    word = 32 if width <= 32 else 64
    common = math.gcd(width, word)
    return word, word // common, width // common
