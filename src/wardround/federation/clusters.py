"""Clustered federations: several models in one vector, and each client trains what fits it.

    IFCA   each client picks the model with the least loss on its own rows     Ghosh et al., NeurIPS 2020, algorithm 1
    soft   each client mixes the models by its own losses                      mixtures.py
    sketch each client picks the cluster whose distribution is nearest its own sketches.py
    types  each client has the head of its device type                         typeheads.py

The server's parameters are K models in a row [K d]. A client's block holds K slots of changes and K marks that say how much of
the client belongs to each. Under a secure sum the server therefore sees how much of a *cohort's* weight is with each model and
never who chose what; the price is K times the bytes. What a choice reveals all the same: a model that a single client of a
cohort chose moves by that client's change alone. So a model whose share of the weight falls below ``starve`` is closed, and its
clients choose among those that are left (that is how clusters merge); under a secure sum ``starve`` is raised to the share that
the least set has of a cohort (``secured``).

Law: with K = 1 it is FedAvg.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, cast

import numpy as np

from wardround.arrays import F32, F64, I32, Bool
from wardround.federation.algorithms import Algorithm, Correction
from wardround.federation.reach import Part
from wardround.training.task import LocalTraining, Rows, Trained

MOST_ROWS = 512
"""Rows on which a client compares the models."""
TINY = 1e-9


@dataclass(frozen=True, eq=False)
class View:
    """What a client places itself by: the ``models`` [K, d], what the server told (``broadcast``), its own training ``rows`` (at
    most MOST_ROWS), ``losses`` [n] of a model on each of them, what it kept (``memory``), and the ``type`` of device that most of
    its rows are of (-1: unknown).
    """

    models: F32
    broadcast: F32
    rows: Rows
    losses: Callable[[F32], F64]
    memory: F32
    type: int = -1


class Clustered(Algorithm, Protocol):
    """An algorithm of K ``models``; a client's ``memory`` is what ``place`` gave."""

    @property
    def models(self) -> int:
        """K."""
        ...

    def begin(self, drawn: Sequence[F32]) -> F32:
        """Server: the first models [K d] from K independent draws [d]."""
        ...

    def place(self, view: View) -> F32:
        """Client: where it belongs, as its memory."""
        ...

    def weights(self, memory: F32) -> F32:
        """Client: how much of it belongs to each model [K]; sums to 1."""
        ...

    def shares(self, state: F32) -> F32:
        """Everyone: each model's share of the weight [K] from the server's state or broadcast."""
        ...

    def common(self, models: F32, state: F32) -> F32:
        """The one model [d] for those who cannot place themselves."""
        ...


class Slots:
    """What all kinds of clusters share; ``clusters``, ``starve`` and ``memory`` are fields of each."""

    lone: ClassVar[bool] = True
    """Whether a slot can be one client's alone."""

    clusters: int
    starve: float
    memory: float

    @property
    def models(self) -> int:
        """Models that the server holds."""
        return self.clusters

    def begin(self, drawn: Sequence[F32]) -> F32:
        """Each model its own start."""
        return np.concatenate(drawn)

    def parts(self, d: int) -> tuple[Part, ...]:
        """K slots of changes, and K marks."""
        return (Part(d, 1.0), Part(self.clusters, 1.0, fixed=True))

    def broadcast(self, state: F32, d: int) -> F32:
        """Each model's share of the weight [K], so that clients leave closed ones alone."""
        del d
        return self.shares(state)

    def shares(self, state: F32) -> F32:
        """The state is the shares [K]; equal before the first round."""
        return state if state.size else np.full(self.clusters, 1 / self.clusters, dtype=np.float32)

    def correct(self, memory: F32, broadcast: F32) -> Correction:
        """None: a client trains its model as FedAvg does."""
        del memory, broadcast
        return Correction()

    def common(self, models: F32, state: F32) -> F32:
        """The model with the largest share."""
        found: F32 = models[int(self.shares(state).argmax())]
        return found

    def weights(self, memory: F32) -> F32:
        """All of it with the one model whose number stands first in the memory."""
        found = np.zeros(self.clusters, dtype=np.float32)
        found[int(memory[0]) if memory.size else 0] = 1.0
        return found

    def block(self, trained: Trained, training: LocalTraining, memory: F32, broadcast: F32) -> tuple[F32, F32]:
        """The change in each slot by the client's weight there, and the weights as marks."""
        del training, broadcast
        marks = self.weights(memory)
        return np.concatenate([np.outer(marks, trained.delta).ravel(), marks]).astype(np.float32), memory

    def delta(self, mean: F32, state: F32, d: int, share: float) -> tuple[F32, F32]:
        """Each model moves by the mean change of those who belong to it."""
        del share
        marks = mean[d : d + self.clusters]
        return moved(mean[:d], marks), smoothed(self.shares(state), marks, self.memory)


