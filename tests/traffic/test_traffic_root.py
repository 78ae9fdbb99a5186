"""The root set: whose rows it takes, that it covers every class, and what it refuses."""

import numpy as np
import pytest

from wardround.arrays import I64
from wardround.errors import ConfigError
from wardround.traffic.root import RootSet, hold_apart, missing
from wardround.traffic.split import Split
from wardround.traffic.table import Column, Labels, Schema, Table

COUNTS = (200, 60, 12, 1)


def table() -> Table:
    y = np.repeat(np.arange(4), COUNTS).astype(np.int64)
    n = len(y)
    schema = Schema("four", (Column("a", "numeric"),))
    labels = Labels(("benign", "dos", "scan", "rare"), benign=0)
    return Table(schema, labels, np.zeros((n, 1), np.float32), y, np.zeros(n, np.int64), ("one",))


def split(n: int) -> Split:
    return Split(np.arange(n), np.zeros(0, np.int64), np.zeros(0, np.int64))


def held(wanted: RootSet, seed: int = 1) -> tuple[Table, Split, I64]:
    data = table()
    rest, root = hold_apart(wanted, data, split(len(data)), np.random.default_rng(seed))
    return data, rest, root


def test_without_a_root_set_nothing_changes() -> None:
    data, rest, root = held(RootSet())
    assert len(root) == 0
    np.testing.assert_array_equal(rest.train, np.arange(len(data)))


def test_root_rows_leave_the_training_rows_and_cover_every_class() -> None:
    data, rest, root = held(RootSet(size=40, per_class=5))
    assert len(root) == 40
    assert not np.intersect1d(rest.train, root).size
    np.testing.assert_array_equal(np.sort(np.concatenate([rest.train, root])), np.arange(len(data)))
    counts = np.bincount(data.y[root], minlength=4)
    assert counts[1] >= 5
    assert counts[2] >= 5
    assert counts[3] == 1, (
        "the only row of a class goes to the root set: better known to the server than to nobody else"
    )
    assert missing(data, root, split(len(data))) == ()


def test_the_same_stream_takes_the_same_rows() -> None:
    np.testing.assert_array_equal(held(RootSet(size=20))[2], held(RootSet(size=20))[2])
    assert not np.array_equal(held(RootSet(size=20), 1)[2], held(RootSet(size=20), 2)[2])


def test_classes_can_be_left_out_and_are_named() -> None:
    data, _, root = held(RootSet(size=20, without=("scan", "rare")))
    assert missing(data, root, split(len(data))) == ("scan", "rare")


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (RootSet(size=3), "cover 4 classes"),
        (RootSet(size=200), "leave half"),
        (RootSet(size=20, without=("ddos",)), "'ddos'"),
    ],
)
def test_a_root_set_that_cannot_be_is_refused(wanted: RootSet, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        held(wanted)


def test_numbers_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="per_class"):
        RootSet(per_class=-1)
