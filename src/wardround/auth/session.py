"""A session across rounds: one root per round by a hash ratchet, and now and then a KEM ratchet that heals it.

    rk_r0 = HMAC(root, ROUND0 || epoch || round)
    rk_{r+1} = HMAC(rk_r, RATCHET || r+1)                 the old value is overwritten: forward secrecy per round
    rk = HKDF(rk, ss || H(ct || e_pk), HEAL)              after a KEM ratchet: secrecy comes back after a compromise

The hash ratchet is a pure function of the round number, so missed rounds and lost messages cannot desynchronise two ends;
at most ``MAX_SKIP`` rounds are skipped at once. The KEM ratchet is confirmed by use: the device keeps both roots until the
server's next record opens under one of them, so a lost answer costs a repetition and nothing else. Law: two ends that
agree on (root, epoch, round) agree on every later key, whatever was lost in between.

What it does not do: seal (record.py), or decide whether a device may still talk (book.py).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import Enum

from wardround.auth.handshake.messages import Params
from wardround.auth.handshake.symmetric import Split
from wardround.auth.identity import DeviceIdentity
from wardround.auth.suites import Suite
from wardround.crypto import kdf, labels
from wardround.crypto.kem import Entropy
from wardround.errors import DecodeError, LocalProtocolError, RemoteProtocolError
from wardround.wire import decode, encode, message

MAX_SKIP = 4096
HEAL_EVERY = 32
LIFETIME_ROUNDS = 8640  # thirty days of rounds of five minutes, then a full handshake
_START = struct.Struct(">IQ")


class Role(Enum):
    DEVICE = "device"
    SERVER = "server"


class State(Enum):
    LIVE = "live"
    OFFERED = "KEM ratchet offered"  # the server waits for a ciphertext
    ANSWERED = "KEM ratchet answered"  # the device waits for the server to use the new root


class Event(Enum):
    OFFER = "server / send e_pk"
    ANSWER = "device takes e_pk / send ct"
    HEAL = "server takes ct / new root"
    CONFIRM = "device: record opens under the new root"
    KEEP = "device: record opens under the old root"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.LIVE: {Event.OFFER: State.OFFERED, Event.ANSWER: State.ANSWERED},
    State.OFFERED: {Event.OFFER: State.OFFERED, Event.HEAL: State.LIVE},
    State.ANSWERED: {Event.CONFIRM: State.LIVE, Event.KEEP: State.LIVE},
}


@message(0x3201)
@dataclass(frozen=True)
class SessionBytes:
    """A session at rest; secret."""

    role: str
    state: str
    federation: bytes
    suite: int
    device_id: bytes
    session_id: bytes
    transcript: bytes
    exporter: bytes = field(repr=False)
    epoch: int
    first_round: int
    round: int
    root: bytes = field(repr=False)
    healed_round: int
    candidate: bytes = field(repr=False)
    offer_seed: bytes = field(repr=False)
    sealed_round: int
    sealed_digest: bytes
    opened_round: int
    announced: bytes
    model_hash: bytes


@dataclass
class Session:
    """One end. Fields change in place; ``copy`` gives a twin to try a record on."""

    role: Role
    suite: Suite
    federation: bytes
    device_id: bytes
    session_id: bytes
    transcript: bytes = field(repr=False)
    exporter: bytes = field(repr=False)
    epoch: int
    first_round: int
    round: int
    root: bytes = field(repr=False)
    healed_round: int
    candidate: bytes = field(default=b"", repr=False)
    offer_seed: bytes = field(default=b"", repr=False)
    sealed_round: int = -1
    sealed_digest: bytes = b""
    opened_round: int = -1
    announced: bytes = field(default=b"", repr=False)  # the server's last announcement, to repeat it byte for byte
    model_hash: bytes = (
        b""  # what the last announcement (of ``sealed_round``) named as the base of this device's answer
    )
    state: State = State.LIVE

    @classmethod
    def begin(
        cls, role: Role, identity: DeviceIdentity, session_id: bytes, secrets: tuple[Split, bytes], params: Params
    ) -> Session:
        """The device's session after M2; ``secrets`` are the split and the transcript hash it was confirmed with."""
        return cls.agreed(role, identity.suite, (identity.federation, identity.device_id, session_id), secrets, params)

    @classmethod
    def agreed(
        cls, role: Role, suite: Suite, names: tuple[bytes, bytes, bytes], secrets: tuple[Split, bytes], params: Params
    ) -> Session:
        """A session of (federation, device id, session id) from what a finished handshake agreed on."""
        federation, device_id, session_id = names
        split, transcript = secrets
        root = kdf.mac(suite.hash_name, split.root, labels.ROUND0, _START.pack(params.epoch, params.round))
        at = params.round
        return cls(
            role, suite, federation, device_id, session_id, transcript, split.exporter, params.epoch, at, at, root, at
        )

    def advance(self, to: int) -> None:
        """Ratchet to round ``to``; the roots in between are gone.

        Raises:
            RemoteProtocolError: ``to`` lies behind, or more than ``MAX_SKIP`` rounds ahead; nothing has changed.
        """
        if to < self.round or to - self.round > MAX_SKIP:
            reach = f"{self.round} to {self.round + MAX_SKIP}"
            raise RemoteProtocolError(f"round {to} is out of this session's reach ({reach}); a new handshake is needed")
        name = self.suite.hash_name
        for number in range(self.round + 1, to + 1):
            self.root = _ratchet(name, self.root, number)
            self.candidate = _ratchet(name, self.candidate, number) if self.candidate else b""
        self.round = to

    def expired(self, at: int) -> bool:
        """Whether round ``at`` needs a fresh handshake because this session is too old."""
        return at - self.first_round >= LIFETIME_ROUNDS

    def heal_due(self) -> bool:
        """Whether the server should offer a KEM ratchet now."""
        return self.role is Role.SERVER and self.round - self.healed_round >= HEAL_EVERY

    def offer(self, entropy: Entropy) -> bytes:
        """The server's fresh KEM key for a KEM ratchet; goes into an announcement. An unanswered offer is replaced."""
        self._move(Role.SERVER, Event.OFFER)
        self.offer_seed = entropy(self.suite.kem.seed_bytes)
        return self.suite.kem.key(self.offer_seed).public

    def answer(self, offered: bytes, entropy: Entropy) -> bytes:
        """The device's ciphertext for an offer; goes into its update. The new root waits until the server uses it.

        Raises:
            DecodeError: not a KEM key of this suite.
        """
        recipient = self.suite.kem.load(offered)
        secret, ciphertext = recipient.encapsulate(entropy)
        self._move(Role.DEVICE, Event.ANSWER)
        self.candidate = self._healed(secret, ciphertext, offered)
        return ciphertext

    def heal(self, ciphertext: bytes) -> None:
        """The server takes the device's ciphertext and uses the new root from now on.

        Raises:
            DecodeError: not a ciphertext of this suite.
        """
        if self.state is not State.OFFERED:
            raise RemoteProtocolError("a KEM ratchet is answered that was not offered")
        key = self.suite.kem.key(self.offer_seed)
        root = self._healed(key.decapsulate(ciphertext), ciphertext, key.public)
        self._move(Role.SERVER, Event.HEAL)
        self.root, self.offer_seed, self.healed_round = root, b"", self.round

    def settle(self, confirmed: bool) -> None:
        """The device learnt which root the server uses: the candidate, or still the old one."""
        self._move(Role.DEVICE, Event.CONFIRM if confirmed else Event.KEEP)
        if confirmed:
            self.root, self.healed_round = self.candidate, self.round
        self.candidate = b""

    def copy(self) -> Session:
        """A twin; every field is immutable, so a shallow copy is a full one."""
        twin = object.__new__(Session)
        twin.__dict__.update(self.__dict__)
        return twin

    def replace_with(self, twin: Session) -> None:
        """Commit what was tried on a copy."""
        self.__dict__.update(twin.__dict__)

    def to_bytes(self) -> bytes:
        values = {name: getattr(self, name) for name in SessionBytes.__dataclass_fields__}
        values |= {"role": self.role.value, "state": self.state.name, "suite": self.suite.number}
        return encode(SessionBytes(**values))

    @classmethod
    def from_bytes(cls, suite: Suite, data: bytes) -> Session:
        """The session of ``to_bytes``.

        Raises:
            DecodeError: damaged bytes, or a session of another suite.
        """
        packed = decode(data, SessionBytes)
        if packed.suite != suite.number or packed.state not in State.__members__:
            raise DecodeError(f"a stored session of suite {packed.suite} in state {packed.state} is not one of ours")
        values = {name: getattr(packed, name) for name in SessionBytes.__dataclass_fields__}
        try:
            role = Role(packed.role)
        except ValueError as error:
            raise DecodeError(f"a stored session has an unknown role {packed.role}") from error
        return cls(**values | {"role": role, "state": State[packed.state], "suite": suite})

    def _healed(self, secret: bytes, ciphertext: bytes, offered: bytes) -> bytes:
        name = self.suite.hash_name
        material = secret + kdf.digest(name, ciphertext, offered)
        return kdf.hkdf(name, self.root, material, labels.HEAL, self.suite.hash_bytes)

    def _move(self, role: Role, event: Event) -> None:
        after = TRANSITIONS[self.state].get(event)
        if after is None or self.role is not role:
            raise LocalProtocolError(
                f"a {self.role.value}'s session that is {self.state.value} cannot take: {event.value}"
            )
        self.state = after


def _ratchet(hash_name: str, root: bytes, number: int) -> bytes:
    return kdf.mac(hash_name, root, labels.RATCHET, number.to_bytes(8, "big"))
