"""One round as a committee member sees it: checks shares, votes once, opens what is certified, forgets.

    state        message         next         answer
    CHECKING     ShareBatch      CHECKING     Checked
    CHECKING     Proposal        VOTED        Vote         (Declined, and still CHECKING, where a share is missing)
    VOTED        Certificate     BEACON       BeaconShare  (several cohorts)
    VOTED        Certificate     OPENED       SumShares    (one sum)
    BEACON       BeaconShares    PARTITIONED  Vote
    PARTITIONED  Certificate     OPENED       SumShares

Laws: one vote for a set and one for a partition; nothing is opened but what a certificate names, and once; below
``smallest`` or above ``clients`` no vote, whatever the server says; after OPENED no share is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from wardround.arrays import I64, U16
from wardround.crypto.decoding import open_singles
from wardround.crypto.sharing import PRIME, Sharing, check, field_array, unfold
from wardround.errors import AuthError, LocalProtocolError, RemoteProtocolError, RoundError
from wardround.secagg import certificate, keys, labels, partition, transcript
from wardround.secagg.messages import (
    BeaconShare,
    BeaconShares,
    Certificate,
    Checked,
    Declined,
    FromMember,
    Proposal,
    Refusal,
    RoundStart,
    ShareBatch,
    SharePacket,
    SumShares,
    ToMember,
    Vote,
)
from wardround.wire import message

CHECKING, VOTED, BEACON, PARTITIONED, OPENED = "checking", "voted", "beacon", "partitioned", "opened"
TRANSITIONS: dict[tuple[str, type], tuple[str, ...]] = {
    (CHECKING, ShareBatch): (CHECKING,),
    (CHECKING, Proposal): (VOTED, CHECKING),
    (VOTED, Certificate): (BEACON, OPENED),
    (BEACON, BeaconShares): (PARTITIONED,),
    (PARTITIONED, Certificate): (OPENED,),
}

TakeKey = Callable[[str], bytes]  # client -> the round's AEAD key, once


@message(0x5051)
@dataclass(frozen=True, eq=False)
class Held:
    """A good share [M], and the leaf of the contribution it belongs to."""

    client: str
    leaf: bytes
    share: U16 = field(repr=False)


@message(0x5052)
@dataclass(frozen=True, eq=False)
class MemberRoundState:
    """What a member keeps of a round. Secret while ``shares`` is not empty."""

    start: RoundStart
    state: str
    shares: tuple[Held, ...]
    refused: tuple[Refusal, ...]
    chosen: tuple[str, ...]
    set_digest: bytes
    cohorts: tuple[tuple[str, ...], ...]
    partition_digest: bytes

    def __repr__(self) -> str:
        return f"MemberRoundState({self.state}, {len(self.shares)} shares)"


@dataclass(eq=False)
class MemberRound:
    """The machine of one round for member ``number``; ``members``: verification keys of the committee."""

    number: int
    identity: bytes
    start: RoundStart
    members: tuple[bytes, ...]
    signer: keys.Signer = field(repr=False)
    state: str = CHECKING
    shares: dict[str, Held] = field(default_factory=dict, repr=False)
    refused: dict[str, str] = field(default_factory=dict)
    chosen: tuple[str, ...] = ()
    set_digest: bytes = b""
    cohorts: tuple[tuple[str, ...], ...] = ()
    partition_digest: bytes = b""

    def keep(self) -> MemberRoundState:
        """What ``resume`` needs."""
        refused = tuple(Refusal(client, reason) for client, reason in self.refused.items())
        return MemberRoundState(
            self.start,
            self.state,
            tuple(self.shares.values()),
            refused,
            self.chosen,
            self.set_digest,
            self.cohorts,
            self.partition_digest,
        )

    def resume(self, kept: MemberRoundState) -> None:
        """Go on from ``keep``."""
        self.state, self.chosen, self.set_digest = kept.state, kept.chosen, kept.set_digest
        self.cohorts, self.partition_digest = kept.cohorts, kept.partition_digest
        self.shares = {held.client: held for held in kept.shares}
        self.refused = {refusal.client: refusal.reason for refusal in kept.refused}

    @property
    def sharing(self) -> Sharing:
        return self.start.descriptor.committee.sharing(self.start.descriptor.n)

    def receive(self, received: ToMember, take: TakeKey) -> FromMember:
        """The answer to a message of the server.

        Raises:
            RemoteProtocolError: not allowed in this state, or refused for what it says; nothing has changed then.
        """
        allowed = TRANSITIONS.get((self.state, type(received)))
        if allowed is None:
            raise RemoteProtocolError(
                f"member {self.number}: {type(received).__name__} is not allowed in state {self.state}"
            )
        before = self.state
        if isinstance(received, ShareBatch):
            answer = self._check(received, take)
        elif isinstance(received, Proposal):
            answer = self._vote(received)
        elif isinstance(received, BeaconShares):
            answer = self._deal(received)
        else:
            answer = self._certified(received)
        if self.state not in allowed:
            raise LocalProtocolError(f"member {self.number} went from {before} to {self.state}")
        return answer

    def _check(self, batch: ShareBatch, take: TakeKey) -> FromMember:
        named: dict[str, str] = {}
        for packet in batch.packets:
            reason = self._judge(packet, take)
            if reason:
                named[packet.client] = reason
        refused = tuple(Refusal(client, named[client]) for client in sorted(named))
        signature = self.signer.sign(transcript.checked_digest(self.identity, batch.batch, sorted(named)))
        return Checked(self.identity, self.number, batch.batch, refused, signature)

    def _judge(self, packet: SharePacket, take: TakeKey) -> str:
        """Why the packet is refused, or nothing: then its share is held. A client is judged once per round."""
        leaf = transcript.leaf(
            transcript.context(self.identity, packet.client, packet.ciphertexts), packet.commitments, packet.low_degree
        )
        held = self.shares.get(packet.client)
        if held is not None:
            return "" if held.leaf == leaf else "a second, different contribution"
        if packet.client not in self.refused:
            try:
                self.shares[packet.client] = self._open(packet, leaf, take)
                return ""
            except (RemoteProtocolError, LocalProtocolError) as error:
                self.refused[packet.client] = str(error)
        return self.refused[packet.client]

    def _open(self, packet: SharePacket, leaf: bytes, take: TakeKey) -> Held:
        key = take(packet.client)
        try:
            letter = keys.open_once(key, packet.sealed, leaf + bytes([self.number]))
        except AuthError as error:
            raise AuthError("the sealed share does not belong to this contribution") from error
        bound = transcript.context(self.identity, packet.client, packet.ciphertexts)
        opening = unfold(self.sharing, self.number, letter)
        share = check(self.sharing, self.number, opening, bound, (packet.commitments, packet.low_degree))
        return Held(packet.client, leaf, share)

    def _vote(self, proposal: Proposal) -> FromMember:
        described, clients = self.start.descriptor, proposal.clients
        if list(clients) != sorted(set(clients)):
            raise RemoteProtocolError("the proposed set is not in ascending order or names a client twice")
        if not described.smallest <= len(clients) <= described.clients:
            raise RemoteProtocolError(
                f"a set of {len(clients)} clients is never opened: {described.smallest} to {described.clients} are"
            )
        missing = tuple(client for client in clients if client not in self.shares)
        if missing:
            return Declined(self.identity, self.number, missing)
        self.chosen = clients
        self.set_digest = transcript.set_digest(self.identity, {client: self.shares[client].leaf for client in clients})
        self.shares = {client: self.shares[client] for client in clients}
        self.state = VOTED
        return Vote(self.identity, self.number, self.set_digest, self.signer.sign(self.set_digest))

    def _certified(self, certified: Certificate) -> FromMember:
        quorum = self.start.descriptor.committee.quorum
        if self.state == PARTITIONED:
            certificate.check(certified, self.partition_digest, self.members, quorum)
            return self._open_sums(self.partition_digest)
        certificate.check(certified, self.set_digest, self.members, quorum)
        if len(partition.deal(self.chosen, self.start.descriptor.cohort, b"")) == 1:
            self.cohorts = (self.chosen,)
            return self._open_sums(self.set_digest)
        self.state = BEACON
        return self._beacon_share()

    def _beacon_share(self) -> BeaconShare:
        share = self._total(self.chosen)[self.sharing.packed_blocks :].astype("<u2").tobytes()
        return BeaconShare(
            self.identity, self.number, share, self.signer.sign(transcript.beacon_digest(self.set_digest, share))
        )

    def _deal(self, received: BeaconShares) -> FromMember:
        beacon = self._beacon(received)
        cohorts = partition.deal(self.chosen, self.start.descriptor.cohort, beacon)
        self.partition_digest = transcript.partition_digest(self.set_digest, beacon, cohorts)
        self.cohorts, self.state = cohorts, PARTITIONED
        return Vote(self.identity, self.number, self.partition_digest, self.signer.sign(self.partition_digest))

    def _beacon(self, received: BeaconShares) -> bytes:
        """The beacon, on which this member's own share must lie: Q such votes hold t + 1 honest points, which fix it."""
        values = beacon_values(received, self.identity, self.set_digest, self.members)
        quorum = self.start.descriptor.committee.quorum
        if len(values) < quorum:
            raise RemoteProtocolError(f"{len(values)} valid beacon shares, {quorum} are needed")
        values[self.number] = self._total(self.chosen)[self.sharing.packed_blocks :]
        try:
            beacon, wrong = open_beacon(self.sharing, values, self.set_digest)
        except RoundError as error:
            raise RemoteProtocolError(f"no beacon: {error}") from error
        if self.number in wrong:
            raise RemoteProtocolError(
                "this member's own share does not lie on the beacon: the others' shares are not honest"
            )
        return beacon

    def _open_sums(self, opened: bytes) -> SumShares:
        packed = self.sharing.packed_blocks
        sums = tuple(self._total(cohort)[:packed].astype("<u2").tobytes() for cohort in self.cohorts)
        self.forget()
        self.state = OPENED
        return SumShares(self.identity, self.number, sums, self.signer.sign(transcript.sums_digest(opened, sums)))

    def forget(self) -> None:
        """Erase the shares (best effort: CPython may have copied them)."""
        for held in self.shares.values():
            held.share.fill(0)
        self.shares = {}

    def _total(self, clients: tuple[str, ...]) -> I64:
        total = np.zeros(self.sharing.blocks, np.int64)
        for client in clients:
            total += self.shares[client].share
        return total % PRIME


