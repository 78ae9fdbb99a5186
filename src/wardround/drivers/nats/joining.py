"""`wardround join`: a gateway, a committee member or both as one process. State folders, signals, log, health endpoint.

    STATE/TOKEN/   state.db  log.jsonl          one TOKEN per part: g00000 the gateway, m00001 the committee member

Nothing heavy is loaded until the first ask: an idle agent is an interpreter, numpy and a connection.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from wardround import __version__
from wardround.drivers.nats.agent import Agent
from wardround.drivers.nats.deployment import Federation, fingerprint, load, read, roster, unknown
from wardround.drivers.nats.ending import Ending
from wardround.drivers.nats.keys import KeyFolder
from wardround.drivers.nats.link import LinkError
from wardround.drivers.nats.log import PatientLog
from wardround.drivers.nats.rows import own_rows
from wardround.drivers.nats.shelving import ShelvingEngine
from wardround.drivers.nats.spoke import Spoke
from wardround.drivers.parties.identities import device, passphrase
from wardround.drivers.parties.machines import Seated, gateway
from wardround.drivers.parties.names import signs, token
from wardround.drivers.parties.secured import DeviceGuard
from wardround.drivers.parties.securing import Securing
from wardround.drivers.sinks.health import Health, Snapshot
from wardround.drivers.site import FittingEngine, Site, maker
from wardround.drivers.sources.site import SiteWindows
from wardround.drivers.store.state import State
from wardround.drivers.world import plan
from wardround.errors import UsageError
from wardround.events import Emit, Event, Note
from wardround.federation.answering import Answering

DRAIN_S = 20.0
END_S = DRAIN_S + 25.0  # after it was told to stop a gateway is gone, by force at the latest
AGAIN_S = 1.0


@dataclass(frozen=True)
class Join:
    """The command line of `wardround join`."""

    file: Path
    name: str
    data: Path | None
    state: Path
    http: int | None = None


@dataclass(frozen=True)
class Part:
    """One part of this process: its name at the broker, as enrolled, and how its machine is made for a run."""

    name: str
    make: Callable[[str, bytes | None], Answering]


def join(asked: Join, emit: Emit) -> None:
    """Serve one gateway until SIGTERM or Ctrl-C; what it is training then it still answers (for DRAIN_S at most).

    Raises:
        UsageError, ConfigError, DataError: the file, a key, the data or a flag is wrong.
    """
    federation = read(asked.file)
    table = None if federation.broker.gateways else load(federation, asked.data)  # names in the file need no data
    names = roster(federation, table)
    del table
    securing = Securing.of(
        federation, fingerprint(federation, names), names, asked.file.parent / federation.broker.keys, passphrase()
    )
    told = _Told(emit)
    parts = _parts(asked, federation, names, securing, told)
    states: list[State] = []
    try:
        states += [State(asked.state / owner) for owner in parts]
        with Ending(END_S) as ending:
            asyncio.run(_Process(asked, federation, parts, states, told).run(ending))
    finally:
        for state in states:
            state.close()


def _parts(
    asked: Join, federation: Federation, names: tuple[str, ...], securing: Securing | None, emit: Emit
) -> dict[str, Part]:
    """What this process is, by token: how the machine of each part is made for a run.

    Raises:
        UsageError: nobody has that name.
    """
    found: dict[str, Part] = {}
    if asked.name in names:
        index = names.index(asked.name)
        found[token(index)] = Part(asked.name, _Gateway(asked, federation, index, securing, emit).machine)
    for seat in securing.seats_of(asked.name) if securing is not None else ():
        found[seat.token] = Part(seat.peer, partial(securing.member, seat))  # type: ignore[union-attr]
    if not found:
        raise UsageError(unknown(asked.name, federation, names))
    return found


class _Told:
    """What happens in this process: to whoever started it, and to the ``log`` as soon as there is a folder for it."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.log: PatientLog | None = None

    def __call__(self, event: Event) -> None:
        self._emit(event)
        if self.log is not None:
            self.log(event)


class _Gateway:
    """The gateway's machine; its rows are loaded at the first ask."""

    def __init__(self, asked: Join, federation: Federation, index: int, securing: Securing | None, emit: Emit) -> None:
        self._emit = emit
        self._asked, self._federation, self._index, self._securing = asked, federation, index, securing
        self._site: Site | None = None
        self._run = ""

    def machine(self, run: str, saved: bytes | None) -> Answering:
        # a site's own store grows: each run trains on what was stored by then
        if self._site is None or (run != self._run and isinstance(self._federation.data, SiteWindows)):
            self._site = self._load()
        self._run = run
        who = Seated(self._index, self._asked.name, self._securing)
        return gateway(self._site, self._federation.seed, who, run, saved)

    def _load(self) -> Site:
        f = self._federation
        table = load(f, self._asked.data)
        agreed = plan(f, table)
        rows = own_rows(f, table, self._asked.name)
        engine = FittingEngine(maker(f.model, f.training, agreed.classes))
        if isinstance(f.data, SiteWindows) and self._asked.data is not None:
            return Site(agreed, rows, ShelvingEngine(engine, rows, agreed, self._asked.data, self._emit))
        return Site(agreed, rows, engine)


