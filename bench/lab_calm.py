"""How often does the detector tell of an incident where nothing happens? Calm days of wards nobody trained on, issue 6.

    .venv/bin/python bench/lab_calm.py [--seeds 1 2 3] [--wards 8 9 10 11 12 13]

For each seed the demo's federation is trained on its eight wards (plain sums); then each of six further wards, one of each kind, is watched
for a calm day after another calm day to learn from (``wardround calibrate``): packets, extractor and detector of ``wardround watch``.
Resumable; writes bench/results/lab_calm.json. About 25 CPU seconds a ward.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab import DEMO, PLAIN, settings  # type: ignore[import-not-found]
from wardround.config import override
from wardround.drivers.simulation import trial
from wardround.drivers.simulation.environment import machine
from wardround.drivers.simulation.run import Options, start_run
from wardround.drivers.sources.lab.source import seed_of
from wardround.events import ignore
from wardround.rng import stream
from wardround.training.bundle import Bundle, from_safetensors

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "results" / "lab_calm.json"
BARE = ("data.trial=false", "evaluation.local=false", "evaluation.centralised=false")


def trained(seed: int) -> Bundle:
    """The demo's model."""
    text = override(DEMO.read_text(encoding="utf-8"), [*PLAIN, *BARE], DEMO.name)
    with tempfile.TemporaryDirectory() as runs:
        run = start_run(text, DEMO.name, Options(None, Path(runs), seed, "bench/lab_calm.py"), ignore)
        return from_safetensors((run.model / "model.safetensors").read_bytes())


def day(bundle: Bundle, seed: int, ward: int) -> dict[str, Any]:
    """One ward's calm day: incidents by who told them, alarms, device-days."""
    lab = replace(settings(), unseen=6)
    found = trial.calm_day(bundle, lab, seed_of(stream(seed, "data")), ward)
    told = found.pop("incidents")
    count = round(found["per_device_day"] * found["device_days"])
    return {**found, "incidents": count, "told": dict(Counter(f"{row['detector']} {row['family']}" for row in told))}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--wards", type=int, nargs="+", default=list(range(8, 14)))
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {"days": {}}
    commit = subprocess.run(
        ("git", "rev-parse", "--short", "HEAD"), cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    for seed in options.seeds:
        missing = [ward for ward in options.wards if f"{seed}/{ward}" not in results["days"]]
        bundle = trained(seed) if missing else None
        for ward in missing:
            assert bundle is not None
            results["days"][f"{seed}/{ward}"] = day(bundle, seed, ward)
            results.update(machine=machine(), date=time.strftime("%Y-%m-%d"), commit=commit)
            OUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            print(seed, ward, results["days"][f"{seed}/{ward}"], flush=True)


if __name__ == "__main__":
    main()
