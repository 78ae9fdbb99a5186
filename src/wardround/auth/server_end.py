"""The server's whole end of layer 1 behind one transport: peers by name, exchanges by position, bytes in and out.

    knock(peer, M1) -> M2   knock(peer, M3) -> session   turn(exchange)   seal(peer, H(body), key) -> record   open(peer, record)

A peer is a gateway's name, and its session counts only for the device that the registrar enrolled under that name. Laws: a
position never goes back, also over restarts and runs (``base``); a peer without a live session gets and gives nothing; a
device that the roster drops is cut off in the same call.

What is stored (``to_bytes``) is each session as it was when its last record of the open exchange was sealed: what came in since
comes in again after a restart, from the transport. What it does not do: time, files, the exchange's content.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from wardround.auth.book import DENIED, Accepted, Book, CountedBytes, RoundToken
from wardround.auth.broadcast import SECRET_BYTES, seal_body
from wardround.auth.handshake.gate import Limits
from wardround.auth.handshake.responder import Responder
from wardround.auth.identity import ServerIdentity
from wardround.auth.roster import Roster, RosterBytes
from wardround.auth.session import Session
from wardround.auth.signed_update import Place, verify
from wardround.auth.trust import State
from wardround.crypto.kem import Entropy
from wardround.errors import AuthError, RemoteProtocolError
from wardround.wire import decode, encode, message

SERVED = Limits(
    device_per_minute=120.0, cookie_above=1024
)  # behind a broker: peers are known by account, probation is frequent

NONE = -(1 << 62)


@message(0x4702)
@dataclass(frozen=True)
class ServerBytes:
    """A server's end at rest; secret. ``roster``: the version of the roster it had, so that no restart takes an older one."""

    token: RoundToken
    run: str
    base: int
    roster: int
    secret: bytes = field(repr=False)
    sessions: tuple[bytes, ...] = field(repr=False)
    counted: tuple[CountedBytes, ...]


