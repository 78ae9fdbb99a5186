"""Time of every aggregation rule as a ratio to the plain mean, beside Flower's strategies and ByzFL.

    python bench/rules.py                                     the whole grid, into bench/results/rules.json
    python bench/rules.py --rows 10 --sizes 20000             a small try
    python bench/rules.py --peer flower=/PATH/python --peer byzfl=/PATH/python

Peers live in environments of their own (flwr 1.41.0; byzfl 0.0.11 with --no-deps, numpy, scipy and a CPU torch): this same
file runs there as ``--contender NAME``. ByzFL imports torchvision, which it does not need for its rules: a stub takes its
place. CPU time of one thread, the least of several repeats; the plain mean (the faster of numpy's mean and a matrix
product) is measured in the same process, so a ratio never compares two processes; with ``--tries`` a cell is measured in so
many processes, and the least of each time kept, for a machine that others use too. A contender that would need more memory
than ``--memory-gb`` or takes longer than ``--limit-s`` is named with that reason instead of a number.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import json
import math
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy is imported: one thread for everyone

import numpy as np  # noqa: E402

HERE = Path(__file__).resolve().parent
SEED = 20261123
HOSTILE = 0.2
VISION = ("torchvision", "torchvision.transforms", "torchvision.datasets", "torchvision.models")
STUBBED = (
    *VISION,
    "matplotlib",
    "matplotlib.pyplot",
    "seaborn",
    "sklearn",
    "sklearn.metrics",
)  # imported, not used by its rules
Case = tuple[Callable[[], Any], float]  # what to time, and the memory it needs beside the rows in bytes


def ours(rows: np.ndarray) -> dict[str, Case]:
    from wardround.aggregate.rules import RULES, Context

    weights, root = np.ones(len(rows)), rows.mean(axis=0)
    context = Context(root=root, loss=_loss, rng=np.random.default_rng(SEED))
    rules = {cls.name: cls(hostile=HOSTILE) for cls in RULES}
    for pre, name in (
        ("nnm", "trimmed-mean"),
        ("nnm", "geometric-median"),
        ("nnm", "mean"),
        ("arc", "mean"),
        ("bucketing", "krum"),
    ):
        rules[f"{pre}+{name}"] = replace(rules[name], pre=(pre,))
    extra = float(rows.nbytes)
    return {name: (partial(rule.combine, rows, weights, context), extra) for name, rule in rules.items()}


def _loss(change: np.ndarray) -> float:
    return float(change[:100].sum())


def flower(rows: np.ndarray) -> dict[str, Case]:
    from flwr.app import ArrayRecord, MetricRecord, RecordDict
    from flwr.common import Array
    from flwr.server.strategy import aggregate as legacy
    from flwr.serverapp.strategy import fedtrimmedavg, multikrum

    n, f = len(rows), math.ceil(HOSTILE * len(rows))
    listed = list(rows)
    results = [([row], 100) for row in rows]
    records = [
        RecordDict({"arrays": ArrayRecord({"w": Array(row)}), "m": MetricRecord({"num-examples": 100})}) for row in rows
    ]
    copy = float(rows.nbytes)
    return {
        "mean": (lambda: legacy.aggregate(results), 2 * copy),
        "median": (lambda: np.median(np.stack(listed), axis=0), 3 * copy),
        "trimmed-mean": (lambda: fedtrimmedavg.trim_mean(np.stack(listed), HOSTILE), 3 * copy),
        "krum": (lambda: legacy.aggregate_krum(results, f, 0), copy),
        "multi-krum": (lambda: multikrum.select_multikrum(records, f, n - f), 2 * copy),
        "bulyan": (
            lambda: legacy.aggregate_bulyan(list(results), max((n - 3) // 4, 0), legacy.aggregate_krum, to_keep=0),
            3 * copy,
        ),
    }


def byzfl(rows: np.ndarray) -> dict[str, Case]:
    for name in STUBBED:
        sys.modules[name] = MagicMock(name=name, __spec__=None)
    import byzfl as peer  # type: ignore[import-not-found]
    import torch

    torch.set_num_threads(1)
    n, f, tensor = len(rows), math.ceil(HOSTILE * len(rows)), torch.from_numpy(rows)
    copy = float(rows.nbytes)
    cases: dict[str, Case] = {}
    before = {"nnm": (peer.NNM(f), n - f), "arc": (peer.ARC(f), 3)}  # and the copies of the rows it holds
    for kind, data in (("numpy", rows), ("torch", tensor)):
        steps = 3 if kind == "numpy" else 32
        rules = {
            "mean": peer.Average(),
            "median": peer.Median(),
            "trimmed-mean": peer.TrMean(f),
            "krum": peer.Krum(f),
            "multi-krum": peer.MultiKrum(f),
            f"geometric-median, {steps} steps": peer.GeometricMedian(nu=1e-6, T=steps),
            "centred-clipping": peer.CenteredClipping(L=10, tau=10.0),
        }
        for name, rule in rules.items():
            cases[f"{name} ({kind})"] = (partial(rule, data), 3 * copy)
        for name in ("mean", "trimmed-mean", f"geometric-median, {steps} steps"):
            for first, (mix, copies) in before.items():
                cases[f"{first}+{name} ({kind})"] = (partial(_after, mix, rules[name], data), copies * copy)
    return cases


def _after(mix: Callable[[Any], Any], rule: Callable[[Any], Any], data: Any) -> Any:
    return rule(mix(data))


CONTENDERS = {"ours": ours, "flower": flower, "byzfl": byzfl}
PACKAGES = {"ours": ("numpy",), "flower": ("numpy", "flwr"), "byzfl": ("numpy", "torch", "byzfl")}


def seconds(work: Callable[[], Any]) -> float:
    """Least CPU time of the repeats: at least two, nine or a quarter of a second of short ones, a second in all."""
    taken: list[float] = []
    while len(taken) < 2 or (sum(taken) < 1.0 and (len(taken) < 9 or (sum(taken) < 0.25 and len(taken) < 300))):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
        if taken[-1] > 5:
            break
    return min(taken)


def measure(contender: str, n: int, d: int, limits: tuple[float, float]) -> dict[str, Any]:
    memory_gb, limit_s = limits
    rows = np.random.default_rng([SEED, n, d]).standard_normal((n, d), dtype=np.float32)
    weights = np.full(n, 1.0 / n, dtype=np.float32)
    plain = min(seconds(lambda: rows.mean(axis=0)), seconds(lambda: weights @ rows))
    found: dict[str, Any] = {}
    for name, (work, extra) in CONTENDERS[contender](rows).items():
        need = (rows.nbytes + extra) / 1e9
        found[name] = {"skipped": f"would need {need:.0f} GB"} if need > memory_gb else _timed(work, plain, limit_s)
    versions = {package: importlib.metadata.version(package) for package in PACKAGES[contender]}
    return {"contender": contender, "rows": n, "size": d, "mean_ms": plain * 1e3, "versions": versions, "rules": found}


def _timed(work: Callable[[], Any], plain: float, limit_s: float) -> dict[str, Any]:
    """Time ``work`` in a forked child that shares the rows and can be ended whatever it is doing."""
    fork = multiprocessing.get_context("fork")
    receive, send = fork.Pipe(duplex=False)
    child = fork.Process(target=_tell, args=(work, send))
    child.start()
    send.close()
    try:
        if not receive.poll(limit_s):
            child.kill()
            return {"skipped": f"over {limit_s:g} s"}
        answer = receive.recv()
    except EOFError:
        return {"skipped": "the process ended without an answer (out of memory?)"}
    finally:
        child.join()
    return {"skipped": answer} if isinstance(answer, str) else {"ms": answer * 1e3, "ratio": answer / plain}


def _tell(work: Callable[[], Any], send: Connection) -> None:
    try:
        send.send(seconds(work))
    except Exception as error:  # noqa: BLE001 - a peer's rule that fails is a result
        send.send(f"fails: {type(error).__name__}: {error}"[:200])


def cell(python: str, contender: str, n: int, d: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One contender at one size in a process of its own: a crash or an exhausted memory costs one cell."""
    command = [python, __file__, "--contender", contender, "--rows", str(n), "--sizes", str(d)]
    command += ["--memory-gb", str(arguments.memory_gb), "--limit-s", str(arguments.limit_s)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"contender": contender, "rows": n, "size": d, "skipped": f"exit {done.returncode}: {last}"[:300]}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def least(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """One cell of several tries: the least time of the plain mean and of every rule."""
    measured = [each for each in answers if "rules" in each]
    if not measured:
        return answers[0]
    mean, rules = min(each["mean_ms"] for each in measured), {}
    for name, first in measured[0]["rules"].items():
        times = [each["rules"][name]["ms"] for each in measured if "ms" in each["rules"][name]]
        rules[name] = {"ms": min(times), "ratio": min(times) / mean} if times else first
    return {**measured[0], "mean_ms": mean, "rules": rules}


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}


