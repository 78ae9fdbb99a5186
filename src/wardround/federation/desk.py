"""What stands between a driver and the server's machine: turns of messages to named peers, bytes back, events at the end.

An exchange is one turn under plain sums (everybody asked, everybody answers) and several under the lattice (secure_server.py).
A turn has a number that only goes up; a reply to an older one is late. The driver's loop is

    step = desk.begin(now, present)          # CHECKPOINT, send
    step = desk.receive(peer, body, now)     # for each reply; step.send: a new turn (CHECKPOINT, send)
    step = desk.expire(now)                  # when the turn's time is up
    step.done                                # the exchange is closed: emit step.events, CHECKPOINT

What it does not do: carry anything (drivers), decide what a model becomes (server.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

from wardround.federation.messages import ANSWERS, Reply
from wardround.federation.server import Server
from wardround.federation.step import Step
from wardround.wire import decode


class Desk(Protocol):
    """The server's side of an exchange as a driver sees it."""

    server: Server

    @property
    def turn(self) -> int:
        """The number of the open turn, or of the last one."""
        ...

    @property
    def committee(self) -> bool:
        """Is it the committee's turn (which answers in milliseconds) and not the gateways' (which train)?"""
        ...

    @property
    def open(self) -> bool:
        """Is an exchange open?"""
        ...

    @property
    def waiting(self) -> frozenset[str]:
        """Peers whose reply to the open turn is due."""
        ...

    def due(self, peer: str, turn: int) -> bool:
        """Is a reply of ``peer`` to ``turn`` still of use?"""
        ...

    def lacking(self, present: frozenset[str]) -> str:
        """What is missing before an exchange can begin, beside gateways; empty: nothing."""
        ...

    def begin(self, now: float, present: frozenset[str], patience: float) -> Step[Any]:
        """Open the next exchange with who is there.

        Raises:
            RoundError: set-up failed as often as the plan allows.
        """
        ...

    def repeat(self) -> Step[Any]:
        """The open turn's messages once more, to those who have not answered."""
        ...

    def receive(self, peer: str, body: bytes, now: float) -> Step[Any]:
        """A peer's reply to the open turn.

        Raises:
            RemoteProtocolError: refused; nothing has changed.
        """
        ...

    def expire(self, now: float) -> Step[Any]:
        """The turn's time is up: go on with who answered, or give the round up."""
        ...

    def to_bytes(self) -> bytes:
        """Everything that must survive a restart."""
        ...


class PlainDesk:
    """Plain sums: one turn per exchange."""

    committee = False

    def __init__(self, server: Server, peers: Sequence[str]) -> None:
        self.server, self._peers = server, tuple(peers)

    @property
    def turn(self) -> int:
        return self.server.exchange

    @property
    def open(self) -> bool:
        return self.server.open

    @property
    def waiting(self) -> frozenset[str]:
        return self.server.waiting

    def due(self, peer: str, turn: int) -> bool:
        return self.server.due(peer, turn)

    def lacking(self, present: frozenset[str]) -> str:
        del present
        return ""

    def begin(self, now: float, present: frozenset[str], patience: float) -> Step[Any]:
        return self.server.begin(now, tuple(peer for peer in self._peers if peer in present), patience)

    def repeat(self) -> Step[Any]:
        return self.server.repeat()

    def receive(self, peer: str, body: bytes, now: float) -> Step[Any]:
        self.server.receive(peer, cast("Reply", decode(body, *ANSWERS)), now)
        return Step() if self.server.waiting else self.expire(now)

    def expire(self, now: float) -> Step[Any]:
        return Step(events=self.server.expire(now).events, done=True)

    def to_bytes(self) -> bytes:
        return self.server.to_bytes()
