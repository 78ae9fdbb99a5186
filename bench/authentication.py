"""What layer 1 costs a simulated federation: 10,000 gateways in one round, and a small federation with and without it.

    python bench/authentication.py [--gateways 10000] [--repeats 3]

CPU time of this process; memory is resident memory after the gateways exist, have authenticated, and have answered. Federations take
turns (none, x-wing) so that a busy machine is unfair to neither. Writes bench/results/authentication.json.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import cryptography

from wardround.auth.choice import MlKem768, XWing
from wardround.config import override
from wardround.drivers.simulation.authenticated import Asked, Authenticated
from wardround.drivers.simulation.run import Options, start_run
from wardround.events import RoundDone

RESULTS = Path(__file__).parent / "results" / "authentication.json"
ROUNDS = 20
EXPERIMENT = f"""
name = "bench"
seed = 1
[data]
use = "hospital"
wards = 10
devices_per_ward = 5
clients = "device"
[split]
use = "stratified"
[partition]
use = "natural"
[model]
use = "mlp"
hidden = [64, 32]
[training]
learning_rate = 0.05
[rounds]
count = {ROUNDS}
measure_every = 5
[evaluation]
centralised = false
local = false
[run]
workers = 1
"""
BODY = 80_000  # bytes: 20,000 parameters as float32
cpu = time.process_time


def resident() -> float:
    """MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def many(choice: Any, gateways: int) -> dict[str, Any]:
    """All gateways in one round: they exist, authenticate and hear, answer 80 kB each; then a second round."""
    gc.collect()
    names, body, before = [f"gateway-{i}" for i in range(gateways)], os.urandom(BODY), resident()
    marks, memory = [cpu()], []

    def mark() -> None:
        marks.append(cpu())
        memory.append(resident() - before)

    layer = Authenticated(choice, names, 1)
    mark()
    told = layer.open(1, [Asked(names, body)])
    mark()
    answered = sum(layer.carry(name, body) == body for name in names)
    mark()
    first, _ = layer.take()
    layer.open(2, [Asked(names, body)])
    answered_again = sum(layer.carry(name, body) == body for name in names)
    mark()
    second, _ = layer.take()
    assert len(told) == answered == answered_again == gateways
    assert (first.handshakes, second.handshakes, first.refused + second.refused) == (gateways, 0, 0)
    per = 1000 / gateways
    steps = [(b - a) * per for a, b in itertools.pairwise(marks)]
    return {
        "gateways": gateways,
        "seconds_per_1000": dict(zip(("keys", "authenticate_and_hear", "answer", "next_round"), steps, strict=True)),
        "mib_per_1000": dict(
            zip(("keys", "authenticate_and_hear", "answer", "next_round"), [m * per for m in memory], strict=True)
        ),
        "handshake_bytes": (first.up + first.down - second.up - second.down) / gateways,
        "record_bytes_each_round": (second.up + second.down) / gateways,
    }


def federation(use: str, sums: str) -> float:
    """CPU seconds of a whole run of 50 gateways and ROUNDS rounds, data and report included."""
    text = override(EXPERIMENT, [f'auth.use="{use}"', f'secagg.use="{sums}"'], "bench.toml")
    rounds = 0

    def count(event: object) -> None:
        nonlocal rounds
        rounds += isinstance(event, RoundDone)

    with tempfile.TemporaryDirectory() as folder:
        began = cpu()
        start_run(text, "bench.toml", Options(None, Path(folder), 1, "bench"), count)
        spent = cpu() - began
    assert rounds == ROUNDS
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateways", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    found: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, cryptography {cryptography.__version__}",
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
        "load": os.getloadavg()[0],
        "body_bytes": BODY,
        "simulation_repeats": asked.repeats,
        "simulation_cpu_s": {},
        "many": {},
    }
    for choice in (XWing(), MlKem768()):
        found["many"][choice.name] = many(choice, asked.gateways)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    runs: dict[str, list[float]] = {}
    federation("none", "plain")  # imports and caches
    for _ in range(asked.repeats):
        for sums in ("plain", "lattice"):
            for use in ("none", "x-wing"):
                runs.setdefault(f"{sums} {use}", []).append(federation(use, sums))
        found["simulation_cpu_s"] = {name: min(values) for name, values in runs.items()}
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
