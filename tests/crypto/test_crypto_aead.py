from __future__ import annotations

import pytest

from wardround.crypto.aead import AES_256_GCM, CHACHA20_POLY1305, TAG_BYTES, Aead
from wardround.errors import AuthError

BOTH = pytest.mark.parametrize("aead", [CHACHA20_POLY1305, AES_256_GCM], ids=lambda a: a.name)


def test_rfc_8439_section_2_8_2() -> None:
    key = CHACHA20_POLY1305.key(bytes(range(0x80, 0xA0)))
    plain = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
        b"sunscreen would be it."
    )
    sealed = key.seal(0x4041424344454647, plain, bytes.fromhex("50515253c0c1c2c3c4c5c6c7"), channel=0x07000000)
    assert sealed[-TAG_BYTES:].hex() == "1ae10b594f09e26a7e902ecbd0600691"


@BOTH
def test_opens_what_was_sealed(aead: Aead) -> None:
    key = aead.key(b"k" * 32)
    for plain in (b"", b"x", b"y" * 100_000):
        sealed = key.seal(7, plain, b"bound", channel=2)
        assert len(sealed) == len(plain) + TAG_BYTES
        assert key.open(7, sealed, b"bound", channel=2) == plain


@BOTH
def test_any_difference_is_one_error(aead: Aead) -> None:
    key = aead.key(b"k" * 32)
    sealed = key.seal(7, b"plain", b"bound", channel=1)
    flipped = [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in range(len(sealed))]
    for bad in (*flipped, sealed[:-1], sealed + b"\0", b""):
        with pytest.raises(AuthError, match="a sealed message does not open"):
            key.open(7, bad, b"bound", channel=1)
    for counter, bound, channel in ((8, b"bound", 1), (7, b"other", 1), (7, b"bound", 0)):
        with pytest.raises(AuthError):
            key.open(counter, sealed, bound, channel=channel)
    with pytest.raises(AuthError):
        aead.key(b"j" * 32).open(7, sealed, b"bound", channel=1)


@BOTH
def test_a_key_of_another_length_is_refused(aead: Aead) -> None:
    with pytest.raises(ValueError, match="takes a key of 32 bytes, not 16"):
        aead.key(b"k" * 16)


@BOTH
def test_a_key_shows_nothing_of_itself(aead: Aead) -> None:
    assert "k" * 8 not in repr(aead.key(b"k" * 32))
