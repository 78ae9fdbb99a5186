"""The engine an experiment asks for, and threads that do not fight over the cores."""

from __future__ import annotations

import os
from collections.abc import Callable

from wardround.errors import UsageError
from wardround.training.models import Model
from wardround.training.stacked import StackedEngine
from wardround.training.task import Engine, LocalTraining


def maker(model: Model, training: LocalTraining, classes: int) -> Callable[[int], Engine]:
    """inputs -> engine.

    Raises:
        UsageError: the torch engine is asked for and PyTorch is not installed.
    """
    if training.engine == "stacked":
        return lambda inputs: StackedEngine(model, training, inputs, classes)
    try:
        from wardround.training.torch_engine import TorchEngine
    except ImportError as error:
        raise UsageError(
            '[training] engine = "torch" needs PyTorch: pip install "wardround[torch]", or use engine = "stacked"',
        ) from error
    return lambda inputs: TorchEngine(model, training, inputs, classes)


def make(model: Model, training: LocalTraining, inputs: int, classes: int) -> Engine:
    """The engine itself (``maker``)."""
    return maker(model, training, classes)(inputs)


def workers(asked: int) -> int:
    """Threads for training: as asked, or one per core this process may use."""
    return asked or len(os.sched_getaffinity(0))
