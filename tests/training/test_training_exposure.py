import numpy as np
import pytest

from wardround.config import parse
from wardround.drivers.strategies import full
from wardround.drivers.world import plan
from wardround.errors import ConfigError
from wardround.rng import stream
from wardround.training.exposure import RANGE, expose
from wardround.training.task import LocalTraining, Rows


def some(n: int = 400, attacks: int = 100) -> Rows:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (n, 6)).astype(np.float32)
    y = np.zeros(n, np.int64)
    y[:attacks] = 1
    x[:attacks] += 2
    return Rows(x, y)


def test_invented_rows_come_after_the_clients_own_and_are_attacks() -> None:
    rows = some()
    found = expose(rows, 0, 0.5, stream(1, "exposure"))
    assert len(found) == 600
    assert np.array_equal(found.x[:400], rows.x)
    assert np.array_equal(found.y, np.concatenate([rows.y, np.ones(200)]))
    assert np.abs(found.x).max() <= max(RANGE, np.abs(rows.x).max())


def test_each_keeps_at_least_a_third_of_a_benign_row() -> None:
    rows = some()
    benign = rows.x[rows.y == 0]
    for made in expose(rows, 0, 0.2, stream(2, "exposure")).x[400:]:
        same = (benign == made).sum(1).max()
        assert same >= 1
    kept = [(benign == made).sum(1).max() for made in expose(rows, 0, 1.0, stream(3, "exposure")).x[400:]]
    assert np.mean(kept) > 3


def test_streams_decide_and_nothing_is_invented_of_nothing() -> None:
    rows = some()
    assert np.array_equal(expose(rows, 0, 0.5, stream(1, "e")).x, expose(rows, 0, 0.5, stream(1, "e")).x)
    assert expose(rows, 0, 0.0, stream(1, "e")) is rows
    attacks = Rows(rows.x[:100], rows.y[:100])
    assert expose(attacks, 0, 0.5, stream(1, "e")) is attacks
    alone = Rows(rows.x[100:], rows.y[100:])
    assert len(expose(alone, 0, 0.5, stream(1, "e"))) == 450


def test_it_needs_two_classes() -> None:
    with pytest.raises(ValueError, match="exposure"):
        LocalTraining(exposure=-1)
    text = 'name = "x"\n[data]\nuse = "hospital"\n[partition]\nuse = "iid"\nclients = 2\n[model]\nuse = "logistic"\n[training]\nexposure = 0.5\n'
    experiment = parse(text, full(), "x")
    table = experiment.data.load(None, stream(1, "data"))
    with pytest.raises(ConfigError, match="binary"):
        plan(experiment, table)
