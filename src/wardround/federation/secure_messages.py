"""Messages of an exchange whose answers are summed by layer 2; tags 0x5201 to 0x520F.

    server -> member   AskOffer                     -> EpochOffer     (when an epoch begins)
    server -> client   SecureAsk                    -> SecureAnswer   (its one message, keys of a new epoch included)
    server -> member   AskMember around a question  -> MemberAnswer   (share batch, proposal, certificates, beacon)

The server starts every exchange and each message has one reply; what layer 2 itself says is in secagg/messages.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from wardround.arrays import F32, F64
from wardround.federation.messages import Ask, AskAhead, AskKept, AskStatistics, AskTraining
from wardround.secagg import labels
from wardround.secagg.messages import (
    ContactsChecked,
    Contribution,
    EpochContacts,
    EpochInvitation,
    EpochKeys,
    RoundStart,
)
from wardround.secagg.transcript import digest
from wardround.wire import encode, message


@message(0x5201)
@dataclass(frozen=True)
class SecureAsk:
    """``ask``: the encoded message of federation/messages.py; ``invitation``: to a client that is not in the epoch yet."""

    ask: bytes
    start: RoundStart
    invitation: EpochInvitation | None


@message(0x5202)
@dataclass(frozen=True)
class SecureAnswer:
    """``keys``: in answer to an invitation."""

    keys: EpochKeys | None
    contribution: Contribution


@message(0x5203)
@dataclass(frozen=True)
class AskOffer:
    """To a committee member: offer a fresh key for this epoch."""

    epoch: int


@message(0x5204)
@dataclass(frozen=True)
class AskMember:
    """A ``question`` (encoded ``ToMember``); before it the epoch's offers and clients, where the member does not know them."""

    invitation: EpochInvitation | None
    contacts: EpochContacts | None
    question: bytes


@message(0x5205)
@dataclass(frozen=True)
class MemberAnswer:
    """The encoded ``FromMember``, and what came of the contacts."""

    contacts: ContactsChecked | None
    answer: bytes


def about(ask: Ask, model: F32, totals: F64 | None) -> bytes:
    """The digest that binds a round to what was asked: its numbers with the whole ``model``, however that was sent, and the
    statistics ``totals`` they rest on.
    """
    known = b"" if totals is None else totals.astype("<f8").tobytes()
    if isinstance(ask, AskAhead | AskKept):  # what was trained, and from which model, was said to each gateway before
        return digest(labels.SECAGG_ABOUT, encode(ask), known)
    bare: Ask = ask
    if not isinstance(ask, AskStatistics):
        bare = replace(ask, preparation=None, parameters=model, model=b"", packed=b"")
        if isinstance(bare, AskTraining):
            bare = replace(bare, link=0, settled=0)
    return digest(labels.SECAGG_ABOUT, encode(bare), known)