def show(answer: dict[str, Any]) -> None:
    where = f"{answer['contender']:>7} {answer['rows']:>5} x {answer['size']:<8}"
    if "skipped" in answer:
        print(f"{where} {answer['skipped']}")
        return
    print(f"{where} mean {answer['mean_ms']:.3f} ms")
    for name, result in answer["rules"].items():
        text = result.get("skipped") or f"{result['ms']:10.2f} ms  x{result['ratio']:.1f}"
        print(f"{'':>12}{name:<40}{text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 100_000, 1_000_000])
    parser.add_argument("--peer", action="append", default=[], help="NAME=PYTHON of an environment that holds the peer")
    parser.add_argument("--contender", choices=CONTENDERS, help="measure this one here and print JSON")
    parser.add_argument("--memory-gb", type=float, default=12.0)
    parser.add_argument("--limit-s", type=float, default=60.0)
    parser.add_argument("--tries", type=int, default=1, help="measure every cell so often and keep the least times")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "rules.json")
    arguments = parser.parse_args()
    limits = (arguments.memory_gb, arguments.limit_s)
    if arguments.contender:
        print(json.dumps(measure(arguments.contender, arguments.rows[0], arguments.sizes[0], limits)))
        return
    pythons = {"ours": sys.executable, **dict(peer.split("=", 1) for peer in arguments.peer)}
    date = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    result: dict[str, Any] = {
        "what": "CPU time of aggregation rules, one thread",
        "date": date,
        "seed": SEED,
        "machine": machine(),
        "cells": [],
    }
    for n in arguments.rows:
        for d in arguments.sizes:
            for contender, python in pythons.items():
                tries = [cell(python, contender, n, d, arguments) for _ in range(arguments.tries)]
                result["cells"].append(least(tries))
                show(result["cells"][-1])
                arguments.out.write_text(json.dumps(result, indent=1) + "\n")  # after every cell: a long run may be cut


if __name__ == "__main__":
    main()
