"""What a client counts about the model on its validation rows, and what the server reads from the summed counts.

    [normal]      normal rows by distance from the federation's normal, of each type (traffic/normal.py), before all else
    [types]       benign rows by margin, of each type (training/limits.py)
    classifiers   confusion matrix [c, c], then score histograms of benign and of attack rows [bins] each
    autoencoders  the histograms alone (scores need the federation's error moments, asked for one exchange earlier)

Everything is a whole number and adds up over clients, so it travels in the exact segment of a protected sum. The attack
score is log-sum-exp of the attack logits minus the benign logit; an autoencoder's is the logarithm of its mean
per-feature-normalised squared error. Histogram edges are fixed, so no client's scores need to be seen to choose them.

Law: counts of parts add up to the counts of the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from wardround.arrays import F32, F64, I64, Bool
from wardround.federation.plan import Plan
from wardround.training import metrics
from wardround.training.task import Rows

BINS = metrics.ScoreBins()


@dataclass(frozen=True)
class Reading:
    """What the server knows of the model's quality; NaN where there is no such measure (an autoencoder has no classes).
    ``commonest``, ``commonest_label``: shares of the commonest predicted and of the commonest true class.
    """

    macro_f1: float
    balanced_accuracy: float
    roc_auc: float
    commonest: float = 0.0
    commonest_label: float = 0.0


def size(plan: Plan) -> int:
    """Length of the counts vector."""
    confusion = 0 if plan.model.unsupervised else plan.classes**2
    return plan.distances + plan.margins + confusion + 2 * BINS.count


def error_size(inputs: int) -> int:
    """Length of the error moments."""
    return 1 + inputs


def error_moments(outputs: F32, x: F32) -> F64:
    """[1 + inputs]: rows, then the sum of each feature's squared error."""
    return np.concatenate([[len(x)], np.square(outputs.astype(np.float64) - x).sum(0)])


def scores(plan: Plan, outputs: F32, x: F32, errors: F64) -> F64:
    """Attack score [n] of each row; higher is more suspicious. Empty ``errors`` (no client has sent any yet): an
    autoencoder's inputs count alike.
    """
    if plan.model.unsupervised:
        typical = errors[1:] / max(errors[0], 1.0) if errors.size else np.ones(x.shape[1])
        return metrics.anomaly_scores(outputs, x, typical)
    if plan.labels.benign is None:
        return np.zeros(len(x))
    return metrics.attack_scores(outputs, plan.labels.benign)


def counts(plan: Plan, outputs: F32, rows: Rows, errors: F64) -> F64:
    """A client's counts [size] without those of normal rows by distance and of types by margin."""
    parts = [BINS.histogram(scores(plan, outputs, rows.x, errors), attacks(plan, rows.y)).ravel()]
    if not plan.model.unsupervised:
        parts.insert(0, metrics.confusion(rows.y, predicted(outputs), plan.classes).ravel())
    return np.concatenate(parts).astype(np.float64)


def attacks(plan: Plan, y: I64) -> Bool:
    """Which rows [n] are no normal traffic; data without a benign class is all attack."""
    return np.ones(len(y), dtype=np.bool_) if plan.labels.benign is None else y != plan.labels.benign


def predicted(outputs: F32) -> I64:
    """The class [n] with the largest logit."""
    found: I64 = outputs.argmax(1)
    return found


def read(plan: Plan, total: F64) -> Reading:
    """The model's quality from summed counts."""
    auc = metrics.detection(_histograms(total)).roc_auc
    found = Reading(math.nan, math.nan, math.nan if auc is None else auc)
    if plan.model.unsupervised:
        return found
    at = plan.distances + plan.margins
    confusion = total[at : at + plan.classes**2].reshape(plan.classes, plan.classes)
    judged, rows = metrics.classification(confusion), max(float(confusion.sum()), 1.0)
    return replace(
        found,
        macro_f1=judged.macro_f1,
        balanced_accuracy=judged.balanced_accuracy,
        commonest=float(confusion.sum(0).max() / rows),
        commonest_label=float(confusion.sum(1).max() / rows),
    )


def threshold(total: F64, target_fpr: float) -> float:
    """The alert threshold: the lowest bin edge above which at most ``target_fpr`` of the federation's benign validation
    rows lie; infinite where no benign row was counted, or too many lie in the last bin, which is open above.
    """
    benign = _histograms(total)[0]
    if not benign.sum():
        return math.inf
    above = benign[::-1].cumsum()[::-1]  # rows in bin k and higher
    first = int(np.searchsorted(-above, -target_fpr * benign.sum()))
    if first == BINS.count:
        return math.inf
    return BINS.lo + first * (BINS.hi - BINS.lo) / BINS.count


def benign_scores(total: F64) -> F64 | None:
    """The federation's benign validation rows by score [bins]; None where none was counted."""
    found = _histograms(total)[0] if total.size else np.zeros(0)
    return found.copy() if found.sum() else None


def _histograms(total: F64) -> F64:
    return total[-2 * BINS.count :].reshape(2, BINS.count)
