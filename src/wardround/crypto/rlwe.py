"""A Ring-LWE KEM for research: n = 1024, q = 12289, centred binomial noise, Fujisaki-Okamoto with implicit rejection.

The public-key encryption is that of NewHope (Alkim, Avanzi, Ducas, Poeppelmann et al., NIST submission 2019: noise 8,
each message bit in four coefficients, the second part of a ciphertext in 3 bits per coefficient; their bound on the failure
probability is 2^-216). The transform is FO with implicit rejection as in FIPS 203. There is **no reconciliation**: with a
reused key its signal leaks the whole key. ``RLWE_X25519`` joins it with X25519, so its secret stands while either does.

For measurements beside ML-KEM only. Not standardised, not constant-time (numpy, Python), in no table of suites that a peer or a
credential can name (auth/research.py).

Laws: ``decapsulate(ct) == secret`` for every encapsulation; any other ciphertext of the right length gives an unrelated
secret and no error; encapsulation is a function of the entropy given, so this KEM is derandomised as it stands.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from wardround.arrays import I64, Array
from wardround.crypto import kdf, labels
from wardround.crypto.kem import POINT_BYTES, Entropy, exchange
from wardround.errors import DecodeError

N, Q = 1024, 12289
Q_BITS, V_BITS = 14, 3
NOISE = 8  # centred binomial: popcount(8 bits) - popcount(8 bits), variance 4
REPEAT = N // 256  # coefficients per message bit
POLY_BYTES = N * Q_BITS // 8
PUBLIC_BYTES = 32 + POLY_BYTES
CIPHERTEXT_BYTES = POLY_BYTES + N * V_BITS // 8


class Rlwe:
    """The hybrid as a ``Kem`` (crypto/kem.py)."""

    name = "RLWE-1024+X25519 (research)"
    seed_bytes = 96
    public_bytes = PUBLIC_BYTES + POINT_BYTES
    ciphertext_bytes = CIPHERTEXT_BYTES + POINT_BYTES

    def key(self, seed: bytes) -> RlweKey:
        """The private key of ``d[32] z[32] x25519[32]``.

        Raises:
            ValueError: the seed has another length.
        """
        if len(seed) != self.seed_bytes:
            raise ValueError(f"a seed of {self.name} has {self.seed_bytes} bytes, not {len(seed)}")
        return RlweKey(seed)

    def load(self, public: bytes) -> RlweRecipient:
        """The public key in ``public``; every coefficient must be below q, so a key has one encoding.

        Raises:
            DecodeError: not a public key of this KEM.
        """
        if len(public) != self.public_bytes or (_unpack(public[32:PUBLIC_BYTES], Q_BITS) >= Q).any():
            raise DecodeError(f"these {len(public)} bytes are not a public key of {self.name}")
        return RlweRecipient(public)


class RlweKey:
    __slots__ = ("_curve", "_s", "_z", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        expanded = kdf.shake256(64, labels.RLWE_EXPAND, seed[:32])
        rho, sigma = expanded[:32], expanded[32:]
        self.seed, self._z = seed, seed[32:64]
        self._curve = X25519PrivateKey.from_private_bytes(seed[64:])
        self._s = _noise(sigma, 0)
        b = (_multiply(_uniform(rho), self._s) + _noise(sigma, 1)) % Q
        self.public = rho + _pack(b, Q_BITS) + self._curve.public_key().public_bytes_raw()

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The 32-byte shared secret; implicit rejection for a ciphertext nobody made for this key.

        Raises:
            DecodeError: another length.
            RemoteProtocolError: an X25519 share of small order.
        """
        if len(ciphertext) != Rlwe.ciphertext_bytes:
            raise DecodeError(f"a ciphertext of this KEM has {Rlwe.ciphertext_bytes} bytes, not {len(ciphertext)}")
        lattice, share = ciphertext[:CIPHERTEXT_BYTES], ciphertext[CIPHERTEXT_BYTES:]
        public = self.public[:PUBLIC_BYTES]
        message = _decrypt(self._s, lattice)
        key, coins = _coins(message, public)
        holds = kdf.equal(_encrypt(public, message, coins), lattice)
        # both secrets are made, so that the work does not depend on which one is taken
        accepted = kdf.shake256(32, labels.RLWE_SECRET, key, kdf.digest("sha3_256", lattice))
        rejected = kdf.shake256(32, labels.RLWE_REJECT, self._z, kdf.digest("sha3_256", lattice))
        first = accepted if holds else rejected
        second = exchange(self._curve, X25519PublicKey.from_public_bytes(share))
        return _join(first, second, ciphertext, self.public)


