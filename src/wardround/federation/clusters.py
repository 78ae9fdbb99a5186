"""Clustered federations: several models in one vector, and each client trains the one that fits it.

    IFCA   each client picks the model with the least loss on its own rows     Ghosh et al., NeurIPS 2020, algorithm 1

The server's parameters are K models in a row [K d]. A client's block holds K slots, zero but for the one it trained, and K
marks of which one that was. Under a secure sum the server therefore sees how much of a *cohort's* weight chose each model and
never who chose what; the price is K times the bytes. What a choice reveals all the same: a model that a single client of a
cohort chose moves by that client's change alone, which is why cohorts have a least size (secagg/).

The number of models: K is the most; a model whose share of the weight falls below ``starve`` is closed, and its clients choose
among those that are left (that is how clusters merge). Law: with K = 1 it is FedAvg.
What it does not do: mix models for a client (soft clustering).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardround.arrays import F32, Bool
from wardround.federation.algorithms import Algorithm, Correction
from wardround.federation.reach import Part
from wardround.training.task import LocalTraining, Rows, Trained

MOST_ROWS = 512
"""Rows on which a client compares the models."""
_TINY = 1e-9
Loss = Callable[[F32], float]


@dataclass(frozen=True)
class Ifca:
    """Clients choose one of ``clusters`` models.

    Attributes:
        clusters: models at the start.
        starve: a model whose share of the weight, smoothed over rounds, falls below this is closed.
        memory: part of the smoothed share that is kept from round to round.
    """

    name: ClassVar[str] = "ifca"

    clusters: int = 3
    starve: float = 0.02
    memory: float = 0.8

    def __post_init__(self) -> None:
        if self.clusters < 1:
            raise ValueError(f"clusters must be 1 or more, not {self.clusters}")
        if not 0 <= self.starve < 1 / self.clusters:
            raise ValueError(f"starve must be at least 0 and below 1 / clusters, not {self.starve}")
        if not 0 <= self.memory < 1:
            raise ValueError(f"memory must be at least 0 and below 1, not {self.memory}")

    @property
    def models(self) -> int:
        """Models that the server holds."""
        return self.clusters

    def parts(self, d: int) -> tuple[Part, ...]:
        """K slots of changes, and K marks."""
        return (Part(d, 1.0), Part(self.clusters, 1.0))

    def broadcast(self, state: F32, d: int) -> F32:
        """Each model's share of the weight [K], so that clients leave closed ones alone."""
        del d
        return state if state.size else np.full(self.clusters, 1 / self.clusters, dtype=np.float32)

    def correct(self, memory: F32, broadcast: F32) -> Correction:
        """None: a client trains the model it chose as FedAvg does."""
        del memory, broadcast
        return Correction()

    def block(self, trained: Trained, training: LocalTraining, memory: F32, broadcast: F32) -> tuple[F32, F32]:
        """The change in its slot; ``memory`` [1] is the number of the model."""
        del training, broadcast
        slots = np.zeros((self.clusters, trained.delta.size), dtype=np.float32)
        marks = np.zeros(self.clusters, dtype=np.float32)
        chosen = int(memory[0]) if memory.size else 0
        slots[chosen], marks[chosen] = trained.delta, 1.0
        return np.concatenate([slots.ravel(), marks]), memory

    def delta(self, mean: F32, state: F32, d: int, share: float) -> tuple[F32, F32]:
        """Each model moves by the mean change of those who chose it."""
        del share
        slots, marks = mean[:d].reshape(self.clusters, -1), mean[d:]
        moved = np.where(marks[:, None] > _TINY, slots / np.maximum(marks, _TINY)[:, None], np.float32(0))
        now = marks / max(float(marks.sum()), _TINY)
        kept = np.float32(self.memory) * self.broadcast(state, d) + np.float32(1 - self.memory) * now
        return moved.ravel().astype(np.float32), kept.astype(np.float32)


def models_of(algorithm: Algorithm) -> int:
    """How many models the server holds; 1 for algorithms that say nothing of it."""
    return int(getattr(algorithm, "models", 1))


def each(algorithm: Algorithm, parameters: F32) -> F32:
    """The models [K, d] in the server's vector [K d]."""
    return parameters.reshape(models_of(algorithm), -1)


def still_open(algorithm: Algorithm, shares: F32) -> Bool:
    """Which models [K] a client may choose: those that do not starve; the largest always."""
    count = models_of(algorithm)
    if count == 1 or shares.size != count:
        return np.ones(count, dtype=np.bool_)
    alive = shares >= getattr(algorithm, "starve", 0.0)
    alive[int(shares.argmax())] = True
    return np.asarray(alive)


def choose(algorithm: Algorithm, parameters: F32, shares: F32, loss: Loss) -> int:
    """The number of the open model with the least ``loss``; one that is no number never wins."""
    if models_of(algorithm) == 1:
        return 0
    losses = [
        float(np.nan_to_num(loss(one), nan=np.inf)) if alive else np.inf
        for one, alive in zip(each(algorithm, parameters), still_open(algorithm, shares), strict=True)
    ]
    return int(np.argmin(losses))


def common(algorithm: Algorithm, parameters: F32, shares: F32) -> F32:
    """The one model [d] for those who cannot choose: the one with the largest share."""
    if models_of(algorithm) == 1 or not parameters.size:
        return parameters
    chosen = int(shares.argmax()) if shares.size == models_of(algorithm) else 0
    found: F32 = each(algorithm, parameters)[chosen]
    return found


def sample(rows: Rows) -> Rows:
    """At most MOST_ROWS of a client's rows, evenly spaced: enough to tell models apart."""
    if len(rows) <= MOST_ROWS:
        return rows
    at = np.linspace(0, len(rows) - 1, MOST_ROWS).astype(np.int64)
    return Rows(rows.x[at], rows.y[at])


ALGORITHMS: tuple[type, ...] = (Ifca,)
