from __future__ import annotations

import numpy as np
import pytest

from wardround.arrays import F32, F64, I32, I64
from wardround.errors import ConfigError
from wardround.rng import stream
from wardround.traffic.split import STRATEGIES, Groups, Split, Stratified, Temporal, row_hashes
from wardround.traffic.table import Column, Labels, Schema, Table


def table(x: F32, y: I64, *, time: F64 | None = None, group: I32 | None = None) -> Table:
    schema = Schema("test", tuple(Column(f"c{i}") for i in range(x.shape[1])))
    names = () if group is None else ("north", "south", "east")
    held = np.full(len(y), -1, dtype=np.int32) if group is None else group
    return Table(schema, Labels(("Benign", "DoS", "Recon"), 0), x, y, held, names, time)


def random_table(rows: int = 3000, seed: int = 1) -> Table:
    rng = stream(seed, "table")
    y = rng.choice(3, rows, p=[0.7, 0.25, 0.05]).astype(np.int64)
    group = rng.integers(0, 3, rows).astype(np.int32)
    return table(
        rng.normal(size=(rows, 4)).astype(np.float32), y, time=rng.permutation(rows).astype(np.float64), group=group
    )


def assert_disjoint(split: Split) -> None:
    joined = np.concatenate(split.parts)
    assert len(np.unique(joined)) == len(joined)
    for part in split.parts:
        assert np.array_equal(part, np.sort(part))


def test_names_are_distinct() -> None:
    assert sorted(s.name for s in STRATEGIES) == ["groups", "stratified", "temporal"]


def test_stratified_keeps_class_shares() -> None:
    t = random_table()
    split = Stratified(test=0.2, validation=0.1).assign(t, stream(3, "split"))
    assert_disjoint(split)
    assert sum(map(len, split.parts)) == len(t)
    for code in range(3):
        total = (t.y == code).sum()
        got = [int((t.y[part] == code).sum()) for part in split.parts]
        assert got == pytest.approx([0.7 * total, 0.1 * total, 0.2 * total], abs=1)


def test_stratified_keeps_equal_rows_together_also_with_conflicting_labels() -> None:
    rng = stream(5, "rows")
    distinct = rng.normal(size=(200, 3)).astype(np.float32)
    distinct[::7, 1] = np.nan
    which = rng.integers(0, 200, 4000)
    t = table(distinct[which], rng.integers(0, 3, 4000))
    split = Stratified(test=0.3, validation=0.2).assign(t, stream(1, "split"))
    sets = [set(which[part]) for part in split.parts]
    assert all(sets)
    assert not (sets[0] & sets[1] | sets[0] & sets[2] | sets[1] & sets[2])


def test_without_keeping_duplicates_together_they_would_leak() -> None:
    """The check above can fail: a plain random split of the same rows does put equal rows on both sides."""
    which = stream(5, "rows").integers(0, 200, 4000)
    cut = stream(1, "plain").permutation(4000)
    assert set(which[cut[:2000]]) & set(which[cut[2000:]])


def test_stratified_depends_on_the_seed_alone() -> None:
    t = random_table()
    one, same, other = (Stratified().assign(t, stream(seed, "split")) for seed in (1, 1, 2))
    assert np.array_equal(one.test, same.test)
    assert not np.array_equal(one.test, other.test)


def test_a_class_of_one_row_trains() -> None:
    t = table(np.arange(21, dtype=np.float32)[:, None], np.array([0] * 20 + [2], dtype=np.int64))
    split = Stratified(test=0.2, validation=0.1).assign(t, stream(1, "split"))
    assert 20 in split.train


def test_temporal_puts_later_rows_later() -> None:
    t = random_table()
    assert t.time is not None
    split = Temporal(test=0.2, validation=0.1).assign(t, stream(1, "split"))
    assert_disjoint(split)
    assert [len(p) for p in split.parts] == [2100, 300, 600]
    assert t.time[split.train].max() < t.time[split.validation].min()
    assert t.time[split.validation].max() < t.time[split.test].min()


