from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wardround.crypto import kdf


def test_rfc_5869_test_case_1() -> None:
    okm = kdf.hkdf("sha256", bytes(range(13)), b"\x0b" * 22, bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"), 42)
    assert okm.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"


@pytest.mark.parametrize("length", [1, 31, 32, 33, 64, 255 * 32])
@pytest.mark.parametrize("salt", [b"", b"salt"])
def test_hkdf_is_the_librarys(length: int, salt: bytes) -> None:
    oracle = HKDF(hashes.SHA256(), length, salt or None, b"info").derive(b"material")
    assert kdf.hkdf("sha256", salt, b"material", b"info", length) == oracle


@pytest.mark.parametrize("length", [0, -1, 255 * 32 + 1])
def test_hkdf_refuses_lengths_it_cannot_give(length: int) -> None:
    with pytest.raises(ValueError, match="HKDF-sha256 gives"):
        kdf.hkdf("sha256", b"", b"m", b"", length)


@pytest.mark.parametrize("name", ["sha256", "sha384"])
def test_chain_is_hkdf_with_empty_info(name: str) -> None:
    size = hashlib.new(name).digest_size
    outputs = kdf.chain(name, b"k" * size, b"material", 3)
    assert b"".join(outputs) == kdf.hkdf(name, b"k" * size, b"material", b"", 3 * size)


@pytest.mark.parametrize("count", [0, 256])
def test_chain_refuses_counts(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 255 outputs"):
        kdf.chain("sha256", b"k", b"m", count)


def test_the_rest_is_the_standard_librarys() -> None:
    assert kdf.hasher("sha384")(b"abc").digest() == hashlib.sha384(b"abc").digest()
    assert kdf.digest("sha3_256", b"a", b"bc") == hashlib.sha3_256(b"abc").digest()
    assert kdf.mac("sha384", b"key", b"a", b"b") == hmac.new(b"key", b"ab", "sha384").digest()
    assert kdf.shake256(17, b"x", b"y") == hashlib.shake_256(b"xy").digest(17)
    assert kdf.equal(b"same", b"same")
    assert not kdf.equal(b"same", b"samf")
    assert not kdf.equal(b"same", b"same!")
