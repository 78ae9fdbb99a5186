"""A federation small enough to be run hundreds of times, and a broker, disks and gateways that can be killed at any step."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from wardround.arrays import F32
from wardround.config import parse
from wardround.drivers.nats.agent import FittingEngine
from wardround.drivers.nats.coordinator import Coordinator, Patience
from wardround.drivers.nats.deployment import Federation
from wardround.drivers.nats.link import LinkError
from wardround.drivers.nats.port import Reply
from wardround.drivers.nats.rows import OwnRows, own_rows
from wardround.drivers.nats.state import DiskError
from wardround.drivers.strategies import full
from wardround.drivers.world import build, plan
from wardround.errors import RemoteProtocolError
from wardround.events import Event
from wardround.federation.client import Client, ClientState
from wardround.federation.messages import ASKS, Ask
from wardround.federation.plan import Plan
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


@dataclass
class Town:
    """Broker, disks and gateways, and the port between them and the coordinator. Virtual time: ``now`` moves when all is quiet."""

    chaos: Chaos
    roster: tuple[str, ...]
    answer: Callable[["Town", str, bytes], tuple[int, bytes] | None]
    now: float = 1000.0
    asks: dict[str, bytes] = field(default_factory=dict)
    answers: list[Reply] = field(default_factory=list)
    undelivered: list[Reply] = field(default_factory=list)
    todo: list[str] = field(default_factory=list)
    disk: dict[str, bytes] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    sends: int = 0
    replies: int = 0
    drain_at: frozenset[int] = frozenset()
    coordinator: Coordinator | None = None

    async def send(self, exchange: int, sends: Sequence[Send[Ask]]) -> int:
        self.sends += 1
        if self.chaos.happens("broker away"):
            raise LinkError("away")
        for each in sends:
            for peer in each.peers:
                self.chaos.strike("server while sending")
                self.asks[peer] = encode(each.message)
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
        return self.undelivered[at] if self.chaos.happens("duplicate") else self.undelivered.pop(at)

    async def settle(self) -> None:
        self.chaos.strike("server before settling")
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
        self.chaos.strike("server after its checkpoint")

    def _work(self, peer: str) -> None:
        if peer in self.absent or peer not in self.asks:
            return
        try:
            found = self.answer(self, peer, self.asks[peer])
        except Killed:
            self.todo.append(peer)  # restarted: it asks for its last notice
            return
        if found is not None and not self.chaos.happens("answer lost"):
            reply = Reply(peer, *found)
            self.answers.append(reply)
            self.undelivered.append(reply)


def gateway(town: Town, peer: str, body: bytes) -> tuple[int, bytes] | None:
    """One gateway process from its disk, as agent.py does it, with a chance to die between any two steps."""
    federation, _, agreed, names = tiny()
    saved = town.disk.get(peer)
    fresh = Client(agreed, federation.seed, ClientState(names.index(peer)))
    client = fresh if saved is None else Client.from_bytes(agreed, federation.seed, saved)
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
    return answer.exchange, encode(answer)


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
        fresh = Server.new(agreed, policy, names, seed)
        server = fresh if saved is None else Server.from_bytes(agreed, policy, names, seed, saved)
        coordinator = Coordinator(
            server=server,
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


@dataclass(frozen=True)
class Lab:
    """What tests of this folder use."""

    tiny = staticmethod(tiny)
    run = staticmethod(run_federation)
    gateway = staticmethod(gateway)
    rows = staticmethod(rows_of)

    def town(self, seed: int, p: float, **more: Any) -> Town:
        return replace(Town(Chaos(np.random.default_rng(seed), p), tiny()[3], gateway), **more)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr("wardround.drivers.nats.coordinator.RETRY_S", 0.0)
    return Lab()
