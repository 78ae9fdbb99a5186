"""The experimenter's view: models scored on test rows that no machine of the federation has seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wardround.arrays import F32, F64, I64, Bool
from wardround.drivers.simulation.federate import Federation
from wardround.federation import measure
from wardround.federation.plan import Plan
from wardround.training import metrics
from wardround.training.task import Rows


@dataclass(frozen=True, eq=False)
class Judge:
    """One model's decisions on some rows: ``predicted`` [n], attack ``score`` [n], class ``probabilities`` [n, c] or None."""

    y: I64
    predicted: I64
    score: F64
    probabilities: F64 | None


@dataclass(frozen=True, eq=False)
class Scored:
    """A model with what is needed to score rows: error moments (autoencoders) and the alert threshold."""

    parameters: F32
    errors: F64
    threshold: float


def judge(federation: Federation, model: Scored, rows: Rows) -> Judge:
    """Decisions of ``model`` on ``rows``; an autoencoder calls an attack what lies above its threshold."""
    plan = federation.plan
    outputs = federation.engine().outputs(model.parameters, rows.x)
    score = measure.scores(plan, outputs, rows.x, model.errors)
    if plan.model.unsupervised:
        benign = plan.labels.benign or 0
        return Judge(rows.y, np.where(score > model.threshold, 1 - benign, benign).astype(np.int64), score, None)
    return Judge(rows.y, measure.predicted(outputs), score, metrics.probabilities(outputs))


def summary(plan: Plan, found: Judge, model: Scored, asked_fpr: float) -> dict[str, Any]:
    """All measures of one model on one set of rows (metrics.json, S); a measure that does not exist is None."""
    confusion = metrics.confusion(found.y, found.predicted, plan.classes)
    judged, attack = metrics.classification(confusion), measure.attacks(plan, found.y)
    detected = metrics.detection(metrics.exact_counts(found.score, attack))
    return {
        "rows": len(found.y),
        "n_benign": detected.benign,
        "macro_f1": judged.macro_f1,
        "balanced_accuracy": judged.balanced_accuracy,
        "accuracy": judged.accuracy,
        "roc_auc": detected.roc_auc,
        "pr_auc": detected.pr_auc,
        "recall_at_fpr": {
            str(at.rate): {"recall": at.recall, "verifiable": at.recall is not None} for at in detected.recall_at
        },
        "ece": _calibration(found),
        "per_class": _per_class(plan, judged),
        "confusion": confusion.tolist(),
        "threshold": _threshold(found.score, attack, model.threshold, asked_fpr),
    }


def overall(federation: Federation, parameters: F32, errors: F64) -> dict[str, Any]:
    """Macro-F1, balanced accuracy and ROC-AUC on all test rows: a point of the learning curve."""
    rows = federation.prepared().rows(federation.world.split.test)
    found = judge(federation, Scored(parameters, errors, _middle(federation)), rows)
    plan = federation.plan
    judged = metrics.classification(metrics.confusion(found.y, found.predicted, plan.classes))
    auc = metrics.detection(metrics.exact_counts(found.score, measure.attacks(plan, found.y))).roc_auc
    return {
        "macro_f1": judged.macro_f1,
        "balanced_accuracy": judged.balanced_accuracy,
        "roc_auc": math.nan if auc is None else auc,
    }


def federated(federation: Federation) -> dict[str, Any]:
    """The kept federated model: overall, per client, and the round it is from (metrics.json, M)."""
    outcome, model = federation.server.outcome(), kept(federation)
    asked = federation.experiment.evaluation.target_fpr
    rows = federation.prepared().rows(federation.world.split.test)
    return {
        "kept_round": outcome.round,
        "overall": summary(federation.plan, judge(federation, model, rows), model, asked),
        **clients(federation, [model] * len(federation.world.shares)),
    }


def kept(federation: Federation) -> Scored:
    """The federated model that came out, with the threshold that summed counts gave."""
    outcome = federation.server.outcome()
    asked = federation.experiment.evaluation.target_fpr
    threshold = measure.threshold(outcome.measures, asked) if outcome.measures.size else float("inf")
    return Scored(outcome.parameters, outcome.errors, threshold)


def clients(federation: Federation, models: Sequence[Scored]) -> dict[str, Any]:
    """Each client's model on its own test rows, with mean, spread and the worst tenth."""
    rows: list[dict[str, Any]] = []
    for share, model in zip(federation.world.shares, models, strict=True):
        if not len(share.test):
            continue
        found = judge(federation, model, federation.prepared().rows(share.test))
        judged = metrics.classification(metrics.confusion(found.y, found.predicted, federation.plan.classes))
        rows.append(
            {
                "name": share.name,
                "rows": len(share.test),
                "macro_f1": judged.macro_f1,
                "balanced_accuracy": judged.balanced_accuracy,
                "accuracy": judged.accuracy,
            },
        )
    return {"clients": rows, "spread": {"macro_f1": spread([row["macro_f1"] for row in rows])}}


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, standard deviation and the mean of the worst tenth."""
    if not values:
        return {"mean": None, "std": None, "worst_tenth": None}
    return {"mean": float(np.mean(values)), "std": float(np.std(values)), "worst_tenth": metrics.worst_tenth(values)}


def _middle(federation: Federation) -> float:
    """An alert threshold for the learning curve of an autoencoder: from the newest measured sums."""
    total = federation.server.measures
    return measure.threshold(total, federation.experiment.evaluation.target_fpr) if total.size else float("inf")


def _per_class(plan: Plan, judged: metrics.Classification) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "precision": float(judged.precision[k]),
            "recall": float(judged.recall[k]),
            "f1": float(judged.f1[k]),
            "support": int(judged.support[k]),
        }
        for k, name in enumerate(plan.labels.names)
    ]


def _calibration(found: Judge) -> float | None:
    if found.probabilities is None:
        return None
    right = found.predicted == found.y
    return metrics.calibration_error(metrics.calibration_sums(found.probabilities.max(1), right))


def _threshold(score: F64, attack: Bool, value: float, asked: float) -> dict[str, Any] | None:
    if not np.isfinite(value) or not attack.any() or attack.all():
        return None
    return {
        "value": value,
        "asked_fpr": asked,
        "achieved_fpr": float((score[~attack] > value).mean()),
        "recall": float((score[attack] > value).mean()),
    }
