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
from wardround.arrays import F32, F64, I64, Bool


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
            out[columns] = nearest_median_mean(ascending(part[chosen], room), keep)
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
    padded = distances.copy()
    np.fill_diagonal(padded, np.inf)
    order = np.argsort(padded, axis=1, kind="stable")
    place = np.argsort(order, axis=1)
    edge = np.full(k, min(max(k - hostile - 2, 1), k - 1) - 1)  # place of the farthest summand
    scores, alive, rows = krum_scores(distances, hostile), np.ones(k, dtype=bool), np.arange(k)
    overall = distances.sum(axis=1)
    chosen = []
    for left in range(k, k - count, -1):
        pick = int(np.lexsort((overall, np.where(alive, scores, np.inf)))[0])
        chosen.append(pick)
        alive[pick] = False
        if left - hostile - 2 <= 2:  # one summand from here on: looked up, so that mutual neighbours tie exactly
            nearest = np.where(alive[None, :], padded, np.inf).min(axis=1)
            scores = np.where(np.isfinite(nearest), nearest, 0.0)
            continue
        far = order[rows, edge]
        leaver = np.where(place[:, pick] <= edge, pick, far)
        scores -= distances[rows, leaver]
        edge = _inwards(edge - (place[:, pick] > edge), order, alive)
    return np.array(chosen, dtype=np.int64)


def nearest_median_mean(ordered: F32, keep: int) -> F32:
    """Mean [width] of the ``keep`` values nearest to the median of each sorted column of ``ordered`` [k, width].

    These are neighbours in sorted order: the window moves up while the value it would gain is nearer than the one it
    would lose, which is so for a first stretch of places and never after.
    """
    k = len(ordered)
    low, high = ordered[(k - 1) // 2], ordered[k // 2]
    twice, total = low + high, ordered[:keep].sum(axis=0, dtype=np.float32)
    for lost, gained in zip(ordered[: k - keep], ordered[keep:], strict=True):
        moves = lost + gained < twice
        total += np.where(moves, gained - lost, np.float32(0))
    mean: F32 = total / np.float32(keep)
    return mean


def _share(chosen: I64, rows: int) -> F64:
    weights = np.zeros(rows)
    weights[chosen] = 1.0 / len(chosen)
    return weights


def _inwards(edge: I64, order: I64, alive: Bool) -> I64:
    """Each row's edge moved down to the farthest summand that is still alive."""
    rows = np.arange(len(edge))
    while True:
        stale = ~alive[order[rows, edge]] & (edge > 0)
        if not stale.any():
            return edge
        edge = edge - stale
