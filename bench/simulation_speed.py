"""Figure 1: how fast a federation is simulated, beside PyTorch, JAX, pfl-research and Flower, and how it grows.

    .venv/bin/python bench/simulation_speed.py            the full run, into bench/results/simulation_speed.json
    .venv/bin/python bench/simulation_speed.py --quick    one repetition, small growth, no file unless --out is given
    ... --venvs /tmp/peers                                where the peers' environments are or will be made

The task is in engines/task.py. Every contender is a process of its own (one BLAS thread); repetitions are interleaved, so
that a busy minute hits all of them. Figures are client-rounds per CPU-second, best and median over all timed rounds of all
repetitions; ``largest_difference`` is to the sequential PyTorch loop after one round, over all clients' weights where the
contender shows them (``compared: clients``), else of their mean. Where single clients differ by more than 1e-6 their number
stands beside it: a value before a ReLU within rounding of 0 can fall to either side, and that client's batch then has
another gradient. A contender that cannot be installed or fails is reported as absent, with the reason.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from wardround.drivers.simulation.environment import machine

HERE = Path(__file__).resolve().parent
ENGINES = HERE / "engines"
RESULT = HERE / "results" / "simulation_speed.json"
LIMIT_S = 1200
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Contender:
    """``venv`` with its packages, empty for our own environment."""

    name: str
    script: str
    mode: str = ""
    venv: str = ""
    packages: tuple[str, ...] = field(default=())


CONTENDERS = (
    Contender("PyTorch, sequential loop", "torch_loop.py"),
    Contender("wardround stacked", "ours.py", "stacked"),
    Contender("wardround stacked, a thread per core", "ours.py", "threads"),
    Contender("wardround, one client at a time", "ours.py", "alone"),
    Contender("JAX lax.map", "jax_map.py", "", "jax", ("jax==0.10.2", "numpy")),
    Contender("pfl-research 0.6.0", "pfl_backend.py", "", "pfl", ("pfl==0.6.0", "torch==2.13.0")),
    Contender("Flower 1.41.0 (Ray)", "flower_ray.py", "", "flwr", ("flwr[simulation]==1.41.0", "torch==2.13.0")),
)
BASE = CONTENDERS[0].name


def main() -> None:
    options = _arguments()
    growth = (10, 100) if options.quick else (10, 100, 1_000, 10_000)
    repetitions, rounds = (1, 2) if options.quick else (options.repetitions, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        found = compare(Path(options.venvs), Path(folder), repetitions, rounds)
        grown = [grow(clients, Path(folder)) for clients in growth]
    report = {
        "what": "simulation speed: 100 clients, MLP 45-128-96-19, 320 rows, batch 32, 10 SGD steps",
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": _output("git", "-C", str(HERE), "rev-parse", "HEAD"),
        "machine": machine(),
        "load_before": options.load,
        "load_after": os.getloadavg(),
        "seed": 20261123,
        "repetitions": repetitions,
        "rounds_each": rounds,
        "contenders": found,
        "growth": grown,
    }
    _print(report)
    out = options.out or (None if options.quick else RESULT)
    if out:
        out.write_text(json.dumps(report, indent=1) + "\n")
        print(f"written to {out}")


def compare(venvs: Path, folder: Path, repetitions: int, rounds: int) -> list[dict[str, Any]]:
    """Every contender's figures; absent ones with the reason."""
    pythons = {c.name: python(c, venvs) for c in CONTENDERS}
    runs: dict[str, list[dict[str, Any]]] = {c.name: [] for c in CONTENDERS}
    absent = {name: reason for name, (_, reason) in pythons.items() if reason}
    for _ in range(repetitions):
        for number, contender in enumerate(CONTENDERS):
            if contender.name not in absent:
                result = run(pythons[contender.name][0], contender, 100, rounds, folder / f"{number}.npz")
                if "absent" in result:
                    absent[contender.name] = result["absent"]
                runs[contender.name].append(result)
    rows: list[dict[str, Any]] = []
    for number, contender in enumerate(CONTENDERS):
        if contender.name in absent:
            rows.append({"name": contender.name, "absent": absent[contender.name]})
        else:
            near = difference(folder / f"{number}.npz", folder / "0.npz")
            rows.append({"name": contender.name, **figures(runs[contender.name], 100), **near})
    base = next((row for row in rows if row["name"] == BASE and "best_per_cpu_s" in row), None)
    for row in rows:
        if base and "best_per_cpu_s" in row:
            row["times_the_loop"] = row["best_per_cpu_s"] / base["best_per_cpu_s"]
            row["times_the_loop_median"] = row["median_per_cpu_s"] / base["median_per_cpu_s"]
    return rows


