"""The server of one round: collects contributions, has a set certified, adds, opens cohort sums. It never sees a key.

    state        leaves for      when
    COLLECTING   CHECKING        every invited client has sent, or the deadline passed with enough of them
    CHECKING     VOTING          every member has judged every batch, or the deadline passed with Q of them
    VOTING       BEACON          Q votes, and all that were asked answered or the deadline passed (several cohorts)
    VOTING       OPENING         the same (one sum)
    BEACON       PARTITION       Q beacon shares, same rule
    PARTITION    OPENING         Q votes for the partition, same rule
    OPENING      DONE            t + ell sum-shares that agree, same rule
    any          FAILED          not enough of them: RoundError, nothing was revealed

Laws: a client is in at most one opened cohort, each contribution counts once; a member that answers wrongly is named and
asked no more; ``restore(to_bytes())`` and ``resume`` go on exactly there. A failed round stays failed: there is no second
vote. What it does not do: authenticate clients (the transport's session does; members do it again by the AEAD).
"""

from __future__ import annotations

from collections.abc import Sequence

from wardround.errors import AuthError, LocalProtocolError, RemoteProtocolError, RoundError
from wardround.secagg import partition, tally, transcript
from wardround.secagg.messages import (
    BeaconShare,
    Certificate,
    Checked,
    Contribution,
    Declined,
    Descriptor,
    FromMember,
    Proposal,
    Refusal,
    Roster,
    RoundStart,
    ShareBatch,
    SumShares,
    ToMember,
    Vote,
    decode_answer,
    decode_question,
)
from wardround.secagg.opening import Vault, Verifier
from wardround.secagg.server_state import Faulty, Judged, Opened, Patience, ServerState
from wardround.secagg.step import Send, Step
from wardround.secagg.tally import Poll
from wardround.secagg.verdicts import Verdicts
from wardround.wire import decode, encode

COLLECTING, CHECKING, VOTING, BEACON = "collecting", "checking", "voting", "beacon"
PARTITION, OPENING, DONE, FAILED = "partition", "opening", "done", "failed"
AWAY = "away when the round began"
TRANSITIONS = {
    COLLECTING: (CHECKING, FAILED),
    CHECKING: (VOTING, FAILED),
    VOTING: (BEACON, OPENING, FAILED),
    BEACON: (PARTITION, FAILED),
    PARTITION: (OPENING, FAILED),
    OPENING: (DONE, FAILED),
}
ANSWERS = {VOTING: Vote, BEACON: BeaconShare, PARTITION: Vote, OPENING: SumShares}


