"""`wardround serve`: the coordinator as a process. State folder, private broker, signals, log, result.

STATE/coordinator/   authenticated.txt  state.db  log.jsonl  model.safetensors  result.json  nats.conf  nats.log  nats/
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from wardround import __version__
from wardround.drivers.nats.broker import PrivateBroker
from wardround.drivers.nats.brokerconfig import Listen
from wardround.drivers.nats.coordinator import Coordinator, Patience
from wardround.drivers.nats.deployment import Federation, fingerprint, load, read, roster
from wardround.drivers.nats.ending import Ending
from wardround.drivers.nats.hub import Holding, Hub
from wardround.drivers.nats.keys import KeyFolder, public_keys
from wardround.drivers.nats.link import LinkError
from wardround.drivers.nats.log import PatientLog
from wardround.drivers.parties.identities import papers, passphrase
from wardround.drivers.parties.machines import Course
from wardround.drivers.parties.names import peers, signs
from wardround.drivers.parties.secured import Authenticated, Evidence, ServerGuard
from wardround.drivers.parties.securing import Securing
from wardround.drivers.privacy import settle
from wardround.drivers.sinks.health import Health, Snapshot
from wardround.drivers.store.result import write_result
from wardround.drivers.store.state import State
from wardround.drivers.world import build, plan, root_rows
from wardround.errors import UsageError
from wardround.events import Emit, Event, Note, RoundDone, RoundFailed, RunDone, RunStarted, RunStopped
from wardround.federation.server import Phase
from wardround.federation.watch import Watch
from wardround.wire import decode, encode, message

OPEN_S = 30.0
AGAIN_S = 0.5
WATCH_S = 0.2
END_S = 30.0  # when the last round is over, or was the last after a signal, the process is gone, by force at the latest


@message(0x4E10)
@dataclass(frozen=True)
class Saved:
    """The coordinator's checkpoint: the machine, and the length of the log that belongs to it."""

    run: str
    agreed: str
    machine: bytes
    log_bytes: int


@dataclass(frozen=True)
class Serve:
    """The command line of `wardround serve`."""

    file: Path
    data: Path | None
    state: Path
    new: bool = False

    @property
    def folder(self) -> Path:
        return self.state / "coordinator"


def serve(asked: Serve, emit: Emit) -> bool:
    """Run the federation; True when it is over, False when it was told to stop before.

    Raises:
        UsageError, ConfigError, DataError: the file, a key, the data or a flag is wrong.
        RoundError: set-up failed as often as the plan allows.
    """
    federation = read(asked.file)
    table = load(federation, asked.data)
    names = roster(federation, table)
    agreed = plan(federation, table)
    root = root_rows(federation, build(federation, table)) if federation.root.size else None
    keys, digest = asked.file.parent / federation.broker.keys, fingerprint(federation, names)
    securing = Securing.of(federation, digest, names, keys, passphrase())
    del table  # the coordinator needs the schema and its own root rows; all others stay with gateways
    state = State(asked.folder)
    try:
        process = _Process(asked, federation, Course(federation, agreed, names, securing, root), state, emit)
        with Ending(END_S) as ending:
            return asyncio.run(process.run(ending))
    finally:
        state.close()