def test_temporal_gap_drops_rows_at_both_borders() -> None:
    t = random_table(1000)
    assert t.time is not None
    split = Temporal(test=0.2, validation=0.1, gap=0.05).assign(t, stream(1, "split"))
    assert [len(p) for p in split.parts] == pytest.approx([600, 100, 200], abs=1)
    assert t.time[split.validation].min() - t.time[split.train].max() == pytest.approx(51, abs=1)
    assert t.time[split.test].min() - t.time[split.validation].max() == pytest.approx(51, abs=1)


def test_temporal_gap_without_validation_stands_once() -> None:
    split = Temporal(test=0.5, validation=0.0, gap=0.1).assign(random_table(1000), stream(1, "split"))
    assert [len(p) for p in split.parts] == pytest.approx([400, 0, 500], abs=1)


def test_temporal_per_group_cuts_each_client_by_its_own_clock() -> None:
    t = random_table()
    assert t.time is not None
    split = Temporal(per_group=True).assign(t, stream(1, "split"))
    assert_disjoint(split)
    for group in range(3):
        train, _, test = (part[t.group[part] == group] for part in split.parts)
        size = (t.group == group).sum()
        assert t.time[train].max() < t.time[test].min()
        assert len(test) == pytest.approx(0.2 * size, abs=1)


def test_groups_hold_back_whole_sites() -> None:
    t = random_table()
    split = Groups(leave_out=("south",), validation=0.25).assign(t, stream(1, "split"))
    assert_disjoint(split)
    assert np.array_equal(split.test, np.flatnonzero(t.group == 1))
    assert len(split.validation) == pytest.approx(0.25 * (t.group != 1).sum(), abs=3)


@pytest.mark.parametrize(
    ("strategy", "lacking", "said"),
    [
        (Temporal(), {"time": None}, "has no time"),
        (Temporal(), {"time": np.array([1.0, np.nan])}, "rows without a time"),
        (Temporal(per_group=True), {"time": np.arange(2.0)}, "no natural clients"),
        (Groups(("north",)), {}, "no natural clients"),
        (Groups(("nort",)), {"group": np.zeros(2, np.int32)}, "did you mean 'north'"),
        (Groups(("zzz",)), {"group": np.zeros(2, np.int32)}, "there are north, south, east"),
        (Groups(("north",)), {"group": np.zeros(2, np.int32)}, "nobody is left to train"),
    ],
)
def test_what_a_table_lacks_is_said(strategy: Temporal | Groups, lacking: dict[str, F64], said: str) -> None:
    t = table(np.zeros((2, 1), np.float32), np.zeros(2, np.int64), **lacking)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=said):
        strategy.assign(t, stream(1, "split"))


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (Stratified, {"test": 1.0}),
        (Stratified, {"test": -0.1}),
        (Stratified, {"test": 0.6, "validation": 0.4}),
        (Temporal, {"gap": 0.4}),
        (Groups, {"leave_out": ()}),
    ],
)
def test_impossible_shares_are_refused(kind: type, keys: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        kind(**keys)


def test_hashes_follow_values_not_bits() -> None:
    x = np.array([[0.0, np.nan], [-0.0, -np.nan], [0.0, 1.0], [1.0, 0.0]], dtype=np.float32)
    x.view(np.uint32)[1, 1] |= 1  # another bit pattern of NaN
    hashes = row_hashes(x)
    assert hashes[0] == hashes[1]
    assert len(set(hashes.tolist())) == 3


def test_equal_rows_may_be_told_apart() -> None:
    rng = np.random.default_rng(0)
    x = np.repeat(np.array([[0.0], [1.0]], dtype=np.float32), 100, axis=0)
    y = rng.integers(0, 2, 200)
    schema = Schema("two rows", (Column("a"),))
    table = Table(schema, Labels(("Benign", "Attack"), 0), x, y, np.full(200, -1, dtype=np.int32))
    together = Stratified(test=0.3).assign(table, np.random.default_rng(1))
    apart = Stratified(test=0.3, together=False).assign(table, np.random.default_rng(1))
    assert len(np.unique(table.x[together.train])) + len(np.unique(table.x[together.test])) <= 2
    assert len(np.unique(table.x[apart.train])) == len(np.unique(table.x[apart.test])) == 2
