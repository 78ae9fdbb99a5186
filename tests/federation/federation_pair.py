"""Server and clients wired in memory on virtual time: every message goes through its bytes, as on a real transport."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from wardround.aggregate.optimise import SGD
from wardround.aggregate.rules import RULES, Rule
from wardround.arrays import F32, I32, I64
from wardround.events import Event
from wardround.federation.algorithms import Algorithm, FedAvg
from wardround.federation.buffered import server_for
from wardround.federation.buffered_client import client_for
from wardround.federation.client import ClientState
from wardround.federation.messages import Answer, Ask
from wardround.federation.participation import Participation
from wardround.federation.plan import Plan, Prepared, Schedule
from wardround.federation.server import Phase
from wardround.federation.staleness import Asynchronous
from wardround.rng import stream
from wardround.traffic.scaling import Moments
from wardround.traffic.table import Column, Labels, Schema
from wardround.training.models import Logistic, Model
from wardround.training.personal import Common, Personal
from wardround.training.stacked import StackedEngine
from wardround.training.task import Job, LocalTraining, Rows
from wardround.wire import decode, encode

SEED = 5
SCHEMA = Schema("pair", tuple(Column(f"f{i}") for i in range(4)))
RULE: dict[str, type[Rule]] = {rule.name: rule for rule in RULES}


def make_plan(
    *,
    model: Model | None = None,
    algorithm: Algorithm | None = None,
    rule: Rule | None = None,
    optimiser: Any = None,
    weighting: Literal["rows", "sqrt", "uniform"] = "rows",
    training: LocalTraining | None = None,
    schedule: Schedule | None = None,
    asynchronous: Asynchronous | None = None,
    personal: Personal | None = None,
) -> Plan:
    """A plan of four features and two classes; what is not named is plain FedAvg."""
    return Plan(
        schema=SCHEMA,
        labels=Labels(("benign", "attack"), 0),
        scaling=Moments(),
        model=model or Logistic(),
        training=training or LocalTraining(batch_size=8, learning_rate=0.2),
        algorithm=algorithm or FedAvg(),
        rule=rule or RULE["mean"](),
        optimiser=optimiser or SGD(),
        schedule=schedule or Schedule(rounds=3, measure_every=2, keep="last", cohort_size=0, retries=3),
        weighting=weighting,
        weight_cap=30,
        asynchronous=asynchronous or Asynchronous(),
        personal=personal or Common(),
    )


@dataclass(frozen=True, eq=False)
class LocalRows:
    """A gateway's rows; half of them validate."""

    x: F32
    y: I64

    def raw(self) -> tuple[F32, I64]:
        half = len(self.y) // 2
        return self.x[:half], self.y[:half]

    def typed(self, part: str) -> tuple[F32, I64, I32]:
        half = len(self.y) // 2
        own = slice(None, half) if part == "train" else slice(half, None)
        return self.x[own], self.y[own], (np.arange(len(self.y))[own] % 3 - 1).astype(np.int32)

    def prepared(self, part: str, prepared: Prepared) -> Rows:
        half = len(self.y) // 2
        own = slice(None, half) if part == "train" else slice(half, None)
        return Rows(prepared.preprocessor.apply(self.x[own]), self.y[own])


def local_rows(number: int, n: int) -> LocalRows:
    """Two overlapping clouds; every gateway sees them a little shifted."""
    rng = stream(SEED, "rows", number)
    y = rng.integers(0, 2, n)
    x = rng.normal(size=(n, 4)) + 1.2 * y[:, None] * [1, -1, 0.5, 0] + 0.3 * rng.normal(size=4)
    return LocalRows(x.astype(np.float32), y)


def reopened(message: Any) -> Any:
    """The message after a trip over the wire."""
    return decode(encode(message), type(message))


@dataclass
class Pair:
    """The federation. ``restart`` rebuilds every machine from its bytes after every single step."""

    plan: Plan = field(default_factory=make_plan)
    sizes: tuple[int, ...] = (40, 24, 60, 12)
    policy: Participation = field(default_factory=lambda: Participation(minimum=2))
    restart: bool = False
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.names = tuple(f"gw{i}" for i in range(len(self.sizes)))
        self.rows = {name: local_rows(i, n) for i, (name, n) in enumerate(zip(self.names, self.sizes, strict=True))}
        self.server = server_for(self.plan).new(self.plan, self.policy, self.names, SEED)
        self.clients = {
            name: client_for(self.plan)(self.plan, SEED, ClientState(i)) for i, name in enumerate(self.names)
        }
        self.events: list[Event] = []
        self.downlink: dict[str, list[int]] = {name: [] for name in self.names}

    def ask(self, here: Iterable[str] | None = None) -> dict[str, Ask]:
        """Open the next exchange; each invited peer's message."""
        step = self.server.begin(self.now, list(self.names if here is None else here))
        self._reboot_server()
        return {peer: reopened(send.message) for send in step.send for peer in send.peers}

    def reply(self, peer: str, ask: Ask, tamper: Callable[[Answer], Answer] | None = None) -> Answer:
        """What ``peer`` answers, training where it must."""
        self.downlink[peer].append(len(encode(ask)))
        client = self.clients[peer]
        answer = client.receive(reopened(ask), self.rows[peer], self.engine())
        while isinstance(answer, Job):
            (done,) = self._engine().train([answer])
            answer = client.trained(done)
        if self.restart:
            self.clients[peer] = client_for(self.plan).from_bytes(self.plan, SEED, client.to_bytes())
        answer = reopened(answer)
        return tamper(answer) if tamper else answer

    def deliver(self, peer: str, answer: Answer) -> bool:
        """Hand an answer to the server; was it the last one due?"""
        step = self.server.receive(peer, answer, self.now)
        self._reboot_server()
        return step.done

    def close(self) -> list[Event]:
        """The deadline."""
        self.now += 60.0
        events = list(self.server.expire(self.now).events)
        self._reboot_server()
        self.events += events
        return events

    def exchange(self, here: Iterable[str] | None = None, silent: Iterable[str] = ()) -> list[Event]:
        """One whole exchange with who is ``here``; the ``silent`` are asked and do not answer."""
        quiet = set(silent)
        for peer, ask in self.ask(here).items():
            if peer not in quiet:
                self.deliver(peer, self.reply(peer, ask))
        return self.close()

    def run(self, here: Iterable[str] | None = None) -> Pair:
        """To the end."""
        while self.server.phase is not Phase.DONE:
            self.exchange(here)
        return self

    def until(self, phase: Phase) -> Pair:
        """Whole exchanges until ``phase`` comes next."""
        while self.server.phase is not phase:
            self.exchange()
        return self

    def engine(self) -> StackedEngine | None:
        return None if self.server.prepared is None else self._engine()

    def _engine(self) -> StackedEngine:
        assert self.server.prepared is not None
        inputs = len(self.server.prepared.preprocessor.names)
        return StackedEngine(self.plan.model, self.plan.training, inputs, self.plan.classes)

    def _reboot_server(self) -> None:
        if self.restart:
            self.server = server_for(self.plan).from_bytes(
                self.plan, self.policy, self.names, SEED, self.server.to_bytes()
            )


def with_schedule(plan: Plan, **changes: Any) -> Plan:
    """The plan with another course."""
    return replace(plan, schedule=replace(plan.schedule, **changes))
