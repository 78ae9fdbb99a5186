"""The federation's result as files: the bundle carries what the sums say is normal."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from wardround.config import parse
from wardround.drivers.store.result import write_result
from wardround.drivers.strategies import full
from wardround.drivers.world import plan
from wardround.federation import measure, pipeline
from wardround.federation.plan import prepare
from wardround.federation.server_state import Outcome
from wardround.rng import stream
from wardround.traffic import normal
from wardround.training.bundle import from_safetensors

TEXT = """
name = "x"
[data]
use = "hospital"
labels = "binary"
[partition]
use = "natural"
[model]
use = "logistic"
[normal]
fit = true
"""


def test_the_bundle_brings_the_normal_of_each_type(tmp_path: Path) -> None:
    experiment = parse(TEXT, full(), "x")
    table = experiment.data.load(None, stream(1, "data"))
    agreed, rows = plan(experiment, table), np.arange(0, len(table), 3)
    totals = pipeline.statistics(agreed, 1, table.x[rows], table.y[rows], table.types_of(rows)).counts
    prepared = prepare(agreed, totals)
    measures = np.zeros(measure.size(agreed))
    measures[: agreed.distances] = pipeline.distances_of(
        agreed, prepared, table.x[rows], table.y[rows], table.types_of(rows)
    )
    model = np.zeros(prepared.layout.size, np.float32)
    empty = np.zeros(0, np.float32)
    write_result(tmp_path, agreed, Outcome(1, model, totals, np.zeros(0), measures, model[None], empty), {}, 0.01)
    bundle = from_safetensors((tmp_path / "model.safetensors").read_bytes())
    found = normal.from_arrays(bundle.arrays)
    assert set(found) == {"", *table.device_types}
    assert found[""][1].sum() == (table.y[rows] == 0).sum()
    plain = plan(replace(experiment, normal=normal.NormalTraffic()), table)
    counts = pipeline.statistics(plain, 1, table.x[rows], table.y[rows]).counts
    write_result(
        tmp_path,
        plain,
        Outcome(1, model, counts, np.zeros(0), measures[agreed.distances :], model[None], empty),
        {},
        0.01,
    )
    assert from_safetensors((tmp_path / "model.safetensors").read_bytes()).arrays == {}
