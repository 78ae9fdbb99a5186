"""Records: frames of a protected payload, bound to device, session, federation, epoch, round, model and position.

    key    = HMAC(rk_r, RECORD_UP or RECORD_DOWN || model hash || device id || h)
    frame  = header || AEAD(key, nonce = seq, up to 64 KiB of payload, ad = header || federation)
    header = type version suite flags[1 each] epoch[4] round[8] seq[4] total[4]; flag 1 marks the last frame

UP carries an update (device to server), DOWN an announcement (server to device; its model hash is zero, because the device
learns the real one there). Laws: a session seals one payload per round (the same one again gives the same bytes, so a retry
is safe; another one raises, so no nonce ever serves two plaintexts); frames that are cut, reordered, left out or mixed
between records do not open; a refused record changes nothing.

What it does not do: decide whether a record counts (book.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from wardround.auth.identity import Memory
from wardround.auth.session import Role, Session, State
from wardround.auth.suites import VERSION
from wardround.crypto import kdf, labels
from wardround.crypto.aead import KEY_BYTES, TAG_BYTES, Cipher
from wardround.errors import AuthError, DecodeError, LocalProtocolError, RemoteProtocolError
from wardround.wire import decode, encode, message

CHUNK = 1 << 16
DEFAULT_LIMIT = 1 << 28  # bytes of one record that a server reads at most, unless its announcement says less
NO_MODEL = bytes(32)
_HEADER = struct.Struct(">BBBBIQII")
_OVERHEAD = _HEADER.size + TAG_BYTES
_CHANNEL = 1  # the handshake's nonces use channel 0
_LAST = 1


class Direction(Enum):
    """The record's type byte and the label of its key."""

    UP = (16, labels.RECORD_UP)
    DOWN = (17, labels.RECORD_DOWN)


@message(0x3210)
@dataclass(frozen=True)
class Announcement:
    """The round token inside a session.

    ``offer`` is a fresh KEM key for a KEM ratchet, mostly empty; ``content`` is for this device alone and opaque here (a
    transport's key of the body that it fetches, broadcast.py).
    """

    epoch: int
    round: int
    revocation_epoch: int
    model_hash: bytes
    policy_hash: bytes
    max_bytes: int
    offer: bytes = b""
    content: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if len(self.model_hash) != 32 or len(self.policy_hash) != 32:
            raise ValueError("model and policy hash have 32 bytes")
        if not (0 <= self.epoch < 1 << 32 and self.round >= 0 and self.revocation_epoch >= 0 and self.max_bytes > 0):
            raise ValueError("epoch, round and revocation epoch are not negative, max_bytes is positive")


@message(0x3211)
@dataclass(frozen=True)
class Update:
    """An update's payload. ``ciphertext`` answers a KEM ratchet's offer, mostly empty."""

    data: bytes
    ciphertext: bytes = b""


def seal_update(session: Session, model_hash: bytes, update: Update) -> bytes:
    """The device's record of this round. Store ``session.to_bytes()`` before sending it.

    Raises:
        LocalProtocolError: another payload was sealed in this round already.
    """
    return seal(session, Direction.UP, model_hash, encode(update))


def open_update(session: Session, model_hash: bytes, record: bytes, limit: int = DEFAULT_LIMIT) -> Update:
    """The server reads an update of the session's current round; nothing is changed or counted.

    Raises:
        DecodeError: not one record of this epoch, round and suite, or longer than ``limit`` bytes.
        AuthError: device, session, round, model or bytes are not those it was sealed for.
    """
    _check_outline(session, Direction.UP, record, limit)
    if _round_of(record) != session.round:
        raise DecodeError(f"a record of round {_round_of(record)} arrives in round {session.round}")
    return decode(_open(session, session.root, Direction.UP, model_hash, record), Update)


def seal_announcement(session: Session, announcement: Announcement) -> bytes:
    """The server's record of a round; ratchets the session there first.

    Raises:
        RemoteProtocolError: the round is out of the session's reach.
        LocalProtocolError: another announcement was sealed for this round already.
    """
    session.advance(announcement.round)
    record = seal(session, Direction.DOWN, NO_MODEL, encode(announcement))
    session.model_hash = announcement.model_hash
    return record


def open_announcement(session: Session, memory: Memory, record: bytes) -> tuple[Announcement, Memory]:
    """The device reads an announcement, moves to its round and learns which root the server uses.

    Raises:
        DecodeError: not one record of this epoch and suite.
        AuthError: it was not sealed by this session's server.
        RemoteProtocolError: its round was announced before, lies behind or too far ahead; session and memory are unchanged.
    """
    _check_outline(session, Direction.DOWN, record, DEFAULT_LIMIT)
    number = _round_of(record)
    if number <= session.opened_round:
        raise RemoteProtocolError(f"round {number} was announced before")
    twin = session.copy()
    twin.advance(number)
    payload = _open_under_either(twin, record)
    announcement = decode(payload, Announcement)
    if (announcement.epoch, announcement.round) != (twin.epoch, number):
        raise DecodeError("an announcement speaks of another round than its header")
    memory = memory.after(announcement)
    twin.opened_round = number
    session.replace_with(twin)
    return announcement, memory


