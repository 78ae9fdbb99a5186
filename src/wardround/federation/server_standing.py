"""What the server's machine holds, and what can be asked of it: state, sizes that are due, checks of an answer.

The machine itself, with its transition table, is server.py. Nothing here starts, closes or moves anything.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np

from wardround.aggregate.rules import Context
from wardround.arrays import F32, F64
from wardround.auth.trust import Verdict
from wardround.compress.chain import Coding, LinearCoding
from wardround.compress.downlink import Announced
from wardround.errors import LocalProtocolError, RemoteProtocolError
from wardround.federation import announce, clusters, coding, measure, pipeline, reach
from wardround.federation.algorithms import EMPTY
from wardround.federation.coding import Coded, Coder
from wardround.federation.messages import Answer, Reply
from wardround.federation.participation import Participation
from wardround.federation.pipeline import Carried
from wardround.federation.plan import Plan, Prepared, prepare
from wardround.federation.root import RootRows, RootView
from wardround.federation.server_state import Exchange, Outcome, Phase, ServerState, fresh
from wardround.federation.trust import TrustState
from wardround.rng import stream
from wardround.wire import decode, encode


class Standing:
    """State of the server's machine and read-only views of it."""

    def __init__(
        self, plan: Plan, participation: Participation, peers: tuple[str, ...], seed: int, state: ServerState
    ) -> None:
        self._plan, self._policy, self._peers, self._seed = plan, participation, peers, seed
        self._state = replace(state, open=None)
        self._open = Exchange(state.open) if state.open else None
        self._prepared: Prepared | None = prepare(plan, state.totals) if state.totals.size else None
        self._confirmed = set(state.prepared)
        self._held: RootRows | None = None
        self._root: RootView | None = None
        self._verdicts: tuple[tuple[str, Verdict], ...] = ()
        self._known: tuple[int, Context] | None = None
        self._trouble = "before the restart"  # why set-up failed last, for the error's text only
        self._reached = announce.Reached(peers, (state.versions, state.settled, state.links), plan.compress)

    @classmethod
    def new(cls, plan: Plan, participation: Participation, peers: tuple[str, ...], seed: int) -> Self:
        """A server before its first exchange."""
        state = fresh(Phase.STATISTICS.value, plan.optimiser.init(0))
        return cls(plan, participation, peers, seed, state)

    @classmethod
    def from_bytes(
        cls, plan: Plan, participation: Participation, peers: tuple[str, ...], seed: int, data: bytes
    ) -> Self:
        """The machine as ``to_bytes`` left it.

        Raises:
            DecodeError: the bytes are no server state.
        """
        return cls(plan, participation, peers, seed, decode(data, ServerState))

    def to_bytes(self) -> bytes:
        confirmed = tuple(p for p in self._peers if p in self._confirmed)
        opened = self._open.to_wire() if self._open else None
        reached = self._reached
        state = replace(self._state, versions=reached.versions(), settled=reached.settled(), links=reached.links.keep())
        return encode(replace(state, prepared=confirmed, open=opened))

    @property
    def phase(self) -> Phase:
        return Phase(self._state.phase)

    @property
    def round(self) -> int:
        """Training rounds finished or given up."""
        return self._state.round

    @property
    def exchange(self) -> int:
        """Number of the exchange begun last; 0: none yet."""
        return self._state.exchange

    @property
    def waiting(self) -> frozenset[str]:
        """Peers whose answer to the open exchange is still due; empty where none is open."""
        return frozenset(self._open.waiting) if self._open else frozenset()

    @property
    def open(self) -> bool:
        """Is an exchange open?"""
        return self._open is not None

    def due(self, peer: str, exchange: int) -> bool:
        """Is an answer of ``peer`` to ``exchange`` still of use?"""
        return exchange == self._state.exchange and peer in self.waiting

    def link(self, peer: str) -> int:
        """The number of the peer's class of link, counted from 1; 0: none of them."""
        return self._reached.link(peer)

    def measured(self, peer: str, size: int, claimed: float, waited: float) -> None:
        """A driver's word on a link: ``size`` bytes of ``peer`` took ``claimed`` of ``waited`` seconds (links.py)."""
        self._reached.links.measured(peer, size, claimed, waited)

    def settled(self, peer: str) -> int:
        """The exchange whose coded answer of ``peer`` entered the model last; 0: none, or nobody keeps error feedback."""
        return self._reached.settled_of(peer)

    @property
    def sizes(self) -> tuple[int, int]:
        """Values in an answer to the open exchange: (update, counts)."""
        return self._update_size(), self._expected_counts()

    @property
    def cohort(self) -> int:
        """The least cohort of the open exchange; 0: one sum."""
        return self._plan.schedule.cohort_size if self.phase is Phase.TRAINING else 0

    @property
    def totals(self) -> F64 | None:
        """The summed statistics, once they are known."""
        return self._state.totals if self._state.totals.size else None

    @property
    def parameters(self) -> F32:
        """The current model [d], with codecs the announced one, which is what gateways hold; empty before set-up."""
        held = self.announced
        return self._state.parameters if held is None else held.model

    @property
    def announced(self) -> Announced | None:
        """The announced model with what everyone knows of its past; None without codecs, or before set-up."""
        return self._state.ledger.announced if self._state.ledger else None

    @property
    def carried(self) -> Carried:
        """What goes on from round to round beside the model."""
        return self._state.carried

    @property
    def common(self) -> F32:
        """The one model [d] for those who cannot choose among several (clusters.py); else ``parameters``."""
        return clusters.common(self._plan.algorithm, self.parameters, self._state.carried.algorithm)

    @property
    def prepared(self) -> Prepared | None:
        return self._prepared

    @property
    def errors(self) -> F64:
        """Summed error moments of an autoencoder; empty before the first."""
        return self._state.errors

    @property
    def measures(self) -> F64:
        """Summed counts of the newest measurement (measure.read); empty before the first."""
        return self._state.measures

    def hold(self, root: RootRows) -> None:
        """Give the server its root rows; after a restart again."""
        self._held = root

    def context(self) -> Context:
        """What the rule may ask beside the rows in the round that is open; made once per round.

        Raises:
            LocalProtocolError: the rule needs a root set and the driver gave none.
        """
        s, plan = self._state, self._plan
        if self._known is not None and self._known[0] == s.exchange:
            return self._known[1]
        rng = stream(self._seed, "rule", s.round)
        if self._held is None or self._prepared is None:
            if plan.rule.needs:
                raise LocalProtocolError(f"rule {plan.rule.name} needs a root set: the driver must hold() its rows")
            return Context(rng=rng)
        if self._root is None or self._root.prepared is not self._prepared:
            self._root = self._held.view(plan, self._prepared, self._seed)
        broadcast = plan.algorithm.broadcast(s.carried.algorithm, s.parameters.size)
        context = self._root.context(self.parameters, s.round, broadcast, rng)  # what clients train from
        self._known = (s.exchange, context)
        return context

    def outcome(self) -> Outcome:
        """The kept model.

        Raises:
            LocalProtocolError: the federation is not over.
        """
        s = self._state
        if self.phase is not Phase.DONE:
            raise LocalProtocolError(f"the federation is in phase {s.phase}, there is no outcome yet")
        if self._plan.schedule.keep == "best" and s.best_round:
            return self._result(s.best_round, s.best_parameters, s.best_errors, s.best_measures)
        return self._result(s.round, self.parameters, s.errors, s.measures)

    def _result(self, round_: int, parameters: F32, errors: F64, measures: F64) -> Outcome:
        s, algorithm = self._state, self._plan.algorithm
        one = clusters.common(algorithm, parameters, s.carried.algorithm)
        return Outcome(
            round_, one, s.totals, errors, measures, clusters.each(algorithm, parameters), s.carried.algorithm
        )

    @property
    def verdicts(self) -> tuple[tuple[str, Verdict], ...]:
        """What the last round said about clients, for the registry of devices (auth/)."""
        return self._verdicts

    @property
    def trust(self) -> TrustState | None:
        """What trust has gathered; None before the first round that was watched."""
        return self._state.trust

    @property
    def codec(self) -> bytes:
        """What a secure sum is bound to: the public data and chains that choose the coordinates; empty without codecs."""
        held = self.announced
        return b"" if held is None or self._coder is None else self._coder.digest(held)

    @property
    def _coder(self) -> Coder | None:
        return self._prepared.coder if self._prepared else None

    def _opened(self, peer: str, answer: Reply) -> Answer:
        """The answer with its update as it was sent, where it comes coded."""
        held, coder = self.announced, self._coder
        due = self._plan.packs
        if isinstance(answer, Coded) is not due:
            raise RemoteProtocolError(
                f"{peer} sent {type(answer).__name__}, which is not how this exchange is answered"
            )
        if isinstance(answer, Answer):
            return answer
        if self.phase is not Phase.TRAINING:
            return Answer(answer.exchange, EMPTY, coding.unpack_answer(answer, self._expected_counts()))
        assert coder is not None, "a coded answer is due"
        assert held is not None, "a coded answer is due"
        used = coder.coding(held, self._reached.link(peer))
        assert isinstance(used, Coding), "an open sum takes bytes"
        said, code = coding.unpack(answer)
        size = self._update_size()
        update = coding.decode_block(self._parts(), code, used) if said[0] else np.zeros(size, dtype=np.float32)
        return Answer(answer.exchange, update, coding.counts_of(said, self._expected_counts()))

    def _check(self, peer: str, answer: Answer, clients: int = 1) -> None:
        update = self._update_size()
        counts = self._expected_counts()
        if answer.update.shape != (update,) or answer.counts.ndim != 1 or counts not in (-1, answer.counts.size):
            raise RemoteProtocolError(
                f"{peer} sent {answer.update.shape} update and {answer.counts.shape} counts, ({update},) and ({counts},) are due",
            )
        if not (np.isfinite(answer.update).all() and np.isfinite(answer.counts).all()):
            raise RemoteProtocolError(f"{peer} sent numbers that are not finite")
        heaviest = self._prepared.heaviest if self._prepared else 0
        if self.phase is Phase.TRAINING and not 0 <= answer.counts[0] <= heaviest * clients:
            raise RemoteProtocolError(f"{peer} claims weight {answer.counts[0]:g}, at most {heaviest} is allowed")

    def _parts(self) -> tuple[reach.Part, ...]:
        return self._plan.algorithm.parts(self._state.parameters.size)

    def _sent(self) -> tuple[reach.Part, ...]:
        """The parts as they enter the sum: under a secure sum with codecs, numbers on the shared support."""
        shared = self._shared()
        return self._parts() if shared is None else coding.numbers(self._parts(), shared)

    def _shared(self) -> LinearCoding | None:
        held, coder = self.announced, self._coder
        return coder.linear(held) if coder is not None and held is not None and self._plan.protected else None

    def _support(self) -> LinearCoding | None:
        """Where sums are open: the coordinates that clients of the default class choose from, as all of them know."""
        held, coder = self.announced, self._coder
        if coder is None or held is None or self._plan.protected:
            return None
        used = coder.coding(held)
        return used.linear if isinstance(used, Coding) else used

    def _update_size(self) -> int:
        return sum(part.size for part in self._sent()) if self.phase is Phase.TRAINING else 0

    def _expected_counts(self) -> int:
        if self.phase is Phase.STATISTICS:
            return self._plan.statistics
        if self.phase is Phase.TRAINING:
            return pipeline.count_training(self._parts())
        if self.phase is Phase.ERRORS:
            return measure.error_size(len(self._prepared.preprocessor.names)) if self._prepared else -1
        return measure.size(self._plan)

    def _holds(self) -> bool:
        return self.phase is Phase.TRAINING and self._plan.schedule.cohort_size > 0
