"""The server's book of live sessions: one per device, and at most one counted record per device and round.

Revocation, quarantine and the round are checked at every record, not only when a session is made, so a device that falls
in the middle of a round is out at once. Laws: the round token never goes back; a device's accepted round never goes back,
also across handshakes and restarts; the same record again gives the same receipt and is not counted twice.

What it does not do: handshakes (handshake/responder.py), or judge an update's content (other rooms send verdicts).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from wardround.auth import record as records
from wardround.auth.record import Announcement, Update
from wardround.auth.roster import Roster
from wardround.auth.session import MAX_SKIP, Role, Session
from wardround.auth.suites import Suite
from wardround.auth.trust import State
from wardround.crypto import kdf
from wardround.crypto.kem import Entropy
from wardround.errors import AuthError, DecodeError, LocalProtocolError, RemoteProtocolError
from wardround.wire import decode, encode, message

DENIED = "denied"  # the one refusal for unknown, wrong key, quarantined and revoked: it says nothing more on purpose


@message(0x3220)
@dataclass(frozen=True)
class RoundToken:
    """Where the federation stands: announced to devices inside M2 and inside sessions."""

    epoch: int
    round: int
    model_hash: bytes = bytes(32)
    policy_hash: bytes = bytes(32)
    max_bytes: int = records.DEFAULT_LIMIT

    def __post_init__(self) -> None:
        if not (0 <= self.epoch < 1 << 32 and self.round >= 0 and self.max_bytes > 0):
            raise ValueError("epoch and round are not negative, max_bytes is positive")
        if len(self.model_hash) != 32 or len(self.policy_hash) != 32:
            raise ValueError("model and policy hash have 32 bytes")


@dataclass(frozen=True)
class Accepted:
    """A record that counts. ``repeated``: it was counted before, and this is the stored receipt once more.

    Attributes:
        device_id: who sent it.
        weight: what the update counts, by the device's standing.
        data: the payload; empty when repeated.
        receipt: for the device.
        evidence: the device's signed statement, where answers are signed.
    """

    device_id: bytes
    weight: float
    data: bytes
    receipt: bytes
    repeated: bool = False
    evidence: bytes = b""


@message(0x3222)
@dataclass(frozen=True)
class CountedBytes:
    device_id: bytes
    epoch: int
    round: int
    digest: bytes
    receipt: bytes


@message(0x3221)
@dataclass(frozen=True)
class BookBytes:
    """The book at rest; secret."""

    token: RoundToken
    sessions: tuple[bytes, ...] = field(repr=False)
    counted: tuple[CountedBytes, ...]


class Book:
    """Sessions by id and by device, the round token, and what was counted."""

    def __init__(self, suite: Suite, roster: Roster, token: RoundToken) -> None:
        self.suite, self.roster, self.token = suite, roster, token
        self._sessions: dict[bytes, Session] = {}
        self._of_device: dict[bytes, bytes] = {}
        self._counted: dict[bytes, CountedBytes] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    def turn_to(self, token: RoundToken) -> None:
        """Go to a later round or epoch; a new epoch ends every session.

        Raises:
            LocalProtocolError: the token lies behind, or changes the model of a round that was announced.
        """
        was, now = (self.token.epoch, self.token.round), (token.epoch, token.round)
        if now < was or (now == was and token != self.token):
            raise LocalProtocolError(f"the round token may not go from epoch, round {was} to another one at {now}")
        if token.epoch != self.token.epoch:
            self._sessions.clear()
            self._of_device.clear()
        self.token = token

    def admit(self, session: Session) -> None:
        """A session that the handshake has just finished; replaces the device's older one."""
        self.cut(session.device_id)
        self._sessions[session.session_id] = session
        self._of_device[session.device_id] = session.session_id

    def cut(self, device_id: bytes) -> bool:
        """End the session of a device at once; says whether there was one."""
        session_id = self._of_device.pop(device_id, None)
        return session_id is not None and self._sessions.pop(session_id, None) is not None

    def of_device(self, device_id: bytes) -> Session | None:
        session_id = self._of_device.get(device_id)
        return self._sessions.get(session_id) if session_id else None

    def needs_handshake(self, device_id: bytes) -> bool:
        """Whether a member must authenticate anew before this round: no session, too old, or on probation."""
        session = self.of_device(device_id)
        return session is None or not self._fresh(session)

    def announce(self, session_id: bytes, entropy: Entropy, model_hash: bytes = b"", content: bytes = b"") -> bytes:
        """The record that announces the current round to one device, with a KEM ratchet's offer where one is due.

        ``model_hash``: what this device's answer is bound to, where devices are asked different things (else the token's).

        Raises:
            AuthError: no such session, or its device may not take part (any more).
            LocalProtocolError: another thing was announced to this device in this round.
        """
        session = self._live(session_id)
        token = self.token
        base = model_hash or token.model_hash
        if session.sealed_round == token.round:
            if not kdf.equal(session.model_hash, base):
                raise LocalProtocolError(f"a device was told of another model in round {token.round} already")
            return session.announced  # the same bytes: a second text under this round's key would break its nonce
        twin = session.copy()
        twin.advance(token.round)
        offer = twin.offer(entropy) if twin.heal_due() else b""
        text = Announcement(
            token.epoch,
            token.round,
            self.roster.revocation_epoch,
            base,
            token.policy_hash,
            token.max_bytes,
            offer,
            content,
        )
        twin.announced = records.seal_announcement(twin, text)
        session.replace_with(twin)
        return session.announced

    def accept(self, session_id: bytes, record: bytes, at: int | None = None) -> Accepted:
        """Count a record of the current round, or of an earlier round ``at`` where nothing was announced to the device since.

        Raises:
            AuthError: no such session, its device may not take part, or the record was not sealed for this place.
            DecodeError: not a record of this epoch and round, or too long.
            RemoteProtocolError: this device has another record counted in this round.
        """
        session = self._live(session_id)
        number = self._due_round(session, at)
        device_id, digest = session.device_id, kdf.digest("sha256", record)
        counted = self._counted.get(device_id)
        if counted is not None and (counted.epoch, counted.round) >= (self.token.epoch, number):
            if not kdf.equal(counted.digest, digest):
                raise RemoteProtocolError(f"a second, different record in round {number}")
            return Accepted(device_id, self.roster.weight(device_id), b"", counted.receipt, repeated=True)
        twin = session.copy()
        twin.advance(number)
        base = twin.model_hash if twin.sealed_round == number else self.token.model_hash
        update = records.open_update(twin, base, record, self.token.max_bytes)
        signed = records.receipt(twin, record)
        _heal(twin, update)
        session.replace_with(twin)
        self._counted[device_id] = CountedBytes(device_id, self.token.epoch, number, digest, signed)
        return Accepted(device_id, self.roster.weight(device_id), update.data, signed)

    def counted(self) -> tuple[CountedBytes, ...]:
        """The last counted record of each device."""
        return tuple(self._counted.values())

    def restore_counted(self, rows: tuple[CountedBytes, ...]) -> None:
        """Remember what was counted before a restart."""
        self._counted = {row.device_id: row for row in rows}

    def to_bytes(self) -> bytes:
        sessions = tuple(session.to_bytes() for session in self._sessions.values())
        return encode(BookBytes(self.token, sessions, self.counted()))

    @classmethod
    def from_bytes(cls, suite: Suite, roster: Roster, data: bytes) -> Book:
        """The book of ``to_bytes``.

        Raises:
            DecodeError: damaged bytes.
        """
        packed = decode(data, BookBytes)
        book = cls(suite, roster, packed.token)
        for stored in packed.sessions:
            session = Session.from_bytes(suite, stored)
            if session.role is not Role.SERVER:
                raise DecodeError("a server's book holds a device's session")
            book.admit(session)
        book.restore_counted(packed.counted)
        return book

    def _due_round(self, session: Session, at: int | None) -> int:
        """The round that a record of this session may be of."""
        if at is None or at == self.token.round:
            return self.token.round
        if at > self.token.round or session.round != at or session.sealed_round != at:
            raise DecodeError(f"a record of round {at} comes when round {self.token.round} was announced")
        return at

    def _live(self, session_id: bytes) -> Session:
        session = self._sessions.get(session_id)
        if session is None or not self.roster.may_authenticate(session.device_id) or not self._fresh(session):
            raise AuthError(DENIED)
        return session

    def _fresh(self, session: Session) -> bool:
        if self.roster.state(session.device_id) is State.PROBATION and session.first_round != self.token.round:
            return False
        within = 0 <= self.token.round - session.round <= MAX_SKIP
        return within and session.epoch == self.token.epoch and not session.expired(self.token.round)


def _heal(session: Session, update: Update) -> None:
    if update.ciphertext:
        session.heal(update.ciphertext)
