"""Wycheproof's edge cases on our own calls (tests/vectors/wycheproof): what the libraries are asked, and how they refuse."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from wardround.crypto.aead import AES_256_GCM, CHACHA20_POLY1305, Aead
from wardround.crypto.kem import ML_KEM_768, exchange
from wardround.crypto.sign import ML_DSA_65
from wardround.errors import AuthError, DecodeError, ProtocolError, RemoteProtocolError

FOLDER = Path(__file__).parents[1] / "vectors" / "wycheproof"


def rows(name: str, least: int) -> list[dict[str, Any]]:
    """The tests of a file, bytes as bytes; a file that was cut is noticed."""
    found = json.loads((FOLDER / f"{name}.json").read_text())
    assert len(found) >= least
    words = ("result", "flags", "tcId")
    return [{k: v if k in words else bytes.fromhex(v) for k, v in row.items()} for row in found]


def test_ml_kem_768_decapsulates_and_refuses() -> None:
    results = set()
    for row in rows("mlkem_768_test", 9):
        results.add(row["result"])
        if row["result"] == "valid":
            key = ML_KEM_768.key(row["seed"])
            assert key.public == row["ek"], row["tcId"]
            assert key.decapsulate(row["c"]) == row["K"], row["tcId"]
        else:
            with pytest.raises((DecodeError, ValueError)):
                ML_KEM_768.key(row["seed"]).decapsulate(row["c"])
    assert results == {"valid", "invalid"}


def test_ml_kem_768_public_keys_beyond_the_modulus_or_of_another_length_are_refused() -> None:
    results = set()
    for row in rows("mlkem_768_encaps_test", 12):
        results.add(row["result"])
        if row["result"] == "valid":
            assert len(ML_KEM_768.load(row["ek"]).encapsulate(os.urandom)[0]) == 32
        else:
            with pytest.raises(DecodeError):
                ML_KEM_768.load(row["ek"])
    assert results == {"valid", "invalid"}


def test_x25519_gives_the_secret_or_refuses_the_point() -> None:
    """``acceptable`` holds twists and non-canonical points, which RFC 7748 takes, and small orders, which we do not."""
    refused = 0
    for row in rows("x25519_test", 80):
        scalar = X25519PrivateKey.from_private_bytes(row["private"])
        point = X25519PublicKey.from_public_bytes(row["public"])
        if "ZeroSharedSecret" in row["flags"]:
            refused += 1
            with pytest.raises(RemoteProtocolError):
                exchange(scalar, point)
        else:
            assert exchange(scalar, point) == row["shared"], row["tcId"]
    assert refused >= 15


def test_ml_dsa_65_verifies_and_refuses() -> None:
    results = set()
    for row in rows("mldsa_65_verify_test", 12):
        results.add(row["result"])
        if row["result"] == "valid":
            ML_DSA_65.load(row["publicKey"]).verify(row["ctx"], row["msg"], row["sig"])
        else:
            with pytest.raises((ProtocolError, ValueError)):
                ML_DSA_65.load(row["publicKey"]).verify(row["ctx"], row["msg"], row["sig"])
    assert results == {"valid", "invalid"}


@pytest.mark.parametrize(
    ("aead", "name", "least"),
    [(CHACHA20_POLY1305, "chacha20_poly1305_test", 50), (AES_256_GCM, "aes_gcm_test", 20)],
    ids=["chacha20-poly1305", "aes-256-gcm"],
)
def test_aeads_seal_open_and_refuse(aead: Aead, name: str, least: int) -> None:
    results = set()
    for row in rows(name, least):
        results.add(row["result"])
        cipher = aead.key(row["key"])
        channel, counter = int.from_bytes(row["iv"][:4], "big"), int.from_bytes(row["iv"][4:], "big")
        sealed = row["ct"] + row["tag"]
        if row["result"] == "valid":
            assert cipher.seal(counter, row["msg"], row["aad"], channel) == sealed, row["tcId"]
            assert cipher.open(counter, sealed, row["aad"], channel) == row["msg"], row["tcId"]
        else:
            with pytest.raises(AuthError):
                cipher.open(counter, sealed, row["aad"], channel)
    assert results == {"valid", "invalid"}
