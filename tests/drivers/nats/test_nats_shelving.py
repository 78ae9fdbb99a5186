"""A model that a gateway is asked to measure reaches its site's shelf, and a broken shelf never stops the round."""

from pathlib import Path

import numpy as np

from wardround.config import parse
from wardround.detect.detector import Budget
from wardround.detect.scorer import Scorer
from wardround.drivers.nats.shelving import ShelvingEngine
from wardround.drivers.site import OwnRows, Part
from wardround.drivers.store import knowledge
from wardround.drivers.store.site import SiteStore
from wardround.drivers.strategies import full
from wardround.drivers.world import plan
from wardround.events import Event, Note
from wardround.federation import pipeline
from wardround.federation.plan import prepare
from wardround.rng import stream
from wardround.training.stacked import StackedEngine

TEXT = (
    'name = "x"\n[data]\nuse = "hospital"\nlabels = "binary"\n[partition]\nuse = "natural"\n[model]\nuse = "logistic"\n'
)


def test_a_measured_model_goes_to_the_shelf_once(tmp_path: Path) -> None:
    experiment = parse(TEXT, full(), "x")
    table = experiment.data.load(None, stream(1, "data"))
    agreed = plan(experiment, table)
    part = Part(table.x[:400], table.y[:400])
    rows = OwnRows(part, part)
    told: list[Event] = []
    answer = pipeline.statistics(agreed, 1, part.x, part.y)
    prepared = prepare(agreed, answer.counts[1:] if len(answer.counts) > 1 and answer.counts[0] == 0 else answer.counts)
    inner = StackedEngine(agreed.model, agreed.training, len(prepared.preprocessor.names), 2)
    engine = ShelvingEngine(inner, rows, agreed, tmp_path / "site", told.append)
    x = rows.prepared("validation", prepared).x
    parameters = np.zeros(prepared.layout.size, np.float32)
    assert np.array_equal(engine.outputs(parameters, x), inner.outputs(parameters, x))
    engine.outputs(parameters, x)
    store = SiteStore(tmp_path / "site")
    assert [(row.slot, row.state) for row in store.models()] == [("model", "active")]
    store.close()
    assert isinstance(told[0], Note)
    assert "in service" in told[0].text
    (tmp_path / "file").write_text("")
    broken = ShelvingEngine(inner, rows, agreed, tmp_path / "file" / "site", told.append)
    assert broken.outputs(parameters, x).shape == (400, 2)
    assert isinstance(told[-1], Note)
    assert "not shelved" in told[-1].text


def test_the_shelved_model_calls_unknown_words_attacks(tmp_path: Path) -> None:
    experiment = parse(TEXT + '[training]\nunknown_words = "attack"\n', full(), "x")
    table = experiment.data.load(None, stream(1, "data"))
    agreed = plan(experiment, table)
    part = Part(table.x[::100], table.y[::100])
    rows = OwnRows(part, part)
    prepared = prepare(agreed, pipeline.statistics(agreed, 1, part.x, part.y).counts)
    inner = StackedEngine(agreed.model, agreed.training, len(prepared.preprocessor.names), 2)
    engine = ShelvingEngine(inner, rows, agreed, tmp_path / "site", lambda event: None)
    engine.outputs(np.zeros(prepared.layout.size, np.float32), rows.prepared("validation", prepared).x)
    store = SiteStore(tmp_path / "site")
    bundle = knowledge.load(store, Budget()).bundles["model"]
    store.close()
    known, strange = part.x[:1].copy(), part.x[:1].copy()
    strange[:, prepared.preprocessor.complete] = np.nan
    assert Scorer(bundle).scores(known)[0] == 0
    assert Scorer(bundle).scores(strange)[0] >= 50
