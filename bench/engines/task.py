"""The task every contender solves, and how each is timed: numpy and the standard library only.

One round: ``clients`` clients start from the same MLP 45-128-96-19 (20,115 parameters, W [in, out] then b), take 10 SGD steps
of 32 of their own 320 rows at rate 0.05, and their weights are averaged. Every contender gets the same rows and the same
batches: client i's permutation comes from ``numpy.random.default_rng([SEED, i])``.
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

SEED, ROWS, BATCH, STEPS, RATE = 20261123, 320, 32, 10, 0.05
WIDTHS = (45, 128, 96, 19)


@functools.cache
def client(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows x [320, 45] float32 and y [320] int64 of one client."""
    rng = np.random.default_rng([SEED, number, 1])
    return rng.standard_normal((ROWS, WIDTHS[0]), dtype=np.float32), rng.integers(0, WIDTHS[-1], ROWS)


def stream(number: int) -> np.random.Generator:
    """The stream whose first permutation orders the client's rows."""
    return np.random.default_rng([SEED, number])


def batches(number: int) -> np.ndarray:
    """Row numbers [steps, batch]."""
    return stream(number).permutation(ROWS).reshape(STEPS, BATCH)


def start() -> list[np.ndarray]:
    """W1, b1, W2, b2, W3, b3 with W [in, out]."""
    rng = np.random.default_rng([SEED, 2**31])
    found = []
    for a, b in pairwise(WIDTHS):
        found += [rng.standard_normal((a, b), dtype=np.float32) * np.float32((2 / a) ** 0.5), np.zeros(b, np.float32)]
    return found


def flat(tensors: list[np.ndarray]) -> np.ndarray:
    """The tensors as one vector [d]."""
    return np.concatenate([np.asarray(t, dtype=np.float32).reshape(-1) for t in tensors])


def arguments() -> Any:
    """What simulation_speed.py tells a contender."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", default="")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def measure(options: Any, one_round: Callable[[], np.ndarray], weights: Callable[[], np.ndarray] | None) -> None:
    """Time ``one_round`` (which gives the mean [d]) after one untimed round, then report; ``weights``: [clients, d]."""
    began = time.perf_counter()
    mean = one_round()
    first = time.perf_counter() - began
    cpu, wall = [], []
    for _ in range(options.rounds):
        c, w = time.process_time(), time.perf_counter()
        one_round()
        cpu.append(time.process_time() - c)
        wall.append(time.perf_counter() - w)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report(options, {"cpu_s": cpu, "wall_s": wall, "first_round_s": first, "peak_mib": peak}, mean, weights)


def report(
    options: Any,
    figures: dict[str, Any],
    mean: np.ndarray,
    weights: Callable[[], np.ndarray] | None = None,
) -> None:
    """The last line of standard output is the result; the weights lie beside it."""
    arrays: dict[str, Any] = {"mean": mean, **({"clients": weights()} if weights is not None else {})}
    np.savez(options.out, **arrays)
    names = [n for n in ("wardround", "numpy", "torch", "jax", "pfl", "flwr", "ray") if n in _installed()]
    figures["versions"] = {"python": sys.version.split()[0], **{n: version(n) for n in names}}
    print(json.dumps(figures), flush=True)


def _installed() -> set[str]:
    from importlib.metadata import distributions

    return {d.metadata["Name"] for d in distributions()}
