"""Asynchronous rounds in the simulation, on a virtual clock: each client is ready when its own training time is over.

The unit of the clock is a typical training time; ``[weather]`` says which clients are slow, and how slow. A client trains for
real only when what it kept is asked for (the result is the same, and a whole buffer trains as one stack). Asks and the word
"ready" are counted in the bytes, but only the sums' own exchanges are sealed under ``[auth]`` here.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wardround.drivers.simulation.federate import PATIENCE_S, Federation, Memory
from wardround.errors import LocalProtocolError
from wardround.events import Event
from wardround.federation.buffered import BufferedServer, ready
from wardround.federation.messages import Ask, AskAhead, AskKept, Reply
from wardround.federation.participation import Fate
from wardround.federation.server import Phase
from wardround.federation.step import Send
from wardround.training.task import Engine, Job
from wardround.wire import decode, encode, message


@message(0x4E25)
@dataclass(frozen=True, order=True)
class Due:
    """``peer`` is ready with what ``exchange`` asked for at ``time``; ``number`` keeps the order of equals."""

    time: float
    number: int
    peer: str
    exchange: int


@message(0x4E26)
@dataclass(frozen=True, eq=False)
class BufferedCheckpoint:
    """The federation, the virtual clock, what is due, asks (encoded) that are being worked on, clients that vanished."""

    federation: bytes
    clock: float
    number: int
    due: tuple[Due, ...]
    asks: tuple[bytes, ...]
    vanished: tuple[str, ...]


class BufferedFederation(Federation):
    """``clock``: virtual time so far, in typical training times."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.clock = 0.0
        self._number = 0
        self._due: list[Due] = []
        self._asks: dict[int, AskAhead] = {}
        self._vanished: set[str] = set()

    def checkpoint(self, log_bytes: int) -> bytes:
        asks = tuple(encode(ask) for ask in self._asks.values())
        due, gone = tuple(sorted(self._due)), tuple(sorted(self._vanished))
        return encode(BufferedCheckpoint(super().checkpoint(log_bytes), self.clock, self._number, due, asks, gone))

    def restore(self, data: bytes) -> int:
        """Take up the state of ``checkpoint``; see Federation.restore.

        Raises:
            DecodeError: the checkpoint is damaged.
        """
        saved = decode(data, BufferedCheckpoint)
        self.clock, self._number, self._due = saved.clock, saved.number, list(saved.due)
        asks = [decode(ask, AskAhead) for ask in saved.asks]
        self._asks = {ask.exchange: ask for ask in asks}
        self._vanished = set(saved.vanished)
        return super().restore(saved.federation)

    @property
    def _machine(self) -> BufferedServer:
        if not isinstance(self.server, BufferedServer):
            raise LocalProtocolError("asynchronous rounds need their own server machine (buffered.server_for)")
        return self.server

    def _exchange(self) -> tuple[Event, ...]:
        round_ = self.server.round + 1
        if self.server.phase is Phase.TRAINING and not self._machine.still_gathered(self._reachable(round_, round_)):
            return self._gather()
        return super()._exchange()

    def _gather(self) -> tuple[Event, ...]:
        """Who is on and idle begins to train; the clock moves until enough are ready, or nobody is left to wait for."""
        round_, server = self.server.round + 1, self._machine
        here = [peer for peer in self._reachable(round_, round_) if peer not in self._vanished]
        self._vanished.clear()
        step = server.begin(self.clock, here, PATIENCE_S)
        for send in step.send:
            self._ask_ahead(send, round_)
        deadline = self.clock + PATIENCE_S
        while server.waiting and self._due and self._due[0].time <= deadline:
            due = heapq.heappop(self._due)
            self.clock = max(self.clock, due.time)
            if server.due(due.peer, due.exchange):  # else it was forgotten meanwhile: gone, too old
                word = ready(due.exchange)
                self.traffic.up += len(encode(word))
                server.receive(due.peer, word, self.clock)
        if server.waiting:
            self.clock = deadline
        events = server.expire(self.clock).events
        used = {server.asked_in(peer) for peer in self.world.names}
        self._asks = {exchange: ask for exchange, ask in self._asks.items() if exchange in used}
        return events

    def _ask_ahead(self, send: Send[Ask], round_: int) -> None:
        ask = send.message
        if not isinstance(ask, AskAhead):
            raise LocalProtocolError(f"{type(ask).__name__} where clients are asked to train ahead")
        self.traffic.down += len(encode(ask)) * len(send.peers)
        self._asks[ask.exchange] = ask
        weather, clients, seed = self.experiment.weather, len(self.world.shares), self.experiment.seed
        times = weather.times(clients, seed, round_)
        numbers = [self._index[peer] for peer in send.peers]
        for peer, fate in zip(send.peers, weather.fates(numbers, clients, seed, round_), strict=True):
            if fate == "drops":
                self._vanished.add(peer)
                continue
            self._number += 1
            when = self.clock + float(times[self._index[peer]])
            heapq.heappush(self._due, Due(when, self._number, peer, ask.exchange))

    def _fates(self, sends: Sequence[Send[Ask]], round_: int, training: bool) -> dict[str, Fate]:
        """Who is ready answers: dropping out and being slow happened while it trained."""
        del round_, training
        return {peer: "answers" for send in sends for peer in send.peers}

    def _chunk(self, ask: Ask, peers: Sequence[str], engine: Engine | None) -> list[tuple[str, Reply, Memory]]:
        if not isinstance(ask, AskKept) or engine is None:
            return super()._chunk(ask, peers, engine)
        clients = [self._client(peer) for peer in peers]
        rows = [self._rows(peer) for peer in peers]
        asked = [self._asks[self._machine.asked_in(peer)] for peer in peers]
        found: list[Any] = [c.receive(a, r, engine) for c, a, r in zip(clients, asked, rows, strict=True)]
        while jobs := [job for job in found if isinstance(job, Job)]:
            found = [c.trained(result) for c, result in zip(clients, engine.train(jobs), strict=True)]
        done = []
        for peer, client, own in zip(peers, clients, rows, strict=True):
            answer = client.receive(ask, own, engine)
            if isinstance(answer, Job):
                raise LocalProtocolError("a client trains where it should send what it kept")
            state = client.state
            done.append((peer, answer, Memory(state.index, state.memory, state.private, state.feedback)))
        return done
