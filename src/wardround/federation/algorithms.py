"""Federated optimisation algorithms as pairs: what a client adds to the sum, what the server makes of the mean.

    FedAvg    McMahan et al., AISTATS 2017
    FedProx   Li et al., MLSys 2020
    SCAFFOLD  Karimireddy et al., ICML 2020 (option II for the control variates)
    FedNova   Wang et al., NeurIPS 2020
    FedDyn    Acar et al., ICLR 2021
    MOON      Li et al., CVPR 2021

The block a client contributes is linear in its effect: the server needs the weighted *mean* of blocks only, so every
algorithm works under secure aggregation. Law: with one client, or equal clients, all but FedDyn give FedAvg's step
(SCAFFOLD in its first round, where all control variates are zero; FedDyn steps beyond the mean). Those that weigh
clients by their loss stand in fairness.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from wardround.arrays import F32
from wardround.federation.reach import Part
from wardround.training.task import Contrast, LocalTraining, Trained

EMPTY: F32 = np.zeros(0, dtype=np.float32)


@dataclass(frozen=True)
class Correction:
    """What the algorithm adds to local training: FedProx's mu, SCAFFOLD's c - c_i [d], MOON's contrast."""

    proximal: float = 0.0
    gradient: F32 | None = None
    contrast: Contrast | None = None


class Algorithm(Protocol):
    """``memory`` is what a client keeps between rounds ([d] or empty); ``broadcast`` what the server tells all."""

    name: ClassVar[str]

    def parts(self, d: int) -> tuple[Part, ...]:
        """What a client's block holds for a model of ``d`` parameters, part by part."""
        ...

    def broadcast(self, state: F32, d: int) -> F32:
        """What goes to every invited client beside the parameters."""
        ...

    def correct(self, memory: F32, broadcast: F32) -> Correction:
        """Client: how its training differs from plain SGD."""
        ...

    def block(self, trained: Trained, training: LocalTraining, memory: F32, broadcast: F32) -> tuple[F32, F32]:
        """Client: (block, new memory)."""
        ...

    def delta(self, mean: F32, state: F32, d: int, share: float) -> tuple[F32, F32]:
        """Server: (change of the model [d], new state) from the mean block; ``share`` of all clients answered."""
        ...


@dataclass(frozen=True)
class FedAvg:
    """The weighted mean of the clients' changes."""

    name: ClassVar[str] = "fedavg"

    def parts(self, d: int) -> tuple[Part, ...]:
        return (Part(d, 1.0),)

    def broadcast(self, state: F32, d: int) -> F32:
        del state, d
        return EMPTY

    def correct(self, memory: F32, broadcast: F32) -> Correction:
        del memory, broadcast
        return Correction()

    def block(self, trained: Trained, training: LocalTraining, memory: F32, broadcast: F32) -> tuple[F32, F32]:
        del training, broadcast
        return trained.delta, memory

    def delta(self, mean: F32, state: F32, d: int, share: float) -> tuple[F32, F32]:
        del d, share
        return mean, state


@dataclass(frozen=True)
class FedProx(FedAvg):
    """FedAvg whose clients are pulled back to the round's model by mu/2 |w - w_round|^2.

    Attributes:
        mu: strength of the pull; 0 is FedAvg.
    """

    name: ClassVar[str] = "fedprox"
    mu: float = 0.01

    def __post_init__(self) -> None:
        if not self.mu >= 0:
            raise ValueError(f"mu must be 0 or more, not {self.mu}")

    def correct(self, memory: F32, broadcast: F32) -> Correction:
        del memory, broadcast
        return Correction(proximal=self.mu)


@dataclass(frozen=True)
class Moon(FedAvg):
    """Model-contrastive learning: clients hold representations near the common model's, away from their own last one's.

    The model of the round before stays at the client; its first round is plain FedAvg (Li, He and Song, CVPR 2021).

    Attributes:
        mu: weight of the contrastive term; 0 is FedAvg.
        temperature: of its softmax over the two cosines.
    """

    name: ClassVar[str] = "moon"
    keeps_model: ClassVar[bool] = True

    mu: float = 1.0
    temperature: float = 0.5

    def __post_init__(self) -> None:
        if not self.mu >= 0:
            raise ValueError(f"mu must be 0 or more, not {self.mu}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, not {self.temperature}")

    def correct(self, memory: F32, broadcast: F32) -> Correction:
        del broadcast
        return Correction(contrast=Contrast(self.mu, self.temperature, memory)) if memory.size else Correction()


