"""One sealed body for many devices: encrypted once, its key and its hash told to each device inside its own session.

    key   = HMAC(secret, BODY_KEY || position || H(body))           secret: 32 bytes of the server, kept with its book
    body' = AEAD(key, nonce 0, body, ad = BODY || position || H(body))

So a body that goes to a thousand gateways is stored and sent once, the broker reads nothing, and a device that knows the key
cannot pass another body off: each device has H(body) from its own session's record. Laws: the same secret, position and body
give the same bytes (a repetition after a restart finds what is stored); no key ever seals two plaintexts.
"""

from __future__ import annotations

from wardround.crypto import kdf, labels
from wardround.crypto.aead import CHACHA20_POLY1305, KEY_BYTES
from wardround.errors import AuthError, DecodeError

SECRET_BYTES = 32


def seal_body(secret: bytes, position: int, body: bytes) -> tuple[bytes, bytes, bytes]:
    """(sealed body, its key, H(body)) for one exchange."""
    digest = kdf.digest("sha256", body)
    key = kdf.mac("sha256", secret, labels.BODY_KEY, _place(position), digest)[:KEY_BYTES]
    return CHACHA20_POLY1305.key(key).seal(0, body, _bound(position, digest)), key, digest


def open_body(key: bytes, digest: bytes, position: int, sealed: bytes) -> bytes:
    """The body that a session's record announced.

    Raises:
        DecodeError: the announcement holds no such key.
        AuthError: it is another body.
    """
    if len(key) != KEY_BYTES:
        raise DecodeError(f"an announcement brings a body's key of {len(key)} bytes, not {KEY_BYTES}")
    body = CHACHA20_POLY1305.key(key).open(0, sealed, _bound(position, digest))
    if not kdf.equal(kdf.digest("sha256", body), digest):
        raise AuthError("a body is not the one that was announced")
    return body


def _bound(position: int, digest: bytes) -> bytes:
    return labels.BODY + _place(position) + digest


def _place(position: int) -> bytes:
    return position.to_bytes(8, "big")
