"""Chains of every kind, a layout and an update for the tests of compress/."""

from __future__ import annotations

import numpy as np
import pytest

from wardround.arrays import F32
from wardround.params import Layout

LAYOUT = Layout(("w1", "b1", "w2", "b2"), ((39, 64), (64,), (64, 19), (19,)))


@pytest.fixture
def layout() -> Layout:
    return LAYOUT


@pytest.fixture
def update() -> F32:
    return (np.random.default_rng(7).standard_t(3, LAYOUT.size) * 1e-3).astype(np.float32)
