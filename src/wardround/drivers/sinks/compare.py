"""Runs side by side: what each experiment reached, with mean and spread over its seeds, and which keys differ.

Runs whose experiment files agree in every key but the seed are one group; a second run with the same seed is not a
second sample and begins another group. The spread is the sample standard deviation
(n - 1) over seeds; one seed has none. Nothing is tested for significance: with three seeds a test would mislead.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from wardround.drivers.sinks import facts
from wardround.drivers.sinks.numerals import DASH, duration, fixed, percent, size
from wardround.drivers.sinks.runfiles import RunFiles, load
from wardround.errors import UsageError

ABSENT = "(not set)"
HINT = "* not verifiable: too few benign test rows to measure so small a false-positive rate; read it as a hint."
_WORDS = frozenset({"seed", "name", "about"})  # keys that do not change what is computed, or are what one averages over
_INKS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8d99a8")


@dataclass(frozen=True)
class Spread:
    """Mean over ``n`` runs that have the number, and its standard deviation (None for fewer than two).

    ``hint``: a recall at a false-positive rate that too few benign test rows can support in one of the runs.
    """

    mean: float | None
    std: float | None
    n: int
    hint: bool = False


@dataclass(frozen=True)
class Runs:
    """Runs of one experiment: a label, their ids and seeds, and every measure over them."""

    label: str
    ids: tuple[str, ...]
    seeds: tuple[int | None, ...]
    measures: Mapping[str, Spread]


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, and (key, value per group) for each key of the experiment in which they differ."""

    groups: tuple[Runs, ...]
    differing: tuple[tuple[str, tuple[str, ...]], ...]


def compare(folders: Sequence[Path]) -> Comparison:
    """Compare finished runs.

    Raises:
        UsageError: no run is named.
        DataError: a folder holds no finished run, or a file of it is damaged.
    """
    return _compare(_grouped([load(folder) for folder in folders]))


def render(comparison: Comparison) -> RenderableType:
    """Tables for the console."""
    table = Table(title="runs side by side", title_justify="left")
    table.add_column("measure")
    for group in comparison.groups:
        table.add_column(Text(f"{group.label}\n{_seeds(group)}"), justify="right")
    for title, _, write in _MEASURES:
        table.add_row(title, *(shown(group.measures[title], write) for group in comparison.groups))
    lines: list[RenderableType] = [table]
    if hints(comparison):
        lines.append(Text(HINT))
    if not comparison.differing:
        return Lines(*lines, Text("The experiments do not differ but for the seed."))
    keys = Table(title="keys that differ", title_justify="left")
    for column in ("key", *(group.label for group in comparison.groups)):
        keys.add_column(Text(column))
    for key, values in comparison.differing:
        keys.add_row(Text(key), *(Text(value) for value in values))
    return Lines(*lines, keys)


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """Write an HTML page with the tables and the runs' curves over each other; returns ``out``.

    Raises:
        UsageError, DataError: as ``compare``.
    """
    from wardround.drivers.sinks import figures_training
    from wardround.drivers.sinks.report import draw, write_page
    from wardround.drivers.sinks.report import render as page

    groups = _grouped([load(folder) for folder in folders])
    comparison = _compare(groups)
    curves, inks = [], []
    for number, (group, runs) in enumerate(zip(comparison.groups, groups, strict=True)):
        curves += [(group.label, run.rows("curve")) for run in runs]
        inks += [_INKS[number % len(_INKS)]] * len(runs)
    names = ", ".join(group.label for group in comparison.groups)
    alt = f"Validation macro-F1 over rounds and over bytes for {names}; the table has the final numbers."
    picture = draw(
        lambda: figures_training.overlay(curves, inks), "overlay", alt, "One line per run, one colour per experiment."
    )
    rows = [
        (title, [shown(group.measures[title], write) for group in comparison.groups]) for title, _, write in _MEASURES
    ]
    seeds = [_seeds(group) for group in comparison.groups]
    return write_page(
        out,
        page(
            "compare.html.j2",
            comparison=comparison,
            rows=rows,
            seeds=seeds,
            picture=picture,
            hint=HINT if hints(comparison) else "",
        ),
    )


def hints(comparison: Comparison) -> bool:
    """Whether a number is marked as a hint."""
    return any(each.hint for group in comparison.groups for each in group.measures.values())


