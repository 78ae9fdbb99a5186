"""Drives the round's machines in one process: the same server and clients as real gateways, on a virtual clock.

Clients of an exchange are walked in chunks; each chunk trains as one stack on its own thread, and its answers enter
the sum in the order of the clients, so the number of threads never changes a result.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

from wardround.arrays import F32
from wardround.auth.choice import NoAuth
from wardround.compress import codec
from wardround.config import Evaluation, Experiment, nearest
from wardround.drivers.privacy import settle, spent
from wardround.drivers.simulation import engines
from wardround.drivers.simulation.attackers import Attackers, HostileRows, Seen
from wardround.drivers.simulation.authenticated import Asked, Authenticated, Tolls
from wardround.drivers.simulation.liars import liars
from wardround.drivers.simulation.secure import Called, SecureSum
from wardround.drivers.world import ClientRows, PreparedTable, World, protection, root_rows
from wardround.errors import ConfigError, LocalProtocolError, RoundError
from wardround.events import Emit, Event, Note, RoundDone
from wardround.federation.buffered import server_for
from wardround.federation.buffered_client import client_for
from wardround.federation.client import Client, ClientState, LocalData
from wardround.federation.coding import Coded
from wardround.federation.messages import ANSWERS, Answer, Ask, Reply
from wardround.federation.participation import Fate
from wardround.federation.plan import Plan, Prepared, watchful
from wardround.federation.server import Phase, Server
from wardround.federation.step import Send
from wardround.rng import stream
from wardround.training.task import Engine, Job, Trained
from wardround.wire import decode, encode, message

PATIENCE_S = 60.0
T = TypeVar("T")
R = TypeVar("R")


@message(0x4660)
@dataclass(frozen=True, eq=False)
class Memory:
    """What the simulation must remember of one client between rounds."""

    index: int
    memory: F32
    private: F32
    feedback: tuple[codec.Memory, ...] = ()


@message(0x4661)
@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The whole federation after an exchange: server, clients' memories, layer 1, bytes so far, secure sums done, the log's
    length.
    """

    server: bytes
    memories: tuple[Memory, ...]
    auth: bytes
    bytes_up: int
    bytes_down: int
    sums: int
    log_bytes: int


@dataclass
class Traffic:
    """Bytes of encoded messages, over all clients."""

    up: int = 0
    down: int = 0


