"""Key files: one secret per file, mode 0600, optionally under a passphrase; the only place that opens them.

    file = KeyFile{purpose, salt, body}     body = the secret, or ChaCha20-Poly1305 under scrypt(passphrase, salt)

scrypt is RFC 7914 with N = 2^15, r = 8, p = 1 (32 MiB, about 0.1 s). A file is written to a temporary name beside it, flushed
to the disk and renamed, so a crash leaves the old file or the new one, never half of one. Laws: what was written is what is
read; a file that others can read, of another purpose or under another passphrase is refused with one clear error.

What it does not do: hide secrets from whoever is root, or erase them from memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from wardround.crypto import labels
from wardround.crypto.aead import CHACHA20_POLY1305, Cipher
from wardround.errors import AuthError, DecodeError, UsageError
from wardround.wire import decode, encode, message

MAX_BYTES = 1 << 24
SALT_BYTES = 16
_SCRYPT = {"n": 1 << 15, "r": 8, "p": 1, "maxmem": 1 << 26, "dklen": 32}


@message(0x3901)
@dataclass(frozen=True)
class KeyFile:
    """``salt`` is empty where there is no passphrase."""

    purpose: str
    salt: bytes
    body: bytes = field(repr=False)


def write_secret(path: Path, purpose: str, secret: bytes, passphrase: str = "", replace: bool = False) -> None:
    """Write ``secret`` to ``path`` with mode 0600.

    Raises:
        UsageError: the file exists and ``replace`` is false, or the folder cannot be written.
    """
    if path.exists() and not replace:
        raise UsageError(f"{path} exists already; a key is never overwritten: move it away first")
    salt = os.urandom(SALT_BYTES) if passphrase else b""
    body = _cipher(passphrase, salt).seal(0, secret, _bound(purpose, salt)) if passphrase else secret
    write_private(path, encode(KeyFile(purpose, salt, body)))


def read_secret(path: Path, purpose: str, passphrase: str = "") -> bytes:
    """The secret of ``write_secret``.

    Raises:
        UsageError: no such file, others may read it, not a key file of this purpose, or a wrong or missing passphrase.
    """
    stored = _parse(path, read_private(path))
    if stored.purpose != purpose:
        raise UsageError(f"{path} holds {stored.purpose}, not {purpose}: name the right file")
    if not stored.salt:
        return stored.body
    if not passphrase:
        raise UsageError(f"{path} is protected by a passphrase; none was given")
    try:
        return _cipher(passphrase, stored.salt).open(0, stored.body, _bound(purpose, stored.salt))
    except AuthError as error:
        raise UsageError(f"the passphrase does not open {path}, or the file was changed") from error


def write_private(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``, mode 0600, in one step that survives a power cut.

    Raises:
        UsageError: the folder does not exist or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name too, not only the contents
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def read_private(path: Path) -> bytes:
    """The bytes of a file that nobody else may read.

    Raises:
        UsageError: it is missing, a link, not a plain file, too large, or its mode or owner lets others read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        _check_private(path, os.fstat(file.fileno()))  # of the open file, so nobody can swap it in between
        return file.read(MAX_BYTES)


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
        raise UsageError(f"{path} is not a key file")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise UsageError(
            f"{path} has mode {mode:04o}, so others may read it: chmod 600 it, and think of making a new key"
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise UsageError(f"{path} belongs to another user (uid {status.st_uid})")


def _parse(path: Path, data: bytes) -> KeyFile:
    try:
        return decode(data, KeyFile)
    except DecodeError as error:
        raise UsageError(f"{path} is not a key file, or it is damaged: {error}") from error


def _bound(purpose: str, salt: bytes) -> bytes:
    return labels.KEY_FILE + salt + purpose.encode()


def _cipher(passphrase: str, salt: bytes) -> Cipher:
    return CHACHA20_POLY1305.key(hashlib.scrypt(passphrase.encode(), salt=salt, **_SCRYPT))
