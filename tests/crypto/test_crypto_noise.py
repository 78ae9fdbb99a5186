"""Discrete noise: the distributions are what they are called, to the last table entry."""

import math
from fractions import Fraction

import numpy as np
import pytest

from wardround.crypto import noise

SEED = bytes(range(32))


def seeds(count: int) -> list[bytes]:
    return [bytes([i % 256, i // 256]) + bytes(30) for i in range(count)]


def test_the_table_is_the_discrete_gaussian_to_a_hundred_bits() -> None:
    table = noise._gaussian(2.5)
    x = range(-40, 41)
    weights = [Fraction(math.exp(-(i**2) / 12.5)) for i in x]  # float64: good to 2^-52
    whole = sum(weights)
    for at in (-6, -1, 0, 3):
        i = at - table.low
        upto = Fraction(int(table.high[i]) * 2**63 + int(table.deep[i]), 2**126)
        assert abs(float(upto) - float(sum(w for k, w in zip(x, weights, strict=True) if k <= at) / whole)) < 1e-15


@pytest.mark.parametrize("rate", [0.5, 3.0, 40.5])
def test_the_table_is_poissons(rate: float) -> None:
    table, total = noise._poisson(rate), 0.0
    for k in range(60):
        total += math.exp(-rate + k * math.log(rate) - math.lgamma(k + 1))
        i = k - table.low
        if 0 <= i < table.high.size:
            assert abs(int(table.high[i]) / 2.0**63 - total) < 1e-14


@pytest.mark.parametrize(
    "draw", [lambda s, n: noise.discrete_gaussian(s, n, 3.0), lambda s, n: noise.skellam(s, n, 9.0)]
)
def test_moments_and_symmetry(draw: object) -> None:
    x = np.concatenate([draw(seed, 20_000) for seed in seeds(10)])  # type: ignore[operator]
    assert abs(x.mean()) < 4 * 3 / math.sqrt(x.size)
    assert abs(x.var() / 9 - 1) < 4 * math.sqrt(2 / x.size) * 1.2
    assert abs((x > 0).mean() - (x < 0).mean()) < 4 / math.sqrt(x.size)


def test_chi_square_of_a_small_discrete_gaussian() -> None:
    x = noise.discrete_gaussian(SEED, 100_000, 1.0)
    values = np.arange(-3, 4)
    expected = np.exp(-(values**2) / 2.0)
    expected /= np.exp(-(np.arange(-20, 21) ** 2) / 2.0).sum()
    found = np.array([(x == v).sum() for v in values])
    assert ((found - 1e5 * expected) ** 2 / (1e5 * expected)).sum() < 26, "7 cells: chi-square beyond 0.999"


def test_ties_of_the_first_word_are_decided_by_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    table = noise._gaussian(1.0)
    at = -table.low  # the threshold of x = 0
    words = np.array([table.high[at], table.high[at], 0, 2**63 - 1], np.uint64) << np.uint64(1)
    monkeypatch.setattr(noise, "uniform_words", lambda seed, count: words)
    low, high = noise._invert(SEED, 2, table)
    assert (low, high) == (0, 1)


def test_deterministic_and_refused_out_of_range() -> None:
    assert (noise.discrete_gaussian(SEED, 50, 7.5) == noise.discrete_gaussian(SEED, 50, 7.5)).all()
    for sigma in (0.5, 2.0**17, math.nan):
        with pytest.raises(ValueError, match="grid units"):
            noise.discrete_gaussian(SEED, 1, sigma)
        with pytest.raises(ValueError, match="grid units"):
            noise.skellam(SEED, 1, sigma**2)
