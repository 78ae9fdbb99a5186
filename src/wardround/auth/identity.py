"""Long-term material of the two ends, and what a device remembers between handshakes.

A device holds a KEM seed, a pre-shared key and the server's public key; it signs nothing and has no clock. Its only notion
of time is its memory: the highest epoch, round and revocation epoch it has seen. Law: memory only ever grows
(``Memory.after`` raises where a server would turn it back), and is stored before anything that depends on it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

from wardround.auth.handshake.messages import mac1_key
from wardround.auth.suites import Suite
from wardround.crypto import kdf, labels
from wardround.crypto.kem import KemKey, Recipient
from wardround.errors import RemoteProtocolError
from wardround.wire import message

PSK_BYTES = 32


class Standpoint(Protocol):
    """Where a server says the federation stands."""

    @property
    def epoch(self) -> int: ...

    @property
    def round(self) -> int: ...

    @property
    def revocation_epoch(self) -> int: ...


def device_id(federation: bytes, public: bytes) -> bytes:
    """32 bytes that stand for a device on the wire instead of a certificate."""
    return kdf.digest("sha256", labels.DEVICE_ID, federation, public)


@dataclass(frozen=True)
class DeviceIdentity:
    """What a gateway authenticates with; made by enrolment, stored by drivers/store/keys.py."""

    suite: Suite
    federation: bytes
    key: KemKey = field(repr=False)
    psk: bytes = field(repr=False)
    server_public: bytes = field(repr=False)

    @cached_property
    def device_id(self) -> bytes:
        return device_id(self.federation, self.key.public)

    @cached_property
    def server(self) -> Recipient:
        return self.suite.kem.load(self.server_public)

    @cached_property
    def mac1_key(self) -> bytes:
        return mac1_key(self.server_public)


@dataclass(frozen=True)
class ServerIdentity:
    """The aggregation server's static KEM key of one epoch."""

    suite: Suite
    federation: bytes
    key: KemKey = field(repr=False)

    @cached_property
    def mac1_key(self) -> bytes:
        return mac1_key(self.key.public)


@message(0x3001)
@dataclass(frozen=True)
class Memory:
    """What a device must not forget: floors, and a counter of handshakes it began (mixed into its ephemeral seeds)."""

    epoch: int = 0
    round: int = 0
    revocation_epoch: int = 0
    attempts: int = 0

    def began(self) -> Memory:
        return replace(self, attempts=self.attempts + 1)

    def after(self, params: Standpoint) -> Memory:
        """The memory after an authenticated standpoint (M2's params or an announcement).

        Raises:
            RemoteProtocolError: it lies before what this device has seen; a rolled-back or replayed server is refused.
        """
        now, seen = (params.epoch, params.round), (self.epoch, self.round)
        if now < seen:
            raise RemoteProtocolError(f"the server went back from epoch, round {seen} to {now}")
        if params.revocation_epoch < self.revocation_epoch:
            was = self.revocation_epoch
            raise RemoteProtocolError(
                f"the server's revocation epoch went back from {was} to {params.revocation_epoch}"
            )
        return replace(self, epoch=now[0], round=now[1], revocation_epoch=params.revocation_epoch)
