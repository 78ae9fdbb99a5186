"""Rules that decide coordinate by coordinate: median and trimmed mean.

    median         the middle value of each coordinate           | Yin, Chen, Ramchandran, Bartlett, "Byzantine-Robust
    trimmed-mean   mean without the f largest and f smallest     | Distributed Learning", ICML 2018, definitions 1 and 2

Both survive f < k/2 hostile rows. Each costs one pass in blocks of columns that stay in the cache. Rows are sorted by a
network of minimum/maximum over whole rows where they are few (numpy runs that on vector units), and by numpy's
vectorised sort of the transposed block where they are many; both beat partitioning (bench/rules.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from wardround.aggregate.points import Stack, widest
from wardround.aggregate.rule import Decision, Rule, Votes
from wardround.arrays import F32

NETWORK_ROWS = 24  # up to here the network is faster than sorting (measured, bench/rules.py)


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
    out = np.empty(stack.points.rows.shape[1], dtype=np.float32)
    room = workroom(stack.count)
    for columns, part in stack.column_blocks():
        if len(part) > NETWORK_ROWS:
            np.mean(_turned(part, room)[:, low:high], axis=1, out=out[columns])
        else:
            _mean(_network(part, room)[low:high], out[columns])
    return out


def ascending(part: F32, room: F32) -> F32:
    """The columns of ``part`` [k, width] each sorted upwards; ``part`` stays as it is, the result may lie in ``room``."""
    return _turned(part, room).T if len(part) > NETWORK_ROWS else np.stack(_network(part, room))


def workroom(rows: int) -> F32:
    """Memory for sorting blocks of ``rows`` rows: fresh memory for every block costs more than the sorting."""
    return np.empty((rows + 1) * widest(rows), dtype=np.float32)


def _turned(part: F32, room: F32) -> F32:
    """The columns of ``part`` as sorted rows [width, k]."""
    k, width = part.shape
    turned = room[: k * width].reshape(width, k)
    np.copyto(turned, part.T)
    turned.sort(axis=1)
    return turned


def _network(part: F32, room: F32) -> list[F32]:
    """The sorted rows of ``part``, by minimum and maximum of whole rows."""
    k, width = part.shape
    *rows, spare = room[: (k + 1) * width].reshape(k + 1, width)
    for row, given in zip(rows, part, strict=True):
        np.copyto(row, given)
    for i, j in comparators(k):
        np.minimum(rows[i], rows[j], out=spare)
        np.maximum(rows[i], rows[j], out=rows[j])
        rows[i], spare = spare, rows[i]
    return rows


def _mean(rows: list[F32], out: F32) -> None:
    """The mean of the rows, written to ``out``."""
    np.copyto(out, rows[0])
    for row in rows[1:]:
        out += row
    out /= len(rows)


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
