"""Signed answers, where an audit needs them: ML-DSA-65 over what was answered to which ask, beside the sealed record.

A record's key is known to both ends, so the server could make a device's record itself: that is deniability, by design. With
``[auth] signed_update`` a device also signs a ``Statement``; whoever holds its credential can check the server's evidence later.
It costs 3.3 kB and about a millisecond an answer. Law: evidence holds for one device, position, ask and payload, and no other.

What it does not do: show the payload. The evidence holds its hash; who keeps the payload can open it.
"""

from __future__ import annotations

from dataclasses import dataclass

from wardround.auth.credential import open_signed, seal_signed
from wardround.crypto import kdf, labels
from wardround.crypto.sign import ML_DSA_65, SigningKey
from wardround.errors import AuthError
from wardround.wire import decode, encode, message


@message(0x4704)
@dataclass(frozen=True)
class Statement:
    """What is signed: this device answered the ask ``model_hash`` at this position with a payload of this hash."""

    federation: bytes
    device_id: bytes
    epoch: int
    round: int
    model_hash: bytes
    payload_hash: bytes


@message(0x4705)
@dataclass(frozen=True)
class SignedPayload:
    """A payload and the signed statement about it."""

    payload: bytes
    evidence: bytes


@dataclass(frozen=True)
class Place:
    """Where an answer belongs, as both ends know it from their session."""

    federation: bytes
    device_id: bytes
    epoch: int
    round: int
    model_hash: bytes

    def statement(self, payload: bytes) -> Statement:
        digest = kdf.digest("sha256", payload)
        return Statement(self.federation, self.device_id, self.epoch, self.round, self.model_hash, digest)


def sign(key: SigningKey, place: Place, payload: bytes) -> bytes:
    """The payload with its evidence. Signing is randomised: keep the result for a repetition."""
    return encode(SignedPayload(payload, seal_signed(key, labels.SIGN_UPDATE, place.statement(payload))))


def verify(member: bytes, place: Place, data: bytes) -> tuple[bytes, bytes]:
    """(payload, evidence) of ``sign``; ``member``: the device's verification key, by its credential.

    Raises:
        AuthError: the device enrolled without a signing key, did not sign this, or signed it for another place.
        DecodeError: damaged bytes.
    """
    if not member:
        raise AuthError("a signed answer is due and this device enrolled without a signing key")
    signed = decode(data, SignedPayload)
    said = open_signed(ML_DSA_65.load(member), labels.SIGN_UPDATE, signed.evidence, Statement)
    if said != place.statement(signed.payload):
        raise AuthError("an answer is signed for another device, place or payload")
    return signed.payload, signed.evidence