def receipt(session: Session, record: bytes) -> bytes:
    """32 bytes by which the server says that it counted ``record``; both ends can make it until the session moves on."""
    name = session.suite.hash_name
    key = kdf.mac(name, session.root, labels.RECEIPT, session.device_id, session.transcript)
    return kdf.mac(name, key, kdf.digest(name, record))[:32]


def seal(session: Session, direction: Direction, model_hash: bytes, payload: bytes) -> bytes:
    """All frames of one record, joined.

    Raises:
        LocalProtocolError: this end does not send in that direction, or sealed another payload in this round.
    """
    if (session.role is Role.DEVICE) is not (direction is Direction.UP):
        raise LocalProtocolError(f"a {session.role.value} does not send {direction.name} records")
    name = session.suite.hash_name
    digest = kdf.digest(name, model_hash, payload)
    if session.sealed_round == session.round and not kdf.equal(session.sealed_digest, digest):
        raise LocalProtocolError(f"a second, different record in round {session.round} would use its key twice")
    session.sealed_round, session.sealed_digest = session.round, digest
    cipher = _cipher(session, session.root, direction, model_hash)
    total = max(1, -(-len(payload) // CHUNK))
    frames: list[bytes] = []
    for seq in range(total):
        header = _header(session, direction, seq, total)
        piece = payload[seq * CHUNK : (seq + 1) * CHUNK]
        frames += [header, cipher.seal(seq, piece, header + session.federation, _CHANNEL)]
    return b"".join(frames)


def _open(session: Session, root: bytes, direction: Direction, model_hash: bytes, record: bytes) -> bytes:
    cipher = _cipher(session, root, direction, model_hash)
    total = -(-len(record) // (CHUNK + _OVERHEAD))
    pieces = []
    for seq, frame in enumerate(_frames(record)):
        header = _header(session, direction, seq, total)
        if frame[: _HEADER.size] != header:
            raise DecodeError(f"frame {seq + 1} of {total} has the header of another record or position")
        pieces.append(cipher.open(seq, frame[_HEADER.size :], header + session.federation, _CHANNEL))
    return b"".join(pieces)


def _open_under_either(session: Session, record: bytes) -> bytes:
    """While a KEM ratchet is unconfirmed the server may use the new root or the old one; the record says which."""
    if session.state is not State.ANSWERED:
        return _open(session, session.root, Direction.DOWN, NO_MODEL, record)
    try:
        payload = _open(session, session.candidate, Direction.DOWN, NO_MODEL, record)
    except AuthError:
        payload = _open(session, session.root, Direction.DOWN, NO_MODEL, record)
        session.settle(confirmed=False)
        return payload
    session.settle(confirmed=True)
    return payload


def _check_outline(session: Session, direction: Direction, record: bytes, limit: int) -> None:
    if len(record) > limit:
        raise DecodeError(f"a record of {len(record)} bytes is longer than the {limit} allowed")
    tail = len(record) % (CHUNK + _OVERHEAD)
    if len(record) < _OVERHEAD or 0 < tail < _OVERHEAD:
        raise DecodeError(f"{len(record)} bytes are not whole frames of a record")
    kind, version, suite, _, epoch, _, _, _ = _HEADER.unpack_from(record)
    if (kind, version, suite) != (direction.value[0], VERSION, session.suite.number):
        raise DecodeError(f"a record has type, version, suite {(kind, version, suite)}, not those of this session")
    if epoch != session.epoch:
        raise DecodeError(f"a record of epoch {epoch} arrives in a session of epoch {session.epoch}")


def _round_of(record: bytes) -> int:
    number: int = _HEADER.unpack_from(record)[5]
    return number


def _frames(record: bytes) -> Iterator[bytes]:
    size = CHUNK + _OVERHEAD
    return (record[at : at + size] for at in range(0, len(record), size))


def _header(session: Session, direction: Direction, seq: int, total: int) -> bytes:
    flags = _LAST if seq == total - 1 else 0
    kind, suite = direction.value[0], session.suite.number
    return _HEADER.pack(kind, VERSION, suite, flags, session.epoch, session.round, seq, total)


def _cipher(session: Session, root: bytes, direction: Direction, model_hash: bytes) -> Cipher:
    bound = model_hash + session.device_id + session.transcript
    key = kdf.mac(session.suite.hash_name, root, direction.value[1], bound)
    return session.suite.aead.key(key[:KEY_BYTES])
