"""What the server's machine holds: the state that must survive a restart, and the exchange that is open.

Law: ``Exchange(e).to_wire() == e`` for every exchange in flight.
What it does not do: decide anything (server.py).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from wardround.aggregate.optimise import OptimiserState
from wardround.aggregate.rules import RuleState
from wardround.arrays import F32, F64
from wardround.compress.downlink import Ledger
from wardround.events import RoundDone
from wardround.federation.algorithms import EMPTY
from wardround.federation.cohorts import CohortSum
from wardround.federation.links import Link
from wardround.federation.messages import Answer
from wardround.federation.pipeline import Carried, Combined
from wardround.federation.trust import TrustState
from wardround.wire import message

NOTHING = np.zeros(0)


class Phase(enum.Enum):
    STATISTICS = "statistics"
    TRAINING = "training"
    ERRORS = "errors"
    MEASURES = "measures"
    DONE = "done"


@message(0x4650)
@dataclass(frozen=True, eq=False)
class OpenExchange:
    """An exchange in flight."""

    deadline: float
    opened: float
    invited: tuple[str, ...]
    answered: tuple[str, ...] = ()
    total: CohortSum | None = None
    held: tuple[Answer, ...] = ()
    sums: tuple[CohortSum, ...] = ()


@message(0x4651)
@dataclass(frozen=True, eq=False)
class ServerState:
    """Everything the server must not lose; with codecs also the announced model with its newest differences, which
    version of it each peer holds (-1: not known), the exchange whose answer of each ``settled`` last, and their ``links``, all
    in the peers' order.
    """

    phase: str
    exchange: int
    round: int
    failures: int
    parameters: F32
    carried: Carried
    totals: F64
    errors: F64
    measures: F64
    best_round: int
    best_score: float
    best_parameters: F32
    best_measures: F64
    best_errors: F64
    prepared: tuple[str, ...]
    open: OpenExchange | None
    trust: TrustState | None = None
    ledger: Ledger | None = None
    versions: tuple[int, ...] = ()
    settled: tuple[int, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, eq=False)
class Outcome:
    """The federation's result: the kept model with what is known about it from sums. Where there are several ``models``
    [K, d] (clusters.py), ``parameters`` is the one with the largest share, and ``algorithm`` holds the shares [K].
    """

    round: int
    parameters: F32
    totals: F64
    errors: F64
    measures: F64
    models: F32
    algorithm: F32


class Exchange:
    """The open exchange while answers come in (mutable: ten thousand answers must not copy ten thousand tuples)."""

    def __init__(self, wire: OpenExchange) -> None:
        self.deadline, self.opened, self.invited = wire.deadline, wire.opened, wire.invited
        self.waiting = set(wire.invited) - set(wire.answered)
        self.answered = list(wire.answered)
        self.total = wire.total
        self.held = list(wire.held)
        self.sums = wire.sums
        self.spoilt: tuple[tuple[str, ...], ...] = ()

    def to_wire(self) -> OpenExchange:
        return OpenExchange(
            self.deadline,
            self.opened,
            self.invited,
            tuple(self.answered),
            self.total,
            tuple(self.held),
            self.sums,
        )


def fresh(phase: str, optimiser: OptimiserState) -> ServerState:
    """The state before the first exchange."""
    return ServerState(
        phase=phase,
        exchange=0,
        round=0,
        failures=0,
        parameters=EMPTY,
        carried=Carried(optimiser, RuleState(), EMPTY, EMPTY),
        totals=NOTHING,
        errors=NOTHING,
        measures=NOTHING,
        best_round=0,
        best_score=-1.0,
        best_parameters=EMPTY,
        best_measures=NOTHING,
        best_errors=NOTHING,
        prepared=(),
        open=None,
    )


def round_done(round_: int, opened: Exchange, done: Combined, now: float) -> RoundDone:
    """The event of an aggregated round; a driver fills in what only it knows (bytes, why clients are missing)."""
    return RoundDone(
        round=round_,
        invited=len(opened.invited),
        answered=len(opened.answered),
        offline=0,
        dropped=0,
        late=0,
        refused=len(done.mean.refused),
        loss=done.loss,
        update_norm=done.update_norm,
        bytes_up=0,
        bytes_down=0,
        seconds=now - opened.opened,
    )
