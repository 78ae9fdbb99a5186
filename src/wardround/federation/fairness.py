"""Algorithms that weigh clients by how badly the model serves them, under sums alone.

    TERM   tilted empirical risk: weight exp(t F_i)              Li et al., ICLR 2021
    q-FFL  weight F_i^q with the paper's step size               Li et al., ICLR 2020 (q-FedAvg, algorithm 2)
    AFL    agnostic, minimax: multiplicative weights over time   Mohri et al., ICML 2019

A client multiplies its own change by its factor and sends the factor beside it; the server divides the two means, so it learns
neither a client's loss nor its factor. F_i is the client's mean training loss of the round. A factor is a client's own word,
and under a secure sum nobody can check it: ``most`` bounds what a lie can gain, over the server's weights (plan.py).

Law: clients of equal loss get FedAvg's step from TERM and AFL.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardround.arrays import F32
from wardround.federation.algorithms import FedAvg
from wardround.federation.reach import Part
from wardround.training.task import LocalTraining, Trained

_TINY = 1e-12


class _Weighed(FedAvg):
    """Block = (factor x change [d], factor); the server divides."""

    def parts(self, d: int) -> tuple[Part, ...]:
        """The weighed change, and the factor."""
        return (Part(d, 1.0), Part(1, 1.0, fixed=True))

    def delta(self, mean: F32, state: F32, d: int, share: float) -> tuple[F32, F32]:
        """The change of the mean client, by factors."""
        del share
        return mean[:d] / np.float32(max(float(mean[d]), _TINY)), state


@dataclass(frozen=True)
class Term(_Weighed):
    """Clients with higher loss pull harder: factor exp(tilt x loss), at most ``most`` (relative to a loss of 0).

    Attributes:
        tilt: the paper's t; 0 is FedAvg.
        most: bound of the factor.
    """

    name: ClassVar[str] = "term"

    tilt: float = 1.0
    most: float = 20.0

    def __post_init__(self) -> None:
        if not 0 <= self.tilt < math.inf:
            raise ValueError(f"tilt must be 0 or more, not {self.tilt}")
        _check_most(self.most)

    def block(self, trained: Trained, training: LocalTraining, memory: F32, broadcast: F32) -> tuple[F32, F32]:
        """The change and the factor, both over ``most``, so that neither leaves the change's own range."""
        del training, broadcast
        factor = math.exp(min(self.tilt * trained.loss, math.log(self.most))) / self.most
        return _weighed(trained, factor), memory


@dataclass(frozen=True)
class QFfl(FedAvg):
    """Clients with higher loss pull harder, by a power of it, and the step shrinks as that objective grows steeper.

    The paper's L is 1 / learning rate; with D_i = L x (w - w_i) it sums F_i^q D_i over q F_i^(q-1) |D_i|^2 + L F_i^q.

    Attributes:
        q: the power; 0 is FedAvg.
        most: bound of F_i^q, and of the steepness over it.
    """

    name: ClassVar[str] = "qffl"

    q: float = 1.0
    most: float = 20.0

    def __post_init__(self) -> None:
        if not 0 <= self.q < math.inf:
            raise ValueError(f"q must be 0 or more, not {self.q}")
        _check_most(self.most)

    def parts(self, d: int) -> tuple[Part, ...]:
        """The weighed change, and the denominator."""
        return (Part(d, 1.0), Part(1, 1.0, fixed=True))

    def block(self, trained: Trained, training: LocalTraining, memory: F32, broadcast: F32) -> tuple[F32, F32]:
        """(F^q change, q F^(q-1) |change|^2 / learning rate + F^q), both over ``most``; L cancels but for that rate."""
        del broadcast
        loss = max(trained.loss, 1e-6)
        power = min(loss**self.q, self.most)
        steep = self.q * loss ** (self.q - 1) * float(trained.delta @ trained.delta) / training.learning_rate
        lower = min(steep, self.most) + power
        block = np.append(np.float32(power) * trained.delta, np.float32(lower)) / np.float32(2 * self.most)
        return block.astype(np.float32), memory

    def delta(self, mean: F32, state: F32, d: int, share: float) -> tuple[F32, F32]:
        """Sum over sum."""
        del share
        return mean[:d] / np.float32(max(float(mean[d]), _TINY)), state


@dataclass(frozen=True)
class Afl(_Weighed):
    """Clients that are served badly round after round gain weight: factor x exp(rate x loss), remembered by each client.

    The paper's server projects the weights onto the simplex; under a sum it divides by their mean instead. Each client
    keeps the logarithm of its factor, which decays so that an old grievance fades.

    Attributes:
        rate: step of the multiplicative weights.
        decay: part of the logarithm that is kept from round to round.
        most: bound of the factor.
    """

    name: ClassVar[str] = "afl"

    rate: float = 0.1
    decay: float = 0.95
    most: float = 20.0

    def __post_init__(self) -> None:
        if not self.rate >= 0:
            raise ValueError(f"rate must be 0 or more, not {self.rate}")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, not {self.decay}")
        _check_most(self.most)

    def block(self, trained: Trained, training: LocalTraining, memory: F32, broadcast: F32) -> tuple[F32, F32]:
        """The change and the factor over ``most``; memory [1] is the factor's logarithm."""
        del training, broadcast
        before = float(memory[0]) if memory.size else 0.0
        now = min(self.decay * before + self.rate * trained.loss, math.log(self.most))
        return _weighed(trained, math.exp(now) / self.most), np.array([now], dtype=np.float32)


ALGORITHMS: tuple[type, ...] = (Term, QFfl, Afl)


def _weighed(trained: Trained, factor: float) -> F32:
    return np.append(np.float32(factor) * trained.delta, np.float32(factor))


def _check_most(most: float) -> None:
    if not 1 <= most < math.inf:
        raise ValueError(f"most must be 1 or more, not {most}")
