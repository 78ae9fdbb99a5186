"""Law of the bundle: whatever the bytes, a Bundle or a DecodeError."""

import contextlib
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.errors import DecodeError
from wardround.training.bundle import Bundle, from_safetensors, to_safetensors
from wardround.training.models import Mlp

MODEL = Mlp((3,))
GOOD = to_safetensors(
    Bundle(MODEL, MODEL.init(2, 2, np.random.default_rng(0)), 2, ("a", "b"), 0, "s", {"features": 2}, 0.0, np.ones(2)),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes(data: Any) -> None:
    with contextlib.suppress(DecodeError):
        from_safetensors(data)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=4))
def test_a_good_bundle_with_bytes_changed(at: Any, data: Any) -> None:
    with contextlib.suppress(DecodeError):
        from_safetensors(GOOD[:at] + data + GOOD[at + len(data) :])
