"""How answers are added up: the table ``[secagg]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from wardround.secagg.parameters import Lattice


@dataclass(frozen=True)
class PlainSum:
    """No protection: the server sees every client's answer and adds them up. For comparison and for tests."""

    name: ClassVar[str] = "plain"


@dataclass(frozen=True)
class PairwiseSum:
    """Pairwise masks (SecAgg+ with ML-KEM seeds, Bell et al., CCS 2020): four messages a round; a benchmark baseline.

    Its keys are not signed and its cohorts are dealt before the upload: compare with it, do not deploy it.

    Attributes:
        bits, clip, count_bits, count_fraction, minimum: as for ``lattice``.
    """

    name: ClassVar[str] = "pairwise"

    bits: int = 8
    clip: float = 1.0
    count_bits: int = 40
    count_fraction: int = 8
    minimum: int = 4

    def __post_init__(self) -> None:
        self.quantiser()

    def quantiser(self) -> Lattice:
        """The same fixed point as the lattice's.

        Raises:
            ValueError: a field is out of range.
        """
        return Lattice(self.bits, self.clip, self.count_bits, self.count_fraction, minimum=self.minimum)


SumChoice: TypeAlias = Lattice | PairwiseSum | PlainSum
SUMS: tuple[type[Lattice | PairwiseSum | PlainSum], ...] = (Lattice, PairwiseSum, PlainSum)