def shown(spread: Spread, write: Callable[[float | None], str]) -> str:
    """``0.812 ± 0.004``; without the spread where there is none; a hint is marked by a star."""
    if spread.mean is None:
        return DASH
    return (
        write(spread.mean)
        + (f" ± {write(spread.std)}" if spread.std is not None else "")
        + (" *" if spread.hint else "")
    )


def spread(values: Sequence[float | None]) -> Spread:
    """Mean and sample standard deviation of the numbers that are there."""
    there = [value for value in values if value is not None]
    if not there:
        return Spread(None, None, 0)
    return Spread(statistics.fmean(there), statistics.stdev(there) if len(there) > 1 else None, len(there))


def _of(model: str, *keys: str) -> Callable[[RunFiles], float | None]:
    return lambda run: facts.score(run, model, *keys)


def _in(part: str, key: str) -> Callable[[RunFiles], float | None]:
    return lambda run: run.part(part).get(key)


def _worst_tenth(run: RunFiles) -> float | None:
    federated = run.part("models").get("federated") or {}
    value: float | None = ((federated.get("spread") or {}).get("macro_f1") or {}).get("worst_tenth")
    return value


_MEASURES: tuple[tuple[str, Callable[[RunFiles], float | None], Callable[[float | None], str]], ...] = (
    ("macro-F1, federated", _of("federated", "macro_f1"), fixed),
    ("macro-F1, centralised", _of("centralised", "macro_f1"), fixed),
    ("macro-F1, local-only", _of("local", "macro_f1"), fixed),
    ("macro-F1, worst tenth of clients", _worst_tenth, fixed),
    ("balanced accuracy, federated", _of("federated", "balanced_accuracy"), fixed),
    ("ROC-AUC, federated", _of("federated", "roc_auc"), fixed),
    ("recall at 1 % false positives", _of("federated", "recall_at_fpr", "0.01", "recall"), percent),
    ("recall at 0.1 % false positives", _of("federated", "recall_at_fpr", "0.001", "recall"), percent),
    ("bytes up, a client", _in("bytes", "up_per_client"), size),
    ("bytes down, a client", _in("bytes", "down_per_client"), size),
    ("processor time", lambda run: run.timing.get("cpu_s"), duration),
)
_RATES = {"recall at 1 % false positives": "0.01", "recall at 0.1 % false positives": "0.001"}


def _grouped(runs: Sequence[RunFiles]) -> list[list[RunFiles]]:
    if not runs:
        raise UsageError("name at least one run to compare")
    groups: dict[tuple[str, int], list[RunFiles]] = {}
    seen: list[tuple[str, Any]] = []
    for run in runs:
        settings, seed = json.dumps(_settings(run), sort_keys=True, default=str), run.metrics.get("seed")
        groups.setdefault((settings, seen.count((settings, seed))), []).append(run)
        seen.append((settings, seed))
    return list(groups.values())


def _compare(groups: Sequence[Sequence[RunFiles]]) -> Comparison:
    labels = _labels([str(runs[0].metrics.get("experiment") or runs[0].id) for runs in groups])
    settings = [_settings(runs[0]) for runs in groups]
    keys = sorted({key for each in settings for key in each})
    rows = [(key, tuple(_value(each, key) for each in settings)) for key in keys]
    return Comparison(
        groups=tuple(_runs(label, runs) for label, runs in zip(labels, groups, strict=True)),
        differing=tuple((key, values) for key, values in rows if len(set(values)) > 1),
    )


def _runs(label: str, runs: Sequence[RunFiles]) -> Runs:
    measures = {title: spread([get(run) for run in runs]) for title, get, _ in _MEASURES}
    for title, rate in _RATES.items():
        hint = any(facts.is_hint(run, "federated", rate) for run in runs)
        measures[title] = replace(measures[title], hint=hint)
    return Runs(label, tuple(run.id for run in runs), tuple(run.metrics.get("seed") for run in runs), measures)


def _settings(run: RunFiles) -> dict[str, Any]:
    return {key: value for key, value in run.settings().items() if key not in _WORDS}


def _value(settings: Mapping[str, Any], key: str) -> str:
    return json.dumps(settings[key], ensure_ascii=False, default=str) if key in settings else ABSENT


def _labels(names: Sequence[str]) -> list[str]:
    """The names, told apart by a number where two groups share one."""
    return [
        f"{name} #{names[: at + 1].count(name)}" if names.count(name) > 1 else name for at, name in enumerate(names)
    ]


def _seeds(group: Runs) -> str:
    seeds = ", ".join(str(seed) for seed in group.seeds)
    return f"{'seed' if len(group.seeds) == 1 else 'seeds'} {seeds}"
