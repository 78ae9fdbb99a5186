"""The server's machine: starts every exchange, adds answers to cohort sums, makes the next model.

Sans-IO: ``now`` is an argument, messages go out in a ``Step``. The driver loop is

    step = server.begin(now, reachable)            # an exchange opens: one message to the invited
    step = server.receive(peer, answer, now)       # for each answer; step.done when all have answered
    step = server.expire(now)                      # at step.wake: the deadline; goes on with who is there

until ``server.phase`` is DONE. ``to_bytes``/``from_bytes`` hold the whole machine, in the middle of an exchange too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from wardround.arrays import F32, F64
from wardround.auth.trust import Turn
from wardround.compress.downlink import update_for
from wardround.compress.pack import pack_counts
from wardround.errors import LocalProtocolError, RemoteProtocolError, RoundError, UsageError
from wardround.events import Event, Measured, Note, RoundFailed, TrustMoved
from wardround.federation import clusters, cohorts, measure, pipeline, privacy, reach, trust
from wardround.federation.algorithms import EMPTY
from wardround.federation.cohorts import CohortSum
from wardround.federation.messages import Answer, Ask, AskErrors, AskMeasures, AskStatistics, AskTraining, Model, Reply
from wardround.federation.pipeline import Moment
from wardround.federation.plan import prepare
from wardround.federation.rowview import rows_judged
from wardround.federation.server_standing import Standing
from wardround.federation.server_state import Exchange, OpenExchange, Phase, round_done
from wardround.federation.step import Send, Step
from wardround.rng import stream

__all__ = ["TRANSITIONS", "Phase", "Server"]

# what happens when an exchange closes: "due" a measurement is due, "short" too few answered, "over" no round is left
TRANSITIONS: dict[Phase, dict[str, Phase]] = {
    Phase.STATISTICS: {"enough": Phase.TRAINING, "short": Phase.STATISTICS},
    Phase.TRAINING: {
        "enough": Phase.TRAINING,
        "short": Phase.TRAINING,
        "due": Phase.MEASURES,
        "due errors": Phase.ERRORS,
    },
    Phase.ERRORS: {"enough": Phase.MEASURES, "short": Phase.MEASURES},
    Phase.MEASURES: {"enough": Phase.TRAINING, "short": Phase.TRAINING, "over": Phase.DONE},
    Phase.DONE: {},
}


class Server(Standing):
    """The coordinator's part in the round."""

    def begin(self, now: float, reachable: Sequence[str], patience: float = 60.0) -> Step[Ask]:
        """Open the next exchange with ``reachable`` peers; wait ``patience`` seconds.

        Raises:
            LocalProtocolError: an exchange is open, or the federation is over.
            RoundError: set-up failed as often as the plan allows.
        """
        if self._open is not None or self.phase is Phase.DONE:
            raise LocalProtocolError(f"begin() in phase {self._state.phase}, open: {self._open is not None}")
        if self._state.failures > self._plan.schedule.retries:
            raise RoundError(f"set-up failed {self._state.failures} times, the last time: {self._trouble}")
        self._state = replace(self._state, exchange=self._state.exchange + 1)
        invited = self._trusted(reachable) if self.phase is not Phase.TRAINING else ()
        if self.phase is Phase.TRAINING:
            self._state = replace(self._state, round=self._state.round + 1)
            reachable = self._trusted(reachable)
            due = self._reached.due(reachable, self._state.round, self._coder, self._policy.minimum)
            invited = self._policy.invite(due, self._seed, self._state.round)
        self._open = Exchange(OpenExchange(now + patience, now, invited))
        return Step(send=self._asks(invited), wake=now + patience)

    def overrule(self, peer: str, turn: Turn) -> TrustMoved:
        """An operator's decision about one client; it holds from the next exchange on.

        Raises:
            UsageError: there is no such client, or its standing has no such turn.
        """
        if peer not in self._peers:
            raise UsageError(f"no client is named {peer!r}")
        at, state = self._peers.index(peer), self._state.trust or trust.begin(len(self._peers))
        after = trust.overrule(self._plan.trust, state, at, turn)
        self._state = replace(self._state, trust=after)
        return TrustMoved(self.round, peer, state.standings[at].state, after.standings[at].state, turn.value)

    def repeat(self) -> Step[Ask]:
        """The open exchange's messages once more, to those who have not answered: after a restart, or when one may be lost.

        Raises:
            LocalProtocolError: no exchange is open.
        """
        if self._open is None:
            raise LocalProtocolError("repeat() without an open exchange")
        silent = tuple(peer for peer in self._open.invited if peer in self._open.waiting)
        return Step(send=self._asks(silent), wake=self._open.deadline)

    def forget(self, peers: Iterable[str]) -> None:
        """These peers may have lost their memory: their next message says everything again."""
        self._confirmed.difference_update(peers)
        self._reached.forget(peers)

    def receive(self, peer: str, answer: Reply, now: float) -> Step[Ask]:
        """One client's answer.

        Raises:
            RemoteProtocolError: an unknown or uninvited peer, a second answer, another exchange, a wrong shape, numbers
                that are not finite, a weight that the policy does not allow; nothing changes.
        """
        del now
        opened = self._open
        if opened is None or answer.exchange != self._state.exchange:
            raise RemoteProtocolError(f"{peer} answers exchange {answer.exchange}, which is not open")
        if peer not in opened.waiting:
            why = "answered already" if peer in opened.invited else "was not invited"
            raise RemoteProtocolError(f"{peer} {why} (exchange {answer.exchange})")
        answer = self._opened(peer, answer)
        self._check(peer, answer)
        self._confirmed.add(peer)
        self._reached.holds(peer, self.announced)
        opened.waiting.discard(peer)
        opened.answered.append(peer)
        if self._holds():
            opened.held.append(answer)
        else:
            opened.total = cohorts.add(opened.total or cohorts.empty(answer.update.size, answer.counts.size), answer)
        return Step(done=not opened.waiting, wake=opened.deadline)

    def opened(self, peers: Sequence[str], sums: Sequence[CohortSum], spoilt: Sequence[Sequence[str]] = ()) -> None:
        """In the place of single answers: what a secure sum opened over the answers of ``peers``; ``spoilt``: the members of
        cohorts whose sum cannot be of honest clients.

        Raises:
            LocalProtocolError: no exchange is open.
            RemoteProtocolError: a sum has a wrong shape, numbers that are not finite, or an impossible weight.
        """
        opened = self._open
        if opened is None:
            raise LocalProtocolError("opened() without an open exchange")
        for row in sums:
            answer = Answer(self._state.exchange, row.update.astype(np.float32), row.counts)
            self._check(f"a cohort of {row.clients}", answer, row.clients)
        opened.answered, opened.sums, opened.spoilt = list(peers), tuple(sums), tuple(map(tuple, spoilt))
        opened.waiting -= set(peers)
        self._confirmed.update(peers)
        for peer in peers:
            self._reached.holds(peer, self.announced)

    def expire(self, now: float) -> Step[Ask]:
        """Close the exchange with who is there; the events say what became of it.

        Raises:
            LocalProtocolError: no exchange is open.
        """
        opened, self._open = self._open, None
        if opened is None:
            raise LocalProtocolError("expire() without an open exchange")
        self._confirmed.difference_update(self._reached.missed(opened.waiting))
        enough = len(opened.answered) >= self._policy.minimum
        sums = self._sums(opened) if enough else []
        trained = self.phase is Phase.TRAINING
        events = _CLOSERS[self.phase](self, opened, sums, now)
        if trained:
            events += [Note("link.class", moved.text) for moved in self._reached.links.choose()]
        return Step(events=tuple(events), done=self.phase is Phase.DONE)

    def _asks(self, invited: tuple[str, ...]) -> tuple[Send[Ask], ...]:
        """One message to those who confirmed the statistics, one with the statistics to the others."""
        s = self._state
        fresh = tuple(p for p in invited if p not in self._confirmed)
        known = tuple(p for p in invited if p in self._confirmed)
        if self.phase is Phase.STATISTICS:
            return (Send(invited, AskStatistics(self._state.exchange, self._plan.schema.id)),)
        groups = ((known, None), (fresh, self._state.totals))
        if s.ledger is None:
            return tuple(Send(peers, self._ask(totals, s.parameters)) for peers, totals in groups if peers)
        return tuple(
            Send(same, self._said(self._ask(None, EMPTY, update_for(s.ledger, version), link), packed, settled))
            for peers, packed in ((known, b""), (fresh, pack_counts(s.totals) if fresh else b""))
            for (version, link, settled), same in self._reached.groups(peers)
        )

    @staticmethod
    def _said(ask: Ask, packed: bytes, settled: int) -> Ask:
        """With codecs: the statistics as they travel, and which answer entered the model."""
        ask = replace(cast("Model", ask), packed=packed)
        return replace(ask, settled=settled) if isinstance(ask, AskTraining) else ask

    def _ask(self, totals: F64 | None, parameters: F32, model: bytes = b"", link: int = 0) -> Ask:
        s, schema = self._state, self._plan.schema.id
        if self.phase is Phase.TRAINING:
            broadcast = self._plan.algorithm.broadcast(s.carried.algorithm, s.parameters.size)
            reached = s.carried.reach
            return AskTraining(s.exchange, s.round, schema, parameters, broadcast, reached, totals, model, link)
        if self.phase is Phase.ERRORS:
            return AskErrors(s.exchange, s.round, schema, parameters, totals, model)
        return AskMeasures(s.exchange, s.round, schema, parameters, s.errors, totals, model)

    def _sums(self, opened: Exchange) -> list[CohortSum]:
        if opened.sums:
            return list(opened.sums)
        if opened.total is not None:
            return [opened.total]
        return cohorts.sums(opened.held, self._plan.schedule.cohort_size, self._seed, self._state.exchange)

    def _move(self, outcome: str) -> None:
        self._state = replace(self._state, phase=TRANSITIONS[self.phase][outcome].value)

    def _close_statistics(self, opened: Exchange, sums: list[CohortSum], now: float) -> list[Event]:
        del now
        if not sums:
            return self._again(
                f"{len(opened.answered)} of {len(opened.invited)} clients answered set-up, {self._policy.minimum} must"
            )
        totals = sums[0].counts
        try:
            self._prepared = prepare(self._plan, totals)
        except ValueError as error:  # nobody who answered has rows, or all rows are alike: others may answer next time
            return self._again(str(error))
        inputs = len(self._prepared.preprocessor.names)
        streams = [("init",), *(("init", k) for k in range(1, clusters.models_of(self._plan.algorithm)))]
        drawn = [self._plan.model.init(inputs, self._plan.classes, stream(self._seed, *name)) for name in streams]
        parameters = clusters.begin(self._plan.algorithm, drawn)
        ledger = self._coder.start(parameters) if self._coder else None
        self._state = replace(self._state, totals=totals, parameters=parameters, ledger=ledger)
        carried = replace(
            self._state.carried,
            optimiser=self._plan.optimiser.init(parameters.size),
            reach=self._first_reach(),
        )
        self._state = replace(self._state, carried=carried)
        self._confirmed.clear()  # they answered set-up, but nobody has the totals yet
        self._move("enough")
        return [
            Note(
                "setup.done",
                f"statistics of {sums[0].clients} clients: {inputs} model inputs, {parameters.size} parameters",
            )
        ]

    def _first_reach(self) -> F32:
        if self._plan.privacy.on:
            return privacy.reach(self._sent(), self._plan.privacy.norm)
        return reach.first(self._sent()) if self._plan.protected else EMPTY

    def _again(self, why: str) -> list[Event]:
        self._state, self._trouble = replace(self._state, failures=self._state.failures + 1), why
        self._move("short")
        return [Note("setup.short", f"{why}: again")]

    def _close_training(self, opened: Exchange, sums: list[CohortSum], now: float) -> list[Event]:
        s, self._verdicts = self._state, ()
        try:
            done = self._combined(opened, sums)
            ledger = s.ledger
            if ledger is not None and self._coder is not None:
                ledger = self._coder.advance(ledger, done.parameters, stream(self._seed, "down", s.round))
            if self._coder is not None and self._coder.remembers:
                self._reached.settle(opened.answered, s.exchange)
            self._state = replace(s, parameters=done.parameters, carried=done.carried, ledger=ledger)
            events: list[Event] = [round_done(s.round, opened, done, now), *self._judged(opened, sums, done)]
        except RoundError as error:
            events = [RoundFailed(s.round, len(opened.invited), len(opened.answered), self._policy.minimum, str(error))]
        self._move(self._after_round(bool(sums)))
        return events

    def _trusted(self, reachable: Sequence[str]) -> tuple[str, ...]:
        """Who of ``reachable`` may be invited, as trust stands."""
        state, training = self._state.trust, self.phase is Phase.TRAINING
        if state is None:
            return tuple(reachable)
        return trust.trusted(state, self._peers, reachable, self.round if training else 0, self._policy.minimum)

    def _judged(self, opened: Exchange, sums: list[CohortSum], done: pipeline.Combined) -> tuple[Event, ...]:
        """The round's rows for people, and what trust makes of them."""
        events: tuple[Event, ...] = rows_judged(self.round, done.rows, tuple(row.clients for row in sums), done.mean)
        watch = self._plan.trust
        if not watch.watch or len(sums) + len(opened.spoilt) < 2:
            return events
        cohort = trust.membership(self._peers, [*self._cohorts(opened, sums), *opened.spoilt])
        state = self._state.trust or trust.begin(len(self._peers))
        shown = trust.Round(self.round, self._peers, cohort, done.rows, done.reference, len(opened.spoilt))
        found = trust.review(watch, state, shown)
        self._state, self._verdicts = replace(self._state, trust=found.state), found.verdicts
        return (*events, *found.events)

    def _cohorts(self, opened: Exchange, sums: list[CohortSum]) -> list[tuple[str, ...]]:
        """The members of each sum: a secure sum lists its peers cohort by cohort, an open one is dealt as ``cohorts`` deals."""
        if not opened.sums:
            size, seed = self._plan.schedule.cohort_size, self._seed
            dealt = cohorts.deal(len(opened.held), size, seed, self._state.exchange)
            return [tuple(opened.answered[at] for at in members) for members in dealt]
        ends = np.cumsum([row.clients for row in sums])
        return [tuple(opened.answered[end - row.clients : end]) for end, row in zip(ends, sums, strict=True)]

    def _combined(self, opened: Exchange, sums: list[CohortSum]) -> pipeline.Combined:
        if not sums:
            raise RoundError("too few clients answered")
        if not sum(row.counts[0] for row in sums) > 0:
            raise RoundError("no answer carries weight")
        assert self._prepared is not None, "rounds come after set-up"
        share = len(opened.answered) / len(self._peers)
        moment = Moment(share, self._prepared.heaviest, self.context(), self._shared(), self._support())
        return pipeline.combine(self._plan, sums, self._state.parameters, self._state.carried, moment)

    def _after_round(self, enough: bool) -> str:
        s, schedule = self._state, self._plan.schedule
        if s.round % schedule.measure_every == 0 or s.round >= schedule.rounds:
            return "due errors" if self._plan.model.unsupervised else "due"
        return "enough" if enough else "short"

    def _close_errors(self, opened: Exchange, sums: list[CohortSum], now: float) -> list[Event]:
        del opened, now
        if sums:
            self._state = replace(self._state, errors=sums[0].counts)
        self._move("enough" if sums else "short")
        return []

    def _close_measures(self, opened: Exchange, sums: list[CohortSum], now: float) -> list[Event]:
        del now
        events: list[Event] = []
        over = self._state.round >= self._plan.schedule.rounds
        if sums:
            events = [self._measured(sums[0].counts)]
        else:
            events = [
                Note(
                    "measure.short", f"round {self._state.round}: {len(opened.answered)} clients answered, not measured"
                )
            ]
        self._move("over" if over else ("enough" if sums else "short"))
        return events

    def _measured(self, total: F64) -> Event:
        s = self._state
        read = measure.read(self._plan, total)
        self._state = replace(s, measures=total)
        score = read.roc_auc if self._plan.model.unsupervised else read.macro_f1
        if score > s.best_score:
            self._state = replace(
                self._state,
                best_round=s.round,
                best_score=score,
                best_parameters=self.parameters,
                best_measures=total,
                best_errors=s.errors,
            )
        scores = (read.macro_f1, read.balanced_accuracy, read.roc_auc, read.commonest, read.commonest_label)
        return Measured(s.round, "validation", *scores)


_CLOSERS = {
    Phase.STATISTICS: Server._close_statistics,
    Phase.TRAINING: Server._close_training,
    Phase.ERRORS: Server._close_errors,
    Phase.MEASURES: Server._close_measures,
}
