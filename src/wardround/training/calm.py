"""A site without labels: where its threshold belongs, from a calm window and the traffic that came after.

At a site that no training saw, a model may still rank attacks above normal traffic and yet put all of both on one side of
its threshold. The site knows no attack, but it can take an early window for normal. With F0 the scores' distribution in that
calm window and F that of the later, unlabelled rows, F = (1 - p) F0 + p F1 where p is the share of attacks; so at every
score 1 - p <= F / F0 (Blanchard, Lee and Scott, JMLR 2010). Only the upper end is asked: scores that at most the share
``most`` of the calm rows exceeds. What lies among normal scores says nothing, because the mix of normal traffic changes from
hour to hour; what lies above nearly all of them is either an attack or normal traffic of a kind that the window lacks. F0
there is bounded by the binomial (Clopper and Pearson 1934), F by Dvoretzky, Kiefer and Wolfowitz, together with the stated
confidence. If the bound of p is not above ``least``, nothing changes; else p gives the recall at every score, and the
threshold is where the estimated macro-F1 of "attack or not" is largest, among scores that call no more than ``most`` of the
calm rows attacks. It only moves down: a window that already alarms more often proves nothing against the model's own
threshold.

Laws: rows like the calm ones change nothing, with the stated confidence; a new mix of them changes nothing; a constant added
to a row's logits, or to all scores, changes no decision between rows; with no bound above ``least`` the logits are returned
as they came.
What it does not do: tell attacks apart (only whether), find a calm window (the operator says when), know normal traffic of a
kind that the window lacks and that scores above it: the window should cover what is normal.
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
        confidence: with which the attacks' share must be above ``least`` before anything changes.
        most: share of the calm rows that a moved threshold may call attacks; more finds more and trusts the window's mix.
        least: share of attacks that must be proven.
    """

    name: ClassVar[str] = "calm"

    rows: int = 100
    confidence: float = 0.95
    most: float = 0.03
    least: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rows < 1:
            raise ValueError(f"rows must be 1 or more, not {self.rows}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, not {self.confidence}")
        if not 0 < self.most <= 1:
            raise ValueError(f"most must be above 0 and at most 1, not {self.most}")
        if not 0 <= self.least < 1:
            raise ValueError(f"least must be 0 or more and below 1, not {self.least}")

    def moved(self, calm: F32, logits: F32, benign: int) -> F32:
        """``logits`` [n, c] of unlabelled rows with class ``benign`` moved, from those of the ``calm`` ones [m, c]."""
        at = threshold(scores(calm, benign), scores(logits, benign), self)
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


def attacks_share(calm: F64, seen: F64, asked: CalmPrior) -> float:
    """Lower bound of the share of ``seen`` [n] that is not like ``calm`` [m]; 0: none is known."""
    if not len(calm) or not len(seen):
        return 0.0
    miss = (1 - asked.confidence) / 2
    at = np.sort(calm)[::-1][: _judged(calm, asked)]
    beyond = np.array([int((calm > score).sum()) for score in at])
    normal = np.array([_at_most(int(a), len(calm), miss / len(at)) for a in beyond])
    above = np.array([(seen > score).mean() for score in at]) - math.sqrt(math.log(1 / miss) / (2 * len(seen)))
    return float(max(0.0, ((above - normal) / (1 - normal)).max()))


def threshold(calm: F64, seen: F64, asked: CalmPrior) -> float | None:
    """What an attack's score lies above, always below the model's own 0; None: keep that.

    It lies half way from one score to the next, so that rows that are alike stay on one side however logits are rounded.
    """
    share = attacks_share(calm, seen, asked)
    if share <= asked.least:
        return None
    grid = _grid(calm, seen)
    grid = grid[grid >= np.sort(calm)[::-1][_judged(calm, asked) - 1]]
    below, normal = (np.searchsorted(np.sort(part), grid, side="right") / len(part) for part in (seen, calm))
    false = 1 - normal
    recall = np.clip((1 - below - (1 - share) * false) / share, 0, 1)
    hit, miss, wrong, quiet = share * recall, share * (1 - recall), (1 - share) * false, (1 - share) * normal
    f1 = 2 * hit / (2 * hit + wrong + miss + _TINY) + 2 * quiet / (2 * quiet + wrong + miss + _TINY)
    best = int(f1.argmax())
    at, beyond = float(grid[best]), float(grid[best + 1 :].min(initial=0.0))
    return (at + beyond) / 2 if at < 0 else None


def _judged(calm: F64, asked: CalmPrior) -> int:
    """How many of the largest calm scores are looked at."""
    return max(1, math.ceil(asked.most * len(calm)))


def _at_most(hits: int, n: int, miss: float) -> float:
    """The largest probability under which at most ``hits`` of ``n`` happen with probability ``miss`` or more."""
    if hits >= n:
        return 1.0 - _TINY
    lo, hi = hits / n, 1.0
    ways = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(hits + 1)]
    for _ in range(60):
        p = (lo + hi) / 2
        chance = (
            sum(math.exp(w + k * math.log(p) + (n - k) * math.log1p(-p)) for k, w in enumerate(ways)) if p < 1 else 0.0
        )
        lo, hi = (p, hi) if chance >= miss else (lo, p)
    return hi


def _grid(calm: F64, seen: F64) -> F64:
    found: F64 = np.unique(np.concatenate([calm, seen]))
    return found


STRATEGIES: tuple[type, ...] = (CalmPrior,)
