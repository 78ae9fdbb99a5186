"""Clusters by federated histograms: a client compares its own histogram with the clusters', which are sums over clients.

The sketch of a client is a histogram of its training rows: label shares, shares of each input's bins, or both. The server
holds a mean sketch (a centre) per cluster and sends them; a client belongs to the centre with the least divergence
KL(own || centre), and adds its sketch, its square and that divergence into the cluster's slot of the protected sum. With this
divergence the mean is the best centre (Banerjee et al., JMLR 2005), so the sums of one round give the next centres: k-means in
which nobody shows a sketch.

The number of clusters follows from the sums too. There is one cluster at first; the mean divergence from its centre is how
much a client's identity tells about its rows (their mutual information). As long as clusters explain less than ``explained``
of it, every ``settle`` rounds the cluster with the largest part of what is unexplained is split along the cell that varies
most in it (Linde, Buzo and Gray 1980), until ``clusters`` are there or parts would starve. In those ``warm`` rounds all models
move together; afterwards each moves with its own cluster.

Laws: until the models part this is FedAvg; with ``explained = 0`` it stays so; centres stay histograms.
What the sum shows: a cluster's histogram. Of a cluster with one client in a cohort that is the client's own (clusters.py,
``starve``); label shares say how much of which attack a hospital sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from wardround.arrays import F32, F64
from wardround.federation.clusters import TINY, Slots, View, check_fields, moved, smoothed, still_open
from wardround.federation.reach import Part
from wardround.training.task import LocalTraining, Rows, Trained

BINS = (-0.6745, 0.0, 0.6745)
"""Quartiles of a standard normal: the scale on which ``quantile`` leaves its inputs."""
SMOOTH = 1e-3
"""Part of the uniform histogram in a centre, so that no divergence is infinite."""
LARGEST = 8.0
"""Bound of a divergence in nats: log(size / SMOOTH) is near it for the sizes that are used."""


@dataclass(frozen=True)
class Histograms(Slots):
    """Clients are clustered by histograms that are seen as sums alone, and each cluster has a model.

    Attributes:
        clusters: clusters at most.
        of: what is counted: ``labels``, the quartiles of each of the model's ``inputs``, or ``both``.
        size: cells of the sketch; where there are more labels or bins than cells, several share one.
        explained: share of the information in the sketches that clusters should explain; 0: one cluster.
        warm: rounds in which all models move together while clusters are found.
        settle: rounds between two splits.
        starve: a cluster whose share of the weight, smoothed over rounds, falls below this is closed, and none is split
            into parts that would be; a secure sum raises it to its least set's share of a cohort.
        memory: part of the smoothed share that is kept from round to round.
    """

    name: ClassVar[str] = "histograms"

    clusters: int = 4
    of: Literal["labels", "inputs", "both"] = "labels"
    size: int = 64
    explained: float = 0.5
    warm: int = 20
    settle: int = 3
    starve: float = 0.05
    memory: float = 0.5

    def __post_init__(self) -> None:
        check_fields(self.clusters, self.starve, self.memory)
        for name, least in (("size", 2), ("warm", 0), ("settle", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, not {getattr(self, name)}")
        if not 0 <= self.explained <= 1:
            raise ValueError(f"explained must lie between 0 and 1, not {self.explained}")

    def begin(self, drawn: Sequence[F32]) -> F32:
        """All models are one until they part."""
        return np.tile(drawn[0], self.clusters)

    def parts(self, d: int) -> tuple[Part, ...]:
        """Slots of changes, marks; slots of sketches and of their squares, divergences."""
        cells = self.clusters * self.size
        return (
            Part(d, 1.0),
            Part(self.clusters, 1.0, fixed=True),
            Part(2 * cells, 1.0, fixed=True),
            Part(self.clusters, LARGEST, fixed=True),
        )

    def broadcast(self, state: F32, d: int) -> F32:
        """Everything the server knows: round, information, shares [K], centres [K, size]; none of it is of one client."""
        del d
        return state if state.size else Found.first(self).vector()

    def shares(self, state: F32) -> F32:
        """Of each cluster; all with the first before the first round."""
        return Found.of(self, state).shares

    def place(self, view: View) -> F32:
        """[number, divergence, own sketch]."""
        own, found = sketch(self, view.rows), Found.of(self, view.broadcast)
        alive = still_open(self, view.broadcast)
        apart = np.where(alive, divergences(own, found.centres), np.inf)
        at = int(apart.argmin())
        return np.concatenate([[at, min(apart[at], LARGEST)], own]).astype(np.float32)

    def block(self, trained: Trained, training: LocalTraining, memory: F32, broadcast: F32) -> tuple[F32, F32]:
        """The change, the mark, the sketch, its square and the divergence, in the cluster's slots."""
        changes, _ = super().block(trained, training, memory, broadcast)
        marks = self.weights(memory)
        own = memory[2:] if memory.size else np.zeros(self.size, dtype=np.float32)
        cells = [np.outer(marks, values).ravel() for values in (own, own * own)]
        apart = marks * (memory[1] if memory.size else np.float32(0))
        return np.concatenate([changes, *cells, apart]).astype(np.float32), memory

    def delta(self, mean: F32, state: F32, d: int, share: float) -> tuple[F32, F32]:
        """All models together at first, then each with its own; and the clusters of the next round."""
        del share
        before, seen = Found.of(self, state), Seen.of(self, mean, d)
        if before.round < self.warm:
            total = max(float(seen.marks.sum()), TINY)
            changed = np.tile(mean[:d].reshape(self.clusters, -1).sum(0) / np.float32(total), self.clusters)
        else:
            changed = moved(mean[:d], mean[d : d + self.clusters])
        return changed.astype(np.float32), self._next(before, seen).vector()

    def _next(self, before: Found, seen: Seen) -> Found:
        there = seen.marks > TINY
        shares = smoothed(before.shares, seen.marks.astype(np.float32), self.memory if before.round else 0.0)
        centres = np.where(there[:, None], seen.centres, before.centres)
        within = float((seen.marks * seen.apart).sum() / max(float(seen.marks.sum()), TINY))
        # the first round's only centre says nothing; from the second on it is the mean of all clients
        whole = within if before.round == 1 else before.whole
        found = Found(before.round + 1, whole, shares.astype(np.float32), centres.astype(np.float32))
        due = found.round < self.warm and found.round >= 2 and (found.round - 2) % self.settle == 0
        return self._split(found, seen) if due and within > (1 - self.explained) * whole else found

    def _split(self, found: Found, seen: Seen) -> Found:
        """The worst cluster that is large enough gets a neighbour along the cell that varies most in it."""
        free = np.flatnonzero(found.shares <= TINY)
        loss = np.where(found.shares >= 2 * max(self.starve, TINY), seen.marks * seen.apart, 0.0)
        at = int(loss.argmax())
        if not len(free) or loss[at] <= TINY:
            return found
        cell, centre = int(seen.variance[at].argmax()), found.centres[at]
        step = float(np.sqrt(seen.variance[at][cell]))
        centres, shares = found.centres.copy(), found.shares.copy()
        for number, sign in ((at, -1.0), (int(free[0]), 1.0)):
            tilted = centre.astype(np.float64)
            tilted[cell] = max(tilted[cell] + sign * step, 0.0)
            centres[number], shares[number] = tilted / max(tilted.sum(), TINY), found.shares[at] / 2
        return replace(found, centres=centres, shares=shares)


