"""The KEM under this HPKE is checked against the HPKE-PQ vectors in test_crypto_kem.py; the rest is the library's."""

from __future__ import annotations

import os

import pytest

from wardround.crypto import hpke
from wardround.crypto.kem import X_WING
from wardround.errors import AuthError, DecodeError

KEY = X_WING.key(bytes(32))


@pytest.mark.parametrize("plain", [b"", b"x", os.urandom(5000)], ids=len)
def test_opens_what_was_sealed(plain: bytes) -> None:
    sealed = hpke.seal(KEY.public, b"info", plain)
    assert len(sealed) == len(plain) + hpke.OVERHEAD
    assert hpke.open_sealed(KEY.seed, b"info", sealed) == plain


def test_any_difference_is_refused() -> None:
    sealed = hpke.seal(KEY.public, b"info", b"plain")
    for at in (0, 1087, 1088, 1119, 1120, len(sealed) - 1):
        with pytest.raises(AuthError, match="does not open"):
            hpke.open_sealed(KEY.seed, b"info", sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])
    for seed, info, data in (
        (b"\1" * 32, b"info", sealed),
        (KEY.seed, b"other", sealed),
        (KEY.seed, b"info", sealed + b"\0"),
    ):
        with pytest.raises(AuthError, match="does not open"):
            hpke.open_sealed(seed, info, data)
    with pytest.raises(DecodeError, match="has at least 1136 bytes"):
        hpke.open_sealed(KEY.seed, b"info", sealed[:1135])
    with pytest.raises(DecodeError, match="public key of X-Wing"):
        hpke.seal(b"short", b"info", b"plain")