class Server:
    """The machine of one round. ``start`` is the signed descriptor, ``invited`` the clients that may contribute.

    ``entropy``: 32 secret bytes that no member knows; ``verifier`` may refuse a contribution by its ``proof``; members that
    are ``away`` are not asked, so that nobody waits for them.
    """

    def __init__(
        self,
        start: RoundStart,
        invited: Sequence[str],
        roster: Roster,
        entropy: bytes,
        *,
        patience: Patience = Patience(),
        verifier: Verifier | None = None,
        away: Sequence[int] = (),
    ) -> None:
        admitted = {entry.client for entry in roster.clients}
        strangers = [client for client in invited if client not in admitted]
        if strangers:
            raise LocalProtocolError(f"{strangers[0]} is invited but not on the roster")
        if not start.descriptor.smallest <= len(set(invited)) == len(invited) <= start.descriptor.clients:
            raise RoundError(
                f"{len(invited)} clients invited, the round wants {start.descriptor.smallest} to {start.descriptor.clients}"
            )
        self._start, self._invited, self._members = start, tuple(invited), roster.members
        self._expected = frozenset(invited)
        self._entropy, self._patience, self._verifier = entropy, patience, verifier
        self._identity = transcript.round_id(start.descriptor)
        self._about = tally.Round(start.descriptor, self._identity, roster.members)
        self._vault = Vault(start.descriptor, self._identity)
        self._state, self._deadline = COLLECTING, 0.0
        self._waiting: list[str] = []
        self._verdicts = Verdicts()
        self._faulty: dict[int, str] = dict.fromkeys(away, AWAY)
        self._refused: dict[str, str] = {}
        self._chosen: tuple[str, ...] = ()
        self._cohorts: tuple[tuple[str, ...], ...] = ()
        self._opened = b""
        self._poll = Poll()
        self.result: Opened | None = None

    @property
    def state(self) -> str:
        return self._state

    @property
    def identity(self) -> bytes:
        """The round id."""
        return self._identity

    @property
    def descriptor(self) -> Descriptor:
        return self._start.descriptor

    @property
    def received(self) -> tuple[str, ...]:
        """Clients whose contribution is here."""
        return tuple(sorted(self._vault.clients))

    @property
    def missing(self) -> tuple[str, ...]:
        """Invited clients whose contribution is not here."""
        return tuple(client for client in self._invited if client not in self._vault)

    @property
    def awaited(self) -> tuple[int, ...]:
        """Members whose answer is due."""
        if self._state in (COLLECTING, CHECKING):
            return tuple(member for member in self._active() if self._verdicts.missing(member))
        return tuple(m for m in self._poll.asked if m not in self._poll.answers and m not in self._faulty)

    def begin(self, now: float) -> Step:
        """Invite the clients."""
        self._deadline = now + self._patience.collect_s
        return Step((Send(self._start, clients=self._invited),), self._deadline)

    def contribution(self, received: Contribution, now: float) -> Step:
        """A client's message.

        Raises:
            RemoteProtocolError: refused; the round goes on without it.
        """
        if self._state != COLLECTING:
            raise RemoteProtocolError(f"{received.client}: too late for this round")
        if received.client not in self._expected:
            raise RemoteProtocolError(f"{received.client} was not invited")
        if received.proof and self._verifier is None:
            raise RemoteProtocolError(f"{received.client}: a proof that nobody here can check")
        if self._verifier is not None and not self._verifier(received):
            raise RemoteProtocolError(f"{received.client}: the proof does not hold")
        if not self._vault.accept(received):
            return Step(wake=self._deadline)
        self._waiting.append(received.client)
        sends: list[Send] = []
        if len(self._waiting) >= self._patience.batch:
            sends += self._flush()
        return self._go_on(now, expired=False, sends=sends)

    def answer(self, received: FromMember, now: float) -> Step:
        """A member's answer. One that is wrong names the member, which is asked no more; the round goes on.

        Raises:
            RemoteProtocolError: of another round, of nobody, or not signed by that member: refused, nothing has changed.
            RoundError: too few members are left.
        """
        if received.round != self._identity or not 1 <= received.member <= len(self._members):
            raise RemoteProtocolError("an answer of another round or of nobody")
        if received.member in self._faulty or self._state in (DONE, FAILED):
            return Step(wake=self._wake())
        try:
            self._take(received)
        except AuthError:
            raise  # not that member's bytes: it is not to blame
        except RemoteProtocolError as error:
            self._faulty[received.member] = str(error)
        return self._go_on(now, expired=False)

    def expire(self, now: float) -> Step:
        """The deadline: go on with those who answered.

        Raises:
            RoundError: too few; the round is given up.
        """
        if now < self._deadline:
            return Step(wake=self._wake())
        return self._go_on(now, expired=True)

    def resume(self, now: float) -> Step:
        """After ``restore``: ask again whoever has not answered."""
        if self._state == COLLECTING:
            return Step((Send(self._start, clients=self.missing), *self._again()), self._deadline)
        if self._state == CHECKING:
            return Step(self._again(), self._deadline)
        self._deadline = max(self._deadline, now + self._patience.answer_s)
        return Step(self._ask_again(), self._wake())

    def to_bytes(self) -> bytes:
        """The state."""
        kept, sums = self._vault.keep()
        poll = self._poll
        return encode(
            ServerState(
                start=self._start,
                invited=self._invited,
                state=self._state,
                deadline=self._deadline,
                entropy=self._entropy,
                kept=kept,
                sums=sums,
                batches=tuple(self._verdicts.batches),
                judged=tuple(Judged(*key, refused) for key, refused in self._verdicts.judged.items()),
                faulty=tuple(Faulty(member, reason) for member, reason in self._faulty.items()),
                chosen=self._chosen,
                refused=tuple(Refusal(client, reason) for client, reason in self._refused.items()),
                cohorts=self._cohorts,
                opened=self._opened,
                asked=poll.asked,
                question=b"" if poll.question is None else encode(poll.question),
                answers=tuple(encode(answer) for answer in poll.answers.values()),
            )
        )

    def restore(self, data: bytes) -> None:
        """Go on from ``to_bytes`` of a server of the same round.

        Raises:
            DecodeError: not a server's state.
        """
        kept = decode(data, ServerState)
        if kept.start != self._start or kept.invited != self._invited:
            raise LocalProtocolError("this state is of another round")
        self._state, self._deadline, self._entropy = kept.state, kept.deadline, kept.entropy
        self._vault.resume(kept.kept, kept.sums)
        self._verdicts = Verdicts(list(kept.batches), {(item.member, item.batch): item.refused for item in kept.judged})
        batched = {client for batch in kept.batches for client in batch}
        self._waiting = [client for client in self._vault.clients if client not in batched]
        self._faulty = {item.member: item.reason for item in kept.faulty}
        self._refused = {item.client: item.reason for item in kept.refused}
        self._chosen, self._cohorts, self._opened = kept.chosen, kept.cohorts, kept.opened
        answers = [decode_answer(item) for item in kept.answers]
        question = decode_question(kept.question) if kept.question else None
        self._poll = Poll(kept.asked, question, {item.member: item for item in answers})

    # --- going from state to state ---

    def _go_on(self, now: float, *, expired: bool, sends: Sequence[Send] = ()) -> Step:
        out = list(sends)
        while self._state not in (DONE, FAILED) and self._ready(expired):
            try:
                out += self._leave()
            except RoundError:
                self._enter(FAILED)
                raise
            self._deadline, expired = now + self._patience.answer_s, False
        return Step(tuple(out), self._wake(), done=self._state == DONE)

    def _ready(self, expired: bool) -> bool:
        if self._state == COLLECTING:
            return expired or len(self._vault) == len(self._invited)
        if self._state == CHECKING:
            return expired or len(self._judges()) + len(self._faulty) >= len(self._members)
        return expired or self._poll.complete(self._faulty)

    def _leave(self) -> list[Send]:
        if self._state == COLLECTING:
            return self._close()
        if self._state == CHECKING:
            return self._propose()
        if self._state == VOTING:
            return self._certify_set()
        if self._state == BEACON:
            return self._publish_beacon()
        if self._state == PARTITION:
            return self._certify_partition()
        return self._open()

    def _enter(self, state: str) -> None:
        if state not in TRANSITIONS[self._state]:
            raise LocalProtocolError(f"server: {self._state} does not lead to {state}")
        self._state = state

    def _wake(self) -> float | None:
        return None if self._state in (DONE, FAILED) else self._deadline

    # --- collecting and checking ---

    def _flush(self) -> list[Send]:
        if not self._waiting:
            return []
        # sorted: the same set is the same message, however it came in
        self._verdicts.batches.append(tuple(sorted(self._waiting)))
        self._waiting = []
        return [
            Send(self._batch(len(self._verdicts.batches) - 1, member), members=(member,)) for member in self._active()
        ]

    def _batch(self, number: int, member: int) -> ShareBatch:
        return ShareBatch(
            self._start, number, tuple(self._vault.packet(client, member) for client in self._verdicts.batches[number])
        )

    def _again(self) -> tuple[Send, ...]:
        return tuple(
            Send(self._batch(number, member), members=(member,))
            for member in self._active()
            for number in self._verdicts.missing(member)
        )

    def _active(self) -> tuple[int, ...]:
        return tuple(member for member in range(1, len(self._members) + 1) if member not in self._faulty)

    def _judges(self) -> tuple[int, ...]:
        """Members that have judged every batch."""
        return tuple(member for member in self._active() if not self._verdicts.missing(member))

    def _close(self) -> list[Send]:
        if len(self._vault) < self.descriptor.smallest:
            raise RoundError(
                f"{len(self._vault)} contributions, {self.descriptor.smallest} are needed: nothing is opened"
            )
        sends = self._flush()
        self._enter(CHECKING)
        return sends

    def _take_checked(self, received: Checked) -> None:
        tally.check(self._about, received)
        self._verdicts.note(received.member, received.batch, received.refused)
        if self.descriptor.cohort == 0 and self._verdicts.unanimous(received.batch, len(self._members)):
            # every member holds a good share: nobody will leave the set
            for client in self._verdicts.batches[received.batch]:
                self._vault.fold(client)

    def _propose(self) -> list[Send]:
        self._refused, aside = self._verdicts.sort_out(self._active(), self.descriptor.committee.quorum)
        self._faulty |= aside
        judges, quorum = self._judges(), self.descriptor.committee.quorum
        self._chosen = tuple(sorted(client for client in self._vault.clients if client not in self._refused))
        if len(self._chosen) < self.descriptor.smallest:
            raise RoundError(
                f"{len(self._chosen)} good contributions, {self.descriptor.smallest} are needed: nothing is opened"
            )
        if len(judges) < quorum:
            raise RoundError(f"{len(judges)} committee members checked the shares, {quorum} are needed")
        self._opened = transcript.set_digest(
            self._identity, {client: self._vault.leaf(client) for client in self._chosen}
        )
        self._enter(VOTING)
        return self._ask(Proposal(self._identity, self._chosen), judges)

    # --- votes, beacon, opening ---

    def _ask(self, question: ToMember, members: Sequence[int]) -> list[Send]:
        self._poll = Poll(tuple(members), question)
        return [Send(question, members=tuple(members))]

    def _ask_again(self) -> tuple[Send, ...]:
        silent = self.awaited
        return (Send(self._poll.question, members=silent),) if silent and self._poll.question is not None else ()

    def _take(self, received: FromMember) -> None:
        if isinstance(received, Checked):
            if self._state in (COLLECTING, CHECKING):
                self._take_checked(received)
            return
        if isinstance(received, Declined):
            raise RemoteProtocolError(f"declines: no good share of {', '.join(received.clients[:3])}")
        kind = ANSWERS.get(self._state)
        if received.member not in self._poll.asked or not isinstance(received, kind or ()):
            return  # late: the round went on without it
        tally.check(self._about, received, self._opened, len(self._cohorts))
        self._poll.answers[received.member] = received

    def _certify_set(self) -> list[Send]:
        votes = tally.votes(self._about, self._poll)
        certified = Certificate(self._identity, self._opened, votes)
        if len(partition.deal(self._chosen, self.descriptor.cohort, b"")) == 1:
            self._cohorts = (self._chosen,)
            self._enter(OPENING)
        else:
            self._enter(BEACON)
        return self._ask(certified, [vote.member for vote in votes])

    def _publish_beacon(self) -> list[Send]:
        beacon, published, wrong = tally.beacon(self._about, self._poll, self._opened)
        self._faulty |= dict.fromkeys(wrong, "wrong share of the beacon")
        self._cohorts = partition.deal(self._chosen, self.descriptor.cohort, beacon)
        self._opened = transcript.partition_digest(self._opened, beacon, self._cohorts)
        self._enter(PARTITION)
        return self._ask(published, [share.member for share in published.shares if share.member not in wrong])

    def _certify_partition(self) -> list[Send]:
        votes = tally.votes(self._about, self._poll)
        self._enter(OPENING)
        return self._ask(Certificate(self._identity, self._opened, votes), [vote.member for vote in votes])

    def _open(self) -> list[Send]:
        sums, wrong = tally.sums_of_keys(self._about, self._poll, len(self._cohorts), self._entropy)
        self._faulty |= dict.fromkeys(wrong, "wrong share of a sum of keys")
        self.result = Opened(self._vault.open(self._cohorts, sums), dict(self._refused), dict(self._faulty))
        self._enter(DONE)
        return []
