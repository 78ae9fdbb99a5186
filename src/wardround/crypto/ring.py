"""Exact products in Z_{2^k}[X]/(X^n + 1) by floating-point FFT (docs/protocol/secagg.md, section Arithmetic).

A public polynomial ``a`` (uniform mod 2^k) is multiplied with a short one ``s``. With h = n/2, X^n + 1 = (X^h - i)(X^h + i)
over the complex numbers, so a real polynomial is the complex one with coefficients a_j + i a_{j+h}, j < h, modulo X^h - i:
a twist and a cyclic transform of length h ("right-angle convolution", Crandall and Fagin 1994). Coefficients of ``a`` are
centred and, where k > 26, cut into two halves, so that each product stays far below 2^53. FFT(a) is public, the same for
all clients of a round, and computed once (``Public``).

Products come in *wire order*: coefficient 0, h, 1, h + 1, ... of each polynomial, as the transform leaves them; ``multiply``
puts them in their natural order.

Laws: ``multiply(expand(seed, count), s)`` equals the schoolbook product for every s with |s_i| <= 2^15, the largest a
sum of keys can hold (Z_p of crypto/sharing.py); the distance of every result to the nearest integer is measured, and
one of MARGIN or more raises ``ArithmeticError`` instead of returning a wrong number.

No branch and no memory access depends on a secret: FFT, rounding and masking run over all coefficients alike.
What it does not do: products of two long polynomials, other moduli (q = 2^k keeps addition a plain uint64 add).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wardround.arrays import F64, I64, U32, U64
from wardround.crypto.sampling import stream_bytes

DEGREES = (1024, 2048)
WHOLE_BITS = 26  # up to here a coefficient of a is not cut in halves
MAX_BITS = 52
LONGEST = 1 << 15  # of a coefficient of s: then no product reaches 2^51
MARGIN = 0.25  # half of the way to a wrong rounding (0.5)
_BLOCK = 1 << 13  # complex numbers at a time (128 KiB): the working set stays in the second-level cache
_SHIFT = 1.5 * 2.0**52  # added to a float64 below 2^51 in size it leaves the nearest integer in the low bits
_LOW_WORD = 0 if sys.byteorder == "little" else 1
_SHIFT_WORD = np.uint64(0x4338 << 48)

C128 = NDArray[np.complex128]


@dataclass(frozen=True)
class Ring:
    """Z_{2^k}[X]/(X^n + 1).

    Raises:
        ValueError: a degree or modulus this module was not checked for.
    """

    n: int
    k: int

    def __post_init__(self) -> None:
        if self.n not in DEGREES or not 1 <= self.k <= MAX_BITS:
            raise ValueError(f"ring n = {self.n}, q = 2^{self.k}: n must be one of {DEGREES}, k at most {MAX_BITS}")

    @property
    def mask(self) -> np.uint64:
        return np.uint64((1 << self.k) - 1)

    @property
    def halved(self) -> bool:
        """Whether a coefficient of ``a`` is cut in two."""
        return self.k > WHOLE_BITS

    @property
    def low_bits(self) -> int:
        """Bits of the lower half, where there are halves."""
        return (self.k + 1) // 2

    @property
    def word(self) -> type[np.uint32 | np.uint64]:
        """What products come in."""
        return np.uint64 if self.halved else np.uint32


@dataclass(frozen=True, eq=False)
class Public:
    """FFT image [count, parts, n/2] of ``count`` public polynomials, divided by n/2; ``parts``: 1, or high and low halves."""

    ring: Ring
    count: int
    image: C128


def coefficients(ring: Ring, seed: bytes, count: int) -> U64:
    """The public polynomials [count, n] of ``seed`` (32 bytes), uniform mod 2^k: 4 bytes of the stream each, 8 where
    k > 32.
    """
    return (_words(ring, seed, count).astype(np.uint64) & ring.mask).reshape(count, ring.n)


@lru_cache(maxsize=2)
def expand(ring: Ring, seed: bytes, count: int) -> Public:
    """The public polynomials of ``seed``, ready for ``multiply``; all of it is public, so it may be kept."""
    words = _words(ring, seed, count)
    signed: NDArray[np.int32] | I64 = words.view(np.int32) if words.dtype == np.uint32 else words.view(np.int64)
    return _image(ring, signed.reshape(count, ring.n))


def transform(ring: Ring, a: U64) -> Public:
    """The given polynomials ``a`` [count, n] mod 2^k, ready for ``multiply``."""
    return _image(ring, a.view(np.int64))


def multiply(public: Public, s: I64 | NDArray[np.int8]) -> U64:
    """a_j * s mod 2^k for every public polynomial: [count, n].

    Raises:
        ArithmeticError: a rounding came closer to the wrong integer than MARGIN.
    """
    ring = public.ring
    out = np.empty((public.count, 2, ring.n // 2), np.uint64)
    at = 0
    for block in products(public, s):
        rows = block.reshape(-1, ring.n // 2, 2)
        out[at : at + len(rows)] = rows.transpose(0, 2, 1)
        at += len(rows)
    out &= ring.mask
    return out.reshape(public.count, ring.n)


def products(public: Public, s: I64 | NDArray[np.int8]) -> Iterator[U32 | U64]:
    """a_j * s for every public polynomial, in order, a few at a time: [m n] in wire order, not yet reduced mod 2^k (in words of
    32 or 64 bits; the low k bits are). A block is overwritten by the next. To be used only once all were taken without an error.

    Raises:
        ArithmeticError: a rounding came closer to the wrong integer than MARGIN.
    """
    ring, (count, parts, h) = public.ring, public.image.shape
    if not int(np.abs(s).max(initial=0)) <= LONGEST:
        raise ArithmeticError(f"ring product not exact: a coefficient beyond {LONGEST}")
    image, back = np.fft.fft(_twisted(ring.n, s[:h], s[h:])), _untwist(ring.n)
    rows = min(count, max(1, _BLOCK // (parts * h)))
    product, two = np.empty((rows, parts, h), np.complex128), np.empty((2, rows, parts, 2 * h))
    worst = 0.0
    for at in range(0, count, rows):
        here = public.image[at : at + rows]
        block, (shifted, scratch) = product[: len(here)], two[:, : len(here)]
        np.multiply(here, image, out=block)
        np.fft.ifft(block, axis=-1, norm="forward", out=block)  # the image holds the factor 2/n
        block *= back
        worst = max(worst, _round(block.view(np.float64), shifted, scratch))
        yield _words_of(ring, shifted)
    if not worst < MARGIN:  # NaN fails too
        raise ArithmeticError(f"ring product not exact: {worst:.3f} from an integer, {MARGIN} allowed")


def _words(ring: Ring, seed: bytes, count: int) -> U32 | U64:
    wide = 8 if ring.k > 32 else 4
    raw = np.frombuffer(stream_bytes(seed, wide * count * ring.n), f"<u{wide}")
    return raw.astype(np.uint64, copy=False) if wide == 8 else raw.astype(np.uint32, copy=False)


def _image(ring: Ring, a: NDArray[np.int32] | I64) -> Public:
    """``a`` [count, n]: integers whose low k bits count."""
    h, parts = ring.n // 2, 2 if ring.halved else 1
    image: C128 = np.empty((len(a), parts, h), np.complex128)
    rows = max(1, _BLOCK // (parts * h))
    for at in range(0, len(a), rows):
        some, here = a[at : at + rows], image[at : at + rows]
        for part, values in enumerate(_parts(ring, some)):
            here[:, part] = _twisted(ring.n, values[:, :h], values[:, h:])
        np.fft.fft(here, axis=-1, norm="forward", out=here)
    return Public(ring, len(a), image)


def _parts(ring: Ring, a: NDArray[np.int32] | I64) -> tuple[NDArray[np.int32] | I64, ...]:
    if not ring.halved:
        return (_centred(a, ring.k),)
    a = a.astype(np.int64, copy=False)
    low = _centred(a, ring.low_bits)
    return _centred((a - low) >> ring.low_bits, ring.k - ring.low_bits), low


def _centred(a: NDArray[np.int32] | I64, bits: int) -> NDArray[np.int32] | I64:
    """The low ``bits`` bits as a number in [-2^(bits-1), 2^(bits-1))."""
    spare = 8 * a.dtype.itemsize - bits
    return (a << spare) >> spare


def _twisted(n: int, first: NDArray[np.integer], second: NDArray[np.integer]) -> C128:
    """(first + i second) psi^j."""
    joined: C128 = np.empty(first.shape, np.complex128)
    joined.real, joined.imag = first, second
    joined *= _twist(n)
    return joined


def _round(values: F64, shifted: F64, scratch: F64) -> float:
    """``shifted``: the integers nearest to ``values``, plus _SHIFT. Returned: the largest distance between both."""
    np.add(values, _SHIFT, out=shifted)
    np.subtract(shifted, _SHIFT, out=scratch)
    scratch -= values
    return max(float(scratch.max()), -float(scratch.min()))


def _words_of(ring: Ring, shifted: F64) -> U32 | U64:
    """Wire order [m n] of shifted integers [m, parts, n]."""
    if not ring.halved:
        low: U32 = shifted.reshape(-1).view(np.uint32)[_LOW_WORD::2]
        return low
    whole = shifted.view(np.uint64)
    whole -= _SHIFT_WORD
    high, rest = whole[:, 0], whole[:, 1]
    high <<= np.uint64(ring.low_bits)  # two's complement: wrapping is reduction mod 2^64
    high += rest
    return high.reshape(-1)


@lru_cache(maxsize=4)
def _twist(n: int) -> C128:
    twist: C128 = np.exp(1j * np.pi * np.arange(n // 2) / n)  # psi^j, psi^h = i
    twist.setflags(write=False)
    return twist


@lru_cache(maxsize=4)
def _untwist(n: int) -> C128:
    untwist: C128 = np.conj(_twist(n))
    untwist.setflags(write=False)
    return untwist
