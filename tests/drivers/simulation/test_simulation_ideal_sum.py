"""bench/codecs.py's stand-in for the cryptography against the real thing: the same bytes, the same sums to the rounding."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wardround.drivers.simulation.secure import Called, SecureSum
from wardround.federation.messages import Answer
from wardround.secagg.parameters import Lattice

NAMES = tuple(f"client-{i:03d}" for i in range(8))


@pytest.fixture(scope="module")
def bench() -> Any:
    path = Path(__file__).resolve().parents[3] / "bench" / "codecs.py"
    spec = importlib.util.spec_from_file_location("bench_codecs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_codecs"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def answers(values: int) -> Iterator[tuple[str, Answer]]:
    for i, name in enumerate(NAMES):
        rng = np.random.default_rng(i)
        yield name, Answer(1, rng.uniform(-0.9, 0.9, values).astype(np.float32), rng.integers(0, 99, 5).astype(float))


@pytest.mark.parametrize(("values", "bits"), [(60, 4), (60, 8), (3000, 6)])
def test_the_ideal_sum_is_the_real_one(bench: Any, values: int, bits: int) -> None:
    config = Lattice(bits=bits)
    called = Called(NAMES, frozenset(NAMES), 0)
    real = SecureSum(config, NAMES, 1).sum(answers(values), called)
    ideal = bench.IdealSum(config, len(NAMES), 1).sum(answers(values), called)
    assert ideal.bytes_up == real.bytes_up
    np.testing.assert_array_equal(ideal.sums[0].counts, real.sums[0].counts)
    step = 2 / ((1 << bits) - 2)
    np.testing.assert_allclose(ideal.sums[0].update, real.sums[0].update, atol=8 * step)
    spread = np.std(ideal.sums[0].update - real.sums[0].update)
    assert spread < 2 * step  # two independent roundings of eight values, each of variance at most 1/4
