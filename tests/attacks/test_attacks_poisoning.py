"""Poisoned rows: which labels and inputs change, and that the client's own rows do not."""

import numpy as np
import pytest

from wardround.attacks.attack import Attack
from wardround.attacks.poisoning import LabelFlip, ModelReplacement
from wardround.training.task import Rows


def stream() -> np.random.Generator:
    return np.random.default_rng(1)


def rows(n: int = 40) -> Rows:
    rng = stream()
    x, y = rng.normal(size=(n, 5)).astype(np.float32), rng.integers(0, 4, n)
    x.setflags(write=False)
    y.setflags(write=False)
    return Rows(x, y)


def test_the_honest_client_keeps_its_rows() -> None:
    mine = rows()
    assert Attack().poison_rows(mine, 4, stream()) is mine


def test_labels_are_mirrored() -> None:
    mine = rows()
    flipped = LabelFlip().poison_rows(mine, 4, stream())
    np.testing.assert_array_equal(flipped.y, 3 - mine.y)
    np.testing.assert_array_equal(flipped.x, mine.x)


def test_one_class_is_relabelled() -> None:
    mine = rows()
    flipped = LabelFlip(source=2, target=0).poison_rows(mine, 4, stream())
    np.testing.assert_array_equal(flipped.y, np.where(mine.y == 2, 0, mine.y))


def test_a_class_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="4 classes"):
        LabelFlip(source=4).poison_rows(rows(), 4, stream())
    with pytest.raises(ValueError, match="target is 9"):
        ModelReplacement(target=9).poison_rows(rows(), 4, stream())


def test_the_backdoor_adds_marked_copies_of_other_classes() -> None:
    mine = rows()
    attack = ModelReplacement(columns=(1, 3), value=4.0, target=0, share=0.25)
    got = attack.poison_rows(mine, 4, stream())
    assert len(got) == 50
    np.testing.assert_array_equal(got.x[:40], mine.x)
    assert (got.y[40:] == 0).all()
    assert (got.x[40:][:, [1, 3]] == 4.0).all()
    originals = mine.x[mine.y != 0][:, [0, 2, 4]]
    assert all((originals == row).all(axis=1).any() for row in got.x[40:][:, [0, 2, 4]])


def test_the_trigger_is_set_in_a_copy() -> None:
    mine = rows()
    marked = ModelReplacement(columns=(0,)).triggered(mine.x)
    assert (marked[:, 0] == 4.0).all()
    np.testing.assert_array_equal(marked[:, 1:], mine.x[:, 1:])
    with pytest.raises(ValueError, match="the inputs have 5"):
        ModelReplacement(columns=(5,)).triggered(mine.x)


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"columns": ()}, {"scale": -1.0}])
def test_settings_out_of_range_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ModelReplacement(**wrong)  # type: ignore[arg-type]
