"""The server's end of the handshake (docs/protocol/handshake.md, "Server").

    M1 -> M2, or a retry with a cookie under load;  M3 -> the session, in the book

The gate's order: length and header, mac1, rate of the source, cookie, replay, then the first decapsulation; the psk's MAC
before any encapsulation or stored state. Laws: a refused message changes nothing but counters of fixed size; unknown
device, wrong psk, quarantined and revoked raise one ``AuthError("denied")`` after the same work; a half-open handshake
survives ``failures - 1`` wrong M3s; an older session is replaced only after M3 verified.

What it does not do: persist half-open handshakes or the memory of seen M1s. After a restart a device begins again, and an
M1 replayed then costs one M2 that nobody can answer.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import NamedTuple

from wardround.auth.book import DENIED, Book
from wardround.auth.handshake import messages
from wardround.auth.handshake.gate import Gate, Limits
from wardround.auth.handshake.messages import Hello, Params
from wardround.auth.handshake.symmetric import SymmetricState, confirmation, psk_mac
from wardround.auth.identity import ServerIdentity
from wardround.auth.roster import Entry, Roster
from wardround.auth.session import Role, Session
from wardround.auth.step import Step
from wardround.crypto import kdf
from wardround.crypto.kem import Entropy
from wardround.errors import AuthError, RemoteProtocolError


class State(Enum):
    """Of one handshake, as the server sees it."""

    NONE = "nothing stored"
    HALF_OPEN = "half open"
    DONE = "session in the book"


class Event(Enum):
    HELLO = "M1 accepted / send M2"
    LOADED = "M1 under load without a good cookie / send retry"
    CONFIRM = "M3 accepted / session"
    WRONG = "wrong M3, fewer than four"
    DROP = "fourth wrong M3, time is up, too many half open, or device cut"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.NONE: {Event.HELLO: State.HALF_OPEN, Event.LOADED: State.NONE},
    State.HALF_OPEN: {Event.CONFIRM: State.DONE, Event.WRONG: State.HALF_OPEN, Event.DROP: State.NONE},
    State.DONE: {},
}


class _HalfOpen(NamedTuple):
    symmetric: SymmetricState
    device_id: bytes
    params: Params
    since: float
    failures: int = 0


class Responder:
    """All handshakes of one server in one epoch. ``book`` holds what outlives them."""

    def __init__(
        self, identity: ServerIdentity, book: Book, entropy: Entropy, limits: Limits | None = None, binding: bytes = b""
    ) -> None:
        self.identity, self.book = identity, book
        # the prologue is the same for every M1, so it is hashed once
        self._prologue = SymmetricState.start(identity.suite, identity.federation, identity.key.public, binding)
        self.limits = limits or Limits()
        self._gate = Gate(self.limits, entropy(32))
        self._stranger = entropy(32)  # stands for the psk of a device that does not exist
        self._pending: OrderedDict[bytes, _HalfOpen] = OrderedDict()

    @property
    def pending(self) -> int:
        """How many handshakes are half open."""
        return len(self._pending)

    def receive(self, data: bytes, source: bytes, now: float, entropy: Entropy) -> Step:
        """Take M1 or M3. ``source`` is the address it came from (any bytes; empty where there is none).

        Raises:
            DecodeError: the bytes are neither.
            AuthError: mac1, the psk's MAC or the confirmation does not hold, or the device may not take part.
            RemoteProtocolError: a replay, too many handshakes, or no such handshake.
        """
        self._drop_old(now)
        if data[:1] == bytes([messages.CONFIRM]):
            return self._confirm(data)
        return self._hello(data, source, now, entropy)

    def expire(self, now: float) -> Step:
        """Drop half-open handshakes that are too old; to be called at ``Step.wake``."""
        self._drop_old(now)
        return Step(wake=self._wake())

    def cut(self, device_id: bytes) -> None:
        """A device was revoked or quarantined: its half-open handshakes and its session end now."""
        for sid in [sid for sid, half in self._pending.items() if half.device_id == device_id]:
            del self._pending[sid]
        self.book.cut(device_id)

    def to_bytes(self) -> bytes:
        """What must survive a restart: the book."""
        return self.book.to_bytes()

    @classmethod
    def from_bytes(cls, identity: ServerIdentity, roster: Roster, data: bytes, entropy: Entropy) -> Responder:
        """A responder with the book of ``to_bytes`` and no half-open handshake.

        Raises:
            DecodeError: damaged bytes.
        """
        return cls(identity, Book.from_bytes(identity.suite, roster, data), entropy)

    def _drop_old(self, now: float) -> None:
        oldest = now - self.limits.pending_seconds
        while self._pending and next(iter(self._pending.values())).since <= oldest:
            self._pending.popitem(last=False)

    def _hello(self, data: bytes, source: bytes, now: float, entropy: Entropy) -> Step:
        hello = messages.parse_hello(self.identity.suite, data)
        retry = self._knock(hello, source, now)
        if retry is not None:
            return retry
        digest = kdf.digest("sha256", hello.body)
        if digest in self._gate.seen:
            raise RemoteProtocolError("this M1 was answered before")
        state, entry = self._recognise(hello)
        ephemeral = self.identity.suite.kem.load(hello.ephemeral)
        if not self._gate.device_allowed(entry.device_id, now):
            raise RemoteProtocolError("too many handshakes of one device")
        self._gate.seen.add(digest)
        token, sid = self.book.token, entropy(messages.SID_BYTES)
        params = Params(token.epoch, token.round, self.book.roster.revocation_epoch, token.model_hash, entropy(16))
        header = messages.reply_header(self.identity.suite, sid, hello.sid)
        state.mix_hash(header)
        secret, to_ephemeral = ephemeral.encapsulate(entropy)
        state.mix_hash(to_ephemeral)
        state.mix_key(secret)
        secret, to_device = entry.recipient.encapsulate(entropy)
        state.mix_hash(to_device)
        state.mix_key(secret)
        state.mix_hash(entry.public)
        state.mix_key_and_hash(entry.psk)
        sealed = state.seal(params.build())
        self._remember(sid, _HalfOpen(state, entry.device_id, params, now))
        return Step(send=header + to_ephemeral + to_device + sealed, wake=self._wake())

    def _knock(self, hello: Hello, source: bytes, now: float) -> Step | None:
        """The cheap checks; a retry where a cookie is asked for."""
        if not kdf.equal(hello.mac1, messages.mac1(self.identity.mac1_key, hello.macked)):
            raise AuthError("M1 was not made for this server (mac1)")
        if not self._gate.source_allowed(source, now):
            raise RemoteProtocolError("too many handshakes from one source")
        loaded = len(self._pending) >= self.limits.cookie_above
        if loaded and (hello.cookie == messages.NO_COOKIE or not self._gate.cookie_holds(hello, source, now)):
            return Step(send=messages.retry(self._gate.cookie(hello, source, now)), wake=self._wake())
        return None

    def _recognise(self, hello: Hello) -> tuple[SymmetricState, Entry]:
        """Who sent M1. The four refusals are one, and the MAC is computed for strangers too."""
        suite, key = self.identity.suite, self.identity.key
        state = self._prologue.copy()
        state.mix_hash(hello.header)
        state.mix_hash(hello.ephemeral)
        state.mix_hash(hello.ciphertext)
        state.mix_key(key.decapsulate(hello.ciphertext))
        device_id = state.open(hello.sealed_id)
        entry = self.book.roster.get(device_id)
        psk = entry.psk if entry else self._stranger
        holds = kdf.equal(hello.psk_mac, psk_mac(suite, psk, state.h))
        allowed = self.book.roster.may_authenticate(device_id)
        if entry is None or not holds or not allowed:
            raise AuthError(DENIED)
        state.mix_hash(hello.psk_mac)
        return state, entry

    def _confirm(self, data: bytes) -> Step:
        suite = self.identity.suite
        confirm = messages.parse_confirm(suite, data)
        half = self._pending.get(confirm.server_sid)
        if half is None:
            raise RemoteProtocolError("M3 belongs to no half-open handshake")
        if not self.book.roster.may_authenticate(half.device_id):
            self._pending.pop(confirm.server_sid)
            raise AuthError(DENIED)
        state = half.symmetric.copy()
        state.mix_hash(confirm.header)
        split = state.split()
        want = confirmation(suite, split, state.h)
        try:
            if not kdf.equal(state.open(confirm.sealed), want):
                raise AuthError("M3 does not confirm the keys")
        except AuthError:
            self._count_failure(confirm.server_sid, half)
            raise
        self._pending.pop(confirm.server_sid)
        names = (self.identity.federation, half.device_id, confirm.server_sid)
        session = Session.agreed(Role.SERVER, suite, names, (split, state.h), half.params)
        self.book.admit(session)
        return Step(wake=self._wake(), done=session)

    def _count_failure(self, sid: bytes, half: _HalfOpen) -> None:
        if half.failures + 1 >= self.limits.failures:
            self._pending.pop(sid)
        else:
            self._pending[sid] = half._replace(failures=half.failures + 1)

    def _remember(self, sid: bytes, half: _HalfOpen) -> None:
        while len(self._pending) >= self.limits.pending:
            self._pending.popitem(last=False)
        self._pending[sid] = half

    def _wake(self) -> float | None:
        if not self._pending:
            return None
        return next(iter(self._pending.values())).since + self.limits.pending_seconds
