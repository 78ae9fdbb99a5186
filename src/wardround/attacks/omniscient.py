"""Attacks made from the honest updates' mean and spread, with a fixed recipe for their size.

alie     mean - z std, z the largest that hides among the honest (Baruch, Baruch, Goldberg, "A Little Is Enough",
         NeurIPS 2019, Algorithm 3)
ipm      -e mean (Xie, Koyejo, Gupta, "Fall of Empires", UAI 2019)
min-max  mean + g p, g the largest with no distance to an honest update above the largest between two of them
min-sum  the same with sums of squared distances
         (Shejwalkar, Houmansadr, "Manipulating the Byzantine", NDSS 2021, equations 4 and 5; their search for g has
         a closed form here: both limits are quadratics in g)
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Literal

import numpy as np

from wardround.arrays import F32, F64
from wardround.attacks.attack import Attack, Target, alike, moments

Direction = Literal["std", "unit", "sign"]


@dataclass(frozen=True)
class ALIE(Attack):
    """A little is enough: every coordinate is moved by the same small number of standard deviations.

    Attributes:
        z: that number; 0 for the paper's, from how many clients there are and how many are hostile.
    """

    name: ClassVar[str] = "alie"
    z: float = 0.0

    def forge(self, honest: F32, own: F32, target: Target, rng: np.random.Generator) -> F32:
        del target, rng
        mean, spread = moments(honest)
        return alike(mean - (self.z or hidden_deviations(len(honest), len(own))) * spread, len(own))


@dataclass(frozen=True)
class IPM(Attack):
    """Inner-product manipulation: the mean of the honest, turned round and scaled.

    Attributes:
        epsilon: the scale. Small ones fool rules that measure distance; a plain mean turns at honest / hostile clients.
    """

    name: ClassVar[str] = "ipm"
    epsilon: float = 0.5

    def forge(self, honest: F32, own: F32, target: Target, rng: np.random.Generator) -> F32:
        del target, rng
        mean, _ = moments(honest)
        return alike(-self.epsilon * mean, len(own))


@dataclass(frozen=True)
class MinMax(Attack):
    """As far from the honest mean as possible without being farther from any honest update than two of them are apart.

    Attributes:
        direction: where to: against the ``std`` of each coordinate, the ``unit`` mean or its ``sign``.
    """

    name: ClassVar[str] = "min-max"
    direction: Direction = "std"

    def forge(self, honest: F32, own: F32, target: Target, rng: np.random.Generator) -> F32:
        del target, rng
        mean, towards = _aim(honest, self.direction)
        far, along, square = _quadratic(honest, mean, towards)
        limit = _distances(honest).max()
        return alike(mean + _largest(far - limit, along, square).min() * towards, len(own))


@dataclass(frozen=True)
class MinSum(Attack):
    """As far from the honest mean as possible with a sum of squared distances to the honest updates that one of them has.

    Attributes:
        direction: where to: against the ``std`` of each coordinate, the ``unit`` mean or its ``sign``.
    """

    name: ClassVar[str] = "min-sum"
    direction: Direction = "std"

    def forge(self, honest: F32, own: F32, target: Target, rng: np.random.Generator) -> F32:
        del target, rng
        mean, towards = _aim(honest, self.direction)
        far, along, square = _quadratic(honest, mean, towards)
        limit = _distances(honest).sum(axis=1).max()
        reach = _largest(np.array([far.sum() - limit]), np.array([along.sum()]), square * len(honest))
        return alike(mean + reach[0] * towards, len(own))


def hidden_deviations(honest: int, hostile: int) -> float:
    """ALIE's z_max: enough honest clients lie farther out for the hostile ones to have a majority with them."""
    clients = honest + hostile
    needed = clients // 2 + 1 - hostile
    share = (honest - needed) / honest
    return NormalDist().inv_cdf(min(max(share, 0.5), 1 - 1e-6))  # below one half there is nothing to hide behind


def _aim(honest: F32, direction: Direction) -> tuple[F64, F64]:
    """(mean [d], direction [d] of the attack)."""
    mean, spread = moments(honest)
    if direction == "std":
        return mean, -spread
    if direction == "sign":
        return mean, -np.sign(mean)
    return mean, -mean / max(float(np.linalg.norm(mean)), np.finfo(float).tiny)


def _quadratic(honest: F32, mean: F64, towards: F64) -> tuple[F64, F64, float]:
    """|mean + g towards - x_i|^2 = far_i + 2 g along_i + g^2 square."""
    apart = mean - honest
    return np.einsum("ij,ij->i", apart, apart), apart @ towards, float(towards @ towards)


def _largest(constant: F64, along: F64, square: float) -> F64:
    """The larger root of constant + 2 g along + g^2 square = 0, at least 0; 0 where the direction is nothing."""
    if square == 0.0:
        return np.zeros(1)
    return np.maximum((-along + np.sqrt(np.maximum(along**2 - square * constant, 0.0))) / square, 0.0)


def _distances(honest: F32) -> F64:
    apart = honest - honest.mean(axis=0, dtype=np.float64)
    inner = apart @ apart.T
    norms = np.diag(inner)
    out: F64 = np.maximum(norms[:, None] + norms[None, :] - 2 * inner, 0.0)
    return out
