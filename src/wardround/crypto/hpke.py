"""Hybrid public-key encryption (RFC 9180, base mode) to an X-Wing key: one sealed message from a sender without a key.

Suite: KEM MLKEM768-X25519, HKDF-SHA256, ChaCha20-Poly1305, as pyca ``cryptography`` gives it; ``info`` separates uses.
What it does not do: authenticate the sender; enrolment does that with its one-time token.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from wardround.crypto import kdf
from wardround.crypto.kem import POINT_BYTES, X_WING
from wardround.errors import AuthError, DecodeError

OVERHEAD = X_WING.ciphertext_bytes + 16
_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


def seal(public: bytes, info: bytes, plaintext: bytes) -> bytes:
    """Encapsulation and ciphertext, ``OVERHEAD`` bytes longer than ``plaintext``.

    Raises:
        DecodeError: ``public`` is not an X-Wing key.
    """
    X_WING.load(public)  # the length and modulus checks, with our error
    lattice = MLKEM768PublicKey.from_public_bytes(public[:-POINT_BYTES])
    curve = X25519PublicKey.from_public_bytes(public[-POINT_BYTES:])
    return _SUITE.encrypt(plaintext, hpke.MLKEM768X25519PublicKey(lattice, curve), info)


def open_sealed(seed: bytes, info: bytes, sealed: bytes) -> bytes:
    """The plaintext, under the X-Wing seed (32 bytes) of the recipient.

    Raises:
        DecodeError: too short.
        AuthError: sealed for another key or use, or changed.
    """
    if len(sealed) < OVERHEAD:
        raise DecodeError(f"a sealed message has at least {OVERHEAD} bytes, not {len(sealed)}")
    expanded = kdf.shake256(96, seed)  # the X-Wing draft's own expansion, as in kem.XWingKey
    lattice = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    curve = X25519PrivateKey.from_private_bytes(expanded[64:])
    try:
        return _SUITE.decrypt(sealed, hpke.MLKEM768X25519PrivateKey(lattice, curve), info)
    except (InvalidTag, ValueError) as error:
        raise AuthError("a sealed message does not open") from error
