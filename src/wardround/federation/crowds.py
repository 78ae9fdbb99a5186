"""Do clients' scores form one crowd or two, and who belongs to the smaller?

A mixture of two normal distributions with one covariance, by expectation maximisation from several starts, against a
single distribution. The smaller crowd is the suspect one, on whichever side it lies: who lies may pull against the others
or far ahead of them. A long tail of odd, honest clients is one crowd.

Laws (tests/federation): the order of the clients and the units of the scores do not matter; one crowd gives no evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wardround.arrays import F64

SHARES = (0.05, 0.1, 0.2, 0.35)  # shares of hostile clients that the search for two crowds starts from
MOST = 0.45  # more than that is no minority
FEWEST = 1.5  # clients: a crowd of one is an outlier
STEPS, SETTLED = 40, 1e-3
TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Crowds:
    """``hostile`` [n]: posterior of being in the smaller crowd; how far the crowds stand ``apart``, in spreads; the ``evidence``
    for two (twice the logarithm of the likelihood ratio); ``towards`` [k]: the scores' combination that tells them apart best;
    ``lift``: by how much the smaller crowd's mean exceeds the larger one's in that combination.
    """

    hostile: F64
    apart: float
    evidence: float
    towards: F64
    lift: float


@dataclass(frozen=True, eq=False)
class _Two:
    """Two crowds: their means [k], the inverse of their covariance [k, k], the logarithm of its determinant."""

    low: F64
    high: F64
    share: float
    precision: F64
    logdet: float

    @property
    def gap(self) -> F64:
        return self.high - self.low

    def expected(self, values: F64) -> tuple[F64, float]:
        """(posterior of the smaller crowd [n], log-likelihood but for a constant)."""
        below = np.log(1 - self.share) - 0.5 * self._far(values - self.low)
        above = np.log(self.share) - 0.5 * self._far(values - self.high)
        both = np.logaddexp(below, above)
        return np.exp(above - both), float(both.sum() - 0.5 * len(values) * self.logdet)

    def _far(self, away: F64) -> F64:
        out: F64 = np.einsum("ni,ij,nj->n", away, self.precision, away)
        return out


def crowds(values: F64) -> Crowds:
    """Do ``values`` [n, k] (or [n]) form one crowd or two?"""
    given = values.reshape(len(values), -1)
    units = np.maximum(given.std(axis=0), 1e-12)
    scaled = (given - given.mean(axis=0)) / units
    n, k = scaled.shape
    best: tuple[float, F64, _Two] | None = None
    for start in _starts(scaled):
        found = _settled(scaled, start)
        if found is not None and (best is None or found[0] > best[0]):
            best = found
    if best is None:
        return Crowds(np.zeros(n), 0.0, 0.0, np.zeros(k), 0.0)
    likelihood, hostile, two = best
    single = -0.5 * n * (float(np.linalg.slogdet(_covariance(scaled.T @ scaled, n))[1]) + k)
    towards = two.precision @ two.gap
    lift = float(two.gap @ towards)
    return Crowds(hostile, float(np.sqrt(max(lift, 0.0))), 2.0 * (likelihood - single), towards / units, lift)


def _starts(values: F64) -> list[F64]:
    """First guesses of the smaller crowd [n]: the highest or the lowest few of each score."""
    n, guesses = len(values), []
    for upper in sorted({max(2, int(share * n)) for share in SHARES}):
        for score in values.T:
            order = np.argsort(score, kind="stable")
            for members in (order[-upper:], order[:upper]):
                if 2 * upper < n:
                    guess = np.zeros(n)
                    guess[members] = 1.0
                    guesses.append(guess)
    return guesses


def _settled(values: F64, guess: F64) -> tuple[float, F64, _Two] | None:
    """(log-likelihood, posterior [n], crowds) that ``guess`` leads to; None where it leads to no minority."""
    n, upper, found = len(values), guess, None
    for _ in range(STEPS):
        if not FEWEST <= upper.sum() <= MOST * n:
            return None
        two = _fitted(values, upper)
        last, (upper, likelihood) = upper, two.expected(values)
        found = likelihood, upper, two
        if float(np.abs(upper - last).max()) < SETTLED:
            break
    return found if found is not None and FEWEST <= upper.sum() <= MOST * n else None


def _fitted(values: F64, upper: F64) -> _Two:
    n, weight = len(values), float(upper.sum())
    high, low = upper @ values / weight, (1 - upper) @ values / (n - weight)
    around = ((values - low) * (1 - upper)[:, None]).T @ (values - low)
    around = around + ((values - high) * upper[:, None]).T @ (values - high)
    covariance = _covariance(around, n)
    precision = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
    return _Two(low, high, weight / n, precision, float(np.linalg.slogdet(covariance)[1]))


def _covariance(around: F64, n: int) -> F64:
    out: F64 = around / n + TINY * np.eye(len(around))
    return out
