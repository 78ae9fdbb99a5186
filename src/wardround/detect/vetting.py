"""Is a new model worse than the old on this site's own traffic? Asked before it goes into service.

    false alarms   on the site's benign windows, at each model's own threshold: significantly more (95 %) is worse
    loss           mean -log P(benign) on the same windows: more by MARGIN and by three standard errors is worse
    recall         on windows that an operator confirmed as attacks (where there are LEAST): less by MARGIN is worse

Few windows decide nothing: below LEAST benign ones the answer is yes, with that reason. What it does not do: say that a model is
good.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F64

LEAST, MARGIN = 30, 0.1


@dataclass(frozen=True, eq=False)
class Sample:
    """One model's scores of the site's windows: ``benign`` [n], confirmed ``attack`` [m], and its ``threshold``."""

    benign: F64
    attack: F64
    threshold: float


@dataclass(frozen=True)
class Verdict:
    """``fit``: may go into service. ``reason``: one line with the figures."""

    fit: bool
    reason: str


def vet(candidate: Sample, active: Sample | None) -> Verdict:
    """Compare on the same windows; ``active`` None: nothing is in service yet."""
    n = len(candidate.benign)
    if n < LEAST:
        return Verdict(True, f"not compared: {n} benign windows here, {LEAST} are needed")
    if active is None:
        return Verdict(True, f"first model; alarms on {_share(candidate)} of {n} benign windows")
    a, b = _alarms(candidate), _alarms(active)
    pooled = (a + b) / (2 * n)
    error = math.sqrt(max(2 * pooled * (1 - pooled) / n, 1e-12))
    if (a - b) / n > 1.645 * error and a - b >= 3:
        return Verdict(False, f"more false alarms here: {a} of {n} benign windows, the model in service {b}")
    more = _loss(candidate.benign) - _loss(active.benign)
    spread = 3 * float(np.std(more)) / math.sqrt(n)
    if float(more.mean()) > max(MARGIN, spread):
        return Verdict(False, f"benign windows fit worse: loss +{more.mean():.3f} over {n} windows")
    m = len(candidate.attack)
    if m >= LEAST:
        lost = float((active.attack > active.threshold).mean() - (candidate.attack > candidate.threshold).mean())
        if lost > MARGIN:
            return Verdict(False, f"finds fewer confirmed attacks: {lost:.0%} less of {m} windows")
    return Verdict(True, f"no worse on {n} benign windows ({a} alarms, before {b}) and {m} of confirmed attacks")


def _alarms(s: Sample) -> int:
    return int((s.benign > s.threshold).sum())


def _share(s: Sample) -> str:
    return f"{_alarms(s) / max(len(s.benign), 1):.2%}"


def _loss(scores: F64) -> F64:
    """-log P(benign) of log odds."""
    found: F64 = np.logaddexp(0.0, scores)
    return found
