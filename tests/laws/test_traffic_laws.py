"""Laws of the traffic room: splits and deals lose and double no row; sums over clients equal the pooled sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wardround.arrays import F32
from wardround.rng import stream
from wardround.traffic.partition import Dirichlet, Family, Iid, Partition, Quantity, Shards
from wardround.traffic.scaling import Moments, Quantile, Scaling
from wardround.traffic.split import Groups, SplitStrategy, Stratified, Temporal
from wardround.traffic.table import Column, Labels, Schema, Table

SCHEMA = Schema("law", (Column("a"), Column("b", "flag"), Column("c", "category", ("x", "y")), Column("d")))
VALUES = st.floats(width=32, allow_infinity=False) | st.sampled_from([0.0, 1.0, float("nan")])
ROWS = hnp.arrays(np.float32, st.tuples(st.integers(2, 40), st.just(4)), elements=VALUES)
LAWFUL = settings(max_examples=60, deadline=None, derandomize=True)


@LAWFUL
@given(ROWS, st.lists(st.integers(0, 3), min_size=40, max_size=40))
def test_counts_of_parts_are_the_counts_of_the_whole_and_fit_alike(x: F32, client: list[int]) -> None:
    owner = np.array(client[: len(x)])
    scaling = Quantile(bins=64)
    total = sum((scaling.statistics(SCHEMA, x[owner == c]) for c in range(4)), np.zeros(scaling.size(SCHEMA)))
    pooled = scaling.statistics(SCHEMA, x)
    assert np.array_equal(total, pooled)
    same_inputs(scaling, total, pooled, x, 0)


@LAWFUL
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(2, 40), st.just(4)), elements=st.floats(-1e6, 1e6, width=32)),
    st.lists(st.integers(0, 3), min_size=40, max_size=40),
)
def test_moments_of_parts_are_the_moments_of_the_whole(x: F32, client: list[int]) -> None:
    owner = np.array(client[: len(x)])
    scaling = Moments()
    total = sum((scaling.statistics(SCHEMA, x[owner == c]) for c in range(4)), np.zeros(scaling.size(SCHEMA)))
    pooled = scaling.statistics(SCHEMA, x)
    size = scaling.statistics(SCHEMA, np.abs(x))
    assert (np.abs(total - pooled) <= 1e-13 * np.abs(size)).all()


@LAWFUL
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_moments_fit_alike_from_parts(seed: int, clients: int) -> None:
    rng = stream(seed, "law")
    x = (np.exp(rng.normal(0, 3, (50, 4))) * rng.choice([-1, 1], (50, 4))).astype(np.float32)
    x[:, 2] = rng.integers(0, 2, 50)
    owner = rng.integers(0, clients, 50)
    scaling = Moments()
    total = sum((scaling.statistics(SCHEMA, x[owner == c]) for c in range(clients)), np.zeros(scaling.size(SCHEMA)))
    same_inputs(scaling, total, scaling.statistics(SCHEMA, x), x, 1e-5)


def same_inputs(scaling: Scaling, total: np.ndarray, pooled: np.ndarray, x: F32, tolerance: float) -> None:
    try:
        expected = scaling.fit(SCHEMA, pooled)
    except ValueError:
        with pytest.raises(ValueError, match="no column varies"):
            scaling.fit(SCHEMA, total)
        return
    found = scaling.fit(SCHEMA, total)
    assert found.names == expected.names
    inputs = found.apply(x)
    assert np.isfinite(inputs).all()
    assert np.abs(inputs - expected.apply(x)).max() <= tolerance


@st.composite
def tables(draw: st.DrawFn) -> Table:
    rng = stream(draw(st.integers(0, 10**6)), "table")
    n = draw(st.integers(30, 200))
    x = rng.integers(0, draw(st.sampled_from([2, 5, 1000])), (n, 2)).astype(np.float32)  # few values: many duplicates
    schema = Schema("law", (Column("a"), Column("b")))
    labels = Labels(("Benign", "DoS-SYN", "DoS-UDP", "Recon"), 0)
    y, group = rng.integers(0, 4, n), rng.integers(0, 3, n).astype(np.int32)
    return Table(schema, labels, x, y, group, ("u", "v", "w"), rng.integers(0, 20, n).astype(np.float64))


SPLITS: list[SplitStrategy] = [
    Stratified(0.3, 0.2),
    Stratified(0.0, 0.0),
    Groups(("v",), 0.2),
    Temporal(0.3, 0.2),
    Temporal(0.3, 0.0, 0.1, per_group=True),
]
DEALS: list[Partition] = [
    Iid(4),
    Dirichlet(3, 0.1, 0),
    Dirichlet(3, 0.1, 0, "everywhere"),
    Shards(3, 1),
    Quantity(4, 2.0, alpha=0.2, min_rows=0),
    Family(2),
]


@LAWFUL
@given(tables(), st.sampled_from(SPLITS))
def test_splits_double_no_row(table: Table, strategy: SplitStrategy) -> None:
    split = strategy.assign(table, stream(1, "split"))
    joined = np.concatenate(split.parts)
    assert len(np.unique(joined)) == len(joined)
    if not getattr(strategy, "gap", 0):
        assert len(joined) == len(table)
    if isinstance(strategy, Stratified):
        sides = [set(map(tuple, table.x[part].tolist())) for part in split.parts]
        assert not (sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2])


@LAWFUL
@given(tables(), st.sampled_from(DEALS), st.integers(0, 100))
def test_deals_lose_and_double_no_row(table: Table, strategy: Partition, seed: int) -> None:
    split = Stratified(0.3, 0.2).assign(table, stream(1, "split"))
    shares = strategy.deal(table, split, stream(seed, "deal"))
    for part in ("train", "validation", "test"):
        dealt = np.concatenate([getattr(share, part) for share in shares])
        assert np.array_equal(np.sort(dealt), getattr(split, part))
        assert all(np.array_equal(getattr(s, part), np.sort(getattr(s, part))) for s in shares)
