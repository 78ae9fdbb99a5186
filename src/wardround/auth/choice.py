"""Layer 1 in a file: the table ``[auth]``. Its suite is the federation's: enrolment fixes it, nothing negotiates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from wardround.auth.suites import SUITES, Suite


@dataclass(frozen=True)
class _Suited:
    """A suite by name."""

    number: ClassVar[int]

    signed_update: bool = False
    revoke: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for each in self.revoke:
            name, at, round_ = each.rpartition("@")
            if not (name and at and round_.isdigit() and int(round_) > 0):
                raise ValueError(f"revoke holds {each!r}, which is not NAME@ROUND")

    @property
    def suite(self) -> Suite:
        return SUITES[self.number]


@dataclass(frozen=True)
class XWing(_Suited):
    """ML-KEM-768 + X25519 (X-Wing) in all three KEM steps: stands while either of the two does. The default.

    Attributes:
        signed_update: every answer is also signed with the device's ML-DSA-65 key: evidence for an audit, 3.3 kB more.
        revoke: a scenario for simulations: NAME@ROUND revokes that client in the middle of a training round.
    """

    name: ClassVar[str] = "x-wing"
    number: ClassVar[int] = 2


@dataclass(frozen=True)
class MlKem768(_Suited):
    """ML-KEM-768 alone (FIPS 203): fewer cycles, no classical half.

    Attributes:
        signed_update: every answer is also signed with the device's ML-DSA-65 key: evidence for an audit, 3.3 kB more.
        revoke: a scenario for simulations: NAME@ROUND revokes that client in the middle of a training round.
    """

    name: ClassVar[str] = "ml-kem-768"
    number: ClassVar[int] = 1


@dataclass(frozen=True)
class MlKem1024(_Suited):
    """ML-KEM-1024 with SHA-384 and AES-256-GCM: the highest category, half as large again.

    Attributes:
        signed_update: every answer is also signed with the device's ML-DSA-65 key: evidence for an audit, 3.3 kB more.
        revoke: a scenario for simulations: NAME@ROUND revokes that client in the middle of a training round.
    """

    name: ClassVar[str] = "ml-kem-1024"
    number: ClassVar[int] = 3


@dataclass(frozen=True)
class NoAuth:
    """No handshake and no records: for comparison in simulations. A deployed federation refuses it."""

    name: ClassVar[str] = "none"


AuthChoice: TypeAlias = XWing | MlKem768 | MlKem1024 | NoAuth
CHOICES: tuple[type[XWing | MlKem768 | MlKem1024 | NoAuth], ...] = (XWing, MlKem768, MlKem1024, NoAuth)
OF_SUITE: dict[int, type[XWing | MlKem768 | MlKem1024]] = {2: XWing, 1: MlKem768, 3: MlKem1024}