def figures(runs: list[dict[str, Any]], clients: int) -> dict[str, Any]:
    cpu = [c for r in runs for c in r["cpu_s"]]
    wall = [w for r in runs for w in r["wall_s"]]
    return {
        "best_per_cpu_s": clients / min(cpu),
        "median_per_cpu_s": clients / median(cpu),
        "best_per_wall_s": clients / min(wall),
        "median_per_wall_s": clients / median(wall),
        "first_round_s": min(r["first_round_s"] for r in runs),
        "peak_mib": max(r["peak_mib"] for r in runs),
        "cpu_s": cpu,
        "wall_s": wall,
        "versions": runs[0]["versions"],
    }


def difference(ours: Path, base: Path) -> dict[str, Any]:
    if not base.exists():
        return {}
    a, b = np.load(ours), np.load(base)
    what = "clients" if "clients" in a else "mean"
    gap = np.abs(a[what] - b[what]).reshape(-1, a[what].shape[-1]).max(axis=1)
    return {
        "compared": what,
        "largest_difference": float(gap.max()),
        "median_difference": float(np.median(gap)),
        "above_1e-6": int((gap > 1e-6).sum()),
    }


def grow(clients: int, folder: Path) -> dict[str, Any]:
    """Time and memory of our engine for one round of that many clients, a thread per core."""
    contender = Contender("growth", "ours.py", "threads")
    result = run(sys.executable, contender, clients, 1, folder / "growth.npz")
    if "absent" in result:
        return {"clients": clients, **result}
    data = clients * 320 * (45 * 4 + 8) / 2**20
    return {
        "clients": clients,
        "wall_s": min(result["wall_s"]),
        "cpu_s": min(result["cpu_s"]),
        "peak_mib": result["peak_mib"],
        "of_it_rows_mib": data,
    }


def python(contender: Contender, venvs: Path) -> tuple[str, str]:
    """(interpreter, why there is none); the environment is made where it is missing."""
    if not contender.venv:
        return sys.executable, ""
    home = venvs / contender.venv
    found = home / "bin" / "python"
    if not found.exists():
        print(f"making {home} for {contender.name}", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", str(home)], check=False, capture_output=True, text=True)
        if made.returncode:
            return "", f"no venv: {_last(made.stderr)}"
    done = home / "wardround-bench.txt"
    wanted = "\n".join(contender.packages)
    if not done.exists() or done.read_text() != wanted:
        command = [str(found), "-m", "pip", "install", "-q", *contender.packages]
        made = subprocess.run(command, check=False, capture_output=True, text=True)
        if made.returncode:
            return "", f"does not install: {_last(made.stderr)}"
        done.write_text(wanted)
    return str(found), ""


def run(interpreter: str, contender: Contender, clients: int, rounds: int, out: Path) -> dict[str, Any]:
    """The contender's own figures, or why there are none."""
    command = [interpreter, str(ENGINES / contender.script), "--clients", str(clients), "--rounds", str(rounds)]
    command += ["--mode", contender.mode, "--out", str(out)]
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ENGINES)}
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment, timeout=LIMIT_S, cwd=out.parent
        )
    except subprocess.TimeoutExpired:
        return {"absent": f"took longer than {LIMIT_S} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return {"absent": f"failed: {_last(done.stderr)}"}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _last(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no message"


def _output(*command: str) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


def _print(report: dict[str, Any]) -> None:
    print(f"{'':40}{'/CPU-s':>9}{'median':>9}{'x loop':>8}{'/s wall':>9}{'first s':>9}{'MiB':>7}  difference")
    for row in report["contenders"]:
        if "absent" in row:
            print(f"{row['name']:40} absent: {row['absent']}")
            continue
        times, gap = row.get("times_the_loop", float("nan")), row.get("largest_difference", float("nan"))
        print(
            f"{row['name']:40}{row['best_per_cpu_s']:9.0f}{row['median_per_cpu_s']:9.0f}{times:8.1f}"
            f"{row['best_per_wall_s']:9.0f}{row['first_round_s']:9.2f}{row['peak_mib']:7.0f}  {gap:.1e}"
        )
    for row in report["growth"]:
        print(row)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds in each repetition")
    parser.add_argument("--venvs", default=str(HERE.parent / ".cache" / "peers"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.load = os.getloadavg()
    return options


if __name__ == "__main__":
    main()
