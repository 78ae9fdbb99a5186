"""Every rule and pre-aggregation against the textbook: plain loops over the rows, no Gram matrix."""

from collections.abc import Callable

import numpy as np
import pytest

from wardround.aggregate.centre import CentredClipping, GeometricMedian
from wardround.aggregate.coordinate import Median, TrimmedMean, ascending, comparators, network, steps, workroom
from wardround.aggregate.mean import UniformMean
from wardround.aggregate.rooted import FLTrust, RootedMean, Zeno
from wardround.aggregate.rule import Context, RuleState
from wardround.aggregate.selection import Bulyan, Krum, MultiKrum, nearest_median_mean, repeated_krum
from wardround.aggregate.spectral import DnC
from wardround.arrays import F32, F64

CASES = [(5, 30), (11, 50), (30, 200), (40, 20)]
SIZES = pytest.mark.parametrize(("m", "d"), CASES)


def cloud(m: int, d: int) -> F32:
    """Skewed rows around a point off the origin; a fifth of them lies apart."""
    rng = np.random.default_rng(m * 1000 + d)
    rows = rng.gamma(2.0, 1.0, (m, d)) * rng.uniform(0.5, 2, (m, 1)) + rng.normal(size=d)
    rows[: m // 5] += 4 * rng.normal(size=d)
    return rows.astype(np.float32)


def distance(a: F32, b: F32) -> float:
    return float(np.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))))


def near(got: F32, expected: F64, tolerance: float = 2e-5) -> None:
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=tolerance * float(np.abs(expected).max()))


@SIZES
def test_median(m: int, d: int) -> None:
    x = cloud(m, d)
    near(Median().combine(x, np.ones(m)).vector, np.median(x.astype(float), axis=0))


