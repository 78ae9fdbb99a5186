"""A site without labels: where its threshold belongs, from a calm window and the traffic that came after.

At a site that no training saw, a model may still rank attacks above normal traffic and yet put all of both on one side of its
threshold. The site knows no attack, but it can take an early window for normal. With F0 the scores' distribution in that
calm window and F that of the later, unlabelled rows, F = (1 - p) F0 + p F1 where p is the share of attacks; so at every score
1 - p <= F / F0. With both distributions inside their one-sided Dvoretzky-Kiefer-Wolfowitz bands this bounds p from below, at
once for all scores (Blanchard, Lee and Scott, JMLR 2010). If the bound is 0 nothing is known and nothing changes: a calm site
keeps the model's own threshold. Else p gives the recall at every score, and the threshold is where the estimated macro-F1 of
"attack or not" is largest.

Laws: rows like the calm ones change nothing, with the stated confidence; a constant added to a row's logits, or to all scores,
changes no decision between rows; with no bound above 0 the logits are returned as they came.
What it does not do: tell attacks apart (only whether), find a calm window (the operator says when), follow drift: F0 must stay
what it was, so the window should cover what is normal (in one of nine sites of IoT-23 and one of three seeds it did not).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardround.arrays import F32, F64
from wardround.training.priors import ClientPrior

_TINY = 1e-12


@dataclass(frozen=True)
class CalmPrior(ClientPrior):
    """As ``client`` where a client has labels; a site without any moves its threshold by a calm window.

    Attributes:
        floor: part of the trained shares mixed into a client's own.
        rows: rows of the calm window: the first benign ones that arrive.
        confidence: with which the attacks' share must be above 0 before anything changes.
    """

    name: ClassVar[str] = "calm"

    rows: int = 100
    confidence: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rows < 1:
            raise ValueError(f"rows must be 1 or more, not {self.rows}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, not {self.confidence}")

    def moved(self, calm: F32, logits: F32, benign: int) -> F32:
        """``logits`` [n, c] of unlabelled rows with class ``benign`` moved, from those of the ``calm`` ones [m, c]."""
        at = threshold(scores(calm, benign), scores(logits, benign), self.confidence)
        if at is None:
            return logits
        found = logits.copy()
        found[:, benign] += np.float32(at)
        return found


def scores(logits: F32, benign: int) -> F64:
    """How far the likeliest attack lies above normal [n]: the model itself says attack above 0."""
    attacks = np.delete(logits, benign, axis=1).max(axis=1)
    found: F64 = attacks.astype(np.float64) - logits[:, benign]
    return found


def attacks_share(calm: F64, seen: F64, confidence: float) -> float:
    """Lower bound of the share of ``seen`` [n] that is not like ``calm`` [m]; 0: none is known."""
    if not len(calm) or not len(seen):
        return 0.0
    below, normal = _distributions(calm, seen)
    narrow, wide = (math.sqrt(math.log(2 / (1 - confidence)) / (2 * n)) for n in (len(seen), len(calm)))
    judged = normal > wide
    if not judged.any():
        return 0.0
    return float(max(0.0, (1 - (below[judged] + narrow) / (normal[judged] - wide)).max()))


def threshold(calm: F64, seen: F64, confidence: float) -> float | None:
    """The score above which a row is an attack; None: keep the model's own."""
    share = attacks_share(calm, seen, confidence)
    if share <= 0:
        return None
    below, normal = _distributions(calm, seen)
    false = 1 - normal
    recall = np.clip((1 - below - (1 - share) * false) / share, 0, 1)
    hit, miss, wrong, quiet = share * recall, share * (1 - recall), (1 - share) * false, (1 - share) * normal
    f1 = 2 * hit / (2 * hit + wrong + miss + _TINY) + 2 * quiet / (2 * quiet + wrong + miss + _TINY)
    return float(_grid(calm, seen)[f1.argmax()])


def _distributions(calm: F64, seen: F64) -> tuple[F64, F64]:
    """Empirical distributions of ``seen`` and ``calm`` at every score there is."""
    grid = _grid(calm, seen)
    parts = [np.searchsorted(np.sort(part), grid, side="right") / len(part) for part in (seen, calm)]
    return parts[0], parts[1]


def _grid(calm: F64, seen: F64) -> F64:
    found: F64 = np.unique(np.concatenate([calm, seen]))
    return found


STRATEGIES: tuple[type, ...] = (CalmPrior,)
