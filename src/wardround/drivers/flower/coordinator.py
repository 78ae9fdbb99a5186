"""The server's loop over a Grid: the desk on one side, nodes on the other.

    look who is there, who can prove it -> begin -> [CHECKPOINT] -> push, wait for replies -> receive in the peers' order
    -> the next turn: [CHECKPOINT] -> push ...   or the end of the exchange: log -> CHECKPOINT

Replies enter the sum in a fixed order, not as they come, so that the model does not depend on the network. Under layers 1
and 2 everything is stored before it is said, so that no restart says two things in one turn: a run killed in an exchange takes
that exchange up again. Without them it begins the exchange again from the checkpoint before it, and can tell nodes that lost
their memory everything anew: the machine asks the same, and a client that has answered gives the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wardround.auth.choice import NoAuth
from wardround.auth.server_end import SERVED
from wardround.drivers.flower import frames
from wardround.drivers.flower.door import Door
from wardround.drivers.flower.exchange import Out, Talk
from wardround.drivers.flower.keep import Keep, Saved
from wardround.drivers.flower.nodes import Nodes
from wardround.drivers.flower.settings import RunSettings, careful, fingerprint
from wardround.drivers.parties.identities import papers, passphrase
from wardround.drivers.parties.machines import Course
from wardround.drivers.parties.names import parts, peers, signs
from wardround.drivers.parties.secured import Authenticated, Evidence, ServerGuard
from wardround.drivers.privacy import settle, spent
from wardround.drivers.sinks.jsonlog import JsonLog
from wardround.drivers.store.result import write_result
from wardround.errors import RemoteProtocolError, RoundError, UsageError
from wardround.events import Emit, Event, Note, RoundDone, RunDone, RunStarted
from wardround.federation.server import Phase, Server
from wardround.federation.step import Send, Step
from wardround.wire import encode

SLACK_S = 60.0  # a handshake is half open for one exchange and so much more


@dataclass
class Coordinator:
    """Runs the federation of ``course``; ``run`` names it where no checkpoint does."""

    course: Course
    settings: RunSettings
    talk: Talk
    keep: Keep
    show: Emit
    run: str
    _forgotten: set[str] = field(default_factory=set)
    _bytes: list[int] = field(default_factory=lambda: [0, 0])

    def __post_init__(self) -> None:
        c, e = self.course, self.course.experiment
        self._agreed = fingerprint(e, c.names)
        saved = self.keep.load(self._agreed)
        self.run = saved.run if saved else self.run
        self._careful, self._account = careful(e), settle(e)
        self._peers = tuple(peers(e, c.names))
        try:
            self.desk = c.desk(self.run, saved.machine if saved else None)
        except RemoteProtocolError as error:
            raise UsageError(
                f"{self.keep.checkpoint} is damaged ({error}): delete it, and the run starts again"
            ) from error
        self._guard = None if isinstance(e.auth, NoAuth) else self._guarded()
        self._door = Door(self._guard, self.talk, self._emit) if self._guard else None
        self._nodes = Nodes(self._peers, self._claimed, self.talk, self._emit, self._door)
        self._log = JsonLog(self.keep.log, saved.log_bytes if saved else None)

    @property
    def server(self) -> Server:
        """The round's machine behind the desk."""
        return self.desk.server

    def finish(self) -> None:
        """Exchange after exchange until the federation is over; then the result, and the checkpoint goes.

        Raises:
            RoundError: set-up failed as often as the plan allows, or too few nodes are there for too long.
        """
        began = self.talk.clock.ticks()
        c, e, server = self.course, self.course.experiment, self.server
        size = int(server.parameters.size)
        try:
            self._emit(RunStarted(self.run, e.name, e.seed, len(c.names), e.rounds.count, size, server.round))
            while server.phase is not Phase.DONE or self.desk.open:
                self._exchange(self._gather())
            about = {"run": self.run, "experiment": e.name, "seed": str(e.seed)}
            score = write_result(self.keep.path, c.plan, server.outcome(), about, e.evaluation.target_fpr)
            self._emit(RunDone(self.run, server.round, score, self.talk.clock.ticks() - began))
            self.keep.forget()
        finally:
            self._log.close()

    # --- who is there

    def _guarded(self) -> ServerGuard:
        """Layer 1's end, its sessions as they were left."""
        e, keep = self.course.experiment, self.keep
        limits = replace(SERVED, pending_seconds=self.talk.deadline_s + SLACK_S)
        brought = papers(Path(self.settings.keys).expanduser(), passphrase())
        guard = ServerGuard(brought, self.run, keep.load_sessions(), keep.save_sessions, self._emit, limits=limits)
        guard.authenticated = Authenticated(keep.path / "authenticated.txt").add
        guard.end.signed, guard.evidence = signs(e), Evidence(keep.path / "evidence.txt").add
        return guard

    def _claimed(self, said: frames.Greeting) -> tuple[str, ...]:
        """The peers that a node says it is.

        Raises:
            RemoteProtocolError: none.
        """
        e, names = self.course.experiment, self.course.names
        if said.index >= 0 or not said.member:
            if not 0 <= said.index < len(names):
                raise RemoteProtocolError(f"its partition-id is {said.index}, there are clients 0 to {len(names) - 1}")
            return tuple(parts(e, names, names[said.index]))
        its = tuple(parts(e, names, said.member))
        if not its or said.member in names:
            raise RemoteProtocolError(
                f"it says that it is {said.member[:99]!r}, who has no seat on the committee alone"
            )
        return its

    def _gather(self) -> dict[str, int]:
        """peer -> node, once enough are there.

        Raises:
            RoundError: not enough for ``gather_s``.
        """
        clock, least = self.talk.clock, self.course.experiment.participation.minimum
        if self.server.exchange == 0:
            least = max(least, self.settings.wait_for)
        end, told = clock.ticks() + self.settings.gather_s, ""
        while True:
            here = self._here()
            clients = sum(peer in here for peer in self.course.names)
            lacking = f"{clients} of {least} nodes are there" if clients < least else ""
            lacking = lacking or self.desk.lacking(frozenset(here))
            if not lacking:
                return here
            if clock.ticks() >= end:
                raise RoundError(
                    f"{lacking} after {self.settings.gather_s:g} s: start the missing SuperNodes; "
                    f"the next `flwr run` goes on after round {self.server.round}"
                )
            if lacking != told:
                told = lacking
                self._emit(Note("nodes.few", f"waiting for nodes: {lacking}"))
            clock.sleep(self.settings.poll_s)

    def _here(self) -> dict[str, int]:
        if self._guard is not None:
            self._guard.look()
        here, fresh = self._nodes.here()
        self._forgotten |= fresh & set(self.course.names)
        return {peer: node for peer, node in here.items() if self._guard is None or self._guard.may(peer)}

    # --- exchanges

    def _exchange(self, here: dict[str, int]) -> None:
        started, self._bytes = self.talk.clock.ticks(), [0, 0]
        step = self._begin(here)
        while not step.done:
            if self._careful:
                self._checkpoint()
            step = self._turn(step.send, here)
        absent = sum(peer not in here for peer in self.course.names)
        seconds = self.talk.clock.ticks() - started
        for event in (*step.events, *spent(self._account, step.events)):
            self._emit(self._completed(event, absent, seconds))
        self._checkpoint()
        if self._guard is not None:
            self._guard.settle()

    def _begin(self, here: dict[str, int]) -> Step[Any]:
        """Open an exchange, or take up the one that a killed run left open.

        A node's memory goes with its SuperNode and with the Flower run, where the site names no folder; the machine believes that
        who answered once knows the statistics. So those who may have lost it are told everything again.
        """
        if self.desk.open:
            return self.desk.repeat()
        self.server.forget(self._forgotten)
        self._forgotten.clear()
        try:
            return self.desk.begin(self.talk.clock.now(), frozenset(here), self.talk.deadline_s)
        except RoundError:
            self.keep.forget()  # set-up failed for good: there is nothing to go on from
            raise

    def _turn(self, sends: tuple[Send[Any], ...], here: dict[str, int]) -> Step[Any]:
        """What the replies to one turn lead to: the next turn, or the end."""
        turn, out = self.desk.turn, []
        for send in sends:
            out += self._outgoing(turn, send, here)
        if self._guard is not None:
            self._guard.store()
        replies = self.talk.exchange(str(turn), out, self._gone)
        asked = {each.key for each in out}
        for peer in (p for p in self._peers if p in asked):  # the peers' order, whoever was told what
            try:
                step = self._receive(peer, turn, frames.read_reply(replies.get(peer)))
            except RemoteProtocolError as error:
                self._lost(peer)
                self._emit(Note("answer.missing", f"{peer}: {error}"))
            else:
                if step.send or step.done:
                    return step
        return self.desk.expire(self.talk.clock.now())

    def _outgoing(self, turn: int, send: Send[Any], here: dict[str, int]) -> list[Out[str]]:
        """The messages of ``send``, sealed under layer 1; to those who are here."""
        kind, body = frames.kind(send.message), encode(send.message)
        sealed = self._guard.body(turn, body) if self._guard is not None else None
        out = []
        for peer in (p for p in send.peers if p in here):
            record = b""
            if self._guard is not None and sealed is not None:
                told = self._guard.record(peer, sealed)
                if told is None:
                    self._lost(peer)
                    continue
                record, body = told, sealed.data
            self._bytes[1] += len(body) + len(record)
            out.append(Out(peer, here[peer], kind, frames.request(frames.Request(self.run, body, peer, record))))
        return out

    def _receive(self, peer: str, turn: int, body: bytes) -> Step[Any]:
        """Raises RemoteProtocolError: refused; nothing has changed."""
        if self._guard is not None:
            body = self._guard.opened(peer, turn, body)
        if not self.desk.due(peer, turn):
            return Step()
        step = self.desk.receive(peer, body, self.talk.clock.now())
        self._bytes[0] += len(body)
        return step

    def _gone(self) -> frozenset[str]:
        """Who was cut off since the turn began: nobody waits for them."""
        if self._guard is None:
            return frozenset()
        self._guard.look()
        return self._guard.barred

    def _lost(self, peer: str) -> None:
        if peer in self.course.names:
            self._forgotten.add(peer)
        if self._door is not None:
            self._door.doubt([peer])

    def _checkpoint(self) -> None:
        self.keep.save(Saved(self.run, self._agreed, self.desk.to_bytes(), self._log.position()))

    def _completed(self, event: Event, absent: int, seconds: float) -> Event:
        """What only the transport knows."""
        if not isinstance(event, RoundDone):
            return event
        up, down = self._bytes
        lost = event.invited - event.answered
        return replace(event, offline=absent, dropped=lost, bytes_up=up, bytes_down=down, seconds=seconds)

    def _emit(self, event: Event) -> None:
        self._log(event)
        self.show(event)
