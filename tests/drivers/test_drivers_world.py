"""The prepared table of a simulation: rows lie client by client, and every number still means the world's row."""

import numpy as np
import pytest

from wardround.config import parse
from wardround.drivers.strategies import full
from wardround.drivers.world import ClientRows, PreparedTable, World, build, plan
from wardround.federation.pipeline import statistics
from wardround.federation.plan import Prepared, prepare
from wardround.rng import stream
from wardround.traffic.partition import ClientShare

TEXT = """name = "x"
[data]
use = "hospital"
wards = 3
devices_per_ward = 2
windows_per_device = 40
[partition]
use = "iid"
clients = 4
"""
NONE = np.empty(0, dtype=np.int64)


@pytest.fixture(scope="module")
def world() -> World:
    experiment = parse(TEXT, full(), "x")
    return build(experiment, experiment.data.load(None, stream(1, "data")))


@pytest.fixture(scope="module")
def known(world: World) -> Prepared:
    agreed = plan(parse(TEXT, full(), "x"), world.table)
    return prepare(agreed, statistics(agreed, 0, world.table.x, world.table.y).counts)


@pytest.mark.parametrize("clients", ["all", "one", "one without rows", "none"])
def test_every_number_means_the_worlds_row(world: World, known: Prepared, clients: str) -> None:
    empty = ClientShare("empty", NONE, NONE, NONE)
    shares = {"all": world.shares, "one": world.shares[2:3], "one without rows": (empty, *world.shares), "none": ()}[
        clients
    ]
    here = World(world.table, world.split, shares)
    prepared = PreparedTable(here, known)
    x, y = known.preprocessor.apply(world.table.x), world.table.y
    for index in (np.arange(len(y)), np.random.default_rng(1).permutation(len(y))[:50], world.split.test, NONE):
        rows = prepared.rows(index)
        np.testing.assert_array_equal(rows.x, x[index])
        np.testing.assert_array_equal(rows.y, y[index])
    for share in shares:
        own = ClientRows(here, share, prepared)
        for part, index in (("train", share.train), ("validation", share.validation)):
            rows = own.prepared(part, known)
            np.testing.assert_array_equal(rows.x, x[index])
            np.testing.assert_array_equal(rows.y, y[index])
        assert not len(share.train) or np.shares_memory(own.prepared("train", known).x, prepared.x), "no copy per round"
