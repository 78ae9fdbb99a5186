"""Signed objects: the federation's anchor, issuer certificate, device credential, server descriptor, revocation list.

    root (ML-DSA-87, offline)  signs  Issuer           the online key: composite Ed25519 + ML-DSA-65, and an enrolment KEM key
    issuer                     signs  Credential       a device's KEM key (and a committee member's ML-DSA-65 key)
                                      Descriptor       the server's KEM key of some epochs; each names the hash of the last
                                      RevocationList   sorted ids at one revocation epoch
                                      RosterBytes      the whole registry, for the server (roster.py)

Objects are encoded by ``wire`` (one accepted encoding) and signed under a label of their own, so none passes for another.
Validity is in epochs; nobody needs a clock. Laws: an object opens only under its label and its signer; a later
descriptor or list never gives way to an earlier one.

What it does not do: hold private keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from wardround.auth.identity import device_id
from wardround.auth.roster import RosterBytes
from wardround.auth.suites import SUITES
from wardround.crypto import kdf, labels
from wardround.crypto.kem import X_WING
from wardround.crypto.sign import COMPOSITE, ML_DSA_65, ML_DSA_87, SigningKey, Verifier
from wardround.errors import AuthError, RemoteProtocolError
from wardround.wire import decode, encode, message

T = TypeVar("T")

FOREVER = (1 << 32) - 1
NO_DESCRIPTOR = bytes(32)


@message(0x3002)
@dataclass(frozen=True)
class Signed:
    """An encoded object and the signature over it."""

    body: bytes
    signature: bytes


@message(0x3003)
@dataclass(frozen=True)
class Issuer:
    """The online issuing key of a federation."""

    federation: bytes
    public: bytes
    enrolment: bytes
    epoch_from: int
    epoch_to: int

    def __post_init__(self) -> None:
        _check_sizes(self.public, COMPOSITE.public_bytes, "an issuer's key")
        _check_sizes(self.enrolment, X_WING.public_bytes, "an enrolment key")
        _check_epochs(self.epoch_from, self.epoch_to)

    @property
    def verifier(self) -> Verifier:
        return COMPOSITE.load(self.public)


@message(0x3004)
@dataclass(frozen=True)
class Anchor:
    """What a gateway is given out of band, or checks by the fingerprint in its token: where trust begins."""

    federation: bytes
    name: str
    suite: int
    root: bytes
    issuer: bytes

    def __post_init__(self) -> None:
        _check_sizes(self.root, ML_DSA_87.public_bytes, "a root key")
        _check_suite(self.suite)

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that stand for the whole anchor."""
        return kdf.digest("sha256", labels.FEDERATION_HASH, encode(self))

    def issued_by(self) -> Issuer:
        """The issuing key, once the root's signature on it was checked.

        Raises:
            AuthError: the root did not sign it, or for another federation.
            DecodeError: damaged bytes.
        """
        issuer = open_signed(ML_DSA_87.load(self.root), labels.SIGN_ISSUER, self.issuer, Issuer)
        return of_federation(issuer, self.federation)


@message(0x3005)
@dataclass(frozen=True)
class Credential:
    """A device's membership. ``member`` is the ML-DSA-65 key of a gateway that may serve on a committee, else empty."""

    federation: bytes
    serial: int
    name: str
    suite: int
    public: bytes
    member: bytes
    epoch_from: int
    epoch_to: int

    def __post_init__(self) -> None:
        _check_suite(self.suite)
        _check_sizes(self.public, SUITES[self.suite].kem.public_bytes, "a device's key")
        if self.member:
            _check_sizes(self.member, ML_DSA_65.public_bytes, "a member's key")
        _check_epochs(self.epoch_from, self.epoch_to)

    @property
    def device_id(self) -> bytes:
        return device_id(self.federation, self.public)

    def valid(self, epoch: int) -> bool:
        return self.epoch_from <= epoch <= self.epoch_to


@message(0x3006)
@dataclass(frozen=True)
class Descriptor:
    """The aggregation server's KEM key for some epochs. ``previous`` is the hash of the descriptor before it."""

    federation: bytes
    suite: int
    public: bytes
    epoch_from: int
    epoch_to: int
    previous: bytes = NO_DESCRIPTOR

    def __post_init__(self) -> None:
        _check_suite(self.suite)
        _check_sizes(self.public, SUITES[self.suite].kem.public_bytes, "a server's key")
        _check_sizes(self.previous, 32, "a descriptor's link")
        _check_epochs(self.epoch_from, self.epoch_to)

    @property
    def link(self) -> bytes:
        """The hash that the next descriptor names."""
        return kdf.digest("sha256", labels.DESCRIPTOR_HASH, encode(self))


