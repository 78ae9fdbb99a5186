"""The primitives of this layer, one algorithm each: ML-DSA-65, X-Wing (ML-KEM-768 + X25519), AES-256-GCM used once.

ML-DSA-65 (FIPS 204) and ML-KEM-768 (FIPS 203) are module-lattice schemes; X-Wing's secret stands while either of its
halves does. A sealing key is used for one message only, so a fixed nonce is safe.
"""

from __future__ import annotations

from functools import cached_property

from wardround.crypto.aead import AES_256_GCM, TAG_BYTES
from wardround.crypto.kem import X_WING, Entropy, KemKey
from wardround.crypto.sign import ML_DSA_65
from wardround.secagg import labels

__all__ = ["TAG_BYTES", "Entropy", "KemKey", "Signer", "encapsulate", "kem_key", "open_once", "seal_once", "verify"]


class Signer:
    """An ML-DSA-65 key from its 32-byte seed, for this layer's digests only; the seed never appears in a repr."""

    def __init__(self, seed: bytes) -> None:
        self._key = ML_DSA_65.key(seed)

    @cached_property
    def public(self) -> bytes:
        return self._key.verifier.data

    def sign(self, digest: bytes) -> bytes:
        return self._key.sign(labels.SECAGG_SIGN, digest)


def verify(public: bytes, digest: bytes, signature: bytes) -> None:
    """Accept a signature.

    Raises:
        AuthError: it is not this key's signature over ``digest``.
    """
    ML_DSA_65.load(public).verify(labels.SECAGG_SIGN, digest, signature)


def kem_key(seed: bytes) -> KemKey:
    """A member's X-Wing key of an epoch from 32 secret bytes."""
    return X_WING.key(seed)


def encapsulate(public: bytes, entropy: Entropy) -> tuple[bytes, bytes]:
    """(shared secret, ciphertext) to an X-Wing key.

    Raises:
        RemoteProtocolError: not a key of this KEM.
    """
    return X_WING.load(public).encapsulate(entropy)


def seal_once(key: bytes, plain: bytes, bound: bytes) -> bytes:
    """AES-256-GCM under a key that is used for this message only."""
    return AES_256_GCM.key(key).seal(0, plain, bound)


def open_once(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """The message of ``seal_once``.

    Raises:
        AuthError: key, bytes or ``bound`` differ.
    """
    return AES_256_GCM.key(key).open(0, sealed, bound)
