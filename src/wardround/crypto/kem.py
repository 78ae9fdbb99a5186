"""Key encapsulation: ML-KEM-768, ML-KEM-1024 (FIPS 203) and X-Wing (draft-connolly-cfrg-xwing-kem), keys as seeds.

ML-KEM is a *module*-lattice scheme, the standardised relative of Ring-LWE. X-Wing joins ML-KEM-768 with X25519, so
its secret stands while either of the two does. The primitives are pyca ``cryptography``'s.

Laws: ``key.decapsulate(ct) == secret`` for every ``(secret, ct) = kem.load(key.public).encapsulate(entropy)``; a wrong
ciphertext of the right length gives another secret, not an error (implicit rejection, FIPS 203 section 6.3).

Entropy is an argument as far as the library allows: X25519's ephemeral scalar comes from it, the coins of ML-KEM
encapsulation come from OpenSSL's own generator, because pyca offers no derandomised encapsulation. Tests replay
recorded encapsulations instead (tests/vectors/auth).

What it does not do: erase keys from memory; Python cannot promise that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from wardround.crypto import kdf
from wardround.errors import DecodeError, RemoteProtocolError

Entropy = Callable[[int], bytes]  # so many fresh secret bytes: os.urandom in a driver, a seeded stream in a test

SECRET_BYTES = 32
POINT_BYTES = 32
_XWING_LABEL = b"\\.//^\\"  # the draft's own label, drawn by its authors


class Recipient(Protocol):
    """A public key ready to encapsulate to; ``data`` is its one encoding."""

    @property
    def data(self) -> bytes: ...

    def encapsulate(self, entropy: Entropy) -> tuple[bytes, bytes]:
        """(32-byte shared secret, ciphertext).

        Raises:
            RemoteProtocolError: the key gives no secret (an X25519 point of small order).
        """
        ...


class KemKey(Protocol):
    """A private key. ``seed`` is all that is ever stored; it is in no repr."""

    @property
    def seed(self) -> bytes: ...

    @property
    def public(self) -> bytes: ...

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The 32-byte shared secret.

        Raises:
            RemoteProtocolError: not a ciphertext of this KEM.
        """
        ...


class Kem(Protocol):
    """An algorithm: its sizes in bytes and its two constructors."""

    @property
    def name(self) -> str: ...

    @property
    def seed_bytes(self) -> int: ...

    @property
    def public_bytes(self) -> int: ...

    @property
    def ciphertext_bytes(self) -> int: ...

    def key(self, seed: bytes) -> KemKey:
        """The private key of a seed.

        Raises:
            ValueError: the seed has another length (a bug or a damaged key file of ours).
        """
        ...

    def load(self, public: bytes) -> Recipient:
        """The public key in ``public``, with the modulus check of FIPS 203 section 7.2.

        Raises:
            DecodeError: not a public key of this KEM.
        """
        ...


class MlKem:
    """ML-KEM at one parameter set."""

    seed_bytes = 64

    def __init__(self, name: str, private: Any, public: Any, sizes: tuple[int, int]) -> None:
        self.name, self._private, self._public = name, private, public
        self.public_bytes, self.ciphertext_bytes = sizes

    def key(self, seed: bytes) -> MlKemKey:
        _check_seed(self, seed)
        return MlKemKey(seed, self._private.from_seed_bytes(seed), self.ciphertext_bytes)

    def load(self, public: bytes) -> MlKemRecipient:
        return MlKemRecipient(public, _load(self, self._public, public))


class MlKemKey:
    """``d || z`` of FIPS 203, expanded."""

    __slots__ = ("_key", "_size", "public", "seed")

    def __init__(self, seed: bytes, key: Any, size: int) -> None:
        self.seed, self._key, self._size = seed, key, size
        self.public: bytes = key.public_key().public_bytes_raw()

    def decapsulate(self, ciphertext: bytes) -> bytes:
        _check_ciphertext(ciphertext, self._size)
        secret: bytes = self._key.decapsulate(ciphertext)
        return secret


