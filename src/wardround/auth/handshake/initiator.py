"""The device's end of the handshake (docs/protocol/handshake.md, "Device").

    start -> M1;  M2 -> M3 and the session;  retry -> the same M1 with the cookie filled in;  expire -> given up

Every received message is processed on a copy of the symmetric state and committed only when all of it was accepted, so a
junk datagram costs nothing but its own parsing. Laws: a refused message leaves ``to_bytes()`` as it was; the session is
given out once; ``memory`` only grows, and the driver stores it before it sends what the same ``Step`` carries.

What it does not do: retransmit. A lost message ends in ``expire`` and a fresh handshake, because the server answers one
M1 once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from wardround.auth.handshake import messages
from wardround.auth.handshake.messages import Params
from wardround.auth.handshake.symmetric import SymmetricBytes, SymmetricState, confirmation, psk_mac
from wardround.auth.identity import DeviceIdentity, Memory
from wardround.auth.session import Role, Session
from wardround.auth.step import Step
from wardround.crypto import kdf, labels
from wardround.crypto.kem import Entropy, KemKey
from wardround.errors import DecodeError, LocalProtocolError, RemoteProtocolError
from wardround.wire import decode, encode, message


class State(Enum):
    IDLE = "idle"
    AWAIT_REPLY = "await M2"
    DONE = "done"
    FAILED = "failed"


class Event(Enum):
    START = "start / send M1"
    REPLY = "M2 accepted / send M3, session"
    RETRY = "retry / send M1 with cookie"
    EXPIRE = "time is up / give up"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.IDLE: {Event.START: State.AWAIT_REPLY},
    State.AWAIT_REPLY: {
        Event.REPLY: State.DONE,
        Event.RETRY: State.AWAIT_REPLY,
        Event.EXPIRE: State.FAILED,
    },
    State.DONE: {},
    State.FAILED: {},
}

WAIT_SECONDS = 10.0
MAX_RETRIES = 3  # a retry is not authenticated: whoever forges them can make a device send M1 this often, not for ever


@message(0x3110)
@dataclass(frozen=True)
class InitiatorBytes:
    """A handshake in flight on the device; secret."""

    state: str
    memory: Memory
    symmetric: SymmetricBytes | None
    ephemeral_seed: bytes = field(repr=False)
    hello: bytes
    deadline: float
    retries: int


class Initiator:
    """One handshake. ``identity`` is not part of its bytes: it comes from the key store."""

    def __init__(self, identity: DeviceIdentity, memory: Memory, binding: bytes = b"") -> None:
        self.identity, self.memory, self._binding = identity, memory, binding
        self.state = State.IDLE
        self._symmetric: SymmetricState | None = None
        self._ephemeral: KemKey | None = None
        self._hello = b""
        self._deadline = 0.0
        self._retries = 0
        self.params: Params | None = None  # what M2 said, once it was accepted

    def start(self, now: float, entropy: Entropy) -> Step:
        """M1."""
        after = self._next(Event.START)
        identity, suite = self.identity, self.identity.suite
        self.memory = self.memory.began()
        self._ephemeral = suite.kem.key(_ephemeral_seed(identity, self.memory.attempts, entropy))
        state = SymmetricState.start(suite, identity.federation, identity.server_public, self._binding)
        header = messages.hello_header(suite, entropy(messages.SID_BYTES))
        state.mix_hash(header)
        state.mix_hash(self._ephemeral.public)
        secret, ciphertext = identity.server.encapsulate(entropy)
        state.mix_hash(ciphertext)
        state.mix_key(secret)
        sealed_id = state.seal(identity.device_id)
        early = psk_mac(suite, identity.psk, state.h)
        state.mix_hash(early)
        macked = header + self._ephemeral.public + ciphertext + sealed_id + early
        self._hello = macked + messages.mac1(identity.mac1_key, macked)
        self._symmetric, self._deadline, self.state = state, now + WAIT_SECONDS, after
        return Step(send=self._hello + messages.NO_COOKIE, wake=self._deadline)

    def receive(self, data: bytes) -> Step:
        """Take M2 or a retry.

        Raises:
            DecodeError: the bytes are neither.
            AuthError: M2 does not prove that the server holds its key, or answers another M1.
            RemoteProtocolError: the server went back behind this device's memory, or sent too many retries.
            LocalProtocolError: nothing is awaited.
        """
        if data[:1] == bytes([messages.RETRY]):
            return self._take_cookie(messages.parse_retry(data))
        return self._take_reply(data)

    def expire(self, now: float) -> Step:
        """Give up where the deadline has passed; to be called at ``Step.wake``."""
        if self.state is State.AWAIT_REPLY and now >= self._deadline:
            self.state = self._next(Event.EXPIRE)
            self._forget()
        return Step(wake=self._deadline if self.state is State.AWAIT_REPLY else None)

    def to_bytes(self) -> bytes:
        return encode(
            InitiatorBytes(
                self.state.name,
                self.memory,
                self._symmetric.pack() if self._symmetric else None,
                self._ephemeral.seed if self._ephemeral else b"",
                self._hello,
                self._deadline,
                self._retries,
            )
        )

    @classmethod
    def from_bytes(cls, identity: DeviceIdentity, data: bytes, binding: bytes = b"") -> Initiator:
        """The machine of ``to_bytes``.

        Raises:
            DecodeError: damaged bytes.
        """
        packed = decode(data, InitiatorBytes)
        if packed.state not in State.__members__:
            raise DecodeError(f"a device's handshake is in no known state ({packed.state})")
        machine = cls(identity, packed.memory, binding)
        machine.state = State[packed.state]
        if packed.symmetric is not None:
            machine._symmetric = SymmetricState.unpack(identity.suite, packed.symmetric)
            machine._ephemeral = identity.suite.kem.key(packed.ephemeral_seed)
        machine._hello, machine._deadline, machine._retries = packed.hello, packed.deadline, packed.retries
        return machine

    def _take_cookie(self, cookie: bytes) -> Step:
        after = self._next(Event.RETRY)
        if self._retries >= MAX_RETRIES:
            raise RemoteProtocolError(f"more than {MAX_RETRIES} retries were asked for in one handshake")
        self._retries += 1
        self.state = after
        return Step(send=self._hello + cookie, wake=self._deadline)

    def _take_reply(self, data: bytes) -> Step:
        after = self._next(Event.REPLY)
        suite = self.identity.suite
        reply = messages.parse_reply(suite, data)
        if reply.device_sid != self._hello[4:12]:
            raise DecodeError("M2 answers another handshake")
        state, params = self._open_reply(reply)
        memory = self.memory.after(params)
        header = messages.confirm_header(suite, reply.server_sid)
        state.mix_hash(header)
        split = state.split()
        tag = confirmation(suite, split, state.h)
        sealed = state.seal(tag)
        session = Session.begin(Role.DEVICE, self.identity, reply.server_sid, (split, state.h), params)
        self.state, self.memory, self.params = after, memory, params  # only now: everything was accepted
        self._forget()
        return Step(send=header + sealed, done=session)

    def _open_reply(self, reply: messages.Reply) -> tuple[SymmetricState, Params]:
        assert self._symmetric is not None
        assert self._ephemeral is not None
        state, key = self._symmetric.copy(), self.identity.key
        state.mix_hash(reply.header)
        state.mix_hash(reply.to_ephemeral)
        state.mix_key(self._ephemeral.decapsulate(reply.to_ephemeral))
        state.mix_hash(reply.to_device)
        state.mix_key(key.decapsulate(reply.to_device))
        state.mix_hash(key.public)
        state.mix_key_and_hash(self.identity.psk)
        return state, Params.parse(state.open(reply.sealed_params))

    def _forget(self) -> None:
        """Drop what a later capture of this device must not find."""
        self._symmetric, self._ephemeral, self._hello = None, None, b""

    def _next(self, event: Event) -> State:
        after = TRANSITIONS[self.state].get(event)
        if after is None:
            raise LocalProtocolError(f"a device's handshake that is {self.state.value} cannot take: {event.value}")
        return after


def _ephemeral_seed(identity: DeviceIdentity, attempt: int, entropy: Entropy) -> bytes:
    """A broken random generator alone does not expose the ephemeral key (NAXOS): the long-term seed is mixed in."""
    material = identity.key.seed + attempt.to_bytes(8, "big") + entropy(64)
    return kdf.shake256(identity.suite.kem.seed_bytes, labels.EPHEMERAL, material)
