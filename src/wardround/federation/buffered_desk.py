"""The desk of asynchronous rounds, in front of the one that sums: turns in which gateways train ahead pass it by.

    gathering    here: AskAhead out, "ready" in; nothing is summed and nothing but that word is learnt
    the rest     the desk behind (desk.py, secure_server.py), whose next training exchange has exactly those that are ready

A gateway that was asked some models ago says that it is ready when it is, also while the desk behind has a turn open.
"""

from __future__ import annotations

from typing import Any

from wardround.errors import DecodeError, LocalProtocolError, RemoteProtocolError
from wardround.federation.answering import Answering
from wardround.federation.buffered import BufferedServer
from wardround.federation.buffered_client import BufferedClient
from wardround.federation.client import Client, LocalData
from wardround.federation.desk import Desk
from wardround.federation.messages import Answer, AskAhead
from wardround.federation.server import Phase, Server
from wardround.federation.step import Step
from wardround.training.task import Engine, Job
from wardround.wire import decode, encode


class BufferedDesk:
    """``behind`` sums, over a BufferedServer; it has ``turns`` turns per exchange, the first of which is 0."""

    def __init__(self, behind: Desk, peers: tuple[str, ...], turns: int) -> None:
        if not isinstance(behind.server, BufferedServer):
            raise LocalProtocolError("asynchronous rounds need their own server machine (buffered.server_for)")
        self._behind, self._peers, self._turns = behind, peers, turns
        self.server: Server = behind.server
        self._ahead: BufferedServer = behind.server

    @property
    def turn(self) -> int:
        return self._turns * self.server.exchange if self._ahead.ahead else self._behind.turn

    @property
    def committee(self) -> bool:
        """Nobody trains in the exchange that brings in what was kept: it is as quick as the committee's turns."""
        return not self._ahead.ahead and (self._behind.committee or self._ahead.gathered)

    @property
    def open(self) -> bool:
        return self.server.open

    @property
    def waiting(self) -> frozenset[str]:
        return self.server.waiting if self._ahead.ahead else self._behind.waiting

    def due(self, peer: str, turn: int) -> bool:
        """Is it the word "ready" that ``peer`` owes, or a reply to the open turn?"""
        exchange, step = divmod(turn, self._turns)
        if step == 0 and self._ahead.asked_in(peer) == exchange:
            return self.server.due(peer, exchange)
        return not self._ahead.ahead and self._behind.due(peer, turn)

    def lacking(self, present: frozenset[str]) -> str:
        return self._behind.lacking(present)

    def begin(self, now: float, present: frozenset[str], patience: float) -> Step[Any]:
        here = tuple(peer for peer in self._peers if peer in present)
        if self.server.phase is Phase.TRAINING and not self._ahead.still_gathered(here):
            return self.server.begin(now, here, patience)
        return self._behind.begin(now, present, patience)

    def repeat(self) -> Step[Any]:
        return self.server.repeat() if self._ahead.ahead else self._behind.repeat()

    def receive(self, peer: str, body: bytes, now: float) -> Step[Any]:
        try:
            word = decode(body, Answer)
        except DecodeError:
            word = None
        if word is not None and self._ahead.asked_in(peer) == word.exchange:
            self.server.receive(peer, word, now)
            return self.expire(now) if self._ahead.ahead and not self.server.waiting else Step()
        if self._ahead.ahead:
            raise RemoteProtocolError(f"{peer} was asked to train ahead and says something else")
        return self._behind.receive(peer, body, now)

    def expire(self, now: float) -> Step[Any]:
        if self._ahead.ahead:
            return Step(events=self.server.expire(now).events, done=True)
        return self._behind.expire(now)

    def to_bytes(self) -> bytes:
        return self._behind.to_bytes()


def in_front(behind: Desk, peers: tuple[str, ...], turns: int) -> Desk:
    """The desk that ``behind``'s machine asks for; ``turns``: as in BufferedDesk."""
    return BufferedDesk(behind, peers, turns) if isinstance(behind.server, BufferedServer) else behind


class AheadGateway:
    """The gateway's end: trains ahead itself, leaves everything else to ``behind``, which holds the same ``client``."""

    def __init__(self, client: BufferedClient, behind: Answering, rows: LocalData, engine: Engine) -> None:
        self._client, self._behind, self._rows, self._engine = client, behind, rows, engine

    def to_bytes(self) -> bytes:
        return self._behind.to_bytes()

    def answer(self, body: bytes) -> bytes:
        try:
            ask = decode(body, AskAhead)
        except DecodeError:
            return self._behind.answer(body)
        try:
            found = self._client.receive(ask, self._rows, self._engine)
            while isinstance(found, Job):
                found = self._client.trained(self._engine.train([found])[0])
        except ValueError as error:
            raise RemoteProtocolError(str(error)) from error
        return encode(found)


def ahead(client: Client, behind: Answering, rows: LocalData, engine: Engine) -> Answering:
    """The gateway's end that its machine ``client`` asks for."""
    return AheadGateway(client, behind, rows, engine) if isinstance(client, BufferedClient) else behind