class MlKemRecipient:
    __slots__ = ("_key", "data")

    def __init__(self, data: bytes, key: Any) -> None:
        self.data, self._key = data, key

    def encapsulate(self, entropy: Entropy) -> tuple[bytes, bytes]:
        del entropy  # OpenSSL draws the coins itself; see the module's docstring
        secret, ciphertext = self._key.encapsulate()
        return secret, ciphertext


class XWing:
    """ML-KEM-768 + X25519 under one 32-byte seed; SHA3-256 combiner over both secrets and the X25519 share."""

    name = "X-Wing"
    seed_bytes = 32
    public_bytes = 1184 + POINT_BYTES
    ciphertext_bytes = 1088 + POINT_BYTES

    def key(self, seed: bytes) -> XWingKey:
        _check_seed(self, seed)
        return XWingKey(seed)

    def load(self, public: bytes) -> XWingRecipient:
        if len(public) != self.public_bytes:
            raise DecodeError(f"a public key of X-Wing has {self.public_bytes} bytes, not {len(public)}")
        return XWingRecipient(public, ML_KEM_768.load(public[:-POINT_BYTES]))


class XWingKey:
    __slots__ = ("_curve", "_lattice", "_point", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        expanded = kdf.shake256(96, seed)
        self.seed = seed
        self._lattice = ML_KEM_768.key(expanded[:64])
        self._curve = X25519PrivateKey.from_private_bytes(expanded[64:])
        self._point = self._curve.public_key().public_bytes_raw()
        self.public = self._lattice.public + self._point

    def decapsulate(self, ciphertext: bytes) -> bytes:
        _check_ciphertext(ciphertext, XWing.ciphertext_bytes)
        share = ciphertext[-POINT_BYTES:]
        second = exchange(self._curve, X25519PublicKey.from_public_bytes(share))
        return _xwing(self._lattice.decapsulate(ciphertext[:-POINT_BYTES]), second, share, self._point)


class XWingRecipient:
    __slots__ = ("_lattice", "_point", "data")

    def __init__(self, data: bytes, lattice: MlKemRecipient) -> None:
        self.data, self._lattice = data, lattice
        self._point = X25519PublicKey.from_public_bytes(data[-POINT_BYTES:])

    def encapsulate(self, entropy: Entropy) -> tuple[bytes, bytes]:
        scalar = X25519PrivateKey.from_private_bytes(entropy(POINT_BYTES))
        share = scalar.public_key().public_bytes_raw()
        first, ciphertext = self._lattice.encapsulate(entropy)
        secret = _xwing(first, exchange(scalar, self._point), share, self.data[-POINT_BYTES:])
        return secret, ciphertext + share


def exchange(scalar: X25519PrivateKey, point: X25519PublicKey) -> bytes:
    """X25519 (RFC 7748).

    Raises:
        RemoteProtocolError: ``point`` has small order: the all-zero secret is refused; no honest peer makes it.
    """
    try:
        return scalar.exchange(point)
    except ValueError as error:
        raise RemoteProtocolError("an X25519 share that gives no secret") from error


def _xwing(first: bytes, second: bytes, share: bytes, point: bytes) -> bytes:
    return kdf.digest("sha3_256", first, second, share, point, _XWING_LABEL)


def _check_seed(kem: Kem, seed: bytes) -> None:
    if len(seed) != kem.seed_bytes:
        raise ValueError(f"a seed of {kem.name} has {kem.seed_bytes} bytes, not {len(seed)}")


def _check_ciphertext(ciphertext: bytes, size: int) -> None:
    if len(ciphertext) != size:
        raise DecodeError(f"a ciphertext of this KEM has {size} bytes, not {len(ciphertext)}")


def _load(kem: Kem, cls: Any, public: bytes) -> Any:
    try:
        return cls.from_public_bytes(public)
    except ValueError as error:
        raise DecodeError(f"these {len(public)} bytes are not a public key of {kem.name}") from error


ML_KEM_768 = MlKem("ML-KEM-768", MLKEM768PrivateKey, MLKEM768PublicKey, (1184, 1088))
ML_KEM_1024 = MlKem("ML-KEM-1024", MLKEM1024PrivateKey, MLKEM1024PublicKey, (1568, 1568))
X_WING = XWing()
