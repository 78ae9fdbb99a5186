"""The server's side of an exchange under the lattice sum: epochs, asks, the committee's turns, and what was opened.

    turn          messages                                  goes on when
    OFFERS        AskOffer to every member                  all have offered (only where an epoch begins)
    CLIENTS       SecureAsk to the invited gateways         all have sent, or time is up with enough of them
    CHECKING ...  AskMember to the members, one turn per    secagg/server.py: VOTING, BEACON, PARTITION, OPENING
                  state of layer 2's server

Laws: the server's machine is given cohort sums and never an answer; a round that cannot be opened is given up with a note and
the next exchange begins; a round number is used once, for it is stored before it is sent; from VOTING on a restart goes on
where the committee stood, before it the gateways' replies are read again (they are the same bytes) and, once a set went to the
committee, of that set only: a turn never says two things to one peer.
An epoch begins with the first exchange, every ``EPOCH_ROUNDS`` rounds, and after a round that the committee did not open, as
soon as all members are there: that heals a member or gateway that lost its keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from wardround.errors import ConfigError, LocalProtocolError, RemoteProtocolError, RoundError
from wardround.events import Event, Note
from wardround.federation.cohorts import CohortSum
from wardround.federation.secure_messages import AskMember, AskOffer, MemberAnswer, SecureAnswer, SecureAsk, about
from wardround.federation.secure_state import Committee, Met, SecureState, Sum
from wardround.federation.server import Server
from wardround.federation.step import Send, Step
from wardround.secagg import descriptor, epoch, keys, transcript
from wardround.secagg import server as layer2
from wardround.secagg.messages import (
    EpochContacts,
    EpochInvitation,
    EpochKeys,
    EpochOffer,
    RoundStart,
    ShareBatch,
    decode_answer,
)
from wardround.secagg.parameters import MAX_CLIENTS, Lattice
from wardround.secagg.server_state import Opened, Patience
from wardround.secagg.step import Send as LayerSend
from wardround.wire import decode, encode

EPOCH_ROUNDS = 64
SEED_BYTES = 32
ONE_BATCH = Patience(batch=MAX_CLIENTS + 1)
MOST_NAMED = 20  # clients of a cohort that a note lists
OFFERS, CLIENTS = "offers", "clients"
TURNS = (OFFERS, CLIENTS, layer2.CHECKING, layer2.VOTING, layer2.BEACON, layer2.PARTITION, layer2.OPENING)
TURNS_PER_EXCHANGE = 8


@dataclass(frozen=True)
class Secured:
    """What is fixed: the ``[secagg]`` table, the federation's name for this run, who is who, and the server's key."""

    config: Lattice
    session: bytes
    committee: Committee
    signer: keys.Signer
    entropy: keys.Entropy


class SecureDesk:
    """Drives ``server`` over the gateways ``peers`` and the committee."""

    def __init__(self, server: Server, peers: Sequence[str], secured: Secured) -> None:
        self.server, self._peers, self._fixed = server, tuple(peers), secured
        self._seats = {peer: number for number, peer in enumerate(secured.committee.peers, start=1)}
        self._kept = SecureState(b"", 0, 0, None, (), (), (), OFFERS, failed=False, sum=None)
        self._sum: layer2.Server | None = None

    def to_bytes(self) -> bytes:
        """Everything; the contributions themselves from VOTING on."""
        running = self._kept.sum
        if running is not None and self._sum is not None and self._sum.state == layer2.CHECKING:
            running = replace(running, closed=self._sum.received)
        elif running is not None and self._sum is not None and self._sum.state != layer2.COLLECTING:
            running = replace(running, layer=self._sum.to_bytes())
        state = self._kept.turn if running is None or running.layer or self._kept.turn == OFFERS else CLIENTS
        return encode(replace(self._kept, server=self.server.to_bytes(), sum=running, turn=state))

    def restore(self, kept: SecureState) -> None:
        """Go on from ``to_bytes``; the server's machine was made from ``kept.server``."""
        self._kept, self._sum = kept, None
        if kept.sum is not None and kept.sum.start is not None:
            self._sum = self._layer(kept.sum)
            if kept.sum.layer:
                self._sum.restore(kept.sum.layer)

    # --- what a driver sees (desk.py) ---

    @property
    def turn(self) -> int:
        return TURNS_PER_EXCHANGE * self.server.exchange + TURNS.index(self._kept.turn)

    @property
    def committee(self) -> bool:
        return self._kept.turn != CLIENTS

    @property
    def open(self) -> bool:
        return self.server.open

    @property
    def waiting(self) -> frozenset[str]:
        if not self.open:
            return frozenset()
        if self._kept.turn == OFFERS:
            offered = {offer.member for offer in self._kept.offers}
            return frozenset(peer for peer, number in self._seats.items() if number not in offered)
        if self._sum is None:
            return frozenset()
        if self._kept.turn == CLIENTS:
            return frozenset(self._sum.missing)
        awaited = set(self._sum.awaited)
        return frozenset(peer for peer, number in self._seats.items() if number in awaited)

    def due(self, peer: str, turn: int) -> bool:
        return turn == self.turn and peer in self.waiting

    def lacking(self, present: frozenset[str]) -> str:
        here = sum(peer in present for peer in self._seats)
        needed = len(self._seats) if self._kept.invitation is None else self._quorum
        if here >= needed:
            return ""
        why = "to agree on keys" if self._kept.invitation is None else "to open a sum"
        return f"{here} of the committee's {needed} members that are needed {why} are here"

    def begin(self, now: float, present: frozenset[str], patience: float) -> Step[Any]:
        step = self.server.begin(now, tuple(peer for peer in self._peers if peer in present), patience)
        invited = tuple(peer for send in step.send for peer in send.peers)
        away = tuple(number for peer, number in self._seats.items() if peer not in present)
        self._sum, secret = None, self._fixed.entropy(SEED_BYTES)
        self._kept = replace(self._kept, sum=Sum(invited, away, secret, None))
        stale = self._kept.invitation is None or self._kept.failed or self._kept.number >= EPOCH_ROUNDS
        if stale and not away:
            # from here on members forget the old keys one by one: the old epoch is over, whatever comes of the new one
            self._kept = replace(
                self._kept,
                epoch=self._kept.epoch + 1,
                number=0,
                invitation=None,
                offers=(),
                agreed=(),
                met=(),
                turn=OFFERS,
            )
            return self.repeat()
        return self._ask_clients(now)

    def repeat(self) -> Step[Any]:
        kept = self._kept
        if kept.turn == OFFERS:
            peers = tuple(peer for peer in self._fixed.committee.peers if peer in self.waiting)
            return Step((Send(peers, AskOffer(kept.epoch)),))
        if self._sum is None or kept.sum is None or kept.sum.start is None:
            raise LocalProtocolError("repeat() without an open exchange")
        if kept.turn == CLIENTS:
            return Step(self._asks(self._sum.missing))
        return Step(self._to_members(self._sum.resume(0.0).send))

    def receive(self, peer: str, body: bytes, now: float) -> Step[Any]:
        if self._kept.turn == OFFERS:
            return self._offered(peer, decode(body, EpochOffer), now)
        if self._sum is None:
            raise LocalProtocolError("receive() without an open exchange")
        if self._kept.turn == CLIENTS:
            return self._contributed(peer, decode(body, SecureAnswer), now)
        return self._answered(peer, decode(body, MemberAnswer), now)

    def expire(self, now: float) -> Step[Any]:
        if self._kept.turn == OFFERS:
            silent = ", ".join(sorted(self.waiting))
            return self._give_up(f"{silent} did not offer a key, and an epoch needs all", now)
        if self._sum is None or self._kept.sum is None:
            raise LocalProtocolError("expire() without an open exchange")
        if self._kept.turn == CLIENTS and self._kept.sum.closed:
            return self._give_up("after a restart a contribution that the committee has seen did not come again", now)
        try:
            return self._went_on(self._sum.expire(math.inf).send, now)
        except RoundError as error:
            return self._give_up(str(error), now)

    # --- turns ---

    @property
    def _quorum(self) -> int:
        return self._fixed.committee.shape.quorum

    def _offered(self, peer: str, offer: EpochOffer, now: float) -> Step[Any]:
        if self._seats.get(peer) != offer.member or offer.epoch != self._kept.epoch:
            raise RemoteProtocolError(f"{peer} offers a key of another seat or epoch")
        public = self._fixed.committee.roster.members[offer.member - 1]
        keys.verify(public, transcript.offer_digest(offer.epoch, offer.member, offer.public), offer.signature)
        others = tuple(one for one in self._kept.offers if one.member != offer.member)
        self._kept = replace(self._kept, offers=tuple(sorted((*others, offer), key=lambda one: one.member)))
        if self.waiting:
            return Step()
        self._kept = replace(self._kept, invitation=EpochInvitation(self._kept.offers), offers=(), failed=False)
        return self._ask_clients(now)

    def _ask_clients(self, now: float) -> Step[Any]:
        running, invitation = self._kept.sum, self._kept.invitation
        if running is None or invitation is None:
            raise LocalProtocolError("clients are asked inside an epoch only")
        if self._kept.number >= epoch.SKIP:
            return self._give_up("the epoch's keys are used up, and not all members are here for a new one", now)
        try:
            start = self._describe(len(running.invited), invitation)
            inside = {one.client for one in self._kept.agreed}
            strangers = tuple(peer for peer in running.invited if peer not in inside)
            running = replace(running, start=start, strangers=strangers)
            self._kept = replace(self._kept, number=self._kept.number + 1, turn=CLIENTS, sum=running)
            self._sum = self._layer(running)
        except (ConfigError, RoundError) as error:
            return self._give_up(str(error), now)
        return Step(self._asks(running.invited))

    def _describe(self, clients: int, invitation: EpochInvitation) -> RoundStart:
        update, counts = self.server.sizes
        (first, *_) = self.server.repeat().send
        wish = descriptor.Wish(
            session=self._fixed.session,
            epoch=self._kept.epoch,
            number=self._kept.number,
            clients=clients,
            cohort=self.server.cohort,
            update_values=update,
            counts_values=counts,
            offers=transcript.offers_digest(invitation.offers),
            roster=transcript.roster_digest(self._fixed.committee.roster),
            model=about(first.message, self.server.parameters, self.server.totals),
            codec=self.server.codec,
        )
        described = descriptor.describe(self._fixed.config, wish)
        return RoundStart(described, self._fixed.signer.sign(transcript.round_id(described)))

    def _layer(self, running: Sum) -> layer2.Server:
        if running.start is None:
            raise LocalProtocolError("a sum without a descriptor")
        made = layer2.Server(
            running.start,
            running.closed or running.invited,
            self._fixed.committee.roster,
            running.entropy,
            patience=ONE_BATCH,
            away=running.away,
        )
        made.begin(0.0)
        return made

    def _asks(self, peers: Sequence[str]) -> tuple[Send[SecureAsk], ...]:
        """The exchange's asks for ``peers``: who was not in the epoch when it began is invited with the same message."""
        running = self._kept.sum
        if running is None or running.start is None:
            raise LocalProtocolError("clients are asked once the sum is described")
        sends = []
        for send in self.server.repeat().send:
            ask = encode(send.message)
            for invitation in (None, self._kept.invitation):
                to = [p for p in send.peers if p in peers and (p in running.strangers) == (invitation is not None)]
                if to:
                    sends.append(Send(tuple(to), SecureAsk(ask, running.start, invitation)))
        return tuple(sends)

    def _contributed(self, peer: str, answer: SecureAnswer, now: float) -> Step[Any]:
        if self._sum is None or answer.contribution.client != peer:
            raise RemoteProtocolError(f"{peer} sends a contribution of {answer.contribution.client}")
        known = any(one.client == peer for one in self._kept.agreed)
        if answer.keys is not None and not known:
            self._check_keys(peer, answer.keys)
        elif not known:
            raise RemoteProtocolError(f"{peer} sends no keys for the epoch it was invited to")
        try:
            step = self._sum.contribution(answer.contribution, 0.0)
        except RoundError as error:  # with the last contribution the set was closed, and is too small
            return self._give_up(str(error), now)
        if answer.keys is not None and not known:
            self._kept = replace(self._kept, agreed=(*self._kept.agreed, answer.keys))
        return self._went_on(step.send, now)

    def _check_keys(self, peer: str, agreed: EpochKeys) -> None:
        if agreed.client != peer or agreed.epoch != self._kept.epoch or len(agreed.encapsulations) != len(self._seats):
            raise RemoteProtocolError(f"{peer} sends keys of another client, epoch or committee")
        public = next(entry.key for entry in self._fixed.committee.roster.clients if entry.client == peer)
        digests = tuple(transcript.encapsulation_digest(one) for one in agreed.encapsulations)
        keys.verify(public, transcript.keys_digest(agreed.epoch, peer, digests), agreed.signature)

    def _answered(self, peer: str, answer: MemberAnswer, now: float) -> Step[Any]:
        said, number = decode_answer(answer.answer), self._seats.get(peer)
        if self._sum is None or number is None or said.member != number:
            raise RemoteProtocolError(f"{peer} answers for another member")
        try:
            step = self._sum.answer(said, 0.0)
        except RoundError as error:
            return self._give_up(str(error), now)
        if answer.contacts is not None and self._kept.turn == layer2.CHECKING:
            refused = {refusal.client for refusal in answer.contacts.refused}
            names = tuple(one.client for one in self._kept.agreed if one.client not in refused)
            others = tuple(met for met in self._kept.met if met.member != number)
            self._kept = replace(self._kept, met=(*others, Met(number, names)))
        return self._went_on(step.send, now)

    def _went_on(self, sends: Sequence[LayerSend], now: float) -> Step[Any]:
        """Where layer 2's server stands after a step: the same turn, a new one, or the end."""
        if self._sum is None:
            raise LocalProtocolError("no sum is running")
        if self._sum.result is not None:
            return self._close(self._sum.result, now)
        if not sends:
            return Step()
        self._kept = replace(self._kept, turn=self._sum.state)
        return Step(self._to_members(sends))

    def _to_members(self, sends: Sequence[LayerSend]) -> tuple[Send[AskMember], ...]:
        out = []
        for send in sends:
            question = encode(send.message)
            if not isinstance(send.message, ShareBatch):
                peers = tuple(self._fixed.committee.peers[number - 1] for number in send.members)
                out.append(Send(peers, AskMember(None, None, question)))
                continue
            for number in send.members:
                peer = self._fixed.committee.peers[number - 1]
                out.append(Send((peer,), self._introduced(number, question)))
        return tuple(out)

    def _introduced(self, number: int, question: bytes) -> AskMember:
        """The question, with the clients (and, the first time, the offers) of the epoch that the member has not met."""
        met = next((met for met in self._kept.met if met.member == number), None)
        strangers = [one for one in self._kept.agreed if met is None or one.client not in met.clients]
        contacts = tuple(epoch.contact(one, number) for one in strangers)
        return AskMember(
            invitation=self._kept.invitation if met is None else None,
            contacts=EpochContacts(self._kept.epoch, contacts) if contacts else None,
            question=question,
        )

    # --- the end ---

    def _close(self, opened: Opened, now: float) -> Step[Any]:
        rows = [row for row in opened.cohorts if row.plausible]
        peers = [peer for row in rows for peer in row.clients]
        events: list[Event] = [
            *(Note("secagg.client", f"{client} was left out: {why}") for client, why in opened.refused.items()),
            *(
                Note("secagg.member", f"{self._fixed.committee.peers[member - 1]}: {why}")
                for member, why in opened.faulty.items()
                if why != layer2.AWAY
            ),
        ]
        spoilt = [row.clients for row in opened.cohorts if not row.plausible]
        events += [Note("secagg.implausible", implausible(members)) for members in spoilt]
        try:
            self.server.opened(peers, [CohortSum(len(row.clients), row.update, row.counts) for row in rows], spoilt)
        except RemoteProtocolError as error:
            events.append(Note("secagg.failed", f"the opened sum cannot be used: {error}"))
        self._kept, self._sum = replace(self._kept, sum=None, turn=OFFERS), None
        return Step(events=(*events, *self.server.expire(now).events), done=True)

    def _give_up(self, why: str, now: float) -> Step[Any]:
        self._kept, self._sum = replace(self._kept, sum=None, turn=OFFERS, offers=(), failed=True), None
        note = Note("secagg.failed", f"the secure sum was given up: {why}")
        return Step(events=(note, *self.server.expire(now).events), done=True)


def implausible(members: Sequence[str]) -> str:
    """What the log says of a cohort whose sum cannot be of honest clients."""
    shown = ", ".join(members) if len(members) <= MOST_NAMED else f"{len(members)} clients"
    return f"the sum of {shown} cannot be of honest gateways: left out"