@dataclass(frozen=True, eq=False)
class Found:
    """What the server has found: rounds so far, the ``whole`` information in nats, shares [K], centres [K, size]."""

    round: int
    whole: float
    shares: F32
    centres: F32

    @classmethod
    def first(cls, algorithm: Histograms) -> Found:
        """One cluster, about which nothing is known."""
        shares = np.zeros(algorithm.clusters, dtype=np.float32)
        shares[0] = 1.0
        even = np.full((algorithm.clusters, algorithm.size), 1 / algorithm.size, dtype=np.float32)
        return cls(0, 0.0, shares, even)

    @classmethod
    def of(cls, algorithm: Histograms, state: F32) -> Found:
        """As ``vector`` wrote it."""
        if not state.size:
            return cls.first(algorithm)
        k = algorithm.clusters
        return cls(round(float(state[0])), float(state[1]), state[2 : 2 + k], state[2 + k :].reshape(k, -1))

    def vector(self) -> F32:
        """[2 + K + K size]."""
        return np.concatenate([[self.round, self.whole], self.shares, self.centres.ravel()]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Seen:
    """A round's sums by cluster: ``marks`` [K]; mean sketch and its variance [K, size] and mean divergence [K] of its clients."""

    marks: F64
    centres: F64
    variance: F64
    apart: F64

    @classmethod
    def of(cls, algorithm: Histograms, mean: F32, d: int) -> Seen:
        """From the mean block; what a lossy sum left outside its range is cut."""
        k, cells = algorithm.clusters, algorithm.clusters * algorithm.size
        marks, first, second, apart = np.split(mean[d:].astype(np.float64), np.cumsum([k, cells, cells]))
        marks = np.maximum(marks, 0.0)
        over = np.maximum(marks, TINY)
        means = np.maximum(first.reshape(k, -1), 0.0) / over[:, None]
        squares = np.maximum(second.reshape(k, -1), 0.0) / over[:, None]
        total = means.sum(1, keepdims=True)
        centres = np.where(total > TINY, means / np.maximum(total, TINY), 1 / algorithm.size)
        return cls(marks, centres, np.maximum(squares - means * means, 0.0), np.maximum(apart, 0.0) / over)


def sketch(algorithm: Histograms, rows: Rows) -> F64:
    """The histogram [size] of a client's rows; it sums to 1. Without rows: uniform."""
    if not len(rows):
        return np.full(algorithm.size, 1 / algorithm.size)
    counted = []
    if algorithm.of != "inputs":
        counted.append(np.bincount(rows.y % algorithm.size, minlength=algorithm.size))
    if algorithm.of != "labels":
        bins = np.searchsorted(BINS, rows.x) + (len(BINS) + 1) * np.arange(rows.x.shape[1])
        counted.append(np.bincount(bins.ravel() % algorithm.size, minlength=algorithm.size))
    shares = [counts / counts.sum() for counts in counted]
    mean: F64 = np.mean(shares, axis=0)
    return mean


def divergences(own: F64, centres: F32) -> F64:
    """KL(own || centre) [K] in nats, of the histogram [size] from smoothed centres [K, size]."""
    size = len(own)
    smooth = (1 - SMOOTH) * centres.astype(np.float64) + SMOOTH / size
    there = own > 0
    found: F64 = (own[there] * np.log(own[there] / smooth[:, there])).sum(1)
    return np.maximum(found, 0.0)


ALGORITHMS: tuple[type, ...] = (Histograms,)
