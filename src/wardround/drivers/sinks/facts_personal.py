"""What a report says of what each client gets: three numbers per client, for the common model and for its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wardround.drivers.sinks.numerals import count, fixed
from wardround.drivers.sinks.runfiles import RunFiles, series

MEASURES = {
    "accuracy": "accuracy on the client's own test rows",
    "macro_f1_present": "macro-F1 over the classes in its own test rows",
    "everybody_macro_f1": "macro-F1 on everybody's test rows",
    "unseen_recall": "recall of classes it never had",
}


def has(run: RunFiles) -> bool:
    """Whether the run measured it."""
    return bool(run.part("personal").get("clients"))


def strategies(run: RunFiles) -> str:
    """Which model is meant by the client's own."""
    part = run.part("personal")
    kinds = {"personal models": part.get("use"), "prior correction": part.get("prior")}
    used = [f"{what} {name}" for what, name in kinds.items() if name and name != "none"]
    return f"The client's own model: {' and '.join(used)}." if used else "No client has a model of its own in this run."


def table(run: RunFiles) -> list[tuple[str, list[str]]]:
    """(measure, [common mean, common worst tenth, own mean, own worst tenth])."""
    part = run.part("personal")
    rows = []
    for key, title in MEASURES.items():
        cells = [fixed(_one(part, kind, key, which)) for kind in ("common", "own") for which in ("mean", "worst_tenth")]
        rows.append((title, cells))
    return rows


def late(run: RunFiles) -> list[tuple[str, list[str]]]:
    """The few-shot curve: (labelled rows, [own traffic, everybody's, classes never had]) of clients that join late."""
    points = run.part("personal").get("late") or ()
    keys = ("macro_f1_present", "everybody_macro_f1", "unseen_recall")
    return [(count(point.get("rows")), [fixed(_one(point, "own", key, "mean")) for key in keys]) for point in points]


def _one(part: Mapping[str, Any], kind: str, key: str, which: str) -> float:
    return series([part], kind, key, which)[0]
