"""The one event stream: what happens in a run, as frozen values.

Outputs are returned, telemetry is emitted: nothing decides anything from an event. The progress bar, the JSONL run
log and the report's timeline are functions of this stream (drivers/sinks), so a log can be replayed.
Law: ``from_record(to_record(e)) == e``. No event ever holds a secret, a feature row or one client's update.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from wardround.errors import DataError


@dataclass(frozen=True)
class RunStarted:
    """A run begins or, with ``resumed_round`` > 0, goes on after that round."""

    run: str
    experiment: str
    seed: int
    clients: int
    rounds: int
    parameters: int
    resumed_round: int = 0


@dataclass(frozen=True)
class StageStarted:
    """Long work begins; ``total`` steps are expected (0: unknown)."""

    stage: str
    text: str
    total: int = 0


@dataclass(frozen=True)
class StageProgress:
    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class StageDone:
    stage: str
    seconds: float


@dataclass(frozen=True)
class ColumnDropped:
    """A column of the data is not used as a feature, and why."""

    column: str
    reason: str


@dataclass(frozen=True)
class Note:
    """Something the reader of the log should know; ``code`` is stable."""

    code: str
    text: str


@dataclass(frozen=True)
class RoundDone:
    """One training round was aggregated from the clients that answered."""

    round: int
    invited: int
    answered: int
    offline: int
    dropped: int
    late: int
    refused: int
    loss: float
    update_norm: float
    bytes_up: int
    bytes_down: int
    seconds: float


@dataclass(frozen=True)
class RoundFailed:
    """Too few clients answered: the model stays as it was and the next round begins."""

    round: int
    invited: int
    answered: int
    needed: int
    reason: str


@dataclass(frozen=True)
class Measured:
    """The model after ``round``, on the clients' validation rows (as the server may know it) or on the test rows
    (as only the experimenter knows it). ``commonest``: share of the rows that are called the commonest predicted class;
    ``commonest_label``: share of the commonest true one (0: not measured).
    """

    round: int
    part: str
    macro_f1: float
    balanced_accuracy: float
    roc_auc: float
    commonest: float = 0.0
    commonest_label: float = 0.0


@dataclass(frozen=True)
class AlarmsCounted:
    """What the finished model's threshold did to test rows (as only the experimenter knows them): of ``all`` of them, of one
    ``type`` of device, or of one ``site``. ``psi``: stability index of its benign scores (NaN: too few rows).
    """

    group: str
    name: str
    benign: int
    false_alarms: int
    attacks: int
    found: int
    psi: float


@dataclass(frozen=True)
class RowsJudged:
    """The rows a rule saw in a round: their two principal components ``x`` and ``y``, ``weights`` in the result (empty for
    rules that decide per coordinate), ``sizes`` (clients in each), and which were ``refused`` before the rule, with reasons.
    """

    round: int
    x: tuple[float, ...]
    y: tuple[float, ...]
    weights: tuple[float, ...]
    sizes: tuple[int, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True)
class TrustSeen:
    """What group testing says after a round, by client in the federation's order: ``posterior`` of being hostile, trust
    ``score`` (0 to 1) and ``states``.
    """

    round: int
    posterior: tuple[float, ...]
    score: tuple[float, ...]
    states: tuple[str, ...]


@dataclass(frozen=True)
class TrustMoved:
    """A client's standing changed, and why."""

    round: int
    peer: str
    before: str
    after: str
    why: str


@dataclass(frozen=True)
class CheckpointSaved:
    round: int


@dataclass(frozen=True)
class RunDone:
    run: str
    rounds: int
    macro_f1: float
    seconds: float


@dataclass(frozen=True)
class RunStopped:
    """Ctrl-C or SIGTERM: the run was left at a checkpoint and can be resumed."""

    run: str
    round: int


Event: TypeAlias = (
    RunStarted
    | StageStarted
    | StageProgress
    | StageDone
    | ColumnDropped
    | Note
    | RoundDone
    | RoundFailed
    | Measured
    | AlarmsCounted
    | RowsJudged
    | TrustSeen
    | TrustMoved
    | CheckpointSaved
    | RunDone
    | RunStopped
)
Emit: TypeAlias = Callable[[Event], None]

KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in typing.get_args(Event)}


def to_record(event: Event) -> dict[str, Any]:
    """The event as one JSON object: its kind under ``event``, then its fields."""
    return {"event": type(event).__name__, **dataclasses.asdict(event)}


def from_record(record: Mapping[str, Any]) -> Event:
    """The event in a JSON object of a run log.

    Raises:
        DataError: the kind is unknown or a field is missing or unknown.
    """
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    kind = KINDS.get(str(values.pop("event", "")))
    values.pop("time", None)
    if kind is None:
        raise DataError(f"unknown event kind {record.get('event')!r}")
    try:
        return kind(**values)
    except TypeError as error:
        raise DataError(f"event {kind.__name__}: {error}") from error


def ignore(event: Event) -> None:
    """An ``Emit`` that keeps nothing."""
    del event
