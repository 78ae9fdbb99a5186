"""What a report says of false alarms: rates with their uncertainty, by type of device and by site, and drift; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wardround.drivers.sinks.numerals import DASH, count, fixed, percent
from wardround.drivers.sinks.runfiles import RunFiles

MOST = 40
"""Rows of the table; the rest are counted."""
FEW = 3
"""Inputs named where some have drifted."""


def has(run: RunFiles) -> bool:
    """Was the federated model's threshold tried on test rows?"""
    return bool(_found(run).get("groups"))


def rates(run: RunFiles) -> list[tuple[str, list[str]]]:
    """(asked rate, [attacks found, 95 %, benign rows]) of the federated model."""
    return [(percent(row["rate"], 2), _rate(row)) for row in _found(run).get("tpr_at", ())]


def groups(run: RunFiles) -> tuple[list[tuple[str, list[str]]], int]:
    """(name, [benign rows, false alarms, 95 %, attacks, found, score drift]), the noisiest of each kind first; how many more."""
    listed: Sequence[Mapping[str, Any]] = _found(run).get("groups", ())
    order = {"all": 0, "type": 1, "site": 2}
    rows = sorted(listed, key=lambda row: (order[row["group"]], -(row["fpr"] or 0.0)))
    titles = {"all": "", "type": "type ", "site": "site "}
    return [(titles[row["group"]] + str(row["name"]), _group(row)) for row in rows[:MOST]], max(0, len(rows) - MOST)


def drifted(run: RunFiles) -> str:
    """How far test rows lie from the training rows, in words."""
    drift = _found(run).get("drift") or {}
    inputs = drift.get("inputs") or []
    if not inputs:
        return ""
    largest = ", ".join(f"{name} {fixed(value, 2)}" for name, value in inputs[:FEW])
    return (
        f"Stability index (PSI) of the model's inputs, test rows against the federation's training rows: "
        f"{drift.get('large', 0)} of {len(inputs)} shifted much (0.25 or more); the largest: {largest}."
    )


def _found(run: RunFiles) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (run.part("models").get("federated") or {}).get("alarms") or {}
    return found


def _rate(row: Mapping[str, Any]) -> list[str]:
    if row["recall"] is None:
        return ["not verifiable", DASH, count(row["benign"])]
    return [percent(row["recall"]), _between(row["interval"], 1), count(row["benign"])]


def _group(row: Mapping[str, Any]) -> list[str]:
    below = "below " if not row["false"] and row["fpr"] is not None else ""
    return [
        count(row["benign"]),
        below + percent(row["fpr"], 2),
        _between(row["fpr_interval"], 2) if row["benign"] else DASH,
        count(row["attacks"]),
        percent(row["recall"]),
        fixed(row["psi"], 2),
    ]


def _between(interval: Sequence[float], digits: int) -> str:
    low, high = interval
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f} %"
