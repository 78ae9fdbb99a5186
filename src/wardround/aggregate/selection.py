"""Rules that choose whole rows by their distances to each other.

    krum        the row with the smallest sum of squared distances to its k - f - 2 nearest (Blanchard, El Mhamdi,
                Guerraoui, Stainer, NeurIPS 2017; 2f + 2 < k)
    multi-krum  the mean of the k - f rows with the smallest such sums (same paper)
    bulyan      k - 2f rows by repeated Krum, then per coordinate the mean of the k - 4f values nearest their median
                (El Mhamdi, Guerraoui, Rouault, ICML 2018); 4f + 3 <= k

Cost: one Gram matrix, O(k^2 log k), one weighted sum; Bulyan sorts its chosen rows as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardround.aggregate.coordinate import ascending, workroom
from wardround.aggregate.rule import Decision, Rule, Votes
from wardround.arrays import F32, F64, I64


@dataclass(frozen=True)
class Krum(Rule):
    """The one row that is nearest to its neighbours.

    It picks a single client, which on non-IID data costs quality even when nobody attacks: for comparison, not for use.
    Policy weights are ignored.
    """

    name: ClassVar[str] = "krum"

    def breakdown(self, rows: int) -> int:
        return max((rows - 3) // 2, 0)

    def decide(self, votes: Votes) -> Decision:
        return Decision(_share(by_krum(votes.stack.distances(), votes.hostile)[:1], votes.stack.count))


@dataclass(frozen=True)
class MultiKrum(Krum):
    """The mean of the rows with the best Krum scores.

    Policy weights are ignored: a weight that a client can influence could make its row the whole mean.

    Attributes:
        select: rows that are averaged; 0 for all but the assumed hostile ones.
    """

    name: ClassVar[str] = "multi-krum"
    select: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.select < 0:
            raise ValueError(f"select must be 0 or more, not {self.select}")

    def decide(self, votes: Votes) -> Decision:
        k = votes.stack.count
        chosen = by_krum(votes.stack.distances(), votes.hostile)[: min(self.select or k - votes.hostile, k)]
        return Decision(_share(chosen, k), facts={"selected": float(len(chosen))})


@dataclass(frozen=True)
class Bulyan(Rule):
    """Repeated Krum, then a trimmed mean around the median of the chosen rows.

    Survives a quarter of the rows, also when hostile ones hide a large step in one coordinate. Where rows tie, as they
    do after ``nnm``, the earlier one is chosen. Policy weights are ignored.
    """

    name: ClassVar[str] = "bulyan"

    def breakdown(self, rows: int) -> int:
        return max((rows - 3) // 4, 0)

    def decide(self, votes: Votes) -> Decision:
        k, f = votes.stack.count, votes.hostile
        chosen = repeated_krum(votes.stack.distances(), f, k - 2 * f)
        keep = max(len(chosen) - 2 * f, 1)
        out = np.empty(votes.stack.points.rows.shape[1], dtype=np.float32)
        room = workroom(len(chosen))
        for columns, part in votes.stack.column_blocks():
            nearest_median_mean(ascending(part, chosen, room), keep, out[columns])
        return Decision(vector=out, facts={"selected": float(len(chosen))})


def by_krum(distances: F64, hostile: int) -> I64:
    """All rows, best Krum score first.

    Two rows that are each other's only neighbour have one score: the one nearer to all rows goes first, so that the
    order of the rows cannot decide.
    """
    return np.lexsort((distances.sum(axis=1), krum_scores(distances, hostile)))


def krum_scores(distances: F64, hostile: int) -> F64:
    """Sum of squared distances [k] of each row to its k - f - 2 nearest others (at least one where there is one)."""
    k = len(distances)
    near = min(max(k - hostile - 2, 1), k - 1)
    if near == 0:
        return np.zeros(1)
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    scores: F64 = np.partition(others, near - 1, axis=1)[:, :near].sum(axis=1)
    return scores


def repeated_krum(distances: F64, hostile: int, count: int) -> I64:
    """``count`` rows, each the Krum choice among those left (El Mhamdi et al. 2018, Algorithm 1, first phase).

    A row's sum runs over its nearest r - f - 2 of r rows left. When a row leaves, r falls by one, and each other row
    drops exactly one summand: the leaver where it was among its nearest, else the farthest of them. So a step costs
    O(k), not O(k^2).
    """
    k = len(distances)
    if count == k:
        return np.arange(k, dtype=np.int64)
    left = distances.copy()  # between rows that are left, else infinite
    np.fill_diagonal(left, np.inf)
    order, begin = np.argsort(left, axis=1), np.arange(k) * k
    place = (np.argsort(order, axis=1) + begin[:, None]).T  # [of, for]: places count through all rows' lists
    order, sorted_ = order.ravel(), np.sort(left, axis=1).ravel()
    edge = begin + min(max(k - hostile - 2, 1), k - 1) - 1  # place of each row's farthest summand
    scores, overall, gone = krum_scores(distances, hostile), distances.sum(axis=1), np.zeros(k, dtype=bool)
    chosen = [_first(scores, overall)]
    for rows in range(k, k - count + 1, -1):
        pick = chosen[-1]
        gone[pick], left[pick], left[:, pick] = True, np.inf, np.inf
        if rows - hostile - 2 <= 2:  # one summand from here on: looked up, so that mutual neighbours tie exactly
            scores = left.min(axis=1)
        else:
            inside = place[pick] <= edge
            scores -= np.where(inside, distances[pick], sorted_[edge])
            scores[pick] = np.inf
            edge -= ~inside
            while np.count_nonzero(stale := gone[order[edge]]):
                edge -= stale
        chosen.append(_first(scores, overall))
    return np.array(chosen, dtype=np.int64)


def _first(scores: F64, overall: F64) -> int:
    """The row with the smallest score; of several, the one with the smallest ``overall``."""
    return int(np.lexsort((overall, scores))[0])


def nearest_median_mean(ordered: F32, keep: int, out: F32) -> None:
    """Mean of the ``keep`` values nearest to the median of each sorted column of ``ordered`` [k, width], into ``out`` [width].

    These are neighbours in sorted order: the window moves up while the value it would gain is nearer than the one it
    would lose, which is so for a first stretch of places and never after. ``ordered`` is written over.
    """
    k = len(ordered)
    twice = ordered[(k - 1) // 2] + ordered[k // 2]
    for at in range(0, k - keep, keep):
        lost, gained = ordered[at : min(at + keep, k - keep)], ordered[at + keep : at + 2 * keep]
        moves, window = lost + gained < twice, ordered[: len(lost)]  # the value gained takes the place of the one lost
        window[:] = gained * moves + window * ~moves  # exact, and faster than a choice by branches
    np.matmul(np.ones(keep, dtype=np.float32), ordered[:keep], out=out)
    out /= keep


def _share(chosen: I64, rows: int) -> F64:
    weights = np.zeros(rows)
    weights[chosen] = 1.0 / len(chosen)
    return weights
