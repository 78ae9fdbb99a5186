"""What is normal, from sums: laws of the moments, the fit, the counts, and the arrays that travel with a model."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wardround.traffic import normal

WIDE = st.floats(-(2.0**100), 2.0**100, width=32) | st.just(float("nan")) | st.just(float("inf"))
TABLES = st.integers(1, 5).flatmap(
    lambda f: hnp.arrays(np.float32, st.tuples(st.integers(0, 30), st.just(f)), elements=WIDE)
)


def traffic(n: int, seed: int = 1) -> Any:
    """Rows of two types of device [n, 4], and the type of each."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n).astype(np.int32)
    x = rng.lognormal(1.0 + 2.0 * kind[:, None], 0.3, size=(n, 4))
    x[:, 3] = x[:, 2] * rng.lognormal(0, 0.05, n)
    return x.astype(np.float32), kind


@given(TABLES, st.integers(0, 30))
def test_moments_of_parts_add_up(x: Any, cut: int) -> None:
    whole, parts = normal.moments(x), normal.moments(x[:cut]) + normal.moments(x[cut:])
    assert np.abs(whole - parts).max() <= 2 / 256 + 1e-9 * np.abs(whole).max()
    assert np.array_equal(whole * 256, np.round(whole * 256)), "a secure sum carries them exactly"
    assert np.abs(whole).max(initial=0) <= len(x) * normal.LIMIT**2 + 1


@given(TABLES, st.integers(0, 2**32))
@settings(max_examples=50)
def test_any_rows_can_be_fitted_and_scored(x: Any, seed: int) -> None:
    kind = np.random.default_rng(seed).integers(-1, 2, len(x)).astype(np.int32)
    spreads = normal.fit(normal.statistics(x, kind, 2), x.shape[1], 2)
    assert [s is not None for s in spreads] == [len(x) >= 2, (kind == 0).sum() >= 2, (kind == 1).sum() >= 2]
    for spread in spreads:
        if spread is not None:
            assert np.isfinite(spread.scores(x)).all()
    counts = normal.counted(spreads, x, kind).reshape(3, -1).sum(1)
    due = [len(x), (kind == 0).sum(), (kind == 1).sum()]
    assert counts.tolist() == [n if spread is not None else 0 for n, spread in zip(due, spreads, strict=True)]


def found_by(spread: normal.Spread | None, usual: Any, strange: Any) -> float:
    """Share of ``strange`` rows above the 99 % point of ``usual`` ones."""
    assert spread is not None
    return float((spread.scores(strange) > np.quantile(spread.scores(usual), 0.99)).mean())


def test_a_type_knows_its_own_devices_better_than_all_do() -> None:
    x, kind = traffic(4000)
    spreads = normal.fit(normal.statistics(x, kind, 2), 4, 300)
    strange = x[kind == 0] * np.array([4, 1, 1, 1], np.float32)
    for_all, for_type = (found_by(spread, x[kind == 0], strange) for spread in spreads[:2])
    assert for_type > 0.9 > for_all


def test_the_fit_does_not_depend_on_how_rows_are_dealt() -> None:
    x, kind = traffic(3000)
    pooled = normal.fit(normal.statistics(x, kind, 2), 4, 300)[0]
    dealt = normal.fit(sum(normal.statistics(x[k::7], kind[k::7], 2) for k in range(7)), 4, 300)[0]  # type: ignore[arg-type]
    assert pooled is not None
    assert dealt is not None
    assert np.abs(pooled.scores(x) - dealt.scores(x)).max() < 0.01


def test_who_lies_about_its_moments_cannot_make_a_distance_negative_or_endless() -> None:
    x, kind = traffic(500)
    total = normal.statistics(x, kind, 0)
    total[5:] -= 1e9
    spread = normal.fit(total, 4, 2)[0]
    assert spread is not None
    assert np.isfinite(spread.scores(x)).all()


def test_counts_become_finer_and_keep_their_rows() -> None:
    counts = np.zeros(normal.BINS)
    counts[[3, 200, 201, 399]] = [1, 50, 49, 2]
    finer = normal.fine(counts, 0.05, 0.5, (2000, -20.0, 20.0))
    assert finer.shape == (2000,)
    assert finer.sum() == pytest.approx(counts.sum())
    assert finer[-1] == pytest.approx(2)
    assert normal.quantile(counts, 0.5) == pytest.approx(0.1, abs=0.01)
    assert normal.quantile(np.zeros(normal.BINS), 0.5) == 0.0


def test_arrays_hold_what_a_gateway_needs() -> None:
    x, kind = traffic(2000)
    spreads = normal.fit(normal.statistics(x, kind, 3), 4, 300)
    counts = normal.counted(spreads, x, kind)
    arrays = normal.to_arrays(spreads, ("imaging", "camera", "printer"), counts)
    found = normal.from_arrays({**arrays, "other": np.zeros(1, np.float32)})
    assert sorted(found) == ["", "camera", "imaging"], "no printer was seen"
    spread, counted = found["imaging"]
    assert np.array_equal(counted, counts[normal.BINS : 2 * normal.BINS])
    assert np.allclose(spread.scores(x), spreads[1].scores(x), atol=1e-3)  # type: ignore[union-attr]
    assert normal.from_arrays({}) == {}


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("centre", np.zeros((2, 2))),
        ("inverse", np.zeros((2, 2))),
        ("scale", np.zeros(4)),
        ("counts", np.zeros(3)),
        ("counts", np.full(normal.BINS, -1.0)),
        ("rows", np.full(1, np.nan)),
        ("rows", np.zeros(0)),
    ],
)
def test_damaged_arrays_are_refused(name: str, array: Any) -> None:
    x, kind = traffic(400)
    arrays = normal.to_arrays(normal.fit(normal.statistics(x, kind, 0), 4, 300), (), np.zeros(0))
    with pytest.raises(ValueError, match=r"normal|columns"):
        normal.from_arrays({**arrays, f"normal//{name}": array.astype(np.float32)})
    with pytest.raises(ValueError, match="not whole"):
        normal.from_arrays({k: v for k, v in arrays.items() if not k.endswith(name)})


def test_moments_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        normal.fit(np.zeros(7), 4, 2)
    with pytest.raises(ValueError, match="least"):
        normal.NormalTraffic(least=1)


NAMES = st.builds(
    "{}{}".format,
    st.sampled_from(["normal/", "normal//", "normal/a/", "normal/a/b/"]),
    st.sampled_from(["rows", "centre", "scale", "inverse", "counts", "", "x"]),
)
ARRAYS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3), elements=WIDE)


@given(st.dictionaries(NAMES, ARRAYS, max_size=6))
def test_arbitrary_arrays_are_refused_or_read(arrays: Any) -> None:
    try:
        found = normal.from_arrays(arrays)
    except ValueError:
        return
    assert found == {}, "three columns at most have no histogram of BINS"
