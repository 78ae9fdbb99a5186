"""Rule-aware attacks: the size is chosen by trying the deployed rule, cohorts included, before sending.

    alie-aware        ALIE whose z does the most damage to this rule at this cohort size
    ipm-aware         IPM whose e does the most damage
    fltrust-adaptive  the angle to the server's root that does the most damage to FLTrust (its section on adaptive
                      attacks: Cao et al., NDSS 2021; here a search over one angle instead of theirs over noise)

Damage is how far the combined update lies from the honest mean: in any direction for ALIE, against the mean for IPM,
across the root for the adaptive attack. It is averaged over draws of the cohorts, because the real ones are dealt
after upload.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardround.arrays import F32, F64
from wardround.attacks.attack import Attack, Target, alike, moments

TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True, eq=False)
class Trial:
    """What an adversary can try: ``count`` equal updates beside the ``honest`` ones [h, d] under the deployed rule."""

    honest: F32
    count: int
    target: Target
    seed: int

    def outcomes(self, candidate: F64) -> list[F32]:
        rng = np.random.default_rng(self.seed)
        return self.target.outcomes(self.honest, alike(candidate, self.count), rng)


@dataclass(frozen=True)
class AwareALIE(Attack):
    """ALIE with its size re-optimised against the deployed rule every round.

    Attributes:
        sizes: numbers of standard deviations that are tried, of both signs.
    """

    name: ClassVar[str] = "alie-aware"
    sizes: tuple[float, ...] = (0.25, 0.5, 1.0, 1.5, 2.0, 4.0, 8.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.sizes)

    def forge(self, honest: F32, own: F32, target: Target, rng: np.random.Generator) -> F32:
        mean, spread = moments(honest)
        both = (*self.sizes, *(-z for z in self.sizes))
        return worst([mean - z * spread for z in both], _trial(honest, own, target, rng), distance(mean))


@dataclass(frozen=True)
class AwareIPM(Attack):
    """IPM with its size re-optimised against the deployed rule every round.

    Attributes:
        sizes: scales of the reversed mean that are tried.
    """

    name: ClassVar[str] = "ipm-aware"
    sizes: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 20.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.sizes)

    def forge(self, honest: F32, own: F32, target: Target, rng: np.random.Generator) -> F32:
        mean, _ = moments(honest)
        reverse = -mean / max(float(np.linalg.norm(mean)), TINY)
        trial = _trial(honest, own, target, rng)
        return worst([-size * mean for size in self.sizes], trial, carried(mean, reverse))


@dataclass(frozen=True)
class FLTrustAdaptive(Attack):
    """Updates that keep a part of the root's direction, to be trusted, and carry the rest against the honest mean.

    With the root's update u and the honest mean's reverse across it, v, all send cos(a) u + sin(a) v. Where the target
    has no root the adversary takes the honest mean for it.

    Attributes:
        angles: how many angles between 0 and 90 degrees are tried.
    """

    name: ClassVar[str] = "fltrust-adaptive"
    angles: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.angles < 1:
            raise ValueError(f"angles must be 1 or more, not {self.angles}")

    def forge(self, honest: F32, own: F32, target: Target, rng: np.random.Generator) -> F32:
        mean, spread = moments(honest)
        root = mean if target.context.root is None else target.context.root.astype(np.float64)
        length = max(float(np.linalg.norm(root)), TINY)
        along = root / length
        across = _across(-mean, along)
        if float(np.linalg.norm(across)) < 1e-6 * float(np.linalg.norm(mean)):
            across = _across(-spread, along)  # the honest mean lies along the root: carry it off where clients differ
        across /= max(float(np.linalg.norm(across)), TINY)
        turns = np.linspace(0, np.pi / 2, self.angles + 2)[1:-1]
        tried = [length * (np.cos(a) * along + np.sin(a) * across) for a in turns]
        return worst(tried, _trial(honest, own, target, rng), carried(mean, across))


def worst(candidates: list[F64], trial: Trial, measure: Callable[[F32], float]) -> F32:
    """Copies of the candidate whose outcome scores highest; every candidate meets the same draws of cohorts."""

    def harm(candidate: F64) -> float:
        return float(np.mean([measure(result) for result in trial.outcomes(candidate)]))

    return alike(max(candidates, key=harm), trial.count)


def carried(mean: F64, direction: F64) -> Callable[[F32], float]:
    """How far a combined update lies from the honest ``mean`` [d] along a unit ``direction`` [d]."""
    return lambda result: float((result.astype(np.float64) - mean) @ direction)


def distance(mean: F64) -> Callable[[F32], float]:
    """How far a combined update lies from the honest ``mean`` [d]."""
    return lambda result: float(np.linalg.norm(result.astype(np.float64) - mean))


def _across(vector: F64, along: F64) -> F64:
    """The part of ``vector`` perpendicular to the unit vector ``along``."""
    out: F64 = vector - (vector @ along) * along
    return out


def _trial(honest: F32, own: F32, target: Target, rng: np.random.Generator) -> Trial:
    return Trial(honest, len(own), target, int(rng.integers(2**63)))


def _check(sizes: tuple[float, ...]) -> None:
    if not sizes or min(sizes) <= 0:
        raise ValueError(f"sizes must hold positive numbers, not {sizes}")
