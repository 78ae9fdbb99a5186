"""Heads by type of device: gateways share a body, and the output layer only with gateways of their own type.

A gateway's type is what most of its training rows are of. The server's parameters are K models in a row that differ in their
last ``head`` parameters alone; a block holds the body's change once, a slot of ``head`` changes per type, and the marks. So the
price of K types is K heads up, though K models down. Who is of which type is in the sum only as the type's share of the weight;
a type that a single gateway of a cohort is of moves its head by that gateway's change alone (clusters.py, ``starve``): types
whose share falls below it are closed, and their gateways use the first open head.

Laws: the body moves as FedAvg's does; with one type it is FedAvg.
What it does not do: heads for each type *inside* a gateway, which stay there ([personal] ``typed``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardround.arrays import F32
from wardround.federation.clusters import Slots, View, check_fields, moved, smoothed, still_open
from wardround.federation.reach import Part
from wardround.training.task import LocalTraining, Trained


@dataclass(frozen=True)
class TypeHeads(Slots):
    """Gateways whose devices are mostly of one type share an output layer, and everything below it with all.

    Attributes:
        clusters: heads: one for each type of device in the data's order, the first for the rest too.
        starve: a head whose share of the weight, smoothed over rounds, falls below this is closed; a secure sum raises it to its
            least set's share of a cohort.
        memory: part of the smoothed share that is kept from round to round.
        head: parameters at the model's end that are by type; 0: those of the output layer.
    """

    name: ClassVar[str] = "type-heads"
    by_type: ClassVar[bool] = True

    clusters: int = 8
    starve: float = 0.02
    memory: float = 0.8
    head: int = 0

    def __post_init__(self) -> None:
        check_fields(self.clusters, self.starve, self.memory)
        if self.head < 0:
            raise ValueError(f"head must be 0 or more, not {self.head}")

    def begin(self, drawn: Sequence[F32]) -> F32:
        """All types start with the same head."""
        return np.tile(drawn[0], self.clusters)

    def parts(self, d: int) -> tuple[Part, ...]:
        """The body's change, K heads' changes, K marks."""
        body = d // self.clusters - self.head
        return Part(body, 1.0), Part(self.clusters * self.head, 1.0), Part(self.clusters, 1.0, fixed=True)

    def place(self, view: View) -> F32:
        """The number [1] of the head of the gateway's type, or of the first that is open."""
        alive = still_open(self, view.broadcast)
        wanted = view.type if 0 <= view.type < self.clusters else 0
        return np.array([wanted if alive[wanted] else int(alive.argmax())], dtype=np.float32)

    def block(self, trained: Trained, training: LocalTraining, memory: F32, broadcast: F32) -> tuple[F32, F32]:
        """Body, heads in their slots, marks."""
        del training, broadcast
        marks, cut = self.weights(memory), trained.delta.size - self.head
        slots = np.outer(marks, trained.delta[cut:]).ravel()
        return np.concatenate([trained.delta[:cut], slots, marks]).astype(np.float32), memory

    def delta(self, mean: F32, state: F32, d: int, share: float) -> tuple[F32, F32]:
        """The body by everybody, each head by its own."""
        del share
        body, slots, marks = np.split(mean, np.cumsum([part.size for part in self.parts(d)])[:-1])
        heads = moved(slots, marks).reshape(self.clusters, -1)
        whole = np.concatenate([np.tile(body, (self.clusters, 1)), heads], axis=1)
        return whole.ravel().astype(np.float32), smoothed(self.shares(state), marks, self.memory)


ALGORITHMS: tuple[type, ...] = (TypeHeads,)
