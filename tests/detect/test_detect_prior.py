"""The federation's baselines watch where a site has none, and step back when it has."""

from dataclasses import replace

import numpy as np
import pytest
from detect_worlds import SCHEMA, bundle_of, rows, windows_of  # type: ignore[import-not-found]

from wardround.detect.baseline import learn
from wardround.detect.detector import Budget, Detector, Knowledge
from wardround.detect.prior import prior
from wardround.detect.thresholds import Calibration
from wardround.errors import UsageError
from wardround.traffic import normal
from wardround.training.bundle import Bundle, from_safetensors, to_safetensors


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """With the normal of 4000 rows, a quarter of them imaging devices, the rest of no known type."""
    x, y = rows(12_000, seed=31)
    x = x[y == 0]
    kind = np.where(np.arange(len(x)) % 4 == 0, 0, -1).astype(np.int32)
    spreads = normal.fit(normal.statistics(x, kind, 2), len(SCHEMA.columns), 300)
    arrays = normal.to_arrays(spreads, ("imaging", "camera"), normal.counted(spreads, x, kind))
    made: Bundle = replace(bundle_of(), arrays=arrays)
    return from_safetensors(to_safetensors(made))


def test_a_site_without_a_baseline_finds_what_is_unlike_the_federations_normal(bundle: Bundle) -> None:
    detector = Detector(Knowledge({"model": bundle}, budget=Budget(0.05)))
    x, y = rows(2000, seed=32)
    scores = detector.observe(windows_of(x, ["pump"] * len(x))).scores["baseline"]
    limit = detector.calibration("baseline", "pump").value
    assert (scores[y != 0] > limit).mean() > 0.9
    assert (scores[y == 0] > limit).mean() < 0.03
    assert "federation" in detector.status("pump")["baseline"]


def test_its_own_baseline_comes_first(bundle: Bundle) -> None:
    x, y = rows(2000, seed=33)
    own = learn(x[y == 0], 1)
    calibration = Calibration(0.01).with_site(own.scores(x[y == 0]))
    detector = Detector(Knowledge({"model": bundle}, {"": own}, {("baseline", ""): calibration}))
    assert not detector.prior.baselines
    assert detector.calibration("baseline", "pump") is calibration
    seen = detector.observe(windows_of(x[:50], ["pump"] * 50)).scores["baseline"]
    assert np.allclose(seen, own.scores(x[:50]))


def test_types_whose_scores_hardly_anybody_counted_have_the_general_baseline(bundle: Bundle) -> None:
    found = prior({"model": bundle}, 0.01)
    assert sorted(found.baselines) == ["", "imaging"]
    x, _ = rows(300, seed=34)
    apart = [found.baselines[type_].scores(x) for type_ in ("", "imaging")]
    assert np.array_equal(found.scores("imaging", x), np.minimum(*apart)), "unusual for all and for its type"
    assert np.array_equal(found.scores("camera", x), apart[0])
    few = {**bundle.arrays, "normal/imaging/counts": np.zeros(normal.BINS, np.float32)}
    assert sorted(prior({"model": replace(bundle, arrays=few)}, 0.01).baselines) == [""]
    assert prior({"model": replace(bundle, arrays={})}, 0.01).calibration is None


def test_a_damaged_baseline_is_named(bundle: Bundle) -> None:
    arrays = {**bundle.arrays, "normal//centre": np.zeros(2, np.float32)}
    with pytest.raises(UsageError, match="baselines cannot be read"):
        Detector(Knowledge({"model": replace(bundle, arrays=arrays)}))
    narrow = normal.to_arrays(normal.fit(normal.moments(np.ones((9, 2), np.float32)), 2, 2), (), np.zeros(0))
    detector = Detector(Knowledge({"model": replace(bundle, arrays=narrow)}))
    with pytest.raises(UsageError, match="2 features"):
        detector.observe(windows_of(rows(4)[0], ["a"] * 4))
