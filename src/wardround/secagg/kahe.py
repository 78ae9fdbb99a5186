"""Key-additive homomorphic encryption of vectors: decrypt(sum of keys, sum of ciphertexts) = sum of messages.

Ring-LWE with modulus 2^k over Z[X]/(X^n + 1), the family of OPA (CRYPTO 2025), Willow (CRYPTO 2025) and LERNA (2023).
Both modes send c = floor((a s + e + m 2^z + 2^(r-1)) / 2^r) mod 2^L, L = k - r; s and e from CBD(64), a public.

    dithered   z = 0, m on a grid of 2^-r steps. a s is uniform whatever m is, so dropping r bits IS an unbiased quantiser
               whose error does not depend on the value (subtractive dither); decode D / 2^r - N / 2^(r+1)
    exact      z = r + nu: the sum of errors stays below half of 2^z except with probability 2^-40

Laws: exact: ``decrypt(sum) == sum``; dithered: the error is unbiased with variance N (1/12 + 32/4^r) steps^2,
to which rounding to the grid adds at most N 4^-r / 4 (fixedpoint.to_steps).
What it does not do: hide anything once a key is used twice; the client machine draws a fresh one per upload.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F64, I32, I64, U32, U64, Array
from wardround.crypto import packing
from wardround.crypto.ring import Public, Ring, expand, products
from wardround.crypto.sampling import GROUP, binomials
from wardround.secagg.parameters import Dithered, Exact


@dataclass(frozen=True, eq=False)
class Segment:
    """One vector of a contribution: ``values`` of it, in ``mode``, under the public polynomials of ``seed``."""

    mode: Dithered | Exact
    n: int
    values: int
    seed: bytes

    @property
    def coefficients(self) -> int:
        """Coefficients on the wire (the last polynomial is cut)."""
        return self.values if isinstance(self.mode, Dithered) else self.mode.coefficients(self.values)

    @property
    def wire_bytes(self) -> int:
        return packing.packed_bytes(self.coefficients, self.mode.width)

    @property
    def ring(self) -> Ring:
        return Ring(self.n, self.mode.k)

    def public(self) -> Public:
        """FFT(a), kept for the clients of the same process."""
        return expand(self.ring, self.seed, -(-self.coefficients // self.n))


def encrypt(segment: Segment, plain: I32 | I64 | U64, key: I64, noise_seed: bytes) -> bytes:
    """Ciphertext of ``plain``: fine steps [values] in [0, levels 2^r] (dithered), whole numbers (exact)."""
    mode, count = segment.mode, segment.coefficients
    if isinstance(mode, Exact):
        plain = encode(mode, plain.astype(np.uint64, copy=False)) << np.uint64(mode.r + mode.nu)
    word = segment.ring.word
    whole: Array = plain.view(f"u{plain.dtype.itemsize}").astype(word, copy=False)  # two's complement: mod 2^32 or 2^64
    errors = binomials(noise_seed, count)
    half, shift, mask = word((1 << mode.r) >> 1), word(mode.r), word((1 << mode.width) - 1)
    out: Array = np.zeros(packing.padded(count, mode.width), word)
    at = 0
    for block in products(segment.public(), key):  # a few polynomials at a time: all steps in the nearest caches
        for inside in range(0, min(block.size, count - at), GROUP):
            error = next(errors)
            c = out[at + inside : at + inside + error.size]
            np.copyto(c.view(f"i{c.itemsize}"), error)
            c += block[inside : inside + error.size]
            c += whole[at + inside : at + inside + error.size]
            c += half
            c >>= shift
            c &= mask
        at += block.size
    return packing.pack(out, mode.width)


def start(segment: Segment) -> U64:
    """The empty sum of ciphertexts."""
    return np.zeros(segment.coefficients, np.uint64)


def add(segment: Segment, total: U64, ciphertext: bytes) -> None:
    """``total`` += ciphertext, in place. Never overflows: N 2^L < 2^64 for every suite and N <= 10,000.

    Raises:
        DecodeError: not the encoding of a ciphertext of this segment.
    """
    total += packing.unpack(ciphertext, segment.coefficients, segment.mode.width)


def check_padding(segment: Segment, ciphertext: bytes) -> None:
    """Refuse a ciphertext that is not the one encoding of its coefficients.

    Raises:
        DecodeError: the length is wrong or a padding bit is set.
    """
    packing.check(ciphertext, segment.coefficients, segment.mode.width)


def decrypt_steps(segment: Segment, total: U64, key_sum: I64, clients: int) -> F64:
    """Dithered: the sum of the clients' values in steps [values]."""
    mode = segment.mode
    if not isinstance(mode, Dithered):
        raise TypeError("an exact segment is decrypted by decrypt_counts")
    offset = mode.margin << mode.r  # a sum slightly below zero must not wrap to the top
    steps = np.empty(segment.coefficients)
    for here, noisy in _unmasked(segment, total, key_sum, offset):
        part = steps[here]
        part[:] = noisy
        part -= offset + 0.5 * clients  # rounding half up has mean +1/2 fine unit per client
        part *= 1.0 / (1 << mode.r)
    return steps


