"""The client's machine: answers each exchange once; training itself is handed to whoever runs the engine.

It holds what a gateway must remember between messages (``ClientState``, to_bytes/from_bytes) and never its rows: those are
an argument, so the same machine runs in the simulator over slices of one table and on a gateway over its own traffic.

    IDLE --AskStatistics/AskErrors/AskMeasures--> IDLE   (answers)
    IDLE --AskTraining--> TRAINING --trained--> IDLE     (answers)
    TRAINING --leg--> TRAINING                           (a personal strategy trains more than once a round)
    (AskAhead and AskKept belong to asynchronous rounds: buffered_client.py)
    TRAINING --any newer ask--> as in IDLE               (the server has gone on: the job is dropped)
    a message that was answered before is answered again with the same bytes, and changes nothing
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from wardround.arrays import F32, F64, I32, I64
from wardround.compress.codec import Memory
from wardround.compress.downlink import Announced
from wardround.compress.pack import unpack_counts
from wardround.errors import LocalProtocolError, RemoteProtocolError
from wardround.federation import clusters, measure, pipeline
from wardround.federation.algorithms import EMPTY
from wardround.federation.coding import Coded, Sender, pack_answer
from wardround.federation.messages import (
    Answer,
    Ask,
    AskAhead,
    AskErrors,
    AskKept,
    AskMeasures,
    AskStatistics,
    AskTraining,
    Model,
    Reply,
)
from wardround.federation.plan import Plan, Prepared, label_offset, prepare, watchful
from wardround.rng import stream
from wardround.training.exposure import expose
from wardround.training.task import Engine, Job, Rows, Trained
from wardround.training.tuning import row_losses
from wardround.wire import decode, encode, message


class State(enum.Enum):
    IDLE = "idle"
    TRAINING = "training"


TRANSITIONS: dict[State, dict[str, State]] = {
    State.IDLE: {
        "AskStatistics": State.IDLE,
        "AskErrors": State.IDLE,
        "AskMeasures": State.IDLE,
        "AskTraining": State.TRAINING,
    },
    State.TRAINING: {
        "trained": State.IDLE,
        "leg": State.TRAINING,
        "AskStatistics": State.IDLE,
        "AskErrors": State.IDLE,
        "AskMeasures": State.IDLE,
        "AskTraining": State.TRAINING,
    },
}


class LocalData(Protocol):
    """A gateway's own rows, as its driver keeps them."""

    def raw(self) -> tuple[F32, I64]:
        """Training rows as the schema has them: x [n, f], y [n]."""
        ...

    def typed(self, part: str) -> tuple[F32, I64, I32]:
        """Rows of ``part`` as the schema has them, with the type of device of each (a code of the plan's kinds, -1: none);
        asked for where a baseline of normal rows or limits of types are learnt.
        """
        ...

    def prepared(self, part: str, prepared: Prepared) -> Rows:
        """Rows of ``part`` ("train" or "validation") after preprocessing; the driver may cache them."""
        ...


@message(0x4640)
@dataclass(frozen=True, eq=False)
class ClientState:
    """What survives a restart: the summed statistics, the algorithm's memory, the client's ``private`` part of a personal
    model (it is in no message), the last answer; with codecs the announced model that it holds, its error ``feedback``, and
    the last answer where that was ``coded``. ``before``: the feedback without the answer to exchange ``pending``, for the
    case that this answer never entered the model.
    """

    index: int
    totals: F64 | None = None
    memory: F32 = field(default_factory=lambda: EMPTY)
    private: F32 = field(default_factory=lambda: EMPTY, repr=False)
    answered: int = 0
    last: Answer | None = None
    held: Announced | None = None
    feedback: tuple[Memory, ...] = ()
    coded: Coded | None = None
    before: tuple[Memory, ...] = ()
    pending: int = 0


