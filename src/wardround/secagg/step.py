"""What a machine of secure aggregation answers: messages to send and when to be woken.

A reply goes to whoever asked and is a plain message; only the server speaks first, so only its machine has steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Send:
    """One message to many: ``clients`` by name, ``members`` of the committee by number; the driver encodes it once."""

    message: Any
    clients: tuple[str, ...] = ()
    members: tuple[int, ...] = ()


@dataclass(frozen=True)
class Step:
    """``wake``: time (the driver's clock, seconds) at which ``expire`` must be called; None: nothing is awaited."""

    send: tuple[Send, ...] = ()
    wake: float | None = None
    done: bool = False
