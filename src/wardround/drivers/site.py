"""What a real gateway brings, whatever carries its messages: its own rows and its engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, I32, I64
from wardround.errors import UsageError
from wardround.federation.client import LocalData
from wardround.federation.plan import Plan, Prepared
from wardround.traffic.table import Table
from wardround.training.models import Model
from wardround.training.stacked import StackedEngine
from wardround.training.task import Engine, Job, LocalTraining, Rows, Trained


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one part as the schema has them: x [n, f], y [n], type of device [n] (-1: not told; None: none is)."""

    x: F32
    y: I64
    kind: I32 | None = None


@dataclass(frozen=True, eq=False)
class Site:
    """What a gateway brings: the plan, its rows, and its engine."""

    plan: Plan
    rows: LocalData
    engine: Engine


class OwnRows:
    """What the client machine may see (federation.client.LocalData); prepared rows are made once per statistics."""

    def __init__(self, train: Part, validation: Part) -> None:
        self._parts = {"train": train, "validation": validation}
        self._prepared: dict[str, Rows] = {}
        self._for: Prepared | None = None

    @property
    def preparation(self) -> Prepared | None:
        """The federation's statistics that rows were prepared with last."""
        return self._for

    def raw(self) -> tuple[F32, I64]:
        train = self._parts["train"]
        return train.x, train.y

    def typed(self, part: str) -> tuple[F32, I64, I32]:
        rows = self._parts[part]
        kind = np.full(len(rows.y), -1, np.int32) if rows.kind is None else rows.kind
        return rows.x, rows.y, kind

    def prepared(self, part: str, prepared: Prepared) -> Rows:
        if self._for is not prepared:
            self._for, self._prepared = prepared, {}
        if part not in self._prepared:
            rows = self._parts[part]
            self._prepared[part] = Rows(prepared.preprocessor.apply(rows.x), rows.y)
        return self._prepared[part]


def cut(table: Table, train: I64, validation: I64) -> OwnRows:
    """Rows ``train`` and ``validation`` of ``table``."""

    # copies: what is kept is this gateway's rows, not the table they were cut from
    def part(index: I64) -> Part:
        return Part(
            np.ascontiguousarray(table.x[index]), np.ascontiguousarray(table.y[index]), table.types_of(index).copy()
        )

    return OwnRows(part(train), part(validation))


class FittingEngine:
    """The engine made when the number of model inputs is known: it follows from the federation's statistics."""

    chunk = 1

    def __init__(self, make: Callable[[int], Engine]) -> None:
        self._make = make
        self._made: tuple[int, Engine] | None = None

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        return self._for(jobs[0].rows.x.shape[1]).train(jobs)

    def outputs(self, parameters: F32, x: F32) -> F32:
        return self._for(x.shape[1]).outputs(parameters, x)

    def _for(self, inputs: int) -> Engine:
        if self._made is None or self._made[0] != inputs:
            self._made = inputs, self._make(inputs)
        return self._made[1]


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
