"""What a machine of this room answers: bytes to send, when to be woken, and the session once it stands."""

from __future__ import annotations

from dataclasses import dataclass

from wardround.auth.session import Session


@dataclass(frozen=True)
class Step:
    """One answer to one call.

    Attributes:
        send: bytes for the peer whose message was given; None: nothing is sent (a refusal never is).
        wake: time (the driver's clock, seconds) at which ``expire`` must be called; None: nothing is awaited.
        done: the session, in the one step that established it.
    """

    send: bytes | None = None
    wake: float | None = None
    done: Session | None = None
