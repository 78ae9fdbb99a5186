"""Cells of the tables that bench/results/personal.json fills: cases of a table, means and spreads over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

Found = dict[str, Any]
Read = Callable[[dict[str, Any]], float | None]


def cases(found: Found, name: str) -> list[Found]:
    """The cases of a table that have been run."""
    return [case for case in found["cases"].values() if case["table"] == name and case["seeds"]]


def index(found: Found, name: str) -> dict[str, Found]:
    """The same by name."""
    return {case["name"]: case for case in cases(found, name)}


def first(case: Found) -> dict[str, Any]:
    """The first seed's figures."""
    found: dict[str, Any] = next(iter(case["seeds"].values()))
    return found


def values(case: Found, read: Read) -> list[float]:
    """What ``read`` finds in each seed."""
    return [value for seed in case["seeds"].values() if (value := read(seed)) is not None]


def mean(case: Found, read: Read) -> float:
    """Mean over seeds; NaN where there is none."""
    found = values(case, read)
    return statistics.fmean(found) if found else float("nan")


def spread(case: Found, read: Read) -> str:
    """Mean and deviation over seeds; whole numbers without decimals."""
    found = values(case, read)
    if not found:
        return "–"
    digits = 0 if all(isinstance(value, int) for value in found) else 3
    deviation = f" ± {statistics.stdev(found):.{digits}f}" if len(found) > 1 else ""
    return f"{statistics.fmean(found):.{digits}f}{deviation}"


def title(case: Found) -> str:
    """The case's name and how many seeds it has, where more than one."""
    return str(case["name"]) + (f" ({len(case['seeds'])})" if len(case["seeds"]) > 1 else "")


def kilobytes(way: str) -> Read:
    """kB per client over the whole run, rounded."""
    return lambda seed: round(seed[f"bytes_{way}_per_client"] / 1000)
