"""A gateway's own rows and engine: the share that [partition] deals it (the lab), or all of its own data folder.

Flower starts a process for each message, so everything here is made anew each time; in one process (local.py) the last
table is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from wardround.arrays import F32, I64
from wardround.config import Experiment, dump, parse
from wardround.drivers.flower.settings import NodeSettings, RunSettings, load
from wardround.drivers.strategies import full
from wardround.drivers.world import World, build, plan
from wardround.errors import UsageError
from wardround.federation.plan import Plan, Prepared
from wardround.rng import stream
from wardround.traffic.split import Split
from wardround.traffic.table import Table
from wardround.training.stacked import StackedEngine
from wardround.training.task import Engine, Job, Rows, Trained


class SiteRows:
    """What the client machine may see (federation.client.LocalData): row numbers of ``train`` and ``validation``."""

    def __init__(self, table: Table, train: I64, validation: I64) -> None:
        self._table, self._index = table, {"train": train, "validation": validation}

    def raw(self) -> tuple[F32, I64]:
        train = self._index["train"]
        return np.ascontiguousarray(self._table.x[train]), np.ascontiguousarray(self._table.y[train])

    def prepared(self, part: str, prepared: Prepared) -> Rows:
        rows = self._index[part]
        return Rows(prepared.preprocessor.apply(self._table.x[rows]), self._table.y[rows])


class SiteEngine:
    """The engine of the experiment, made when the number of model inputs is known; trains one job at a time."""

    chunk = 1

    def __init__(self, make: Callable[[int], Engine]) -> None:
        self._make = make

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        return self._make(jobs[0].rows.x.shape[1]).train(jobs)

    def outputs(self, parameters: F32, x: F32) -> F32:
        return self._make(x.shape[1]).outputs(parameters, x)


@dataclass(frozen=True, eq=False)
class Site:
    """What a client's machine works with."""

    plan: Plan
    rows: SiteRows
    engine: SiteEngine


def site(experiment: Experiment, run: RunSettings, node: NodeSettings) -> Site:
    """The site of the node.

    Raises:
        UsageError: there is no such client, the data folder is not named, or PyTorch is missing.
        DataError: the data cannot be used.
    """
    text, index = dump(experiment), node.partition_id
    if run.names:
        _check(index, len(run.names))
        table, split = _own(text, node.data)
        rows = SiteRows(table, split.train, split.validation)
    else:
        world = _lab(text, node.data)
        _check(index, len(world.shares))
        table = world.table
        rows = SiteRows(table, world.shares[index].train, world.shares[index].validation)
    agreed = plan(experiment, table)
    return Site(agreed, rows, SiteEngine(_maker(experiment, agreed.classes)))


def _check(index: int, clients: int) -> None:
    if not 0 <= index < clients:
        raise UsageError(f"partition-id is {index}, there are clients 0 to {clients - 1}")


@lru_cache(maxsize=1)
def _lab(text: str, folder: str) -> World:
    experiment = parse(text, full())
    return build(experiment, _table(experiment, folder))


@lru_cache(maxsize=1)
def _own(text: str, folder: str) -> tuple[Table, Split]:
    experiment = parse(text, full())
    table = _table(experiment, folder)
    return table, experiment.split.assign(table, stream(experiment.seed, "split"))


def _table(experiment: Experiment, folder: str) -> Table:
    return load(experiment, folder, """flower-supernode --node-config 'data="DIR"'""")


def _maker(experiment: Experiment, classes: int) -> Callable[[int], Engine]:
    model, training = experiment.model, experiment.training
    if training.engine == "stacked":
        return lambda inputs: StackedEngine(model, training, inputs, classes)
    try:
        from wardround.training.torch_engine import TorchEngine
    except ImportError as error:
        raise UsageError('[training] engine = "torch" needs PyTorch here: pip install "wardround[torch]"') from error
    return lambda inputs: TorchEngine(model, training, inputs, classes)
