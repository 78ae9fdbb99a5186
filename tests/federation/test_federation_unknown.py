"""A gateway measures what the served model says: rows with words nobody has are attacks there too, whoever runs the engine."""

from dataclasses import dataclass, replace

import numpy as np
from federation_pair import LocalRows, Pair, local_rows, make_plan  # type: ignore[import-not-found]

from wardround.federation import measure
from wardround.federation.plan import served, watchful
from wardround.traffic.table import Column, Schema
from wardround.training.stacked import StackedEngine
from wardround.training.task import LocalTraining, Rows
from wardround.training.unknown import Watchful

SCHEMA = Schema("worded", (*(Column(f"f{i}") for i in range(3)), Column("service", "category", ("dns", "http", "irc"))))


@dataclass
class Worded(Pair):  # type: ignore[misc]
    """Every third validation row, and no training row, has the word ``irc``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rows = {
            name: worded(number, n) for number, (name, n) in enumerate(zip(self.names, self.sizes, strict=True))
        }


def worded(number: int, n: int) -> LocalRows:
    rows = local_rows(number, n)
    word, validation = np.arange(n) % 2, np.arange(n) >= n // 2
    word[validation & (np.arange(n) % 3 == 0)] = 2
    x = rows.x.copy()
    x[:, 3] = word
    return LocalRows(x, rows.y)


def test_measured_is_what_is_served() -> None:
    training = LocalTraining(batch_size=8, learning_rate=0.2, unknown_words="attack")
    plan = replace(make_plan(training=training), schema=SCHEMA)
    pair = Worded(plan=plan).run()
    outcome, prepared = pair.server.outcome(), pair.server.prepared
    assert prepared is not None
    model, parameters = served(plan, prepared, outcome.parameters)
    engine = StackedEngine(model, training, len(prepared.preprocessor.names), 2)
    expected, without = np.zeros(measure.size(plan)), np.zeros(measure.size(plan))
    for own in pair.rows.values():
        rows: Rows = own.prepared("validation", prepared)
        expected += measure.counts(plan, engine.outputs(parameters, rows.x), rows, np.zeros(0))
        without += measure.counts(plan, pair.engine().outputs(outcome.parameters, rows.x), rows, np.zeros(0))
    assert np.array_equal(outcome.measures[:4], expected[:4])
    assert not np.array_equal(expected[:4], without[:4]), "no row with an unknown word was judged"
    ignored = Worded(plan=replace(plan, training=replace(training, unknown_words="ignore"))).run().server.outcome()
    assert np.array_equal(ignored.parameters, outcome.parameters), "training does not depend on it"
    assert np.array_equal(ignored.measures, without)


def test_an_engine_that_watches_is_not_wrapped_again() -> None:
    plan = make_plan(training=LocalTraining(unknown_words="attack"))
    pair = Pair(plan=plan).run()
    once = watchful(plan, pair.server.prepared, pair.engine())
    assert isinstance(once, Watchful)
    assert watchful(plan, pair.server.prepared, once) is once
