"""Soft clusters: a client's model is a mixture of the cluster models, with weights from its own losses.

After FedSoft (Ruan and Joe-Wong, AAAI 2022): a client's weight u_k for model k is the share of its rows that model k has the
least loss on, and no weight is below a floor. It trains the mixture sum_k u_k c_k once a round, so K models cost K times the
bytes and not K times the training. The gradient of its loss with respect to c_k is u_k times that at the mixture, so its
change enters slot k times u_k; the server divides by the summed weights. (FedSoft averages the clients' models instead,
which pulls soft clusters together.) Models must lie near each other for mixtures to mean anything, so all start from one draw,
a little apart.

Because of the floor every client is in every slot: no slot is ever one client's alone, and the marks hide its weights in
the cohort's mean.
Laws: with one cluster it is FedAvg; weights sum to 1 and none is below the floor, but those of closed models, which are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardround.arrays import F32
from wardround.federation.clusters import Slots, View, check_fields, mixed, still_open


@dataclass(frozen=True)
class SoftClusters(Slots):
    """Clients mix ``clusters`` models by the share of their rows that each fits best.

    Attributes:
        clusters: models.
        floor: least weight of a model in a client's mixture; times ``clusters`` below 1.
        apart: how far the first models lie from their common start, as a share of an independent draw.
        starve: a model whose share of the weight, smoothed over rounds, falls below this is closed; 0: none ever is.
        memory: part of the smoothed share that is kept from round to round.
    """

    name: ClassVar[str] = "soft"
    lone: ClassVar[bool] = False

    clusters: int = 3
    floor: float = 0.05
    apart: float = 0.1
    starve: float = 0.0
    memory: float = 0.8

    def __post_init__(self) -> None:
        check_fields(self.clusters, self.starve, self.memory)
        if not 0 < self.floor < 1 / self.clusters:
            raise ValueError(f"floor must be above 0 and below 1 / clusters, not {self.floor}")
        if not 0 < self.apart <= 1:
            raise ValueError(f"apart must be above 0 and at most 1, not {self.apart}")

    def begin(self, drawn: Sequence[F32]) -> F32:
        """Near the first draw, each a little towards another."""
        step = np.float32(self.apart)
        return np.concatenate([drawn[0], *((1 - step) * drawn[0] + step * one for one in drawn[1:])]).astype(np.float32)

    def place(self, view: View) -> F32:
        """Weights [K]; a client without rows belongs to all alike."""
        alive = still_open(self, view.broadcast)
        if not len(view.rows):
            return np.asarray(alive / alive.sum(), dtype=np.float32)
        losses = np.stack(
            [
                view.losses(w) if on else np.full(len(view.rows), np.inf)
                for w, on in zip(view.models, alive, strict=True)
            ]
        )
        best = np.nan_to_num(losses, nan=np.inf).argmin(0)
        won = np.bincount(best, minlength=self.clusters) / len(view.rows)
        return np.asarray(np.where(alive, self.floor + (1 - self.floor * alive.sum()) * won, 0.0), dtype=np.float32)

    def weights(self, memory: F32) -> F32:
        """The memory itself."""
        return memory if memory.size else np.full(self.clusters, 1 / self.clusters, dtype=np.float32)

    def common(self, models: F32, state: F32) -> F32:
        """The mixture by shares."""
        return mixed(models, self.shares(state))


ALGORITHMS: tuple[type, ...] = (SoftClusters,)
