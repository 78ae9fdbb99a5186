"""Whole numbers of a few bits <-> bytes, and positions <-> a Rice code.

Rice (Golomb 1966; Rice 1979): a gap g between neighbouring positions is g >> b in unary and b bits more. The two parts
stand in two sections (all low bits, then all unary parts), as in Elias and Fano's code: so decoding is a search for zeros
over the whole section instead of a walk from code to code.

    positions   b (1 byte) | k low parts of b bits | k unary parts, each ended by 0 | zeros to the byte

Laws: ``unpack(pack(v)) == v``; ``positions(rice(p)) == p``; one sequence of bytes per value: other parameters b than the best,
padding that is not zero, positions beyond n and left-over bytes give ``DecodeError``.
"""

from __future__ import annotations

import numpy as np

from wardround.arrays import I64, U8
from wardround.compress.codec import Size
from wardround.errors import DecodeError

_MOST_LOW_BITS = 31


def pack(values: I64, bits: int) -> bytes:
    """``values`` [n] in 0..2^bits - 1 -> ceil(n bits / 8) bytes, most significant bit first."""
    if bits == 8:
        return values.astype(np.uint8).tobytes()
    if bits == 4:
        return _pack_nibbles(values.astype(np.uint8))
    shifts = np.arange(bits - 1, -1, -1)
    return np.packbits(((values[:, None] >> shifts) & 1).astype(np.uint8)).tobytes()


def packed(count: int, bits: int) -> int:
    """Bytes that ``pack`` makes of ``count`` values."""
    return -(-count * bits // 8)


def unpack(data: bytes, count: int, bits: int) -> I64:
    """``count`` values of ``bits`` bits.

    Raises:
        DecodeError: too few or too many bytes, or padding that is not zero.
    """
    if len(data) != packed(count, bits):
        raise DecodeError(f"{count} values of {bits} bits are {packed(count, bits)} bytes, not {len(data)}")
    raw = np.frombuffer(data, dtype=np.uint8)
    if bits == 8:
        return raw.astype(np.int64)
    spread = np.unpackbits(raw)
    if spread[count * bits :].any():
        raise DecodeError("the padding after the last value is not zero")
    weights = 1 << np.arange(bits - 1, -1, -1)
    values: I64 = spread[: count * bits].reshape(count, bits) @ weights
    return values


def rice(positions: I64) -> bytes:
    """The code of ascending ``positions`` [k]; nothing for no position."""
    if not len(positions):
        return b""
    gaps = np.diff(positions, prepend=-1) - 1
    b, _ = _best(gaps)
    high = gaps >> b
    ends = np.cumsum(high + 1) - 1
    unary = np.ones(int(ends[-1]) + 1, dtype=np.uint8)
    unary[ends] = 0
    low = ((gaps[:, None] >> np.arange(b - 1, -1, -1)) & 1).astype(np.uint8).ravel()
    return bytes([b]) + np.packbits(np.concatenate([low, unary])).tobytes()


def positions(data: bytes, k: int, n: int) -> I64:
    """The ``k`` positions below ``n`` that ``data`` codes.

    Raises:
        DecodeError: not the one code of k ascending positions below n.
    """
    if k == 0 and not data:
        return np.zeros(0, dtype=np.int64)
    if not 0 < k <= min(n, 8 * len(data)):  # each position takes at least one bit
        raise DecodeError(f"{len(data)} bytes cannot hold {k} positions of {n}")
    b = data[0]
    spread = np.unpackbits(np.frombuffer(data, dtype=np.uint8, offset=1))
    if b > _MOST_LOW_BITS or k * b + k > len(spread):
        raise DecodeError(f"{len(data)} bytes cannot hold {k} positions with {b} low bits each")
    ends = np.flatnonzero(spread[k * b :] == 0)[:k]
    if len(ends) < k:
        raise DecodeError(f"{len(ends)} positions are coded, {k} were announced")
    rest = spread[k * b + int(ends[-1]) + 1 :]
    if len(rest) >= 8 or rest.any():
        raise DecodeError("bytes are left over after the last position")
    gaps = (np.diff(ends, prepend=-1) - 1) << b
    if b:
        gaps += spread[: k * b].reshape(k, b) @ (1 << np.arange(b - 1, -1, -1))
    if int(gaps.sum()) + k > n:
        raise DecodeError(f"a position lies beyond {n}")
    if _best(gaps)[0] != b:
        raise DecodeError(f"{b} low bits are not the shortest code of these positions")
    found: I64 = np.cumsum(gaps + 1) - 1
    return found


def rice_size(k: int, n: int) -> Size:
    """Bytes of the code of ``k`` positions below ``n``: for all gaps 0, for random positions, at worst."""
    if k == 0:
        return Size.exactly(0)
    expected = min(_expected(k, n, b) for b in range(_MOST_LOW_BITS))
    most = min(k * (1 + b) + ((n - k) >> b) for b in range(_MOST_LOW_BITS))
    return Size(1 + -(-k // 8), 1 + -(-expected // 8), 1 + -(-most // 8))


def _expected(k: int, n: int, b: int) -> int:
    """Bits for gaps that are geometric with mean (n - k) / k."""
    miss = (1 - k / n) ** (1 << b) if k < n else 0.0
    return round(k * (1 + b) + k * miss / (1 - miss))


def _best(gaps: I64) -> tuple[int, int]:
    """(low bits, bits) of the shortest code, the fewest low bits among equals; the length is convex in b."""
    best = (0, len(gaps) + int(gaps.sum()))
    for b in range(1, _MOST_LOW_BITS + 1):
        bits = len(gaps) * (1 + b) + int((gaps >> b).sum())
        if bits < best[1]:
            best = (b, bits)
        elif bits > best[1] + len(gaps):
            break
    return best


def _pack_nibbles(values: U8) -> bytes:
    if len(values) % 2:
        values = np.append(values, np.uint8(0))
    return ((values[0::2] << 4) | values[1::2]).tobytes()
