"""The research suite: Ring-LWE (n = 1024, q = 12289) with X25519 and the psk, in the same handshake. Experimental.

It exists so that the Ring-LWE literature can be measured beside ML-KEM. It is in no table: ``suites.SUITES`` does not hold it, a
credential, descriptor or anchor that names its number is refused, and no byte of a peer selects it. Whoever wants it builds
both ends with it in one process (``in_memory.world(suite=research_suite(experimental=True))``).
"""

from __future__ import annotations

from wardround.auth.suites import Suite
from wardround.crypto.aead import CHACHA20_POLY1305
from wardround.crypto.rlwe import RLWE_X25519
from wardround.errors import UsageError

NUMBER = 200


def research_suite(*, experimental: bool) -> Suite:
    """The suite, for who says ``experimental=True``.

    Raises:
        UsageError: it was not said.
    """
    if not experimental:
        raise UsageError("the Ring-LWE suite is for measurements only; ask for it with experimental=True")
    return Suite(NUMBER, RLWE_X25519, "sha256", 32, CHACHA20_POLY1305, experimental=True)
