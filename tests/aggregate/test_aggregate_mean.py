"""The means, the gate in front of them, and the pre-aggregations as seen through them."""

import numpy as np
import pytest

from wardround.aggregate.mean import Mean, NormClipping, UniformMean
from wardround.errors import RoundError

X = np.random.default_rng(3).normal(size=(6, 40)).astype(np.float32)
W = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])


def test_mean_is_weighted_by_the_policy() -> None:
    got = Mean().combine(X, W)
    np.testing.assert_allclose(got.vector, (W / W.sum()) @ X.astype(float), rtol=1e-5, atol=1e-6)
    assert got.weights is not None
    np.testing.assert_allclose(got.weights, W / W.sum())
    assert got.vector.dtype == np.float32


def test_uniform_mean_counts_heads() -> None:
    np.testing.assert_allclose(UniformMean().combine(X, W).vector, X.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_norm_clipping_cuts_long_rows_only() -> None:
    x = X.copy()
    x[2] *= 1000
    limit = float(np.linalg.norm(x[0])) * 1.5
    got = NormClipping(clip_norm=limit).combine(x, W)
    factors = np.minimum(1, limit / np.linalg.norm(x, axis=1))
    np.testing.assert_allclose(got.vector, (W / W.sum() * factors) @ x, rtol=1e-5, atol=1e-6)
    assert got.facts["clipped"] == np.count_nonzero(factors < 1)


def test_norm_clipping_takes_the_median_norm() -> None:
    norms = np.linalg.norm(X, axis=1)
    got = NormClipping().combine(X, np.ones(6))
    assert got.facts["clip_norm"] == pytest.approx(np.median(norms), rel=1e-5)


def test_norm_clipping_after_mixing_is_the_clipped_mean_of_the_mixed_rows() -> None:
    got = NormClipping(pre=("nnm",), hostile=0.3).combine(X, W)
    far = ((X[:, None, :] - X[None, :, :]) ** 2).sum(axis=2)
    mixed = np.stack([X[np.argsort(far[i])[:4]].mean(axis=0) for i in range(6)])
    norms = np.linalg.norm(mixed, axis=1)
    factors = np.minimum(1, np.median(norms) / norms)
    np.testing.assert_allclose(got.vector, (W / W.sum() * factors) @ mixed, rtol=1e-4, atol=1e-5)


def test_a_refused_row_is_named_and_weighs_nothing() -> None:
    x = X.copy()
    x[4] = np.nan
    got = Mean().combine(x, W)
    assert [r.row for r in got.refused] == [4]
    assert got.weights is not None
    assert got.weights[4] == 0
    np.testing.assert_array_equal(got.vector, Mean().combine(np.delete(X, 4, axis=0), np.delete(W, 4)).vector)


def test_no_usable_row_gives_up_the_round() -> None:
    with pytest.raises(RoundError, match="none of 6 rows"):
        Mean().combine(np.full_like(X, np.nan), W)
    with pytest.raises(RoundError, match="weight 0"):
        Mean().combine(X, np.zeros(6))


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="pre holds 'nmm'"):
        Mean(pre=("nmm",))
    with pytest.raises(ValueError, match="hostile"):
        Mean(hostile=1.0)
    with pytest.raises(ValueError, match="clip_norm"):
        NormClipping(clip_norm=-1.0)
    with pytest.raises(ValueError, match="bucket_size"):
        Mean(bucket_size=0)
