"""What the server of a round is told, keeps and returns; the machine is in server.py."""

from __future__ import annotations

from dataclasses import dataclass

from wardround.arrays import U64
from wardround.secagg.messages import Refusal, RoundStart
from wardround.secagg.opening import CohortSum, Kept
from wardround.wire import message


@dataclass(frozen=True)
class Patience:
    """How long the server waits: ``collect_s`` for clients, ``answer_s`` for members; ``batch``: contributions per batch."""

    collect_s: float = 60.0
    answer_s: float = 20.0
    batch: int = 32


@dataclass(frozen=True, eq=False)
class Opened:
    """The result: cohort sums, the clients left out and the members named, with reasons."""

    cohorts: tuple[CohortSum, ...]
    refused: dict[str, str]
    faulty: dict[int, str]


@message(0x5061)
@dataclass(frozen=True)
class Judged:
    """A member's verdict on a batch, as the server keeps it."""

    member: int
    batch: int
    refused: tuple[Refusal, ...]


@message(0x5062)
@dataclass(frozen=True)
class Faulty:
    member: int
    reason: str


@message(0x5063)
@dataclass(frozen=True, eq=False)
class ServerState:
    """What the server keeps of a round. Nothing in it is secret but ``entropy``, which picks random combinations."""

    start: RoundStart
    invited: tuple[str, ...]
    state: str
    deadline: float
    entropy: bytes
    kept: tuple[Kept, ...]
    sums: tuple[U64, ...]
    batches: tuple[tuple[str, ...], ...]
    judged: tuple[Judged, ...]
    faulty: tuple[Faulty, ...]
    chosen: tuple[str, ...]
    refused: tuple[Refusal, ...]
    cohorts: tuple[tuple[str, ...], ...]
    opened: bytes
    asked: tuple[int, ...]
    question: bytes
    answers: tuple[bytes, ...]
