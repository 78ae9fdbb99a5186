"""Metrics against scikit-learn, on ties, empty classes and rare attacks."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle

from wardround.training import metrics


def labels(seed: Any, n: Any = 300, classes: Any = 6, missing: Any = True) -> Any:
    rng = np.random.default_rng(seed)
    y, predicted = rng.integers(0, classes, n), rng.integers(0, classes, n)
    predicted = np.where(rng.random(n) < 0.5, y, predicted)
    if missing:
        y[y == 2], predicted[predicted == 2] = 0, 0  # a class nobody has and nobody predicts
        y[y == 3] = 1  # predicted but never true
        predicted[predicted == 4] = 5  # true but never predicted
    return y, predicted


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_classification_is_scikit_learns(seed: Any, missing: Any) -> None:
    y, predicted = labels(seed, missing=missing)
    found = metrics.classification(metrics.confusion(y, predicted, 6))
    p, r, f, n = oracle.precision_recall_fscore_support(y, predicted, labels=range(6), zero_division=0)
    for ours, theirs in ((found.precision, p), (found.recall, r), (found.f1, f), (found.support, n)):
        np.testing.assert_allclose(ours, theirs)
    assert found.macro_f1 == pytest.approx(oracle.f1_score(y, predicted, average="macro", zero_division=0))
    assert found.accuracy == pytest.approx(oracle.accuracy_score(y, predicted))
    recalls = oracle.recall_score(y, predicted, labels=np.unique(y), average="macro", zero_division=0)
    assert found.balanced_accuracy == pytest.approx(recalls)


def test_classification_of_no_rows_is_zero() -> None:
    found = metrics.classification(np.zeros((3, 3), dtype=np.int64))
    assert (found.accuracy, found.balanced_accuracy, found.macro_f1) == (0, 0, 0)


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_detection_is_scikit_learns_with_ties(decimals: Any) -> None:
    rng = np.random.default_rng(decimals)
    attack = rng.random(9000) < 0.4
    scores = np.round(rng.standard_normal(9000) + attack, decimals)
    found = metrics.detection(metrics.exact_counts(scores, attack))
    assert found.roc_auc == pytest.approx(oracle.roc_auc_score(attack, scores))
    assert found.pr_auc == pytest.approx(oracle.average_precision_score(attack, scores))
    false, true, _ = oracle.roc_curve(attack, scores, drop_intermediate=False)
    for at in found.recall_at:
        assert at.benign == (~attack).sum()
        assert at.recall == pytest.approx(true[false <= at.rate].max())


def test_a_rate_that_too_few_benign_rows_can_tell_is_none() -> None:
    attack = np.arange(400) >= 300
    found = metrics.detection(metrics.exact_counts(np.arange(400.0), attack))
    assert [at.recall for at in found.recall_at] == [1.0, None]  # 300 rows tell 1 %, not 0.1 %
    fewer = metrics.detection(metrics.exact_counts(np.arange(399.0), attack[1:]))
    assert [at.recall for at in fewer.recall_at] == [None, None]


@pytest.mark.parametrize("attack", [np.zeros(5, bool), np.ones(5, bool), np.zeros(0, bool)])
def test_one_kind_of_rows_alone_has_no_auc(attack: Any) -> None:
    found = metrics.detection(metrics.exact_counts(np.arange(float(len(attack))), attack))
    assert (found.roc_auc, found.pr_auc) == (None, None)
    assert all(at.recall is None for at in found.recall_at)
    assert (found.benign, found.attacks) == ((~attack).sum(), attack.sum())


def test_histograms_add_up_and_come_near_the_exact_measures() -> None:
    rng = np.random.default_rng(5)
    attack = rng.random(20000) < 0.3
    scores = rng.standard_normal(20000) * 4 + 4 * attack
    bins = metrics.ScoreBins()
    parts = [bins.histogram(scores[at : at + 3000], attack[at : at + 3000]) for at in range(0, 20000, 3000)]
    assert np.array_equal(np.sum(parts, axis=0), bins.histogram(scores, attack))
    exact, binned = (metrics.detection(c) for c in (metrics.exact_counts(scores, attack), np.sum(parts, axis=0)))
    assert binned.roc_auc == pytest.approx(exact.roc_auc, abs=1e-4)
    assert binned.pr_auc == pytest.approx(exact.pr_auc, abs=1e-3)
    assert binned.recall_at[0].recall == pytest.approx(exact.recall_at[0].recall, abs=0.01)


def test_scores_outside_the_bins_or_not_numbers_are_counted() -> None:
    bins = metrics.ScoreBins(-1, 1, 4)
    counts = bins.histogram(np.array([-9, 9, np.inf, -np.inf, np.nan, 0.1]), np.array([0, 1, 1, 0, 0, 1], bool))
    assert counts.tolist() == [[3, 0, 0, 0], [0, 0, 1, 2]]


def test_attack_score_is_the_log_odds_of_the_softmax() -> None:
    logits = np.random.default_rng(0).standard_normal((50, 5)).astype(np.float32) * 9
    p = metrics.probabilities(logits)
    assert np.allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(metrics.attack_scores(logits, 2), np.log((1 - p[:, 2]) / p[:, 2]), atol=1e-4)
    with pytest.raises(ValueError, match="benign"):
        metrics.attack_scores(logits[:, :1], 0)


def test_anomaly_score_weighs_each_input_by_what_is_typical() -> None:
    x = np.zeros((2, 2), dtype=np.float32)
    out = np.array([[1, 0], [0, 1]], dtype=np.float32)
    scores = metrics.anomaly_scores(out, x, np.array([100.0, 0.01]))
    assert scores == pytest.approx(np.log([0.005, 50]))
    assert np.isfinite(metrics.anomaly_scores(out, out, np.zeros(2))).all()


def test_calibration_of_what_is_calibrated_and_of_what_is_not() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(50000)
    happened = rng.random(50000) < p
    sums = metrics.calibration_sums(p[:20000], happened[:20000]) + metrics.calibration_sums(p[20000:], happened[20000:])
    np.testing.assert_allclose(sums, metrics.calibration_sums(p, happened))
    error = metrics.calibration_error(sums)
    assert error is not None
    assert error < 0.02
    assert metrics.calibration_error(metrics.calibration_sums(np.ones(10), np.zeros(10, bool))) == 1.0
    assert metrics.calibration_error(np.zeros((3, 15))) is None


def test_worst_tenth() -> None:
    assert metrics.worst_tenth([0.9, None, 0.1, *[0.5] * 9, 0.3]) == pytest.approx(0.2)  # 12 clients: the worst two
    assert metrics.worst_tenth([0.4]) == 0.4
    assert metrics.worst_tenth([None]) is None
