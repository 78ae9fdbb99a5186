"""The same federation with plain and with lattice sums (b = 8), for every model and three seeds: how far apart their measures end.

    python bench/secagg_models.py [--seeds 1 2 3] [--windows 800] [--rounds 30]

Generated hospital (six wards), real machines of both kinds in one process. A row per model and seed goes to
bench/results/secagg_models.json as it ends; rows that stand there are not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from wardround.config import override
from wardround.drivers.simulation import run as simulation_run
from wardround.drivers.simulation.run import Options, start_run
from wardround.events import ignore
from wardround.training import bundle

OUT = Path(__file__).parent / "results" / "secagg_models.json"
TEXT = """
name = "same"
[data]
use = "hospital"
wards = 6
devices_per_ward = 4
labels = "6class"
[split]
use = "temporal"
per_group = true
test = 0.3
validation = 0.15
[partition]
use = "natural"
[scaling]
use = "quantile"
bins = 128
[training]
epochs = 2
learning_rate = 0.05
class_weighting = "sqrt"
[evaluation]
centralised = false
local = false
[run]
workers = 1
"""
MODELS: dict[str, tuple[str, ...]] = {
    "logistic": ("model.use=logistic",),
    "mlp": ("model.use=mlp", "model.hidden=[32]"),
    "residual": ("model.use=residual", "model.width=24", "model.blocks=1"),
    "autoencoder": ("model.use=autoencoder", "model.hidden=[16,4,16]", "data.labels=binary"),
}


def measured(sets: list[str], name: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = start_run(
            override(TEXT, sets, "same.toml"), "same.toml", Options(None, Path(folder), None, "bench"), ignore
        )
        overall = run.json("metrics.json")["models"]["federated"]["overall"]
    return float(overall["roc_auc" if name == "autoencoder" else "macro_f1"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--windows", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    for module, name in ((simulation_run, "write_report"), (bundle, "to_onnx")):  # tested elsewhere, and slow
        setattr(module, name, lambda _: b"")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    ).stdout.strip()  # noqa: S607
    about = {
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "what": f"generated hospital, six wards of four devices with {chosen.windows} windows each (a third of them for the test), {chosen.rounds} rounds of FedAvg.",
    }
    report: dict[str, Any] = json.loads(chosen.out.read_text()) if chosen.out.exists() else {"rows": []}
    report["about"] = about
    for seed in chosen.seeds:
        for model in chosen.models:
            wish = {"model": model, "seed": seed, "windows": chosen.windows, "rounds": chosen.rounds}
            if any(all(row[key] == value for key, value in wish.items()) for row in report["rows"]):
                continue
            sets = [*MODELS[model], f"seed={seed}", f"data.windows_per_device={chosen.windows}"]
            sets += [f"rounds.count={chosen.rounds}", f"rounds.measure_every={chosen.rounds}"]
            began = time.process_time()
            scores = {use: measured([*sets, f"secagg.use={use}"], model) for use in ("plain", "lattice")}
            report["rows"].append({**wish, **scores, "cpu_s": round(time.process_time() - began, 1)})
            chosen.out.write_text(json.dumps(report, indent=1) + "\n")
            print(report["rows"][-1], flush=True)


if __name__ == "__main__":
    main()