class _Process:
    def __init__(self, asked: Serve, federation: Federation, course: Course, state: State, emit: Emit) -> None:
        self._asked, self._state, self._sinks = asked, state, [emit]
        self._watch = Watch()
        self._federation, self._course = federation, course
        self._agreed, self._names = course.plan, course.names
        self._digest = fingerprint(self._federation, self._names)
        self._saved = self._load()
        self._run_id = self._saved.run if self._saved else _run_id(self._federation)
        self._began = self._closed = time.monotonic()

    async def run(self, ending: Ending) -> bool:
        broker = self._broker()
        log = PatientLog(self._asked.folder / "log.jsonl", self._saved.log_bytes if self._saved else None)
        self._sinks.append(log)
        who, rules = peers(self._federation, self._names), self._agreed.asynchronous
        turns = 4 * (rules.oldest + 2) if rules.buffer else 1  # gateways may still fetch the bodies of so many turns
        holding = Holding(self._federation.broker.replicas, turns)
        guard = self._guard(broker)
        hub = Hub(self._run_id, who, self._federation.gateway.heartbeat_s, holding, guard)
        coordinator = self._coordinator(hub, log)
        health = self._health(coordinator, hub)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, coordinator.drain)
        watching = [loop.create_task(guard.watch())]
        if broker is not None:
            watching.append(loop.create_task(_watch(broker, self._start_broker, self._emit)))
        try:
            if not await self._opened(hub, coordinator):
                return False
            self._started(coordinator)
            await coordinator.run()
            self._ended(coordinator)
        finally:
            ending.begin()
            for task in watching:
                task.cancel()
            await hub.close()
            if broker is not None:
                broker.stop()
            if health is not None:
                health.close()
            log.close()
        return coordinator.over

    async def _opened(self, hub: Hub, coordinator: Coordinator) -> bool:
        """Connect. A broker of your own may come up later than this process (after a power cut): it is waited for, as gateways
        do; the private one was just started. False: told to stop before.

        Raises:
            UsageError: the private broker does not answer.
        """
        end, told = time.monotonic() + OPEN_S, False
        while not coordinator.draining:
            try:
                await asyncio.wait_for(hub.open(self._federation.broker.servers, self._keys()), OPEN_S)
            except (LinkError, TimeoutError) as error:
                await hub.close()
                text = f"the broker cannot be used: {error or 'no answer'}; see: wardround doctor FEDERATION.toml"
                if not self._federation.broker.url and time.monotonic() + AGAIN_S > end:
                    raise UsageError(text) from error
                if not told:
                    told = True
                    self._emit(Note("broker.away", f"{text}; trying on"))
                await asyncio.sleep(AGAIN_S)
            else:
                return True
        return False

    def _keys(self) -> KeyFolder:
        return KeyFolder(self._asked.file.parent / self._federation.broker.keys)

    def _broker(self) -> PrivateBroker | None:
        if self._federation.broker.url:
            return None
        where = self._federation.broker
        broker = PrivateBroker(Listen(where.host, where.port, self._asked.folder / "nats"), self._asked.folder)
        self._start_broker(broker)
        return broker

    def _start_broker(self, broker: PrivateBroker) -> None:
        broker.start(*self._accounts())

    def _accounts(self) -> tuple[KeyFolder, dict[str, str], list[str]]:
        """Who may connect to the broker: the coordinator, and everybody who has enrolled."""
        keys, owners = self._keys(), peers(self._federation, self._names)
        public = public_keys(keys, owners)
        return keys, public, [owner for owner in owners.values() if owner in public]

    def _guard(self, broker: PrivateBroker | None) -> ServerGuard:
        keys, state = self._keys(), self._state
        brought = papers(keys.path, passphrase())
        guard = ServerGuard(brought, self._run_id, state.load("auth"), partial(state.save, "auth"), self._emit)

        def changed() -> None:
            if broker is not None:
                broker.reload(*self._accounts())

        guard.changed, guard.authenticated = changed, Authenticated(self._asked.folder / "authenticated.txt").add
        guard.end.signed, guard.evidence = signs(self._federation), Evidence(self._asked.folder / "evidence.txt").add
        return guard

    def _load(self) -> Saved | None:
        data = None if self._asked.new else self._state.load("coordinator")
        saved = decode(data, Saved) if data is not None else None
        if saved is not None and saved.agreed != self._digest:
            raise UsageError(
                f"{self._asked.file} changed since run {saved.run} began: undo the change, or begin a new run with --new",
            )
        return saved

    def _coordinator(self, hub: Hub, log: PatientLog) -> Coordinator:
        f = self._federation

        def save(machine: bytes) -> None:
            self._state.save("coordinator", encode(Saved(self._run_id, self._digest, machine, log.position())))

        return Coordinator(
            desk=self._course.desk(self._run_id, self._saved.machine if self._saved else None),
            port=hub,
            save=save,
            emit=self._emit,
            patience=Patience(f.broker.patience_s, f.broker.repeat_s, f.broker.committee_s),
            wait_for=f.broker.wait_for,
            minimum=f.participation.minimum,
            peers=self._names,
            now=time.time,
            ticks=time.monotonic,
            account=settle(f),
        )

    def _health(self, coordinator: Coordinator, hub: Hub) -> Health | None:
        if not self._federation.broker.http:
            return None

        def status() -> dict[str, Any]:
            return {
                "healthy": hub.connected(),
                "version": __version__,
                "run": self._run_id,
                "phase": coordinator.server.phase.value,
                "exchange": coordinator.server.exchange,
                "round": coordinator.server.round,
                "rounds": self._agreed.schedule.rounds,
                "parameters": int(coordinator.server.parameters.size),
                "waiting_for": sorted(coordinator.desk.waiting),
                "gateways": hub.roll(),
            }

        def gauges() -> dict[str, float]:
            return {
                "broker_connected": float(hub.connected()),
                "gateways": len(self._names),
                "gateways_here": len(hub.present()),
                "round": coordinator.server.round,
                "exchange": coordinator.server.exchange,
                "waiting": len(coordinator.desk.waiting),
                "last_round_age_seconds": time.monotonic() - self._closed,
            }

        return Health(
            self._federation.broker.http, status, Snapshot("wardround_coordinator", gauges, lambda: coordinator.counts)
        )

    def _emit(self, event: Event) -> None:
        if isinstance(event, RoundDone | RoundFailed):
            self._closed = time.monotonic()
        for told in (event, *self._watch.see(event)):
            for sink in self._sinks:
                sink(told)

    def _started(self, coordinator: Coordinator) -> None:
        f, server = self._federation, coordinator.server
        size = int(server.parameters.size)
        self._emit(RunStarted(self._run_id, f.name, f.seed, len(self._names), f.rounds.count, size, server.round))

    def _ended(self, coordinator: Coordinator) -> None:
        server = coordinator.server
        if server.phase is not Phase.DONE:
            self._sinks[0](RunStopped(self._run_id, server.round))
            return
        about = {"run": self._run_id, "experiment": self._federation.name, "seed": str(self._federation.seed)}
        score = write_result(
            self._asked.folder, self._agreed, server.outcome(), about, self._federation.evaluation.target_fpr
        )
        self._emit(RunDone(self._run_id, server.round, score, time.monotonic() - self._began))


async def _watch(broker: PrivateBroker, start: Any, emit: Emit) -> None:
    """Start the private broker again when it died."""
    while True:
        await asyncio.sleep(WATCH_S)
        if not broker.alive():
            emit(Note("broker.restarted", "the private broker died and was started again"))
            with suppress(UsageError):  # not up yet: the next look tries again
                start(broker)


def _run_id(federation: Federation) -> str:
    return f"{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}-{federation.name}-s{federation.seed}"