@SIZES
def test_trimmed_mean(m: int, d: int) -> None:
    x = cloud(m, d)
    f = -(-m * 3 // 10)
    expected = np.array([np.mean(sorted(float(v) for v in x[:, j])[f : m - f]) for j in range(d)])
    near(TrimmedMean(hostile=0.3).combine(x, np.ones(m)).vector, expected)


@pytest.mark.parametrize("n", range(1, 26))
def test_the_network_sorts(n: int) -> None:
    part = np.random.default_rng(n).integers(0, 5, (n, 300)).astype(np.float32)
    before = part.copy()
    np.testing.assert_array_equal(ascending(part, np.arange(n), workroom(n)), np.sort(part, axis=0))
    np.testing.assert_array_equal(part, before)


def test_the_network_sorts_every_pattern_of_zeros_and_ones() -> None:
    """Knuth's zero-one principle: then it sorts everything."""
    for n in range(1, 11):
        part = ((np.arange(2**n)[None, :] >> np.arange(n)[:, None]) & 1).astype(np.float32)
        rows = list(part)
        for i, j in comparators(n):
            rows[i], rows[j] = np.minimum(rows[i], rows[j]), np.maximum(rows[i], rows[j])
        np.testing.assert_array_equal(np.stack(rows), np.sort(part, axis=0))


def test_a_pruned_network_puts_the_middle_rows_where_they_belong() -> None:
    """Every pattern of zeros and ones, every middle: summed in any order, or each in its place."""
    for n in range(1, 10):
        part = ((np.arange(2**n)[None, :] >> np.arange(n)[:, None]) & 1).astype(np.float32)
        expected, spare = np.sort(part, axis=0), np.empty(2**n, dtype=np.float32)
        for low in range(n):
            for high in range(low + 1, n + 1):
                got = network(part.copy(), steps(n, low, high, together=False), spare)
                np.testing.assert_array_equal(np.stack(got[low:high]), expected[low:high])
                got = network(part.copy(), steps(n, low, high, together=True), spare)
                np.testing.assert_array_equal(sum(got[low:high]), expected[low:high].sum(axis=0))


def test_only_the_middle_costs_fewer_steps() -> None:
    whole, middle = steps(10, 0, 10, together=False), steps(10, 2, 8, together=True)
    assert sum(low + high for *_, low, high in whole) == 2 * len(comparators(10))
    assert sum(low + high for *_, low, high in middle) < 2 * len(comparators(10)) - 8


@pytest.mark.parametrize(("k", "keep"), [(5, 3), (8, 6), (9, 1), (60, 20), (61, 47)])
def test_the_values_nearest_to_the_median_are_found_beside_huge_ones(k: int, keep: int) -> None:
    rng = np.random.default_rng(k)
    made, spoilt = np.sort(rng.normal(size=(k, 200)), axis=0), (k - keep) // 2
    made[:spoilt] -= 1e12
    made[k - spoilt :] += rng.choice([0.5, 1e12], size=200)
    columns = made.astype(np.float32)
    expected = []
    for column in columns.T.astype(float):
        nearest = np.argsort(np.abs(column - np.median(column)), kind="stable")[:keep]
        expected.append(column[nearest].mean())
    got = np.empty(200, dtype=np.float32)
    nearest_median_mean(columns.copy(), keep, got)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def scores(x: F32, alive: list[int], f: int) -> dict[int, float]:
    near_count = max(len(alive) - f - 2, 1)
    return {i: sum(sorted(distance(x[i], x[j]) ** 2 for j in alive if j != i)[:near_count]) for i in alive}


@SIZES
def test_krum(m: int, d: int) -> None:
    x = cloud(m, d)
    f = min(-(-m // 5), (m - 3) // 2)
    found = scores(x, list(range(m)), f)
    expected = min(found, key=lambda i: found[i])
    np.testing.assert_array_equal(Krum().combine(x, np.ones(m)).vector, x[expected])


@SIZES
@pytest.mark.parametrize("select", [0, 2])
def test_multi_krum(m: int, d: int, select: int) -> None:
    x = cloud(m, d)
    f = min(-(-m // 5), (m - 3) // 2)
    found = scores(x, list(range(m)), f)
    chosen = sorted(found, key=lambda i: found[i])[: select or m - f]
    near(MultiKrum(select=select).combine(x, np.ones(m)).vector, x[chosen].astype(float).mean(axis=0))


@SIZES
def test_bulyan(m: int, d: int) -> None:
    x = cloud(m, d)
    f = min(-(-m // 5), (m - 3) // 4)
    alive = list(range(m))
    chosen: list[int] = []
    while len(chosen) < m - 2 * f:
        found = scores(x, alive, f)
        chosen.append(min(found, key=lambda i: (found[i], sum(distance(x[i], x[j]) ** 2 for j in range(m)))))
        alive.remove(chosen[-1])
    picked = x[chosen].astype(float)
    keep = max(len(chosen) - 2 * f, 1)
    expected = []
    for column in picked.T:
        nearest = np.argsort(np.abs(column - np.median(column)), kind="stable")[:keep]
        expected.append(column[nearest].mean())
    near(Bulyan().combine(x, np.ones(m)).vector, np.array(expected))


@pytest.mark.parametrize(("k", "f"), [(7, 1), (23, 5), (40, 9), (60, 3)])
def test_repeated_krum_picks_as_if_every_sum_were_taken_afresh(k: int, f: int) -> None:
    x = cloud(k, 12)
    squared = ((x[:, None].astype(float) - x[None]) ** 2).sum(axis=2)
    alive, expected = list(range(k)), []
    for _ in range(k - 2 * f):
        found = scores(x, alive, f)
        expected.append(min(found, key=lambda i: (round(found[i], 9), squared[i].sum())))
        alive.remove(expected[-1])
    assert list(repeated_krum(squared, f, k - 2 * f)) == expected


@SIZES
def test_geometric_median(m: int, d: int) -> None:
    """The sum of distances has no descent direction left: its gradient, unit vectors summed, is nothing."""
    x = cloud(m, d)
    got = GeometricMedian(iterations=2000).combine(x, np.ones(m)).vector.astype(float)
    units = [(got - row) / np.linalg.norm(got - row) for row in x.astype(float)]
    assert np.linalg.norm(np.sum(units, axis=0)) < 1e-3 * m


def test_weighted_geometric_median_counts_a_row_as_often_as_it_weighs() -> None:
    x = cloud(7, 20)
    weights = np.array([1.0, 2.0, 1.0, 1.0, 3.0, 1.0, 1.0])
    repeated = np.repeat(x, weights.astype(int), axis=0)
    near(
        GeometricMedian(weighted=True).combine(x, weights).vector,
        GeometricMedian().combine(repeated, np.ones(10)).vector.astype(float),
    )


@SIZES
@pytest.mark.parametrize("clip", [0.0, 3.0])
def test_centred_clipping_over_two_rounds(m: int, d: int, clip: float) -> None:
    rule, state, expected = CentredClipping(clip_norm=clip, iterations=3), RuleState(), np.zeros(d)
    for x in (cloud(m, d), cloud(m, d) * np.float32(1.5)):
        got = rule.combine(x, np.ones(m), state=state)
        for _ in range(3):
            apart = x.astype(float) - expected
            reach = np.linalg.norm(apart, axis=1)
            limit = clip or np.median(reach)
            expected = expected + (apart * np.minimum(1, limit / reach)[:, None]).mean(axis=0)
        near(got.vector, expected, 1e-4)
        state = got.state
    np.testing.assert_array_equal(state.centre, got.vector)


@SIZES
@pytest.mark.parametrize("passes", [0, 1])
def test_dnc(m: int, d: int, passes: int) -> None:
    x = cloud(m, d).astype(float)
    f = -(-m // 5)
    kept = list(range(m))
    for _ in range(1 if passes else f):
        block = x[kept] - x[kept].mean(axis=0)
        direction = np.linalg.svd(block, full_matrices=False)[2][0]
        outliers = (block @ direction) ** 2
        gone = {kept[i] for i in np.argsort(-outliers)[: f if passes else 1]}
        kept = [i for i in kept if i not in gone]
    near(DnC(passes=passes).combine(x.astype(np.float32), np.ones(m)).vector, x[kept].mean(axis=0))


@SIZES
def test_fltrust(m: int, d: int) -> None:
    x = cloud(m, d)
    x[0] *= -50
    root = (x[2] + x[3]).astype(np.float32)
    total, trust = np.zeros(d), 0.0
    for row in x.astype(float):
        cosine = row @ root / np.linalg.norm(row) / np.linalg.norm(root)
        total += max(cosine, 0.0) * row * np.linalg.norm(root) / np.linalg.norm(row)
        trust += max(cosine, 0.0)
    near(FLTrust().combine(x, np.ones(m), Context(root=root)).vector, total / trust)


@pytest.mark.parametrize(("likeness", "least"), [(0.0, 0.0), (4.0, 0.0), (2.0, 0.9)])
@pytest.mark.parametrize(("m", "d"), [(1, 4), (6, 8), (11, 60)])
def test_rooted_mean(m: int, d: int, likeness: float, least: float) -> None:
    x = cloud(m, d)
    root = (x[0] + x[-1]).astype(np.float32)
    x[::3] += 3 * root
    x[1::4] = x[0]
    length = np.linalg.norm(root)
    kept = [row.astype(float) for row in x if row @ root > -0.2 * length * np.linalg.norm(row)]
    limit = min(2.0 * length, max(np.median([np.linalg.norm(row) for row in kept]), least * length))
    total, weight = np.zeros(d), 0.0
    for row in kept:
        crowd = sum(
            max(0.0, row @ other / np.linalg.norm(row) / np.linalg.norm(other)) ** likeness if likeness else 1.0
            for other in kept
        )
        norm = np.linalg.norm(row)
        total += row / norm * min(max(norm, least * length), limit) / crowd
        weight += 1 / crowd
    rule = RootedMean(likeness=likeness, least=least)
    near(rule.combine(x, np.ones(m), Context(root=root)).vector, total / weight)


def test_many_copies_of_one_row_count_little_more_than_one() -> None:
    rng = np.random.default_rng(3)
    root = np.ones(400, dtype=np.float32)
    honest = (root + 3 * rng.normal(size=(20, 400))).astype(np.float32)
    liar = (root + 3 * rng.normal(size=400)).astype(np.float32)
    crowded = np.concatenate([honest, np.tile(liar, (20, 1))])

    def share(rule: FLTrust) -> float:
        weights = rule.combine(crowded, np.ones(40), Context(root=root)).weights
        assert weights is not None
        return float(weights[20:].sum() / weights.sum())

    assert share(RootedMean()) < 0.1 < 0.4 < share(FLTrust())


def test_rows_of_zeros_have_no_say_with_a_root() -> None:
    x = cloud(6, 20)
    root = x.mean(axis=0)
    idle = np.concatenate([x, np.zeros((3, 20), dtype=np.float32)])
    alone = RootedMean().combine(x, np.ones(6), Context(root=root))
    near(RootedMean().combine(idle, np.ones(9), Context(root=root)).vector, alone.vector.astype(float))


def test_fltrust_without_a_row_it_can_trust_follows_its_root() -> None:
    root = np.array([1.0, 2.0, 0.0], dtype=np.float32)
    got = FLTrust().combine(np.tile(-root, (4, 1)), np.ones(4), Context(root=root))
    np.testing.assert_array_equal(got.vector, root)
    assert got.facts["trusted"] == 0


@SIZES
def test_zeno(m: int, d: int) -> None:
    x = cloud(m, d)
    goal = x[-1].astype(float)

    def loss(change: F32) -> float:
        return float(((change - goal) ** 2).sum())

    f = -(-m // 5)
    found = [loss(np.zeros(d, dtype=np.float32)) - loss(row) - 0.01 * float(row.astype(float) @ row) for row in x]
    chosen = np.argsort(np.array(found))[f:]
    near(Zeno(penalty=0.01).combine(x, np.ones(m), Context(loss=loss)).vector, x[chosen].astype(float).mean(axis=0))


def test_zeno_leaves_out_a_row_whose_loss_is_not_finite() -> None:
    x = cloud(5, 30)
    got = Zeno().combine(x, np.ones(5), Context(loss=lambda c: np.nan if c[0] == x[2, 0] else 1.0))
    assert got.weights is not None
    assert got.weights[2] == 0


@pytest.mark.parametrize("rule", [FLTrust(), RootedMean()])
@pytest.mark.parametrize("part", [1e-12, 1e-24, 1e-42, 0.0])
def test_a_row_without_length_is_not_stretched_to_the_roots(rule: FLTrust, part: float) -> None:
    rng = np.random.default_rng(3)
    root = rng.normal(size=40).astype(np.float32)
    honest = (root + 0.5 * rng.normal(size=(6, 40))).astype(np.float32)
    rows = np.vstack([root * np.float32(part), honest])
    got = rule.combine(rows, np.ones(7), Context(root=root))
    assert got.weights is not None
    assert got.weights[0] == 0
    near(got.vector, rule.combine(honest, np.ones(6), Context(root=root)).vector.astype(float))


@pytest.mark.parametrize("rule", [FLTrust(), Zeno()])
def test_a_rooted_rule_without_its_root_says_so(rule: FLTrust | Zeno) -> None:
    with pytest.raises(ValueError, match=f"rule {rule.name} cannot decide without the server's {rule.needs[0]}"):
        rule.combine(cloud(5, 30), np.ones(5))


def mixed_by_nnm(x: F64, f: int) -> F64:
    out = []
    for row in x:
        order = np.argsort(((x - row) ** 2).sum(axis=1), kind="stable")
        out.append(x[order[: len(x) - f]].mean(axis=0))
    return np.array(out)


def clipped_by_arc(x: F64, f: int) -> F64:
    norms = np.linalg.norm(x, axis=1)
    count = int(2 * f / len(x) * (len(x) - f))
    limit = sorted(norms)[len(x) - 1 - count]
    out: F64 = x * np.minimum(1, limit / norms)[:, None]
    return out


BEFORE: dict[tuple[str, ...], Callable[[F64, int], F64]] = {
    ("nnm",): mixed_by_nnm,
    ("arc",): clipped_by_arc,
    ("arc", "nnm"): lambda x, f: mixed_by_nnm(clipped_by_arc(x, f), f),
    ("nnm", "arc"): lambda x, f: clipped_by_arc(mixed_by_nnm(x, f), f),
}


@SIZES
@pytest.mark.parametrize("pre", BEFORE, ids="+".join)
def test_mixing_before_a_rule_is_the_rule_on_the_mixed_rows(m: int, d: int, pre: tuple[str, ...]) -> None:
    x = cloud(m, d)
    written = BEFORE[pre](x.astype(float), -(-m // 5)).astype(np.float32)
    for cls in (UniformMean, TrimmedMean, Median, MultiKrum, GeometricMedian, DnC):
        one = cls(pre=pre).combine(x, np.ones(m))
        other = cls().combine(written, np.ones(m))
        near(one.vector, other.vector.astype(float), 1e-3)
    root = x[-1]
    near(
        FLTrust(pre=pre, hostile=0.2).combine(x, np.ones(m), Context(root=root)).vector,
        FLTrust().combine(written, np.ones(m), Context(root=root)).vector.astype(float),
        1e-4,
    )


def test_bucketing_averages_every_row_once() -> None:
    x = cloud(11, 50)
    rule = UniformMean(pre=("bucketing",), bucket_size=2)
    got = rule.combine(x, np.ones(11), Context(rng=np.random.default_rng(3)))
    assert got.weights is not None
    assert sorted(round(1 / w) for w in got.weights) == [10] * 8 + [15] * 3  # four buckets of two, one of three
    assert rule.combine(x, np.ones(11), Context(rng=np.random.default_rng(3))).vector.tolist() == got.vector.tolist()


def test_bucketing_without_a_stream_says_so() -> None:
    with pytest.raises(ValueError, match="bucketing draws"):
        UniformMean(pre=("bucketing",)).combine(cloud(5, 30), np.ones(5))


def test_buckets_halve_what_a_rule_survives() -> None:
    assert Median().tolerates(20) == 9
    assert Median(pre=("bucketing",), bucket_size=2).tolerates(20) == 4


def test_a_rule_survives_what_it_is_set_for_and_no_more_than_it_can() -> None:
    assert TrimmedMean(hostile=0.2).tolerates(50) == 10
    assert TrimmedMean(hostile=0.6).tolerates(50) == 24
    assert Krum(hostile=0.6).tolerates(50) == 23
    assert Bulyan(hostile=0.6).tolerates(50) == 11
    assert GeometricMedian(hostile=0.1).tolerates(50) == 24
    assert GeometricMedian(hostile=0.1, pre=("nnm",)).tolerates(50) == 5
    assert DnC(hostile=0.2, removal=0.5).tolerates(50) == 5
