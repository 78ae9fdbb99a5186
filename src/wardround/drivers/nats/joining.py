"""`wardround join`: a gateway agent as a process. Its state folder, signals, log, health endpoint.

    STATE/TOKEN/   state.db  log.jsonl

Nothing heavy is loaded until the first ask: an idle agent is an interpreter, numpy and a connection.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround import __version__
from wardround.config import nearest
from wardround.drivers.nats.agent import Agent, FittingEngine, Site
from wardround.drivers.nats.deployment import Federation, load, read, roster, token
from wardround.drivers.nats.health import Health, Snapshot
from wardround.drivers.nats.keys import KeyFolder
from wardround.drivers.nats.link import LinkError
from wardround.drivers.nats.rows import own_rows
from wardround.drivers.nats.spoke import Spoke
from wardround.drivers.nats.state import State
from wardround.drivers.sinks.jsonlog import JsonLog
from wardround.drivers.world import plan
from wardround.errors import UsageError
from wardround.events import Emit, Event, Note
from wardround.training.stacked import StackedEngine
from wardround.training.task import Engine

DRAIN_S = 20.0
AGAIN_S = 1.0


@dataclass(frozen=True)
class Join:
    """The command line of `wardround join`."""

    file: Path
    name: str
    data: Path | None
    state: Path
    http: int | None = None


def join(asked: Join, emit: Emit) -> None:
    """Serve one gateway until SIGTERM or Ctrl-C; what it is training then it still answers (for DRAIN_S at most).

    Raises:
        UsageError, ConfigError, DataError: the file, a key, the data or a flag is wrong.
    """
    federation = read(asked.file)
    index = _index(federation, asked)
    state = State(asked.state / token(index))
    try:
        asyncio.run(_Process(asked, federation, index, state, emit).run())
    finally:
        state.close()


class _Process:
    def __init__(self, asked: Join, federation: Federation, index: int, state: State, emit: Emit) -> None:
        self._asked, self._federation, self._state, self._emit = asked, federation, state, emit
        path = asked.state / token(index) / "log.jsonl"
        self._log = JsonLog(path, path.stat().st_size if path.exists() else None)
        self._spoke = Spoke(token(index))
        self._agent = Agent(index, federation.seed, self._spoke, state, self._site, self._both, time.monotonic)

    async def run(self) -> None:
        leave = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, leave.set)
        health = self._health()
        tasks = []
        try:
            if await self._opened(leave):
                self._both(Note("gateway.joined", f"{self._asked.name} is connected"))
                tasks = [
                    loop.create_task(self._agent.serve()),
                    loop.create_task(self._agent.beat(self._federation.gateway.heartbeat_s)),
                ]
                await self._until(leave, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await self._spoke.close()
            if health is not None:
                health.close()
            self._log.close()

    async def _opened(self, leave: asyncio.Event) -> bool:
        """Connect, however long the broker takes to come up; False when told to leave before."""
        keys = KeyFolder(self._asked.file.parent / self._federation.broker.keys)
        while not leave.is_set():
            opening = asyncio.ensure_future(self._spoke.open(self._federation.broker.servers, keys))
            leaving = asyncio.ensure_future(leave.wait())
            await asyncio.wait({opening, leaving}, return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            if not opening.done():
                opening.cancel()
                return False
            try:
                opening.result()
            except LinkError as error:
                self._both(Note("broker.away", f"{error}; again in {AGAIN_S:.0f} s"))
                await asyncio.sleep(AGAIN_S)
            else:
                return True
        return False

    async def _until(self, leave: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
        """Until told to leave; then the exchange in hand is finished and the coordinator told."""
        leaving = asyncio.ensure_future(leave.wait())
        done, _ = await asyncio.wait({leaving, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        for task in done & set(tasks):
            task.result()  # a fault of ours: loud
        await self._spoke.here(self._agent.presence(leaving=True))
        end = time.monotonic() + DRAIN_S
        while self._agent.busy and time.monotonic() < end:  # noqa: ASYNC110 - the flag is read by status pages too
            await asyncio.sleep(0.05)
        await self._spoke.here(self._agent.presence(leaving=True))
        self._both(Note("gateway.left", f"{self._asked.name} leaves"))

    def _site(self) -> Site:
        f = self._federation
        table = load(f, self._asked.data)
        agreed = plan(f, table)
        return Site(agreed, own_rows(f, table, self._asked.name), FittingEngine(_engines(f, len(agreed.labels.names))))

    def _both(self, event: Event) -> None:
        self._emit(event)
        self._log(event)

    def _health(self) -> Health | None:
        port = self._federation.gateway.http if self._asked.http is None else self._asked.http
        if not port:
            return None

        def status() -> dict[str, Any]:
            return {
                "healthy": self._spoke.connected(),
                "version": __version__,
                "gateway": self._asked.name,
                "busy": self._agent.busy,
                "last_exchange": self._agent.tally.last_exchange,
            }

        def gauges() -> dict[str, float]:
            return {"broker_connected": float(self._spoke.connected()), "busy": float(self._agent.busy)}

        return Health(port, status, Snapshot("wardround_gateway", gauges, lambda: self._agent.tally))


def _engines(federation: Federation, classes: int) -> Callable[[int], Engine]:
    """inputs -> engine.

    Raises:
        UsageError: the torch engine is asked for and PyTorch is not installed here.
    """
    model, training = federation.model, federation.training
    if training.engine == "stacked":
        return lambda inputs: StackedEngine(model, training, inputs, classes)
    try:
        from wardround.training.torch_engine import TorchEngine
    except ImportError as error:
        raise UsageError('[training] engine = "torch" needs PyTorch here: pip install "wardround[torch]"') from error
    return lambda inputs: TorchEngine(model, training, inputs, classes)


def _index(federation: Federation, asked: Join) -> int:
    """The gateway's number: its place in the roster.

    Raises:
        UsageError: nobody there has that name.
    """
    table = None if federation.broker.gateways else load(federation, asked.data)  # names in the file need no data
    names = roster(federation, table)
    if asked.name in names:
        return names.index(asked.name)
    raise UsageError(f"no gateway is named {asked.name!r}{nearest(asked.name, names)}; there are {', '.join(names)}")
