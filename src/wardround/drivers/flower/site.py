"""A gateway's own rows and engine: the share that [partition] deals it (the lab), or all of its own data folder.

Flower starts a process for each message, so everything here is made anew each time; in one process (local.py) the last
table is kept.
"""

from __future__ import annotations

from functools import lru_cache

from wardround.config import Experiment, dump, parse
from wardround.drivers.flower.settings import NodeSettings, RunSettings, load
from wardround.drivers.site import FittingEngine, Site, cut, maker
from wardround.drivers.strategies import full
from wardround.drivers.world import World, build, plan
from wardround.errors import UsageError
from wardround.rng import stream
from wardround.traffic.split import Split
from wardround.traffic.table import Table


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
        rows = cut(table, split.train, split.validation)
    else:
        world = _lab(text, node.data)
        _check(index, len(world.shares))
        table = world.table
        rows = cut(table, world.shares[index].train, world.shares[index].validation)
    agreed = plan(experiment, table)
    return Site(agreed, rows, FittingEngine(maker(experiment.model, experiment.training, agreed.classes)))


def names(experiment: Experiment, run: RunSettings, node: NodeSettings) -> tuple[str, ...]:
    """The clients' names as the node finds them; where the run names none, the partition of its data does.

    Raises:
        UsageError: the data folder is not named. DataError: the data cannot be used.
    """
    return run.names or _lab(dump(experiment), node.data).names


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
