from __future__ import annotations

import os
from pathlib import Path

import cryptography_vectors
import pytest

from wardround.crypto import labels
from wardround.crypto.sign import COMPOSITE, ML_DSA_65, ML_DSA_87, Scheme
from wardround.errors import AuthError, DecodeError

VECTORS = Path(cryptography_vectors.__file__).parent / "asymmetric" / "MLDSA"
ALL = pytest.mark.parametrize("scheme", [ML_DSA_65, ML_DSA_87, COMPOSITE], ids=lambda s: s.name)
LABEL = labels.SIGN_CREDENTIAL


@pytest.mark.parametrize(("scheme", "name"), [(ML_DSA_65, "65"), (ML_DSA_87, "87")])
def test_ml_dsa_known_answers(scheme: Scheme, name: str) -> None:
    row: dict[str, bytes] = {}
    count = 0
    for line in (VECTORS / f"kat_MLDSA_{name}_det_pure.rsp").read_text().splitlines():
        if " = " not in line:
            continue
        key, value = line.split(" = ", 1)
        if key not in ("count", "mlen", "ctxlen"):
            row[key] = bytes.fromhex(value)
        if key == "ctx" and count < 60:
            assert scheme.key(row["xi"]).verifier.data == row["pk"]
            verifier = scheme.load(row["pk"])
            verifier.verify(row["ctx"], row["msg"], row["sm"][: scheme.signature_bytes])
            with pytest.raises(AuthError):
                verifier.verify(row["ctx"], row["msg"] + b"\0", row["sm"][: scheme.signature_bytes])
            count += 1
    assert count == 60


@ALL
def test_verifies_what_was_signed(scheme: Scheme) -> None:
    key = scheme.key(os.urandom(32))
    signature = key.sign(LABEL, b"body")
    assert len(signature) == scheme.signature_bytes
    assert len(key.verifier.data) == scheme.public_bytes
    scheme.load(key.verifier.data).verify(LABEL, b"body", signature)


@ALL
def test_any_difference_is_refused(scheme: Scheme) -> None:
    key = scheme.key(os.urandom(32))
    signature = key.sign(LABEL, b"body")
    for label, body in ((labels.SIGN_ROSTER, b"body"), (LABEL, b"bodY"), (LABEL, b""), (LABEL, b"body ")):
        with pytest.raises(AuthError, match="does not hold"):
            key.verifier.verify(label, body, signature)
    for at in (0, 40, 63, 64, 1000, scheme.signature_bytes - 1):
        bad = bytearray(signature)
        bad[at] ^= 1
        with pytest.raises(AuthError, match="does not hold"):
            key.verifier.verify(LABEL, b"body", bytes(bad))
    for bad_length in (b"", signature[:-1], signature + b"\0"):
        with pytest.raises(AuthError, match="does not hold"):
            key.verifier.verify(LABEL, b"body", bad_length)
    with pytest.raises(AuthError):
        scheme.key(os.urandom(32)).verifier.verify(LABEL, b"body", signature)


def test_one_half_of_the_composite_is_not_enough() -> None:
    ours, theirs = COMPOSITE.key(bytes(32)), COMPOSITE.key(b"\1" * 32)
    a, b = ours.sign(LABEL, b"body"), theirs.sign(LABEL, b"body")
    for mixed in (a[:64] + b[64:], b[:64] + a[64:]):
        with pytest.raises(AuthError, match="does not hold"):
            ours.verifier.verify(LABEL, b"body", mixed)


def test_the_halves_of_the_composite_cannot_be_used_alone_or_elsewhere() -> None:
    key = COMPOSITE.key(bytes(32))
    signature = key.sign(LABEL, b"body")
    # the label has its length before it, so (label, body) cannot be cut at another place
    with pytest.raises(AuthError):
        key.verifier.verify(LABEL[:-1], LABEL[-1:] + b"body", signature)


@ALL
def test_wrong_lengths_are_refused(scheme: Scheme) -> None:
    with pytest.raises(DecodeError, match="public key"):
        scheme.load(bytes(scheme.public_bytes - 1))
    with pytest.raises(ValueError, match="a seed of"):
        scheme.key(bytes(31))


@ALL
def test_no_seed_in_a_repr(scheme: Scheme) -> None:
    seed = os.urandom(32)
    key = scheme.key(seed)
    assert key.verifier.data
    assert repr(seed)[2:12] not in repr(key)
    assert seed.hex() not in repr(key)
