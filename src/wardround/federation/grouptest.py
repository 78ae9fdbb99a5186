"""Who lies, from sums alone: group testing over cohorts that are dealt anew every round.

A cohort's mean carries its members' conduct added up, so what is measured on it is, to first order, the mean of what would be
measured on its members:

    y_c = (1/|c|) sum_{i in c} a_i + noise        a_i: how far member i stands against the reference

Every client is in one cohort a round, always with others. After a few rounds there are more equations than clients and the
a_i follow by ridge regression: no majority of clean cohorts is needed, only of clean clients. Then one asks whether the a_i
form one crowd or two (a mixture of two normal distributions with one spread, by expectation maximisation, against a single
one): only where two explain them far better, and stand far enough apart, is the smaller, worse crowd called hostile.
Honest clients with rare data have bad a_i too, but they trail off; they do not form a crowd of their own.

FedGT (Xhemrishi, Oestman, Wachter-Zeh, Graell i Amat, IEEE TIFS 2025) tests fixed, overlapping groups once and decodes
yes/no verdicts; here the groups change every round, and how bad a group is counts too.

Laws (tests/federation): clients that never took part get 0; the names of the clients do not matter; one crowd gives no posterior
above 0. What it does not do: decide what becomes of a client (trust.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, F64, I64
from wardround.wire import message

FEATURES = ("direction", "projection", "both")
RIDGE = 0.02  # of one appearance's weight: enough to make the first rounds solvable, too little to shrink later ones
WORST, BEST = 8.0, -4.0  # spreads of a round's scores beyond which a cohort is not worse or better
SPREADS = (0.03, 0.06, 0.1, 0.2, 0.3, 0.4)  # shares of hostile clients that the search for two crowds starts from
MOST = 0.45  # more than that is no minority
STEPS = 60


@message(0x5A01)
@dataclass(frozen=True, eq=False)
class Observation:
    """One round: ``cohort`` [clients], which row a client was in (-1: none), and the rows' ``scores`` [m, features]."""

    round: int
    cohort: I64
    scores: F64


@dataclass(frozen=True, eq=False)
class Estimates:
    """``values`` [clients, features]: a client's own scores, the higher the worse; ``seen`` [clients]: rounds it was in."""

    values: F64
    seen: I64


@dataclass(frozen=True, eq=False)
class Crowds:
    """``hostile`` [n]: posterior of being in the worse crowd; how far the crowds stand apart, in spreads; the ``evidence``
    for two (twice the logarithm of the likelihood ratio); the two ``centres``.
    """

    hostile: F64
    apart: float
    evidence: float
    centres: tuple[float, float]


def scores(rows: F32, reference: F32) -> F64:
    """How bad each row [m, d] looks beside the reference [d]: [m, features], each feature scaled over the rows of the round.

    direction: minus the cosine; projection: minus the part along the reference, in median lengths; both: their mean.
    Not the length: rules cut it, and honest clients with long updates do form a crowd (measured under noise attacks).
    """
    lengths = np.maximum(np.linalg.norm(rows.astype(np.float64), axis=1), 1e-30)
    usual = max(float(np.median(lengths)), 1e-30)
    along = rows.astype(np.float64) @ reference.astype(np.float64) / max(float(np.linalg.norm(reference)), 1e-30)
    direction = _scaled(-along / lengths)
    projection = _scaled(-np.clip(along / usual, -3.0, 3.0))
    return np.stack([direction, projection, (direction + projection) / 2], axis=1)


def estimate(observations: Sequence[Observation], clients: int) -> Estimates:
    """Each client's own scores from the rounds observed."""
    normal = np.zeros((clients, clients))
    right = np.zeros((clients, len(FEATURES)))
    seen = np.zeros(clients, dtype=np.int64)
    for each in observations:
        design = _design(each)
        design = design - design.mean(axis=0)  # a round's own level says nothing about a client
        normal += design.T @ design
        right += design.T @ (each.scores - each.scores.mean(axis=0))
        seen += each.cohort >= 0
    typical = max(float(np.diag(normal).mean()), 1e-9) / max(float(seen.mean()), 1e-9)
    values = np.asarray(np.linalg.solve(normal + RIDGE * typical * np.eye(clients), right), dtype=np.float64)
    values[seen == 0] = 0.0
    return Estimates(values, seen)


def crowds(values: F64) -> Crowds:
    """Do ``values`` [n] form one crowd or two, and who belongs to the higher?"""
    n, ordered = len(values), np.sort(values)
    single = _single(values)
    best: tuple[float, F64, float, tuple[float, float]] | None = None
    for upper in sorted({max(2, int(share * n)) for share in SPREADS}):
        if 2 * upper < n:
            found = _mixture(values, float(ordered[:-upper].mean()), float(ordered[-upper:].mean()), upper / n)
            best = found if best is None or found[0] > best[0] else best
    if best is None:
        return Crowds(np.zeros(n), 0.0, 0.0, (float(values.mean()), float(values.mean())))
    return Crowds(best[1], best[2], 2.0 * (best[0] - single), best[3])


def _design(each: Observation) -> F64:
    """[rows, clients]: a client's share of its cohort's mean."""
    present = np.flatnonzero(each.cohort >= 0)
    design = np.zeros((len(each.scores), len(each.cohort)))
    design[each.cohort[present], present] = 1.0
    out: F64 = design / np.maximum(design.sum(axis=1, keepdims=True), 1.0)
    return out


def _scaled(raw: F64) -> F64:
    """About the median, in units of the median deviation, cut on both sides."""
    centred = raw - np.median(raw)
    spread = 1.48 * float(np.median(np.abs(centred))) + 1e-9
    return np.clip(centred / spread, BEST, WORST)


def _single(values: F64) -> float:
    """Log-likelihood of one normal distribution, but for a constant."""
    return float(-0.5 * len(values) * (np.log(max(float(values.var()), 1e-18)) + 1.0))


def _mixture(values: F64, low: float, high: float, share: float) -> tuple[float, F64, float, tuple[float, float]]:
    """Two crowds of one spread by expectation maximisation: log-likelihood, posterior of the higher, distance, centres."""
    n = len(values)
    spread = max(float(np.minimum((values - low) ** 2, (values - high) ** 2).mean()), 1e-12)
    upper = np.zeros(n)
    for _ in range(STEPS):
        upper, _ = _expected(values, low, high, share, spread)
        weight = max(float(upper.sum()), 1e-9)
        share = min(max(weight / n, 1e-3), MOST)
        low, high = float((1 - upper) @ values) / max(n - weight, 1e-9), float(upper @ values) / weight
        spread = max(float(((1 - upper) @ (values - low) ** 2 + upper @ (values - high) ** 2) / n), 1e-12)
    upper, likelihood = _expected(values, low, high, share, spread)
    apart = (high - low) / float(np.sqrt(spread))
    return likelihood, upper if apart > 0 else np.zeros(n), apart, (low, high)


def _expected(values: F64, low: float, high: float, share: float, spread: float) -> tuple[F64, float]:
    """(posterior of the higher crowd [n], log-likelihood but for the same constant as ``_single``)."""
    below = np.log(1 - share) - 0.5 * (values - low) ** 2 / spread
    above = np.log(share) - 0.5 * (values - high) ** 2 / spread
    both = np.logaddexp(below, above)
    return np.exp(above - both), float(both.sum() - 0.5 * len(values) * np.log(spread))
