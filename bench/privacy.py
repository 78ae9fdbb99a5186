"""What differential privacy costs: macro-F1 of CICIoMT2024's six classes with many gateways, at several budgets and without.

    python bench/privacy.py DATA [--clients 100] [--rounds 10]

One process, one thread; a row per (budget, seed) is appended to bench/results/privacy.json as it ends, so it can be stopped and resumed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
OUT = ROOT / "bench" / "results" / "privacy.json"
BUDGETS: tuple[tuple[str, float], ...] = (
    ("none", 0.0),
    ("gaussian", 32.0),
    ("gaussian", 8.0),
    ("gaussian", 2.0),
    ("skellam", 8.0),
)
EXPERIMENT = """
name = "private"
seed = {seed}
[data]
use = "ciciomt2024"
labels = "6class"
[split]
use = "stratified"
test = 0.3
validation = 0.1
[partition]
use = "dirichlet"
clients = {clients}
alpha = 0.5
[model]
use = "mlp"
hidden = [32]
[training]
epochs = 2
batch_size = 32
learning_rate = 0.05
momentum = 0.9
[rounds]
count = {rounds}
measure_every = {rounds}
weighting = "uniform"
[participation]
minimum = {minimum}
[secagg]
use = "lattice"
minimum = {minimum}
[privacy]
mechanism = "{mechanism}"
epsilon = {epsilon}
norm = {norm}
hostile = 0.1
[evaluation]
test_every = false
centralised = false
local = false
[run]
workers = 1
"""


def one(data: str, wish: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "private.toml"
        file.write_text(EXPERIMENT.format(**{**wish, "epsilon": wish["epsilon"] or 8.0}))
        command = [
            sys.executable,
            "-c",
            "from wardround.cli.main import main; main()",
            "simulate",
            str(file),
            "--data",
            data,
            "--quiet",
        ]
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603
        (found,) = Path(folder).glob("runs/*/metrics.json")
        metrics = json.loads(found.read_text())
    federated = metrics["models"]["federated"]
    scores = federated["overall"]
    return {
        **wish,
        "macro_f1": scores["macro_f1"],
        "privacy": metrics["privacy"],
        "parameters": metrics["model"]["parameters"],
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--norm", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    asked = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()  # noqa: S607
    about = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "commit": commit,
    }
    kept: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {"about": about, "rows": []}
    for seed in asked.seeds:
        for mechanism, epsilon in BUDGETS:
            wish = {
                "seed": seed,
                "clients": asked.clients,
                "rounds": asked.rounds,
                "norm": asked.norm,
                "mechanism": mechanism,
            }
            wish |= {"epsilon": epsilon, "minimum": int(0.8 * asked.clients)}
            if any(all(row.get(k) == v for k, v in wish.items()) for row in kept["rows"]):
                continue
            row = one(asked.data, wish) | {"commit": commit}
            kept["rows"].append(row)
            OUT.write_text(json.dumps(kept, indent=1) + "\n")
            print(
                row["mechanism"], row["epsilon"], seed, round(row["macro_f1"], 3), f"{row['seconds']:.0f} s", flush=True
            )


if __name__ == "__main__":
    main()
