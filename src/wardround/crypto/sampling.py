"""Randomness from a 32-byte seed: AES-256-CTR words, centred binomials, uniform field elements.

The counter mode of AES (NIST SP 800-38A) is the extendable output: the hardware does about 5 GB/s, hashing a tenth of
that. A seed is used for one purpose; ``subseed`` gives independent seeds for several (HMAC-SHA-256 of a label).

``CBD(64)`` = popcount of 64 bits - popcount of 64 bits: variance 32, |x| <= 64, constant time. Keys and errors of the
lattice scheme are drawn so and never ternary: the *sum* of keys becomes public, and of two ternary keys it shows 2/9
of the coefficients outright (docs/design/0201).

Laws: deterministic in the seed; a longer draw extends a shorter one of ``uniform_words``.
What it does not do: gather entropy. Seeds are arguments; drivers take them from the operating system.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from wardround.arrays import I64, U16, U64

I8: TypeAlias = NDArray[np.int8]

SEED_BYTES = 32
CBD_VARIANCE = 32
CBD_LARGEST = 64
_ZEROS = bytes(1 << 20)
GROUP = 8192  # samples: 128 KiB of the stream, which stay in the second-level cache


def stream_bytes(seed: bytes, count: int) -> bytes:
    """``count`` pseudorandom bytes.

    Raises:
        ValueError: the seed is not 32 bytes.
    """
    return _encryptor(seed).update(_ZEROS[:count] if count <= len(_ZEROS) else bytes(count))


def uniform_words(seed: bytes, count: int) -> U64:
    """``count`` uniform 64-bit words (read-only)."""
    return np.frombuffer(stream_bytes(seed, 8 * count), dtype="<u8").astype(np.uint64, copy=False)


def subseed(seed: bytes, label: bytes) -> bytes:
    """The independent seed of ``label`` under ``seed``."""
    return hmac.digest(seed, label, "sha256")


def centred_binomial(seed: bytes, count: int) -> I8:
    """``count`` samples of CBD(64)."""
    out = np.empty(count, np.int8)
    for number, group in enumerate(binomials(seed, count)):
        out[number * GROUP : number * GROUP + group.size] = group
    return out


def binomials(seed: bytes, count: int) -> Iterator[I8]:
    """``count`` samples of CBD(64), GROUP at a time (the last group holds what is left): of a group's 64-bit words the first half
    counts up, the second down. A group is overwritten by the next.
    """
    encryptor = _encryptor(seed)
    buffer = bytearray(16 * min(GROUP, count) + 15)  # the cipher's interface wants room for one more block
    ones, out = np.empty(2 * GROUP, np.uint8), np.empty(GROUP, np.int8)
    for at in range(0, count, GROUP):
        size = min(GROUP, count - at)
        encryptor.update_into(memoryview(_ZEROS)[: 16 * size], buffer)
        counted = np.bitwise_count(np.frombuffer(buffer, "<u8", 2 * size), out=ones[: 2 * size]).view(np.int8)
        # 0..64 fits int8, and so does the difference
        yield np.subtract(counted[:size], counted[size:], out=out[:size])


def field_elements(seed: bytes, count: int, prime: int) -> I64:
    """``count`` elements uniform in [0, prime), 2^15 < prime < 2^16, by rejection of 16-bit draws.

    Raises:
        RuntimeError: the stream held too few acceptable draws (probability below 2^-60 for prime = 65521).
    """
    return accept(np.frombuffer(stream_bytes(seed, 2 * _draws(count)), "<u2").astype(np.uint16), count, prime)


def challenge_elements(digest_input: bytes, count: int, prime: int) -> I64:
    """``count`` field elements as a public function of ``digest_input`` (SHAKE-256): the Fiat-Shamir challenge."""
    raw = hashlib.shake_256(digest_input).digest(2 * _draws(count))
    return accept(np.frombuffer(raw, "<u2").astype(np.uint16), count, prime)


def accept(draws: U16, count: int, prime: int) -> I64:
    """The first ``count`` of ``draws`` below ``prime``."""
    accepted = draws[draws < prime][:count]
    if accepted.size < count:
        raise RuntimeError(f"{count} field elements wanted, the stream held {accepted.size}")
    return accepted.astype(np.int64)


def _draws(count: int) -> int:
    return count + count // 256 + 32  # 15/65536 of the draws are refused: 32 spare ones beyond 17 times the mean


def _encryptor(seed: bytes) -> CipherContext:
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    # counter 0 is safe: a seed is never used for two streams
    return Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
