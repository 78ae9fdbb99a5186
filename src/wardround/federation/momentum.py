"""Client momentum: every client sends a moving mean of its own updates in place of the last one.

    m_i <- keep m_i + (1 - keep) delta_i        (m_i = delta_i in a client's first round)

Karimireddy, He, Jaggi, "Learning from History for Byzantine Robust Optimization" (ICML 2021, Algorithm 2): what honest
clients' updates owe to their batches averages out over rounds, what they owe to a liar does not, so hostile updates find
less noise to hide in, and a rule that holds in one round holds over many. The memory stays with the client; what is sent is
one block of the model's size, so it goes through every rule, codec and secure sum as a plain update does.

Laws (tests/federation): ``keep = 0`` is FedAvg to the bit; equal updates are sent as they are; the mean of what clients
send is the moving mean of the mean updates while the same clients take part.
What it does not do: tell who lies; help where updates differ because the data differ, which no mean over rounds removes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardround.arrays import F32
from wardround.federation.algorithms import Algorithm, Correction, FedAvg
from wardround.training.task import LocalTraining, Trained


@dataclass(frozen=True)
class ClientMomentum(FedAvg):
    """FedAvg whose clients send a moving mean of their updates (Karimireddy et al. 2021); for use with a robust rule.

    Attributes:
        keep: share of the old mean that is kept each round (the paper's beta); 0 is FedAvg.
        mu: FedProx's pull to the round's model; 0 for none.
    """

    name: ClassVar[str] = "client-momentum"
    keep: float = 0.8
    mu: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.keep < 1:
            raise ValueError(f"keep must be at least 0 and below 1, not {self.keep}")
        if not self.mu >= 0:
            raise ValueError(f"mu must be 0 or more, not {self.mu}")

    def correct(self, memory: F32, broadcast: F32) -> Correction:
        del memory, broadcast
        return Correction(proximal=self.mu)

    def block(self, trained: Trained, training: LocalTraining, memory: F32, broadcast: F32) -> tuple[F32, F32]:
        del training, broadcast
        if trained.steps == 0:  # no rows, no step: nothing to remember
            return trained.delta, memory
        mean = self.sent(trained.delta, memory)
        return mean, mean if self.keep else memory

    def sent(self, delta: F32, memory: F32) -> F32:
        """What a client with that ``memory`` ([d] or empty) sends for an update [d]."""
        if not self.keep or not memory.size:
            return delta
        mean: F32 = np.float32(self.keep) * memory + np.float32(1.0 - self.keep) * delta
        return mean

    def made(self, block: F32, memory: F32) -> F32:
        """The update [d] for which a client with that ``memory`` sends ``block`` [d]: what a liar hands in (simulation)."""
        if not self.keep or not memory.size:
            return block
        delta = (block - np.float32(self.keep) * memory) / np.float32(1.0 - self.keep)
        return np.asarray(delta, dtype=np.float32)


def sent(algorithm: Algorithm, delta: F32, memory: F32) -> F32:
    """The update [d] as the server's rule sees it, under any ``algorithm``."""
    return algorithm.sent(delta, memory) if isinstance(algorithm, ClientMomentum) else delta


def made(algorithm: Algorithm, block: F32, memory: F32) -> F32:
    """The update [d] that is seen as ``block`` [d], under any ``algorithm``."""
    return algorithm.made(block, memory) if isinstance(algorithm, ClientMomentum) else block
