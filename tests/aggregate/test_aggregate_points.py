"""Gram space: the same numbers as working on the rows themselves, also beside rows a million times longer."""

import numpy as np
import pytest

from wardround.aggregate.points import FEW, Points, Stack, own_products
from wardround.arrays import F32


def points(m: int, d: int, extra: int = 0) -> Points:
    rng = np.random.default_rng(m)
    rows = rng.normal(size=(m, d)).astype(np.float32)
    more = tuple(rng.normal(size=d).astype(np.float32) for _ in range(extra))
    return Points(rows, np.linalg.norm(rows, axis=1).astype(float), more)


def all_of(p: Points) -> F32:
    return np.vstack([p.rows, np.zeros((1, p.rows.shape[1]), dtype=np.float32), *(v[None] for v in p.extra)])


def test_distances_are_those_of_the_rows_over_several_blocks() -> None:
    p = points(7, 40_000)
    expected = ((p.rows[:, None].astype(float) - p.rows[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(Stack(p).distances(), expected, rtol=1e-5)


def test_mixed_rows_have_the_distances_they_would_have_if_written_out() -> None:
    p = points(6, 300, extra=2)
    rng = np.random.default_rng(0)
    mix = rng.uniform(-1, 1, (4, 9))
    mix /= mix.sum(axis=1, keepdims=True)
    stack = Stack(p, mix)
    written = mix @ all_of(p).astype(float)
    expected = ((written[:, None] - written[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(stack.distances(), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(stack.norms(), np.linalg.norm(written, axis=1), rtol=1e-5)
    np.testing.assert_allclose(stack.row(2), written[2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(stack.along(p.extra[0]), written @ p.extra[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.hstack([part for _, part in stack.column_blocks()]), written, rtol=1e-4, atol=1e-5)
    weights = rng.uniform(size=4)
    np.testing.assert_allclose(stack.vector(weights), weights @ written, rtol=1e-4, atol=1e-5)


def test_mixing_twice_is_mixing_by_the_product() -> None:
    p = points(5, 30)
    first, second = np.full((5, 5), 0.2) + 0.1 * np.eye(5) - 0.02, np.full((2, 5), 0.2)
    once = Stack(p).mixed(second @ first)
    twice = Stack(p).mixed(first).mixed(second)
    np.testing.assert_allclose(once.coordinates, twice.coordinates)


def test_hostile_rows_of_any_length_leave_the_distances_of_the_others_their_digits() -> None:
    p = points(9, 5000)
    spoilt = p.rows.copy()
    spoilt[[1, 4, 6]] *= np.float32(1e10)
    got = Stack(Points(spoilt, np.linalg.norm(spoilt.astype(float), axis=1))).distances()
    honest = [0, 2, 3, 5, 7, 8]
    expected = ((p.rows[honest][:, None].astype(float) - p.rows[honest][None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(got[np.ix_(honest, honest)], expected, rtol=1e-5)


def test_a_small_spread_far_from_the_origin_keeps_its_digits() -> None:
    rng = np.random.default_rng(1)
    rows = (1000 + rng.normal(size=(6, 2000))).astype(np.float32)
    expected = ((rows[:, None].astype(float) - rows[None]) ** 2).sum(axis=2)
    got = Stack(Points(rows, np.linalg.norm(rows.astype(float), axis=1))).distances()
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_idle_rows_at_the_origin_do_not_hide_a_small_spread_far_from_it() -> None:
    rng = np.random.default_rng(2)
    rows = (100 + rng.normal(size=(20, 3000))).astype(np.float32)
    rows[:9] = 0
    expected = ((rows[9:, None].astype(float) - rows[None, 9:]) ** 2).sum(axis=2)
    got = Stack(Points(rows, np.linalg.norm(rows.astype(float), axis=1))).distances()[9:, 9:]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_rows_about_the_origin_keep_the_extra_vectors_apart_from_it() -> None:
    p = points(6, 500, extra=2)
    every = all_of(p).astype(float)
    np.testing.assert_allclose(p.gram, every @ every.T, rtol=1e-4, atol=1e-3)
    near = Points(p.rows + np.float32(50), np.linalg.norm(p.rows + 50.0, axis=1), p.extra)
    every = all_of(near).astype(float)
    apart = ((every[:, None] - every[None]) ** 2).sum(axis=2)
    own = np.diag(near.gram)
    np.testing.assert_allclose(
        own[:, None] + own - 2 * near.gram, apart, rtol=1e-4, atol=1.0
    )  # the extra vectors lie a thousand away


@pytest.mark.parametrize("k", [1, 2, FEW - 1, FEW, FEW + 1, 40])
def test_products_of_rows_with_each_other(k: int) -> None:
    rows = np.random.default_rng(k).normal(size=(k, 700)).astype(np.float32)
    got = own_products(rows)
    np.testing.assert_allclose(got, rows.astype(float) @ rows.T.astype(float), rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(got, got.T)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("by_column", [False, True])
def test_copied_blocks_hold_the_same_and_are_nobody_elses(by_column: bool, mixed: bool) -> None:
    p = points(30, 4100, extra=1)
    before, mix = p.rows.copy(), np.random.default_rng(1).uniform(size=(12, 32))
    stack = Stack(p, mix if mixed else None)
    expected = mix @ all_of(p).astype(float) if mixed else p.rows
    got = np.empty(expected.shape)
    for columns, part in stack.column_blocks(copied=True, by_column=by_column):
        assert (part.T if by_column else part).flags.c_contiguous
        got[:, columns] = part
        part[:] = np.nan
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(p.rows, before)
