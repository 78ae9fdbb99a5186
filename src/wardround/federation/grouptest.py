"""Who lies, from sums alone: group testing over cohorts that are dealt anew every round.

A cohort's mean carries its members' conduct added up, so what is measured on it is, to first order, the mean of what would be
measured on its members:

    y_c = (1/|c|) sum_{i in c} a_i + noise        a_i: how member i stands to a reference

Every client is in one cohort a round, always with others. After a few rounds there are more equations than clients and the
a_i follow by weighted ridge regression: no majority of clean cohorts is needed, only of clean clients. Three things are
measured, each in units that stay the same while the model settles:

    reference  minus the part along the server's own update (without a root set: along the rule's result), in its lengths
    consensus  minus the part along the mean of all rows, in its lengths: who sends nothing, or noise, has none of it
    spread     the squared distance from that mean, in usual ones: members' own add up, as independent noise does

The first rounds say most (updates are long and agree then), later ones drown in noise: rounds weigh by one over what the
regression leaves of them. Whether the a_i form one crowd or two is crowds.py's question.

FedGT (Xhemrishi, Oestman, Wachter-Zeh, Graell i Amat, IEEE TIFS 2025) tests fixed, overlapping groups once and decodes
yes/no verdicts; here the groups change every round, and how bad a group is counts too.

Laws (tests/federation): clients that never took part get 0; the names of the clients do not matter. What it does not do:
decide what becomes of a client (trust.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, F64, I64
from wardround.wire import message

FEATURES = ("reference", "consensus", "spread")
VIEWS: tuple[tuple[int, ...], ...] = ((0,), (1,), (0, 1, 2))  # features that are looked at together
RIDGE = 0.01  # of a client's whole weight: enough to make the first rounds solvable
FAR = 8.0  # spreads of a round's scores at which a cohort's is cut off, and where one stands whose sum was not opened
REWEIGHTED = 3  # fits, each with the rounds' noise as the last one left it
SHARED = 0.1  # part of the typical noise that every round has: none is trusted without end
QUIET = 1e-4
TINY = 1e-12


@message(0x5A01)
@dataclass(frozen=True, eq=False)
class Observation:
    """One round: ``cohort`` [clients], which row a client was in (-1: none), and the rows' ``scores`` [m, features]."""

    round: int
    cohort: I64
    scores: F64


@dataclass(frozen=True, eq=False)
class Estimates:
    """``values`` [clients, features]: a client's own scores; ``seen`` [clients]: rounds it was in."""

    values: F64
    seen: I64


def scores(rows: F32, reference: F32, sizes: F64, spoilt: int = 0) -> F64:
    """How each row [m, d] of ``sizes`` [m] clients stands to the ``reference`` [d] and to the mean of all: [m, features].

    Rows that are not finite, and ``spoilt`` further ones that were never opened, stand at the far end of every feature.
    """
    finite = np.isfinite(rows).all(axis=1)
    good, clients = rows[finite].astype(np.float64), np.maximum(sizes[finite], 1.0)
    mean = clients @ good / clients.sum()
    away = np.square(good - mean).sum(axis=1) * clients
    parts = [-_along(good, reference.astype(np.float64)), -_along(good, mean)]
    cut = np.stack([*parts, away / max(float(np.median(away)), TINY)], axis=1)
    middle = np.median(cut, axis=0)
    reach = FAR * (1.48 * np.median(np.abs(cut - middle), axis=0) + 1e-9)
    out = np.tile(middle + reach, (len(rows) + spoilt, 1))
    out[np.flatnonzero(finite)] = np.clip(cut, middle - reach, middle + reach)
    return out


def estimate(observations: Sequence[Observation], clients: int) -> Estimates:
    """Each client's own scores from the rounds observed."""
    seen = np.zeros(clients, dtype=np.int64)
    for each in observations:
        seen += each.cohort >= 0
    rounds = [_Equations.of(each.cohort, len(each.scores)) for each in observations]
    given = [each.scores - each.scores.mean(axis=0) for each in observations]  # a round's own level says nothing
    values = np.stack([_fitted(rounds, [y[:, at] for y in given], clients) for at in range(len(FEATURES))], axis=1)
    values[seen == 0] = 0.0
    return Estimates(values, seen)


@dataclass(frozen=True, eq=False)
class _Equations:
    """A round's design [rows, clients], whose entries are members' shares of their cohort's mean, less its mean row.

    Kept as what it is made of: who was ``present`` [p], in which ``row`` [p], with which ``share`` [p]; ``mean`` [clients].
    """

    present: I64
    row: I64
    share: F64
    mean: F64
    rows: int

    @classmethod
    def of(cls, cohort: I64, rows: int) -> _Equations:
        present = np.flatnonzero(cohort >= 0)
        row = cohort[present]
        share = 1.0 / np.bincount(row, minlength=rows)[row]
        mean = np.zeros(len(cohort))
        mean[present] = share / rows
        return cls(present, row, share, mean, rows)

    def add_to(self, normal: F64, weight: float) -> None:
        """Add the round's part of the normal equations [clients, clients]."""
        together = np.split(np.argsort(self.row, kind="stable"), np.cumsum(np.bincount(self.row, minlength=self.rows)))
        for members in together:
            if len(members):
                who, part = self.present[members], self.share[members]
                normal[np.ix_(who, who)] += weight * np.outer(part, part)
        normal -= weight * self.rows * np.outer(self.mean, self.mean)

    def transposed(self, y: F64) -> F64:
        """The design's transpose [clients, rows] @ y [rows]; ``y`` has mean 0."""
        out = np.zeros(len(self.mean))
        out[self.present] = self.share * y[self.row]
        return out

    def predicted(self, values: F64) -> F64:
        """The design @ values [clients]."""
        sums = np.bincount(self.row, weights=self.share * values[self.present], minlength=self.rows)
        out: F64 = sums - sums.mean()
        return out


def _fitted(rounds: Sequence[_Equations], given: Sequence[F64], clients: int) -> F64:
    """Members' scores [clients] of one feature: rounds weigh by one over their noise, which the fits find out."""
    noise = [2.2 * float(np.median(np.abs(y))) ** 2 + QUIET for y in given]
    values = np.zeros(clients)
    for _ in range(REWEIGHTED):
        normal, right = np.zeros((clients, clients)), np.zeros(clients)
        least = min(noise)
        for each, y, variance in zip(rounds, given, noise, strict=True):
            each.add_to(normal, least / variance)
            right += least / variance * each.transposed(y)
        typical = max(float(np.trace(normal)) / clients, TINY)
        values = np.asarray(np.linalg.solve(normal + RIDGE * typical * np.eye(clients), right), dtype=np.float64)
        left = [float(np.square(y - each.predicted(values)).mean()) for each, y in zip(rounds, given, strict=True)]
        noise = [part + SHARED * float(np.median(left)) + QUIET for part in left]
    return values


def _along(rows: F64, vector: F64) -> F64:
    """The part of each row along ``vector``, in its lengths."""
    out: F64 = rows @ vector / max(float(vector @ vector), TINY)
    return out