@dataclass(frozen=True)
class Ifca(Slots):
    """Clients choose the one of ``clusters`` models that has the least loss on their rows.

    Attributes:
        clusters: models at the start.
        starve: a model whose share of the weight, smoothed over rounds, falls below this is closed; a secure sum raises it to
            its least set's share of a cohort.
        memory: part of the smoothed share that is kept from round to round.
    """

    name: ClassVar[str] = "ifca"

    clusters: int = 3
    starve: float = 0.02
    memory: float = 0.8

    def __post_init__(self) -> None:
        check_fields(self.clusters, self.starve, self.memory)

    def place(self, view: View) -> F32:
        """The number [1] of the open model with the least mean loss; one that is no number never wins."""
        alive = still_open(self, view.broadcast)
        losses = [float(view.losses(w).mean()) if on else np.inf for w, on in zip(view.models, alive, strict=True)]
        return np.array([np.argmin(np.nan_to_num(losses, nan=np.inf))], dtype=np.float32)


def models_of(algorithm: Algorithm) -> int:
    """How many models the server holds; 1 for algorithms that say nothing of it."""
    return int(getattr(algorithm, "models", 1))


def begin(algorithm: Algorithm, drawn: Sequence[F32]) -> F32:
    """The server's first vector from one draw [d] per model."""
    return cast("Clustered", algorithm).begin(drawn) if models_of(algorithm) > 1 else drawn[0]


def each(algorithm: Algorithm, parameters: F32) -> F32:
    """The models [K, d] in the server's vector [K d]."""
    return parameters.reshape(models_of(algorithm), -1)


def still_open(algorithm: Algorithm, told: F32) -> Bool:
    """Which models [K] a client may choose: those that do not starve, by the server's word; the largest always."""
    count = models_of(algorithm)
    if count == 1 or not told.size:
        return np.ones(count, dtype=np.bool_)
    shares = cast("Clustered", algorithm).shares(told)
    alive = (shares >= getattr(algorithm, "starve", 0.0)) & (shares > 0)
    alive[int(shares.argmax())] = True
    return np.asarray(alive)


def place(algorithm: Algorithm, view: View) -> tuple[F32, F32]:
    """(the model [d] that fits the client, what it keeps of that)."""
    clustered = cast("Clustered", algorithm)
    memory = clustered.place(view)
    return mixed(view.models, clustered.weights(memory)), memory


def again(algorithm: Algorithm, models: F32, memory: F32) -> F32:
    """The model [d] of a client that has placed itself already."""
    return mixed(models, cast("Clustered", algorithm).weights(memory))


def mixed(models: F32, weights: F32) -> F32:
    """The mixture [d] of models [K, d]."""
    if np.count_nonzero(weights) == 1:
        one: F32 = models[int(weights.argmax())]  # to the bit, whatever the others are
        return one
    return (weights @ models).astype(np.float32)


def common(algorithm: Algorithm, parameters: F32, state: F32) -> F32:
    """The one model [d] for those who cannot place themselves."""
    if models_of(algorithm) == 1 or not parameters.size:
        return parameters
    return cast("Clustered", algorithm).common(each(algorithm, parameters), state)


def secured(algorithm: Algorithm, least: int, cohort: int) -> Algorithm:
    """``algorithm`` with ``starve`` at no less than the share that a set of ``least`` clients has of ``cohort``.

    Raises:
        ValueError: so many clusters cannot all be that large.
    """
    share = least / max(cohort, 1)
    clustered: Any = algorithm
    if models_of(algorithm) == 1 or not clustered.lone or share <= clustered.starve:
        return algorithm
    if share >= 1 / clustered.clusters:
        raise ValueError(
            f"{clustered.clusters} clusters of at least {least} clients do not fit a cohort of {cohort}: name fewer clusters, or "
            f"make cohorts larger"
        )
    found: Algorithm = replace(clustered, starve=share)
    return found


def moved(slots: F32, marks: F32) -> F32:
    """Change of every model [K d] from the mean slots [K d] and marks [K]; a model nobody is with stays."""
    parted = slots.reshape(len(marks), -1)
    found = np.where(marks[:, None] > TINY, parted / np.maximum(marks, TINY)[:, None], np.float32(0))
    return found.ravel().astype(np.float32)


def smoothed(shares: F32, marks: F32, memory: float) -> F32:
    """Shares [K] after a round whose mean marks [K] these are."""
    now = marks / max(float(marks.sum()), TINY)
    return (np.float32(memory) * shares + np.float32(1 - memory) * now).astype(np.float32)


def commonest(types: I32) -> int:
    """The type of device that most rows [n] are of; -1 where none is known."""
    known = types[types >= 0]
    return int(np.bincount(known).argmax()) if len(known) else -1


def sample(rows: Rows) -> Rows:
    """At most MOST_ROWS of a client's rows, evenly spaced: enough to tell models apart."""
    if len(rows) <= MOST_ROWS:
        return rows
    at = np.linspace(0, len(rows) - 1, MOST_ROWS).astype(np.int64)
    return Rows(rows.x[at], rows.y[at])


def check_fields(clusters: int, starve: float, memory: float) -> None:
    """Ranges of the fields that all kinds share.

    Raises:
        ValueError: one is out of range.
    """
    if clusters < 1:
        raise ValueError(f"clusters must be 1 or more, not {clusters}")
    if not 0 <= starve < 1 / clusters:
        raise ValueError(f"starve must be at least 0 and below 1 / clusters, not {starve}")
    if not 0 <= memory < 1:
        raise ValueError(f"memory must be at least 0 and below 1, not {memory}")


ALGORITHMS: tuple[type, ...] = (Ifca,)
