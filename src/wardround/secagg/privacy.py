"""Distributed differential privacy in the fixed point of the secure sum: each client clips and adds a part of the noise.

The noise of all honest clients of an opened set together has the deviation ``multiplier`` times the sensitivity; each adds its
part of it before it encrypts, so neither server nor committee ever sees a sum without it. Discrete Gaussian: Kairouz, Liu,
Steinke, ICML 2021; Skellam: Agarwal, Kairouz, Liu, NeurIPS 2021.

    norm         sqrt(d) clip / 8: an update's Euclidean norm after clipping, in units of its values
    sensitivity  norm + sqrt(d) / 2 grid steps (rounding may lengthen it so far)
    deviation    of one client: multiplier x sensitivity / sqrt(honest clients of the smallest set that may be opened)

Laws: the numbers follow from the configuration and d alone, so a server that asks for less noise is refused.
What it does not do: account (drivers/privacy.py); cover the counts (federation/pipeline.py sends constants in their place).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from wardround.arrays import F32, I64
from wardround.crypto import noise
from wardround.errors import ConfigError
from wardround.secagg.noise import GAUSSIAN, SKELLAM, SMALLEST_DEVIATION, Noise
from wardround.secagg.parameters import Lattice

SPREAD = 8.0
"""A typical value of a clipped update lies this many times below the largest that can be sent."""

Mechanism = Literal["gaussian", "skellam"]


@dataclass(frozen=True)
class Private:
    """``multiplier``: deviation over sensitivity; ``hostile``: share of an opened set that may add no noise."""

    mechanism: Mechanism
    multiplier: float
    hostile: float

    def honest(self, smallest: int) -> int:
        """Clients of an opened set of ``smallest`` whose noise is counted on."""
        return max(1, smallest - math.floor(self.hostile * smallest))

    def noise(self, config: Lattice, values: int, smallest: int) -> Noise:
        """What each client does to an update of ``values`` numbers."""
        norm = math.sqrt(values) * config.clip / SPREAD
        full = (1 << config.bits) - 1
        # the coarsest grid that may be chosen: 0.98 of the levels, quarters of a step (parameters.choose_dithered)
        longest = norm + math.sqrt(values) / 2 * (2 * config.clip / (0.98 * full * 4))
        deviation = self.multiplier * longest / math.sqrt(self.honest(smallest))
        if deviation / (2 * config.clip) * 0.98 * full * 4 < SMALLEST_DEVIATION:
            raise ConfigError(f"[privacy] multiplier = {self.multiplier} is too little noise for this grid: raise it")
        kind = GAUSSIAN if self.mechanism == "gaussian" else SKELLAM
        return Noise(kind, deviation / (2 * config.clip), norm)


@dataclass(frozen=True)
class PrivateLattice(Lattice):
    """The lattice sum with noise in every update."""

    private: Private | None = None

    def noise(self, values: int, smallest: int) -> Noise | None:
        return None if self.private is None or not values else self.private.noise(self, values, smallest)


def private(config: Lattice, chosen: Private) -> PrivateLattice:
    """``config`` with noise."""
    return PrivateLattice(**{spec.name: getattr(config, spec.name) for spec in fields(config)}, private=chosen)


def shorten(values: F32, norm: float) -> F32:
    """``values`` scaled down to a Euclidean norm of at most ``norm``."""
    length = float(np.linalg.norm(values.astype(np.float64)))
    # a hair below the norm, so that rounding to float32 does not end above it
    return values if length <= norm else (values * np.float32(norm * (1 - 1e-6) / length)).astype(np.float32)


def draw(chosen: Noise, seed: bytes, count: int, grid: float) -> I64:
    """A client's noise in grid units, of which the whole range of a value holds ``grid``."""
    deviation = chosen.spread * grid
    if chosen.kind == GAUSSIAN:
        return noise.discrete_gaussian(seed, count, deviation)
    return noise.skellam(seed, count, deviation**2)
