"""The coordinator's loop: the server's machine on one side, the port on the other, a checkpoint before every message.

    wait for gateways -> begin -> CHECKPOINT -> send -> replies (repeat to who is silent) -> expire, log -> CHECKPOINT -> settle

Answers of an open exchange are not checkpointed one by one: until ``settle`` the transport holds them and each gateway
its own, so a coordinator killed in between takes up the same exchange and gets the same answers again.
Waiting runs on a clock that never jumps; the wall clock only stamps what is logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

from wardround.drivers.nats.link import LinkError
from wardround.drivers.nats.port import Port, Reply
from wardround.drivers.nats.state import DiskError
from wardround.errors import RemoteProtocolError
from wardround.events import Emit, Event, Note, RoundDone
from wardround.federation import messages
from wardround.federation.messages import ANSWERS, Ask
from wardround.federation.server import Phase, Server
from wardround.federation.step import Step
from wardround.wire import decode

RETRY_S = 1.0
LOOK_S = 0.05


@dataclass(frozen=True)
class Patience:
    """How long the coordinator waits, seconds."""

    exchange_s: float
    repeat_s: float


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
    """Drives ``server`` over ``port`` until the federation is over or ``drain`` is called.

    ``save`` puts the machine's bytes on the disk; ``now`` is the wall clock, ``ticks`` one that never jumps.
    """

    server: Server
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

    def __post_init__(self) -> None:
        self._draining = asyncio.Event()
        self._mark = Counts()
        self._met = self.server.exchange > 0

    @property
    def over(self) -> bool:
        return self.server.phase is Phase.DONE

    def drain(self) -> None:
        """Stop at the next message; what is open is taken up by the next start."""
        self._draining.set()

    async def run(self) -> None:
        """Exchange after exchange.

        Raises:
            RoundError: set-up failed as often as the plan allows.
        """
        if self.server.waiting:
            await self._exchange(self.server.repeat())
        while not self.over and not self._draining.is_set():
            reachable = await self._gather()
            if reachable:
                step = self.server.begin(self.now(), reachable, self.patience.exchange_s)
                await self._checkpoint()
                await self._exchange(step)

    async def _gather(self) -> tuple[str, ...]:
        """The gateways that are there, in their order, once there are enough."""
        told = False
        while not self._draining.is_set():
            here = self.port.present()
            needed = self.minimum if self._met else max(self.minimum, self.wait_for)
            if len(here) >= needed:
                self._met = True
                return tuple(peer for peer in self.peers if peer in here)
            if not told:
                told = True
                self.emit(Note("gateways.few", f"waiting for gateways: {len(here)} of {needed} are here"))
            await asyncio.sleep(LOOK_S)
        return ()

    async def _exchange(self, step: Step[Ask]) -> None:
        self._mark = replace(self.counts)
        await self._send(step)
        deadline = self.ticks() + self.patience.exchange_s
        again = self.ticks() + self.patience.repeat_s
        while self.server.waiting and not self._draining.is_set():
            now = self.ticks()
            if now >= deadline:
                break
            if now >= again:
                self.counts.repeats += 1
                await self._send(self.server.repeat())
                again = self.ticks() + self.patience.repeat_s
            reply = await self.port.reply(max(0.0, min(deadline, again, now + 0.5) - now))
            if reply is not None:
                self._receive(reply)
        if not self._draining.is_set():
            await self._close()

    async def _close(self) -> None:
        for event in self.server.expire(self.now()).events:
            self.emit(self._completed(event))
        await self._checkpoint()
        try:
            await self.port.settle()
        except LinkError as error:
            self.emit(Note("broker.away", str(error)))

    def _receive(self, reply: Reply) -> None:
        """One reply to the machine; whatever is wrong with it is counted, and nothing else changes."""
        try:
            if reply.exchange != self.server.exchange:
                self.counts.late += 1
                return
            if reply.peer not in self.server.waiting:
                self.counts.duplicates += 1
                return
            self.server.receive(reply.peer, cast("messages.Reply", decode(reply.body, *ANSWERS)), self.now())
        except RemoteProtocolError as error:
            self.counts.refused += 1
            self.emit(Note("answer.refused", f"{reply.peer}: {error}"))
            return
        self.counts.answers += 1
        self.counts.bytes_up += len(reply.body)

    async def _send(self, step: Step[Ask]) -> None:
        """Send, again while the broker is away."""
        told = False
        while not self._draining.is_set():
            try:
                self.counts.bytes_down += await self.port.send(self.server.exchange, step.send)
                return
            except LinkError as error:
                if not told:
                    told = True
                    self.emit(Note("broker.away", str(error)))
                await asyncio.sleep(RETRY_S)

    async def _checkpoint(self) -> None:
        """The machine on the disk, before anybody learns of its new state; a full disk is waited for."""
        data, told = self.server.to_bytes(), False
        while not self._draining.is_set():
            try:
                self.save(data)
            except DiskError as error:
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
                return

    def _completed(self, event: Event) -> Event:
        """What only the transport knows: absent gateways, bytes, late answers."""
        if not isinstance(event, RoundDone):
            return event
        return replace(
            event,
            offline=len(self.peers) - len(self.port.present()),
            dropped=event.invited - event.answered,
            late=self.counts.late - self._mark.late,
            bytes_up=self.counts.bytes_up - self._mark.bytes_up,
            bytes_down=self.counts.bytes_down - self._mark.bytes_down,
        )
