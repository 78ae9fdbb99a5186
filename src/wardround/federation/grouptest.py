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


def rounds_in(observations: Sequence[Observation], clients: int) -> I64:
    """In how many of the rounds each client was [clients]."""
    seen = np.zeros(clients, dtype=np.int64)
    for each in observations:
        seen += each.cohort >= 0
    return seen


def estimate(observations: Sequence[Observation], clients: int) -> F64:
    """Each client's own scores [clients, features] from the rounds observed; 0 for those that were in none.

    Memory grows with clients squared, and with pairs of clients that were in a cohort together.
    """
    design = _Design.of([each.cohort for each in observations], [len(each.scores) for each in observations])
    level = [each.scores - each.scores.mean(axis=0) for each in observations]  # a round's own level says nothing
    noise = np.stack([2.2 * np.median(np.abs(y), axis=0) ** 2 for y in level]) + QUIET
    given = np.concatenate(level)
    values = np.stack([_fitted(design, given[:, at], noise[:, at]) for at in range(len(FEATURES))], axis=1)
    values[rounds_in(observations, clients) == 0] = 0.0
    return values


@dataclass(frozen=True, eq=False)
class _Design:
    """The rounds' equations, [rows, clients]: members' shares of their cohort's mean, less the mean of the round's rows.

    Kept as what it is made of. Entries, ordered by row: ``client`` [e], ``row`` [e], ``share`` [e]. Rows: the ``round`` [rows]
    each is of. Rounds: their ``mean`` row [rounds, clients], how many ``rows`` [rounds] they have. Pairs of entries of one row:
    place in [clients, clients] (``pair_at``), row and product of shares (``pair_row``, ``pair_share``).
    """

    client: I64
    row: I64
    share: F64
    round: I64
    mean: F64
    rows: I64
    pair_at: I64
    pair_row: I64
    pair_share: F64

    @classmethod
    def of(cls, cohorts: Sequence[I64], rows: Sequence[int]) -> _Design:
        """Of each round's ``cohorts`` [clients] (a client's row, or -1) and how many ``rows`` it has."""
        count, table = np.asarray(rows, dtype=np.int64), np.stack(cohorts)
        which, client = np.nonzero(table >= 0)
        row = (np.cumsum(count) - count)[which] + table[which, client]
        order = np.argsort(row, kind="stable")
        which, client, row = which[order], client[order], row[order]
        members = np.bincount(row, minlength=int(count.sum()))
        share = 1.0 / members[row]
        mean = np.zeros(table.shape)
        mean[which, client] = share / count[which]
        one, other = _pairs(members)
        pair_at = client[one] * table.shape[1] + client[other]
        round_ = np.repeat(np.arange(len(count)), count)
        return cls(client, row, share, round_, mean, count, pair_at, row[one], share[one] * share[other])

    def normal(self, weights: F64) -> F64:
        """The design's transpose times the design, rounds weighing ``weights`` [rounds]: [clients, clients]."""
        clients = self.mean.shape[1]
        products = _summed(self.pair_at, weights[self.round][self.pair_row] * self.pair_share, clients**2)
        return products.reshape(clients, clients) - (self.mean * (weights * self.rows)[:, None]).T @ self.mean

    def transposed(self, y: F64) -> F64:
        """The design's transpose [clients, rows] @ y [rows]; every round's ``y`` has mean 0."""
        return _summed(self.client, self.share * y[self.row], self.mean.shape[1])

    def predicted(self, values: F64) -> F64:
        """The design @ values [clients]: [rows]."""
        sums = _summed(self.row, self.share * values[self.client], len(self.round))
        out: F64 = sums - self.by_round(sums)[self.round]
        return out

    def by_round(self, values: F64) -> F64:
        """Mean [rounds] of the ``values`` [rows] of a round."""
        return _summed(self.round, values, len(self.rows)) / np.maximum(self.rows, 1)


def _summed(at: I64, values: F64, count: int) -> F64:
    """Sums [count] of the ``values`` that share a place ``at``."""
    return np.asarray(np.bincount(at, weights=values, minlength=count), dtype=np.float64)


def _pairs(members: I64) -> tuple[I64, I64]:
    """All ordered pairs of entries of one row, where consecutive rows have so many ``members``: (one [p], other [p])."""
    partners = np.repeat(members, members)  # of each entry
    one = np.repeat(np.arange(len(partners)), partners)
    first_pair, first_entry = np.cumsum(partners) - partners, np.repeat(np.cumsum(members) - members, members)
    return one, np.arange(len(one)) + (first_entry - first_pair)[one]


def _fitted(design: _Design, given: F64, noise: F64) -> F64:
    """Members' scores [clients] of one feature from the rows' ``given`` [rows].

    Rounds weigh by one over their ``noise`` [rounds], which the fits find out.
    """
    clients = design.mean.shape[1]
    values = np.zeros(clients)
    for _ in range(REWEIGHTED):
        weights = noise.min() / noise
        normal = design.normal(weights)
        typical = max(float(np.trace(normal)) / clients, TINY)
        right = design.transposed(weights[design.round] * given)
        values = np.asarray(np.linalg.solve(normal + RIDGE * typical * np.eye(clients), right), dtype=np.float64)
        left = design.by_round(np.square(given - design.predicted(values)))
        noise = left + SHARED * float(np.median(left)) + QUIET
    return values


def _along(rows: F64, vector: F64) -> F64:
    """The part of each row along ``vector``, in its lengths."""
    out: F64 = rows @ vector / max(float(vector @ vector), TINY)
    return out
