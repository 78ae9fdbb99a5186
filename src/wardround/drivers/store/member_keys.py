"""What enrolment leaves on a gateway, and the coordinator's KEM key: a key file each; what crosses machines is text.

    NAME.id           identity: KEM seed, psk, committee key, credential and server key as signed       (0600, passphrase)
    NAME.enrolment    an enrolment under way: its keys exist nowhere else until the answer comes         (0600, passphrase)
    server.key        the coordinator's KEM seed          server.pub   its public half, for the registrar

Requests, answers and server keys are one word of base64 with a prefix, so that they survive a mail or a terminal.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path

from wardround.auth.credential import Anchor, Credential, Descriptor, of_federation, verify
from wardround.auth.device_end import DeviceEnd
from wardround.auth.enrolment import Enrolled, Enrolment
from wardround.auth.identity import DeviceIdentity, ServerIdentity
from wardround.auth.suites import SUITES, Suite
from wardround.crypto.kem import Entropy
from wardround.crypto.sign import ML_DSA_65, SigningKey
from wardround.drivers.store.keys import read_secret, write_secret
from wardround.errors import DecodeError, UsageError
from wardround.wire import decode, encode, message

IDENTITY, PENDING, SERVER = "gateway identity", "enrolment under way", "server key"
REQUEST, ANSWER, SERVER_PUBLIC = "wre1-", "wre2-", "wrs1-"


@message(0x4720)
@dataclass(frozen=True)
class IdentityBytes:
    """A gateway's identity at rest; secret."""

    seed: bytes = field(repr=False)
    psk: bytes = field(repr=False)
    member_seed: bytes = field(repr=False)
    credential: bytes
    descriptor: bytes


@message(0x4721)
@dataclass(frozen=True)
class PendingBytes:
    """An enrolment under way: for whom, its machine, and the key towards the broker."""

    name: str
    machine: bytes = field(repr=False)
    broker_seed: str = field(repr=False)


@message(0x4722)
@dataclass(frozen=True)
class ServerPublic:
    """The coordinator's public KEM key, on its way to the registrar."""

    suite: int
    public: bytes


@dataclass(frozen=True)
class Gateway:
    """An enrolled gateway: its end of the handshake and, where it may serve on a committee, its signing key."""

    anchor: Anchor
    identity: DeviceIdentity
    credential: Credential
    descriptor: Descriptor
    member: SigningKey | None

    def end(self) -> DeviceEnd:
        """A fresh device end."""
        return DeviceEnd(self.identity, self.anchor, self.descriptor)


def write_identity(path: Path, enrolled: Enrolled, passphrase: str = "") -> None:
    """Keep what enrolment gave; an identity that is there is replaced (a rotation).

    Raises:
        UsageError: the folder cannot be written.
    """
    member = enrolled.member.seed if enrolled.member else b""
    identity = enrolled.identity
    packed = IdentityBytes(identity.key.seed, identity.psk, member, *enrolled.signed)
    write_secret(path, IDENTITY, encode(packed), passphrase, replace=True)


def read_identity(path: Path, anchor: Anchor, passphrase: str = "") -> Gateway:
    """The gateway of ``write_identity``; credential and server key are checked against the anchor.

    Raises:
        UsageError: no such file, others may read it, a wrong passphrase, or another federation's.
    """
    try:
        packed = decode(read_secret(path, IDENTITY, passphrase), IdentityBytes)
    except DecodeError as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    verifier, suite = anchor.issued_by().verifier, SUITES[anchor.suite]
    credential = of_federation(verify(verifier, packed.credential, Credential), anchor.federation)
    descriptor = of_federation(verify(verifier, packed.descriptor, Descriptor), anchor.federation)
    identity = DeviceIdentity(suite, anchor.federation, suite.kem.key(packed.seed), packed.psk, descriptor.public)
    member = ML_DSA_65.key(packed.member_seed) if packed.member_seed else None
    return Gateway(anchor, identity, credential, descriptor, member)


def write_pending(path: Path, pending: PendingBytes, passphrase: str = "") -> None:
    """Keep an enrolment that waits for its answer.

    Raises:
        UsageError: one waits already, or the folder cannot be written.
    """
    write_secret(path, PENDING, encode(pending), passphrase)


def read_pending(path: Path, anchor: Anchor, passphrase: str = "") -> tuple[PendingBytes, Enrolment]:
    """What ``write_pending`` kept.

    Raises:
        UsageError: none waits here, or the file is not readable.
    """
    if not path.exists():
        raise UsageError(f"no enrolment is under way here ({path} is missing): begin with --token")
    try:
        packed = decode(read_secret(path, PENDING, passphrase), PendingBytes)
        return packed, Enrolment.from_bytes(anchor, packed.machine)
    except DecodeError as error:
        raise UsageError(f"{path} is damaged: {error}") from error


def make_server_key(path: Path, suite: Suite, entropy: Entropy, passphrase: str = "") -> str:
    """A new KEM key for the coordinator; gives the text for the registrar.

    Raises:
        UsageError: there is one, or the folder cannot be written.
    """
    seed = entropy(suite.kem.seed_bytes)
    write_secret(path, SERVER, seed, passphrase)
    return armour(SERVER_PUBLIC, encode(ServerPublic(suite.number, suite.kem.key(seed).public)))


def read_server_key(path: Path, anchor: Anchor, passphrase: str = "") -> ServerIdentity:
    """The coordinator's identity.

    Raises:
        UsageError: no such file, or it is of another suite.
    """
    suite, seed = SUITES[anchor.suite], read_secret(path, SERVER, passphrase)
    if len(seed) != suite.kem.seed_bytes:
        raise UsageError(f"{path} is a key of another suite than the federation's ({suite.name})")
    return ServerIdentity(suite, anchor.federation, suite.kem.key(seed))


def server_public(text: str, suite: Suite) -> bytes:
    """The public key in the text of ``make_server_key``.

    Raises:
        UsageError: it is not one, or of another suite.
    """
    try:
        found = decode(unarmour(SERVER_PUBLIC, text), ServerPublic)
    except DecodeError as error:
        raise UsageError(f"this server key is damaged: {error}") from error
    if found.suite != suite.number:
        raise UsageError(
            f"this server key is of suite {found.suite}, the federation's is {suite.number} ({suite.name})"
        )
    return found.public


def armour(prefix: str, data: bytes) -> str:
    """``data`` as one word."""
    return prefix + base64.urlsafe_b64encode(data).decode()


def unarmour(prefix: str, text: str) -> bytes:
    """The data of ``armour``; line breaks that a mail put in are left out.

    Raises:
        UsageError: it is something else, or a part is missing.
    """
    word = "".join(text.split())
    try:
        if not word.startswith(prefix):
            raise ValueError
        return base64.b64decode(word.removeprefix(prefix), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise UsageError(
            f"this is not what was asked for: one word that begins with {prefix}; copy it whole"
        ) from error
