"""The torch engine with modules of the user's own."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from wardround.arrays import F32
from wardround.params import Layout
from wardround.training.models import Logistic
from wardround.training.task import Job, LocalTraining, Rows

torch = pytest.importorskip("torch", reason="needs the extra wardround[torch]")
pytestmark = pytest.mark.torch


@dataclass(frozen=True)
class Own:
    """A module in the user's own package."""

    name: ClassVar[str] = "own"
    unsupervised: ClassVar[bool] = False
    normalised: bool = False

    def module(self, inputs: int, outputs: int) -> Any:
        more = [torch.nn.BatchNorm1d(8)] if self.normalised else []
        return torch.nn.Sequential(torch.nn.Linear(inputs, 8), *more, torch.nn.GELU(), torch.nn.Linear(8, outputs))

    def layout(self, inputs: int, outputs: int) -> Layout:
        from wardround.training.torch_engine import module_layout

        return module_layout(self.module(inputs, outputs))

    def init(self, inputs: int, outputs: int, rng: np.random.Generator) -> F32:
        from wardround.training.torch_engine import module_init

        return module_init(self.module(inputs, outputs), rng)


def test_a_module_of_the_users_own_learns() -> None:
    from wardround.training.torch_engine import TorchEngine

    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    x = (np.eye(3, 5)[y] * 3 + rng.standard_normal((200, 5)) * 0.3).astype(np.float32)
    engine = TorchEngine(Own(), LocalTraining(epochs=10), 5, 3)
    start = Own().init(5, 3, np.random.default_rng(1))
    before = start.copy()
    result = engine.train([Job(7, Rows(x, y), np.random.default_rng(2), start)])[0]
    assert (result.client, result.steps) == (7, 70)
    assert np.array_equal(start, before)
    assert (engine.outputs(start + result.delta, x).argmax(axis=1) == y).mean() > 0.95
    assert engine.outputs(start, x[:0]).shape == (0, 3)


def test_a_client_without_rows_stays_where_it_is() -> None:
    from wardround.training.torch_engine import TorchEngine

    start = Logistic().init(5, 3, np.random.default_rng(1))
    job = Job(0, Rows(np.zeros((0, 5), np.float32), np.zeros(0, np.int64)), np.random.default_rng(0), start)
    assert not TorchEngine(Logistic(), LocalTraining(), 5, 3).train([job])[0].delta.any()


def test_a_module_with_buffers_is_refused() -> None:
    from wardround.training.torch_engine import TorchEngine

    with pytest.raises(ValueError, match="running_mean"):
        TorchEngine(Own(normalised=True), LocalTraining(), 5, 3)
