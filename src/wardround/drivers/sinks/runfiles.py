"""What a finished run left in its folder, read for the report and for comparisons.

``metrics.json`` is required; the other files may be missing (an older or an interrupted run), and then say nothing.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wardround.drivers.sinks.jsonlog import read
from wardround.errors import DataError
from wardround.events import Event

FORMAT = 1
MODELS = ("federated", "centralised", "local")


@dataclass(frozen=True)
class RunFiles:
    """One run: its id, the parsed files, the experiment as text, the event log, the trial (empty: none was made)."""

    id: str
    metrics: Mapping[str, Any]
    timing: Mapping[str, Any]
    environment: Mapping[str, Any]
    experiment: str
    log: tuple[Event, ...]
    trial: Mapping[str, Any] = field(default_factory=dict)

    def overall(self, model: str) -> Mapping[str, Any] | None:
        """The test measures of ``federated``, ``centralised`` or ``local``; None if that model was not made."""
        found = (self.metrics.get("models") or {}).get(model)
        return found.get("overall") or None if found else None

    def clients_of(self, model: str) -> Sequence[Mapping[str, Any]]:
        found = (self.metrics.get("models") or {}).get(model)
        return found.get("clients") or () if found else ()

    @property
    def classes(self) -> list[str]:
        return [str(name) for name in self.part("data").get("classes") or ()]

    def part(self, name: str) -> Mapping[str, Any]:
        return self.metrics.get(name) or {}

    def rows(self, name: str) -> Sequence[Mapping[str, Any]]:
        return self.metrics.get(name) or ()

    def settings(self) -> dict[str, Any]:
        """The experiment's keys, dotted.

        Raises:
            DataError: it is not TOML.
        """
        try:
            return dict(_flat(tomllib.loads(self.experiment), ""))
        except tomllib.TOMLDecodeError as error:
            raise DataError(f"experiment.toml of run {self.id} is damaged: {error}") from error


def load(folder: Path) -> RunFiles:
    """The files of a run folder.

    Raises:
        DataError: there are no metrics, or a file that is there is damaged.
    """
    if not (folder / "metrics.json").is_file():
        raise DataError(
            f"{folder} holds no metrics.json: not a run's folder, or the run is not finished (wardround resume)"
        )
    metrics = _json(folder / "metrics.json")
    if metrics.get("format") != FORMAT:
        raise DataError(f"{folder / 'metrics.json'} has format {metrics.get('format')!r}; this version reads {FORMAT}")
    return RunFiles(
        id=folder.resolve().name,
        metrics=metrics,
        timing=_json(folder / "timing.json"),
        environment=_json(folder / "environment.json"),
        experiment=_text(folder / "experiment.toml"),
        log=tuple(read(folder / "log.jsonl")) if (folder / "log.jsonl").is_file() else (),
        trial=_json(folder / "trial.json"),
    )


def series(rows: Sequence[Mapping[str, Any]], *keys: str) -> list[float]:
    """One number per row, found by following ``keys``; NaN where it is null or missing."""
    return [_number(row, keys) for row in rows]


def _number(row: Any, keys: Sequence[str]) -> float:
    for key in keys:
        row = row.get(key) if isinstance(row, Mapping) else None
    return float(row) if isinstance(row, int | float) else math.nan


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path) or "{}")
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} is damaged: it must hold a JSON object")
    return value


def _flat(table: Mapping[str, Any], before: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in table.items():
        pairs += _flat(value, f"{before}{key}.") if isinstance(value, dict) else [(before + key, value)]
    return pairs
