"""Divide and conquer: leave out the rows that stand out along the direction in which the rows differ most.

    dnc   score_i = <x_i - mean, v>^2, v the top right singular vector of the centred rows; the c f highest go
          (DnC: Shejwalkar, Houmansadr, "Manipulating the Byzantine", NDSS 2021, Algorithm 2)

The paper draws a subset of coordinates to make the singular vector affordable. In Gram space all coordinates cost one
pass: sigma u of the centred Gram matrix holds the same scores. And where the paper removes all c f rows along one
direction, the default here removes one row, looks for the new direction, and so on: hostile rows that stand out along
several directions cannot shield each other. ``passes = 1`` is the paper's step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardround.aggregate.rule import Decision, Rule, Votes
from wardround.arrays import F64, I64

POWER_STEPS = 40
FEW = 24  # rows for which all eigenvectors are found faster than the first one by steps
SETTLED = 1e-6  # change of the direction below which the power iteration has arrived


@dataclass(frozen=True)
class DnC(Rule):
    """The mean of the rows that do not stand out.

    Better than the trimmed mean while the share of hostile rows is below its setting, and falls suddenly above. Policy
    weights are ignored.

    Attributes:
        removal: rows removed per assumed hostile row (the paper's c).
        passes: directions looked at; 0 for one per removed row, 1 for the paper's single one.
    """

    name: ClassVar[str] = "dnc"
    removal: float = 1.0
    passes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.removal > 0:
            raise ValueError(f"removal must be positive, not {self.removal}")
        if self.passes < 0:
            raise ValueError(f"passes must be 0 or more, not {self.passes}")

    def breakdown(self, rows: int) -> int:
        return (rows - 1) // 2

    def tolerates(self, rows: int) -> int:
        return min(super().tolerates(rows), self._removed(rows, self.assumed(rows)))

    def decide(self, votes: Votes) -> Decision:
        k = votes.stack.count
        inner = votes.stack.inner()
        kept: I64 = np.arange(k)
        for portion in _portions(self._removed(k, votes.hostile), self.passes):
            scores = spectral_scores(inner[np.ix_(kept, kept)])
            kept = np.sort(kept[np.argsort(scores, kind="stable")[: len(kept) - portion]])
        weights = np.zeros(k)
        weights[kept] = 1.0 / len(kept)
        return Decision(weights, facts={"removed": float(k - len(kept))})

    def _removed(self, rows: int, hostile: int) -> int:
        return min(math.ceil(self.removal * hostile - 1e-9), rows - 1)


def spectral_scores(inner: F64) -> F64:
    """Squared projection [k] of each centred row on the top singular direction, up to a common factor; by power iteration.

    ``inner``: inner products [k, k] of the rows about any centre. Where two directions are equally strong any mixture
    of them is as good: outliers dominate all of them.
    """
    column = inner.mean(axis=0)
    centred = inner - column[:, None] - column[None, :] + column.mean()
    if len(inner) <= FEW:
        values, vectors = np.linalg.eigh(centred)
        few: F64 = max(float(values[-1]), 0.0) * vectors[:, -1] ** 2
        return few
    direction = centred[:, np.argmax(np.diag(centred))]  # the row farthest from the mean against all others
    length = math.sqrt(direction.dot(direction))
    for _ in range(POWER_STEPS):
        if length <= 0.0:
            break
        last = direction / length
        direction = centred @ last
        length = math.sqrt(direction.dot(direction))
        if length - last.dot(direction) < 0.5 * SETTLED**2 * length:  # 1 - cosine is half the squared change
            break
    scores: F64 = direction**2
    return scores


def _portions(removed: int, passes: int) -> list[int]:
    """How many rows each pass removes."""
    count = min(passes or removed, removed)
    return [removed // count + (at < removed % count) for at in range(count)]
