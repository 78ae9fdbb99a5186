"""The coordinator measures links and chooses classes by them, on virtual time: slow links, and gateways that lie about theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from wardround.config import override, parse
from wardround.drivers.nats.coordinator import Coordinator, Patience
from wardround.drivers.nats.deployment import Federation
from wardround.drivers.nats.meter import Meter
from wardround.drivers.nats.port import Reply
from wardround.drivers.nats.rows import own_rows
from wardround.drivers.site import FittingEngine
from wardround.drivers.strategies import full
from wardround.drivers.world import build, plan
from wardround.events import Event, Note
from wardround.federation.answering import PlainGateway
from wardround.federation.client import Client, ClientState
from wardround.federation.desk import PlainDesk
from wardround.federation.server import Server
from wardround.federation.step import Send
from wardround.rng import stream
from wardround.training.stacked import StackedEngine
from wardround.wire import encode

TRAINS_S, WIRED = 2.0, 1e6
TEXT = """
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
hidden = [32]
[rounds]
count = 8
measure_every = 8
[compress]
budget_bytes = 20000
classes = ["slow"]
class_bytes = [100]
class_speeds = [1000]
"""


@dataclass
class Lines:
    """Gateways behind links of so many bytes per second each. ``says``: what a gateway claims instead of the seconds it took."""

    gateways: dict[str, PlainGateway]
    speeds: Mapping[str, float]
    says: Mapping[str, float] = field(default_factory=dict)
    now: float = 0.0
    coming: list[tuple[float, Reply, float]] = field(default_factory=list)
    told: dict[str, tuple[int, float]] = field(default_factory=dict)
    free: dict[str, float] = field(default_factory=dict)

    async def send(self, turn: int, sends: Sequence[Send[Any]]) -> int:
        for each in sends:
            body = encode(each.message)
            for peer in each.peers:
                if any(reply.peer == peer and reply.turn == turn for _, reply, _ in self.coming):
                    continue  # a repetition: it is at work
                answer = self.gateways[peer].answer(body)
                way = len(answer) / self.speeds.get(peer, WIRED)
                begins = max(self.now + TRAINS_S, self.free.get(peer, 0.0))  # after what is still on the way
                self.free[peer] = begins + way
                self.coming.append((begins + way, Reply(peer, turn, answer), way))
        return 0

    async def reply(self, within: float) -> Reply | None:
        due = sorted((each for each in self.coming if each[0] <= self.now + within), key=lambda e: (e[0], e[1].peer))
        if not due:
            self.now += within
            return None
        self.coming.remove(due[0])
        at, reply, way = due[0]
        self.now = max(self.now, at)
        self.told[reply.peer] = reply.turn, self.says.get(reply.peer, way)
        return reply

    def claims(self) -> Mapping[str, tuple[int, float]]:
        found, self.told = self.told, {}
        return found

    async def settle(self) -> None: ...

    def present(self) -> frozenset[str]:
        return frozenset(self.gateways)

    def barred(self) -> frozenset[str]:
        return frozenset()

    def connected(self) -> bool:
        return True


def run(speeds: Any, says: Any = None, *sets: str, patience_s: float = 600.0) -> tuple[list[Event], Server, Any]:
    federation = parse(override(TEXT, list(sets), "tiny.toml"), full(), "tiny.toml", Federation)
    table = federation.data.load(None, stream(federation.seed, "data"))
    agreed, names = plan(federation, table), build(federation, table).names
    gateways = {
        name: PlainGateway(
            Client(agreed, federation.seed, ClientState(number)),
            own_rows(federation, table, name),
            FittingEngine(lambda inputs: StackedEngine(agreed.model, agreed.training, inputs, agreed.classes)),
        )
        for number, name in enumerate(names)
    }
    lines = Lines(
        gateways, {names[i]: speed for i, speed in speeds.items()}, {names[i]: s for i, s in (says or {}).items()}
    )
    server = Server.new(agreed, federation.participation, names, federation.seed)
    events: list[Event] = []
    coordinator = Coordinator(
        desk=PlainDesk(server, names),
        port=lines,
        save=lambda data: None,
        emit=events.append,
        patience=Patience(patience_s, 30.0),
        wait_for=4,
        minimum=2,
        peers=names,
        now=lambda: lines.now,
        ticks=lambda: lines.now,
    )
    asyncio.run(coordinator.run())
    return events, server, names


def moves(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note) and event.code == "link.class"]


def test_a_gateway_on_a_slow_link_gets_the_slow_class_s_chain_and_the_others_keep_theirs() -> None:
    events, server, names = run({1: 300.0})
    (moved,) = moves(events)
    assert moved.startswith(f"{names[1]}: all -> slow (measured; 300 bytes/s)")
    assert [server.link(name) for name in names] == [0, 1, 0, 0]
    again, other, _ = run({1: 300.0})
    assert moves(again) == moves(events)
    assert other.to_bytes() == server.to_bytes()


def test_nobody_can_claim_to_be_slower_than_the_coordinator_saw() -> None:
    """Two seconds of training and 3 kB: no slower than about 1,500 bytes/s, whatever is claimed."""
    events, server, names = run({}, {0: 1e9, 2: float("nan"), 3: -4.0})
    assert moves(events) == []
    assert [server.link(name) for name in names] == [0, 0, 0, 0]


def test_who_claims_to_be_fast_and_comes_too_late_is_asked_for_less() -> None:
    events, server, names = run({2: 100.0}, {2: 0.0}, patience_s=12.0)
    assert moves(events)[0].startswith(f"{names[2]}: all -> slow (2 exchanges without an answer")
    assert server.link(names[2]) == 1


def test_without_class_speeds_nobody_moves() -> None:
    events, server, names = run({1: 300.0}, None, "compress.class_speeds=[]", "compress.class_clients=['nobody']")
    assert moves(events) == []
    assert server.link(names[1]) == 0


@pytest.mark.parametrize("first", ["answer", "claim"])
def test_halves_of_a_measurement_meet_by_their_turn(first: str) -> None:
    found: list[Any] = []

    class Taker:
        def measured(self, *what: Any) -> None:
            found.append(what)

    meter = Meter(Taker())  # type: ignore[arg-type]
    meter.claimed({"a": (3, 9.0)})  # of a turn whose answer never came
    steps: list[Callable[[], None]] = [
        lambda: meter.answered(Reply("a", 4, b"x" * 5000), 7.0),
        lambda: meter.claimed({"a": (4, 0.5)}),
    ]
    for step in steps if first == "answer" else reversed(steps):
        step()
    assert found == [("a", 5000, 0.5, 7.0)]
    meter.claimed({"a": (4, 0.5)})  # the same sign of life again
    assert len(found) == 1
