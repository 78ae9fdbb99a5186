"""Exact products in Z_{2^k}[X]/(X^n + 1) by floating-point FFT (docs/protocol/secagg.md, section Arithmetic).

A public polynomial ``a`` (uniform mod 2^k) is multiplied with a short one ``s``. Coefficients of ``a`` are centred and,
where k > 26, cut into two halves, so that each real product stays far below 2^53; two of them share one complex
transform (as real and imaginary part), which the real-valued transform of ``s`` keeps apart. FFT(a) is public, the
same for all clients of a round, and computed once (``Public``).

Laws: ``multiply(expand(seed, count), s)`` equals the schoolbook product for every s with |s_i| <= 2^15, the largest a
sum of keys can hold (Z_p of crypto/sharing.py); the distance of every result to the nearest integer is measured, and
one of MARGIN or more raises ``ArithmeticError`` instead of returning a wrong number.

No branch and no memory access depends on a secret: FFT, rounding and masking run over all coefficients alike.
What it does not do: products of two long polynomials, other moduli (q = 2^k keeps addition a plain uint64 add).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.arrays import I64, U64
from wardround.crypto.sampling import uniform_words

DEGREES = (1024, 2048)
WHOLE_BITS = 26  # up to here a coefficient of a is not cut in halves
MAX_BITS = 54
MARGIN = 0.25  # half of the way to a wrong rounding (0.5)
_BLOCK = 16  # transforms at a time: the working set stays in the second-level cache

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


@dataclass(frozen=True, eq=False)
class Public:
    """FFT image of ``count`` public polynomials, rows of [transforms, n]."""

    ring: Ring
    count: int
    image: C128


def coefficients(ring: Ring, seed: bytes, count: int) -> U64:
    """The public polynomials [count, n] of ``seed`` (32 bytes), uniform mod 2^k."""
    return (uniform_words(seed, count * ring.n) & ring.mask).reshape(count, ring.n)


@lru_cache(maxsize=2)
def expand(ring: Ring, seed: bytes, count: int) -> Public:
    """The public polynomials of ``seed``, ready for ``multiply``; all of it is public, so it may be kept."""
    return transform(ring, coefficients(ring, seed, count))


def transform(ring: Ring, a: U64) -> Public:
    """The given polynomials ``a`` [count, n] mod 2^k, ready for ``multiply``."""
    real, imaginary = _two_parts(ring, a.astype(np.int64))
    return Public(ring, len(a), np.fft.fft((real + 1j * imaginary) * _twist(ring.n), axis=1))


def multiply(public: Public, s: I64 | NDArray[np.int8]) -> U64:
    """a_j * s mod 2^k for every public polynomial: [count, n].

    Raises:
        ArithmeticError: a rounding came closer to the wrong integer than MARGIN.
    """
    ring = public.ring
    out = np.empty((public.count, ring.n), np.uint64)
    at = 0
    for block in products(public, s):
        rows = block[: public.count - at]
        np.bitwise_and(rows.view(np.uint64), ring.mask, out=out[at : at + len(rows)])
        at += len(rows)
    return out


def products(public: Public, s: I64 | NDArray[np.int8]) -> Iterator[I64]:
    """a_j * s for every public polynomial, in order, a few rows [m, n] at a time, not yet reduced mod 2^k (two's complement:
    the low k bits are). The last block may have one row too many. To be used only once all blocks were taken without an error.

    Raises:
        ArithmeticError: a rounding came closer to the wrong integer than MARGIN.
    """
    ring = public.ring
    image, back = np.fft.fft(_twist(ring.n) * s), np.conj(_twist(ring.n))
    worst = 0.0
    for at in range(0, len(public.image), _BLOCK):
        product = np.fft.ifft(public.image[at : at + _BLOCK] * image, axis=1)
        product *= back
        real, imaginary, distance = _rounded(product)
        worst = max(worst, distance)
        yield _join(ring, real, imaginary)
    if not worst < MARGIN:  # NaN fails too
        raise ArithmeticError(f"ring product not exact: {worst:.3f} from an integer, {MARGIN} allowed")


def _two_parts(ring: Ring, a: I64) -> tuple[I64, I64]:
    if ring.halved:
        low_bits = (ring.k + 1) // 2
        low = _centred(a, low_bits)
        return _centred((a - low) >> low_bits, ring.k - low_bits), low
    a = _centred(a, ring.k)
    if len(a) % 2:
        a = np.concatenate([a, np.zeros((1, ring.n), np.int64)])
    return a[0::2], a[1::2]


def _join(ring: Ring, first: I64, second: I64) -> I64:
    if ring.halved:
        first <<= (ring.k + 1) // 2  # two's complement: wrapping is reduction mod 2^64
        first += second
        return first
    return np.stack([first, second], axis=1).reshape(-1, ring.n)


def _centred(a: I64, bits: int) -> I64:
    half = 1 << (bits - 1)
    return ((a + half) & ((1 << bits) - 1)) - half


def _rounded(product: C128) -> tuple[I64, I64, float]:
    flat: NDArray[Any] = product.view(np.float64)
    whole = np.rint(flat)
    flat -= whole
    distance = max(float(flat.max()), -float(flat.min()))
    if not distance < MARGIN:
        return np.zeros(product.shape, np.int64), np.zeros(product.shape, np.int64), distance
    return whole[:, 0::2].astype(np.int64), whole[:, 1::2].astype(np.int64), distance


@lru_cache(maxsize=4)
def _twist(n: int) -> C128:
    twist: C128 = np.exp(1j * np.pi * np.arange(n) / n)  # psi^j, psi a primitive 2n-th root of unity
    twist.setflags(write=False)
    return twist
