"""A federation small enough to be run hundreds of times, and a broker, disks and gateways that can be killed at any step."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wardround.arrays import F32
from wardround.auth.choice import XWing
from wardround.config import parse
from wardround.drivers.nats.coordinator import Coordinator, Patience
from wardround.drivers.nats.deployment import Federation, fingerprint
from wardround.drivers.nats.enrolling import Lab as Enrolled
from wardround.drivers.nats.keys import KeyFolder
from wardround.drivers.nats.link import LinkError
from wardround.drivers.nats.port import Reply
from wardround.drivers.nats.provisioning import enrolled_owners
from wardround.drivers.nats.rows import own_rows
from wardround.drivers.parties.securing import Securing, kept_server
from wardround.drivers.simulation import engines
from wardround.drivers.simulation.federate import Federation as Simulated
from wardround.drivers.site import FittingEngine, OwnRows
from wardround.drivers.store.registrar import Registrar
from wardround.drivers.store.state import DiskError
from wardround.drivers.strategies import full
from wardround.drivers.world import build, plan
from wardround.errors import RemoteProtocolError
from wardround.events import Event, ignore
from wardround.federation.answering import SecureGateway
from wardround.federation.buffered import server_for
from wardround.federation.buffered_client import client_for
from wardround.federation.buffered_desk import ahead, in_front
from wardround.federation.client import ClientState
from wardround.federation.desk import PlainDesk
from wardround.federation.messages import ASKS
from wardround.federation.plan import Plan
from wardround.federation.secure_client import SecureClientState
from wardround.federation.secure_server import TURNS_PER_EXCHANGE
from wardround.federation.server import Server
from wardround.federation.step import Send
from wardround.rng import stream
from wardround.traffic.table import Table
from wardround.training.stacked import StackedEngine
from wardround.training.task import Job
from wardround.wire import decode, encode

TINY = """
name = "tiny"
seed = 5
[data]
use = "hospital"
wards = 4
devices_per_ward = 1
windows_per_device = 60
labels = "binary"
[partition]
use = "natural"
[secagg]
use = "plain"
[participation]
minimum = 2
[scaling]
use = "moments"
[model]
use = "mlp"
hidden = [4]
[algorithm]
use = "scaffold"
[training]
learning_rate = 0.05
[rounds]
count = 4
measure_every = 2
"""


LATTICE = TINY.replace('use = "plain"', 'use = "lattice"\nminimum = 2\ncommittee = "small"')


class Killed(Exception):  # noqa: N818 - what happens to it, not what it did wrong
    """kill -9: the process is gone; what it had only in memory too."""


@cache
def tiny() -> tuple[Federation, Table, Plan, tuple[str, ...]]:
    federation = parse(TINY, full(), "tiny.toml", Federation)
    table = federation.data.load(None, stream(federation.seed, "data"))
    return federation, table, plan(federation, table), build(federation, table).names


@cache
def rows_of(name: str) -> OwnRows:
    federation, table, _, _ = tiny()
    return own_rows(federation, table, name)


@dataclass
class Chaos:
    """What goes wrong, and how often it did. ``p``: chance at each step; at most ``limit`` times in all."""

    rng: np.random.Generator
    p: float = 0.0
    limit: int = 40
    kills: dict[str, int] = field(default_factory=dict)

    def happens(self, what: str) -> bool:
        if sum(self.kills.values()) >= self.limit or self.rng.random() >= self.p:
            return False
        self.kills[what] = self.kills.get(what, 0) + 1
        return True

    def strike(self, what: str) -> None:
        if self.happens(what):
            raise Killed(what)


@dataclass(repr=False)
class Town:
    """Broker, disks and gateways, and the port between them and the coordinator. Virtual time: ``now`` moves when all is quiet."""

    chaos: Chaos
    roster: tuple[str, ...]
    answer: Callable[["Town", str, bytes], bytes | None]
    now: float = 1000.0
    asks: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    answers: list[Reply] = field(default_factory=list)
    undelivered: list[Reply] = field(default_factory=list)
    todo: list[str] = field(default_factory=list)
    disk: dict[str, bytes] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    sends: int = 0
    replies: int = 0
    drain_at: frozenset[int] = frozenset()
    coordinator: Coordinator | None = None
    desk: Any = None
    refusals: list[tuple[str, str]] = field(default_factory=list)
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    stored: list[bytes] = field(default_factory=list)
    told: dict[tuple[str, int], set[bytes]] = field(default_factory=dict)

    async def send(self, turn: int, sends: Sequence[Send[Any]]) -> int:
        self.sends += 1
        if self.chaos.happens("broker away"):
            raise LinkError("away")
        for each in sends:
            for peer in each.peers:
                self.chaos.strike("server while sending")
                self.asks[peer] = turn, encode(each.message)
                self.told.setdefault((peer, turn), set()).add(self.asks[peer][1])
                if not self.chaos.happens("ask lost") and peer not in self.todo:
                    self.todo.append(peer)
        return 0

    async def reply(self, within: float) -> Reply | None:
        self.chaos.strike("server while waiting")
        self.replies += 1
        if self.replies in self.drain_at and self.coordinator is not None:
            self.coordinator.drain()
        if self.chaos.happens("broker loses its disk"):
            self.asks, self.answers, self.undelivered, self.todo = {}, [], [], []
        if self.todo and (not self.undelivered or self.chaos.rng.random() < 0.5):
            self._work(self.todo.pop(int(self.chaos.rng.integers(len(self.todo)))))
        if not self.undelivered:
            self.now += 0.0 if self.todo else within
            return None
        at = int(self.chaos.rng.integers(len(self.undelivered)))  # any order
        found = self.undelivered[at] if self.chaos.happens("duplicate") else self.undelivered.pop(at)
        self.received.append(found.body)
        return found

    def barred(self) -> frozenset[str]:
        return frozenset()

    def claims(self) -> dict[str, tuple[int, float]]:
        return {}

    async def settle(self) -> None:
        self.chaos.strike("server before settling")
        if self.coordinator is not None:
            assert self.disk["server"] == self.coordinator.desk.to_bytes(), (
                "answers are dropped before their outcome is stored"
            )
        self.answers = []

    def present(self) -> frozenset[str]:
        return frozenset(self.roster) - self.absent

    def connected(self) -> bool:
        return True

    def restarted(self) -> None:
        """A new coordinator: what the broker holds is delivered once more."""
        self.undelivered = list(self.answers)

    def save(self, data: bytes) -> None:
        self.chaos.strike("server before its checkpoint")
        if self.chaos.happens("disk full"):
            raise DiskError("full")
        self.disk["server"] = data
        self.stored.append(data)
        self.chaos.strike("server after its checkpoint")

    def _work(self, peer: str) -> None:
        if peer in self.absent or peer not in self.asks:
            return
        turn, body = self.asks[peer]
        try:
            found = self.answer(self, peer, body)
        except Killed:
            self.todo.append(peer)  # restarted: it asks for its last notice
            return
        if found is not None and not self.chaos.happens("answer lost"):
            reply = Reply(peer, turn, found)
            self.answers.append(reply)
            self.undelivered.append(reply)


def gateway(town: Town, peer: str, body: bytes) -> bytes | None:
    """One gateway process from its disk, as agent.py does it, with a chance to die between any two steps."""
    federation, _, agreed, names = tiny()
    saved = town.disk.get(peer)
    fresh = client_for(agreed)(agreed, federation.seed, ClientState(names.index(peer)))
    client = fresh if saved is None else client_for(agreed).from_bytes(agreed, federation.seed, saved)
    engine = FittingEngine(lambda inputs: StackedEngine(agreed.model, agreed.training, inputs, agreed.classes))
    ask: Any = decode(body, *ASKS)
    town.chaos.strike("gateway before training")
    try:
        answer = client.receive(ask, rows_of(peer), engine)
    except RemoteProtocolError:
        return None  # an old ask
    if isinstance(answer, Job):
        answer = client.trained(engine.train([answer])[0])
    town.chaos.strike("gateway before storing")
    town.disk[peer] = client.to_bytes()
    town.chaos.strike("gateway after storing")
    return encode(answer)


def simulated(where: "Place") -> F32:
    """The parameters that the simulation of the same file ends with."""
    server = Server.new(where.plan, where.federation.participation, where.names, where.federation.seed)
    maker = engines.maker(where.federation.model, where.federation.training, where.plan.classes)
    world = build(where.federation, where.table)
    with ThreadPoolExecutor(1) as pool:
        run = Simulated(where.federation, world, where.plan, server, maker, ignore, pool, 1)
        for _ in run.run():
            pass
        return run.server.outcome().parameters


@dataclass
class Outcome:
    parameters: F32
    events: list[Event]
    starts: int
    town: Town
    coordinator: Coordinator


def run_federation(town: Town, patience_s: float = 60.0, wait_for: int = 4) -> Outcome:
    """The coordinator until the federation is over, started again from its disk whenever it is killed."""
    return asyncio.run(_run(town, patience_s, wait_for))


async def _run(town: Town, patience_s: float, wait_for: int) -> Outcome:
    federation, _, agreed, names = tiny()
    events: list[Event] = []
    starts = 0
    while True:
        starts += 1
        policy, seed = federation.participation, federation.seed
        saved = town.disk.get("server")
        fresh = server_for(agreed).new(agreed, policy, names, seed)
        server = fresh if saved is None else server_for(agreed).from_bytes(agreed, policy, names, seed, saved)
        coordinator = Coordinator(
            desk=in_front(PlainDesk(server, names), names, 1),
            port=town,
            save=town.save,
            emit=events.append,
            patience=Patience(patience_s, 5.0),
            wait_for=wait_for,
            minimum=policy.minimum,
            peers=names,
            now=lambda: town.now,
            ticks=lambda: town.now,
        )
        town.restarted()
        town.coordinator = coordinator
        try:
            await coordinator.run()
        except Killed:
            continue
        if coordinator.over:
            return Outcome(server.outcome().parameters, events, starts, town, coordinator)


RUN = "run of a test"


@dataclass(frozen=True, eq=False, repr=False)
class Place:
    """A federation file with its keys; ``rows`` of each gateway are made once."""

    federation: Federation
    table: Table
    plan: Plan
    names: tuple[str, ...]
    securing: Securing
    rows: dict[str, OwnRows] = field(default_factory=dict)

    @property
    def everybody(self) -> tuple[str, ...]:
        return (*self.names, *(seat.peer for seat in self.securing.seats))

    def rows_of(self, name: str) -> OwnRows:
        if name not in self.rows:
            self.rows[name] = own_rows(self.federation, self.table, name)
        return self.rows[name]


@cache
def place(text: str, folder: Path) -> Place:
    """``folder`` gets the keys."""
    federation = parse(text, full(), "tiny.toml", Federation)
    table = federation.data.load(None, stream(federation.seed, "data"))
    names = build(federation, table).names
    folder.mkdir(exist_ok=True)
    keys = KeyFolder(folder)
    suite = XWing().suite
    list(
        Enrolled(Registrar(folder / "registrar"), keys, "tiny", suite).enrol_all(
            [*enrolled_owners(federation, names).items()]
        )
    )
    securing = Securing.of(federation, fingerprint(federation, names), names, keys.path)
    assert securing is not None
    return Place(federation, table, plan(federation, table), names, securing)


def secure_answer(where: Place) -> Callable[[Town, str, bytes], bytes | None]:
    """One process from its disk, as agent.py does it, with a chance to die between any two steps."""

    def answering(town: Town, peer: str, body: bytes) -> bytes | None:
        saved = town.disk.get(peer)
        machine = secure_gateway(where, peer, saved) if peer in where.names else secure_member(where, peer, saved)
        kind = "gateway" if peer in where.names else "member"
        town.chaos.strike(f"{kind} before answering")
        try:
            found: bytes = machine.answer(body)
        except RemoteProtocolError as error:
            town.refusals.append((peer, str(error)))
            return None
        town.chaos.strike(f"{kind} before storing")
        town.disk[peer] = machine.to_bytes()
        town.chaos.strike(f"{kind} after storing")
        town.sent.append((peer, found))
        return found

    return answering


def secure_gateway(where: Place, peer: str, saved: bytes | None) -> Any:
    kept = decode(saved, SecureClientState) if saved is not None else None
    index, seed = where.names.index(peer), where.federation.seed
    if kept is None:
        client = client_for(where.plan)(where.plan, seed, ClientState(index))
    else:
        client = client_for(where.plan).from_bytes(where.plan, seed, kept.client)
    engine = FittingEngine(
        lambda inputs: StackedEngine(where.plan.model, where.plan.training, inputs, where.plan.classes)
    )
    secured = where.securing.gateway(peer, client, RUN, kept)
    return ahead(client, SecureGateway(secured, where.rows_of(peer), engine), where.rows_of(peer), engine)


def secure_member(where: Place, peer: str, saved: bytes | None) -> Any:
    seat = next(seat for seat in where.securing.seats if seat.peer == peer)
    return where.securing.member(seat, RUN, saved)


def run_secure(where: Place, town: Town, patience: Patience = Patience(60.0, 5.0, 20.0)) -> Outcome:
    """The coordinator until the federation is over, started again from its disk whenever it is killed."""
    return asyncio.run(_run_secure(where, town, patience))


async def _run_secure(where: Place, town: Town, patience: Patience) -> Outcome:
    events: list[Event] = []
    starts = 0
    policy, seed = where.federation.participation, where.federation.seed
    while True:
        starts += 1
        saved = town.disk.get("server")
        kept = kept_server(saved) if saved is not None else None
        if kept is None:
            server = server_for(where.plan).new(where.plan, policy, where.names, seed)
        else:
            server = server_for(where.plan).from_bytes(where.plan, policy, where.names, seed, kept.server)
        desk = in_front(where.securing.desk(server, RUN, kept), where.names, TURNS_PER_EXCHANGE)
        town.desk = desk
        coordinator = Coordinator(
            desk=desk,
            port=town,
            save=town.save,
            emit=events.append,
            patience=patience,
            wait_for=len(where.names),
            minimum=policy.minimum,
            peers=where.names,
            now=lambda: town.now,
            ticks=lambda: town.now,
        )
        town.restarted()
        town.coordinator = coordinator
        try:
            await coordinator.run()
        except Killed:
            continue
        if coordinator.over:
            return Outcome(server.outcome().parameters, events, starts, town, coordinator)


@dataclass(frozen=True)
class Lab:
    """What tests of this folder use."""

    tiny = staticmethod(tiny)
    run = staticmethod(run_federation)
    gateway = staticmethod(gateway)
    rows = staticmethod(rows_of)
    run_secure = staticmethod(run_secure)
    secure_answer = staticmethod(secure_answer)
    secure_member = staticmethod(secure_member)
    lattice = LATTICE
    simulated = staticmethod(simulated)
    folder: Path

    def place(self, text: str = LATTICE) -> Place:
        return place(text, self.folder)

    def plainly(self, where: Place) -> Place:
        """The same federation with sums in the clear, for the simulation."""
        return replace(where, federation=replace(where.federation, secagg=tiny()[0].secagg))

    def secure_town(self, seed: int, p: float, where: Place, **more: Any) -> Town:
        chaos = Chaos(np.random.default_rng(seed), p, limit=150)
        return replace(Town(chaos, where.everybody, secure_answer(where)), **more)

    def town(self, seed: int, p: float, **more: Any) -> Town:
        return replace(Town(Chaos(np.random.default_rng(seed), p), tiny()[3], gateway), **more)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    monkeypatch.setattr("wardround.drivers.nats.coordinator.RETRY_S", 0.0)
    return Lab(tmp_path_factory.getbasetemp() / "keys")
