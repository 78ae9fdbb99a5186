"""Rules that decide coordinate by coordinate: median and trimmed mean.

    median         the middle value of each coordinate           | Yin, Chen, Ramchandran, Bartlett, "Byzantine-Robust
    trimmed-mean   mean without the f largest and f smallest     | Distributed Learning", ICML 2018, definitions 1 and 2

Both survive f < k/2 hostile rows. Each costs one pass in blocks of columns that stay in the cache. Rows are sorted by a
network of minimum/maximum over whole rows where they are few (numpy runs that on vector units), as far as the places asked
for need it, and by numpy's vectorised sort of the transposed block where they are many; both beat partitioning
(bench/rules.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from wardround.aggregate.points import Stack, widest
from wardround.aggregate.rule import Decision, Rule, Votes
from wardround.arrays import F32, I64

NETWORK_ROWS = 24  # up to here the network is faster than sorting (measured, bench/rules.py)
Step = tuple[int, int, bool, bool]  # two rows; whether their minimum goes to the first, their maximum to the second


@dataclass(frozen=True)
class Median(Rule):
    """The coordinate-wise median. Pays for what it survives with a bias on skewed rows; policy weights are ignored."""

    name: ClassVar[str] = "median"
    needs_hostile: ClassVar[bool] = False

    def breakdown(self, rows: int) -> int:
        return (rows - 1) // 2

    def decide(self, votes: Votes) -> Decision:
        k = votes.stack.count
        return Decision(vector=middle_mean(votes.stack, (k - 1) // 2, k // 2 + 1))


@dataclass(frozen=True)
class TrimmedMean(Rule):
    """The mean of each coordinate without its f largest and f smallest values; policy weights are ignored.

    With ``pre = ["nnm"]`` it is the default for rows of one or two clients (docs/reference/rules.md).
    """

    name: ClassVar[str] = "trimmed-mean"

    def breakdown(self, rows: int) -> int:
        return (rows - 1) // 2

    def decide(self, votes: Votes) -> Decision:
        return Decision(vector=middle_mean(votes.stack, votes.hostile, votes.stack.count - votes.hostile))


def middle_mean(stack: Stack, low: int, high: int) -> F32:
    """Mean [d] of the values at places ``low`` to ``high`` - 1 of each coordinate's sorted values."""
    k = stack.count
    out = np.empty(stack.points.rows.shape[1], dtype=np.float32)
    if k > NETWORK_ROWS:
        ones = np.ones(high - low, dtype=np.float32)
        for columns, part in stack.column_blocks(by_column=True):
            part.T.sort(axis=1)
            np.matmul(part.T[:, low:high], ones, out=out[columns])
    else:
        plan, spare = steps(k, low, high, together=True), np.empty(widest(k), dtype=np.float32)
        for columns, part in stack.column_blocks(copied=True):
            total(network(part, plan, spare)[low:high], out[columns])
    out /= high - low
    return out


def ascending(part: F32, chosen: I64, room: F32) -> F32:
    """The rows ``chosen`` [k] of ``part`` [m, width] sorted upwards column by column: [k, width] in the ``workroom``."""
    k, width = len(chosen), part.shape[1]
    one, other = room[: 2 * k * width].reshape(2, k, width)
    np.take(part, chosen, axis=0, out=one, mode="clip")
    if k <= NETWORK_ROWS:
        return np.stack(network(one, steps(k, 0, k, together=False), room[2 * k * width :]), out=other)
    turned = other.reshape(width, k)
    np.copyto(turned, one.T)
    turned.sort(axis=1)
    np.copyto(one, turned.T)
    return one


def workroom(rows: int) -> F32:
    """Memory for sorting blocks of ``rows`` rows: fresh memory for every block costs more than the sorting."""
    return np.empty((2 * rows + 1) * widest(rows), dtype=np.float32)


def total(rows: list[F32], out: F32) -> None:
    """The sum of the rows, written to ``out``."""
    np.copyto(out, rows[0]) if len(rows) == 1 else np.add(rows[0], rows[1], out=out)
    for row in rows[2:]:
        out += row


def network(part: F32, plan: tuple[Step, ...], spare: F32) -> list[F32]:
    """The rows of ``part`` [k, width] after the ``plan``'s steps, by minimum and maximum of whole rows.

    They lie in the memory of ``part``, which is written over, and of ``spare`` [width or more].
    """
    rows, free = list(part), spare[: part.shape[1]]
    for i, j, lower, upper in plan:
        one, other = rows[i], rows[j]
        if lower:
            rows[i] = np.minimum(one, other, out=free)
            free = one
        if upper:
            np.maximum(one, other, out=other)
    return rows


@cache
def steps(k: int, low: int, high: int, together: bool) -> tuple[Step, ...]:
    """The comparators of ``k`` rows without which the rows ``low`` to ``high`` - 1 would not come out right.

    ``together``: these rows may come out in any order, for only their sum is asked for.
    """
    asked = set(range(low, high))
    alike, out = asked.copy() if together else set[int](), list[Step]()
    for i, j in reversed(comparators(k)):
        if {i, j} & asked and not {i, j} <= alike:
            out.append((i, j, i in asked, j in asked))
            asked |= {i, j}
            alike -= {i, j}
    return tuple(reversed(out))


@cache
def comparators(n: int) -> tuple[tuple[int, int], ...]:
    """Batcher's merge-exchange sorting network for n wires (Knuth, TAOCP vol. 3, 5.2.2, Algorithm M)."""
    pairs: list[tuple[int, int]] = []
    top = 1 << max((n - 1).bit_length() - 1, 0)
    p = top if n > 1 else 0
    while p:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    return tuple(pairs)