@message(0x3007)
@dataclass(frozen=True)
class RevocationList:
    """Revoked device ids at one revocation epoch, ascending and each once."""

    federation: bytes
    revocation_epoch: int
    ids: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if list(self.ids) != sorted(set(self.ids)) or any(len(i) != 32 for i in self.ids):
            raise ValueError("a revocation list holds ids of 32 bytes, ascending, each once")
        if self.revocation_epoch < 0:
            raise ValueError("a revocation epoch is not negative")


_LABELS: dict[type, bytes] = {
    Issuer: labels.SIGN_ISSUER,
    Credential: labels.SIGN_CREDENTIAL,
    Descriptor: labels.SIGN_DESCRIPTOR,
    RevocationList: labels.SIGN_REVOCATION,
}


def sign(key: SigningKey, thing: Issuer | Credential | Descriptor | RevocationList) -> bytes:
    """The object with a signature under its own label."""
    return seal_signed(key, _LABELS[type(thing)], thing)


def verify(verifier: Verifier, data: bytes, kind: type[T]) -> T:
    """The object of ``sign``.

    Raises:
        AuthError: not signed by this key for this purpose.
        DecodeError: damaged bytes.
    """
    return open_signed(verifier, _LABELS[kind], data, kind)


def seal_signed(key: SigningKey, label: bytes, thing: object) -> bytes:
    """Any message with a signature under ``label``."""
    body = encode(thing)
    return encode(Signed(body, key.sign(label, body)))


def open_signed(verifier: Verifier, label: bytes, data: bytes, kind: type[T]) -> T:
    """The message of ``seal_signed``; the signature is checked before the body is looked at.

    Raises:
        AuthError: not signed by this key under this label.
        DecodeError: damaged bytes.
    """
    signed = decode(data, Signed)
    verifier.verify(label, signed.body, signed.signature)
    return decode(signed.body, kind)


def of_federation(thing: T, federation: bytes) -> T:
    """``thing``, if it belongs to this federation.

    Raises:
        AuthError: it belongs to another.
    """
    if getattr(thing, "federation", None) != federation:
        raise AuthError(f"this {type(thing).__name__.lower()} belongs to another federation")
    return thing


def open_roster(anchor: Anchor, data: bytes) -> RosterBytes:
    """The server's side of the registry's export.

    Raises:
        AuthError: not signed by this federation's issuer.
        DecodeError: damaged bytes.
    """
    roster = open_signed(anchor.issued_by().verifier, labels.SIGN_ROSTER, data, RosterBytes)
    return of_federation(roster, anchor.federation)


def next_descriptor(verifier: Verifier, held: Descriptor, data: bytes) -> Descriptor:
    """The descriptor that follows the one a device holds (pushed in a session at a change of epoch).

    Raises:
        AuthError: not signed by the issuer, of another federation, or it does not follow the held one.
        RemoteProtocolError: it begins earlier than the held one.
    """
    new = of_federation(verify(verifier, data, Descriptor), held.federation)
    if new == held:
        return held
    if new.epoch_from <= held.epoch_from:
        raise RemoteProtocolError(f"a descriptor from epoch {new.epoch_from} is not later than {held.epoch_from}")
    if new.previous != held.link or new.suite != held.suite:
        raise AuthError("a descriptor does not follow the one held")
    return new


def next_revocations(verifier: Verifier, held: RevocationList, data: bytes) -> RevocationList:
    """A revocation list that is at least as new as the held one.

    Raises:
        AuthError: not signed by the issuer, or of another federation.
        RemoteProtocolError: its revocation epoch is lower, or it forgets a revoked id.
    """
    new = of_federation(verify(verifier, data, RevocationList), held.federation)
    if new.revocation_epoch < held.revocation_epoch:
        raise RemoteProtocolError(f"revocations went back from {held.revocation_epoch} to {new.revocation_epoch}")
    if not set(held.ids) <= set(new.ids):
        raise RemoteProtocolError("a revocation list forgets a revoked device")
    return new


def _check_sizes(value: bytes, size: int, what: str) -> None:
    if len(value) != size:
        raise ValueError(f"{what} has {size} bytes, not {len(value)}")


def _check_suite(number: int) -> None:
    if number not in SUITES:
        raise ValueError(f"there is no suite {number}")


def _check_epochs(first: int, last: int) -> None:
    if not 0 <= first <= last <= FOREVER:
        raise ValueError(f"epochs {first} to {last} are not a range")
