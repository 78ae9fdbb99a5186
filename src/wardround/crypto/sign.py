"""Signatures: composite Ed25519 + ML-DSA-65 (issuing keys), ML-DSA-65 (committee), ML-DSA-87 (the offline root).

ML-DSA is FIPS 204, Ed25519 RFC 8032. In the composite both halves must verify, so a forger has to break both; they
sign the same body under the same label. Every signature carries a label (ML-DSA's context string; for Ed25519 a
length-prefixed prefix), so a signature of one kind of object is worth nothing on another.

Law: ``key.verifier.verify(label, body, key.sign(label, body))`` returns; any change to label, body, key or signature
raises ``AuthError``. What it does not do: take randomness; ML-DSA signing is hedged by the library, Ed25519 has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
    MLDSA87PrivateKey,
    MLDSA87PublicKey,
)

from wardround.crypto import kdf, labels
from wardround.errors import AuthError, DecodeError

SEED_BYTES = 32
_ED25519_PUBLIC = 32
_ED25519_SIGNATURE = 64


class Half(Protocol):
    """One algorithm: sizes in bytes, and its three operations on raw bytes."""

    @property
    def public_bytes(self) -> int: ...

    @property
    def signature_bytes(self) -> int: ...

    def public(self, seed: bytes) -> bytes: ...

    def sign(self, seed: bytes, label: bytes, body: bytes) -> bytes: ...

    def verify(self, public: bytes, label: bytes, body: bytes, signature: bytes) -> None:
        """Raises InvalidSignature or ValueError where the signature does not hold."""
        ...


@dataclass(frozen=True)
class _MlDsa:
    public_bytes: int
    signature_bytes: int
    private_class: Any
    public_class: Any

    def public(self, seed: bytes) -> bytes:
        data: bytes = self.private_class.from_seed_bytes(seed).public_key().public_bytes_raw()
        return data

    def sign(self, seed: bytes, label: bytes, body: bytes) -> bytes:
        signature: bytes = self.private_class.from_seed_bytes(seed).sign(body, label)
        return signature

    def verify(self, public: bytes, label: bytes, body: bytes, signature: bytes) -> None:
        self.public_class.from_public_bytes(public).verify(signature, body, label)


@dataclass(frozen=True)
class _Composite:
    """Ed25519 || ML-DSA-65, in keys and signatures alike; both seeds come from one by labelled SHAKE256."""

    lattice: _MlDsa
    public_bytes: int
    signature_bytes: int

    def public(self, seed: bytes) -> bytes:
        curve, lattice = _halves(seed)
        return Ed25519PrivateKey.from_private_bytes(curve).public_key().public_bytes_raw() + self.lattice.public(
            lattice
        )

    def sign(self, seed: bytes, label: bytes, body: bytes) -> bytes:
        curve, lattice = _halves(seed)
        first = Ed25519PrivateKey.from_private_bytes(curve).sign(_prefixed(label, body))
        return first + self.lattice.sign(lattice, label, body)

    def verify(self, public: bytes, label: bytes, body: bytes, signature: bytes) -> None:
        curve = Ed25519PublicKey.from_public_bytes(public[:_ED25519_PUBLIC])
        curve.verify(signature[:_ED25519_SIGNATURE], _prefixed(label, body))
        self.lattice.verify(public[_ED25519_PUBLIC:], label, body, signature[_ED25519_SIGNATURE:])


@dataclass(frozen=True)
class Scheme:
    """A signature algorithm by name."""

    name: str
    half: Half

    @property
    def public_bytes(self) -> int:
        return self.half.public_bytes

    @property
    def signature_bytes(self) -> int:
        return self.half.signature_bytes

    def key(self, seed: bytes) -> SigningKey:
        """The private key of a 32-byte seed.

        Raises:
            ValueError: the seed has another length.
        """
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed of {self.name} has {SEED_BYTES} bytes, not {len(seed)}")
        return SigningKey(self, seed)

    def load(self, public: bytes) -> Verifier:
        """The verifier of a public key.

        Raises:
            DecodeError: another length (every string of the right length is an ML-DSA key).
        """
        if len(public) != self.public_bytes:
            raise DecodeError(f"a public key of {self.name} has {self.public_bytes} bytes, not {len(public)}")
        return Verifier(self, public)


@dataclass(frozen=True)
class Verifier:
    """A public signing key."""

    scheme: Scheme
    data: bytes

    def verify(self, label: bytes, body: bytes, signature: bytes) -> None:
        """Accept ``signature`` over ``body`` for the purpose ``label``.

        Raises:
            AuthError: it does not hold.
        """
        if len(signature) != self.scheme.signature_bytes:
            raise AuthError(f"a signature of {self.scheme.name} does not hold")
        try:
            self.scheme.half.verify(self.data, label, body, signature)
        except (InvalidSignature, ValueError) as error:
            raise AuthError(f"a signature of {self.scheme.name} does not hold") from error


@dataclass(frozen=True)
class SigningKey:
    """A private signing key; only its seed is stored, and no repr shows it."""

    scheme: Scheme
    seed: bytes = field(repr=False)

    @cached_property
    def verifier(self) -> Verifier:
        return Verifier(self.scheme, self.scheme.half.public(self.seed))

    def sign(self, label: bytes, body: bytes) -> bytes:
        """A signature over ``body`` for the purpose ``label`` (1 to 255 bytes, from crypto/labels.py)."""
        return self.scheme.half.sign(self.seed, label, body)


def _halves(seed: bytes) -> tuple[bytes, bytes]:
    expanded = kdf.shake256(64, labels.COMPOSITE_SEED, seed)
    return expanded[:32], expanded[32:]


def _prefixed(label: bytes, body: bytes) -> bytes:
    return bytes([len(label)]) + label + body


_ML_DSA_65 = _MlDsa(1952, 3309, MLDSA65PrivateKey, MLDSA65PublicKey)
ML_DSA_65 = Scheme("ML-DSA-65", _ML_DSA_65)
ML_DSA_87 = Scheme("ML-DSA-87", _MlDsa(2592, 4627, MLDSA87PrivateKey, MLDSA87PublicKey))
COMPOSITE = Scheme("Ed25519+ML-DSA-65", _Composite(_ML_DSA_65, 32 + 1952, 64 + 3309))
