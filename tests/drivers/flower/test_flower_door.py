"""The door over a Grid: how often a claim that does not hold is heard, and for how long it is remembered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from wardround.drivers.flower.door import AGAIN_S, Door
from wardround.drivers.parties.secured import Invitation
from wardround.events import Event


class Silence:
    """A network in which nobody answers; it counts who was asked."""

    def __init__(self) -> None:
        self.now, self.asked = 0.0, 0
        self.clock = SimpleNamespace(ticks=lambda: self.now)

    def exchange(self, kind: str, out: list[Any]) -> dict[str, Any]:
        assert kind == "knock"
        self.asked += len(out)
        return {}


def test_a_claim_that_fails_is_heard_less_and_forgotten_once_nobody_makes_it() -> None:
    network, told = Silence(), list[Event]()
    guard: Any = SimpleNamespace(
        end=SimpleNamespace(live=lambda _: False, allowed=lambda _: True), invite=lambda: Invitation(b"")
    )
    talk: Any = network
    door = Door(guard, talk, told.append)

    def heard(at: float, claims: dict[str, list[int]]) -> int:
        network.now, before = at, network.asked
        assert door.let_in(claims) == {}
        return network.asked - before

    claim = {"icu": [10]}
    assert heard(0, claim) == 1
    assert heard(AGAIN_S - 1, claim) == 0
    assert heard(AGAIN_S, claim) == 1
    assert heard(2 * AGAIN_S, claim) == 0, "twice as long after the second failure"
    assert heard(3 * AGAIN_S, {}) == 0
    assert heard(3 * AGAIN_S, claim) == 1, "its pause is over and it was gone: it begins anew"
    assert heard(4 * AGAIN_S, claim) == 1
    assert len(told) == 4
