"""Figures of issue 6 on the lab: how hard it is, what the federation is worth there, what the detector finds and how fast.

    .venv/bin/python bench/lab.py [--seeds 1 2 3] [--held-out Recon ...]

Every case is experiments/demo.toml; sums are added up plainly here (the lattice changes no figure and costs half the time).
Resumable: what stands in bench/results/lab.json is not run again. docs/results.md is printed from it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import f1_score, roc_auc_score

from wardround.config import override, parse
from wardround.detect.measures import tpr_at
from wardround.detect.scorer import Scorer
from wardround.drivers.simulation import trial
from wardround.drivers.simulation.environment import machine
from wardround.drivers.simulation.run import Options, start_run
from wardround.drivers.sources.ciciomt2024 import CLASSES, FAMILY_OF
from wardround.drivers.sources.lab.source import Lab, seed_of
from wardround.drivers.strategies import full
from wardround.events import ignore
from wardround.rng import stream
from wardround.traffic.table import Table
from wardround.training.bundle import Bundle, from_safetensors

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "results" / "lab.json"
DEMO = ROOT / "experiments" / "demo.toml"
PLAIN = ("secagg={use='plain'}", "run.workers=1", "evaluation.test_every=false")
RADIOLOGY = 1
"""A ward of the federation with scanners and an image server: its bursts must be quiet."""


def federated(seed: int, *sets: str) -> tuple[Bundle, dict[str, Any], dict[str, Any]]:
    """(bundle, metrics.json, trial.json) of the demo with some keys changed."""
    text = override(DEMO.read_text(encoding="utf-8"), [*PLAIN, *sets], DEMO.name)
    with tempfile.TemporaryDirectory() as runs:
        run = start_run(text, DEMO.name, Options(None, Path(runs), seed, "bench/lab.py"), ignore)
        bundle = from_safetensors((run.model / "model.safetensors").read_bytes())
        return bundle, run.json("metrics.json"), run.json("trial.json")


def settings() -> Lab:
    found = parse(DEMO.read_text(encoding="utf-8"), full()).data
    assert isinstance(found, Lab)
    return found


def hardness(seed: int) -> dict[str, Any]:
    """The best single column, and a centralised HGB: rows split at random (which flatters), and on the unseen ward."""
    lab = settings()
    table: Table = lab.load(None, stream(seed, "data"))
    values = np.nan_to_num(table.x, nan=-1.0)
    columns = {}
    for name, positive in [
        ("attack", table.y > 0),
        *((n, table.y == k) for k, n in enumerate(table.labels.names) if k),
    ]:
        areas = [roc_auc_score(positive, values[:, i]) for i in range(values.shape[1])]
        best = int(np.argmax([max(a, 1 - a) for a in areas]))
        columns[name] = [table.schema.columns[best].name, round(float(max(areas[best], 1 - areas[best])), 4)]
    half = stream(seed, "half").random(len(table)) < 0.6
    unseen = table.group == lab.wards
    found: dict[str, Any] = {"rows": len(table), "attack_rows": int((table.y > 0).sum()), "best_column": columns}
    for name, train, test in (("random_split", half, ~half), ("unseen_ward", ~unseen, unseen)):
        model = HistGradientBoostingClassifier(
            max_iter=60,
            learning_rate=0.1,
            max_leaf_nodes=15,
            early_stopping=False,
            class_weight="balanced",
            random_state=0,
        )
        model.fit(table.x[train], table.y[train])
        chances = model.predict_proba(table.x[test])
        at = tpr_at(1 - chances[:, 0], table.y[test] > 0)[0]
        found[f"hgb_{name}"] = {
            "macro_f1": round(float(f1_score(table.y[test], chances.argmax(1), average="macro")), 4),
            "tpr_at_1e-2": None if at.recall is None else round(at.recall.value, 4),
        }
    return found


def main_case(seed: int, compared: bool) -> dict[str, Any]:
    """The demo: windows of the unseen ward, the trial, calm days of the unseen ward and of radiology. ``compared``: with the
    models to compare with.
    """
    began = time.process_time()
    lean = () if compared else ("evaluation.local=false", "evaluation.centralised=false")
    bundle, metrics, tried = federated(seed, *lean)
    lab, number = settings(), seed_of(stream(seed, "data"))
    models = {
        name: {k: model["overall"][k] for k in ("macro_f1", "roc_auc", "recall_at_fpr", "n_benign")}
        for name, model in metrics["models"].items()
        if model and "overall" in model
    }
    calm = [trial.calm_day(bundle, lab, number, ward) for ward in (lab.wards, RADIOLOGY)]
    kept = {k: v for k, v in tried.items() if k not in ("score", "alarms")}
    return {"models": models, "trial": kept, "calm": calm, "cpu_s": round(time.process_time() - began, 1)}


def run_case(folder: Path) -> dict[str, Any]:
    """The model of a finished run of the demo under the detector as it stands now: trial and calm days, no training."""
    seed = json.loads((folder / "metrics.json").read_text())["seed"]
    bundle = from_safetensors((folder / "model" / "model.safetensors").read_bytes())
    lab, number = settings(), seed_of(stream(seed, "data"))
    calm = [trial.calm_day(bundle, lab, number, ward) for ward in (lab.wards, RADIOLOGY)]
    tried = trial.run(bundle, lab, number)
    kept = {k: v for k, v in tried.items() if k not in ("score", "alarms")}
    return {"seed": seed, "trial": kept, "calm": calm}


def held_out_case(seed: int, family: str) -> dict[str, Any]:
    """A family that no gateway of the federation has met: its windows at 1 % false alarms, and the trial."""
    bundle, _, tried = federated(
        seed, f"data.held_out='{family}'", "evaluation.local=false", "evaluation.centralised=false"
    )
    lab = replace(settings(), held_out=family, labels="19class")
    table: Table = lab.load(None, stream(seed, "data"))
    unseen = table.group == lab.wards
    scores, y = Scorer(bundle).scores(table.x[unseen]), table.y[unseen]
    mine = np.array([FAMILY_OF[name] == family for name in CLASSES])[y]
    chosen = mine | (y == 0)
    at = tpr_at(scores[chosen], mine[chosen])[0]
    attacks = [row for row in tried["attacks"] if row["family"] == family]
    return {
        "windows": int(mine.sum()),
        "recall_at_1e-2": None if at.recall is None else [at.recall.hits, at.recall.n],
        "attacks": [{k: row[k] for k in ("name", "events_per_s", "delay_s")} for row in attacks],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--held-out", nargs="*", default=["Recon", "Spoofing", "MQTT", "DoS", "DDoS"])
    parser.add_argument("--full", action="store_true", help="train the centralised and the local models too")
    parser.add_argument("--no-hardness", action="store_true", help="leave out the honesty checks' figures")
    parser.add_argument("--run", type=Path, help="instead: the detector as it stands now with the model of this run")
    options = parser.parse_args()
    results: dict[str, Any] = (
        json.loads(OUT.read_text()) if OUT.exists() else {"seeds": {}, "hardness": {}, "held_out": {}}
    )
    commit = subprocess.run(
        ("git", "rev-parse", "--short", "HEAD"), cwd=ROOT, capture_output=True, text=True, check=True
    )

    def keep(part: str, key: str, value: dict[str, Any]) -> None:
        results[part][key] = value
        results.update(machine=machine(), date=time.strftime("%Y-%m-%d"), commit=commit.stdout.strip())
        OUT.write_text(json.dumps(results, indent=1) + "\n")
        print(part, key, "done", flush=True)

    if options.run:
        results["now"] = {}
        keep("now", commit.stdout.strip(), run_case(options.run))
        return
    for seed in options.seeds:
        if str(seed) not in results["seeds"]:
            keep("seeds", str(seed), main_case(seed, options.full))
        if str(seed) not in results["hardness"] and not options.no_hardness:
            keep("hardness", str(seed), hardness(seed))
    for family in options.held_out:
        if family not in results["held_out"]:
            keep("held_out", family, held_out_case(options.seeds[0], family))


if __name__ == "__main__":
    main()
