"""Whole-number noise for differential privacy: discrete Gaussian and Skellam, from a 32-byte seed.

    discrete Gaussian   P(x) ~ exp(-x^2 / 2 sigma^2) over the integers       Canonne, Kamath, Steinke, NeurIPS 2020
    Skellam             difference of two Poisson(variance / 2) numbers      Agarwal, Kairouz, Liu, NeurIPS 2021

Both are drawn by inverting the distribution function with 126 random bits; its table is computed in whole numbers of 256 bits, so
no floating point is between the definition and the sample. A sample is within ``DISTANCE`` of the true distribution (total
variation: 12 standard deviations to each side, thresholds of 126 bits): beside any delta that is nothing.

Laws: deterministic in the seed; mean 0 and the variance asked for; symmetric.
What it does not do: say how much noise is enough (secagg/privacy.py, drivers/privacy.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import ceil

import numpy as np

from wardround.arrays import I64, U64
from wardround.crypto.sampling import subseed, uniform_words

DISTANCE = 2.0**-100
WIDEST = 2.0**16
_DEVIATIONS = 12
_BITS = 256
_ONE = 1 << _BITS
_HALF = 63  # bits per word of a threshold


@dataclass(frozen=True, eq=False)
class _Table:
    """Sample ``low`` + i where i thresholds (``high`` 2^63 + ``deep``) / 2^126 lie at or below the draw."""

    low: int
    high: U64
    deep: U64


def discrete_gaussian(seed: bytes, count: int, sigma: float) -> I64:
    """``count`` samples.

    Raises:
        ValueError: sigma lies outside [1, 2^16].
    """
    _in_range(sigma)
    return _invert(seed, count, _gaussian(sigma))


def skellam(seed: bytes, count: int, variance: float) -> I64:
    """``count`` samples.

    Raises:
        ValueError: the square root of the variance lies outside [1, 2^16].
    """
    _in_range(variance**0.5)
    table = _poisson(variance / 2)
    return _invert(subseed(seed, b"first"), count, table) - _invert(subseed(seed, b"second"), count, table)


def _in_range(sigma: float) -> None:
    if not 1 <= sigma <= WIDEST:
        raise ValueError(f"a standard deviation of {sigma:g} grid units, 1 to {WIDEST:.0f} can be drawn")


def _invert(seed: bytes, count: int, table: _Table) -> I64:
    words = uniform_words(seed, 2 * count) >> np.uint64(1)
    first, second = words[:count], words[count:]
    found = np.searchsorted(table.high, first, side="right").astype(np.int64)
    below = np.searchsorted(table.high, first, side="left")
    for at in np.flatnonzero(below != found):  # a draw whose first word is a threshold's: one in 2^40
        same = slice(int(below[at]), int(found[at]))
        found[at] = below[at] + int(np.searchsorted(table.deep[same], second[at], side="right"))
    return found + table.low


@lru_cache(maxsize=4)
def _gaussian(sigma: float) -> _Table:
    reach = ceil(_DEVIATIONS * sigma) + 1
    ratio = _exp_minus(
        *_halved_inverse_square(sigma)
    )  # exp(-1 / 2 sigma^2); weight(x + 1) / weight(x) = ratio^(2x + 1)
    side, weight, step, square = [_ONE], _ONE, ratio, (ratio * ratio) >> _BITS
    for _ in range(reach):
        weight = (weight * step) >> _BITS
        step = (step * square) >> _BITS
        side.append(weight)
    return _table(-reach, [*side[:0:-1], *side])


@lru_cache(maxsize=4)
def _poisson(rate: float) -> _Table:
    reach = _DEVIATIONS * rate**0.5 + 2 * _DEVIATIONS  # the upper tail of a small rate is heavier than a Gaussian's
    low, mode, high = max(0, int(rate - reach)), int(rate), int(rate + reach) + 1
    over, under = rate.as_integer_ratio()

    def upward() -> Iterator[int]:
        weight = _ONE
        for k in range(mode + 1, high + 1):
            weight = weight * over // (under * k)
            yield weight

    def downward() -> Iterator[int]:
        weight = _ONE
        for k in range(mode, low, -1):
            weight = weight * under * k // over
            yield weight

    return _table(low, [*list(downward())[::-1], _ONE, *upward()])


def _table(low: int, weights: list[int]) -> _Table:
    """Thresholds of the distribution with these weights, all but the last (which is everything)."""
    sums = list(accumulate(weights))
    whole = sums[-1]
    scaled = [(part << (2 * _HALF)) // whole for part in sums[:-1]]
    mask = (1 << _HALF) - 1
    high = np.fromiter((each >> _HALF for each in scaled), np.uint64, len(scaled))
    return _Table(low, high, np.fromiter((each & mask for each in scaled), np.uint64, len(scaled)))


def _halved_inverse_square(sigma: float) -> tuple[int, int]:
    """1 / (2 sigma^2) as an exact ratio."""
    over, under = sigma.as_integer_ratio()
    return under * under, 2 * over * over


def _exp_minus(over: int, under: int) -> int:
    """exp(-over / under) with 256 bits behind the point, for a ratio in [0, 1]: Taylor's series in whole numbers."""
    x = (over << _BITS) // under
    term, total, k = _ONE, _ONE, 0
    while term:
        k += 1
        term = ((term * x) >> _BITS) // k
        total += -term if k % 2 else term
    return total
