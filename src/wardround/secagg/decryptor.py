"""A committee member across rounds and epochs (one round: decryptor_round.py).

    input                                              effect
    offer(epoch)                                       a fresh KEM key, signed; the old epoch's keys are erased
    EpochContacts                                      one chain per client whose signature holds
    ShareBatch of a round with a higher number         that round begins; what was kept of an older one is erased
    any other message of the current round             the round's machine answers
    a message answered before, byte for byte the same  the stored answer, byte for byte the same

Laws: a round number is served once, so there is one vote per round id, never a second; the keys of passed rounds are
gone; ``restore(to_bytes())`` goes on exactly there. The driver keeps ``to_bytes`` *before* it sends an answer: a member
that forgot its vote could vote twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wardround.errors import LocalProtocolError, RemoteProtocolError
from wardround.secagg import descriptor, epoch, keys, labels, transcript
from wardround.secagg.decryptor_round import MemberRound, MemberRoundState
from wardround.secagg.messages import (
    ContactsChecked,
    EpochContacts,
    EpochInvitation,
    EpochOffer,
    FromMember,
    Refusal,
    Roster,
    RoundStart,
    ShareBatch,
    ToMember,
    decode_answer,
    decode_question,
)
from wardround.secagg.parameters import PRESETS, Lattice
from wardround.wire import decode, encode, message


@message(0x5053)
@dataclass(frozen=True)
class Contact:
    """The chain shared with one client."""

    client: str
    chain: epoch.Ratchet


@message(0x5054)
@dataclass(frozen=True)
class Answered:
    """The last message that changed something, by its digest, and its answer."""

    digest: bytes
    answer: bytes


@message(0x5055)
@dataclass(frozen=True, eq=False)
class DecryptorState:
    """What a member keeps. Secret: seed, chains and shares."""

    offer: EpochOffer | None
    offers: bytes
    seed: bytes = field(repr=False)
    contacts: tuple[Contact, ...]
    floor: int
    round: MemberRoundState | None
    last: Answered

    def __repr__(self) -> str:
        return f"DecryptorState(floor={self.floor})"


class Decryptor:
    """Member ``number`` (1..C). ``signer`` is its long-term ML-DSA-65 key; ``roster`` comes from the registrar."""

    def __init__(self, number: int, signer: keys.Signer, roster: Roster, config: Lattice, session: bytes) -> None:
        if len(roster.members) != PRESETS[config.committee].members or not 1 <= number <= len(roster.members):
            wanted = PRESETS[config.committee].members
            raise LocalProtocolError(
                f"member {number} of {len(roster.members)} on the roster; the committee has {wanted}"
            )
        self.number, self._signer, self._roster, self._config, self._session = number, signer, roster, config, session
        self._keys = {entry.client: entry.key for entry in roster.clients}
        self._roster_digest = transcript.roster_digest(roster)
        self._offer: EpochOffer | None = None
        self._offers, self._seed, self._floor = b"", b"", -1
        self._contacts: dict[str, epoch.Ratchet] = {}
        self._round: MemberRound | None = None
        self._last = Answered(b"", b"")

    @property
    def state(self) -> str:
        """Where the current round stands; ``idle`` without one."""
        return "idle" if self._round is None else self._round.state

    def to_bytes(self) -> bytes:
        """The state, to be kept as a secret."""
        contacts = tuple(Contact(client, chain) for client, chain in self._contacts.items())
        kept = None if self._round is None else self._round.keep()
        return encode(DecryptorState(self._offer, self._offers, self._seed, contacts, self._floor, kept, self._last))

    def restore(self, data: bytes) -> None:
        """Go on from ``to_bytes``.

        Raises:
            DecodeError: not a member's state.
        """
        kept = decode(data, DecryptorState)
        self._offer, self._offers, self._seed, self._floor, self._last = (
            kept.offer,
            kept.offers,
            kept.seed,
            kept.floor,
            kept.last,
        )
        self._contacts = {contact.client: contact.chain for contact in kept.contacts}
        self._round = None
        if kept.round is not None:
            self._round = self._new_round(transcript.round_id(kept.round.start.descriptor), kept.round.start)
            self._round.resume(kept.round)

    def offer(self, number: int, entropy: bytes) -> EpochOffer:
        """A fresh key for epoch ``number`` from 32 secret bytes; everything of the old epoch is erased.

        Raises:
            LocalProtocolError: the epoch is not newer than the current one.
        """
        if self._offer is not None and number <= self._offer.epoch:
            raise LocalProtocolError(f"epoch {number} is not newer than {self._offer.epoch}")
        public = keys.kem_key(entropy).public
        signature = self._signer.sign(transcript.offer_digest(number, self.number, public))
        self._offer, self._seed, self._offers = EpochOffer(number, self.number, public, signature), entropy, b""
        self._contacts, self._floor, self._round = {}, -1, None
        return self._offer

    def committee(self, invitation: EpochInvitation) -> None:
        """Learn the other members' offers: rounds of the epoch must name exactly these.

        Raises:
            RemoteProtocolError: an offer is missing or forged, or this member's own is not among them.
        """
        epoch.check_offers(invitation.offers, self._roster.members)
        if self._offer is None or invitation.offers[self.number - 1] != self._offer:
            raise RemoteProtocolError("the committee's offers do not hold this member's own")
        self._offers = transcript.offers_digest(invitation.offers)

    def meet(self, contacts: EpochContacts) -> ContactsChecked:
        """Accept clients' keys for the epoch; a client is met once per epoch.

        Raises:
            RemoteProtocolError: not the current epoch.
        """
        if self._offer is None or contacts.epoch != self._offer.epoch:
            raise RemoteProtocolError(f"epoch {contacts.epoch} is not the one this member offered a key for")
        secret, refused = keys.kem_key(self._seed), []
        for met in contacts.contacts:
            try:
                if met.client not in self._keys:
                    raise RemoteProtocolError("not on the roster")
                if met.client not in self._contacts:
                    self._contacts[met.client] = epoch.accept(self._offer, secret, met, self._keys[met.client])
            except RemoteProtocolError as error:
                refused.append(Refusal(met.client, str(error)))
        return ContactsChecked(contacts.epoch, self.number, tuple(refused))

    def receive(self, received: ToMember) -> FromMember:
        """The answer to a message of the server.

        Raises:
            RemoteProtocolError: the message is not allowed or is refused; nothing has changed then.
        """
        if isinstance(received, ShareBatch):
            current = self._enter(received)
            return current.receive(received, self._take)
        digest = transcript.digest(labels.SECAGG_CHECKED, encode(received))
        if digest == self._last.digest:
            return decode_answer(self._last.answer)
        if self._round is None or self._round.identity != received.round:
            raise RemoteProtocolError(f"member {self.number} is not in that round")
        answer = self._round.receive(received, self._take)
        self._last = Answered(digest, encode(answer))
        return answer

    def receive_bytes(self, data: bytes) -> bytes:
        """``receive`` for a driver that carries bytes.

        Raises:
            DecodeError: not a message to a member.
        """
        return encode(self.receive(decode_question(data)))

    def _enter(self, batch: ShareBatch) -> MemberRound:
        """The round of the batch: the current one, or a new one with a higher number than any before."""
        if self._round is not None and self._round.start.descriptor == batch.start.descriptor:
            return self._round
        if self._offer is None or not self._offers:
            raise RemoteProtocolError(f"member {self.number} is in no epoch yet")
        wish = descriptor.Wish(self._session, self._offer.epoch, 0, 0, 0, 0, 0, self._offers, self._roster_digest)
        identity = descriptor.check(self._config, batch.start, self._roster.server, wish)
        number = batch.start.descriptor.number
        if number <= self._floor:
            raise RemoteProtocolError(f"round number {number} was served: there is one vote per round, never a second")
        if self._round is not None:
            self._round.forget()
        self._floor, self._round = number, self._new_round(identity, batch.start)
        return self._round

    def _new_round(self, identity: bytes, start: RoundStart) -> MemberRound:
        return MemberRound(self.number, identity, start, self._roster.members, self._signer)

    def _take(self, client: str) -> bytes:
        """The client's key of the current round, once."""
        chain = self._contacts.get(client)
        if chain is None or self._round is None:
            raise RemoteProtocolError("no key of this epoch")
        key, self._contacts[client] = chain.take(self._round.start.descriptor.number, self._round.identity)
        return key
