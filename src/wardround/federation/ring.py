"""What a secure sum costs by the number of values, for budgets: the planner's price, shares and counts included."""

from __future__ import annotations

from dataclasses import dataclass

from wardround.compress.budget import Ring
from wardround.secagg import planner
from wardround.secagg.parameters import Lattice, largest_opened

COUNTS = 5
"""Counts of a training answer to a secure sum: weight, loss, steps, 1, cut values (pipeline.count_training)."""


@dataclass(frozen=True)
class Priced(Ring):
    """A ring whose ``size`` is that of a contribution of ``lattice`` for ``invited`` clients in cohorts of ``cohort``."""

    lattice: Lattice | None = None
    invited: int = 0
    cohort: int = 0

    def size(self, values: int) -> int:
        if self.lattice is None:
            return super().size(values)
        return planner.choose(self.lattice, self.invited, self.cohort, values, COUNTS).client_bytes


def priced(lattice: Lattice, invited: int, cohort: int) -> Priced:
    """The prices for ``invited`` clients a round."""
    return Priced(lattice.bits, largest_opened(invited, cohort), 0, lattice, invited, cohort)
