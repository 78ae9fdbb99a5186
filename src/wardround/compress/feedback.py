"""Error feedback: what was not sent this round is added to the next.

    residual <- update + residual - sent                                  Seide et al. 2014; Karimireddy et al., ICML 2019

with the two additions of Deep Gradient Compression (Lin et al., ICLR 2018): momentum correction gathers a velocity
instead of the plain update, and factor masking forgets the velocity of coordinates that were sent, so that stale
momentum does not push them further.

Laws: without momentum and decay, ``corrected == sent + new residual`` exactly in float32, and over rounds
sum of updates = sum of what was sent + last residual, to rounding. State is passed in and returned.
It makes a client remember: a gateway that loses its state, or joins one round in twenty, loses or delays what it owed. Around
a shared support under partial participation it hurts (docs/design/0801).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from wardround.arrays import F32
from wardround.compress.codec import Memory


@dataclass(frozen=True)
class ErrorFeedback:
    """Add to each round what the codecs after it left out the round before (error feedback); stands first in a chain.

    Attributes:
        decay: share of the residual that is kept; below 1 forgets what has become stale.
        momentum: momentum correction (DGC, Lin et al. 2018); 0 for none. Set the training's own momentum to 0 then.
        masking: forget the velocity of coordinates that were sent (DGC's factor masking); only with momentum.
    """

    name: ClassVar[str] = "error-feedback"
    linear: ClassVar[Literal[True]] = True
    keeps: ClassVar[Literal[True]] = True
    decay: float = 1.0
    momentum: float = 0.0
    masking: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must lie in (0, 1], not {self.decay}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), not {self.momentum}")

    def state_bytes(self, d: int) -> int:
        return 4 * d * (2 if self.momentum else 1)

    def correct(self, memory: Memory, update: F32) -> tuple[F32, Memory]:
        residual = _held(memory.residual, update)
        if not self.momentum:
            return update + np.float32(self.decay) * residual, memory
        velocity = np.float32(self.momentum) * _held(memory.velocity, update) + update
        return velocity + np.float32(self.decay) * residual, Memory(memory.residual, velocity)

    def settle(self, memory: Memory, corrected: F32, sent: F32) -> Memory:
        velocity = memory.velocity
        if self.momentum and self.masking:
            velocity = np.where(sent != 0, np.float32(0), velocity)
        return Memory(corrected - sent, velocity)


def _held(state: F32, update: F32) -> F32:
    """The state, or zeros before the first round.

    Raises:
        ValueError: it belongs to a vector of another length.
    """
    if not state.size:
        return np.zeros_like(update)
    if state.shape != update.shape:
        raise ValueError(f"error feedback remembers {state.size} values, the update has {update.size}")
    return state