@dataclass(frozen=True)
class Scaffold:
    """Control variates correct each client's drift; block = (change of the model, change of the client's variate).

    A client's new variate is c_i - c - delta / (K lr) (option II), which the paper derives for plain SGD: ``[training]``
    must use sgd without momentum.

    Attributes:
        most: largest Euclidean norm of the correction added to a step's gradient. Unbounded corrections diverge where
            clients hold few classes or take few steps (a variate is then the mean of a handful of noisy gradients that is
            added at every step of the next round); 0: no bound, as in the paper.
    """

    name: ClassVar[str] = "scaffold"

    most: float = 1.0

    def __post_init__(self) -> None:
        if not self.most >= 0:
            raise ValueError(f"most must be 0 or more, not {self.most}")

    def parts(self, d: int) -> tuple[Part, ...]:
        return (Part(d, 1.0), Part(d, 4.0))

    def broadcast(self, state: F32, d: int) -> F32:
        return state if state.size else np.zeros(d, dtype=np.float32)

    def correct(self, memory: F32, broadcast: F32) -> Correction:
        gradient = broadcast - memory if memory.size else broadcast
        return Correction(gradient=bounded(gradient, self.most))

    def block(self, trained: Trained, training: LocalTraining, memory: F32, broadcast: F32) -> tuple[F32, F32]:
        own = memory if memory.size else np.zeros_like(broadcast)
        if trained.steps == 0:  # no rows, no step: nothing learnt about its gradient
            return np.concatenate([trained.delta, np.zeros_like(own)]), own
        scale = np.float32(1.0 / (trained.steps * training.learning_rate))
        # what was really added to each step's gradient comes off again: the variate is the mean of plain gradients
        new = -bounded(broadcast - own, self.most) - scale * trained.delta
        return np.concatenate([trained.delta, new - own]), new

    def delta(self, mean: F32, state: F32, d: int, share: float) -> tuple[F32, F32]:
        variate = state if state.size else np.zeros(d, dtype=np.float32)
        return mean[:d], variate + np.float32(share) * mean[d:]


@dataclass(frozen=True)
class FedNova:
    """Normalised averaging: clients that took more steps do not pull harder; block = (delta / a_i, a_i).

    a_i is the weight of a client's gradients in its change (the paper's |a_i|_1): the number of steps for plain SGD,
    more with momentum.
    """

    name: ClassVar[str] = "fednova"

    def parts(self, d: int) -> tuple[Part, ...]:
        return (Part(d, 1.0), Part(1, 1024.0))

    def broadcast(self, state: F32, d: int) -> F32:
        del state, d
        return EMPTY

    def correct(self, memory: F32, broadcast: F32) -> Correction:
        del memory, broadcast
        return Correction()

    def block(self, trained: Trained, training: LocalTraining, memory: F32, broadcast: F32) -> tuple[F32, F32]:
        del broadcast
        length = accumulated_steps(trained.steps, training.momentum if training.optimiser == "sgd" else 0.0)
        scaled = trained.delta / np.float32(max(length, 1.0))
        return np.append(scaled, np.float32(length)), memory

    def delta(self, mean: F32, state: F32, d: int, share: float) -> tuple[F32, F32]:
        del share
        return mean[:d] * mean[d], state


@dataclass(frozen=True)
class FedDyn:
    """Each client's objective gets a linear term that makes the federation's optimum its own (Acar et al., algorithm 1).

    A client adds mu (w - w_round) - h_i to its gradient and keeps h_i - mu delta; the server keeps h = mean of all h_i, as
    far as it saw them change, and steps beyond the mean by -h / mu.

    Attributes:
        mu: the paper's alpha: strength of the pull to the round's model and of the correction.
        most: largest Euclidean norm of h_i; 0: no bound, as in the paper.
    """

    name: ClassVar[str] = "feddyn"

    mu: float = 0.1
    most: float = 1.0

    def __post_init__(self) -> None:
        if not self.mu > 0:
            raise ValueError(f"mu must be above 0, not {self.mu}")
        if not self.most >= 0:
            raise ValueError(f"most must be 0 or more, not {self.most}")

    def parts(self, d: int) -> tuple[Part, ...]:
        return (Part(d, 1.0), Part(d, 1.0))

    def broadcast(self, state: F32, d: int) -> F32:
        del state, d
        return EMPTY

    def correct(self, memory: F32, broadcast: F32) -> Correction:
        del broadcast
        return Correction(proximal=self.mu, gradient=-memory if memory.size else None)

    def block(self, trained: Trained, training: LocalTraining, memory: F32, broadcast: F32) -> tuple[F32, F32]:
        del training, broadcast
        own = memory if memory.size else np.zeros_like(trained.delta)
        new = bounded(own - np.float32(self.mu) * trained.delta, self.most)
        return np.concatenate([trained.delta, new - own]), new

    def delta(self, mean: F32, state: F32, d: int, share: float) -> tuple[F32, F32]:
        kept = (state if state.size else np.zeros(d, dtype=np.float32)) + np.float32(share) * mean[d:]
        return (mean[:d] - kept / np.float32(self.mu)).astype(np.float32), kept


def kept(algorithm: Algorithm, memory: F32, start: F32, delta: F32) -> F32:
    """What a client keeps: the model [d] it ended the round with where the algorithm compares with it (``keeps_model``),
    else ``memory``.
    """
    if not getattr(algorithm, "keeps_model", False) or not np.isfinite(delta).all():
        return memory
    end: F32 = start + delta
    return end


def bounded(vector: F32, most: float) -> F32:
    """``vector`` with a Euclidean norm of at most ``most``; 0: as it is."""
    norm = float(np.linalg.norm(vector))
    return vector * np.float32(most / norm) if most and norm > most else vector


def accumulated_steps(steps: int, momentum: float) -> float:
    """|a_i|_1 of ``steps`` SGD steps with heavy-ball ``momentum`` (Wang et al. 2020, section 4.1, table 1)."""
    if momentum == 0.0:
        return float(steps)
    return (steps - momentum * (1 - momentum**steps) / (1 - momentum)) / (1 - momentum)
