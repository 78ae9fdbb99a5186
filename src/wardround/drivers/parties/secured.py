"""Layer 1 on the broker: no handshake, no round. The one place where bodies are sealed going out and opened coming in.

    coordinator                              gateway
    sign of life without a live session  ->  Invitation (the server's signed key), on "invite"
    knock: M1 / M3 (request, reply)      <-  M2 comes back as the reply
    Notice.record + sealed body          ->  opened before the agent sees a byte
    record in the place of the answer    <-  sealed after the agent made it

A body is opaque here; its position is the exchange's number behind ``base``, so whatever a round sends (asks, shares, votes) is
bound to device, session, federation, epoch, position and to the ask that it answers. Each end stores its sessions before it
sends what depends on them; who lost a session authenticates again. A registrar's new export is read while the run goes on
and cuts off whom it drops at once, in the middle of a round too.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from wardround.auth.broadcast import open_body
from wardround.auth.credential import Anchor, Descriptor
from wardround.auth.device_end import DeviceEnd
from wardround.auth.handshake.gate import Limits
from wardround.auth.identity import ServerIdentity
from wardround.auth.roster import Roster, RosterBytes
from wardround.auth.server_end import SERVED, ServerEnd
from wardround.auth.trust import State
from wardround.crypto import kdf, labels
from wardround.drivers.store.export import read_export
from wardround.drivers.store.state import DiskError
from wardround.errors import AuthError, LocalProtocolError, RemoteProtocolError, UsageError, WardroundError
from wardround.events import Emit, Note
from wardround.wire import message

INVITE_S = 0.5  # a peer is invited at most this often
LOOK_S = 0.2  # the registrar's export is looked at this often
COIN_S = 5.0
REFUSED_TEXT = "the server refused the handshake"


@message(0x4730)
@dataclass(frozen=True)
class Invitation:
    """Authenticate now: ``descriptor`` is the server's key, signed by the federation's issuer."""

    descriptor: bytes


@message(0x4731)
@dataclass(frozen=True)
class KnockReply:
    """M2, a retry, or nothing after M3; ``refused``: the one refusal, whatever the reason."""

    data: bytes
    refused: bool


@dataclass(frozen=True)
class Sealed:
    """A body ready for the broker, and what a device needs to open it."""

    data: bytes
    key: bytes = field(repr=False)
    digest: bytes


@dataclass(frozen=True)
class Export:
    """The registrar's export as it was read: roster, server key, that key as signed."""

    roster: RosterBytes
    descriptor: Descriptor
    signed: bytes


@dataclass(frozen=True)
class Papers:
    """What the coordinator brings: anchor, its own key, and the file of the registrar's export."""

    anchor: Anchor
    identity: ServerIdentity
    export: Path

    def read(self) -> Export:
        """The export as it is now.

        Raises:
            UsageError: it is missing or wrong, or its server key is not the one that is here.
        """
        export = Export(*read_export(self.export, self.anchor))
        if export.descriptor.public != self.identity.key.public:
            raise UsageError(
                f"{self.export} names another server key than the one here: wardround registry publish server.pub, then export"
            )
        return export


