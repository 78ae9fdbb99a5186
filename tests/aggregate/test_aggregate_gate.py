"""The gate: what is refused, with which words, and that nothing else changes."""

import numpy as np
import pytest

from wardround.aggregate.gate import gate
from wardround.arrays import F32


def rows(m: int = 4, d: int = 5) -> F32:
    return np.arange(m * d, dtype=np.float32).reshape(m, d)


def test_usable_rows_pass_without_a_copy() -> None:
    x = rows()
    gated = gate(x, np.ones(4))
    assert gated.rows is x
    assert gated.refused == ()
    np.testing.assert_allclose(gated.norms, np.linalg.norm(x, axis=1), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_refuses_its_row_alone(bad: float) -> None:
    x = rows()
    x[2, 3] = bad
    gated = gate(x, np.array([1.0, 2.0, 3.0, 4.0]))
    assert [(r.row, r.reason) for r in gated.refused] == [(2, "1 of 5 values are not finite")]
    np.testing.assert_array_equal(gated.rows, np.delete(rows(), 2, axis=0))
    np.testing.assert_array_equal(gated.weights, [1.0, 2.0, 4.0])
    np.testing.assert_array_equal(gated.spread(gated.weights), [1.0, 2.0, 0.0, 4.0])


def test_a_long_but_finite_row_is_measured_right_and_refused_over_the_ceiling() -> None:
    x = rows()
    x[1] = 3e38
    gated = gate(x, np.ones(4))
    assert [r.row for r in gated.refused] == [1]
    assert "norm 6.71e+38 is over the limit of 1e+15" in gated.refused[0].reason


def test_the_norm_limit_refuses() -> None:
    gated = gate(rows(), np.ones(4), norm_limit=float(np.linalg.norm(rows()[1])) + 0.01)
    assert list(gated.kept) == [0, 1]
    assert all("over the limit" in r.reason for r in gated.refused)


def test_a_row_of_another_length_is_refused_by_name() -> None:
    listed = list(rows())
    listed[0] = np.zeros(3, dtype=np.float32)
    gated = gate(listed, np.ones(4), dimension=5)
    assert [(r.row, r.reason) for r in gated.refused] == [(0, "shape (3,), (5,) is due")]
    np.testing.assert_array_equal(gated.rows, rows()[1:])


def test_an_array_whose_rows_all_have_another_length_is_refused_row_by_row() -> None:
    gated = gate(rows(), np.ones(4), dimension=6)
    assert [r.reason for r in gated.refused] == ["shape (5,), (6,) is due"] * 4
    assert gated.rows.shape == (0, 6)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_a_weight_that_is_no_weight_refuses_its_row(weight: float) -> None:
    gated = gate(rows(), np.array([1.0, weight, 1.0, 1.0]))
    assert [r.row for r in gated.refused] == [1]
    assert "weight" in gated.refused[0].reason


def test_weight_zero_is_left_out_without_blame() -> None:
    gated = gate(rows(), np.array([1.0, 0.0, 1.0, 1.0]))
    assert gated.refused == ()
    assert list(gated.kept) == [0, 2, 3]


def test_everything_refused_leaves_no_row() -> None:
    gated = gate([np.zeros(2, dtype=np.float32)], np.ones(1), dimension=5)
    assert gated.rows.shape == (0, 5)


def test_wrong_calls_are_named() -> None:
    with pytest.raises(ValueError, match="weights of shape"):
        gate(rows(), np.ones(3))
    with pytest.raises(ValueError, match="dimension"):
        gate([rows()[0]], np.ones(1))


def test_inputs_stay_as_they_were() -> None:
    x, w = rows(), np.array([1.0, 2.0, 0.0, 1.0])
    x[0, 0] = np.nan
    before = x.copy()
    gate(x, w)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(w, [1.0, 2.0, 0.0, 1.0])
