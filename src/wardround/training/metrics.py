"""Measures of a detector: from confusion matrices, from exact scores, and from sums that can travel.

Everything is counted first and judged after. The counts (confusion matrix, score histogram, calibration sums) are sums
over rows. Law: counts of parts add up to the counts of the whole, so clients' counts can be summed under protection and
judged by the server. ``exact_counts`` gives the same counts at every distinct score, for the experimenter.

Conventions are scikit-learn's: 0 / 0 is 0; a class that is neither present nor predicted is left out of macro means.
What it does not do: choose thresholds (detect/), average over clients (only ``worst_tenth``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, F64, I64, Bool

ENOUGH = 3
"""A false positive rate r is measured where 3 / r benign rows are there: fewer expected alarms than 3 say nothing."""
CALIBRATION_BINS = 15


@dataclass(frozen=True, eq=False)
class Classification:
    """Measures of a confusion matrix; arrays are per class [c], NaN nowhere."""

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    precision: F64
    recall: F64
    f1: F64
    support: I64


@dataclass(frozen=True)
class RecallAt:
    """Share of attacks found at a false positive rate of at most ``rate``; None where too few benign rows can tell."""

    rate: float
    recall: float | None
    benign: int


@dataclass(frozen=True)
class Detection:
    """Attack against benign; None where one of the two is missing."""

    roc_auc: float | None
    pr_auc: float | None
    recall_at: tuple[RecallAt, ...]
    benign: int
    attacks: int


@dataclass(frozen=True)
class ScoreBins:
    """Fixed equal bins for scores, agreed before any data is seen; scores outside fall into the outermost bins.

    ``lo`` and ``hi`` suit log odds (classifiers) and logarithms of normalised errors (autoencoders).
    """

    lo: float = -20.0
    hi: float = 20.0
    count: int = 2000

    def histogram(self, scores: F64, attack: Bool) -> I64:
        """Rows per bin [2, count]: benign, attack. A score that is not a number falls into the lowest bin."""
        inside = np.clip(np.nan_to_num(scores, nan=self.lo), self.lo, self.hi)
        position = (inside - self.lo) * (self.count / (self.hi - self.lo))
        index = np.minimum(position.astype(np.int64), self.count - 1)
        return np.stack([np.bincount(index[attack == kind], minlength=self.count) for kind in (False, True)])


def confusion(y: I64, predicted: I64, classes: int) -> I64:
    """Counts [true, predicted]; of parts they add up."""
    return np.bincount(y * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def classification(counts: I64 | F64) -> Classification:
    """Measures of a confusion matrix ``counts`` [c, c]; all 0 for no rows."""
    hit = np.diagonal(counts).astype(np.float64)
    support, predicted = counts.sum(axis=1), counts.sum(axis=0)
    precision, recall = _ratio(hit, predicted), _ratio(hit, support)
    f1 = _ratio(2 * hit, support + predicted)
    return Classification(
        accuracy=float(hit.sum() / max(counts.sum(), 1)),
        balanced_accuracy=_mean(recall[support > 0]),
        macro_f1=_mean(f1[support + predicted > 0]),
        precision=precision,
        recall=recall,
        f1=f1,
        support=support.astype(np.int64),
    )


def attack_scores(logits: F32, benign: int) -> F64:
    """Log odds of attack [n]: logsumexp of the attack logits minus the benign logit; ``logits`` [n, c].

    Raises:
        ValueError: there is no attack class.
    """
    if logits.shape[1] < 2:
        raise ValueError("an attack score needs a benign and an attack class")
    attack = np.delete(logits, benign, axis=1).astype(np.float64)
    top = attack.max(axis=1)
    total: F64 = top + np.log(np.exp(attack - top[:, None]).sum(axis=1)) - logits[:, benign]
    return total


def anomaly_scores(reconstructed: F32, x: F32, typical: F64) -> F64:
    """Log of the mean over inputs of squared error / ``typical`` [f] (mean squared error of benign rows); [n].

    The logarithm keeps the order and brings errors into the range of ``ScoreBins``.
    """
    error = np.square(reconstructed.astype(np.float64) - x)
    found: F64 = np.log(np.maximum((error / error_scale(typical)).mean(axis=1), 1e-30))
    return found


def error_scale(typical: F64) -> F64:
    """What squared errors are divided by [f]: an input without ``typical`` error counts with the smallest one that has
    some, so that any change of it is seen.
    """
    some = typical[typical > 0]
    found: F64 = np.maximum(typical, some.min() if len(some) else 1.0)
    return found


def probabilities(logits: F32) -> F64:
    """Softmax [n, c]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    found: F64 = shifted / shifted.sum(axis=1, keepdims=True)
    return found


