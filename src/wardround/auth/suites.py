"""The suites of wardround-auth/1: KEM, hash and AEAD under one number that is part of the transcript.

A device's enrolment fixes its suite; nothing negotiates. Suite 2 (X-Wing) is the default. The research suite lives in
``research.py`` and is in no table that a peer's byte can reach.
"""

from __future__ import annotations

from dataclasses import dataclass

from wardround.crypto.aead import AES_256_GCM, CHACHA20_POLY1305, Aead
from wardround.crypto.kem import ML_KEM_768, ML_KEM_1024, X_WING, Kem
from wardround.errors import UsageError

VERSION = 1


@dataclass(frozen=True)
class Suite:
    """One row of the table. ``experimental`` suites are for measurements and need to be asked for by name."""

    number: int
    kem: Kem
    hash_name: str
    hash_bytes: int
    aead: Aead
    experimental: bool = False

    @property
    def name(self) -> str:
        return self.kem.name


SUITES: dict[int, Suite] = {
    1: Suite(1, ML_KEM_768, "sha256", 32, CHACHA20_POLY1305),
    2: Suite(2, X_WING, "sha256", 32, CHACHA20_POLY1305),
    3: Suite(3, ML_KEM_1024, "sha384", 48, AES_256_GCM),
}
DEFAULT = SUITES[2]


def named(name: str) -> Suite:
    """The suite of a name in a file or on the command line.

    Raises:
        UsageError: no such suite.
    """
    for each in SUITES.values():
        if each.name.lower() == name.lower():
            return each
    raise UsageError(f"there is no suite {name!r}; there are {', '.join(s.name.lower() for s in SUITES.values())}")


def suite(number: int) -> Suite:
    """The suite of a number in a credential or a federation's file.

    Raises:
        UsageError: no such suite; the research suite has no number here.
    """
    if number not in SUITES:
        known = ", ".join(f"{s.number} ({s.name})" for s in SUITES.values())
        raise UsageError(f"there is no suite {number}; the suites are {known}")
    return SUITES[number]
