"""Which rows each client of a chunk sees at each step: gathered for a window of steps at once, ragged sizes and all.

A client draws one permutation of its rows per epoch from its own stream and nothing else; batch k of an epoch is the
next ``batch_size`` rows of it, the last batch holds the rest. Law: what a client sees does not depend on the chunk.
Short batches are padded with a row of the same batch and share 0: a padded row adds exactly 0 to every gradient, and
can overflow only where the batch itself does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, I64
from wardround.training.task import Job, LocalTraining

_WINDOW_BYTES = 2**21
"""Rows gathered at a time: enough to spread the cost of the calls, little enough to stay in the cache."""


@dataclass(frozen=True, eq=False)
class Step:
    """Batches of the first a clients: x [a, b, f], y [a, b], share [a, b] (see loss.py)."""

    x: F32
    y: I64
    share: F32


def steps_of(rows: int, training: LocalTraining) -> int:
    """Optimiser steps of a client with that many rows in one round."""
    if rows == 0:
        return 0
    return training.steps or training.epochs * -(-rows // training.batch_size)


def steps(jobs: Sequence[Job], counts: Sequence[int], batch_size: int) -> Iterator[Step]:
    """The steps of ``jobs``, which are sorted by ``counts``, most first; a step holds those that still have one."""
    width = min(batch_size, max((len(job.rows) for job in jobs), default=0))
    feeds = [_Feed(job, width, batch_size) for job in jobs]
    m, features = len(jobs), jobs[0].rows.x.shape[1]
    span = max(1, min(counts[0], _WINDOW_BYTES // (4 * m * width * features)))
    x = np.empty((m, span * width, features), dtype=np.float32)
    y = np.zeros((m, span * width), dtype=np.int64)
    weight = np.zeros((m, span, width), dtype=np.float32)
    for start in range(0, counts[0], span):
        for i, feed in enumerate(feeds):
            taken = min(span, counts[i] - start)
            if taken > 0:
                feed.take(taken, x[i], y[i], weight[i])
        total = weight.sum(axis=2, keepdims=True)
        # a batch whose every row weighs 0 takes no step: share 0 instead of 0 / 0
        share = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
        filled = np.array([feed.filled(start, span) for feed in feeds])
        for k in range(min(span, counts[0] - start)):
            a = sum(count > start + k for count in counts)
            b = int(filled[:a, k].max())
            here = slice(k * width, k * width + b)
            yield Step(x[:a, here], y[:a, here], share[:a, k, :b])


class _Feed:
    """One client's walk through its epochs; batches padded to ``width`` rows."""

    def __init__(self, job: Job, width: int, batch_size: int) -> None:
        n = len(job.rows)
        self._job, self._width = job, width
        self._batches = -(-n // batch_size)
        self._last = n - (self._batches - 1) * batch_size
        self._real = np.ones((self._batches, width), dtype=np.float32)
        self._real[-1:, self._last :] = 0
        self._order = np.empty((self._batches, width), dtype=np.int64)
        self._next = self._batches

    def take(self, count: int, x: F32, y: I64, weight: F32) -> None:
        """The next ``count`` batches into the front of x [slots, f], y [slots], weight [steps, width]."""
        rows, at = self._job.rows, 0
        while at < count:
            if self._next == self._batches:
                self._shuffle()
            n = min(count - at, self._batches - self._next)
            index = self._order[self._next : self._next + n].reshape(-1)
            slots = slice(at * self._width, (at + n) * self._width)
            # mode "clip" lets numpy write straight into the slots; every index is in range
            np.take(rows.x, index, axis=0, out=x[slots], mode="clip")
            np.take(rows.y, index, out=y[slots], mode="clip")
            weight[at : at + n] = self._real[self._next : self._next + n]
            at, self._next = at + n, self._next + n
        if self._job.class_weights is not None:
            weight[:count] *= self._job.class_weights[y[: count * self._width]].reshape(count, self._width)

    def filled(self, start: int, span: int) -> I64:
        """Rows in each of the batches ``start`` .. ``start + span`` [span] of this client's walk."""
        last = (np.arange(start, start + span) + 1) % max(self._batches, 1) == 0
        return np.where(last, self._last, self._width)

    def _shuffle(self) -> None:
        order = self._job.batches.permutation(len(self._job.rows))
        whole = self._order.reshape(-1)
        if self._last == self._width:
            whole[:] = order
        else:
            full = len(order) - self._last
            whole[: len(order)] = order
            whole[len(order) :] = order[full]
        self._next = 0
