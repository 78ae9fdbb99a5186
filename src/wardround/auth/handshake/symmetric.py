"""The symmetric state of the handshake, in Noise's manner (revision 34, section 5.2; docs/protocol/handshake.md).

    h0 = ck0 = H(PROTOCOL || suite's name)
    prologue: MixHash(version, suite, length of federation, federation), MixHash(pk_A), MixHash(exporter) inside TLS

Laws: two ends that mixed the same values in the same order hold the same (h, ck, k, counter); one difference anywhere and
nothing sealed by one opens for the other. A key made by MixKey seals with counters 0, 1, ... and is replaced by the
next MixKey, so no (key, nonce) pair repeats.

What it does not do: know messages or roles.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from wardround.auth.suites import VERSION, Suite
from wardround.crypto import kdf, labels
from wardround.crypto.aead import KEY_BYTES, Cipher
from wardround.errors import LocalProtocolError
from wardround.wire import message

_PROLOGUE = struct.Struct(">BBI")


@message(0x3101)
@dataclass(frozen=True)
class SymmetricBytes:
    """A symmetric state at rest; secret."""

    h: bytes
    chaining_key: bytes = field(repr=False)
    key: bytes = field(repr=False)
    counter: int


@dataclass(frozen=True)
class Split:
    """What the finished handshake leaves: the session's root, a key for other protocols, the key of the confirmation."""

    root: bytes = field(repr=False)
    exporter: bytes = field(repr=False)
    confirm: bytes = field(repr=False)

    def __repr__(self) -> str:
        return "Split(...)"


class SymmetricState:
    """(h, ck, k, counter) of one handshake."""

    __slots__ = ("_cipher", "_hash", "_key", "ck", "counter", "h", "suite")

    def __init__(self, suite: Suite, h: bytes, ck: bytes, key: bytes = b"", counter: int = 0) -> None:
        self.suite, self.h, self.ck, self.counter = suite, h, ck, counter
        self._key, self._hash = key, kdf.hasher(suite.hash_name)
        self._cipher: Cipher | None = None  # made on first use: two of the four keys of a handshake seal nothing

    @classmethod
    def start(cls, suite: Suite, federation: bytes, server_public: bytes, binding: bytes = b"") -> SymmetricState:
        """h0 and the prologue. ``binding``: the TLS exporter where the handshake runs inside TLS, else empty."""
        h = kdf.digest(suite.hash_name, labels.PROTOCOL, suite.name.encode())
        state = cls(suite, h, h)
        state.mix_hash(_PROLOGUE.pack(VERSION, suite.number, len(federation)) + federation)
        state.mix_hash(server_public)
        if binding:
            state.mix_hash(binding)
        return state

    def copy(self) -> SymmetricState:
        """A twin to try a message on; the original stays as it is when the message is refused."""
        twin = object.__new__(SymmetricState)
        twin.suite, twin.h, twin.ck, twin.counter = self.suite, self.h, self.ck, self.counter
        twin._key, twin._cipher, twin._hash = self._key, self._cipher, self._hash
        return twin

    def mix_hash(self, data: bytes) -> None:
        self.h = self._hash(self.h + data).digest()

    def mix_key(self, secret: bytes) -> None:
        self.ck, key = kdf.chain(self.suite.hash_name, self.ck, secret, 2)
        self._set_key(key)

    def mix_key_and_hash(self, secret: bytes) -> None:
        self.ck, hashed, key = kdf.chain(self.suite.hash_name, self.ck, secret, 3)
        self.mix_hash(hashed)
        self._set_key(key)

    def seal(self, plaintext: bytes) -> bytes:
        """Encrypt under k with h bound, then mix the ciphertext in."""
        sealed = self._ready().seal(self.counter, plaintext, self.h)
        self.counter += 1
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        """The plaintext of the peer's ``seal``.

        Raises:
            AuthError: the peer mixed something else.
        """
        plaintext = self._ready().open(self.counter, sealed, self.h)
        self.counter += 1
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> Split:
        return Split(*kdf.chain(self.suite.hash_name, self.ck, b"", 3))

    def pack(self) -> SymmetricBytes:
        return SymmetricBytes(self.h, self.ck, self._key, self.counter)

    @classmethod
    def unpack(cls, suite: Suite, packed: SymmetricBytes) -> SymmetricState:
        return cls(suite, packed.h, packed.chaining_key, packed.key, packed.counter)

    def _set_key(self, key: bytes) -> None:
        self._key, self.counter = key[:KEY_BYTES], 0
        self._cipher = None

    def _ready(self) -> Cipher:
        if self._cipher is None:
            if not self._key:
                raise LocalProtocolError("sealing before the first key was mixed in")
            self._cipher = self.suite.aead.key(self._key)
        return self._cipher


def psk_mac(suite: Suite, psk: bytes, h: bytes) -> bytes:
    """The early MAC of M1: 16 bytes that only a holder of the device's pre-shared key can make for this transcript."""
    key = kdf.mac(suite.hash_name, psk, labels.PSK_EARLY)[:KEY_BYTES]
    return kdf.mac(suite.hash_name, key, h)[:16]


def confirmation(suite: Suite, split: Split, h: bytes) -> bytes:
    """The key confirmation inside M3 (AEADs do not commit to keys): 32 bytes."""
    return kdf.mac(suite.hash_name, split.confirm, h)[:32]
