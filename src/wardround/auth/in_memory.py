"""A server and its enrolled devices in one process, with the wire between them: for the simulation, benches and tests.

The machines are the deployed ones; only enrolment is skipped (keys are dealt out) and entropy may come from a seed, so that a
run can be repeated. Law: with the same seed and suite the long-term keys are the same; encapsulations are not, because the
library draws their coins itself.

What it does not do: protect anything. A seeded ``Entropy`` is for simulation and tests only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from wardround.auth.book import Book, RoundToken
from wardround.auth.handshake.gate import Limits
from wardround.auth.handshake.initiator import Initiator
from wardround.auth.handshake.responder import Responder
from wardround.auth.identity import DeviceIdentity, Memory, ServerIdentity
from wardround.auth.roster import Entry, Roster
from wardround.auth.session import Session
from wardround.auth.suites import DEFAULT, Suite
from wardround.crypto.kem import Entropy
from wardround.errors import LocalProtocolError

FEDERATION = b"in memory"
UNHURRIED = Limits(device_per_minute=1e9)  # virtual time stands still between handshakes, so rates mean nothing


class Seeded:
    """An entropy source that repeats itself: the same seed gives the same bytes in the same order."""

    def __init__(self, seed: str) -> None:
        self._seed, self._count = seed, 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(f"{self._seed} {self._count}".encode()).digest(size)


@dataclass
class World:
    """One server, its devices, and what each device remembers."""

    suite: Suite
    server: Responder
    devices: list[DeviceIdentity]
    entropy: Entropy
    memories: dict[bytes, Memory] = field(default_factory=dict)

    @property
    def book(self) -> Book:
        return self.server.book

    @property
    def roster(self) -> Roster:
        return self.server.book.roster

    def initiator(self, device: DeviceIdentity | int = 0) -> Initiator:
        """A fresh handshake of one device."""
        identity = self.devices[device] if isinstance(device, int) else device
        return Initiator(identity, self.memories.get(identity.device_id, Memory()))

    def hello(self, initiator: Initiator, now: float = 0.0) -> bytes:
        """M1."""
        return _sent(initiator.start(now, self.entropy).send)

    def to_server(self, data: bytes, now: float = 0.0, source: bytes = b"") -> bytes:
        """Deliver to the server; what it sends back.

        Raises:
            RemoteProtocolError: the server refuses the message.
        """
        return _sent(self.server.receive(data, source, now, self.entropy).send)

    def handshake(self, device: DeviceIdentity | int = 0, now: float = 0.0) -> tuple[Session, Session, list[bytes]]:
        """A whole handshake: (the device's session, the server's, the three messages).

        Raises:
            RemoteProtocolError: one of the two refuses the other.
        """
        initiator = self.initiator(device)
        m1 = self.hello(initiator, now)
        m2 = self.to_server(m1, now)
        step = initiator.receive(m2)
        m3 = _sent(step.send)
        done = self.server.receive(m3, b"", now, self.entropy).done
        self.memories[initiator.identity.device_id] = initiator.memory
        if step.done is None or done is None:
            raise LocalProtocolError("a handshake ended without a session")
        return step.done, done, [m1, m2, m3]

    def enrol(self, identities: Iterable[DeviceIdentity]) -> None:
        """Put more devices into the server's roster."""
        both = [*self.roster, *(entry(identity) for identity in identities)]
        self.book.roster = Roster(self.suite, both, self.roster.version, self.roster.revocation_epoch)


def device(suite: Suite, server_public: bytes, entropy: Entropy) -> DeviceIdentity:
    """A device that is not enrolled yet."""
    return DeviceIdentity(suite, FEDERATION, suite.kem.key(entropy(suite.kem.seed_bytes)), entropy(32), server_public)


def entry(identity: DeviceIdentity, name: str = "gateway", member: bytes = b"") -> Entry:
    """Its line in the roster; ``member``: its verification key, where it signs."""
    return Entry(identity.suite, identity.device_id, name, identity.key.public, identity.psk, member=member)


def world(
    count: int = 1,
    suite: Suite = DEFAULT,
    entropy: Entropy | None = None,
    token: RoundToken | None = None,
    limits: Limits = UNHURRIED,
) -> World:
    """A server with ``count`` enrolled devices at epoch 1, round 1."""
    entropy = entropy or Seeded("world")
    identity = ServerIdentity(suite, FEDERATION, suite.kem.key(entropy(suite.kem.seed_bytes)))
    devices = [device(suite, identity.key.public, entropy) for _ in range(count)]
    roster = Roster(suite, (entry(d, f"gateway-{i}") for i, d in enumerate(devices)))
    book = Book(suite, roster, token or RoundToken(1, 1))
    return World(suite, Responder(identity, book, entropy, limits), devices, entropy)


def _sent(data: bytes | None) -> bytes:
    if data is None:
        raise LocalProtocolError("a machine that should have answered sent nothing")
    return data
