"""Whole-number noise for differential privacy: discrete Gaussian and Skellam, from a 32-byte seed.

    discrete Gaussian   P(x) ~ exp(-x^2 / 2 sigma^2) over the integers       Canonne, Kamath, Steinke, NeurIPS 2020
    Skellam             difference of two Poisson(variance / 2) numbers      Agarwal, Kairouz, Liu, NeurIPS 2021

Both are drawn by inverting a table of the distribution function with 63 random bits: no rejection, the same steps for every
sample. The table holds 12 standard deviations to each side; with its rounding a sample is within ``DISTANCE`` of the true
distribution (total variation), which an accountant adds to delta.

Laws: deterministic in the seed; mean 0 and the variance asked for; symmetric.
What it does not do: say how much noise is enough (secagg/privacy.py, drivers/privacy.py).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from wardround.arrays import F64, I64, U64
from wardround.crypto.sampling import subseed, uniform_words

DISTANCE = 2.0**-45
WIDEST = 2.0**18
_DEVIATIONS = 12


def discrete_gaussian(seed: bytes, count: int, sigma: float) -> I64:
    """``count`` samples.

    Raises:
        ValueError: sigma lies outside [1, 2^18].
    """
    _in_range(sigma)
    low, table = _gaussian(sigma)
    return _invert(seed, count, low, table)


def skellam(seed: bytes, count: int, variance: float) -> I64:
    """``count`` samples.

    Raises:
        ValueError: the square root of the variance lies outside [1, 2^18].
    """
    _in_range(variance**0.5)
    low, table = _poisson(variance / 2)
    first = _invert(subseed(seed, b"first"), count, low, table)
    return first - _invert(subseed(seed, b"second"), count, low, table)


def _in_range(sigma: float) -> None:
    if not 1 <= sigma <= WIDEST:
        raise ValueError(f"a standard deviation of {sigma:g} grid units, 1 to {WIDEST:.0f} can be drawn")


def _invert(seed: bytes, count: int, low: int, table: U64) -> I64:
    draws = uniform_words(seed, count) >> np.uint64(1)
    found: I64 = np.searchsorted(table, draws, side="right").astype(np.int64)
    return found + low


@lru_cache(maxsize=8)
def _gaussian(sigma: float) -> tuple[int, U64]:
    reach = int(np.ceil(_DEVIATIONS * sigma)) + 1
    x = np.arange(-reach, reach + 1, dtype=np.float64)
    return -reach, _thresholds(np.exp(-0.5 * (x / sigma) ** 2))


@lru_cache(maxsize=8)
def _poisson(rate: float) -> tuple[int, U64]:
    reach = _DEVIATIONS * rate**0.5 + 2 * _DEVIATIONS  # the upper tail of a small rate is heavier than a Gaussian's
    low = max(0, int(rate - reach))
    k = np.arange(low, int(rate + reach) + 1, dtype=np.float64)
    return low, _thresholds(np.exp(_log_poisson(k, rate)))


def _log_poisson(k: F64, rate: float) -> F64:
    """log of the Poisson probabilities by the saddle point (Loader 2000): no large terms that cancel."""
    safe = np.maximum(k, 1.0)
    u = (k - rate) / rate
    small = np.abs(u) < 0.05
    series = u**2 * (1 / 2 - u * (1 / 6 - u * (1 / 12 - u * (1 / 20 - u * (1 / 30 - u * (1 / 42 - u / 56))))))
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = (1 + u) * np.log1p(u) - u
    deviance = rate * np.where(small, series, exact)
    stirling = 1 / (12 * safe) - 1 / (360 * safe**3) + 1 / (1260 * safe**5) - 1 / (1680 * safe**7)
    found = -stirling - deviance - 0.5 * np.log(2 * np.pi * safe)
    few = k < 16  # Stirling's series is not exact enough: add up logarithms
    if few.any():
        whole = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 17, dtype=np.float64)))])
        index = np.minimum(k, 16).astype(np.int64)
        found = np.where(few, k * np.log(rate) - rate - whole[index], found)
    return np.asarray(found, dtype=np.float64)


def _thresholds(weights: F64) -> U64:
    """Distribution function times 2^63, without its last entry (which is everything)."""
    whole = np.cumsum(weights.astype(np.longdouble))
    scaled = whole / whole[-1] * np.longdouble(2.0**63)
    found: U64 = np.minimum(np.rint(scaled), np.longdouble(2.0**63)).astype(np.uint64)[:-1]
    return found
