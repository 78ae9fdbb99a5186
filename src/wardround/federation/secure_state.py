"""What the server's side of secure sums holds (secure_server.py), and the committee as the file names it."""

from __future__ import annotations

from dataclasses import dataclass

from wardround.secagg import parameters
from wardround.secagg.messages import EpochInvitation, EpochKeys, EpochOffer, Roster, RoundStart
from wardround.wire import message


@dataclass(frozen=True, eq=False)
class Committee:
    """``peers``: the members' names on the transport, number 1 first; ``roster``: everybody's verification keys."""

    peers: tuple[str, ...]
    roster: Roster
    shape: parameters.Committee


@message(0x5208)
@dataclass(frozen=True)
class Met:
    """The clients of the epoch that a member has accepted."""

    member: int
    clients: tuple[str, ...]


@message(0x5209)
@dataclass(frozen=True)
class Sum:
    """The open sum.

    ``start``: its descriptor, once clients are asked; ``strangers``: who of them is invited to the epoch; ``closed``: whose
    contributions went to the committee; ``layer``: layer 2's server, from VOTING on.
    """

    invited: tuple[str, ...]
    away: tuple[int, ...]
    entropy: bytes
    start: RoundStart | None
    strangers: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    layer: bytes = b""

    def __repr__(self) -> str:
        return f"Sum({len(self.invited)} invited)"


@message(0x520A)
@dataclass(frozen=True, eq=False)
class SecureState:
    """``server``: the round's machine; ``number``: the next round of the epoch; ``failed``: the last one was not opened."""

    server: bytes
    epoch: int
    number: int
    invitation: EpochInvitation | None
    offers: tuple[EpochOffer, ...]
    agreed: tuple[EpochKeys, ...]
    met: tuple[Met, ...]
    turn: str
    failed: bool
    sum: Sum | None
