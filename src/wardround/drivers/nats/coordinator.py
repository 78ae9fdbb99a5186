"""The coordinator's loop: the server's desk on one side, the port on the other, a checkpoint before every message.

    wait for gateways -> begin -> CHECKPOINT -> send -> replies (repeat to who is silent) -> time is up or all are there
    -> the next turn: CHECKPOINT -> send -> ...   or the end of the exchange: log -> CHECKPOINT -> settle

Answers of an open exchange are not checkpointed one by one: until ``settle`` the transport holds them and each gateway
its own, so a coordinator killed in between takes up the same exchange and gets the same answers again.
Waiting runs on a clock that never jumps; the wall clock only stamps what is logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from wardround.drivers.nats.link import LinkError
from wardround.drivers.nats.meter import Meter
from wardround.drivers.nats.port import Port, Reply
from wardround.drivers.privacy import Account, spent
from wardround.drivers.store.state import DiskError
from wardround.errors import RemoteProtocolError
from wardround.events import Emit, Event, Note, RoundDone
from wardround.federation.desk import Desk
from wardround.federation.server import Phase, Server
from wardround.federation.step import Step

RETRY_S = 1.0
LOOK_S = 0.05


@dataclass(frozen=True)
class Patience:
    """How long the coordinator waits, seconds: for gateways, for the committee, before it repeats."""

    exchange_s: float
    repeat_s: float
    committee_s: float = 10.0


@dataclass
class Counts:
    """For the log and /metrics."""

    bytes_up: int = 0
    bytes_down: int = 0
    answers: int = 0
    late: int = 0
    duplicates: int = 0
    refused: int = 0
    repeats: int = 0
    checkpoints: int = 0


@dataclass
class Coordinator:
    """Drives ``desk`` over ``port`` until the federation is over or ``drain`` is called.

    ``save`` puts the machine's bytes on the disk; ``now`` is the wall clock, ``ticks`` one that never jumps.
    """

    desk: Desk
    port: Port
    save: Callable[[bytes], None]
    emit: Emit
    patience: Patience
    wait_for: int
    minimum: int
    peers: tuple[str, ...]
    now: Callable[[], float]
    ticks: Callable[[], float]
    counts: Counts = field(default_factory=Counts)
    account: Account | None = None

    def __post_init__(self) -> None:
        self._draining = asyncio.Event()
        self._mark, self._began = Counts(), self.ticks()
        self._offline = 0  # gateways that were not there when the open exchange began
        self._met = self.server.exchange > 0
        self._asked = self.ticks()  # when the open turn's messages first went out
        self._links = Meter(self.server)

    @property
    def server(self) -> Server:
        """The round's machine behind the desk."""
        return self.desk.server

    @property
    def over(self) -> bool:
        return self.server.phase is Phase.DONE

    @property
    def draining(self) -> bool:
        """Was it told to stop?"""
        return self._draining.is_set()

    def drain(self) -> None:
        """Stop at the next message; what is open is taken up by the next start."""
        self._draining.set()

    async def run(self) -> None:
        """Exchange after exchange.

        Raises:
            RoundError: set-up failed as often as the plan allows.
        """
        if self.desk.open:
            await self._exchange(self.desk.repeat())
        while not self.over and not self._draining.is_set():
            here = await self._gather()
            if here:
                self._offline = len(set(self.peers) - here)
                step = self.desk.begin(self.now(), here, self.patience.exchange_s)
                await self._checkpoint()
                await self._exchange(step)

    async def _gather(self) -> frozenset[str]:
        """Who is there, once there are enough."""
        told = ""
        while not self._draining.is_set():
            here = self.port.present()
            gateways = sum(peer in here for peer in self.peers)
            needed = self.minimum if self._met else max(self.minimum, self.wait_for)
            lacking = f"{gateways} of {needed} are here" if gateways < needed else self.desk.lacking(here)
            if not lacking:
                self._met = True
                return here
            if lacking != told:
                told = lacking
                self.emit(Note("gateways.few", f"waiting for gateways: {lacking}"))
            await asyncio.sleep(LOOK_S)
        return frozenset()

    async def _exchange(self, step: Step[Any]) -> None:
        """Turn after turn, until the exchange is closed."""
        self._mark, self._began = replace(self.counts), self.ticks()
        while not step.done and not self._draining.is_set():
            self._asked = self.ticks()
            await self._send(step)
            step = await self._turn()
            if step.send:
                await self._checkpoint()
        if step.done:
            await self._close(step)

    async def _turn(self) -> Step[Any]:
        """What the replies to one turn lead to: the next turn, or the end; an empty step when told to stop."""
        limit = self.patience.committee_s if self.desk.committee else self.patience.exchange_s
        deadline = self.ticks() + limit
        again = self.ticks() + self.patience.repeat_s
        while not self._draining.is_set():
            now = self.ticks()
            if now >= deadline or not self.desk.waiting - self.port.barred():
                return self.desk.expire(self.now())
            if now >= again:
                self.counts.repeats += 1
                await self._send(self.desk.repeat())
                again = self.ticks() + self.patience.repeat_s
            reply = await self.port.reply(max(0.0, min(deadline, again, now + 0.5) - now))
            self._links.claimed(self.port.claims())
            step = self._receive(reply) if reply is not None else Step[Any]()
            if step.send or step.done:
                return step
        return Step()

    async def _close(self, step: Step[Any]) -> None:
        for event in (*step.events, *spent(self.account, step.events)):
            self.emit(self._completed(event))
        if not await self._checkpoint():
            return  # told to stop with a full disk: the next start takes up the open exchange and needs its answers again
        try:
            await self.port.settle()
        except LinkError as error:
            self.emit(Note("broker.away", str(error)))

    def _receive(self, reply: Reply) -> Step[Any]:
        """One reply to the desk; whatever is wrong with it is counted, and nothing else changes."""
        try:
            if not self.desk.due(reply.peer, reply.turn):
                late = reply.turn != self.desk.turn
                self.counts.late += late
                self.counts.duplicates += not late
                return Step()
            step = self.desk.receive(reply.peer, reply.body, self.now())
        except RemoteProtocolError as error:
            self.counts.refused += 1
            self.emit(Note("answer.refused", f"{reply.peer}: {error}"))
            return Step()
        self.counts.answers += 1
        self.counts.bytes_up += len(reply.body)
        self._links.answered(reply, self.ticks() - self._asked)
        return step

    async def _send(self, step: Step[Any]) -> None:
        """Send, again while the broker is away."""
        told = False
        while not self._draining.is_set():
            try:
                self.counts.bytes_down += await self.port.send(self.desk.turn, step.send)
                return
            except LinkError as error:
                if not told:
                    told = True
                    self.emit(Note("broker.away", str(error)))
                await asyncio.sleep(RETRY_S)

    async def _checkpoint(self) -> bool:
        """The machine on the disk, before anybody learns of its new state; a full disk is waited for, False: told to stop.

        It is stored though it was told to stop, in the middle of this even: what follows (``settle``) takes it for stored.
        """
        data, told = self.desk.to_bytes(), False
        while True:
            try:
                self.save(data)
            except DiskError as error:
                if self._draining.is_set():
                    return False
                if not told:
                    told = True
                    self.emit(
                        Note(
                            "disk.full", f"the checkpoint cannot be stored ({error}): free some space; nothing is lost"
                        )
                    )
                await asyncio.sleep(RETRY_S)
            else:
                self.counts.checkpoints += 1
                return True

    def _completed(self, event: Event) -> Event:
        """What only the transport knows: absent gateways, bytes, late answers, how long it took."""
        if not isinstance(event, RoundDone):
            return event
        return replace(
            event,
            offline=self._offline,
            dropped=event.invited - event.answered,
            late=self.counts.late - self._mark.late,
            bytes_up=self.counts.bytes_up - self._mark.bytes_up,
            bytes_down=self.counts.bytes_down - self._mark.bytes_down,
            seconds=self.ticks() - self._began,  # the machine's own figure is the wall clock's, which may have jumped
        )
