"""Do clients' scores form one crowd or two, and who belongs to the smaller?

A mixture of two normal distributions with one covariance, by expectation maximisation from several starts, against one crowd:
normal, or with the long tails of Student's t, whichever explains the scores better. All starts take their steps together; one
that has settled or leads to no minority steps no more. The smaller crowd is the suspect one, on whichever side it lies: who
lies may pull against the others or far ahead of them. A few odd, honest clients are one crowd's tail, and those there are
wherever clients differ much (docs/design/0708).

Laws (tests/federation): the order of the clients and the units of the scores do not matter; one crowd gives no evidence, long
tails or not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F64, Bool

SHARES = (0.05, 0.1, 0.2, 0.35)  # shares of hostile clients that the search for two crowds starts from
MOST = 0.45  # more than that is no minority
FEWEST = 1.5  # clients: a crowd of one is an outlier
STEPS, SETTLED = 40, 1e-3
TAILS = 3.0  # degrees of freedom of one crowd with long tails: the fewest whose spread is finite
TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Crowds:
    """``hostile`` [n]: posterior of being in the smaller crowd; how far the crowds stand ``apart``, in spreads; the ``evidence``
    for two over one (twice the logarithm of the likelihood ratio); ``towards`` [k]: the scores' combination that tells them
    apart best; ``lift``: by how much the smaller crowd's mean exceeds the larger one's in that combination.
    """

    hostile: F64
    apart: float
    evidence: float
    towards: F64
    lift: float


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Two crowds for each of s starts: the means [s, k] of the larger one (``low``) and of the smaller one (``high``), the
    smaller one's ``share`` [s], their ``covariance`` [s, k, k], and its inverse times the gap between the means, ``towards``
    [s, k].
    """

    low: F64
    high: F64
    share: F64
    covariance: F64
    towards: F64

    @classmethod
    def fitted(cls, values: F64, whole: F64, upper: F64) -> _Pairs:
        """From the posteriors ``upper`` [s, n]; ``values`` [n, k] have mean 0 and the (invertible) covariance ``whole``.

        How far the crowds spread is how far all do, less what sets their means apart.
        """
        share, moment = upper.sum(axis=1) / len(values), upper @ values / len(values)
        high, low = moment / share[:, None], -moment / (1 - share)[:, None]
        covariance = whole - (share * (1 - share))[:, None, None] * _squared(high - low)
        towards = np.linalg.solve(covariance, (high - low)[:, :, None])[:, :, 0]
        return cls(low, high, share, covariance, towards)

    def odds(self, values: F64) -> F64:
        """Logarithm [s, n] of the odds of being in the smaller crowd."""
        halfway = ((self.low + self.high) * self.towards).sum(axis=1) / 2
        out: F64 = self.towards @ values.T + (np.log(self.share / (1 - self.share)) - halfway)[:, None]
        return out

    def likelihood(self, values: F64) -> F64:
        """Log-likelihood [s] but for a constant."""
        far = np.linalg.solve(self.covariance, _covariance(values) + _squared(self.low)).trace(axis1=1, axis2=2)
        as_larger = np.log(1 - self.share) - 0.5 * (far + np.linalg.slogdet(self.covariance)[1])
        out: F64 = len(values) * as_larger + np.logaddexp(0.0, self.odds(values)).sum(axis=1)
        return out


def crowds(values: F64) -> Crowds:
    """Do ``values`` [n, k] (or [n]) form one crowd or two?"""
    given = values.reshape(len(values), -1)
    units = np.maximum(given.std(axis=0), 1e-12)
    scaled = (given - given.mean(axis=0)) / units
    n, k = scaled.shape
    before, after = settled(scaled, starts(scaled))
    ends = np.flatnonzero(_minority(after))
    if not len(ends):
        return Crowds(np.zeros(n), 0.0, 0.0, np.zeros(k), 0.0)
    whole = _invertible(_covariance(scaled))
    pairs = _Pairs.fitted(scaled, whole, before[ends])
    likelihood = pairs.likelihood(scaled)
    best = int(np.argmax(likelihood))
    single = max(-0.5 * n * (float(np.linalg.slogdet(whole)[1]) + k), long_tailed(scaled))
    towards = pairs.towards[best]
    lift = float((pairs.high[best] - pairs.low[best]) @ towards)
    evidence = 2.0 * (float(likelihood[best]) - single)
    return Crowds(after[ends[best]], float(np.sqrt(max(lift, 0.0))), evidence, towards / units, lift)