@dataclass
class Federation:
    """The running federation: machines, engine, what is remembered of clients, bytes."""

    experiment: Experiment
    world: World
    plan: Plan
    server: Server
    engine_for: Callable[[int], Engine]
    emit: Emit
    pool: ThreadPoolExecutor
    workers: int
    memories: dict[int, Memory] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    attackers: Attackers | None = None

    def __post_init__(self) -> None:
        clients, rounds = len(self.world.shares), self.plan.schedule.rounds
        self._index = {name: i for i, name in enumerate(self.world.names)}
        self._presence = self.experiment.weather.presence(clients, rounds, self.experiment.seed)
        self.late = late_clients(self.world.names, self.experiment.evaluation, self.experiment.seed)
        self._presence[:, sorted(self.late)] = False
        self._prepared: PreparedTable | None = None
        self._engine: Engine | None = None
        self._hold()
        choice, broken = protection(self.experiment), liars(self.experiment, self.attackers)
        seed = self.experiment.seed
        self.secure = None if choice is None else SecureSum(choice, self.world.names, seed, broken)
        self.account = settle(self.experiment)
        self._off: frozenset[str] = frozenset()
        self._fresh: dict[str, Memory] = {}
        self._told: tuple[Event, ...] = ()

        auth = self.experiment.auth
        self.auth = (
            None
            if isinstance(auth, NoAuth)
            else Authenticated(auth, self.world.names, self.experiment.seed, self.plan.trust)
        )

    @property
    def over(self) -> bool:
        return self.server.phase is Phase.DONE

    def checkpoint(self, log_bytes: int) -> bytes:
        memories = tuple(memory for _, memory in sorted(self.memories.items()))
        up, down, sums = self.traffic.up, self.traffic.down, self.secure.done if self.secure else 0
        auth = self.auth.to_bytes() if self.auth else b""
        return encode(Checkpoint(self.server.to_bytes(), memories, auth, up, down, sums, log_bytes))

    def restore(self, data: bytes) -> int:
        """Take up the state of ``checkpoint``; returns the log's length at that moment.

        Raises:
            DecodeError: the checkpoint is damaged.
        """
        saved = decode(data, Checkpoint)
        self.memories = {m.index: m for m in saved.memories}
        self.traffic = Traffic(saved.bytes_up, saved.bytes_down)
        seed, policy = self.experiment.seed, self.experiment.participation
        self.server = server_for(self.plan).from_bytes(self.plan, policy, self.world.names, seed, saved.server)
        self._hold()
        if self.secure is not None:
            self.secure.resume(saved.sums)
        if self.auth is not None:
            self.auth.restore(saved.auth)
        return saved.log_bytes

    def run(self) -> Iterator[tuple[Event, ...]]:
        """One exchange per step of the iterator, until the federation is over; yields the exchange's events."""
        while self.server.phase is not Phase.DONE:
            yield self._exchange()

    def prepared(self) -> PreparedTable:
        """The prepared table.

        Raises:
            LocalProtocolError: set-up is not over.
        """
        if self._prepared is None:
            self._prepared = PreparedTable(self.world, self._known())
        return self._prepared

    def _known(self) -> Prepared:
        if self.server.prepared is None:
            raise LocalProtocolError("the federation's statistics are not known yet")
        return self.server.prepared

    def engine(self) -> Engine:
        if self._engine is None:
            self._engine = watchful(self.plan, self._known(), self.engine_for(self.prepared().x.shape[1]))
        return self._engine

    def _exchange(self) -> tuple[Event, ...]:
        started = time.perf_counter()
        up, down = self.traffic.up, self.traffic.down
        round_ = self.server.round + (self.server.phase is Phase.TRAINING)
        # while set-up is tried again the weather moves on: the devices that are off would else be off each time
        moment = self.server.exchange if self.server.phase is Phase.STATISTICS else round_
        present = self._presence[min(moment, len(self._presence) - 1)]
        auth, training = self.auth, self.server.phase is Phase.TRAINING
        reachable = self._reachable(moment, round_ if training else 0)
        self._off = frozenset(name for name, on in zip(self.world.names, present, strict=True) if not on)
        step = self.server.begin(0.0, reachable, PATIENCE_S)
        fates = self._fates(step.send, round_, training)
        asks = [Asked(send.peers, encode(send.message)) for send in step.send]
        self.traffic.down += sum(len(ask.body) * len(ask.peers) for ask in asks)
        if auth is not None:
            told = auth.open(self.server.exchange, asks)
            fates |= {peer: "drops" for peer in fates if peer not in told}
            if training:
                auth.fall(round_)
        self._told = ()
        try:
            self._collect(step.send, fates)
        except RoundError as error:
            self._told = (Note("secagg.failed", f"the secure sum was given up: {error}"),)
        events = self.server.expire(PATIENCE_S).events
        self._remember()
        if auth is not None and training:
            for peer, verdict in self.server.verdicts:
                auth.judge(peer, verdict)
        tolls, turns = auth.take() if auth is not None else (Tolls(), ())
        self.traffic.up += tolls.up
        self.traffic.down += tolls.down
        seconds = time.perf_counter() - started
        lost = list(fates.values())

        def completed(event: RoundDone) -> RoundDone:  # what only the simulated world knows
            return replace(
                event,
                offline=int((~present).sum()),
                dropped=lost.count("drops"),
                late=lost.count("late"),
                refused=event.refused + tolls.refused,
                bytes_up=self.traffic.up - up,
                bytes_down=self.traffic.down - down,
                seconds=seconds,
            )

        done = tuple(completed(event) if isinstance(event, RoundDone) else event for event in events)
        return turns + self._told + done + spent(self.account, events)

    def _remember(self) -> None:
        """Keep what clients now remember; the feedback of an answer that did not enter the model stays as it was
        (as client.py does when the server's next ask says so).
        """
        fresh, self._fresh = self._fresh, {}
        for peer, memory in fresh.items():
            if memory.feedback and self.server.settled(peer) != self.server.exchange:
                known = self.memories.get(memory.index)
                memory = replace(memory, feedback=known.feedback if known is not None else ())
            self.memories[memory.index] = memory

    def _reachable(self, moment: int, training_round: int) -> list[str]:
        """Clients that are on at this ``moment`` of the weather and may take part."""
        present, auth = self._presence[min(moment, len(self._presence) - 1)], self.auth
        names = [name for name, on in zip(self.world.names, present, strict=True) if on]
        return names if auth is None else [name for name in names if auth.takes_part(name, training_round)]

    def _hold(self) -> None:
        """Give the server its root rows."""
        root = root_rows(self.experiment, self.world)
        if root is not None:
            self.server.hold(replace(root, engine=engines.make))

    def _fates(self, sends: Sequence[Send[Ask]], round_: int, training: bool) -> dict[str, Fate]:
        invited = [peer for send in sends for peer in send.peers]
        if not training:
            return dict.fromkeys(invited, "answers")
        numbers = [self._index[peer] for peer in invited]
        fates = self.experiment.weather.fates(numbers, len(self.world.shares), self.experiment.seed, round_)
        return dict(zip(invited, fates, strict=True))

    def _collect(self, sends: Sequence[Send[Ask]], fates: dict[str, Fate]) -> None:
        """Bring the answers to the server: one by one, or as the sums that the committee opens.

        Raises:
            RoundError: the secure sum could not be opened.
        """
        arriving = self._arriving(sends, fates)
        if self.secure is None:
            for peer, answer in arriving:
                payload = encode(answer)
                self.traffic.up += len(payload)
                arrived = self.auth.carry(peer, payload) if self.auth else payload
                if arrived is not None:
                    self.server.receive(peer, cast("Reply", decode(arrived, *ANSWERS)), 0.0)
            return
        training = self.server.phase is Phase.TRAINING
        cohort = self.plan.schedule.cohort_size if training else 0
        answering = frozenset(peer for peer, fate in fates.items() if fate == "answers")
        carry = self.auth.carry if self.auth else None
        vanished = frozenset(peer for peer, fate in fates.items() if fate == "drops")
        attacked = training and self.attackers is not None and self.attackers.at_work(self.server.round)
        called = Called(tuple(fates), answering, cohort, self._off, vanished, attacked)
        result = self.secure.sum(_plain(arriving), called, carry)
        self.traffic.up += result.bytes_up
        self._told = result.events
        self.server.opened(result.peers, result.sums, result.spoilt)

    def _arriving(self, sends: Sequence[Send[Ask]], fates: dict[str, Fate]) -> Iterator[tuple[str, Reply]]:
        """Answers in the order of the invited; who drops or comes late costs the downlink only."""
        asked = [(send.message, [peer for peer in send.peers if fates[peer] == "answers"]) for send in sends]
        for peer, answer, memory in self._answers(asked):
            if memory.memory.size or memory.private.size or memory.feedback:
                self._fresh[peer] = memory
            yield peer, answer

    def _answers(self, asked: Sequence[tuple[Ask, Sequence[str]]]) -> Iterator[tuple[str, Reply, Memory]]:
        """(client, answer, its new memory) for each of the peers asked, in their order; at most two chunks per thread wait."""
        first = self.server.phase is Phase.STATISTICS
        engine = None if first else self.engine()
        size = engine.chunk if engine is not None else 64
        chunks = [(ask, peers[at : at + size]) for ask, peers in asked for at in range(0, len(peers), size)]
        if engine is not None and self.attackers is not None and self.attackers.at_work(self._training_round()):
            yield from self._attacked(self.attackers, chunks, engine)
            return
        yield from _in_order(self.pool, 2 * self.workers, lambda chunk: self._chunk(*chunk, engine), chunks)

    def _chunk(self, ask: Ask, peers: Sequence[str], engine: Engine | None) -> list[tuple[str, Reply, Memory]]:
        clients = [self._client(peer) for peer in peers]
        answers = [client.receive(ask, self._rows(peer), engine) for client, peer in zip(clients, peers, strict=True)]
        while engine is not None and (jobs := [answer for answer in answers if isinstance(answer, Job)]):
            answers = [c.trained(result) for c, result in zip(clients, engine.train(jobs), strict=True)]
        done = []
        for peer, client, answer in zip(peers, clients, answers, strict=True):
            if isinstance(answer, Job):
                raise LocalProtocolError("a chunk mixes training with other exchanges")
            state = client.state
            done.append((peer, answer, Memory(state.index, state.memory, state.private, state.feedback)))
        return done

    def _training_round(self) -> int:
        """The training round that is open; 0 in other exchanges, in which hostile clients behave."""
        return self.server.round if self.server.phase is Phase.TRAINING else 0

    def _attacked(
        self, attackers: Attackers, chunks: Sequence[tuple[Ask, Sequence[str]]], engine: Engine
    ) -> Iterator[tuple[str, Reply, Memory]]:
        """As ``_answers``, but all clients train before the first answer leaves, and hostile ones forge theirs: the adversary
        is one, whatever messages its clients and the honest ones were sent.
        """
        clients: list[Client] = []
        trained: dict[int, Trained] = {}
        for ask, peers in chunks:
            started = [self._client(peer) for peer in peers]
            jobs = [c.receive(ask, self._rows(peer), engine) for c, peer in zip(started, peers, strict=True)]
            clients += started
            for result in engine.train([job for job in jobs if isinstance(job, Job)]):
                trained[result.client] = result
        carried = self.server.carried
        seen = Seen(self.server.context(), {index: kept.memory for index, kept in self.memories.items()})
        sent = attackers.forge(trained, seen, carried.rule, self.server.round)
        for peer, client in zip((peer for _, peers in chunks for peer in peers), clients, strict=True):
            answer = client.trained(sent[self._index[peer]])
            if isinstance(answer, Job):
                raise LocalProtocolError("attacks are made on one leg of training (config refuses others)")
            state = client.state
            yield peer, answer, Memory(state.index, state.memory, state.private, state.feedback)

    def _client(self, peer: str) -> Client:
        index = self._index[peer]
        # every client that follows holds the announced model to the bit (tests/federation), so one object serves all
        state, known = ClientState(index, held=self.server.announced), self.memories.get(index)
        if known is not None:
            state = replace(state, memory=known.memory, private=known.private, feedback=known.feedback)
        return client_for(self.plan)(self.plan, self.experiment.seed, state, self.server.prepared)

    def _rows(self, peer: str) -> LocalData:
        prepared = None if self.server.phase is Phase.STATISTICS else self.prepared()
        index = self._index[peer]
        rows = ClientRows(self.world, self.world.shares[index], prepared)
        if self.attackers is None or index not in self.attackers.hostile:
            return rows
        return HostileRows(rows, self.attackers, index, self._training_round())


