"""All at once, and under attack: the lattice sum, authentication, a robust rule with trust and a codec in one federation.

    .venv/bin/python bench/together.py [--data DIR] [--seeds 1 2 3] [--minutes 60]

Every run is a whole simulation from one experiment file, through the product's own stages: real handshakes, real ciphertexts,
a committee among the gateways. A fifth of the gateways is hostile. Macro-F1 is the mean of the test scores after rounds 80, 90
and 100; `expelled`: the round in which trust quarantined each hostile client that it found. Resumable: a run that stands in
bench/results/together.json is not repeated; docs/results.md is printed from it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from wardround.auth.trust import State
from wardround.config import override
from wardround.drivers.simulation.environment import machine
from wardround.drivers.simulation.run import Options, start_run
from wardround.events import Event, RoundDone, TrustMoved

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from bench import robust

OUT = ROOT / "bench" / "results" / "together.json"
TAIL = 3  # measurements that count
CLIENTS, ROUNDS = 50, 100
EVALUATION = """[evaluation]
local = false
centralised = false
test_every = true
[run]
workers = 1
"""
BASE = (
    robust.BASE.format(data=robust.DATA["ciciomt2024"], clients=CLIENTS, alpha=0.5, rounds=ROUNDS, cohort=0, root=0)
    + EVALUATION
)
OWN = ("name='together'", "rounds.measure_every=10")
OPEN = ("secagg={use='plain'}", "auth={use='none'}")
ROBUST = ("rounds.cohort_size=5", "root.size=1000", "robust={assumed_hostile=0.2}")  # the default rule then, and trust
CODEC = (  # the setting that bench/codecs.py chose for 5,000 parameters under the lattice
    "compress.up=[{use='importance', share=0.1, cap=10.0}]",
    "compress.down=[{use='importance', share=0.1, cap=10.0, weigh=false}, {use='int', bits=8}]",
)
BUILDS = {
    "FedAvg, open": (*OPEN, "rounds.cohort_size=1", "rule={use='mean'}"),
    "robust rule and trust, open": (*OPEN, *ROBUST),
    "lattice, authentication, robust rule and trust": ("secagg={use='lattice'}", "auth={use='x-wing'}", *ROBUST),
    "all of it: and the codec, both ways": ("secagg={use='lattice', bits=4}", "auth={use='x-wing'}", *ROBUST, *CODEC),
}
ATTACKS = ("none", "label-flip", "sign-flip", "ipm-aware", "alie-aware", "fltrust-adaptive", "model-replacement")


def run(build: str, attack: str, seed: int, data: Path) -> dict[str, Any]:
    """The figures of one simulation."""
    sets = [*OWN, *BUILDS[build]]
    if attack != "none":
        sets.append(f"attack={{use='{attack}', fraction=0.2}}")
    began, rounds, moved = time.process_time(), list[RoundDone](), list[TrustMoved]()

    def seen(event: Event) -> None:
        if isinstance(event, RoundDone):
            rounds.append(event)
        if isinstance(event, TrustMoved) and event.after == State.QUARANTINED.value:
            moved.append(event)

    with tempfile.TemporaryDirectory(prefix="wardround-bench-") as runs:
        options = Options(data, Path(runs), seed, "bench/together.py")
        found = start_run(override(BASE, sets, "together.toml"), "together.toml", options, seen)
        metrics = found.json("metrics.json")
    scores = [p["test"]["macro_f1"] for p in metrics["curve"][-TAIL:]]
    attacked = metrics["attack"] or {}
    hostile = set(attacked.get("hostile", ()))
    return {
        "macro_f1": statistics.fmean(scores),
        "backdoor": attacked.get("backdoor_success"),
        "expelled": [event.round for event in moved if event.peer in hostile],
        "expelled_honest": sum(event.peer not in hostile for event in moved),
        "hostile": len(hostile),
        "rounds_up_per_client": sum(r.bytes_up for r in rounds) / CLIENTS,  # set-up and measurements left out
        "rounds_down_per_client": sum(r.bytes_down for r in rounds) / CLIENTS,
        "bytes_up_per_client": metrics["bytes"]["up_per_client"],
        "bytes_down_per_client": metrics["bytes"]["down_per_client"],
        "cpu_s": time.process_time() - began,
    }


def main() -> None:
    """Run what is missing: seed by seed, the whole system first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    default = Path(os.environ.get("WARDROUND_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--minutes", type=float, default=60.0)
    asked = parser.parse_args()
    until = time.monotonic() + 60 * asked.minutes
    found = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {"machine": machine(), "runs": {}}
    for seed in asked.seeds:
        for attack in ATTACKS:
            for build in reversed(BUILDS):
                key = f"{build}|{attack}|{seed}"
                if key in found["runs"] or time.monotonic() > until:
                    continue
                one = run(build, attack, seed, asked.data)
                found["runs"][key] = {"build": build, "attack": attack, "seed": seed, **one}
                OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                print(f"{key}: {one['macro_f1']:.3f}, backdoor {one['backdoor']}, {one['cpu_s']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