def long_tailed(values: F64) -> float:
    """Log-likelihood of ``values`` [n, k] as one crowd with Student's t, but for the constant that normal ones leave out too.

    Expectation maximisation with expanded parameters (Liu, Rubin and Wu, Biometrika 85 (1998), section 4): the scatter is
    divided by the sum of the weights.
    """
    n, k = values.shape
    middle, scatter = values.mean(axis=0), _invertible(_covariance(values - values.mean(axis=0)))
    far = np.empty(n)
    for _ in range(STEPS):
        away = values - middle
        far = (away * np.linalg.solve(scatter, away.T).T).sum(axis=1)
        weights = (TAILS + k) / (TAILS + far)
        middle = weights @ values / weights.sum()
        away = values - middle
        last, scatter = scatter, _invertible((away * weights[:, None]).T @ away / weights.sum())
        if np.abs(scatter - last).max() <= SETTLED * np.abs(last).max():
            break
    away = values - middle
    far = (away * np.linalg.solve(scatter, away.T).T).sum(axis=1)
    each = math.lgamma((TAILS + k) / 2) - math.lgamma(TAILS / 2) + k / 2 * math.log(2 / TAILS)
    spread = 0.5 * n * float(np.linalg.slogdet(scatter)[1])
    return float(n * each - spread - (TAILS + k) / 2 * np.log1p(far / TAILS).sum())


def starts(values: F64) -> F64:
    """First guesses [s, n] of the smaller crowd: the highest or the lowest few of each score."""
    n, order = len(values), np.argsort(values, axis=0, kind="stable").T
    guesses = []
    for upper in sorted({max(2, int(share * n)) for share in SHARES}):
        if 2 * upper < n:
            guesses += [members for score in order for members in (score[-upper:], score[:upper])]
    out = np.zeros((len(guesses), n))
    for guess, members in zip(out, guesses, strict=True):
        guess[members] = 1.0
    return out


def settled(values: F64, guesses: F64) -> tuple[F64, F64]:
    """Where each of the ``guesses`` [s, n] leads: the posteriors [s, n] before and after its last step.

    Those after it are of no minority where the guess leads to none.
    """
    whole, before, after = _invertible(_covariance(values)), guesses.copy(), guesses.copy()
    going = np.flatnonzero(_minority(after))
    for _ in range(STEPS):
        if not len(going):
            break
        last = before[going] = after[going]
        upper = after[going] = 0.5 + 0.5 * np.tanh(_Pairs.fitted(values, whole, last).odds(values) / 2)
        going = going[(np.abs(upper - last).max(axis=1) >= SETTLED) & _minority(upper)]
    return before, after


def _minority(upper: F64) -> Bool:
    """Which of the posteriors [s, n] are of a crowd of more than one and less than half [s]."""
    clients = upper.sum(axis=1)
    out: Bool = (clients >= FEWEST) & (clients <= MOST * upper.shape[1])
    return out


def _squared(vectors: F64) -> F64:
    """Each of ``vectors`` [s, k] times itself [s, k, k]."""
    return vectors[:, :, None] * vectors[:, None, :]


def _covariance(values: F64) -> F64:
    """Of ``values`` [n, k] of mean 0."""
    out: F64 = values.T @ values / len(values)
    return out


def _invertible(covariance: F64) -> F64:
    """A little more, so that it has an inverse where scores say the same."""
    out: F64 = covariance + TINY * np.eye(len(covariance))
    return out
