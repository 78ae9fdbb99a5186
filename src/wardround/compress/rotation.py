"""EDEN: rotate at random, then 1 to 4 bits per value; unbiased without memory (DRIVE is its 1-bit form).

Vargaftik et al., DRIVE, NeurIPS 2021, and EDEN, ICML 2022. After a random rotation every value is close to normal, so
the best quantiser of the normal law (Max, 1960) serves all vectors alike; the scale |x|^2 / <Rx, Q(Rx)> makes the result
unbiased. The rotation is a Hadamard transform of random signs, in blocks of the powers of two that make up the length,
instead of one block padded to the next power of two: 5,267 values cost 684 bytes and not 1,032. Each block has its own
scale: blocks differ in size, and one scale for all would make the small ones too large.

    wire      seed (4 bytes) | a scale per block (4 bytes each) | numbers, packed

Laws: ``unrotate(rotate(v)) == v``; lengths are kept; unbiased to within the error of Hadamard blocks as rotations (tested).
What it does not do: stand under a secure sum (signs of sums are not sums of signs).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from wardround.arrays import F32, F64
from wardround.compress import bits as coding
from wardround.compress.codec import Size, public_words
from wardround.errors import DecodeError

_LEAST_BLOCK = 64
"""Shorter vectors are far from normal after the transform: the last block is padded to this."""

_LARGEST = 1e30
"""Larger scales could leave float32 when the rotation is undone."""

# The upper halves of the best quantisers of the normal law (Max 1960, table I); the lower halves mirror them.
_CENTROIDS: dict[int, tuple[float, ...]] = {
    1: (0.7978845608,),
    2: (0.4527800398, 1.5104176087),
    3: (0.2451, 0.7560, 1.3439, 2.1520),
    4: (0.1284, 0.3881, 0.6568, 0.9424, 1.2562, 1.6180, 2.0690, 2.7326),
}


@dataclass(frozen=True)
class Eden:
    """Random rotation and 1 to 4 bits per value, unbiased and without memory (EDEN, Vargaftik et al. 2022).

    Attributes:
        bits: 1 to 4; 1 is DRIVE.
    """

    name: ClassVar[str] = "eden"
    linear: ClassVar[Literal[False]] = False
    bits: int = 1

    def __post_init__(self) -> None:
        if self.bits not in _CENTROIDS:
            raise ValueError(f"bits must be 1 to 4, not {self.bits}")

    @property
    def biased(self) -> bool:
        return False

    def size(self, n: int) -> Size:
        sizes = blocks(n)
        return Size.exactly(4 + 4 * len(sizes) + coding.packed(sum(sizes), self.bits))

    def encode(self, z: F32, rng: np.random.Generator) -> bytes:
        seed, sizes, table = rng.bytes(4), blocks(len(z)), self._table()
        rotated = rotate(z.astype(np.float64), seed)
        power = _sums(np.square(rotated), sizes)
        if not (power < np.finfo(np.float32).max).all():
            raise ValueError("the values to compress are not finite, or too large to rotate")
        unit = np.sqrt(power / np.array(sizes))
        numbers = np.searchsorted((table[1:] + table[:-1]) / 2, rotated / np.repeat(np.where(unit > 0, unit, 1), sizes))
        along = _sums(table[numbers] * rotated, sizes)
        scale = np.divide(power, along, out=np.zeros(len(sizes)), where=along > 0)
        return seed + scale.astype(">f4").tobytes() + coding.pack(numbers.astype(np.int64), self.bits)

    def decode(self, data: bytes, n: int) -> F32:
        if len(data) != self.size(n).most:
            raise DecodeError(f"{n} values are {self.size(n).most} bytes, not {len(data)}")
        sizes = blocks(n)
        head = 4 + 4 * len(sizes)
        scale = np.frombuffer(data[4:head], dtype=">f4").astype(np.float64)
        if not ((scale >= 0) & (scale < _LARGEST)).all():
            raise DecodeError("a scale is negative, not finite or too large")
        numbers = coding.unpack(data[head:], sum(sizes), self.bits)
        return unrotate(self._table()[numbers] * np.repeat(scale, sizes), data[:4], n).astype(np.float32)

    def _table(self) -> F64:
        upper = np.array(_CENTROIDS[self.bits])
        return np.concatenate([-upper[::-1], upper])


def blocks(n: int) -> list[int]:
    """Powers of two, each at least 64, that cover ``n`` values with less than 64 to spare."""
    covered = -(-n // _LEAST_BLOCK) * _LEAST_BLOCK
    return [1 << power for power in range(covered.bit_length() - 1, -1, -1) if covered >> power & 1]


def rotate(v: F64, seed: bytes) -> F64:
    """v [n], padded to the blocks, signs flipped by ``seed``, Hadamard transform of each block."""
    sizes = blocks(len(v))
    padded = np.zeros(sum(sizes))
    padded[: len(v)] = v
    return _each(padded * _signs(seed, len(padded)), sizes)


def unrotate(y: F64, seed: bytes, n: int) -> F64:
    """The first ``n`` values before the rotation."""
    values = _each(y, blocks(n))
    values *= _signs(seed, len(y))
    return values[:n]


def _sums(v: F64, sizes: list[int]) -> F64:
    """Sum of v over each block."""
    if not sizes:
        return np.zeros(0)
    total: F64 = np.add.reduceat(v, np.cumsum([0, *sizes[:-1]]))
    return total


def _signs(seed: bytes, n: int) -> F64:
    words = public_words(seed, "eden", -(-n // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8))[:n]
    return 1.0 - 2.0 * bits.astype(np.float64)


def _each(v: F64, sizes: list[int]) -> F64:
    out, at = np.empty_like(v), 0
    for size in sizes:
        out[at : at + size] = _hadamard(v[at : at + size])
        at += size
    return out


def _hadamard(v: F64) -> F64:
    """Orthonormal Walsh-Hadamard transform of v [2^m]; its own inverse."""
    out, h = v.copy(), 1
    while h < len(
        out
    ):  # sums and differences only: every machine gets the same bits, which matrix products do not promise
        pairs = out.reshape(-1, 2, h)
        sums = pairs[:, 0] + pairs[:, 1]
        pairs[:, 1] = pairs[:, 0] - pairs[:, 1]
        pairs[:, 0] = sums
        h *= 2
    out *= float(len(out)) ** -0.5
    return out
