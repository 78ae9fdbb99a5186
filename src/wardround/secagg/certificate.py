"""Certificates: Q > (C + c)/2 signatures of committee members over one digest (docs/design/0202).

Two certificates for different digests need 2Q > C + c votes, so more than c members voted twice: at most c are hostile
and an honest one votes once per round, so there is at most one certified set. This is why the sharing threshold may be
as low as t = c. Law: a vote counts once per member, and only with that member's valid signature over that digest.
"""

from __future__ import annotations

from collections.abc import Sequence

from wardround.errors import AuthError, RemoteProtocolError
from wardround.secagg import keys
from wardround.secagg.messages import Certificate, Vote


def vote_valid(vote: Vote, round_id: bytes, digest: bytes, members: Sequence[bytes]) -> bool:
    """Whether ``vote`` is a member's signature over ``digest`` in this round."""
    if vote.round != round_id or vote.digest != digest or not 1 <= vote.member <= len(members):
        return False
    try:
        keys.verify(members[vote.member - 1], digest, vote.signature)
    except AuthError:
        return False
    return True


def check(certificate: Certificate, digest: bytes, members: Sequence[bytes], quorum: int) -> None:
    """Accept the certificate for ``digest``.

    Raises:
        RemoteProtocolError: another digest, or fewer than ``quorum`` different members signed it.
    """
    if certificate.digest != digest:
        raise RemoteProtocolError("the certificate is for something this member did not vote for")
    if len(certificate.votes) > len(members):
        raise RemoteProtocolError("the certificate holds more votes than the committee has members")
    signers = {v.member for v in certificate.votes if vote_valid(v, certificate.round, digest, members)}
    if len(signers) < quorum:
        raise RemoteProtocolError(f"{len(signers)} valid votes, {quorum} make a certificate")
