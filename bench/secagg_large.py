"""Whole rounds of secure aggregation with 10,000 simulated clients: time, bytes and memory by role, with 0, 15 and 30 % vanished.

    python bench/secagg_large.py [--clients 10000] [--values 20000]

All parties in one process, CPU time (``process_time``), one round each under one set of keys; rows go to bench/results/secagg_large.json as
they end. Clients that vanish do so before their upload: those that vanish later are in the sum.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import resource
import subprocess
import time
from pathlib import Path
from typing import Any

import cryptography
import numpy as np

from wardround.crypto.sampling import subseed
from wardround.rng import stream
from wardround.secagg.client import Plain
from wardround.secagg.in_memory import Absences, Ledger, Parties, lattice_sum
from wardround.secagg.parameters import Lattice

SEED = bytes(range(32))
OUT = Path(__file__).parent / "results" / "secagg_large.json"


def one(parties: Parties, values: int, dropped: float) -> dict[str, Any]:
    """A round in which a share ``dropped`` of the clients never uploads."""
    names = list(parties.clients)
    rng = stream(2, "bench", len(names))
    gone = frozenset(rng.choice(names, int(len(names) * dropped), replace=False).tolist())
    vector = rng.uniform(-1, 1, values).astype(np.float32)
    plain = Plain(vector, np.zeros(0))
    ledger = Ledger(measure_bytes=True, clock=time.process_time)
    start = parties.start(len(names), 0, (values, 0))
    began, wall = time.process_time(), time.perf_counter()
    opened = lattice_sum(
        parties, start, lambda _: plain, subseed(SEED, b"%f" % dropped), absences=Absences(gone), ledger=ledger
    )
    (row,) = opened.cohorts
    mode = start.descriptor.update
    assert mode is not None
    left, members = len(names) - len(gone), len(parties.members)
    off = (row.update - left * vector.astype(float)) * mode.levels / 2
    return {
        "clients": len(names),
        "values": values,
        "dropped": dropped,
        "opened_clients": len(row.clients),
        "bits_per_value": mode.width,
        "error_std_steps": round(float(off.std()), 3),
        "error_std_formula": round((left * mode.variance) ** 0.5, 3),
        "client_ms_each": round(1e3 * ledger.spent_s["client"] / left, 4),
        "client_bytes_each": ledger.sent_bytes["client"] // left,
        "member_s_each": round(ledger.spent_s["member"] / members, 2),
        "member_bytes_each": ledger.sent_bytes["member"] // members,
        "server_s": round(ledger.spent_s["server"], 2),
        "server_bytes": ledger.sent_bytes["server"],
        "all_cpu_s": round(time.process_time() - began, 1),
        "wall_s": round(time.perf_counter() - wall, 1),
        "peak_memory_mib_of_process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--values", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    ).stdout.strip()  # noqa: S607
    began = time.process_time()
    parties = Parties([f"c{i:05d}" for i in range(chosen.clients)], Lattice(), SEED)
    report: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load": os.getloadavg(),
        },
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "cryptography": cryptography.__version__,
        },
        "seed": SEED.hex(),
        "epoch_setup_cpu_s": round(time.process_time() - began, 1),
        "rounds": [],
    }
    for dropped in (0.0, 0.15, 0.3):
        report["rounds"].append(one(parties, chosen.values, dropped))
        chosen.out.write_text(json.dumps(report, indent=1) + "\n")
        print(report["rounds"][-1], flush=True)


if __name__ == "__main__":
    main()
