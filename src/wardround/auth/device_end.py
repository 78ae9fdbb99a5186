"""The device's whole end of layer 1: handshakes when invited, one session, asks heard and answers sealed.

    invited -> M1   reply(M2) -> M3 and a new session (reply(retry) -> M1 again)   hear(record)   seal(payload)

Made for a transport where the server starts every exchange. Laws: a new session takes the old one's place only when M2 proved
the server; what is heard twice is heard once; ``to_bytes`` is stored before what the same call returned is sent.
What it does not do: time (the driver drops a handshake that got no answer and knocks again), files.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from wardround.auth import record as records
from wardround.auth.credential import Anchor, Descriptor, next_descriptor
from wardround.auth.handshake.initiator import Initiator
from wardround.auth.identity import DeviceIdentity, Memory
from wardround.auth.record import Announcement, Update
from wardround.auth.session import Session, State
from wardround.auth.signed_update import Place, SignedPayload, sign
from wardround.crypto.kem import Entropy
from wardround.crypto.sign import SigningKey
from wardround.errors import AuthError, LocalProtocolError, RemoteProtocolError
from wardround.wire import decode, encode, message

NO_SESSION = "this device has no session: it authenticates when it is invited"


@message(0x4701)
@dataclass(frozen=True)
class DeviceBytes:
    """A device's end at rest; secret. ``descriptor``: the newest signed one, empty where enrolment's still holds."""

    memory: Memory
    session: bytes = field(repr=False)
    heard: bytes
    told: bytes
    answered: bytes
    signed: bytes
    descriptor: bytes


@dataclass
class DeviceEnd:
    """``identity`` and ``descriptor`` are enrolment's; both follow the server's key from epoch to epoch.

    ``anchor`` checks descriptors that an invitation brings; without one the server's key is fixed (simulation). ``signer``:
    signs every answer too (signed_update.py).
    """

    identity: DeviceIdentity
    anchor: Anchor | None = None
    descriptor: Descriptor | None = None
    memory: Memory = field(default_factory=Memory)
    session: Session | None = None
    signer: SigningKey | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._initiator: Initiator | None = None
        self._heard, self._told = b"", b""
        self._answered, self._signed = b"", b""
        self._signed_descriptor = b""

    @property
    def session_id(self) -> bytes:
        """Of the live session; empty: none."""
        return self.session.session_id if self.session else b""

    def invited(self, descriptor: bytes, now: float, entropy: Entropy) -> bytes:
        """M1. ``descriptor``: the server's signed key, as the invitation carries it (empty: the one held).

        Raises:
            AuthError: the descriptor is not this federation's issuer's, or does not follow the one held.
            RemoteProtocolError: it lies behind the one held.
        """
        if descriptor:
            self._follow(descriptor)
        initiator = Initiator(self.identity, self.memory)
        hello = initiator.start(now, entropy).send
        self._initiator, self.memory = initiator, initiator.memory
        return _sent(hello)

    def reply(self, data: bytes) -> bytes:
        """M3 for M2, or M1 with its cookie for a retry.

        Raises:
            RemoteProtocolError: neither, or no handshake is under way; nothing has changed.
        """
        if self._initiator is None:
            raise RemoteProtocolError("an answer to a handshake that is not under way")
        step = self._initiator.receive(data)
        if step.done is not None:
            self.memory, self.session = self._initiator.memory, step.done
            self._initiator, self._heard, self._told = None, b"", b""
            self._answered, self._signed = b"", b""
        return _sent(step.send)

    def handshake(self) -> bytes:
        """The handshake under way, a secret; empty: none. For a device that is made anew for each message (Flower); one that
        stays needs none of it: a handshake that is lost is begun again.
        """
        return self._initiator.to_bytes() if self._initiator else b""

    def take_up(self, handshake: bytes) -> None:
        """Go on with ``handshake``.

        Raises:
            DecodeError: damaged bytes.
        """
        self._initiator = Initiator.from_bytes(self.identity, handshake) if handshake else None

    def hear(self, record: bytes) -> Announcement:
        """What the server announces in ``record``; the same record again says the same.

        Raises:
            AuthError: not sealed by this session's server, or there is no session.
            RemoteProtocolError: its round was announced before, or lies out of reach.
        """
        if self.session is None:
            raise AuthError(NO_SESSION)
        if record and record == self._heard:
            return decode(self._told, Announcement)
        announcement, memory = records.open_announcement(self.session, self.memory, record)
        self.memory, self._heard, self._told = memory, record, encode(announcement)
        self._answered, self._signed = b"", b""
        return announcement

    def seal(self, payload: bytes, entropy: Entropy) -> bytes:
        """The record that answers what was heard last; answers a KEM ratchet's offer with it. The same payload again: the same.

        Raises:
            AuthError: there is no session.
            LocalProtocolError: nothing was heard, or another payload was sealed for it.
        """
        if self.session is None:
            raise AuthError(NO_SESSION)
        if not self._told:
            raise LocalProtocolError("an answer to nothing: no announcement was heard in this session")
        announcement = decode(self._told, Announcement)
        twin = self.session.copy()
        if self.signer is not None:
            payload = self._sign(self.signer, twin, announcement, payload)
        if announcement.offer and not self._answered and twin.state is State.LIVE:
            self._answered = twin.answer(announcement.offer, entropy)
        sealed = records.seal_update(twin, announcement.model_hash, Update(payload, self._answered))
        self.session.replace_with(twin)
        return sealed

    def to_bytes(self) -> bytes:
        session = self.session.to_bytes() if self.session else b""
        return encode(
            DeviceBytes(
                self.memory, session, self._heard, self._told, self._answered, self._signed, self._signed_descriptor
            )
        )

    def restore(self, data: bytes) -> None:
        """Go on from ``to_bytes``; the identity is the one this end was made with.

        Raises:
            DecodeError: damaged bytes. AuthError: another federation's descriptor.
        """
        packed = decode(data, DeviceBytes)
        if packed.descriptor:
            self._follow(packed.descriptor)
        self.memory = packed.memory
        self.session = Session.from_bytes(self.identity.suite, packed.session) if packed.session else None
        if self.session is not None and self.session.device_id != self.identity.device_id:
            self.session = None  # enrolled anew since: another key, another session
        else:
            self._heard, self._told = packed.heard, packed.told
            self._answered, self._signed = packed.answered, packed.signed

    def _sign(self, signer: SigningKey, session: Session, announcement: Announcement, payload: bytes) -> bytes:
        """The signed payload; the one signed before where it is the same (signatures are randomised, records must not be)."""
        if self._signed and decode(self._signed, SignedPayload).payload == payload:
            return self._signed
        at = (announcement.epoch, announcement.round, announcement.model_hash)
        self._signed = sign(signer, Place(session.federation, session.device_id, *at), payload)
        return self._signed

    def _follow(self, data: bytes) -> None:
        if self.anchor is None or self.descriptor is None:
            raise LocalProtocolError("a device without its federation's anchor cannot take a new server key")
        new = next_descriptor(self.anchor.issued_by().verifier, self.descriptor, data)
        if new != self.descriptor:
            self.descriptor, self._signed_descriptor = new, data
            self.identity = replace(self.identity, server_public=new.public)
            self.session = None  # a new epoch ends every session


def _sent(data: bytes | None) -> bytes:
    if data is None:
        raise LocalProtocolError("a machine that should have answered sent nothing")
    return data