@dataclass
class ServerEnd:
    """``base``: the position before the first exchange of ``run``; ``secret`` makes the keys of bodies; ``signed``: answers
    must be signed too (signed_update.py).
    """

    responder: Responder
    run: str
    base: int
    secret: bytes = field(repr=False)
    signed: bool = False

    def __post_init__(self) -> None:
        self._stored: dict[bytes, Session] = {}
        self._counted: tuple[CountedBytes, ...] = ()
        self._peer: dict[str, bytes] = {}
        self._named: dict[str, list[bytes]] = {}
        self._index()

    @classmethod
    def begin(
        cls,
        identity: ServerIdentity,
        roster: Roster,
        run: tuple[str, int, int],
        entropy: Entropy,
        limits: Limits = SERVED,
    ) -> ServerEnd:
        """A server without sessions. ``run``: (its name, epoch, position before its first exchange)."""
        name, epoch, base = run
        book = Book(identity.suite, roster, RoundToken(epoch, base))
        return cls(Responder(identity, book, entropy, limits), name, base, entropy(SECRET_BYTES))

    @classmethod
    def resume(
        cls,
        identity: ServerIdentity,
        roster: Roster,
        run: tuple[str, int, int],
        data: bytes,
        entropy: Entropy,
        *,
        limits: Limits = SERVED,
    ) -> ServerEnd:
        """The server of ``to_bytes``; another run, or a later epoch, begins behind everything that was announced before.

        Raises:
            DecodeError: damaged bytes.
            RemoteProtocolError: ``roster`` is older than the one it had.
        """
        packed = decode(data, ServerBytes)
        if roster.version < packed.roster:
            raise RemoteProtocolError(f"the roster went back from version {packed.roster} to {roster.version}")
        name, epoch, base = run
        kept = packed.base if packed.run == name else max(packed.token.round, base)
        book = Book(identity.suite, roster, packed.token)
        end = cls(Responder(identity, book, entropy, limits), name, kept, packed.secret)
        for stored in packed.sessions:
            session = Session.from_bytes(identity.suite, stored)
            end._admit(session)
            end._stored[session.device_id] = session.copy()
        book.restore_counted(packed.counted)
        end._counted = packed.counted
        if epoch > book.token.epoch:
            book.turn_to(RoundToken(epoch, max(book.token.round, kept)))
            end._stored.clear()
        return end

    @property
    def book(self) -> Book:
        return self.responder.book

    @property
    def roster(self) -> Roster:
        return self.responder.book.roster

    # --- handshakes

    def knock(self, peer: str, data: bytes, now: float, entropy: Entropy) -> bytes:
        """Answer a handshake message of ``peer``: M2 or a retry for M1, nothing for an M3 that is accepted.

        Raises:
            RemoteProtocolError: refused; whatever stands, stands.
        """
        step = self.responder.receive(data, peer.encode(), now, entropy)
        if step.done is None:
            return step.send or b""
        entry = self.roster.get(step.done.device_id)
        if entry is None or entry.name != peer:
            self.responder.cut(step.done.device_id)
            raise AuthError(DENIED)
        self._peer[peer] = step.done.device_id
        self._stored[step.done.device_id] = step.done.copy()
        return b""

    def session_id(self, peer: str) -> bytes:
        """Of the peer's session; empty: none."""
        session = self._session(peer)
        return session.session_id if session else b""

    def device_id(self, peer: str) -> bytes:
        """Of the peer's session; empty: none."""
        return self._peer.get(peer, b"")

    def live(self, peer: str) -> bool:
        """Whether a record can pass to and from ``peer`` now."""
        device = self._peer.get(peer)
        return device is not None and self.roster.may_authenticate(device) and not self.book.needs_handshake(device)

    def allowed(self, peer: str) -> bool:
        """Whether a device enrolled as ``peer`` may authenticate at all."""
        return any(self.roster.may_authenticate(device) for device in self._named.get(peer, ()))

    def state(self, peer: str) -> State:
        """The standing of the peer's device: of its session's, else the best enrolled under its name; unknown: revoked."""
        device = self._peer.get(peer)
        states = [self.roster.state(d) for d in ([device] if device else self._named.get(peer, ()))]
        known = [state for state in states if state is not None]
        return min(known, key=list(State).index) if known else State.REVOKED

    # --- exchanges

    def position(self, exchange: int) -> int:
        """The session round of an exchange of this run."""
        return self.base + exchange

    def turn(self, exchange: int, model_hash: bytes = bytes(32)) -> None:
        """Go to an exchange; the same one again changes nothing."""
        at = self.position(exchange)
        if at > self.book.token.round:
            self.book.turn_to(replace(self.book.token, round=at, model_hash=model_hash))

    def body(self, exchange: int, body: bytes) -> tuple[bytes, bytes, bytes]:
        """(sealed body, key, hash): ``broadcast.seal_body`` at this exchange's position."""
        return seal_body(self.secret, self.position(exchange), body)

    def seal(self, peer: str, digest: bytes, key: bytes, entropy: Entropy) -> bytes:
        """The record that tells ``peer`` of a body of the current exchange. Store ``to_bytes`` before sending it.

        Raises:
            AuthError: the peer has no live session.
        """
        session = self._session(peer)
        if session is None:
            raise AuthError(DENIED)
        record = self.book.announce(session.session_id, entropy, digest, key)
        self._stored[session.device_id] = session.copy()
        return record

    def last_told(self, peer: str) -> int:
        """The exchange that ``peer`` was told of last in its session; NONE: nothing yet."""
        session = self._session(peer)
        return NONE if session is None or session.sealed_round < 0 else session.sealed_round - self.base

    def open(self, peer: str, record: bytes, exchange: int | None = None) -> Accepted:
        """What ``peer`` answers in the current exchange, or in the earlier ``exchange`` that it was told of last.

        Raises:
            AuthError: no live session, or not sealed for this place.
            RemoteProtocolError: another round, or a second, different answer.
        """
        session = self._session(peer)
        if session is None:
            raise AuthError(DENIED)
        at = None if exchange is None else self.position(exchange)
        model_hash = session.model_hash
        accepted = self.book.accept(session.session_id, record, at)
        if not self.signed or accepted.repeated:
            return accepted
        entry = self.roster.get(session.device_id)
        where = self.book.token.round if at is None else at
        place = Place(session.federation, session.device_id, session.epoch, where, model_hash)
        payload, evidence = verify(entry.member if entry else b"", place, accepted.data)
        return replace(accepted, data=payload, evidence=evidence)

    def settle(self) -> None:
        """The exchange is closed and its outcome stored: sessions and counted records as they stand are what to keep."""
        self._stored = {session.device_id: session.copy() for session in self.book}
        self._counted = self.book.counted()

    def to_bytes(self) -> bytes:
        kept = [session for device, session in self._stored.items() if self.book.of_device(device) is not None]
        sessions = tuple(session.to_bytes() for session in kept)
        return encode(
            ServerBytes(self.book.token, self.run, self.base, self.roster.version, self.secret, sessions, self._counted)
        )

    # --- the registry moves

    def take(self, packed: RosterBytes) -> tuple[str, ...]:
        """A newer roster (opened with ``credential.open_roster``); gives the names that were cut off.

        Raises:
            RemoteProtocolError: an older one, or one that un-revokes a device.
        """
        lost = self.roster.update(packed)
        self._index()
        return self._cut(lost)

    def set_state(self, peer: str, state: State) -> None:
        """Change a standing at once, before the registrar's next export says so too.

        Raises:
            RemoteProtocolError: nobody is enrolled under that name, or a revoked device is to come back.
        """
        devices = self._named.get(peer, ())
        if not devices:
            raise RemoteProtocolError(f"no device is enrolled as {peer}")
        for device in devices:
            if self.roster.state(device) is not State.REVOKED:
                self.roster.set_state(device, state)
        self._cut(d for d in devices if not self.roster.may_authenticate(d))

    def _cut(self, devices: Iterable[bytes]) -> tuple[str, ...]:
        names = []
        for device in devices:
            self.responder.cut(device)
            self._stored.pop(device, None)
            names += [peer for peer, its in self._peer.items() if its == device]
        for name in names:
            self._peer.pop(name, None)
        return tuple(names)

    def _session(self, peer: str) -> Session | None:
        device = self._peer.get(peer)
        return self.book.of_device(device) if device else None

    def _admit(self, session: Session) -> None:
        entry = self.roster.get(session.device_id)
        if entry is not None and self.roster.may_authenticate(session.device_id):
            self.book.admit(session)
            self._peer[entry.name] = session.device_id

    def _index(self) -> None:
        self._named = {}
        for entry in self.roster:
            self._named.setdefault(entry.name, []).append(entry.device_id)
