"""Asynchronous rounds with a buffer (FedBuff; Nguyen et al., AISTATS 2022): K gateways that are ready make the next model.

    gathering    AskAhead to who is idle: train from the model of now, KEEP what you would send, say that you are ready
    training     as soon as K are ready: AskKept to exactly those K, an ordinary exchange; then gathering again

A gateway that is still training when the next models are made goes on; what it kept counts (1 + s)^-a then, s being the
models made meanwhile. Training and contributing are two exchanges, so that what enters a sum is always the answer of one known
set of gateways to one message: under a secure sum each buffer is a cohort, and a single answer stays hidden in it.

Laws: no buffer holds two updates of one gateway; with K = all gateways, none of them slow, the model is FedAvg's, bit for bit.
What it does not do: decide how long a gateway takes (drivers), protect sums (secagg).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wardround.arrays import F32, F64
from wardround.errors import LocalProtocolError, RemoteProtocolError
from wardround.events import Note
from wardround.federation import reach
from wardround.federation.algorithms import EMPTY
from wardround.federation.messages import Answer, Ask, AskAhead, AskKept, AskTraining, Reply
from wardround.federation.participation import Participation
from wardround.federation.plan import Plan
from wardround.federation.reach import Part
from wardround.federation.server import Phase, Server
from wardround.federation.server_state import ServerState
from wardround.federation.step import Step
from wardround.rng import stream
from wardround.wire import decode, encode, message

READY = np.zeros(0)  # a gateway that has trained ahead answers with nothing: only that it is ready


@message(0x4E20)
@dataclass(frozen=True)
class Flight:
    """A gateway that trains ahead since ``since`` for ``round`` (asked in ``exchange``), or has done so (``ready``)."""

    peer: str
    exchange: int
    round: int
    since: float
    ready: bool


@message(0x4E21)
@dataclass(frozen=True, eq=False)
class BufferedState:
    """The machine: the synchronous one inside, who trains and who of them is not in reach.

    ``gathering``, ``deadline``: the open gathering's exchange and end, 0: none; ``gathered``: one is behind us, and it ended
    with a ``full`` buffer or not.
    """

    inner: ServerState
    flights: tuple[Flight, ...]
    away: tuple[str, ...]
    gathering: int
    deadline: float
    gathered: bool
    full: bool


class BufferedServer(Server):
    """The server's machine of asynchronous rounds; the driver loop is the synchronous one's."""

    def __init__(
        self, plan: Plan, participation: Participation, peers: tuple[str, ...], seed: int, state: ServerState
    ) -> None:
        super().__init__(plan, participation, peers, seed, state)
        self._flights: dict[str, Flight] = {}
        self._away: frozenset[str] = frozenset()
        self._gathering, self._deadline, self._gathered, self._full = 0, 0.0, False, False

    @classmethod
    def from_bytes(
        cls, plan: Plan, participation: Participation, peers: tuple[str, ...], seed: int, data: bytes
    ) -> BufferedServer:
        """The machine as ``to_bytes`` left it.

        Raises:
            DecodeError: the bytes are no such state.
        """
        saved = decode(data, BufferedState)
        server = cls(plan, participation, peers, seed, saved.inner)
        server._flights = {flight.peer: flight for flight in saved.flights}
        server._away = frozenset(saved.away)
        server._gathering, server._deadline = saved.gathering, saved.deadline
        server._gathered, server._full = saved.gathered, saved.full
        return server

    def to_bytes(self) -> bytes:
        inner = decode(super().to_bytes(), ServerState)
        flights = tuple(self._flights.values())
        away = tuple(sorted(self._away))
        open_ = self._gathering, self._deadline
        return encode(BufferedState(inner, flights, away, *open_, self._gathered, self._full))

    @property
    def ahead(self) -> bool:
        """Is the open exchange one that carries no sum: gateways train ahead?"""
        return self._gathering > 0

    @property
    def gathered(self) -> bool:
        """Are gateways ready, so that the next exchange brings in what they kept?"""
        return self._gathered

    def still_gathered(self, reachable: Sequence[str]) -> bool:
        """``gathered``, once who has left since it said that it is ready is counted out: it would be waited for in vain.

        False if the buffer was full, is not any more, and the others can fill it: then the server gathers again.
        """
        self._note_away(reachable)
        if self._full and len(self._ready()) < self._size() <= len(reachable):
            self._gathered = self._full = False
        return self._gathered

    def asked_in(self, peer: str) -> int:
        """The exchange in which ``peer`` was asked to train ahead; 0: it is idle."""
        flight = self._flights.get(peer)
        return flight.exchange if flight else 0

    @property
    def waiting(self) -> frozenset[str]:
        """Gateways that train ahead while too few are ready; otherwise as in the synchronous machine."""
        if not self._gathering:
            return super().waiting
        if len(self._ready()) >= self._size():
            return frozenset()
        return frozenset(peer for peer, flight in self._flights.items() if not flight.ready)

    @property
    def open(self) -> bool:
        return self._gathering > 0 or super().open

    def due(self, peer: str, exchange: int) -> bool:
        """Is an answer of ``peer`` to ``exchange`` still of use?"""
        flight = self._flights.get(peer)
        if flight is not None and flight.exchange == exchange:
            return not flight.ready
        return super().due(peer, exchange)

    def begin(self, now: float, reachable: Sequence[str], patience: float = 60.0) -> Step[Ask]:
        """Gather, contribute, measure in turn; see Server.begin."""
        if self._gathering:
            raise LocalProtocolError("begin() while gateways train ahead")
        last = self.round >= self._plan.schedule.rounds
        if self.phase is Phase.TRAINING and not self.still_gathered(reachable):
            return self._gather(now, reachable, patience)
        if self.phase is Phase.TRAINING:
            return super().begin(now, self._ready()[: self._size()], patience)
        if self.phase in (Phase.MEASURES, Phase.ERRORS) and not last:  # an ask would end the training of who is at it
            busy = {peer for peer, flight in self._flights.items() if not flight.ready}
            reachable = [peer for peer in reachable if peer not in busy]
        return super().begin(now, reachable, patience)

    def repeat(self) -> Step[Ask]:
        if not self._gathering:
            return super().repeat()
        return Step(send=self._asks(self._asked_now()), wake=self._deadline)

    def receive(self, peer: str, answer: Reply, now: float) -> Step[Ask]:
        """An answer to the open exchange, or the word that a gateway is ready; see Server.receive."""
        flight = self._flights.get(peer)
        if flight is None or flight.exchange != answer.exchange:
            return super().receive(peer, answer, now)
        if flight.ready:
            raise RemoteProtocolError(f"{peer} said already that it is ready (exchange {answer.exchange})")
        if not isinstance(answer, Answer) or answer.update.size or answer.counts.size:
            raise RemoteProtocolError(f"{peer} was asked to train ahead and to send nothing, it sent an update")
        self._confirmed.add(peer)
        self._flights[peer] = replace(flight, ready=True)
        return Step(done=not self.waiting, wake=self._deadline)

    def expire(self, now: float) -> Step[Ask]:
        """Close the open exchange; see Server.expire."""
        if self._gathering:
            self._gathering, self._gathered, self._full = 0, True, len(self._ready()) >= self._size()
            return Step()
        if self.phase is not Phase.TRAINING:
            return super().expire(now)
        chosen = [self._flights.pop(peer) for peer in self._open.invited] if self._open else []
        self._gathered = False
        step = super().expire(now)
        stale = [self.round - flight.round for flight in chosen]
        told = Note("buffer.combined", f"round {self.round}: models made since each was asked: {sorted(stale)}")
        return replace(step, events=(*step.events, told))

    def _gather(self, now: float, reachable: Sequence[str], patience: float) -> Step[Ask]:
        """Ask who is there and idle to train ahead; forget who is gone, took too long or is too old."""
        rules, next_round = self._plan.asynchronous, self.round + 1
        here = set(reachable)
        self._note_away(reachable)
        self._flights = {
            peer: flight
            for peer, flight in self._flights.items()
            if next_round - flight.round <= rules.oldest
            and (flight.ready or (peer in here and now - flight.since < rules.patience_s))
        }
        self._state = replace(self._state, exchange=self._state.exchange + 1)
        self._gathering, self._deadline = self._state.exchange, now + patience
        for peer in self._idle(reachable):
            self._flights[peer] = Flight(peer, self._gathering, next_round, now, ready=False)
        return Step(send=self._asks(self._asked_now()), wake=self._deadline)

    def _idle(self, reachable: Sequence[str]) -> list[str]:
        """Who of the idle is asked: as many train at once as [participation] says, and never fewer than fill a buffer."""
        idle = [peer for peer in reachable if peer not in self._flights]
        wanted = max(self._size(), self._policy.minimum, round(self._policy.fraction * len(reachable)))
        room = max(0, wanted - sum(not flight.ready for flight in self._flights.values()))
        if room >= len(idle):
            return idle
        chosen = stream(self._seed, "ahead", self._gathering).choice(len(idle), size=room, replace=False)
        return [idle[i] for i in sorted(chosen)]

    def _asked_now(self) -> tuple[str, ...]:
        return tuple(f.peer for f in self._flights.values() if f.exchange == self._gathering and not f.ready)

    def _note_away(self, reachable: Sequence[str]) -> None:
        self._away = frozenset(self._flights) - frozenset(reachable)

    def _ready(self) -> tuple[str, ...]:
        """Who is ready and in reach, the longest asked first; who said so and left keeps its update for when it is back."""
        return tuple(peer for peer, flight in self._flights.items() if flight.ready and peer not in self._away)

    def _size(self) -> int:
        return self._plan.asynchronous.buffer

    def _ask(self, totals: F64 | None, parameters: F32, model: bytes = b"", link: int = 0) -> Ask:
        ask = super()._ask(totals, parameters, model, link)
        if not isinstance(ask, AskTraining):
            return ask
        if self._gathering:  # what is kept has no reach yet: it takes that of the sum it enters
            plain = replace(ask, round=self.round + 1, reach=np.ones_like(ask.reach))
            return AskAhead(ask.exchange, ask.schema, plain)
        return AskKept(ask.exchange, ask.round, ask.schema, ask.reach)


def ready(exchange: int) -> Answer:
    """A gateway's word that it has trained ahead."""
    return Answer(exchange, EMPTY, READY)


def contribution(parts: Sequence[Part], kept: Answer, weight: float, ask: AskKept) -> Answer:
    """What enters the sum: the kept move times ``weight``, in units of this sum's reach. What else is in the block (FedNova's
    length of the way) says how it was trained and not how far: it stays, as the counts do.
    """
    update = kept.update.copy()
    update[: parts[0].size] *= np.float32(weight)
    return Answer(ask.exchange, reach.shrink(parts, update, ask.reach), kept.counts)


def server_for(plan: Plan) -> type[Server]:
    """The server's machine that ``plan`` asks for."""
    return BufferedServer if plan.asynchronous.buffer else Server
