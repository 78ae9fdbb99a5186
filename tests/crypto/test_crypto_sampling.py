"""Sampling: determinism, prefixes, the law of CBD(64), uniform field elements."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from wardround.crypto.sampling import (
    GROUP,
    accept,
    centred_binomial,
    challenge_elements,
    field_elements,
    stream_bytes,
    subseed,
    uniform_words,
)
from wardround.crypto.sharing import PRIME

SEED = bytes(range(32))


def test_streams_are_aes_256_ctr() -> None:
    # SP 800-38A counter mode from a zero block: the keystream is AES(0), AES(1), ...
    assert (
        stream_bytes(bytes(32), 16).hex() == "dc95c078a2408989ad48a21492842087"
    )  # FIPS 197 / CAVP: AES-256, zero key and block
    assert uniform_words(SEED, 5).tobytes() == stream_bytes(SEED, 40)
    assert uniform_words(SEED, 9)[:5].tobytes() == uniform_words(SEED, 5).tobytes()
    assert len(stream_bytes(SEED, 3_000_001)) == 3_000_001


@pytest.mark.parametrize("seed", [b"", bytes(16), bytes(33)])
def test_seeds_have_32_bytes(seed: Any) -> None:
    for draw in (stream_bytes, centred_binomial):
        with pytest.raises(ValueError, match="32 bytes"):
            draw(seed, 8)


def test_centred_binomial_is_popcount_minus_popcount_group_by_group() -> None:
    count = 2 * GROUP + 999
    words = [int(word) for word in uniform_words(SEED, 2 * count)]
    expected: list[int] = []
    for size in (GROUP, GROUP, 999):
        up, down, words = words[:size], words[size : 2 * size], words[2 * size :]
        expected += [a.bit_count() - b.bit_count() for a, b in zip(up, down, strict=True)]
    assert not words
    assert centred_binomial(SEED, count).tolist() == expected
    assert centred_binomial(SEED, 5).tolist() == [
        int(a).bit_count() - int(b).bit_count()
        for a, b in zip(uniform_words(SEED, 5), uniform_words(SEED, 10)[5:], strict=True)
    ]


def test_centred_binomial_has_variance_32_and_fits_the_binomial_law() -> None:
    x = centred_binomial(subseed(SEED, b"law"), 400_000).astype(int)
    assert abs(x.mean()) < 0.05
    assert abs(x.var() - 32) < 0.3
    from math import comb

    cells = range(-12, 13)
    observed = np.array([np.sum(x == v) for v in cells])
    expected = np.array([comb(128, 64 + v) / 2**128 * x.size for v in cells])
    assert ((observed - expected) ** 2 / expected).sum() < 60  # chi-square, 25 cells, p about 1e-4


def test_field_elements_are_uniform_and_below_the_prime() -> None:
    x = field_elements(SEED, 300_000, PRIME)
    assert x.min() >= 0
    assert x.max() < PRIME
    cells = np.bincount(x * 64 // PRIME, minlength=64)
    expected = np.bincount(np.arange(PRIME) * 64 // PRIME, minlength=64) * x.size / PRIME
    assert ((cells - expected) ** 2 / expected).sum() < 120


def test_refused_draws_are_left_out() -> None:
    draws = np.array([PRIME, 3, 65535, 4], np.uint16)
    assert accept(draws, 2, PRIME).tolist() == [3, 4]
    with pytest.raises(RuntimeError, match="held 2"):
        accept(draws, 3, PRIME)


def test_challenges_are_shake_256() -> None:
    raw = np.frombuffer(hashlib.shake_256(b"x").digest(64), "<u2")
    assert challenge_elements(b"x", 8, PRIME).tolist() == [int(v) for v in raw if v < PRIME][:8]


def test_subseeds_differ() -> None:
    assert len({subseed(SEED, label) for label in (b"", b"a", b"b", b"ab")}) == 4
