import numpy as np
import pytest
from detect_worlds import SCHEMA, bundle_of, rows  # type: ignore[import-not-found]
from hypothesis import given
from hypothesis import strategies as st

from wardround.detect import explain
from wardround.detect.baseline import LEAST, Baseline, learn, of_federation
from wardround.detect.scorer import Scorer
from wardround.detect.thresholds import threshold
from wardround.errors import DecodeError
from wardround.traffic.normal import counted, fit, moments
from wardround.training import metrics
from wardround.training.models import Autoencoder, Mlp, Residual


@pytest.fixture(scope="module")
def normal() -> Baseline:
    x, y = rows(3000, seed=21)
    return learn(x[y == 0], seed=1)


def test_it_knows_attacks_from_normal_rows_without_having_seen_one(normal: Baseline) -> None:
    x, y = rows(3000, seed=22)
    found = metrics.detection(metrics.exact_counts(normal.scores(x), y != 0))
    assert found.roc_auc > 0.98  # type: ignore[operator]


def test_benign_rows_score_about_zero_in_spreads(normal: Baseline) -> None:
    x, y = rows(3000, seed=23)
    benign = normal.scores(x[y == 0])
    assert abs(np.median(benign)) < 0.3
    assert 1.0 < np.quantile(benign, 0.99) < 4.0


def test_a_column_that_never_moved_is_seen_when_it_moves() -> None:
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(5, 1, 400), np.zeros(400)], axis=1).astype(np.float32)
    b = learn(x, 1)
    strange = np.array([[5.0, 3.0]], np.float32)
    assert b.scores(strange)[0] > 5
    assert b.contributions(strange[0]).argmax() == 1


def test_its_explanation_is_in_the_devices_own_words(normal: Baseline) -> None:
    row = np.array([8.0, 0.97, 300.0, 0.0], np.float32)
    (first, *_) = explain.reasons(normal.contributions(row), row, SCHEMA.columns, normal.quantiles)
    assert first.feature == "SYN share"
    assert first.text.startswith("SYN share 0.97, usually 0.01")
    assert 0 < first.share <= 1


def test_seeds_decide_and_bytes_hold_everything(normal: Baseline) -> None:
    x, y = rows(400, seed=24)
    again = Baseline.from_bytes(normal.to_bytes())
    assert np.array_equal(again.scores(x), normal.scores(x))
    benign = x[y == 0]
    assert learn(benign, 3).to_bytes() == learn(benign, 3).to_bytes()
    assert learn(benign, 3).to_bytes() != learn(benign, 4).to_bytes()


def test_its_sums_add_up_so_that_a_federation_can_fit_it(normal: Baseline) -> None:
    x, _ = rows(200, seed=25)
    pooled, summed = (
        fit(total, 4, 2)[0] for total in (moments(x), moments(x[:70]) + moments(x[70:90]) + moments(x[90:]))
    )
    assert pooled is not None
    assert summed is not None
    made, counts = of_federation(summed, counted((summed,), x, np.full(len(x), -1, np.int32)))
    assert np.allclose(pooled.scores(x), summed.scores(x), atol=1e-2)
    scores = made.scores(x)
    assert np.corrcoef(scores, summed.scores(x))[0, 1] > 0.9999
    assert abs(np.median(scores)) < 0.2
    assert counts.sum() == pytest.approx(len(x))
    assert threshold(counts, 0.05) == pytest.approx(float(np.quantile(scores, 0.95)), abs=0.3)
    again = Baseline.from_bytes(made.to_bytes())
    assert np.array_equal(again.scores(x), scores)
    assert (made.contributions(x[0]) >= 0).all()
    assert (np.diff(made.quantiles, axis=1) >= 0).all()


def test_too_few_rows_or_columns_are_refused(normal: Baseline) -> None:
    with pytest.raises(ValueError, match=str(LEAST)):
        learn(np.zeros((LEAST - 1, 4), np.float32), 1)
    with pytest.raises(ValueError, match="columns"):
        normal.scores(np.zeros((2, 9), np.float32))
    hollow = learn(np.full((LEAST, 2), np.nan, np.float32), 1)
    assert np.isfinite(hollow.scores(np.zeros((3, 2), np.float32))).all()


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_baseline(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Baseline.from_bytes(data)


# --- integrated gradients


@pytest.mark.parametrize("model", [Mlp((16, 8)), Residual(8, 2)], ids=lambda m: m.name)
def test_contributions_add_up_to_the_scores_difference(model: object) -> None:
    scorer = Scorer(bundle_of(model))
    gradients = explain.Gradients(scorer)
    x, y = rows(60, seed=31)
    typical = explain.reference(None, scorer.preprocessor)
    for row in x[y != 0][:10]:
        difference = float(np.diff(scorer.scores(np.stack([typical, row])))[0])
        assert gradients.columns(row, typical).sum() == pytest.approx(difference, rel=0.05, abs=0.1)


def test_a_syn_flood_is_explained_by_rate_and_syns() -> None:
    scorer = Scorer(bundle_of())
    x, y = rows(300, seed=32)
    row = x[y == 1][0]
    usual = explain.from_curves(scorer.preprocessor)
    share = explain.Gradients(scorer).columns(row, explain.reference(None, scorer.preprocessor))
    found = explain.reasons(share, row, SCHEMA.columns, usual)
    assert {r.feature for r in found[:2]} & {"rate", "SYN share"}
    assert sum(r.share for r in found) == pytest.approx(1, abs=1e-6)
    assert found[0].value == pytest.approx(
        row[[c.name for c in SCHEMA.columns].index("rate" if found[0].feature == "rate" else "syn_flag_number")]
    )


def test_usual_ranges_are_read_back_from_the_federations_curves() -> None:
    scorer = Scorer(bundle_of())
    x, _ = rows(1500, seed=1)
    low, middle, high = explain.from_curves(scorer.preprocessor)[0]
    for found, share in ((low, 0.05), (middle, 0.5), (high, 0.95)):
        assert found == pytest.approx(np.quantile(x[:, 0], share), rel=0.35)  # a knot of 256 bins


def test_an_autoencoder_has_no_gradients_of_a_class() -> None:
    made = bundle_of()
    kind = Autoencoder((4,))
    d = kind.layout(made.inputs, 3).size
    auto = type(made)(
        **{**vars(made), "model": kind, "parameters": np.zeros(d, np.float32), "typical": np.ones(made.inputs)}
    )
    with pytest.raises(ValueError, match="autoencoder"):
        explain.Gradients(Scorer(auto))
