"""The noise of a round as its descriptor names it (privacy.py makes it)."""

from __future__ import annotations

from dataclasses import dataclass

from wardround.wire import message

GAUSSIAN, SKELLAM = 1, 2
SMALLEST_DEVIATION = 4.0
"""Grid units: below it a sum of discrete Gaussians is measurably not one (Kairouz et al. 2021, theorem 1; here < 1e-30)."""


@message(0x5004)
@dataclass(frozen=True)
class Noise:
    """``kind`` GAUSSIAN or SKELLAM; ``spread``: deviation of one client's noise as a share of a value's range; ``norm``: the
    longest update, in units of its values.
    """

    kind: int
    spread: float
    norm: float

    def __post_init__(self) -> None:
        if self.kind not in (GAUSSIAN, SKELLAM) or not self.spread > 0 or not self.norm > 0:
            raise ValueError(f"noise of kind {self.kind}, spread {self.spread} and norm {self.norm}")
