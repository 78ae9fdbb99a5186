"""The agent of one peer, a gateway or a committee member: answers when asked, stores its state before it does.

    notice -> body -> the peer's machine (a gateway trains) -> state on the disk -> answer

A kill -9 between any two steps costs nothing: the notice waits at the broker, and an answer that was stored before is sent
again as it was. Code: the agent runs what is installed here; an ask carries numbers and nothing that is loaded or run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from wardround import __version__
from wardround.drivers.nats.envelope import Notice, Presence
from wardround.drivers.nats.link import LinkError
from wardround.drivers.nats.spoke import Spoke
from wardround.drivers.store.state import DiskError, State
from wardround.errors import RemoteProtocolError
from wardround.events import Emit, Note
from wardround.federation.answering import Answering

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 5.0


@dataclass
class Tally:
    """Counts for /metrics."""

    answered: int = 0
    repeated: int = 0
    refused: int = 0
    superseded: int = 0
    retries: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    last_turn: int = 0
    training_s: float = 0.0


@dataclass
class Agent:
    """One peer. ``make(run, saved)`` gives its machine for a run, from its stored state or fresh; it is called at the first
    message, so that an idle agent holds no rows.
    """

    spoke: Spoke
    state: State
    make: Callable[[str, bytes | None], Answering]
    emit: Emit
    clock: Callable[[], float]
    tally: Tally = field(default_factory=Tally)
    busy: bool = False

    def __post_init__(self) -> None:
        self._run = ""
        self._machine: Answering | None = None
        self._answered: Notice | None = None

    async def serve(self) -> None:
        """Handle notices until cancelled."""
        while True:
            await self._until_done(await self.spoke.notice())

    async def beat(self, every_s: float) -> None:
        """Signs of life until cancelled."""
        while True:
            await self.spoke.here(self.presence())
            await asyncio.sleep(every_s)

    def presence(self, leaving: bool = False) -> Presence:
        return Presence(__version__, self._run, self.tally.last_turn, self.busy, leaving, sent_ms=self.spoke.sent_ms)

    async def _until_done(self, notice: Notice) -> None:
        """Handle ``notice``, again while the broker is away or the disk is full, until a newer one comes."""
        wait = FIRST_WAIT_S
        self.busy = True
        try:
            while not self.spoke.superseded(notice):
                try:
                    await self._handle(notice)
                    return
                except (LinkError, DiskError) as error:
                    self.tally.retries += 1
                    self.emit(Note("gateway.retry", f"turn {notice.turn}: {error}; again in {wait:.1f} s"))
                    await self.spoke.rest(wait)
                    wait = min(2 * wait, LONGEST_WAIT_S)
                except RemoteProtocolError as error:
                    self.tally.refused += 1
                    self.emit(Note("gateway.refused", f"turn {notice.turn}: {error}"))
                    return
        finally:
            self.busy = False

    async def _handle(self, notice: Notice) -> None:
        body = await self.spoke.body(notice)
        if body is None:
            return
        self.tally.bytes_in += len(body)
        known = self._answered == notice
        # in a thread: signs of life go on while this gateway trains
        sent = await asyncio.to_thread(self._answer, notice.run, body)
        if self.spoke.superseded(notice):
            self.tally.superseded += 1
            return
        await self.spoke.answer(notice.run, notice.turn, sent)
        self.tally.last_turn = notice.turn  # with the answer's time on the way, in the next sign of life
        self.spoke.drop_repeat(notice)
        self._answered = notice
        self.tally.bytes_out += len(sent)
        self.tally.answered += not known
        self.tally.repeated += known

    def _answer(self, run: str, body: bytes) -> bytes:
        """The machine's answer, its state on the disk."""
        began = self.clock()
        if self._machine is None or self._run != run:
            self._machine, self._run = self.make(run, self.state.load(f"client {run}")), run
        try:
            answer = self._machine.answer(body)
            self.state.save(f"client {run}", self._machine.to_bytes())
        except (RemoteProtocolError, DiskError):
            self._machine = None  # what is in memory may have gone further than the disk: start from the disk again
            raise
        with suppress(DiskError):  # another run's state stays a little longer
            self.state.forget("client ", f"client {run}")
        self.tally.training_s += self.clock() - began
        return answer
