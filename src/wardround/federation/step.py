"""What a machine answers: messages to send, work to be done, when to be woken, whether it is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from wardround.events import Event

M = TypeVar("M")


@dataclass(frozen=True)
class Send(Generic[M]):
    """One message to many peers: the driver encodes it once."""

    peers: Sequence[str]
    message: M


@dataclass(frozen=True)
class Step(Generic[M]):
    """``wake`` is the time (the driver's clock, seconds) at which ``expire`` must be called; None: nothing is awaited."""

    send: tuple[Send[M], ...] = ()
    wake: float | None = None
    done: bool = False
    events: tuple[Event, ...] = field(default=())
