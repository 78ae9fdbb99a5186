from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest

from wardround.crypto import rlwe
from wardround.crypto.rlwe import CIPHERTEXT_BYTES, PUBLIC_BYTES, RLWE_X25519, N, Q
from wardround.errors import DecodeError, RemoteProtocolError

KEM = RLWE_X25519
KEY = KEM.key(bytes(range(96)))


def test_sizes() -> None:
    assert (PUBLIC_BYTES, CIPHERTEXT_BYTES) == (1824, 2176)
    assert (KEM.public_bytes, KEM.ciphertext_bytes) == (1856, 2208)


def test_both_ends_share_a_secret() -> None:
    for number in range(60):
        key = KEM.key(hashlib.shake_256(b"%d" % number).digest(96))
        secret, ciphertext = KEM.load(key.public).encapsulate(os.urandom)
        assert key.decapsulate(ciphertext) == secret
        assert (len(secret), len(ciphertext), len(key.public)) == (32, KEM.ciphertext_bytes, KEM.public_bytes)


def test_encapsulation_is_a_function_of_its_entropy() -> None:
    first = KEM.load(KEY.public).encapsulate(lambda size: b"\x11" * size)
    assert first == KEM.load(KEY.public).encapsulate(lambda size: b"\x11" * size)
    assert first != KEM.load(KEY.public).encapsulate(lambda size: b"\x12" * size)
    # our own known answer: a change here is a change of the algorithm
    assert hashlib.sha256(KEY.public).hexdigest()[:32] == "3dc8e29dbe8457795e26c46d20cc2b4d"
    assert hashlib.sha256(first[0] + first[1]).hexdigest()[:32] == "0583986fbc8e6e0a288fb681399999fb"


def test_a_changed_ciphertext_gives_another_secret_and_no_error() -> None:
    secret, ciphertext = KEM.load(KEY.public).encapsulate(os.urandom)
    for at in (0, 1000, 1791, 1792, 2100, 2175):
        bad = ciphertext[:at] + bytes([ciphertext[at] ^ 1]) + ciphertext[at + 1 :]
        assert KEY.decapsulate(bad) != secret
        assert KEY.decapsulate(bad) == KEY.decapsulate(bad)


def test_small_errors_that_decrypt_alike_are_still_rejected() -> None:
    """The oracle that a reused key without Fujisaki-Okamoto would be: same message, another ciphertext, another secret."""
    secret, ciphertext = KEM.load(KEY.public).encapsulate(os.urandom)
    u = rlwe._unpack(ciphertext[: rlwe.POLY_BYTES], rlwe.Q_BITS)
    u[5] = (u[5] + 1) % Q
    near = rlwe._pack(u, rlwe.Q_BITS) + ciphertext[rlwe.POLY_BYTES :]
    lattice = near[:CIPHERTEXT_BYTES]
    assert rlwe._decrypt(KEY._s, lattice) == rlwe._decrypt(KEY._s, ciphertext[:CIPHERTEXT_BYTES])
    assert KEY.decapsulate(near) != secret


def test_the_product_is_the_schoolbook_one() -> None:
    rng = np.random.default_rng(1)
    for s in (rng.integers(-8, 9, N), np.full(N, 8), np.full(N, -8)):
        a = rng.integers(0, Q, N) if s[0] != 8 else np.full(N, Q - 1)
        full = np.convolve(a.astype(object), s.astype(object))
        want = (full[:N] - np.append(full[N:], 0)) % Q
        assert (rlwe._multiply(a.astype(np.int64), s.astype(np.int64)) == want.astype(np.int64)).all()


def test_noise_is_centred_binomial_of_variance_4() -> None:
    values = np.concatenate([rlwe._noise(bytes([number]) * 32, 0) for number in range(60)])
    assert abs(values.mean()) < 0.05
    assert abs(values.var() - 4.0) < 0.15
    assert np.abs(values).max() <= rlwe.NOISE


def test_packing_is_one_to_one() -> None:
    rng = np.random.default_rng(2)
    for bits in (3, 14):
        values = rng.integers(0, 1 << bits, N)
        packed = rlwe._pack(values, bits)
        assert len(packed) == N * bits // 8
        assert (rlwe._unpack(packed, bits) == values).all()


def test_bad_keys_and_lengths_are_refused() -> None:
    for bad in (b"", KEY.public[:-1], KEY.public + b"\0", b"\xff" * KEM.public_bytes):
        with pytest.raises(DecodeError, match="not a public key of RLWE"):
            KEM.load(bad)
    for size in (0, KEM.ciphertext_bytes - 1, KEM.ciphertext_bytes + 1):
        with pytest.raises(DecodeError, match="has 2208 bytes"):
            KEY.decapsulate(bytes(size))
    with pytest.raises(ValueError, match="has 96 bytes"):
        KEM.key(bytes(95))
    with pytest.raises(RemoteProtocolError, match="gives no secret"):
        KEM.load(KEY.public[:PUBLIC_BYTES] + bytes(32)).encapsulate(os.urandom)


def test_no_seed_in_a_repr() -> None:
    assert "\\x01\\x02" not in repr(KEY)
