"""The exported graph in onnxruntime against numpy: raw rows with missing values and categories, every scaler and model."""

from typing import Any

import numpy as np
import onnxruntime
import pytest

from wardround.traffic.preprocess import Preprocessor
from wardround.traffic.scaling import Moments, Quantile
from wardround.traffic.table import Column, Schema
from wardround.training import metrics
from wardround.training.bundle import Bundle, to_onnx
from wardround.training.models import Autoencoder, Logistic, Mlp, Residual
from wardround.training.stacked import StackedEngine
from wardround.training.task import LocalTraining

SCHEMA = Schema(
    "test",
    (
        Column("size"),
        Column("flag", "flag"),
        Column("protocol", "category", ("tcp", "udp", "icmp")),
        Column("temperature"),
        Column("never"),
    ),
)


def raw(n: Any = 400, spread: Any = 15.0) -> Any:
    rng = np.random.default_rng(0)
    x = np.empty((n, 5), dtype=np.float32)
    x[:, 0] = rng.lognormal(3, 4, n) * rng.choice([-1, 1], n)
    x[:, 1] = rng.integers(0, 2, n)
    x[:, 2] = rng.integers(0, 3, n)
    x[:, 3] = rng.normal(37, spread, n)
    x[:, 4] = 7
    x[rng.random(n) < 0.2, 0] = np.nan
    x[rng.random(n) < 0.2, 2] = np.nan
    return x


@pytest.mark.parametrize(
    "model", [Logistic(), Mlp((16, 8)), Residual(8, 2), Autoencoder((6, 2, 6))], ids=lambda m: m.name
)
@pytest.mark.parametrize("scaling", [Quantile(bins=64), Moments()], ids=lambda s: s.name)
def test_the_graph_gives_what_numpy_gives(scaling: Any, model: Any) -> None:
    x = raw()
    preprocessor = scaling.fit(SCHEMA, scaling.statistics(SCHEMA, x))
    preprocessor = Preprocessor.from_record(preprocessor.to_record())
    wild = raw(200) * np.float32(50)  # beyond what was seen
    wild[:, 2] = raw(200)[:, 2]
    rows = np.concatenate([x, wild, np.full((1, 5), np.nan, np.float32), np.zeros((1, 5), np.float32)])
    inputs = preprocessor.apply(rows)
    f = inputs.shape[1]
    parameters = model.init(f, 4, np.random.default_rng(3))
    typical = np.linspace(0, 2, f)
    bundle = Bundle(model, parameters, f, ("a", "b", "c", "d"), 1, SCHEMA.id, preprocessor.to_record(), 0.5, typical)
    session = onnxruntime.InferenceSession(to_onnx(bundle), providers=["CPUExecutionProvider"])
    found = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"rows": rows}), strict=True))

    z = StackedEngine(model, LocalTraining(), f, 4).outputs(parameters, inputs)
    if model.unsupervised:
        assert set(found) == {"attack_score"}
        scores = metrics.anomaly_scores(z, inputs, typical)
    else:
        np.testing.assert_allclose(found["probabilities"], metrics.probabilities(z), atol=1e-5)
        scores = metrics.attack_scores(z, 1)
    np.testing.assert_allclose(found["attack_score"], scores, atol=1e-5, rtol=1e-5)
    assert np.ptp(scores) > 0.1
    about = session.get_modelmeta().custom_metadata_map
    assert (about["labels"], about["threshold"], about["benign"]) == ('["a", "b", "c", "d"]', "0.5", "1")


def test_without_a_benign_class_there_is_no_attack_score() -> None:
    scaling = Moments()
    record = scaling.fit(SCHEMA, scaling.statistics(SCHEMA, raw())).to_record()
    f = len(record["names"])
    model = Logistic()
    bundle = Bundle(model, model.init(f, 2, np.random.default_rng(0)), f, ("a", "b"), None, SCHEMA.id, record)
    session = onnxruntime.InferenceSession(to_onnx(bundle), providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == ["probabilities"]


def test_a_record_that_cannot_be_read_is_refused() -> None:
    model = Logistic()
    bundle = Bundle(model, model.init(2, 2, np.random.default_rng(0)), 2, ("a", "b"), 0, "s", {"columns": [0]})
    with pytest.raises(ValueError, match="preprocessing record"):
        to_onnx(bundle)


def test_a_narrow_column_under_moments_differs_by_the_rounding_of_its_logarithm() -> None:
    """At 37 +- 0.5 the standard deviation of s(x) is 0.0135, so one unit in the last place of s (2e-6) becomes 1.4e-4:
    the two float32 logarithms may differ by that, and no tighter equality holds for this scaling of such a column."""
    x = raw(spread=0.5)
    scaling = Moments()
    record = scaling.fit(SCHEMA, scaling.statistics(SCHEMA, x)).to_record()
    preprocessor = Preprocessor.from_record(record)
    inputs = preprocessor.apply(x)
    f = inputs.shape[1]
    model = Logistic()
    parameters = model.init(f, 2, np.random.default_rng(3))
    bundle = Bundle(model, parameters, f, ("a", "b"), 0, SCHEMA.id, record)
    session = onnxruntime.InferenceSession(to_onnx(bundle), providers=["CPUExecutionProvider"])
    found = session.run(["attack_score"], {"rows": x})[0]
    expected = metrics.attack_scores(StackedEngine(model, LocalTraining(), f, 2).outputs(parameters, inputs), 0)
    np.testing.assert_allclose(found, expected, atol=1e-3)
