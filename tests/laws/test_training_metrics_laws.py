"""Law of the metrics: counts of parts add up to the counts of the whole."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.training import metrics

rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(-30, 30), st.floats(0, 1)), max_size=30)


def counts(part: Any) -> Any:
    y = np.array([r[0] for r in part], dtype=np.int64)
    predicted = np.array([r[1] for r in part], dtype=np.int64)
    scores, p = (np.array([r[k] for r in part], dtype=np.float64) for k in (2, 3))
    return (
        metrics.confusion(y, predicted, 4),
        metrics.ScoreBins().histogram(scores, y > 0),
        metrics.calibration_sums(p, y > 0),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rows, rows)
def test_counts_add_up(a: Any, b: Any) -> None:
    for first, second, whole in zip(counts(a), counts(b), counts(a + b), strict=True):
        np.testing.assert_allclose(first + second, whole)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rows)
def test_measures_stay_between_nothing_and_all(part: Any) -> None:
    confusion, histogram, _ = counts(part)
    found, detected = metrics.classification(confusion), metrics.detection(histogram)
    values = [found.accuracy, found.balanced_accuracy, found.macro_f1, detected.roc_auc, detected.pr_auc]
    assert all(v is None or 0 <= v <= 1 + 1e-12 for v in values)
