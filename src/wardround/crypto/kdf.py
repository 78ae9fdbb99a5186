"""Hashing, HMAC, HKDF and constant-time comparison: one name per meaning.

HMAC is RFC 2104, HKDF RFC 5869; ``chain`` is the HKDF of the Noise Protocol Framework (revision 34, section 4.3).
``hash_name`` is a name hashlib knows ("sha256", "sha384", "sha3_256").

What it does not do: stretch passphrases (drivers/store/keys.py uses scrypt for that).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any


def digest(hash_name: str, *parts: bytes) -> bytes:
    """H(parts joined). The parts are not separated: every caller's layout is fixed or begins with a label."""
    constructor = getattr(hashlib, hash_name)  # an attribute is found in a third of the time of hashlib.new
    value: bytes = constructor(b"".join(parts)).digest()
    return value


def hasher(hash_name: str) -> Callable[[bytes], Any]:
    """The constructor of a hash, for who hashes often and has looked the name up once."""
    constructor: Callable[[bytes], Any] = getattr(hashlib, hash_name)
    return constructor


def mac(hash_name: str, key: bytes, *parts: bytes) -> bytes:
    """HMAC of the joined parts; as long as the hash."""
    return hmac.digest(key, b"".join(parts), hash_name)


def equal(left: bytes, right: bytes) -> bool:
    """Whether two byte strings are the same, in time that does not depend on where they differ."""
    return hmac.compare_digest(left, right)


def chain(hash_name: str, chaining_key: bytes, material: bytes, count: int) -> tuple[bytes, ...]:
    """``count`` outputs (2 or 3 in Noise) of HKDF(chaining_key, material), each as long as the hash.

    Raises:
        ValueError: more than 255 outputs.
    """
    if not 1 <= count <= 255:
        raise ValueError(f"HKDF gives 1 to 255 outputs, not {count}")
    prk = hmac.digest(chaining_key, material, hash_name)
    outputs = [hmac.digest(prk, b"\x01", hash_name)]
    for number in range(2, count + 1):
        outputs.append(hmac.digest(prk, outputs[-1] + bytes((number,)), hash_name))
    return tuple(outputs)


def hkdf(hash_name: str, salt: bytes, material: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Extract and -Expand of RFC 5869: ``length`` bytes.

    Raises:
        ValueError: ``length`` is beyond 255 hashes.
    """
    size = hashlib.new(hash_name).digest_size
    if not 0 < length <= 255 * size:
        raise ValueError(f"HKDF-{hash_name} gives 1 to {255 * size} bytes, not {length}")
    prk = hmac.digest(salt or bytes(size), material, hash_name)
    okm, last = b"", b""
    for number in range(1, -(-length // size) + 1):
        last = hmac.digest(prk, last + info + bytes([number]), hash_name)
        okm += last
    return okm[:length]


def shake256(length: int, *parts: bytes) -> bytes:
    """``length`` bytes of SHAKE256 (FIPS 202) over the joined parts."""
    return hashlib.shake_256(b"".join(parts)).digest(length)
