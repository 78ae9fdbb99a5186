"""A model with tensors for each type of device: rows are scored with their own device's."""

import numpy as np
import pytest

from wardround.training.models import Logistic
from wardround.training.personal import Finetune, Typed
from wardround.training.stacked import StackedEngine
from wardround.training.task import LocalTraining
from wardround.training.typed import Own

ENGINE = StackedEngine(Logistic(), LocalTraining(), 3, 2)
MODELS = [np.random.default_rng(k).normal(size=8).astype(np.float32) for k in range(3)]
X = np.random.default_rng(9).normal(size=(20, 3)).astype(np.float32)
TYPES = np.random.default_rng(8).integers(-1, 3, 20).astype(np.int32)


def test_rows_get_their_types_model_and_the_rest_the_common_one() -> None:
    own = Own(MODELS[0], {1: MODELS[1], 2: MODELS[2]})
    found = own.outputs(ENGINE, X, TYPES)
    for row, code in enumerate(TYPES):
        expected = ENGINE.outputs(MODELS[max(int(code), 0)], X[row : row + 1])
        np.testing.assert_allclose(found[row : row + 1], expected, atol=1e-6)


def test_without_types_it_is_one_model() -> None:
    assert np.array_equal(Own(MODELS[0]).outputs(ENGINE, X, TYPES), ENGINE.outputs(MODELS[0], X))
    assert Own(MODELS[0], {1: MODELS[1]}).outputs(ENGINE, X[:0], TYPES[:0]).shape == (0, 2)


def test_its_settings_are_finetunes_and_a_least_number_of_rows() -> None:
    assert isinstance(Typed(), Finetune)
    assert Typed().tensors == ("out.*",)
    with pytest.raises(ValueError, match="least must be 1"):
        Typed(least=0)