class Client:
    """One gateway's part in the round."""

    def __init__(self, plan: Plan, seed: int, state: ClientState, prepared: Prepared | None = None) -> None:
        self._plan, self._seed, self._state = plan, seed, state
        if prepared is None and state.totals is not None:
            prepared = prepare(plan, state.totals)
        self._prepared = prepared
        self._asked: AskTraining | None = None
        self._base: Job | None = None
        self._legs: list[Trained] = []

    def to_bytes(self) -> bytes:
        """What must be stored before an answer is sent."""
        return encode(self._state)

    @classmethod
    def from_bytes(cls, plan: Plan, seed: int, data: bytes) -> Client:
        return cls(plan, seed, decode(data, ClientState))

    @property
    def state(self) -> ClientState:
        return self._state

    @property
    def doing(self) -> State:
        """Where the machine stands in ``TRANSITIONS``; a restart forgets a job, and the server's next message brings it back."""
        return State.IDLE if self._asked is None else State.TRAINING

    @property
    def codec(self) -> bytes:
        """What a secure sum is bound to: the public data and chains that choose the coordinates; empty without codecs."""
        prepared, held = self._prepared, self._state.held
        return b"" if prepared is None or prepared.coder is None or held is None else prepared.coder.digest(held)

    def receive(self, ask: Ask, data: LocalData, engine: Engine | None) -> Reply | Job:
        """The answer to ``ask``, or the training job whose result ``trained`` turns into the answer.

        Raises:
            RemoteProtocolError: another schema, an exchange that is over, no preparation where one is needed, or
                vectors that do not fit the model; the machine stays as it was.
        """
        if ask.schema != self._plan.schema.id:
            raise RemoteProtocolError(
                f"the server's schema {ask.schema[:12]} is not this gateway's {self._plan.schema.id[:12]}"
            )
        if isinstance(ask, AskAhead | AskKept):
            raise RemoteProtocolError(
                "the server asks for asynchronous rounds, this gateway's file has no [asynchronous] buffer"
            )
        last = self._state.coded or self._state.last
        if ask.exchange == self._state.answered and last is not None:
            return last
        if ask.exchange <= self._state.answered:
            raise RemoteProtocolError(f"exchange {ask.exchange} is over; {self._state.answered} was answered already")
        if self._asked is not None and ask.exchange < self._asked.exchange:
            raise RemoteProtocolError(f"exchange {ask.exchange} is over; {self._asked.exchange} is being worked on")
        if isinstance(ask, AskStatistics):
            known = data.typed("train") if self._plan.normal.fit or self._plan.limits.even else data.raw()
            return self._answer(pipeline.statistics(self._plan, ask.exchange, *known))
        whole, prepared = self._prepare(ask)
        if engine is not None:
            engine = watchful(self._plan, prepared, engine)
        if clusters.models_of(self._plan.algorithm) > 1:
            whole = self._choose(whole, data, prepared, engine)
        if isinstance(whole, AskTraining):
            self._asked = whole
            return self._job(whole, data, prepared)
        if engine is None:
            raise LocalProtocolError("measuring needs an engine")
        rows = data.prepared("validation", prepared)
        if isinstance(whole, AskErrors):
            return self._answer(pipeline.errors(self._plan, whole, engine, rows))
        return self._answer(pipeline.measures(self._plan, whole, engine, rows, self._beside(data, prepared)))

    def _beside(self, data: LocalData, prepared: Prepared) -> pipeline.Beside:
        if not self._plan.normal.fit and not self._plan.limits.even:
            return pipeline.ALONE
        x, y, kind = data.typed("validation")
        distances = pipeline.distances_of(self._plan, prepared, x, y, kind) if self._plan.normal.fit else pipeline.NONE
        return pipeline.Beside(distances, kind, prepared.asked)

    def trained(self, result: Trained) -> Reply | Job:
        """The answer that carries ``result`` of the job given out last, or the round's next leg.

        Raises:
            LocalProtocolError: no job was given out.
        """
        asked, prepared, base = self._asked, self._prepared, self._base
        if asked is None or prepared is None or base is None:
            raise LocalProtocolError("trained() without a training job")
        self._legs.append(result)
        personal, private, layout = self._plan.personal, self._state.private, prepared.layout
        if len(self._legs) < personal.legs:
            batches = stream(self._seed, "batches", self._state.index, asked.round, len(self._legs))
            return replace(personal.job(len(self._legs), base, private, layout, self._legs), batches=batches)
        common, own = personal.finish(base, private, layout, self._legs)
        before = self._feedback(asked)
        kept = pipeline.Kept(self._state.memory, before)
        sender = self._sender(asked, prepared, before)
        answer, kept = pipeline.contribute(self._plan, prepared.heaviest, asked, common, kept, sender=sender)
        if not np.isfinite(own).all():  # an own model that diverged starts again where it was
            own = private
        self._state = replace(self._state, memory=kept.memory, feedback=kept.feedback, private=own)
        if kept.feedback:
            self._state = replace(self._state, before=before, pending=asked.exchange)
        return self._answer(answer)

    def _feedback(self, asked: AskTraining) -> tuple[Memory, ...]:
        """What the codecs owe: an answer that the server says did not enter the model has taken nothing with it."""
        lost = asked.settled < self._state.pending
        return self._state.before if lost else self._state.feedback

    def _sender(self, asked: AskTraining, prepared: Prepared, feedback: tuple[Memory, ...]) -> Sender | None:
        if prepared.coder is None or self._state.held is None:
            return None
        coding = prepared.coder.coding(self._state.held, asked.link)
        return Sender(coding, feedback, stream(self._seed, "codec", self._state.index, asked.round))

    def _choose(self, ask: Model, data: LocalData, prepared: Prepared, engine: Engine | None) -> Model:
        """The ask with the one model in it that fits this client's training rows; where it belongs is kept in its memory."""
        if engine is None:
            raise LocalProtocolError("choosing a model needs an engine")
        models, held = clusters.each(self._plan.algorithm, ask.parameters), self._state.memory
        if held.size and not isinstance(ask, AskTraining):  # measured is what was trained, after a restart too
            return replace(ask, parameters=clusters.again(self._plan.algorithm, models, held))
        rows, using = clusters.sample(data.prepared("train", prepared)), engine
        told = ask.broadcast if isinstance(ask, AskTraining) else EMPTY
        by_type = getattr(self._plan.algorithm, "by_type", False)
        kind = clusters.commonest(data.typed("train")[2]) if by_type else -1
        view = clusters.View(models, told, rows, lambda w: row_losses(using, w, rows), held, kind)
        fitting, memory = clusters.place(self._plan.algorithm, view)
        self._state = replace(self._state, memory=memory)
        return replace(ask, parameters=fitting)

    def _job(self, ask: AskTraining, data: LocalData, prepared: Prepared) -> Job:
        rows = data.prepared("train", prepared)
        if self._plan.model.unsupervised and self._plan.labels.benign is not None:
            rows = pipeline.only(rows, self._plan.labels.benign)
        if self._plan.training.exposure and self._plan.labels.benign is not None:
            invented = stream(self._seed, "exposure", self._state.index, ask.round)
            rows = expose(rows, self._plan.labels.benign, self._plan.training.exposure, invented)
        correction = self._plan.algorithm.correct(self._state.memory, ask.broadcast)
        base = Job(
            client=self._state.index,
            rows=rows,
            batches=stream(self._seed, "batches", self._state.index, ask.round),
            start=ask.parameters,
            proximal=correction.proximal,
            correction=correction.gradient,
            class_weights=prepared.class_weights,
            offset=label_offset(self._plan, prepared, rows.y),
            contrast=correction.contrast,
        )
        self._base, self._legs = base, []
        return self._plan.personal.job(0, base, self._state.private, prepared.layout, ())

    def _prepare(self, ask: Model) -> tuple[Model, Prepared]:
        """The ask with the whole model in it, and what the statistics say."""
        totals, prepared = ask.preparation, self._prepared
        if ask.packed:
            totals = unpack_counts(ask.packed, self._plan.statistics)
            ask = replace(ask, packed=b"")
        if totals is not None and (self._state.totals is None or not np.array_equal(totals, self._state.totals)):
            try:
                prepared = prepare(self._plan, totals)
            except ValueError as error:
                raise RemoteProtocolError(f"the federation's statistics do not fit the schema: {error}") from error
        if prepared is None:
            raise RemoteProtocolError("the server has not sent the federation's statistics yet")
        held = self._state.held
        if prepared.coder is not None:
            held = prepared.coder.follow(held, ask.model)
            if isinstance(ask, AskTraining):
                prepared.coder.coding(held, ask.link)
            ask = replace(ask, parameters=held.model, model=b"")
        self._fits(ask, prepared)
        self._state = replace(self._state, held=held, totals=self._state.totals if totals is None else totals)
        self._prepared = prepared
        return ask, prepared

    def _fits(self, ask: Model, prepared: Prepared) -> None:
        d = prepared.layout.size * clusters.models_of(self._plan.algorithm)
        due: dict[str, tuple[F32 | F64, tuple[int, ...]]] = {"parameters": (ask.parameters, (d,))}
        if isinstance(ask, AskTraining):
            due["broadcast"] = (ask.broadcast, self._plan.algorithm.broadcast(EMPTY, d).shape)
            due["reach"] = (ask.reach, (len(self._plan.algorithm.parts(d)) if self._plan.protected else 0,))
        if isinstance(ask, AskMeasures) and ask.errors.size:
            due["errors"] = (ask.errors, (measure.error_size(len(prepared.preprocessor.names)),))
        for name, (vector, shape) in due.items():
            if vector.shape != shape or not np.isfinite(vector).all():
                raise RemoteProtocolError(f"the server's {name} {vector.shape} should be {shape} finite numbers")

    def _answer(self, answer: Reply) -> Reply:
        self._asked = self._base = None
        if isinstance(answer, Answer) and not answer.update.size and self._plan.packs:
            answer = pack_answer(answer.exchange, answer.counts)
        coded, last = (answer, None) if isinstance(answer, Coded) else (None, answer)
        self._state = replace(self._state, answered=answer.exchange, last=last, coded=coded)
        return answer
