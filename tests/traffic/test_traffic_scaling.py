from __future__ import annotations

import json

import numpy as np
import pytest

from wardround.arrays import F32
from wardround.rng import stream
from wardround.traffic.preprocess import Affine, Curves, Preprocessor, signed_log
from wardround.traffic.scaling import Moments, Quantile, Scaling, label_counts
from wardround.traffic.table import Column, Schema

SCHEMA = Schema(
    "test",
    (
        Column("rate"),
        Column("constant"),
        Column("bit", "flag"),
        Column("service", "category", ("http", "mqtt", "never")),
        Column("gappy"),
    ),
)
BOTH: list[Quantile | Moments] = [Quantile(), Moments(), Moments(log=False, missing_bits=False)]


def rows(n: int = 5000, seed: int = 1) -> F32:
    rng = stream(seed, "rows")
    x = np.empty((n, 5), dtype=np.float32)
    x[:, 0] = np.exp(rng.normal(0, 3, n))
    x[:, 1] = 7
    x[:, 2] = rng.random(n) < 0.3
    x[:, 3] = rng.choice([0, 1, np.nan], n, p=[0.5, 0.4, 0.1])
    x[:, 4] = np.where(rng.random(n) < 0.2, np.nan, rng.normal(0, 5, n))
    return x


def fitted(scaling: Scaling, x: F32) -> Preprocessor:
    return scaling.fit(SCHEMA, scaling.statistics(SCHEMA, x))


@pytest.mark.parametrize("scaling", BOTH)
def test_inputs_drop_what_never_varies(scaling: Quantile | Moments) -> None:
    p = fitted(scaling, rows())
    expected = ("rate", "bit", "gappy", "service=http", "service=mqtt")
    assert p.names[:5] == expected
    assert p.names[5:] == (("gappy missing",) if scaling.missing_bits else ())
    assert p.schema == SCHEMA.id


@pytest.mark.parametrize("scaling", BOTH)
def test_inputs_are_finite_whatever_comes(scaling: Quantile | Moments) -> None:
    p = fitted(scaling, rows())
    top = np.finfo(np.float32).max
    odd = np.array([[v] * 5 for v in (np.nan, 0, -0.0, top, -top, np.inf, -np.inf, 1e-45, 5)], dtype=np.float32)
    assert np.isfinite(p.apply(odd)).all()
    assert p.apply(odd).dtype == np.float32
    assert p.apply(odd[:0]).shape == (0, len(p.names))


def test_quantile_makes_a_normal_of_a_continuous_column() -> None:
    x = rows(50_000)
    inputs = fitted(Quantile(), x).apply(x)[:, 0]
    for share, score in ((0.1, -1.2816), (0.5, 0.0), (0.9, 1.2816)):
        assert np.quantile(inputs, share) == pytest.approx(score, abs=0.03)
    order = np.argsort(x[:, 0])
    assert (np.diff(inputs[order]) >= -1e-5).all()


def test_quantile_puts_a_heap_of_equal_values_at_the_middle_of_its_step() -> None:
    schema = Schema("heap", (Column("x"),))
    x = np.concatenate([np.zeros(800), np.exp(stream(1, "x").normal(size=200))]).astype(np.float32)[:, None]
    p = Quantile().fit(schema, Quantile().statistics(schema, x))
    assert p.apply(np.zeros((1, 1), np.float32))[0, 0] == pytest.approx(-0.2533, abs=1e-3)  # probit(0.4)


def test_quantile_two_values_become_plus_and_minus_one() -> None:
    p = fitted(Quantile(), rows())
    x = np.array([[1, 7, bit, 0, 0] for bit in (0, 1, np.nan)], dtype=np.float32)
    assert p.apply(x)[:, 1].tolist() == pytest.approx([-1, 1, 0], abs=1e-5)


def test_quantile_is_the_table_lookup_that_the_docstring_says() -> None:
    x = rows(2000)
    p = fitted(Quantile(), x)
    assert isinstance(p.scaler, Curves)
    lo, width, table = p.scaler.lo, p.scaler.width, p.scaler.table
    assert table.shape == (3, 1025)
    s = np.sign(x[:, 0]) * np.log(1 + 1e6 * np.abs(x[:, 0].astype(np.float64)))
    position = np.clip((s - lo) / width, 0, 1024)
    knot = np.minimum(np.floor(position).astype(int), 1023)
    expected = table[0, knot] + (position - knot) * (table[0, knot + 1] - table[0, knot])
    assert np.abs(p.apply(x)[:, 0] - expected).max() < 1e-3
    assert np.abs(table).max() <= 3.7 + 1e-6


