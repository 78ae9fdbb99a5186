"""How answers are added up: the table ``[secagg]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from wardround.secagg.parameters import Lattice


@dataclass(frozen=True)
class PlainSum:
    """No protection: the server sees every client's answer and adds them up. For comparison and for tests."""

    name: ClassVar[str] = "plain"


SumChoice: TypeAlias = Lattice | PlainSum
SUMS: tuple[type[Lattice | PlainSum], ...] = (Lattice, PlainSum)
