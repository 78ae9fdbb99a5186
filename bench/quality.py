"""Figures 2 and 3 of issue 2: how good is the federated model, beside centralised and local-only, over three seeds.

    .venv/bin/python bench/quality.py [--data DIR] [--only NAME] [--seeds 1 2 3]

Every case is a shipped experiment with some keys changed; every figure comes from a run's metrics.json. Writes
bench/results/quality.json; docs/results.md is printed from it (bench/write_results.py).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.config import override
from wardround.drivers.simulation.environment import machine
from wardround.drivers.simulation.run import Options, start_run
from wardround.events import ignore

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "results" / "quality.json"
MEASURES = ("macro_f1", "balanced_accuracy", "accuracy", "roc_auc", "pr_auc", "ece")


@dataclass(frozen=True)
class Case:
    """A shipped experiment with some keys changed."""

    name: str
    experiment: str
    sets: tuple[str, ...] = ()


def dirichlet(alpha: float) -> str:
    return f"partition.alpha={alpha}"


PLAIN = "secagg={use='plain'}"  # the same machines without layer 2: faster, and the comparison for it
ALONE = ("evaluation.local=false", "evaluation.centralised=false")  # variants share their baselines with the case above
IID = "partition={use='iid', clients=20}"
CONTROLS = ("Fridge", "Motion_Light", "Thermostat")

CASES = (
    Case("ciciomt2024-6class, IID", "ciciomt2024-6class", (IID, PLAIN)),
    Case("ciciomt2024-6class, Dirichlet 0.5", "ciciomt2024-6class"),
    Case("ciciomt2024-6class, Dirichlet 0.5, plain sum", "ciciomt2024-6class", (PLAIN, *ALONE)),
    Case("ciciomt2024-6class, Dirichlet 0.1", "ciciomt2024-6class", (dirichlet(0.1), PLAIN)),
    Case("ciciomt2024-19class, Dirichlet 0.5", "ciciomt2024-19class"),
    Case("wustl-ehms, chronological", "wustl-ehms"),
    Case("wustl-ehms, chronological, with Flgs", "wustl-ehms", ("data.flags=true", PLAIN)),
    Case("iot23-natural", "iot23-natural"),
    *(Case(f"negative control: TON_IoT {d}", "ton-iot-control", (f"data.device={d}", PLAIN)) for d in CONTROLS),
    Case(
        "ciciomt2024-6class, Dirichlet 0.1, FedProx 0.1",
        "ciciomt2024-6class",
        (dirichlet(0.1), "algorithm={use='fedprox', mu=0.1}", PLAIN, *ALONE),
    ),
    Case(
        "ciciomt2024-6class, Dirichlet 0.1, SCAFFOLD",
        "ciciomt2024-6class",
        (
            dirichlet(0.1),
            "algorithm={use='scaffold'}",
            "training.momentum=0.0",
            "training.learning_rate=0.2",
            PLAIN,
            *ALONE,
        ),
    ),
    Case(
        "ciciomt2024-6class, Dirichlet 0.1, FedNova",
        "ciciomt2024-6class",
        (dirichlet(0.1), "algorithm={use='fednova'}", PLAIN, *ALONE),
    ),
    Case(
        "ciciomt2024-6class, Dirichlet 0.1, server momentum",
        "ciciomt2024-6class",
        (dirichlet(0.1), "server={use='sgd', learning_rate=0.5, momentum=0.7}", PLAIN, *ALONE),
    ),
)


def run(case: Case, seed: int, folders: tuple[Path, Path], workers: int) -> dict[str, Any]:
    """The figures of one seed."""
    path = ROOT / "experiments" / f"{case.experiment}.toml"
    text = override(path.read_text(encoding="utf-8"), [*case.sets, f"run.workers={workers}"], path.name)
    began = time.perf_counter()
    data, runs = folders
    folder = start_run(text, path.name, Options(data, runs, seed, "bench/quality.py"), ignore)
    metrics = folder.json("metrics.json")
    figures: dict[str, Any] = {
        "seconds": time.perf_counter() - began,
        "bytes": metrics["bytes"],
        "skew": metrics["data"]["skew"],
    }
    for name, model in metrics["models"].items():
        if model:
            overall = model["overall"]
            figures[name] = {key: overall[key] for key in MEASURES} | {
                "recall_at_fpr": overall["recall_at_fpr"],
                "n_benign": overall["n_benign"],
                "threshold": overall["threshold"],
                "predicted_shares": _predicted(overall["confusion"]),
                "clients": model["spread"]["macro_f1"],
            }
    return figures


def _predicted(confusion: list[list[int]]) -> list[float]:
    """Share of test rows given to each class: a collapse to one class shows here."""
    columns = [sum(row[k] for row in confusion) for k in range(len(confusion))]
    return [column / max(sum(columns), 1) for column in columns]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("WARDROUND_DATA", ROOT.parent / "shared" / "data"))
    )
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    results = json.loads(OUT.read_text()) if OUT.exists() else {"cases": {}}
    with tempfile.TemporaryDirectory() as runs:
        for case in CASES:
            if options.only not in case.name:
                continue
            print(case.name, flush=True)
            seeds = {str(seed): run(case, seed, (options.data, Path(runs)), options.workers) for seed in options.seeds}
            results["cases"][case.name] = {"experiment": case.experiment, "sets": list(case.sets), "seeds": seeds}
            results |= {"machine": machine(), "date": time.strftime("%Y-%m-%d")}
            OUT.write_text(json.dumps(results, indent=1) + "\n")
            for name in ("federated", "centralised", "local"):
                print("  ", name, [round(s[name]["macro_f1"] or 0, 4) for s in seeds.values() if name in s], flush=True)


if __name__ == "__main__":
    main()
