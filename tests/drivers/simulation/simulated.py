"""A tiny hospital that runs in a blink, and how to run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wardround.config import override
from wardround.drivers.simulation.run import Options, resume_run, start_run
from wardround.drivers.sinks.jsonlog import read
from wardround.drivers.store.rundir import RunDir
from wardround.events import Emit, Event, ignore

TINY = """
name = "tiny"
seed = 3
[data]
use = "hospital"
wards = 4
devices_per_ward = 3
windows_per_device = 60
labels = "6class"
[split]
use = "stratified"
[partition]
use = "natural"
[scaling]
use = "quantile"
bins = 64
[model]
use = "mlp"
hidden = [8]
[training]
batch_size = 32
learning_rate = 0.1
[rounds]
count = 4
measure_every = 2
[secagg]
use = "plain"
[evaluation]
centralised = false
local = false
"""


def simulate(folder: Path, *sets: str, emit: Emit = ignore, seed: int | None = None, text: str = TINY) -> RunDir:
    """Run the tiny experiment with ``TABLE.KEY=VALUE`` settings."""
    whole = override(text, list(sets), "tiny.toml")
    return start_run(whole, "tiny.toml", Options(None, folder, seed, "wardround simulate tiny.toml"), emit)


def resume(run: RunDir, emit: Emit = ignore, data: Path | None = None) -> RunDir:
    """Go on with a run."""
    return resume_run(run, Options(data, run.path.parent, None, "wardround resume"), emit)


def metrics(run: RunDir) -> dict[str, Any]:
    """metrics.json."""
    found: dict[str, Any] = json.loads((run.path / "metrics.json").read_text())
    return found


def score(run: RunDir, model: str = "federated", measure: str = "macro_f1") -> float:
    """A test measure of the run."""
    return float(metrics(run)["models"][model]["overall"][measure])


def events(run: RunDir) -> list[Event]:
    """The run log."""
    return list(read(run.log))
