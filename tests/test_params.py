import numpy as np
import pytest

from wardround.params import Layout, flatten, views

LAYOUT = Layout(("w", "b"), ((3, 2), (2,)))


def test_offsets_have_no_gaps() -> None:
    assert LAYOUT.size == 8
    assert LAYOUT.offsets == (0, 6)


def test_flatten_is_the_inverse_of_views() -> None:
    vector = np.arange(8, dtype=np.float32)
    assert np.array_equal(flatten(LAYOUT, views(LAYOUT, vector)), vector)


def test_views_of_a_stack_share_memory() -> None:
    stack = np.zeros((4, 8), dtype=np.float32)
    views(LAYOUT, stack)["b"][:] = 5
    assert stack[:, 6:].min() == 5
    assert stack[:, :6].max() == 0


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="holds 7 values"):
        views(LAYOUT, np.zeros(7, dtype=np.float32))
    with pytest.raises(ValueError, match="missing or unknown"):
        flatten(LAYOUT, {"w": np.zeros((3, 2), dtype=np.float32)})
    with pytest.raises(ValueError, match="shape"):
        flatten(LAYOUT, {"w": np.zeros((2, 3), dtype=np.float32), "b": np.zeros(2, dtype=np.float32)})
