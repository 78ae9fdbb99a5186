"""Attacks on the update that need little or nothing of the others: flips, noise, idleness, copies.

sign-flip   x -> -c x (Li et al., "RSA", AAAI 2019)
gaussian    noise of an honest update's length
free-rider  no training at all, at most a little noise (Fraboni, Vidal, Lorenzi, AISTATS 2021)
mimic       all send one honest client's update (Karimireddy, He, Jaggi, ICLR 2022, section 3.2): hurts by making
            one client's data heavy, and no rule can call it an outlier
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardround.aggregate.spectral import spectral_scores
from wardround.arrays import F32
from wardround.attacks.attack import Attack, Target, alike, moments


@dataclass(frozen=True)
class SignFlip(Attack):
    """Hostile clients train and send the opposite.

    Attributes:
        scale: length of what is sent, relative to what was trained.
    """

    name: ClassVar[str] = "sign-flip"
    trains: ClassVar[bool] = True
    scale: float = 1.0

    def forge(self, honest: F32, own: F32, target: Target, rng: np.random.Generator) -> F32:
        del honest, target, rng
        return own * np.float32(-self.scale)


@dataclass(frozen=True)
class Gaussian(Attack):
    """Hostile clients send noise, each its own.

    Attributes:
        scale: expected length relative to the median honest update.
    """

    name: ClassVar[str] = "gaussian"
    scale: float = 1.0

    def forge(self, honest: F32, own: F32, target: Target, rng: np.random.Generator) -> F32:
        del target
        moments(honest)
        return _noise(honest, own.shape, self.scale, rng)


@dataclass(frozen=True)
class FreeRider(Attack):
    """Hostile clients do not train; they want the model for nothing.

    Attributes:
        noise: length of the noise that disguises it, relative to the median honest update; 0 sends zeros.
    """

    name: ClassVar[str] = "free-rider"
    noise: float = 0.0

    def forge(self, honest: F32, own: F32, target: Target, rng: np.random.Generator) -> F32:
        del target
        return _noise(honest, own.shape, self.noise, rng) if self.noise else np.zeros_like(own)


@dataclass(frozen=True)
class Mimic(Attack):
    """All hostile clients copy the honest update that stands out most along the direction in which honest ones differ.

    The paper fixes the victim after a warm-up; here it is found afresh each round, which needs no memory.
    """

    name: ClassVar[str] = "mimic"

    def forge(self, honest: F32, own: F32, target: Target, rng: np.random.Generator) -> F32:
        del target, rng
        mean, _ = moments(honest)
        apart = honest - mean
        victim = int(np.argmax(spectral_scores(apart @ apart.T)))
        return alike(honest[victim].astype(np.float64), len(own))


def _noise(honest: F32, shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> F32:
    length = scale * float(np.median(np.linalg.norm(honest, axis=1)))
    out: F32 = (rng.normal(size=shape) * length / np.sqrt(shape[1])).astype(np.float32)
    return out
