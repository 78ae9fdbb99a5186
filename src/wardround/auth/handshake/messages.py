"""Layouts of M1, M2, M3 and the retry: fixed positions, one accepted encoding, the exact length is checked first.

    M1  type=1 version suite flags=0 sid_D[8] | e_pk | ct_A | sealed device id[48] | psk MAC[16] | mac1[16] | cookie[16]
    M2  type=2 version suite flags=0 sid_A[8] sid_D[8] | ct_e | ct_D | sealed params[80]
    M3  type=3 version suite flags=0 sid_A[8] | sealed confirmation[48]
    R   type=4 | cookie[16]

Law: ``parse(build(m)) == m``, and every other string of bytes raises ``DecodeError`` and nothing else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from wardround.auth.suites import VERSION, Suite
from wardround.crypto import kdf, labels
from wardround.errors import DecodeError

HELLO, REPLY, CONFIRM, RETRY = 1, 2, 3, 4
ID_BYTES = 32
SID_BYTES = 8
COOKIE_BYTES = 16
NO_COOKIE = bytes(COOKIE_BYTES)
RETRY_BYTES = 1 + COOKIE_BYTES
_SHORT = struct.Struct(">BBBB8s")
_LONG = struct.Struct(">BBBB8s8s")
_PARAMS = struct.Struct(">IQI32s16s")
_SEALED_ID = ID_BYTES + 16
_SEALED_CONFIRM = 32 + 16
_SEALED_PARAMS = _PARAMS.size + 16


@dataclass(frozen=True)
class Params:
    """What the server says inside M2: where the federation stands. ``round`` is below 2^63, ``epoch`` below 2^32."""

    epoch: int
    round: int
    revocation_epoch: int
    model_hash: bytes
    nonce: bytes

    def build(self) -> bytes:
        return _PARAMS.pack(self.epoch, self.round, self.revocation_epoch, self.model_hash, self.nonce)

    @classmethod
    def parse(cls, data: bytes) -> Params:
        """Read 64 authenticated bytes.

        Raises:
            DecodeError: a round number beyond what the rest of the program can hold.
        """
        params = cls(*_PARAMS.unpack(data))
        if params.round >= 1 << 63:
            raise DecodeError("M2 names a round beyond 2^63")
        return params


class Hello(NamedTuple):
    """M1 in parts. ``before_seal`` is the header, ``macked`` all that mac1 covers, ``body`` all but the cookie."""

    header: bytes
    sid: bytes
    ephemeral: bytes
    ciphertext: bytes
    sealed_id: bytes
    psk_mac: bytes
    mac1: bytes
    cookie: bytes
    body: bytes

    @property
    def macked(self) -> bytes:
        return self.body[:-16]


class Reply(NamedTuple):
    """M2 in parts."""

    header: bytes
    server_sid: bytes
    device_sid: bytes
    to_ephemeral: bytes
    to_device: bytes
    sealed_params: bytes


class Confirm(NamedTuple):
    """M3 in parts."""

    header: bytes
    server_sid: bytes
    sealed: bytes


def hello_bytes(suite: Suite) -> int:
    """The exact length of M1."""
    return _SHORT.size + suite.kem.public_bytes + suite.kem.ciphertext_bytes + _SEALED_ID + 16 + 16 + COOKIE_BYTES


def reply_bytes(suite: Suite) -> int:
    """The exact length of M2."""
    return _LONG.size + 2 * suite.kem.ciphertext_bytes + _SEALED_PARAMS


def confirm_bytes() -> int:
    """The exact length of M3."""
    return _SHORT.size + _SEALED_CONFIRM


def hello_header(suite: Suite, sid: bytes) -> bytes:
    return _SHORT.pack(HELLO, VERSION, suite.number, 0, sid)


def reply_header(suite: Suite, server_sid: bytes, device_sid: bytes) -> bytes:
    return _LONG.pack(REPLY, VERSION, suite.number, 0, server_sid, device_sid)


def confirm_header(suite: Suite, server_sid: bytes) -> bytes:
    return _SHORT.pack(CONFIRM, VERSION, suite.number, 0, server_sid)


def retry(cookie: bytes) -> bytes:
    return bytes([RETRY]) + cookie


def parse_hello(suite: Suite, data: bytes) -> Hello:
    """M1 in parts.

    Raises:
        DecodeError: wrong length, version, suite or flags.
    """
    _check_length("M1", data, hello_bytes(suite))
    sid: bytes = _check_header("M1", HELLO, suite, _SHORT.unpack_from(data))[0]
    kem = suite.kem
    a = _SHORT.size
    b = a + kem.public_bytes
    c = b + kem.ciphertext_bytes
    d = c + _SEALED_ID
    return Hello(
        data[:a], sid, data[a:b], data[b:c], data[c:d], data[d : d + 16], data[d + 16 : d + 32], data[-16:], data[:-16]
    )


def parse_reply(suite: Suite, data: bytes) -> Reply:
    """M2 in parts.

    Raises:
        DecodeError: wrong length, version, suite or flags.
    """
    _check_length("M2", data, reply_bytes(suite))
    server_sid, device_sid = _check_header("M2", REPLY, suite, _LONG.unpack_from(data))
    a = _LONG.size
    b = a + suite.kem.ciphertext_bytes
    c = b + suite.kem.ciphertext_bytes
    return Reply(data[:a], server_sid, device_sid, data[a:b], data[b:c], data[c:])


def parse_confirm(suite: Suite, data: bytes) -> Confirm:
    """M3 in parts.

    Raises:
        DecodeError: wrong length, version, suite or flags.
    """
    _check_length("M3", data, confirm_bytes())
    sid: bytes = _check_header("M3", CONFIRM, suite, _SHORT.unpack_from(data))[0]
    return Confirm(data[: _SHORT.size], sid, data[_SHORT.size :])


def parse_retry(data: bytes) -> bytes:
    """The cookie of a retry.

    Raises:
        DecodeError: wrong length or type.
    """
    _check_length("a retry", data, RETRY_BYTES)
    if data[0] != RETRY:
        raise DecodeError("a retry begins with another type")
    return data[1:]


def mac1_key(server_public: bytes) -> bytes:
    """Only who knows the server's public key can make mac1: a scanner gets no answer."""
    return kdf.digest("sha256", labels.MAC1, server_public)


def mac1(key: bytes, macked: bytes) -> bytes:
    return kdf.mac("sha256", key, macked)[:16]


def _check_length(name: str, data: bytes, want: int) -> None:
    if len(data) != want:
        raise DecodeError(f"{name} has {want} bytes in this suite, not {len(data)}")


def _check_header(name: str, kind: int, suite: Suite, header: tuple[object, ...]) -> tuple[bytes, ...]:
    if header[:4] != (kind, VERSION, suite.number, 0):
        want = (kind, VERSION, suite.number, 0)
        raise DecodeError(f"{name} has type, version, suite, flags {header[:4]}, this end speaks {want}")
    return header[4:]  # type: ignore[return-value]  # struct's "8s" gives bytes
