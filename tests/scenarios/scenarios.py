"""Golden scenarios: small hospital federations whose measures stand in golden.json beside this file.

    python tests/scenarios/scenarios.py          writes golden.json anew; look at the diff before you commit it

A change of the numbers is allowed when it is meant; the commit then says why. What it does not do: say how good the
detector is (bench/quality.py does).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from wardround.config import override
from wardround.drivers.simulation import run as simulation_run
from wardround.drivers.simulation.run import Options, start_run
from wardround.events import ignore
from wardround.training import bundle

GOLDEN = Path(__file__).with_name("golden.json")
HOSPITAL = """
name = "golden"
seed = 11
[data]
use = "hospital"
wards = 6
devices_per_ward = 4
windows_per_device = 120
labels = "6class"
[split]
use = "temporal"
per_group = true
test = 0.25
validation = 0.15
[partition]
use = "natural"
[scaling]
use = "quantile"
bins = 128
[model]
use = "mlp"
hidden = [24]
[training]
epochs = 2
learning_rate = 0.1
class_weighting = "sqrt"
[rounds]
count = 12
measure_every = 4
[secagg]
use = "plain"
[evaluation]
target_fpr = 0.05
centralised_epochs = 12
local = true
"""
SCENARIOS: dict[str, tuple[str, ...]] = {
    "logistic fedavg": ("model.use=logistic",),
    "mlp fedavg": (),
    "mlp fedprox": ("algorithm.use=fedprox", "algorithm.mu=0.1"),
    "mlp scaffold": ("algorithm.use=scaffold",),
    "mlp fednova adam": ("algorithm.use=fednova", "server.use=adam", "server.learning_rate=0.01"),
    "mlp adamw clients": ("training.optimiser=adamw", "training.learning_rate=0.005"),
    "mlp trimmed mean of cohorts": ("rule.use=trimmed-mean", "rounds.cohort_size=1"),
    "mlp weather": ("weather.offline=0.2", "weather.dropout=0.1", "weather.stragglers=0.2", "participation.minimum=2"),
    "mlp coded both ways": (
        "compress.up=[{use='error-feedback'}, {use='sparse-ternary', share=0.05}]",
        "compress.down=[{use='top-k', share=0.2}, {use='int'}]",
    ),
    "mlp shared support": (
        "compress.up=[{use='importance', share=0.2}, 'int']",
        "compress.down=[{use='importance', share=0.2, weigh=false}, 'int']",
    ),
    "mlp moon": ("algorithm.use=moon",),
    "mlp soft clusters": ("algorithm.use=soft", "algorithm.clusters=2"),
    "mlp federated histograms": ("algorithm={use='histograms', clusters=2, warm=4, of='both', explained=0.2}",),
    "mlp heads by type": ("algorithm={use='type-heads', clusters=6}",),
    "mlp lacking columns": ("gaps={clients=0.5, columns=0.3}",),
    "residual fedavg": ("model.use=residual", "model.width=24", "model.blocks=1"),
    "autoencoder fedavg": ("model.use=autoencoder", "model.hidden=[16,4,16]", "data.labels=binary", "rounds.count=30"),
}
MEASURES = ("macro_f1", "balanced_accuracy", "accuracy", "roc_auc", "pr_auc")


def text(name: str) -> str:
    """The scenario's experiment file; a model without hidden layers, and one with other keys, lose ``hidden``."""
    sets = list(SCENARIOS[name])
    plain = HOSPITAL if name.split(maxsplit=1)[0] in ("mlp", "autoencoder") else HOSPITAL.replace("hidden = [24]\n", "")
    return override(plain, sets, f"{name}.toml")


def measured(name: str, folder: Path, *more: str) -> dict[str, Any]:
    """Run the scenario, with ``more`` settings; its measures, rounded to what the comparison looks at."""
    told = override(text(name), list(more), f"{name}.toml")
    run = start_run(told, f"{name}.toml", Options(None, folder, None, "scenario"), ignore)
    found = run.json("metrics.json")
    return {
        "parameters": found["model"]["parameters"],
        "rounds": [[row.get("answered"), _rounded(row.get("loss"))] for row in found["rounds"]],
        "models": {
            kind: {key: _rounded(model["overall"][key]) for key in MEASURES}
            for kind, model in found["models"].items()
            if model
        },
        "clients": [[client["train"], client["validation"], client["test"]] for client in found["clients"]],
    }


def without_pages() -> None:
    """Report and ONNX file are tested elsewhere and cost more than these federations."""
    for module, name in ((simulation_run, "write_report"), (bundle, "to_onnx")):
        setattr(module, name, lambda _: b"")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


if __name__ == "__main__":
    without_pages()
    with tempfile.TemporaryDirectory() as temporary:
        golden = {name: measured(name, Path(temporary)) for name in SCENARIOS}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
    for name, found in golden.items():
        sys.stdout.write(f"{name:32s} {found['models']}\n")
