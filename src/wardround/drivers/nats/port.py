"""The one small port between the coordinator and its transport: send these messages to these peers, give me the replies.

Delivery is at least once, in any order, and may fail silently: the coordinator repeats a message that stays unanswered, and
the machines take each answer once. ``settle`` says that what was handed out so far is stored and need not be handed out
again after a restart; everything later is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from wardround.federation.step import Send


@dataclass(frozen=True, eq=False)
class Reply:
    """One peer's answer in one turn, still encoded (federation/desk.py decodes it)."""

    peer: str
    turn: int
    body: bytes


class Port(Protocol):
    """A transport as the coordinator sees it."""

    async def send(self, turn: int, sends: Sequence[Send[Any]]) -> int:
        """Carry the turn's messages (once more, when it did before); returns the bytes sent to all peers."""
        ...

    async def reply(self, within: float) -> Reply | None:
        """The next reply, or None when ``within`` seconds have passed."""
        ...

    async def settle(self) -> None:
        """All replies handed out so far are stored."""
        ...

    def present(self) -> frozenset[str]:
        """Peers that gave a sign of life lately."""
        ...

    def barred(self) -> frozenset[str]:
        """Peers cut off since the exchange opened (revoked, quarantined): nobody waits for them."""
        ...

    def claims(self) -> Mapping[str, tuple[int, float]]:
        """What peers said since the last call of their answers' way: {peer: (turn, seconds)}. Nobody has checked it."""
        ...

    def connected(self) -> bool:
        """Is the broker there?"""
        ...
