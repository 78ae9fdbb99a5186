"""What committee members answered in a round, and what follows from it: a certificate, a beacon, sums of keys.

Pure functions of a question's answers; the order of questions is the server's (server.py). Laws: an answer is taken only if
its member signed it for what is being opened; fewer than a quorum of votes or beacon shares, or shares that determine nothing,
raise ``RoundError``, and then nothing was opened; wrong shares are corrected and their members named where enough are right.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wardround.arrays import I64
from wardround.crypto.decoding import open_packed
from wardround.crypto.sampling import subseed
from wardround.crypto.sharing import centred, field_array
from wardround.errors import RemoteProtocolError, RoundError
from wardround.secagg import keys, labels, transcript
from wardround.secagg.decryptor_round import beacon_values, open_beacon
from wardround.secagg.messages import (
    BeaconShare,
    BeaconShares,
    Checked,
    Descriptor,
    FromMember,
    SumShares,
    ToMember,
    Vote,
)


@dataclass(eq=False)
class Poll:
    """A question to members and what came back."""

    asked: tuple[int, ...] = ()
    question: ToMember | None = None
    answers: dict[int, FromMember] = field(default_factory=dict)

    def complete(self, faulty: dict[int, str]) -> bool:
        return all(member in self.answers or member in faulty for member in self.asked)


@dataclass(frozen=True)
class Round:
    """What answers are checked against: the descriptor, the round id and the members' public keys."""

    descriptor: Descriptor
    identity: bytes
    members: tuple[bytes, ...]

    @property
    def quorum(self) -> int:
        return self.descriptor.committee.quorum


def check(about: Round, received: FromMember, opened: bytes = b"", cohorts: int = 0) -> None:
    """A verdict on a batch; a vote, beacon share or sum-shares for the digest ``opened`` with that many ``cohorts``.

    Raises:
        AuthError: not signed by its member.
        RemoteProtocolError: for something else, or of the wrong size.
    """
    public = about.members[received.member - 1]
    if isinstance(received, Checked):
        named = sorted(refusal.client for refusal in received.refused)
        keys.verify(public, transcript.checked_digest(about.identity, received.batch, named), received.signature)
    elif isinstance(received, Vote):
        keys.verify(public, received.digest, received.signature)
        if received.digest != opened:
            raise RemoteProtocolError("votes for something else")
    elif isinstance(received, BeaconShare):
        beacon_values(BeaconShares(about.identity, (received,)), about.identity, opened, about.members)
    elif isinstance(received, SumShares):
        keys.verify(public, transcript.sums_digest(opened, received.sums), received.signature)
        blocks = about.descriptor.committee.sharing(about.descriptor.n).packed_blocks
        if len(received.sums) != cohorts or any(field_array(part).size != blocks for part in received.sums):
            raise RemoteProtocolError("sum-shares of the wrong size")


def votes(about: Round, poll: Poll) -> tuple[Vote, ...]:
    """The votes of a certificate, by member.

    Raises:
        RoundError: fewer than the quorum.
    """
    found = tuple(answer for _, answer in sorted(poll.answers.items()) if isinstance(answer, Vote))
    if len(found) < about.quorum:
        raise RoundError(f"{len(found)} votes, {about.quorum} are needed: nothing is opened")
    return found


def beacon(about: Round, poll: Poll, opened: bytes) -> tuple[bytes, BeaconShares, tuple[int, ...]]:
    """(the beacon, the shares to publish, members whose share is wrong).

    Raises:
        RoundError: fewer than the quorum, or too many wrong ones.
    """
    shares = tuple(answer for _, answer in sorted(poll.answers.items()) if isinstance(answer, BeaconShare))
    if len(shares) < about.quorum:
        raise RoundError(f"{len(shares)} beacon shares, {about.quorum} are needed: nothing is opened")
    published = BeaconShares(about.identity, shares)
    values = beacon_values(published, about.identity, opened, about.members)
    found, wrong = open_beacon(about.descriptor.committee.sharing(about.descriptor.n), values, opened)
    return found, published, tuple(wrong)


def sums_of_keys(about: Round, poll: Poll, cohorts: int, entropy: bytes) -> tuple[list[I64], tuple[int, ...]]:
    """(the sum of keys [n] of each cohort, members whose share of one is wrong). ``entropy``: 32 bytes unknown to members.

    Raises:
        RoundError: too few shares that agree.
    """
    answers = {member: answer for member, answer in poll.answers.items() if isinstance(answer, SumShares)}
    sharing = about.descriptor.committee.sharing(about.descriptor.n)
    sums, named = list[I64](), dict[int, None]()
    for index in range(cohorts):
        shares = {member: field_array(answer.sums[index]) for member, answer in answers.items()}
        key, wrong = open_packed(sharing, shares, subseed(entropy, labels.SECAGG_DECODE + index.to_bytes(4, "big")))
        named |= dict.fromkeys(wrong)
        sums.append(centred(key))
    return sums, tuple(named)
