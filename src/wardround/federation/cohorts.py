"""Answers -> sums over cohorts: the only thing the server keeps of an answer.

With one cohort answers are added as they come and nothing else is stored. With several, the cohorts are dealt only
after the last answer (an adversary cannot place a victim among its own clients, docs/design/0003), so answers are
held until then. Here the sum is plain; layer 2 puts the secure one in its place.

Law: the sums over all cohorts add up to the sum over all answers (float64), however the cohorts are dealt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, F64
from wardround.federation.messages import Answer
from wardround.rng import stream
from wardround.wire import message


@message(0x4630)
@dataclass(frozen=True, eq=False)
class CohortSum:
    """Sum of the answers of ``clients`` clients: update [k] and counts [c], float64."""

    clients: int
    update: F64
    counts: F64


def empty(update: int, counts: int) -> CohortSum:
    return CohortSum(0, np.zeros(update), np.zeros(counts))


def add(total: CohortSum, answer: Answer) -> CohortSum:
    """``total`` with one more answer; the arrays of ``total`` are reused (it must not be used again)."""
    np.add(total.update, answer.update, out=total.update)
    np.add(total.counts, answer.counts, out=total.counts)
    return CohortSum(total.clients + 1, total.update, total.counts)


def deal(clients: int, size: int, seed: int, exchange: int) -> list[list[int]]:
    """Positions 0..clients-1 dealt at random into cohorts of at least ``size`` (the rest joins the last ones)."""
    order = stream(seed, "cohorts", exchange).permutation(clients)
    count = max(1, clients // size)
    return [sorted(int(i) for i in part) for part in np.array_split(order, count)]


def sums(answers: list[Answer], size: int, seed: int, exchange: int) -> list[CohortSum]:
    """The cohort sums of held answers."""
    rows = []
    for members in deal(len(answers), size, seed, exchange):
        total = empty(answers[0].update.size, answers[0].counts.size)
        for position in members:
            total = add(total, answers[position])
        rows.append(total)
    return rows


def means(rows: list[CohortSum], heaviest: int) -> tuple[F32, F64]:
    """(mean block per cohort [m, k], weight of each cohort [m]); counts start with the summed weight."""
    weights = np.array([row.counts[0] for row in rows])
    blocks = [row.update / max(row.counts[0] / heaviest, 1e-12) for row in rows]
    return np.stack(blocks).astype(np.float32), weights
