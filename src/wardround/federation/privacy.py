"""The table ``[privacy]``: differential privacy of a client's updates, by noise that the clients add inside the secure sum.

Covered is what a client's updates tell over the whole training, towards everybody who sees models or sums, the server
included: (epsilon, delta) for adding or removing all contributions of one client. Not covered are the sums that are exact: the
set-up statistics and the measures on validation rows. In a private federation nothing else of a client is counted: weights are
all 1, and losses, steps and exponents are not sent.
What it does not do: account (drivers/privacy.py), draw noise (secagg/privacy.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wardround.arrays import F32
from wardround.federation.reach import Part
from wardround.secagg.privacy import SPREAD


@dataclass(frozen=True)
class Privacy:
    """Differential privacy of updates; off by default.

    Attributes:
        mechanism: ``gaussian`` (discrete) or ``skellam`` noise; ``none``: no differential privacy.
        epsilon: the budget for the whole training: it stops when another round would exceed it.
        delta: the probability that goes with it; below 1 / number of clients.
        norm: an update longer than this (Euclidean norm of the model's change) is shortened to it.
        multiplier: deviation of the noise on an opened sum over the sensitivity; 0: what lets the budget last for all rounds.
        hostile: share of an opened set's clients that may add no noise; the others add so much that theirs suffices.
    """

    mechanism: Literal["none", "gaussian", "skellam"] = "none"
    epsilon: float = 8.0
    delta: float = 1e-5
    norm: float = 1.0
    multiplier: float = 0.0
    hostile: float = 0.2

    def __post_init__(self) -> None:
        for name in ("epsilon", "norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 < self.delta < 1:
            raise ValueError(f"delta must lie between 0 and 1, not {self.delta}")
        if not 0 <= self.hostile < 1:
            raise ValueError(f"hostile must be at least 0 and below 1, not {self.hostile}")
        if self.multiplier and not 0.1 <= self.multiplier <= 100:
            raise ValueError(f"multiplier must be 0 (set from the budget) or 0.1 to 100, not {self.multiplier}")

    @property
    def on(self) -> bool:
        return self.mechanism != "none"


def reach(parts: Sequence[Part], norm: float) -> F32:
    """The fixed reach [p] of a private federation: a clipped update's typical value lies SPREAD times below it."""
    values = sum(part.size for part in parts)
    return np.full(len(parts), SPREAD * norm / math.sqrt(max(values, 1)), dtype=np.float32)
