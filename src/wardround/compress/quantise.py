"""Quantisers: values -> a scale and whole numbers of a few bits.

    float32   the values as they are
    int       stochastic or nearest, 2 to 8 bits        QSGD: Alistarh et al., NeurIPS 2017
    ternary   {-1, 0, 1} x scale, stochastic            TernGrad: Wen et al., NeurIPS 2017
    sign      sign x mean size                          Seide et al., Interspeech 2014; Karimireddy et al., ICML 2019

    wire      scale (2 bytes, the upper half of a float32) | numbers, packed

Laws: stochastic ones are unbiased for values and scale as sent (the scale is rounded up so that no value is cut); one
scale serves ``block`` values; decoding refuses a scale that is not finite or negative, and numbers no encoder writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from wardround.arrays import F32, F64, I64
from wardround.compress import bits as coding
from wardround.compress.codec import Size
from wardround.errors import DecodeError

_TRITS = 5
"""Ternary digits per byte: 3^5 = 243 <= 256."""


@dataclass(frozen=True)
class Float32:
    """The values themselves, 4 bytes each: what a chain without quantiser ends in. No settings."""

    name: ClassVar[str] = "float32"
    linear: ClassVar[Literal[False]] = False

    @property
    def biased(self) -> bool:
        return False

    def size(self, n: int) -> Size:
        return Size.exactly(4 * n)

    def encode(self, z: F32, rng: np.random.Generator) -> bytes:
        del rng
        return z.astype("<f4").tobytes()

    def decode(self, data: bytes, n: int) -> F32:
        _length(data, 4 * n, n)
        values = np.frombuffer(data, dtype="<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise DecodeError("a value is not finite")
        return values


@dataclass(frozen=True)
class Integer:
    """Whole numbers of a few bits (QSGD, Alistarh et al. 2017): value = number x scale / (2^(bits - 1) - 1).

    Attributes:
        bits: 2 to 8; "int8" is bits = 8, "int4" bits = 4.
        block: values that share one scale (2 bytes each); 0: all values one.
        stochastic: round up or down at random so that the mean is the value (unbiased); false: to the nearest.
    """

    name: ClassVar[str] = "int"
    linear: ClassVar[Literal[False]] = False
    bits: int = 8
    block: int = 0
    stochastic: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise ValueError(f"bits must be 2 to 8, not {self.bits}; 1 bit is the codec 'sign' or 'eden'")
        if self.block < 0:
            raise ValueError(f"block must be 0 or more, not {self.block}")

    @property
    def biased(self) -> bool:
        return not self.stochastic

    @property
    def _top(self) -> int:
        return (1 << (self.bits - 1)) - 1

    def _blocks(self, n: int) -> int:
        return -(-n // self.block) if self.block else 1

    def size(self, n: int) -> Size:
        return Size.exactly(2 * self._blocks(n) + coding.packed(n, self.bits))

    def encode(self, z: F32, rng: np.random.Generator) -> bytes:
        scale = scale_up(np.maximum.reduceat(np.abs(z), self._starts(len(z)))) if len(z) else np.zeros(1, np.float32)
        each = self._spread(scale, len(z))
        unit = np.divide(z * self._top, each, out=np.zeros(len(z)), where=each > 0)
        numbers = _rounded(unit, rng) if self.stochastic else np.rint(unit).astype(np.int64)
        return scale_bytes(scale) + coding.pack(numbers + self._top, self.bits)

    def decode(self, data: bytes, n: int) -> F32:
        _length(data, self.size(n).most, n)
        head = 2 * self._blocks(n)
        numbers = coding.unpack(data[head:], n, self.bits) - self._top
        if n and int(numbers.max()) > self._top:
            raise DecodeError(f"a number lies above {self._top}")
        return (numbers * (self._spread(scales(data[:head]), n) / self._top)).astype(np.float32)

    def _starts(self, n: int) -> I64:
        return np.arange(0, n, self.block or n)

    def _spread(self, scale: F32, n: int) -> F64:
        wide = scale.astype(np.float64)
        return np.repeat(wide, self.block)[:n] if self.block else np.full(n, wide[0])


@dataclass(frozen=True)
class Ternary:
    """-1, 0 or 1 times the largest size, at random so that the mean is the value (TernGrad, Wen et al. 2017); 1.6 bits.

    No settings.
    """

    name: ClassVar[str] = "ternary"
    linear: ClassVar[Literal[False]] = False

    @property
    def biased(self) -> bool:
        return False

    def size(self, n: int) -> Size:
        return Size.exactly(2 + -(-n // _TRITS))

    def encode(self, z: F32, rng: np.random.Generator) -> bytes:
        scale = scale_up(np.abs(z).max(keepdims=True)) if len(z) else np.zeros(1, np.float32)
        unit = z / np.float64(scale[0]) if scale[0] else np.zeros(len(z))
        digits = np.ones(-(-len(z) // _TRITS) * _TRITS, dtype=np.int64)
        digits[: len(z)] += _rounded(unit, rng)
        words = digits.reshape(-1, _TRITS) @ (3 ** np.arange(_TRITS))
        return scale_bytes(scale) + words.astype(np.uint8).tobytes()

    def decode(self, data: bytes, n: int) -> F32:
        _length(data, self.size(n).most, n)
        scale = scales(data[:2])[0]
        words = np.frombuffer(data, dtype=np.uint8, offset=2).astype(np.int64)
        if len(words) and int(words.max()) >= 3**_TRITS:
            raise DecodeError(f"a byte of {_TRITS} ternary digits is above {3**_TRITS - 1}")
        digits = (words[:, None] // 3 ** np.arange(_TRITS) % 3).ravel() - 1
        if digits[n:].any():
            raise DecodeError("the padding after the last ternary digit is not zero")
        values: F32 = (digits[:n] * scale).astype(np.float32)
        return values


@dataclass(frozen=True)
class Sign:
    """One bit per value and their mean size (scaled sign, Karimireddy et al. 2019). Biased: put error feedback around it.

    No settings.
    """

    name: ClassVar[str] = "sign"
    linear: ClassVar[Literal[False]] = False

    @property
    def biased(self) -> bool:
        return True

    def size(self, n: int) -> Size:
        return Size.exactly(2 + coding.packed(n, 1))

    def encode(self, z: F32, rng: np.random.Generator) -> bytes:
        del rng
        mean = np.abs(z, dtype=np.float64).mean(keepdims=True) if len(z) else np.zeros(1)
        return scale_bytes(scale_near(mean.astype(np.float32))) + np.packbits(z < 0).tobytes()

    def decode(self, data: bytes, n: int) -> F32:
        _length(data, self.size(n).most, n)
        negative = coding.unpack(data[2:], n, 1)
        values: F32 = ((1 - 2 * negative) * scales(data[:2])[0]).astype(np.float32)
        return values


def scale_up(values: F32) -> F32:
    """The least numbers of 16 bits (a float32's upper half) that are not below ``values`` >= 0."""
    words = values.astype(np.float32).view(np.uint32)
    return ((words + np.uint32(0xFFFF)) & np.uint32(0xFFFF0000)).view(np.float32)


def scale_near(values: F32) -> F32:
    """The nearest numbers of 16 bits."""
    words = values.astype(np.float32).view(np.uint32)
    return ((words + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)


def scale_bytes(scale: F32) -> bytes:
    """Scales of 16 bits, 2 bytes each.

    Raises:
        ValueError: a scale is not finite: the values were not.
    """
    if not np.isfinite(scale).all():
        raise ValueError("the values to compress are not finite")
    return (scale.view(np.uint32) >> np.uint32(16)).astype(">u2").tobytes()


def scales(data: bytes) -> F32:
    """Scales from 2 bytes each.

    Raises:
        DecodeError: a scale is negative or not finite.
    """
    words = np.frombuffer(data, dtype=">u2").astype(np.uint32)
    scale = (words << np.uint32(16)).view(np.float32)
    if (words >= 0x7F80).any():  # the sign bit, infinities and not-a-number
        raise DecodeError("a scale is negative or not finite")
    return scale


def _rounded(unit: F64, rng: np.random.Generator) -> I64:
    """Each value up or down at random, so that its mean is itself."""
    floor = np.floor(unit)
    return (floor + (rng.random(len(unit)) < unit - floor)).astype(np.int64)


def _length(data: bytes, due: int, n: int) -> None:
    if len(data) != due:
        raise DecodeError(f"{n} values are {due} bytes, not {len(data)}")