def late_clients(names: Sequence[str], wanted: Evaluation, seed: int) -> frozenset[int]:
    """The clients that never take part: they join when all is trained. Drawn by the seed, or named.

    Raises:
        ConfigError: nobody has that name.
    """
    for name in wanted.late:
        if name not in names:
            raise ConfigError(f"[evaluation] late: no client is named {name!r}{nearest(name, list(names))}")
    count = round(wanted.late_clients * len(names))
    drawn = stream(seed, "late").choice(len(names), size=count, replace=False)
    return frozenset(int(i) for i in drawn) | {names.index(name) for name in wanted.late}


def _plain(arriving: Iterator[tuple[str, Reply]]) -> Iterator[tuple[str, Answer]]:
    """What enters a secure sum: numbers, never bytes of one client."""
    for peer, answer in arriving:
        if isinstance(answer, Coded):
            raise LocalProtocolError("a secure sum takes numbers, not one client's bytes")
        yield peer, answer


def _in_order(
    pool: ThreadPoolExecutor, ahead: int, work: Callable[[T], Iterable[R]], items: Sequence[T]
) -> Iterator[R]:
    """``work`` over ``items`` on the pool, results in order, at most ``ahead`` items in flight."""
    waiting: deque[Future[Iterable[R]]] = deque()
    for item in items:
        if len(waiting) >= ahead:
            yield from waiting.popleft().result()
        waiting.append(pool.submit(work, item))
    while waiting:
        yield from waiting.popleft().result()
