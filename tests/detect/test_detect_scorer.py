import numpy as np
import pytest
from detect_worlds import LABELS, SCHEMA, bundle_of, rows  # type: ignore[import-not-found]

from wardround.detect.scorer import BATCH, Scorer
from wardround.traffic.preprocess import Preprocessor
from wardround.traffic.scaling import Moments
from wardround.training import metrics
from wardround.training.bundle import Bundle, from_safetensors, to_onnx, to_safetensors
from wardround.training.models import Autoencoder, Logistic, Mlp, Residual
from wardround.training.stacked import StackedEngine
from wardround.training.task import LocalTraining

onnxruntime = pytest.importorskip("onnxruntime")


def slow(bundle: Bundle, x: np.ndarray) -> np.ndarray:
    """The federation's own way: preprocessor, engine, metrics."""
    z = Preprocessor.from_record(bundle.preprocessing).apply(x)
    engine = StackedEngine(bundle.model, LocalTraining(), bundle.inputs, len(bundle.labels))
    outputs = engine.outputs(bundle.parameters, z)
    if bundle.typical is not None:
        return metrics.anomaly_scores(outputs, z, bundle.typical)
    return metrics.attack_scores(outputs, bundle.benign or 0)


@pytest.mark.parametrize("model", [Mlp((16, 8)), Residual(8, 2), Logistic()], ids=lambda m: m.name)
def test_scores_are_the_federations_for_any_number_of_rows(model: object) -> None:
    bundle = bundle_of(model)
    scorer = Scorer(bundle)
    x, _ = rows(BATCH * 2 + 7, seed=5)
    assert np.array_equal(scorer.prepare(x), Preprocessor.from_record(bundle.preprocessing).apply(x))
    for n in (0, 1, 2, BATCH, BATCH + 1, len(x)):
        assert np.allclose(scorer.scores(x[:n]), slow(bundle, x[:n]), atol=1e-4)


def test_a_single_row_has_the_inputs_and_the_score_that_it_has_among_others(bundle: Bundle) -> None:
    scorer = Scorer(bundle)
    x, _ = rows(300, seed=12)
    x[0, 0], x[1, 0], x[2, 0], x[3, 0], x[4, 2] = np.nan, np.inf, 3e38, -5.0, 0.0
    together, prepared, quick = scorer.scores(x), scorer.prepare(x), 0
    for i in range(len(x)):
        made = scorer._inputs.one(x[i : i + 1])
        if made is not None:
            quick += 1
            assert np.array_equal(made[:, :-1], prepared[i : i + 1])
        assert scorer.scores(x[i : i + 1])[0] == pytest.approx(together[i], abs=1e-4)
    assert len(x) > quick > 250  # missing, infinite and huge values take the slow way


def test_scores_equal_the_onnx_export(bundle: Bundle) -> None:
    x, _ = rows(500, seed=6)
    session = onnxruntime.InferenceSession(to_onnx(bundle))
    probabilities, exported = session.run(["probabilities", "attack_score"], {"rows": x})
    scorer = Scorer(bundle)
    assert np.abs(scorer.scores(x) - exported).max() < 1e-3
    decisions = scorer.decide(x)
    assert np.abs(decisions.score - exported).max() < 1e-3
    attacks = probabilities[:, 1:]
    assert np.array_equal(decisions.code, attacks.argmax(1) + 1)
    assert np.allclose(decisions.probability, attacks.max(1), atol=1e-5)


def test_an_autoencoder_scores_by_its_errors_as_onnx_does() -> None:
    made = bundle_of()
    kind = Autoencoder((6, 3, 6))
    start = kind.init(made.inputs, 3, np.random.default_rng(0))
    auto = Bundle(
        kind, start, made.inputs, ("Benign", "Attack"), 0, SCHEMA.id, made.preprocessing, 1.0, np.full(made.inputs, 0.5)
    )
    x, _ = rows(300, seed=7)
    session = onnxruntime.InferenceSession(to_onnx(auto))
    assert np.abs(Scorer(auto).scores(x) - session.run(["attack_score"], {"rows": x})[0]).max() < 1e-3
    assert np.array_equal(Scorer(auto).decide(x).score, Scorer(auto).scores(x))


def test_extreme_and_missing_values_score_as_in_the_federation(bundle: Bundle) -> None:
    x, _ = rows(6, seed=8)
    x[0], x[1, 0], x[2, 0], x[3, 1] = np.nan, 3e38, -3e38, 1e-38
    assert np.isfinite(Scorer(bundle).scores(x)).all()
    assert np.allclose(Scorer(bundle).scores(x), slow(bundle, x), atol=1e-4)
    for row in x:
        assert np.allclose(Scorer(bundle).scores(row[None]), slow(bundle, row[None]), atol=1e-4)


def test_logits_beyond_what_an_exponential_holds_are_scored_again(bundle: Bundle) -> None:
    x, _ = rows(40, seed=9)
    large = Bundle(**{**vars(bundle), "parameters": bundle.parameters * np.float32(12)})
    assert np.abs(slow(large, x)).max() > 100
    assert np.allclose(Scorer(large).scores(x), slow(large, x), rtol=1e-4)


def test_moments_scaling_is_scored_too() -> None:
    x, _ = rows(400, seed=2)
    scaling = Moments()
    p = scaling.fit(SCHEMA, scaling.statistics(SCHEMA, x))
    kind = Mlp((8,))
    made = Bundle(
        kind, kind.init(len(p.names), 3, np.random.default_rng(0)), len(p.names), LABELS, 0, SCHEMA.id, p.to_record()
    )
    assert np.allclose(Scorer(made).scores(x), slow(made, x), atol=1e-4)


def test_a_bundle_from_bytes_scores_alike(bundle: Bundle) -> None:
    x, _ = rows(64, seed=3)
    assert np.array_equal(Scorer(from_safetensors(to_safetensors(bundle))).scores(x), Scorer(bundle).scores(x))


def test_it_finds_the_attacks_it_was_trained_on(bundle: Bundle) -> None:
    x, y = rows(2000, seed=11)
    score = Scorer(bundle).scores(x)
    assert metrics.detection(metrics.exact_counts(score, y != 0)).roc_auc > 0.99  # type: ignore[operator]


def test_what_cannot_score_is_refused(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="benign"):
        Scorer(Bundle(**{**vars(bundle), "benign": None}))
    with pytest.raises(ValueError, match="columns"):
        Scorer(bundle).scores(np.zeros((3, 9), np.float32))