def decrypt_counts(segment: Segment, total: U64, key_sum: I64) -> tuple[U64, int]:
    """Exact: (sum of the clients' whole numbers [values], largest residual in parts of 2^z).

    A residual is the distance of a decoded coefficient to its grid point. Honest sums stay well below half; garbage is
    uniform, so the caller can tell a cohort that did not decode.
    """
    mode = segment.mode
    if not isinstance(mode, Exact):
        raise TypeError("a dithered segment is decrypted by decrypt_steps")
    shift = mode.r + mode.nu
    half = (1 << shift) >> 1
    moved = np.empty(segment.coefficients, np.uint64)
    for here, part in _unmasked(segment, total, key_sum, half):
        moved[here] = part
    residual = (moved & np.uint64((1 << shift) - 1)).astype(np.int64) - half
    worst = int(np.abs(residual).max(initial=0))
    return decode(mode, moved >> np.uint64(shift), segment.values), worst


def encode(mode: Exact, values: U64) -> U64:
    """Whole numbers [m] -> coefficients: digits of all values in slot-major order."""
    coefficients = mode.coefficients(values.size)
    digits = np.zeros(coefficients * mode.slots, np.uint64)
    for i in range(mode.digits):
        part = values >> np.uint64(i * mode.digit_bits)
        digits[i * values.size : (i + 1) * values.size] = part & np.uint64((1 << mode.digit_bits) - 1)
    powers = np.array([mode.base**i for i in range(mode.slots)], np.uint64)
    packed: U64 = (digits.reshape(mode.slots, coefficients) * powers[:, None]).sum(axis=0, dtype=np.uint64)
    return packed


def decode(mode: Exact, packed: U64, values: int) -> U64:
    """Summed coefficients -> summed whole numbers [values]."""
    base, digits = np.uint64(mode.base), np.empty((mode.slots, packed.size), np.uint64)
    for i in range(mode.slots):
        packed, digits[i] = np.divmod(packed, base)
    flat = digits.reshape(-1)
    total = np.zeros(values, np.uint64)
    for i in range(mode.digits):
        total += flat[i * values : (i + 1) * values] << np.uint64(i * mode.digit_bits)
    return total


def _unmasked(segment: Segment, total: U64, key_sum: I64, added: int) -> Iterator[tuple[slice, U32 | U64]]:
    """(2^r total - a S + ``added``) mod 2^k, a few polynomials at a time, each with its place."""
    mode, word, at = segment.mode, segment.ring.word, 0
    for block in products(segment.public(), key_sum):
        here = slice(at, min(at + block.size, segment.coefficients))
        c: Array = total[here].astype(word)  # mod 2^32 or 2^64
        c <<= word(mode.r)
        c -= block[: c.size]
        c += word(added)
        c &= word(segment.ring.mask)
        yield here, c
        at += c.size