def test_moments_centre_and_scale() -> None:
    x = rows()
    p = fitted(Moments(), x)
    assert isinstance(p.scaler, Affine)
    assert p.scaler.log.tolist() == [True, False, True]
    inputs = p.apply(x)
    assert np.abs(inputs[:, :2].mean(0)).max() < 1e-4
    assert inputs[:, :2].std(0) == pytest.approx(1, abs=1e-3)
    seen = ~np.isnan(x[:, 4])
    assert abs(inputs[seen, 2].mean()) < 1e-4
    assert (inputs[~seen, 2] == 0).all()
    assert np.array_equal(inputs[:, 5], (~seen).astype(np.float32))


def test_words_and_unknown_words() -> None:
    p = fitted(Quantile(), rows())
    x = np.array([[1, 7, 0, code, 0] for code in (0, 1, 2, np.nan, 9)], dtype=np.float32)
    assert p.apply(x)[:, 3:5].tolist() == [[1, 0], [0, 1], [0, 0], [0, 0], [0, 0]]


@pytest.mark.parametrize("scaling", BOTH)
def test_record_survives_json_to_the_bit(scaling: Quantile | Moments) -> None:
    p = fitted(scaling, rows())
    again = Preprocessor.from_record(json.loads(json.dumps(p.to_record())))
    assert np.array_equal(again.apply(rows(seed=9)), p.apply(rows(seed=9)))
    assert again.names == p.names


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["one"]},
        {"columns": [99, 1, 2]},
        {"scaler": {"kind": "magic"}},
        {"scaler": {"kind": "curves"}},
        {"words": [[1, 2, 3]]},
        {"features": None},
    ],
)
def test_a_spoilt_record_is_refused(change: dict[str, object]) -> None:
    record = fitted(Quantile(bins=4), rows()).to_record() | change
    with pytest.raises(ValueError, match="not a preprocessor's record"):
        Preprocessor.from_record(record)


@pytest.mark.parametrize("scaling", BOTH)
def test_totals_that_do_not_fit_are_refused(scaling: Quantile | Moments) -> None:
    total = scaling.statistics(SCHEMA, rows())
    assert total.shape == (scaling.size(SCHEMA),)
    with pytest.raises(ValueError, match="needs"):
        scaling.fit(SCHEMA, total[1:])
    with pytest.raises(ValueError, match="not finite"):
        scaling.fit(SCHEMA, total * np.nan)
    with pytest.raises(ValueError, match="no column varies"):
        scaling.fit(SCHEMA, total * 0)
    with pytest.raises(ValueError, match="shape"):
        scaling.fit(SCHEMA, total).apply(rows()[:, 1:])


def test_no_rows_count_nothing() -> None:
    for scaling in BOTH:
        assert not scaling.statistics(SCHEMA, rows()[:0]).any()


def test_noise_on_the_counts_still_gives_a_rising_curve() -> None:
    total = Quantile().statistics(SCHEMA, rows())
    noisy = total + stream(1, "noise").laplace(0, 2, total.shape)
    curves = Quantile().fit(SCHEMA, noisy).scaler
    assert isinstance(curves, Curves)
    assert (np.diff(curves.table, axis=1) >= 0).all()


def test_impossible_keys_are_refused() -> None:
    for bins in (0, 7):
        with pytest.raises(ValueError, match="bins"):
            Quantile(bins)
    with pytest.raises(ValueError, match="clip"):
        Moments(clip=0)


def test_label_counts() -> None:
    assert label_counts(np.array([0, 2, 2]), 4).tolist() == [1, 0, 2, 0]
    assert label_counts(np.array([], dtype=np.int64), 2).tolist() == [0, 0]
    with pytest.raises(ValueError, match="labels from 0 to 2"):
        label_counts(np.array([0, 2]), 2)


def test_signed_log_is_odd_and_keeps_order() -> None:
    x = np.array([-1e9, -1, 0, 1e-6, 1, 1e9], dtype=np.float32)
    assert np.array_equal(signed_log(-x), -signed_log(x))
    assert (np.diff(signed_log(x)) > 0).all()
    assert signed_log(x)[3] == pytest.approx(np.log(2), rel=1e-5)
