"""Attacks on the training rows: label flips and backdoors.

label-flip         Tolpegin et al., "Data Poisoning Attacks Against Federated Learning Systems", ESORICS 2020
model-replacement  a backdoor trained in and scaled up: Bagdasaryan et al., "How To Backdoor Federated Learning",
                   AISTATS 2020, equation 3
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardround.arrays import F32
from wardround.attacks.attack import Attack, Target
from wardround.training.task import Rows


@dataclass(frozen=True)
class LabelFlip(Attack):
    """Hostile clients train on wrong labels and send what comes out.

    Attributes:
        source: the class that is relabelled; -1 for every class.
        target: what it is relabelled to (0, say, where that is benign: attacks go unseen); -1 mirrors label y to
            classes - 1 - y.
    """

    name: ClassVar[str] = "label-flip"
    trains: ClassVar[bool] = True
    source: int = -1
    target: int = -1

    def poison_rows(self, rows: Rows, classes: int, rng: np.random.Generator) -> Rows:
        """Raises ValueError where ``source`` or ``target`` is no class."""
        del rng
        if not max(self.source, self.target) < classes:
            raise ValueError(f"there are {classes} classes; label-flip names {self.source} -> {self.target}")
        chosen = np.ones(len(rows), dtype=bool) if self.source < 0 else rows.y == self.source
        wrong = classes - 1 - rows.y if self.target < 0 else np.full_like(rows.y, self.target)
        return Rows(rows.x, np.where(chosen, wrong, rows.y))


@dataclass(frozen=True)
class ModelReplacement(Attack):
    """A backdoor: rows that carry a trigger get the adversary's label, and the trained update is scaled up until it
    stands against all honest ones.

    Attributes:
        columns: input columns that carry the trigger.
        value: what the trigger sets them to, in units of the prepared inputs.
        target: the label of triggered rows, 0 where that is benign: an attack with the trigger goes unseen.
        share: share of a hostile client's rows that get the trigger (as added copies of other classes' rows).
        scale: factor on the update; 0 for all clients / hostile clients, which replaces a plain mean; 1 sends it as it is.
    """

    name: ClassVar[str] = "model-replacement"
    trains: ClassVar[bool] = True
    columns: tuple[int, ...] = (0, 1)
    value: float = 4.0
    target: int = 0
    share: float = 0.5
    scale: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1:
            raise ValueError(f"share must lie in (0, 1], not {self.share}")
        if not self.columns or min(self.columns) < 0:
            raise ValueError(f"columns must name at least one input column, not {self.columns}")
        if not self.scale >= 0:
            raise ValueError(f"scale must be 0 or more, not {self.scale}")

    def triggered(self, x: F32) -> F32:
        """A copy of the inputs [n, f] with the trigger set; the backdoor's success is how many of them score ``target``.

        Raises:
            ValueError: there is no such column.
        """
        if max(self.columns) >= x.shape[1]:
            raise ValueError(f"the trigger sits in columns {self.columns}, the inputs have {x.shape[1]}")
        marked = x.copy()
        marked[:, list(self.columns)] = self.value
        return marked

    def poison_rows(self, rows: Rows, classes: int, rng: np.random.Generator) -> Rows:
        """Raises ValueError where ``target`` is no class or a column is missing."""
        if not 0 <= self.target < classes:
            raise ValueError(f"there are {classes} classes; the backdoor's target is {self.target}")
        others = np.flatnonzero(rows.y != self.target)
        drawn = rng.permutation(others)[: round(self.share * len(rows))]
        x = np.concatenate([rows.x, self.triggered(rows.x[drawn])])
        y = np.concatenate([rows.y, np.full(len(drawn), self.target, dtype=rows.y.dtype)])
        return Rows(x, y)

    def forge(self, honest: F32, own: F32, target: Target, rng: np.random.Generator) -> F32:
        del target, rng
        scale = self.scale or (len(honest) + len(own)) / max(len(own), 1)
        return own * np.float32(scale)
