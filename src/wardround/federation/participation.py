"""Who takes part in a round: the server's sampling, and the simulated world's weather.

``Participation`` is the server's policy. ``Weather`` describes devices that go off and on, vanish in the middle of a
round or come too late; only the simulation uses it, real gateways have weather of their own. Both are seeded:
the same seed gives the same absences, whatever is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wardround.arrays import F64, Bool
from wardround.rng import stream

Fate = Literal["answers", "drops", "late"]


@dataclass(frozen=True)
class Participation:
    """The server's policy.

    Attributes:
        fraction: share of the reachable clients that are invited to a training round.
        minimum: answers without which an exchange is given up (the model stays, the next round begins); with secure
            aggregation no smaller set is ever opened.
    """

    fraction: float = 1.0
    minimum: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1, not {self.fraction}")
        if self.minimum < 1:
            raise ValueError(f"minimum must be 1 or more, not {self.minimum}")

    def invite(self, reachable: Sequence[str], seed: int, round_: int) -> tuple[str, ...]:
        """The invited clients, in the order of ``reachable``; at least ``minimum`` where there are that many."""
        wanted = max(self.minimum, round(self.fraction * len(reachable)))
        if wanted >= len(reachable):
            return tuple(reachable)
        chosen = stream(seed, "invite", round_).choice(len(reachable), size=wanted, replace=False)
        return tuple(reachable[i] for i in sorted(chosen))


@dataclass(frozen=True)
class Weather:
    """Absences in the simulated world.

    Attributes:
        offline: share of the time a device is off (two-state Markov chain, one step per round).
        outage: how many rounds an outage lasts on average.
        dropout: chance that an invited client vanishes inside the round.
        stragglers: share of devices that are slow.
        slowdown: how many times slower those are.
        deadline: a round waits this many times the typical training time; later answers are not used.
    """

    offline: float = 0.0
    outage: float = 3.0
    dropout: float = 0.0
    stragglers: float = 0.0
    slowdown: float = 6.0
    deadline: float = 4.0

    def __post_init__(self) -> None:
        for name in ("offline", "dropout", "stragglers"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}")
        for name in ("outage", "slowdown", "deadline"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.offline and self.offline / (self.outage * (1 - self.offline)) > 1:
            raise ValueError(
                f"outages of {self.outage} rounds cannot fill {self.offline:.0%} of the time: raise outage"
            )

    def presence(self, clients: int, rounds: int, seed: int) -> Bool:
        """[rounds + 1, clients]: is the device on? Stationary from the start; row r is round r (row 0: set-up)."""
        on = np.ones((rounds + 1, clients), dtype=np.bool_)
        if self.offline == 0:
            return on
        back = 1 / self.outage
        leave = self.offline * back / (1 - self.offline)
        draws = stream(seed, "weather", "presence").random((rounds + 1, clients))
        on[0] = draws[0] >= self.offline
        for r in range(1, rounds + 1):
            on[r] = np.where(on[r - 1], draws[r] >= leave, draws[r] < back)
        return on

    def fates(self, invited: Sequence[int], clients: int, seed: int, round_: int) -> list[Fate]:
        """What becomes of each invited client's answer in this round."""
        vanish, time = self._draws(clients, seed, round_)
        return ["drops" if vanish[i] else "late" if time[i] > self.deadline else "answers" for i in invited]

    def times(self, clients: int, seed: int, round_: int) -> F64:
        """How long each client trains in this round [clients], in typical training times."""
        return self._draws(clients, seed, round_)[1]

    def _draws(self, clients: int, seed: int, round_: int) -> tuple[Bool, F64]:
        draws = stream(seed, "weather", "round", round_)
        vanish = draws.random(clients) < self.dropout
        slow = stream(seed, "weather", "slow").random(clients) < self.stragglers
        return vanish, draws.lognormal(0.0, 0.25, clients) * np.where(slow, self.slowdown, 1.0)