def beacon_values(
    received: BeaconShares, identity: bytes, set_digest: bytes, members: tuple[bytes, ...]
) -> dict[int, I64]:
    """{member: its share of the beacon} of all validly signed shares.

    Raises:
        RemoteProtocolError: a member stands there twice, or a share is not signed by its member for this set.
    """
    values: dict[int, I64] = {}
    for share in received.shares:
        if share.round != identity or not 1 <= share.member <= len(members) or share.member in values:
            raise RemoteProtocolError("beacon shares of another round, of nobody, or twice of one member")
        keys.verify(members[share.member - 1], transcript.beacon_digest(set_digest, share.share), share.signature)
        values[share.member] = field_array(share.share)
    return values


def open_beacon(sharing: Sharing, values: Mapping[int, I64], set_digest: bytes) -> tuple[bytes, tuple[int, ...]]:
    """(beacon, members whose share was wrong).

    The combination that locates wrong shares is a hash of all of them, the same on every machine.

    Raises:
        RoundError: the shares contradict each other.
    """
    if any(value.shape != (sharing.singles,) for value in values.values()):
        raise RoundError("a beacon share of the wrong size")
    parts = [bytes([member]) + values[member].astype("<u2").tobytes() for member in sorted(values)]
    seed = transcript.digest(labels.SECAGG_DECODE, set_digest, *parts)
    elements, wrong = open_singles(sharing, values, seed)
    return elements.astype("<u2").tobytes(), wrong
