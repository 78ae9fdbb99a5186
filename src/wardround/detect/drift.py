"""Drift: does today's traffic still look like what the model was trained on?

    per feature   population stability index of the site's model inputs against the federation's: the quantile curves make the
                  federation's inputs standard normal by construction, so the expected share of each of ten bins is known
                  (columns of few values are judged by the same bins, and look shifted more easily)
    scores        the same index of benign scores against the federation's counts
    alarm rate    of windows taken for normal, of all devices and of each type, against the budget: noisy where even the lower
                  end of its 95 % interval lies above

PSI = sum (a - e) ln(a / e); below 0.1 is no shift, from 0.25 on is large (the convention of credit scoring). A shifted site
calibrates first and trains second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from wardround.arrays import F32, F64, Bool
from wardround.detect.measures import Rate, by_group

BINS = 10
SMALL, LARGE = 0.1, 0.25
_EDGES = np.array([NormalDist().inv_cdf(k / BINS) for k in range(1, BINS)])


def psi(actual: F64, expected: F64) -> float:
    """Population stability index of two sets of counts of the same bins; 0 for no rows. Empty bins count half a row."""
    if not actual.sum() or not expected.sum():
        return 0.0
    a = np.maximum(actual, 0.5) / np.maximum(actual, 0.5).sum()
    e = np.maximum(expected, 0.5) / np.maximum(expected, 0.5).sum()
    return float(((a - e) * np.log(a / e)).sum())


def alarm_rates(alarm: Bool, types: Sequence[str]) -> dict[str, Rate]:
    """Rates of alarms among normal windows [n]: of all under "", and of each type of device, noisiest first."""
    each = sorted(by_group(alarm, types).items(), key=lambda item: -item[1].hits / max(item[1].n, 1))
    return {"": Rate(int(alarm.sum()), len(alarm)), **dict(each)}


def noisy(rate: Rate, budget: float) -> bool:
    """Does it alarm more often than ``budget`` allows, beyond chance?"""
    return rate.interval[0] > budget


def binned(values: F32) -> F64:
    """Counts [columns, BINS] of prepared inputs [n, columns] by tenths of the standard normal."""
    where = np.searchsorted(_EDGES, values)
    found = np.zeros((values.shape[1], BINS))
    for column in range(values.shape[1]):
        found[column] = np.bincount(where[:, column], minlength=BINS)
    return found


def uniform(columns: int) -> F64:
    """What ``binned`` gives of the federation's own rows: a tenth in every bin, by construction of the quantile curves."""
    return np.full((columns, BINS), 1000.0 / BINS)


def score_psi(site: F64, federation: F64, bins: int = 20) -> float:
    """PSI of benign score counts [2000], grouped so that the federation has equal shares in each group."""
    total = federation.sum()
    if not total or not site.sum():
        return 0.0
    group = np.minimum((np.cumsum(federation) - federation) / total * bins, bins - 1).astype(np.int64)
    parts = [np.bincount(group, counts, bins).astype(np.float64) for counts in (site, federation)]
    return psi(parts[0], parts[1])


@dataclass
class Drift:
    """Counts of prepared inputs so far, against a reference of the same shape (a first stretch of traffic, or another site's)."""

    names: Sequence[str]
    counts: F64 = field(default_factory=lambda: np.zeros((0, BINS)))

    def observe(self, prepared: F32) -> None:
        """Count rows [n, inputs]."""
        if not self.counts.size:
            self.counts = np.zeros((len(self.names), BINS))
        self.counts += binned(prepared)

    def against(self, reference: F64) -> dict[str, float]:
        """PSI of each input, largest first."""
        found = {name: psi(self.counts[i], reference[i]) for i, name in enumerate(self.names)}
        return dict(sorted(found.items(), key=lambda item: -item[1]))