class ServerGuard:
    """The coordinator's end. ``save`` puts its bytes on the disk; ``limits``: what a slow transport needs otherwise."""

    def __init__(
        self,
        papers: Papers,
        run: str,
        stored: bytes | None,
        save: Callable[[bytes], None],
        emit: Emit,
        *,
        limits: Limits = SERVED,
    ) -> None:
        self._papers, self._save, self._emit = papers, save, emit
        export = papers.read()
        self._descriptor = export.signed
        self._seen = _stamp(papers.export)
        roster = Roster(papers.identity.suite)
        roster.update(export.roster)
        course = (
            run,
            export.descriptor.epoch_from,
            time.time_ns() // 1_000_000,
        )  # behind all that was announced before
        if stored is None:
            self.end = ServerEnd.begin(papers.identity, roster, course, os.urandom, limits)
        else:
            self.end = _resumed(papers, roster, course, stored, limits)
        self._bodies: dict[bytes, Sealed] = {}
        self._turn = -1
        self._invited: dict[str, float] = {}
        self._cut: set[str] = set()
        self.handshakes = 0
        self.refused = 0
        self.changed: Callable[[], None] = _nothing
        self.evidence: Callable[[bytes], None] = _nothing_of
        self.authenticated: Callable[[bytes], None] = _nothing_of
        self.store()

    def store(self) -> None:
        """Sessions on the disk.

        Raises:
            DiskError: the disk did not take them.
        """
        self._save(self.end.to_bytes())

    # --- handshakes

    def invitation(self, peer: str, session: bytes) -> Invitation | None:
        """What to tell a peer that gave a sign of life with ``session``; None: its session stands, or it was told just now."""
        if session and session == self.end.session_id(peer) and self.end.live(peer):
            return None
        now = time.monotonic()
        if now - self._invited.get(peer, -INVITE_S) < INVITE_S:
            return None
        self._invited[peer] = now
        return self.invite()

    def invite(self) -> Invitation:
        """What invites anybody to authenticate."""
        return Invitation(self._descriptor)

    def knock(self, peer: str, data: bytes) -> tuple[KnockReply, bool]:
        """(the reply, whether a session stands now)."""
        before = self.end.session_id(peer)
        try:
            reply = self.end.knock(peer, data, time.monotonic(), os.urandom)
        except RemoteProtocolError as error:
            self.refused += 1
            self._emit(Note("auth.refused", f"{peer}: {error}"))
            return KnockReply(b"", True), False
        session = self.end.session_id(peer)
        if session == before or not session:
            return KnockReply(reply, False), False
        self.handshakes += 1
        self.store()
        self.authenticated(self.end.device_id(peer))
        self._emit(Note("auth.session", f"{peer} has authenticated"))
        return KnockReply(reply, False), True

    # --- exchanges

    def may(self, peer: str) -> bool:
        """Whether the peer may be invited to the next exchange: a live session, or one to be had at once (probation).

        On probation a coin decides: half the exchanges are half the weight, under a secure sum too. It is thrown anew every
        ``COIN_S`` seconds, so that a federation that needs this very peer waits, but not for ever.
        """
        if self.end.state(peer) is State.PROBATION and not self._coin(peer):
            return False
        return self.end.live(peer) or (self.end.allowed(peer) and self.end.session_id(peer) != b"")

    def _coin(self, peer: str) -> bool:
        throw = f"{self._turn} {int(time.monotonic() // COIN_S)} {peer}".encode()
        return bool(kdf.mac("sha256", self.end.secret, labels.COIN, throw)[0] & 1)

    @property
    def barred(self) -> frozenset[str]:
        """Peers that were cut off since the exchange opened: nobody waits for them."""
        return frozenset(self._cut)

    def body(self, turn: int, body: bytes) -> Sealed:
        """The body sealed for this exchange; the same one again gives the same bytes."""
        if turn != self._turn:
            self.end.turn(turn)
            self._turn, self._bodies = turn, {}
            self._cut.clear()
        sealed = Sealed(*self.end.body(turn, body))
        return self._bodies.setdefault(sealed.digest, sealed)

    def record(self, peer: str, sealed: Sealed) -> bytes | None:
        """What tells ``peer`` of a body; None where it has no live session. ``store`` before it is sent."""
        try:
            return self.end.seal(peer, sealed.digest, sealed.key, os.urandom)
        except AuthError:
            return None

    def opened(self, peer: str, turn: int, record: bytes) -> bytes:
        """The answer in a record of the exchange ``turn``; empty where it comes too late or was counted already.

        A gateway that is slower than the exchange may answer the one it was told of last; whether that is still of use the
        round decides.

        Raises:
            RemoteProtocolError: it is not the peer's, or not for this place.
        """
        if self.end.position(turn) != self.end.book.token.round and self.end.last_told(peer) != turn:
            return b""
        try:
            accepted = self.end.open(peer, record, turn)
        except RemoteProtocolError as error:
            self._emit(Note("auth.record", f"{peer}: a record is refused: {error}"))
            raise
        if accepted.evidence:
            self.evidence(accepted.evidence)
        return accepted.data

    def settle(self) -> None:
        """The exchange is closed, its outcome stored.

        Raises:
            DiskError: the disk did not take it.
        """
        self.end.settle()
        self.store()

    # --- the registry moves

    def look(self) -> bool:
        """Read the registrar's export again where it changed; says whether it did."""
        stamp = _stamp(self._papers.export)
        if stamp == self._seen:
            return False
        self._seen = stamp
        try:
            export = self._papers.read()
            lost = self.end.take(export.roster)
        except WardroundError as error:
            self._emit(Note("auth.export", f"the registrar's export is not taken: {error}"))
            return False
        self._descriptor = export.signed
        self._cut |= set(lost)
        for peer in lost:
            self._emit(Note("auth.cut", f"{peer} is cut off: the registrar no longer lets it take part"))
        with suppress(DiskError):  # they are stored before the next message in any case
            self.store()
        self.changed()
        return True

    async def watch(self) -> None:
        """``look`` until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()


class DeviceGuard:
    """A gateway's end. ``save`` puts its bytes on the disk."""

    def __init__(self, end: DeviceEnd, stored: bytes | None, save: Callable[[bytes], None], emit: Emit) -> None:
        self.end, self._save, self._emit = end, save, emit
        if stored is not None:
            end.restore(stored)
        self.handshakes = 0

    @property
    def session(self) -> bytes:
        """The live session's id, for signs of life; empty: none."""
        return self.end.session_id

    def invited(self, invitation: Invitation) -> bytes:
        """M1, stored.

        Raises:
            RemoteProtocolError: the invitation is not this federation's. DiskError: not stored.
        """
        hello = self.end.invited(invitation.descriptor, time.monotonic(), os.urandom)
        self._save(self.end.to_bytes())
        return hello

    def replied(self, reply: KnockReply) -> bytes:
        """What follows M2 (M3) or a retry (M1 once more), stored.

        Raises:
            RemoteProtocolError: refused, or not from our server. DiskError: not stored.
        """
        if reply.refused:
            raise AuthError(REFUSED_TEXT)
        before = self.end.session_id
        following = self.end.reply(reply.data)
        self.handshakes += self.end.session_id != before
        self._save(self.end.to_bytes())
        return following

    def failed(self, error: Exception) -> None:
        """A handshake came to nothing."""
        self._emit(Note("auth.refused", str(error)))

    def open(self, record: bytes, data: bytes) -> bytes:
        """The body that ``record`` tells of.

        Raises:
            RemoteProtocolError: not for this device, session or place, or the body is another one.
        """
        announced = self.end.hear(record)
        return open_body(announced.content, announced.model_hash, announced.round, data)

    def seal(self, body: bytes) -> bytes:
        """The record of an answer to what was opened last, stored.

        Raises:
            RemoteProtocolError: the session changed in between; the ask comes again. DiskError: not stored.
        """
        try:
            record = self.end.seal(body, os.urandom)
        except LocalProtocolError as error:
            raise RemoteProtocolError(f"this answer belongs to no ask of the present session: {error}") from error
        self._save(self.end.to_bytes())
        return record


def _resumed(papers: Papers, roster: Roster, course: tuple[str, int, int], stored: bytes, limits: Limits) -> ServerEnd:
    try:
        return ServerEnd.resume(papers.identity, roster, course, stored, os.urandom, limits=limits)
    except RemoteProtocolError as error:
        raise UsageError(f"{papers.export}: {error}: put the registrar's newest export there") from error


class Evidence:
    """The signed statements of answers, one a line in hex: what an audit checks against credentials (signed_update.py)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, evidence: bytes) -> None:
        """Append one."""
        with suppress(OSError), self._path.open("a", encoding="ascii") as file:
            file.write(evidence.hex() + "\n")


class Authenticated:
    """The list of devices that authenticated here, for the registrar (`wardround registry finish`): ids, one a line, public."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = set(path.read_text(encoding="ascii").split()) if path.exists() else set[str]()

    def add(self, device: bytes) -> None:
        """Note a device once."""
        if device.hex() not in self._known:
            self._known.add(device.hex())
            with suppress(OSError), self._path.open("a", encoding="ascii") as file:
                file.write(device.hex() + "\n")


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_mtime_ns, status.st_size, status.st_ino


def _nothing() -> None:
    return


def _nothing_of(data: bytes) -> None:
    del data
