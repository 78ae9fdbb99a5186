"""Messages of secure aggregation (docs/protocol/secagg.md); tags 0x5010 to 0x50ff.

    epoch      EpochOffer member -> all · EpochKeys client -> server · EpochContacts server -> member -> ContactsChecked
    round      RoundStart server -> client -> Contribution
    committee  ShareBatch -> Checked · Proposal -> Vote | Declined · Certificate -> BeaconShare | SumShares ·
               BeaconShares -> Vote · Certificate -> SumShares

Every message to a member is answered by exactly one; a repeated message by the same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from wardround.secagg.parameters import Committee, Dithered, Exact
from wardround.wire import decode, encode, message


@message(0x5010)
@dataclass(frozen=True)
class RosterEntry:
    """A client the registrar admitted, and its ML-DSA-65 verification key."""

    client: str
    key: bytes


@message(0x5011)
@dataclass(frozen=True)
class Roster:
    """Who may take part: clients, committee members (verification keys, number 1 first) and the server's key.

    The registrar, which is not the server, issues it; its digest is bound into every round.
    """

    clients: tuple[RosterEntry, ...]
    members: tuple[bytes, ...]
    server: bytes

    @cached_property
    def hash(self) -> bytes:
        """SHA3-256 of the encoding, computed once: a roster of thousands has megabytes."""
        return hashlib.sha3_256(encode(self)).digest()


@message(0x5012)
@dataclass(frozen=True)
class EpochOffer:
    """A member's fresh hybrid KEM key for one epoch, signed with its ML-DSA-65 key."""

    epoch: int
    member: int
    public: bytes
    signature: bytes


@message(0x5013)
@dataclass(frozen=True)
class EpochInvitation:
    """All members' offers, as the server relays them to a client."""

    offers: tuple[EpochOffer, ...]


@message(0x5014)
@dataclass(frozen=True)
class EpochKeys:
    """One encapsulation per member, signed by the client over the digests of all of them."""

    epoch: int
    client: str
    encapsulations: tuple[bytes, ...]
    signature: bytes


@message(0x5015)
@dataclass(frozen=True)
class EpochContact:
    """What one member needs of ``EpochKeys``: its own encapsulation and the digests of all."""

    client: str
    digests: tuple[bytes, ...]
    encapsulation: bytes
    signature: bytes


@message(0x5016)
@dataclass(frozen=True)
class EpochContacts:
    epoch: int
    contacts: tuple[EpochContact, ...]


@message(0x5017)
@dataclass(frozen=True)
class Refusal:
    """A client a member does not accept, and why (one of a few fixed texts)."""

    client: str
    reason: str


@message(0x5018)
@dataclass(frozen=True)
class ContactsChecked:
    epoch: int
    member: int
    refused: tuple[Refusal, ...]


@message(0x5020)
@dataclass(frozen=True)
class Descriptor:
    """Everything a round's parties must agree on; its hash is the round id and is bound into every message.

    ``number`` counts the rounds of an epoch (each at most once); ``model``, ``codec``: digests of the model that was sent
    out and of the codec with its public seed; ``cohort`` = 0: one sum over all.
    """

    session: bytes
    epoch: int
    number: int
    suite: int
    n: int
    update: Dithered | None
    counts: Exact | None
    update_values: int
    counts_values: int
    clip: float
    count_bits: int
    count_fraction: int
    clients: int
    minimum: int
    cohort: int
    committee: Committee
    offers: bytes
    roster: bytes
    model: bytes
    codec: bytes

    @property
    def smallest(self) -> int:
        """Fewest clients whose sum is ever opened."""
        return max(self.minimum, self.cohort)


@message(0x5021)
@dataclass(frozen=True)
class RoundStart:
    """The descriptor and the server's signature over the round id."""

    descriptor: Descriptor
    signature: bytes


@message(0x5022)
@dataclass(frozen=True)
class Contribution:
    """A client's only message of a round.

    ``sealed``: per member an AEAD of its letter (crypto/sharing.py: a seed, or its opening); ``proof`` is room for a proof that
    the values are in range, checked by the server's ``Verifier`` hook. Version 1 claims no such proof: it is empty.
    """

    round: bytes
    client: str
    update: bytes
    counts: bytes
    commitments: tuple[bytes, ...]
    low_degree: bytes
    sealed: tuple[bytes, ...]
    proof: bytes


@message(0x5030)
@dataclass(frozen=True)
class SharePacket:
    """What one member gets of a contribution: the digest of its ciphertexts instead of them."""

    client: str
    ciphertexts: bytes
    commitments: tuple[bytes, ...]
    low_degree: bytes
    sealed: bytes


@message(0x5031)
@dataclass(frozen=True)
class ShareBatch:
    """Contributions as they come in; members check them while others still upload."""

    start: RoundStart
    batch: int
    packets: tuple[SharePacket, ...]


@message(0x5032)
@dataclass(frozen=True)
class Checked:
    """A member's verdict on a batch; ``refused`` is empty when every share is good."""

    round: bytes
    member: int
    batch: int
    refused: tuple[Refusal, ...]
    signature: bytes


@message(0x5033)
@dataclass(frozen=True)
class Proposal:
    """The set the server wants opened, names in ascending order."""

    round: bytes
    clients: tuple[str, ...]


@message(0x5034)
@dataclass(frozen=True)
class Vote:
    """A member's signature over a digest: of the set with its contributions, then of the partition into cohorts."""

    round: bytes
    member: int
    digest: bytes
    signature: bytes


@message(0x5035)
@dataclass(frozen=True)
class Declined:
    """A member will not vote for this set: it holds no good share of these clients."""

    round: bytes
    member: int
    clients: tuple[str, ...]


@message(0x5036)
@dataclass(frozen=True)
class Certificate:
    """At least Q votes of different members for one digest."""

    round: bytes
    digest: bytes
    votes: tuple[Vote, ...]


@message(0x5037)
@dataclass(frozen=True)
class BeaconShare:
    """A member's share of the sum of all beacon elements, signed together with the set's digest."""

    round: bytes
    member: int
    share: bytes
    signature: bytes


@message(0x5038)
@dataclass(frozen=True)
class BeaconShares:
    round: bytes
    shares: tuple[BeaconShare, ...]


@message(0x5039)
@dataclass(frozen=True)
class SumShares:
    """A member's share of every cohort's sum of keys, in the order of the partition, signed."""

    round: bytes
    member: int
    sums: tuple[bytes, ...]
    signature: bytes


ToMember: TypeAlias = ShareBatch | Proposal | Certificate | BeaconShares
FromMember: TypeAlias = Checked | Vote | Declined | BeaconShare | SumShares


def decode_question(data: bytes) -> ToMember:
    """A message from the server to a member.

    Raises:
        DecodeError: not one of them.
    """
    found: ToMember = decode(data, ShareBatch, Proposal, Certificate, BeaconShares)  # type: ignore[assignment]
    return found


def decode_answer(data: bytes) -> FromMember:
    """A member's answer.

    Raises:
        DecodeError: not one of them.
    """
    found: FromMember = decode(data, Checked, Vote, Declined, BeaconShare, SumShares)  # type: ignore[assignment]
    return found