class RlweRecipient:
    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def encapsulate(self, entropy: Entropy) -> tuple[bytes, bytes]:
        """(32-byte shared secret, ciphertext), a function of 64 bytes of entropy.

        Raises:
            RemoteProtocolError: the key's X25519 half has small order.
        """
        public = self.data[:PUBLIC_BYTES]
        message = kdf.shake256(32, labels.RLWE_HASH, entropy(32))  # hashed: a raw generator's output is never sent
        key, coins = _coins(message, public)
        lattice = _encrypt(public, message, coins)
        first = kdf.shake256(32, labels.RLWE_SECRET, key, kdf.digest("sha3_256", lattice))
        scalar = X25519PrivateKey.from_private_bytes(entropy(32))
        ciphertext = lattice + scalar.public_key().public_bytes_raw()
        second = exchange(scalar, X25519PublicKey.from_public_bytes(self.data[PUBLIC_BYTES:]))
        return _join(first, second, ciphertext, self.data), ciphertext


RLWE_X25519 = Rlwe()


def _join(first: bytes, second: bytes, ciphertext: bytes, public: bytes) -> bytes:
    return kdf.digest("sha3_256", labels.RLWE_HYBRID, first, second, ciphertext, public)


def _coins(message: bytes, public: bytes) -> tuple[bytes, bytes]:
    """(pre-key, encryption coins): the coins are a function of the message, so decapsulation can encrypt again and compare."""
    expanded = kdf.shake256(64, labels.RLWE_COINS, message, kdf.digest("sha3_256", public))
    return expanded[:32], expanded[32:]


def _encrypt(public: bytes, message: bytes, coins: bytes) -> bytes:
    """u = a r + e1, v = b r + e2 + floor(q/2) m, v rounded to 3 bits."""
    a, b = _uniform(public[:32]), _unpack(public[32:], Q_BITS)
    r = _noise(coins, 0)
    u = (_multiply(a, r) + _noise(coins, 1)) % Q
    bits = np.unpackbits(np.frombuffer(message, np.uint8)).astype(np.int64)
    v = (_multiply(b, r) + _noise(coins, 2) + np.tile(bits, REPEAT) * (Q // 2)) % Q
    rounded = ((v << V_BITS) + Q // 2) // Q % (1 << V_BITS)
    return _pack(u, Q_BITS) + _pack(rounded, V_BITS)


def _decrypt(s: I64, ciphertext: bytes) -> bytes:
    """Each bit from four coefficients: is v - u s nearer to q/2 than to 0, all four taken together?"""
    u = _unpack(ciphertext[:POLY_BYTES], Q_BITS) % Q
    v = (_unpack(ciphertext[POLY_BYTES:], V_BITS) * Q + (1 << (V_BITS - 1))) >> V_BITS
    distance = np.abs((v - _multiply(u, s)) % Q - Q // 2)
    bits = distance.reshape(REPEAT, 256).sum(axis=0) < REPEAT * Q // 4
    return np.packbits(bits).tobytes()


def _multiply(a: I64, s: I64) -> I64:
    """a s in Z_q[X]/(X^n + 1), exactly, by a floating-point transform.

    |a| < q and |s| <= 8 give sums below n q 8 < 2^27; float64 errors of this transform stay below 1e-6, far from 1/2.
    """
    twist, untwist = _twists()
    product = np.fft.ifft(np.fft.fft(a * twist) * np.fft.fft(s * twist)) * untwist
    exact: I64 = np.rint(product.real).astype(np.int64) % Q
    return exact


@lru_cache(maxsize=1)
def _twists() -> tuple[Array, Array]:
    """exp(i pi j / n) turns the cyclic transform into the negacyclic one."""
    twist = np.exp(1j * np.pi * np.arange(N) / N)
    return twist, twist.conj()


@lru_cache(maxsize=8)
def _uniform(rho: bytes) -> I64:
    """The public polynomial a of a seed, by rejection below q; always from a fresh seed per key, as in NewHope."""
    kept = np.zeros(0, np.int64)
    length = 4 * N
    while len(kept) < N:
        words = np.frombuffer(kdf.shake256(length, labels.RLWE_PUBLIC, rho), "<u2").astype(np.int64) & 0x3FFF
        kept, length = words[words < Q], 2 * length
    return kept[:N]


def _noise(seed: bytes, number: int) -> I64:
    raw = np.frombuffer(kdf.shake256(2 * N, labels.RLWE_NOISE, seed, bytes([number])), np.uint8)
    counts = np.unpackbits(raw.reshape(2 * N, 1), axis=1).sum(axis=1, dtype=np.int64)
    noise: I64 = counts[:N] - counts[N:]
    return noise


def _pack(values: I64, bits: int) -> bytes:
    wide = (values[:, None] >> np.arange(bits)) & 1
    return np.packbits(wide.astype(np.uint8).ravel(), bitorder="little").tobytes()


def _unpack(data: bytes, bits: int) -> I64:
    wide = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little").reshape(-1, bits).astype(np.int64)
    values: I64 = (wide << np.arange(bits)).sum(axis=1)
    return values
