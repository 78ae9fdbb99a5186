"""A type of device that alarms more than all do gets a limit, from sums; quiet ones keep theirs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.arrays import F32, F64, I32, I64
from wardround.training.limits import BINS, TypeLimits, counted, from_arrays, holds, limited, read, to_arrays


def ward(seed: int, n: int = 3000, noisy: float = 3.0) -> tuple[F32, I64, I32]:
    """(logits, labels, types): type 2 is rare and lies ``noisy`` nearer to the threshold."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, n, p=[0.5, 0.4, 0.1]).astype(np.int32)
    y = (rng.random(n) < 0.3).astype(np.int64)
    logits = np.zeros((n, 3), dtype=np.float32)
    logits[:, 1] = rng.normal(-5, 2, n) + noisy * (kind == 2) + 9 * y
    logits[:, 2] = logits[:, 1] - 1
    return logits, y, kind


def rates(logits: F32, y: I64, kind: I32) -> F64:
    wrong = (logits.argmax(1) != 0) & (y == 0)
    return np.array([wrong[kind == k].sum() / ((y == 0) & (kind == k)).sum() for k in range(3)])


ALL = np.ones(3, dtype=np.bool_)


def test_a_noisy_type_is_made_as_quiet_as_the_rest_and_nobody_else_changes() -> None:
    logits, y, kind = ward(1)
    before = rates(logits, y, kind)
    found = read(counted(logits, y, kind, 0, ALL), 0.0)
    fresh = ward(2)
    after = rates(limited(fresh[0], fresh[2], found, 0), *fresh[1:])
    assert before[2] > 0.1
    assert after[2] < before[2] / 2
    assert found[:2].tolist() == [0, 0]
    overall = ((logits.argmax(1) != 0) & (y == 0)).sum() / (y == 0).sum()
    assert rates(limited(logits, kind, found, 0), y, kind)[2] <= overall


def test_few_rows_move_little() -> None:
    logits, y, kind = ward(1, 300)
    counts = counted(logits, y, kind, 0, ALL)
    limits = [float(read(counts, strength)[2]) for strength in (0.0, 20.0, 200.0, 1e9)]
    assert limits == sorted(limits, reverse=True)
    assert limits[0] > limits[-1]
    assert limits[-1] < 0.15


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(0, 80), st.integers(2, 4), st.integers(1, 4), st.floats(0, 100))
def test_counts_add_up_and_limits_only_rise(seed: int, n: int, classes: int, types: int, strength: float) -> None:
    rng = np.random.default_rng(seed)
    logits, benign = rng.normal(0, 8, (n, classes)).astype(np.float32), int(rng.integers(classes))
    y, kind = rng.integers(0, classes, n), rng.integers(-1, types, n).astype(np.int32)
    asked = rng.random(types) < 0.8
    whole = counted(logits, y, kind, benign, asked)
    half = n // 2
    parts = [counted(logits[s], y[s], kind[s], benign, asked) for s in (slice(half), slice(half, None))]
    assert np.array_equal(whole, parts[0] + parts[1])
    assert whole.sum() == ((y == benign) & (kind >= 0) & asked[kind]).sum()
    limits = read(whole, strength)
    assert (limits >= 0).all()
    found = limited(logits, kind, limits, benign)
    assert np.array_equal(np.delete(found, benign, 1), np.delete(logits, benign, 1))
    assert np.array_equal(found[kind < 0], logits[kind < 0])
    alarms, before = ((z.argmax(1) != benign) for z in (found, logits))
    assert not (alarms & ~before).any()


def test_types_that_are_not_asked_for_are_not_counted() -> None:
    logits, y, kind = ward(3)
    counts = counted(logits, y, kind, 0, np.array([True, True, False])).reshape(3, BINS)
    assert counts[2].sum() == 0
    assert read(counts.ravel(), 50.0)[2] == 0
    assert holds(np.array([0, 2, -1], np.int32), np.array([0, 1, 0]), 3, 0).tolist() == [1, 0, 0]
    assert holds(np.array([0], np.int32), np.array([0]), 2, None).tolist() == [0, 0]
    assert read(np.zeros(3 * BINS), 50.0).tolist() == [0, 0, 0]


def test_a_models_file_carries_them() -> None:
    arrays = to_arrays(np.array([0.0, 1.5, 20.0], np.float32), ("pump", "gateway", "imaging"))
    assert from_arrays(arrays) == {"gateway": 1.5, "imaging": 20.0}
    for bad in (np.array([-1.0]), np.array([np.nan]), np.array([21.0]), np.zeros(2)):
        with pytest.raises(ValueError, match="pump"):
            from_arrays({"limits/pump": bad.astype(np.float32)})


@pytest.mark.parametrize("bad", [{"strength": -1.0}, {"strength": np.inf}, {"gateways": 0}])
def test_settings_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        TypeLimits(**bad)  # type: ignore[arg-type]