def exact_counts(scores: F64, attack: Bool) -> I64:
    """Rows at each distinct score, lowest first [2, distinct]: what ``ScoreBins.histogram`` gives with endless bins."""
    distinct, which = np.unique(scores, return_inverse=True)
    return np.stack([np.bincount(which[attack == kind], minlength=len(distinct)) for kind in (False, True)])


def detection(counts: I64 | F64, rates: Sequence[float] = (0.01, 0.001)) -> Detection:
    """Measures of ``counts`` [2, k] by rising score (benign, attack); equal scores are one threshold.

    ROC-AUC counts ties as half; PR-AUC is average precision.
    """
    falling = np.asarray(counts, dtype=np.float64)[:, ::-1]
    benign, attacks = (float(total) for total in falling.sum(axis=1))
    false, true = np.cumsum(falling[0]), np.cumsum(falling[1])
    return Detection(
        roc_auc=_roc_auc(falling, false, benign, attacks) if benign and attacks else None,
        pr_auc=float((falling[1] * _ratio(true, true + false)).sum() / attacks) if benign and attacks else None,
        recall_at=tuple(RecallAt(rate, _recall_at(rate, false, true), int(benign)) for rate in rates),
        benign=int(benign),
        attacks=int(attacks),
    )


def calibration_sums(probability: F64, happened: Bool, bins: int = CALIBRATION_BINS) -> F64:
    """Rows, summed probability, summed outcome per bin of probability [3, bins]; of parts they add up.

    For classes: the largest probability and whether that class was right; for detection: that of attack, and whether
    it was one.
    """
    index = np.clip((probability * bins).astype(np.int64), 0, bins - 1)
    weights = (None, probability, happened.astype(np.float64))
    return np.stack([np.bincount(index, w, bins).astype(np.float64) for w in weights])


def calibration_error(sums: F64) -> float | None:
    """Expected calibration error (Naeini et al. 2015) of ``calibration_sums``; None for no rows."""
    rows, said, happened = sums
    return float(np.abs(said - happened).sum() / rows.sum()) if rows.sum() else None


def worst_tenth(values: Sequence[float | None]) -> float | None:
    """Mean over the worst tenth of clients (rounded up); clients without a value do not count; None for none."""
    known = sorted(value for value in values if value is not None)
    return float(np.mean(known[: -(-len(known) // 10)])) if known else None


def _ratio(above: F64 | I64, below: F64 | I64) -> F64:
    return np.divide(above, below, out=np.zeros(above.shape), where=below > 0)


def _mean(values: F64) -> float:
    return float(values.mean()) if len(values) else 0.0


def _roc_auc(falling: F64, false: F64, benign: float, attacks: float) -> float:
    beaten = benign - false + falling[0] / 2
    return float((falling[1] * beaten).sum() / (benign * attacks))


def _recall_at(rate: float, false: F64, true: F64) -> float | None:
    if not len(false) or not true[-1] or false[-1] < ENOUGH / rate:
        return None
    allowed = true[false <= rate * false[-1]]
    return float(allowed[-1] / true[-1]) if len(allowed) else 0.0
