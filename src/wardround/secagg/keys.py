"""The primitives of this layer, one algorithm each: ML-DSA-65, the ML-KEM-768 + X25519 hybrid, AES-256-GCM used once.

ML-DSA-65 (FIPS 204) and ML-KEM-768 (FIPS 203) are module-lattice schemes, implemented by pyca ``cryptography``. The
hybrid secret is HMAC over both shared secrets, both ciphertexts and both keys, so it stands while either of the two does.
A sealing key is used for one message only, so the fixed nonce is safe.

What it does not do: take randomness for signing and encapsulation as an argument (the library draws its own).
"""

from __future__ import annotations

import hmac
from functools import cached_property

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wardround.crypto.sampling import stream_bytes, subseed
from wardround.errors import AuthError, DecodeError, RemoteProtocolError
from wardround.secagg import labels

ML_KEM_BYTES = 1184
CIPHERTEXT_BYTES = 1088
POINT_BYTES = 32
_NONCE = bytes(12)


class Signer:
    """An ML-DSA-65 key from its 32-byte seed; the seed never appears in a repr."""

    def __init__(self, seed: bytes) -> None:
        self._key = MLDSA65PrivateKey.from_seed_bytes(seed)

    @cached_property
    def public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, digest: bytes) -> bytes:
        return self._key.sign(digest, labels.SECAGG_SIGN)


def verify(public: bytes, digest: bytes, signature: bytes) -> None:
    """Accept a signature.

    Raises:
        AuthError: it is not this key's signature over ``digest``.
    """
    try:
        MLDSA65PublicKey.from_public_bytes(public).verify(signature, digest, labels.SECAGG_SIGN)
    except (InvalidSignature, ValueError) as error:
        raise AuthError("a signature of the committee, a client or the server does not hold") from error


class KemSecret:
    """A hybrid KEM key from 32 secret bytes."""

    def __init__(self, seed: bytes) -> None:
        self._lattice = MLKEM768PrivateKey.from_seed_bytes(stream_bytes(subseed(seed, b"ml-kem"), 64))
        self._curve = X25519PrivateKey.from_private_bytes(subseed(seed, b"x25519"))

    @cached_property
    def public(self) -> bytes:
        return self._lattice.public_key().public_bytes_raw() + self._curve.public_key().public_bytes_raw()

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The shared secret of ``ciphertext``.

        Raises:
            RemoteProtocolError: not a ciphertext of this KEM.
        """
        if len(ciphertext) != CIPHERTEXT_BYTES + POINT_BYTES:
            raise DecodeError("an encapsulation of the wrong size")
        try:
            first = self._lattice.decapsulate(ciphertext[:CIPHERTEXT_BYTES])
            second = self._curve.exchange(X25519PublicKey.from_public_bytes(ciphertext[CIPHERTEXT_BYTES:]))
        except ValueError as error:  # X25519 refuses points of small order
            raise RemoteProtocolError("an encapsulation that gives no secret") from error
        return _combine(first, second, self.public, ciphertext)


def encapsulate(public: bytes) -> tuple[bytes, bytes]:
    """(shared secret, ciphertext) to a hybrid key.

    Raises:
        RemoteProtocolError: not a key of this KEM.
    """
    if len(public) != ML_KEM_BYTES + POINT_BYTES:
        raise DecodeError("a KEM key of the wrong size")
    ephemeral = X25519PrivateKey.generate()
    try:
        first, ciphertext = MLKEM768PublicKey.from_public_bytes(public[:ML_KEM_BYTES]).encapsulate()
        second = ephemeral.exchange(X25519PublicKey.from_public_bytes(public[ML_KEM_BYTES:]))
    except ValueError as error:
        raise RemoteProtocolError("a KEM key that gives no secret") from error
    ciphertext += ephemeral.public_key().public_bytes_raw()
    return _combine(first, second, public, ciphertext), ciphertext


def seal_once(key: bytes, plain: bytes, bound: bytes) -> bytes:
    """AES-256-GCM under a key that is used for this message only."""
    return AESGCM(key).encrypt(_NONCE, plain, bound)


def open_once(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """The message of ``seal_once``.

    Raises:
        AuthError: key, bytes or ``bound`` differ.
    """
    try:
        return AESGCM(key).decrypt(_NONCE, sealed, bound)
    except InvalidTag as error:
        raise AuthError("a sealed message does not open") from error


def _combine(first: bytes, second: bytes, public: bytes, ciphertext: bytes) -> bytes:
    return hmac.digest(labels.SECAGG_HYBRID, first + second + public + ciphertext, "sha256")