class _Process:
    def __init__(
        self,
        asked: Join,
        federation: Federation,
        parts: Mapping[str, Part],
        states: Sequence[State],
        told: _Told,
    ) -> None:
        self._asked, self._federation, self._told = asked, federation, told
        path = asked.state / next(iter(parts)) / "log.jsonl"
        self._log = told.log = PatientLog(path, path.stat().st_size if path.exists() else None)
        self._agents = [
            Agent(self._spoke(part.name, owner, state), state, part.make, self._told, time.monotonic)
            for (owner, part), state in zip(parts.items(), states, strict=True)
        ]

    def _spoke(self, name: str, owner: str, state: State) -> Spoke:
        """A part's connection; every part has a session of its own.

        Raises:
            UsageError: it is not enrolled here.
        """
        keys = self._asked.file.parent / self._federation.broker.keys
        end = device(keys, name, owner, signs(self._federation), passphrase())
        return Spoke(owner, DeviceGuard(end, state.load("auth"), partial(state.save, "auth"), self._told))

    async def run(self, ending: Ending) -> None:
        leave = asyncio.Event()
        loop = asyncio.get_running_loop()

        def told() -> None:
            leave.set()
            ending.begin()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told)
        health = self._health()
        tasks: list[asyncio.Task[None]] = []
        try:
            if await self._opened(leave):
                self._told(Note("gateway.joined", f"{self._asked.name} is connected"))
                for agent in self._agents:
                    tasks.append(loop.create_task(agent.serve()))
                    tasks.append(loop.create_task(agent.beat(self._federation.gateway.heartbeat_s)))
                await self._until(leave, tasks)
        finally:
            for task in tasks:
                task.cancel()
            for agent in self._agents:
                await agent.spoke.close()
            if health is not None:
                health.close()
            self._log.close()

    async def _opened(self, leave: asyncio.Event) -> bool:
        """Connect, however long the broker takes to come up; False when told to leave before."""
        keys = KeyFolder(self._asked.file.parent / self._federation.broker.keys)
        while not leave.is_set():
            opening = asyncio.ensure_future(self._open(keys))
            leaving = asyncio.ensure_future(leave.wait())
            await asyncio.wait({opening, leaving}, return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            if not opening.done():
                opening.cancel()
                return False
            try:
                opening.result()
            except LinkError as error:
                self._told(Note("broker.away", f"{error}; again in {AGAIN_S:.0f} s"))
                await asyncio.sleep(AGAIN_S)
            else:
                return True
        return False

    async def _open(self, keys: KeyFolder) -> None:
        for agent in self._agents:
            if not agent.spoke.connected():
                await agent.spoke.open(self._federation.broker.servers, keys)

    async def _until(self, leave: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
        """Until told to leave; then the exchange in hand is finished and the coordinator told."""
        leaving = asyncio.ensure_future(leave.wait())
        done, _ = await asyncio.wait({leaving, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        for task in done & set(tasks):
            task.result()  # a fault of ours: loud
        await self._leaving()
        end = time.monotonic() + DRAIN_S
        while self._busy() and time.monotonic() < end:  # noqa: ASYNC110 - the flag is read by status pages too
            await asyncio.sleep(0.05)
        await self._leaving()
        self._told(Note("gateway.left", f"{self._asked.name} leaves"))

    async def _leaving(self) -> None:
        for agent in self._agents:
            await agent.spoke.here(agent.presence(leaving=True))

    def _busy(self) -> bool:
        return any(agent.busy for agent in self._agents)

    def _connected(self) -> bool:
        return all(agent.spoke.connected() for agent in self._agents)

    def _health(self) -> Health | None:
        port = self._federation.gateway.http if self._asked.http is None else self._asked.http
        if not port:
            return None

        def status() -> dict[str, Any]:
            return {
                "healthy": self._connected(),
                "version": __version__,
                "gateway": self._asked.name,
                "busy": self._busy(),
                "last_turn": max(agent.tally.last_turn for agent in self._agents),
            }

        def gauges() -> dict[str, float]:
            return {"broker_connected": float(self._connected()), "busy": float(self._busy())}

        return Health(port, status, Snapshot("wardround_gateway", gauges, lambda: self._agents[0].tally))
