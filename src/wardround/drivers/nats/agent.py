"""The gateway agent: trains on its own rows when invited, stores its state, answers.

    notice -> body -> Client.receive -> (train) -> state on the disk -> answer

A kill -9 between any two steps costs nothing: the notice waits at the broker, and an answer that was stored before is sent
again as it was. Code: the agent runs what is installed here; an ask carries numbers and nothing that is loaded or run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from wardround import __version__
from wardround.arrays import F32
from wardround.drivers.nats.envelope import Notice, Presence
from wardround.drivers.nats.link import LinkError
from wardround.drivers.nats.spoke import Spoke
from wardround.drivers.nats.state import DiskError, State
from wardround.errors import RemoteProtocolError
from wardround.events import Emit, Note
from wardround.federation.client import Client, ClientState, LocalData
from wardround.federation.messages import ASKS, Ask, Reply
from wardround.federation.plan import Plan
from wardround.training.task import Engine, Job, Trained
from wardround.wire import decode, encode

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 5.0


@dataclass(frozen=True, eq=False)
class Site:
    """What the gateway brings: the plan, its rows, and its engine."""

    plan: Plan
    rows: LocalData
    engine: Engine


class FittingEngine:
    """The engine made when the number of model inputs is known: it follows from the federation's statistics."""

    chunk = 1

    def __init__(self, make: Callable[[int], Engine]) -> None:
        self._make = make
        self._made: tuple[int, Engine] | None = None

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        return self._for(jobs[0].rows.x.shape[1]).train(jobs)

    def outputs(self, parameters: F32, x: F32) -> F32:
        return self._for(x.shape[1]).outputs(parameters, x)

    def _for(self, inputs: int) -> Engine:
        if self._made is None or self._made[0] != inputs:
            self._made = inputs, self._make(inputs)
        return self._made[1]


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
    last_exchange: int = 0
    training_s: float = 0.0


@dataclass
class Agent:
    """One gateway. ``site`` is called at the first ask, so that an idle agent holds no rows."""

    index: int
    seed: int
    spoke: Spoke
    state: State
    site: Callable[[], Site]
    emit: Emit
    clock: Callable[[], float]
    tally: Tally = field(default_factory=Tally)
    busy: bool = False

    def __post_init__(self) -> None:
        self._run = ""
        self._client: Client | None = None
        self._site: Site | None = None

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
        return Presence(__version__, self._run, self.tally.last_exchange, self.busy, leaving)

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
                    self.emit(Note("gateway.retry", f"exchange {notice.exchange}: {error}; again in {wait:.1f} s"))
                    await asyncio.sleep(wait)
                    wait = min(2 * wait, LONGEST_WAIT_S)
                except RemoteProtocolError as error:
                    self.tally.refused += 1
                    self.emit(Note("gateway.refused", f"exchange {notice.exchange}: {error}"))
                    return
        finally:
            self.busy = False

    async def _handle(self, notice: Notice) -> None:
        body = await self.spoke.body(notice)
        if body is None:
            return
        self.tally.bytes_in += len(body)
        ask = cast("Ask", decode(body, *ASKS))
        known = self._client is not None and self._run == notice.run and self._client.state.answered == ask.exchange
        # in a thread: signs of life go on while this gateway trains
        answer = await asyncio.to_thread(self._answer, notice.run, ask)
        if self.spoke.superseded(notice):
            self.tally.superseded += 1
            return
        sent = encode(answer)
        await self.spoke.answer(notice.run, answer.exchange, sent)
        self.spoke.drop_repeat(notice)
        self.tally.bytes_out += len(sent)
        self.tally.last_exchange = answer.exchange
        self.tally.answered += not known
        self.tally.repeated += known

    def _answer(self, run: str, ask: Ask) -> Reply:
        """The machine's answer, its state on the disk."""
        site, client = self._machine(run)
        try:
            answer = client.receive(ask, site.rows, site.engine)
            while isinstance(answer, Job):  # a personal strategy trains more than once a round
                began = self.clock()
                answer = client.trained(site.engine.train([answer])[0])
                self.tally.training_s += self.clock() - began
        except ValueError as error:  # parameters that do not fit the model that both sides agreed on
            self._client = None
            raise RemoteProtocolError(str(error)) from error
        self._store(run, client)
        return answer

    def _store(self, run: str, client: Client) -> None:
        try:
            self.state.save(f"client {run}", client.to_bytes())
        except DiskError:
            self._client = None  # what is in memory went further than the disk: start from the disk again
            raise
        self.state.forget("client ", f"client {run}")

    def _machine(self, run: str) -> tuple[Site, Client]:
        """This run's machine, from the disk where it was met before."""
        if self._site is None:
            self._site = self.site()
        if self._client is None or self._run != run:
            saved = self.state.load(f"client {run}")
            plan = self._site.plan
            fresh = Client(plan, self.seed, ClientState(self.index))
            self._client = fresh if saved is None else Client.from_bytes(plan, self.seed, saved)
            self._run = run
        return self._site, self._client
