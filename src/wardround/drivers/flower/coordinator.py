"""The server's loop over a Grid: the round's machine on one side, nodes on the other, a checkpoint after every exchange.

    look who is there -> begin -> push, wait for replies -> receive in the clients' order -> expire, log -> CHECKPOINT

Replies enter the sum in a fixed order, not as they come, so that the model does not depend on the network. A run killed
in an exchange begins that exchange again from the checkpoint: the machine asks the same, and a client that has answered
gives the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import cast

from wardround.config import Experiment
from wardround.drivers.flower import frames
from wardround.drivers.flower.exchange import Talk
from wardround.drivers.flower.keep import Keep, Saved
from wardround.drivers.flower.nodes import Nodes
from wardround.drivers.flower.settings import RunSettings, fingerprint
from wardround.drivers.sinks.jsonlog import JsonLog
from wardround.drivers.store.result import write_result
from wardround.errors import RemoteProtocolError, RoundError, UsageError
from wardround.events import Emit, Event, Note, RoundDone, RunDone, RunStarted
from wardround.federation.messages import ANSWERS, Ask, Reply
from wardround.federation.plan import Plan
from wardround.federation.server import Phase, Server
from wardround.federation.step import Step
from wardround.wire import decode, encode


@dataclass(frozen=True, eq=False)
class Course:
    """What is fixed for a run."""

    experiment: Experiment
    settings: RunSettings
    plan: Plan
    names: tuple[str, ...]

    @property
    def agreed(self) -> str:
        return fingerprint(self.experiment, self.names)


@dataclass
class Coordinator:
    """Runs the federation of ``course``; ``run`` names it where no checkpoint does."""

    course: Course
    talk: Talk
    keep: Keep
    show: Emit
    run: str
    _forgotten: set[str] = field(default_factory=set)
    _bytes: list[int] = field(default_factory=lambda: [0, 0])

    def __post_init__(self) -> None:
        c, e = self.course, self.course.experiment
        saved = self.keep.load(c.agreed)
        self._log = JsonLog(self.keep.log, saved.log_bytes if saved else None)
        self._nodes = Nodes(c.names, self.talk, self._emit)
        if saved is None:
            self.server = Server.new(c.plan, e.participation, c.names, e.seed)
        else:
            self.run = saved.run
            try:
                self.server = Server.from_bytes(c.plan, e.participation, c.names, e.seed, saved.machine)
            except RemoteProtocolError as error:
                raise UsageError(
                    f"{self.keep.checkpoint} is damaged ({error}): delete it, and the run starts again"
                ) from error

    def finish(self) -> None:
        """Exchange after exchange until the federation is over; then the result, and the checkpoint goes.

        Raises:
            RoundError: set-up failed as often as the plan allows, or too few nodes are there for too long.
        """
        began = self.talk.clock.ticks()
        e, server = self.course.experiment, self.server
        size = int(server.parameters.size)
        try:
            self._emit(RunStarted(self.run, e.name, e.seed, len(self.course.names), e.rounds.count, size, server.round))
            while self.server.phase is not Phase.DONE:
                self._exchange(self._gather())
            about = {"run": self.run, "experiment": e.name, "seed": str(e.seed)}
            outcome = self.server.outcome()
            score = write_result(self.keep.path, self.course.plan, outcome, about, e.evaluation.target_fpr)
            self._emit(RunDone(self.run, self.server.round, score, self.talk.clock.ticks() - began))
            self.keep.forget()
        finally:
            self._log.close()

    def _gather(self) -> dict[str, int]:
        """client -> node, once enough are there.

        Raises:
            RoundError: not enough for ``gather_s``.
        """
        settings, clock = self.course.settings, self.talk.clock
        least = self.course.experiment.participation.minimum
        if self.server.exchange == 0:
            least = max(least, settings.wait_for)
        end, told = clock.ticks() + settings.gather_s, False
        while True:
            here, fresh = self._nodes.here()
            self._forgotten |= fresh
            if len(here) >= least:
                return here
            if clock.ticks() >= end:
                raise RoundError(
                    f"{len(here)} of {least} nodes are there after {settings.gather_s:g} s: start the missing SuperNodes; "
                    f"the next `flwr run` goes on after round {self.server.round}"
                )
            if not told:
                told = True
                self._emit(Note("nodes.few", f"waiting for nodes: {len(here)} of {least} are there"))
            clock.sleep(settings.poll_s)

    def _exchange(self, here: dict[str, int]) -> None:
        started, self._bytes = self.talk.clock.ticks(), [0, 0]
        self._remind()
        try:
            step = self.server.begin(self.talk.clock.now(), tuple(here), self.course.settings.deadline_s)
        except RoundError:
            self.keep.forget()  # set-up failed for good: there is nothing to go on from
            raise
        self._receive(step, here)
        absent = len(self.course.names) - len(here)
        seconds = self.talk.clock.ticks() - started
        for event in self.server.expire(self.talk.clock.now()).events:
            self._emit(self._completed(event, absent, seconds))
        self.keep.save(Saved(self.run, self.course.agreed, self.server.to_bytes(), self._log.position()))

    def _receive(self, step: Step[Ask], here: dict[str, int]) -> None:
        out, kind = [], ""
        for send in step.send:
            kind, body = frames.kind(send.message), encode(send.message)
            content = frames.request(self.run, body)
            out += [(here[peer], content) for peer in send.peers]
            self._bytes[1] += len(body) * len(send.peers)
        replies = self.talk.exchange(kind, str(self.server.exchange), out)
        invited = {peer for send in step.send for peer in send.peers}
        for peer in (
            peer for peer in here if peer in invited
        ):  # the clients' order, whoever had to be reminded of what
            try:
                body = frames.read_reply(replies.get(here[peer]))
                self.server.receive(peer, cast("Reply", decode(body, *ANSWERS)), self.talk.clock.now())
                self._bytes[0] += len(body)
            except RemoteProtocolError as error:
                self._forgotten.add(peer)
                self._emit(Note("answer.missing", f"{peer}: {error}"))

    def _remind(self) -> None:
        """Send everything again to those who may have lost it.

        A node's memory goes with its SuperNode and with the Flower run; the machine believes that who answered once knows it.
        """
        self.server.forget(self._forgotten)
        self._forgotten.clear()

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
