"""Label shares: a model learns those it was trained under, and a client's own differ; correct them without training.

    client   logits + log(own share / trained share)                        Saerens et al., Neural Computation 2002, eq. 2.4
    window   the same with the share estimated from recent rows by EM       Saerens et al. 2002, eq. 2.9
    calm     a threshold for a site without labels                          calm.py

Own shares are mixed with a ``floor`` of the trained ones, so that a class the client never had stays visible: it loses at
most log(1 / floor). Nothing of this is sent: counts and estimate stay at the client.

Laws: own shares equal to the trained ones change nothing; a constant added to a row's logits changes no decision; with
``floor = 1`` nothing changes.
What it does not do: adapt when classes look different at the client (only their shares may differ).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from wardround.arrays import F32, F64

_TINY = 1e-12
_STEPS = 50


class Prior(Protocol):
    """A strategy of the table ``[prior]``."""

    name: ClassVar[str]

    def correct(self, logits: F32, counts: F64, trained: F64) -> F32:
        """Corrected logits [n, c] of a client's rows in their order; ``counts`` [c] of its own training labels,
        ``trained`` [c]: the shares that the model was trained under.
        """
        ...


@dataclass(frozen=True)
class NoPrior:
    """Every client uses the model's own logits. No settings."""

    name: ClassVar[str] = "none"

    def correct(self, logits: F32, counts: F64, trained: F64) -> F32:
        """The logits as they are."""
        del counts, trained
        return logits


@dataclass(frozen=True)
class ClientPrior:
    """Corrects by the label shares of the client's own training rows.

    Attributes:
        floor: part of the trained shares mixed into the client's own.
    """

    name: ClassVar[str] = "client"

    floor: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.floor <= 1:
            raise ValueError(f"floor must be above 0 and at most 1, not {self.floor}")

    def correct(self, logits: F32, counts: F64, trained: F64) -> F32:
        """One offset for all rows."""
        return logits + offset(floored(counts, trained, self.floor), trained)


@dataclass(frozen=True)
class WindowPrior(ClientPrior):
    """Follows shares that drift: they are estimated from the last rows without labels, starting at the client's own.

    Attributes:
        window: rows the estimate rests on.
        every: rows between two estimates.
        strength: pseudo-rows of the client's own label shares that the estimate begins with; more is steadier.
        temperature: divides the logits first. A model is surer than it should be at a site it never saw, and EM cannot move
            posteriors of 0 and 1; choose it by leaving out sites that have labels (docs/howto/skewed-hospitals.md).
    """

    name: ClassVar[str] = "window"

    window: int = 512
    every: int = 64
    strength: float = 64.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("window", "every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if not self.strength >= 0:
            raise ValueError(f"strength must be 0 or more, not {self.strength}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, not {self.temperature}")

    def correct(self, logits: F32, counts: F64, trained: F64) -> F32:
        """Rows in blocks of ``every``; each block's offset rests on the window that ends with it."""
        own = floored(counts, trained, self.floor)
        logits = logits / np.float32(self.temperature)
        corrected = np.empty_like(logits)
        for at in range(0, len(logits), self.every):
            end = min(len(logits), at + self.every)
            seen = logits[max(0, end - self.window) : end]
            found = floored(estimate(seen, own, trained, self.strength), trained, self.floor)
            corrected[at:end] = logits[at:end] + offset(found, trained)
        return corrected


STRATEGIES: tuple[type, ...] = (NoPrior, ClientPrior, WindowPrior)


def floored(counts: F64, trained: F64, floor: float) -> F64:
    """Shares [c]: a client's own with ``floor`` of the ``trained`` ones; the trained ones where it has no rows."""
    total = counts.sum()
    own = counts / total if total > 0 else trained
    mixed: F64 = (1 - floor) * own + floor * trained
    return mixed


def offset(own: F64, trained: F64) -> F32:
    """log(own / trained) [c]; 0 for classes that nobody has."""
    there = (trained > 0) & (own > 0)
    ratio = np.where(there, own, 1.0) / np.where(there, trained, 1.0)
    return np.log(ratio).astype(np.float32)


def estimate(logits: F32, start: F64, trained: F64, strength: float) -> F64:
    """Class shares [c] of the rows behind ``logits`` [n, c] by EM, with ``strength`` pseudo-rows of shares ``start``."""
    likelihood = _posterior(logits) / np.maximum(trained, _TINY)
    shares = start
    for _ in range(_STEPS):
        weighted = likelihood * shares
        weighted /= np.maximum(weighted.sum(1, keepdims=True), _TINY)
        new: F64 = (weighted.sum(0) + strength * start) / (len(logits) + strength)
        moved, shares = float(np.abs(new - shares).sum()), new
        if moved < 1e-6:
            break
    return shares


def trained_shares(prior: F64, class_weights: F32 | None) -> F64:
    """The shares [c] a model learns from labels with shares ``prior`` whose losses weigh ``class_weights``."""
    weighted = prior if class_weights is None else prior * class_weights
    shares: F64 = weighted / max(float(weighted.sum()), _TINY)
    return shares


def _posterior(logits: F32) -> F64:
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    grown = np.exp(shifted)
    return np.asarray(grown / grown.sum(1, keepdims=True))
