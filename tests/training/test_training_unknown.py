from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.arrays import F32, I64
from wardround.config import parse
from wardround.detect.explain import Gradients
from wardround.detect.scorer import Scorer
from wardround.drivers.strategies import full
from wardround.drivers.world import plan
from wardround.errors import ConfigError
from wardround.federation.pipeline import statistics
from wardround.federation.plan import prepare, served, watchful
from wardround.rng import stream
from wardround.traffic.preprocess import Preprocessor
from wardround.traffic.scaling import Quantile
from wardround.traffic.table import Column, Schema
from wardround.training.bundle import Bundle, from_safetensors, to_onnx, to_safetensors
from wardround.training.models import Logistic, Mlp, Model, Residual
from wardround.training.stacked import StackedEngine
from wardround.training.task import Engine, LocalTraining
from wardround.training.unknown import ALARM, Watchful, can, extended, strangers

SCHEMA = Schema(
    "s",
    (
        Column("bytes"),
        Column("service", "category", ("", "dns", "http", "irc")),
        Column("state", "category", ("S0", "SF")),
    ),
)


def rows() -> F32:
    """The federation's: no irc, some states missing."""
    rng = np.random.default_rng(0)
    x = np.stack([rng.exponential(100, 300), rng.integers(0, 3, 300), rng.integers(0, 2, 300)], axis=1)
    x[:10, 2] = np.nan
    found: F32 = x.astype(np.float32)
    return found


def fitted(x: F32) -> Preprocessor:
    scaling = Quantile()
    return scaling.fit(SCHEMA, scaling.statistics(SCHEMA, x))


def engine_of(model: Model, inputs: int, classes: int) -> Engine:
    return StackedEngine(model, LocalTraining(), inputs, classes)


def test_only_words_that_nobody_has_are_strange() -> None:
    p = fitted(rows())
    new = np.array([[5, 1, 0], [5, 3, 0], [5, 0, np.nan], [np.nan, 2, 1], [5, np.nan, 1]], dtype=np.float32)
    # irc is strange; a missing state is known to be missing at times, so states are not watched; a missing service is strange too
    assert strangers(p.apply(new), p.categories()).tolist() == [0, 1, 0, 0, 1]
    assert fitted(rows()[10:]).complete.tolist() == [1, 2]
    assert strangers(p.apply(rows()), p.categories()).max() == 0


def test_a_category_without_inputs_is_not_watched() -> None:
    x = rows()
    x[:, 1] = 2
    p = fitted(x)
    assert strangers(p.apply(np.array([[5, 3, 0]], dtype=np.float32)), p.categories()).tolist() == [0]


@pytest.mark.parametrize(("model", "classes"), list(product((Logistic(), Mlp((8,)), Mlp((8, 5, 4))), (2, 4))))
def test_the_extended_model_says_what_the_watchful_engine_says(model: Model, classes: int) -> None:
    p, benign = fitted(rows()), classes - 1
    columns, inputs = p.categories(), len(p.names)
    w = model.init(inputs, classes, np.random.default_rng(1))
    plain = engine_of(model, inputs, classes)
    x = rows()
    x[::3, 1] = 3
    prepared = p.apply(x)
    watched = Watchful(plain, columns, benign).outputs(w, prepared)
    wider, v = extended(model, w, classes, columns, benign)
    assert np.allclose(engine_of(wider, inputs, classes).outputs(v, prepared), watched, atol=1e-4)
    strange = np.arange(len(x)) % 3 == 0
    before = plain.outputs(w, prepared)
    assert np.array_equal(watched[~strange], before[~strange])
    assert np.allclose(before[strange, benign] - watched[strange, benign], ALARM, atol=1e-4)
    assert (watched[strange].argmax(1) != benign).all()


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=9), st.integers(0, 2**32 - 1))
def test_rows_of_known_words_keep_their_logits(columns: list[int], seed: int) -> None:
    numbered: I64 = np.array(columns, dtype=np.int64)
    rng, model = np.random.default_rng(seed), Mlp((4, 3))
    x = rng.normal(size=(6, len(columns))).astype(np.float32)
    for one in np.unique(numbered[numbered >= 0]):
        at = np.flatnonzero(numbered == one)
        x[:, at] = 0
        x[np.arange(6), rng.choice(at, 6)] = 1
    w = model.init(len(columns), 2, rng)
    wider, v = extended(model, w, 2, numbered, 0)
    found = engine_of(wider, len(columns), 2).outputs(v, x)
    assert np.allclose(found, engine_of(model, len(columns), 2).outputs(w, x), atol=1e-5)


def test_other_models_are_refused() -> None:
    assert not can(Residual())
    with pytest.raises(ValueError, match="residual"):
        extended(Residual(), np.zeros(1, np.float32), 2, np.array([0]), 0)


def test_scorer_explanation_and_onnx_see_the_alarm() -> None:
    p, model = fitted(rows()), Mlp((8, 4))
    inputs = len(p.names)
    w = model.init(inputs, 2, np.random.default_rng(1))
    wider, v = extended(model, w, 2, p.categories(), 0)
    bundle = Bundle(wider, v, inputs, ("Benign", "Attack"), 0, "s", p.to_record())
    scorer = Scorer(from_safetensors(to_safetensors(bundle)))
    known, strange = np.array([[5, 1, 0]], np.float32), np.array([[5, 3, 0]], np.float32)
    for score in (scorer.scores(known)[0], scorer.scores(np.repeat(known, 3, 0))[0]):
        assert abs(score) < 10
    assert scorer.scores(strange)[0] > 30
    assert scorer.scores(np.repeat(strange, 3, 0))[1] > 30
    why = Gradients(scorer).columns(strange[0], known[0])
    assert int(why.argmax()) == 1, "the alarm is explained by the service"
    assert why.sum() == pytest.approx(scorer.scores(strange)[0] - scorer.scores(known)[0], rel=0.05)
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(to_onnx(bundle))
    outputs = session.run(None, {session.get_inputs()[0].name: np.vstack([known, strange])})
    assert any(np.ravel(found)[-1] > 0.999 for found in outputs)


TEXT = """name = "x"
[data]
use = "hospital"
[partition]
use = "iid"
clients = 2
[model]
use = "{model}"
[training]
unknown_words = "attack"
"""


def test_what_cannot_be_is_refused_and_a_plan_says_what_is_served() -> None:
    experiment = parse(TEXT.format(model="residual"), full(), "x")
    with pytest.raises(ConfigError, match="mlp"):
        plan(experiment, experiment.data.load(None, stream(1, "data")))
    experiment = parse(TEXT.format(model="mlp"), full(), "x")
    table = experiment.data.load(None, stream(1, "data"))
    agreed = plan(experiment, table)
    prepared = prepare(agreed, statistics(agreed, 0, table.x, table.y).counts)
    w = agreed.model.init(len(prepared.preprocessor.names), agreed.classes, stream(1, "w"))
    model, found = served(agreed, prepared, w)
    assert model == Mlp((65, 33))
    x = prepared.preprocessor.apply(table.x[:500])
    plain = engine_of(agreed.model, x.shape[1], agreed.classes)
    assert np.allclose(engine_of(model, x.shape[1], agreed.classes).outputs(found, x), plain.outputs(w, x), atol=1e-4)
    none = replace(prepared, preprocessor=replace(prepared.preprocessor, complete=np.empty(0, dtype=np.int64)))
    assert served(agreed, none, w) == (agreed.model, w)
    off = replace(agreed, training=LocalTraining())
    assert watchful(off, prepared, plain) is plain
    assert isinstance(watchful(agreed, prepared, plain), Watchful)
