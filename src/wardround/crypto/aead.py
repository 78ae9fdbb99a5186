"""Authenticated encryption with a counter nonce: ChaCha20-Poly1305 (RFC 8439) and AES-256-GCM (SP 800-38D).

Nonces are ``channel (4 bytes) || counter (8 bytes)``. Law: under one key the pair (channel, counter) is used for one
plaintext only; whoever holds the key keeps that law (handshake: a fresh key per MixKey; records: one seal per round).

What it does not do: commit to the key (no AEAD here does); the handshake confirms keys explicitly instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from wardround.errors import AuthError

KEY_BYTES = 32
TAG_BYTES = 16


@dataclass(frozen=True)
class Aead:
    """An algorithm; ``Aead.key`` makes a cipher of it."""

    name: str
    _make: Callable[[bytes], Any]

    def key(self, key: bytes) -> Cipher:
        """The cipher under ``key`` (32 bytes).

        Raises:
            ValueError: the key has another length.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"{self.name} takes a key of {KEY_BYTES} bytes, not {len(key)}")
        return Cipher(self._make(key))


class Cipher:
    """One key. Its repr shows nothing of it."""

    __slots__ = ("_algorithm",)

    def __init__(self, algorithm: Any) -> None:
        self._algorithm = algorithm

    def seal(self, counter: int, plaintext: bytes, bound: bytes, channel: int = 0) -> bytes:
        """Ciphertext and tag: 16 bytes longer than ``plaintext``; ``bound`` is authenticated, not sent."""
        sealed: bytes = self._algorithm.encrypt(_nonce(channel, counter), plaintext, bound)
        return sealed

    def open(self, counter: int, sealed: bytes, bound: bytes, channel: int = 0) -> bytes:
        """The plaintext of ``seal``.

        Raises:
            AuthError: key, nonce, bytes or ``bound`` differ.
        """
        try:
            plaintext: bytes = self._algorithm.decrypt(_nonce(channel, counter), sealed, bound)
        except InvalidTag as error:
            raise AuthError("a sealed message does not open") from error
        return plaintext


CHACHA20_POLY1305 = Aead("ChaCha20-Poly1305", ChaCha20Poly1305)
AES_256_GCM = Aead("AES-256-GCM", AESGCM)


def _nonce(channel: int, counter: int) -> bytes:
    return channel.to_bytes(4, "big") + counter.to_bytes(8, "big")
