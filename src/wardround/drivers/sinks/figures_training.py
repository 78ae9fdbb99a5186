"""Figures over the rounds: learning curves, who took part, traffic, loss and the size of the server's step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from wardround.drivers.sinks.figures_style import INK, MODEL_INK, canvas
from wardround.drivers.sinks.numerals import size
from wardround.drivers.sinks.runfiles import RunFiles, series

MEASURES = (("macro_f1", "macro-F1"), ("balanced_accuracy", "balanced accuracy"), ("roc_auc", "ROC-AUC"))
FATES = (
    ("answered", "fed"),
    ("offline", "idle"),
    ("dropped", "drop"),
    ("late", "late"),
    ("refused", "cen"),
)


def learning(run: RunFiles) -> Figure:
    """Macro-F1, balanced accuracy and ROC-AUC over the rounds, with the baselines as level lines."""
    figure, axes = canvas(3.7, widths=(2.1, 1, 1))
    for panel, (measure, title) in zip(axes, MEASURES, strict=True):
        learning_panel(panel, run, measure)
        panel.set_title(title)
    if axes[0].lines:
        axes[0].legend(loc="lower right")
    return figure


def learning_panel(panel: Axes, run: RunFiles, measure: str) -> None:
    """One measure over the rounds, on ``panel``."""
    curve = run.rows("curve")
    at = series(curve, "round")
    drawn = [*series(curve, "validation", measure), *series(curve, "test", measure)]
    panel.plot(
        at,
        series(curve, "validation", measure),
        color=INK["fed"],
        label="federated, validation (what the server knows)",
    )
    _sparse(panel, at, series(curve, "test", measure))
    for name in ("centralised", "local"):
        value = series([run.overall(name) or {}], measure)[0]
        drawn.append(value)
        if math.isfinite(value):
            label = "centralised, test" if name == "centralised" else "local-only, test (mean of the clients)"
            panel.axhline(value, color=MODEL_INK[name], linestyle=(0, (5, 2)), linewidth=1.4, label=label)
    known = [value for value in drawn if math.isfinite(value)]
    if known:
        kept = run.metrics.get("kept_round")
        if kept is not None:
            panel.axvline(kept, color=INK["muted"], linewidth=1, linestyle=":", label=f"kept model (round {kept})")
        low, high = min(known), max(known)
        room = max(0.02, 0.06 * (high - low))
        panel.set_ylim(max(0.0, low - room), min(1.0, high + room) + 0.002)
    else:
        panel.text(0.5, 0.5, "not measured", ha="center", transform=panel.transAxes, color=INK["muted"])
        panel.set_yticks([])
    _rounds(panel)


def participation(run: RunFiles) -> Figure:
    """What became of the invited clients in every round; rounds that failed are marked."""
    rounds = run.rows("rounds")
    figure, (panel,) = canvas(2.6)
    at = np.array(series(rounds, "round"))
    base = np.zeros(len(at))
    for fate, ink in FATES:
        number = np.nan_to_num(np.array(series(rounds, fate)))
        if number.any():
            panel.bar(at, number, bottom=base, width=0.85 if len(at) < 80 else 1.0, color=INK[ink], label=fate)
            base = base + number
    invited = np.nan_to_num(np.array(series(rounds, "invited")))
    failed = np.array([row.get("failed") is not None for row in rounds], dtype=bool)
    if failed.any():
        unknown = np.where(failed, np.maximum(invited - base, 0), 0)
        panel.bar(at, unknown, bottom=base, width=0.85, color="none", edgecolor=INK["bad"], linewidth=0.8)
        marks: dict[str, Any] = {
            "color": INK["bad"],
            "marker": "x",
            "linestyle": "none",
            "markersize": 6,
            "markeredgewidth": 1.8,
        }
        panel.plot(at[failed], invited[failed] * 1.04, label="failed round", **marks)
    panel.set_ylabel("clients")
    panel.grid(visible=False, axis="x")
    panel.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    _rounds(panel)
    figure.legend(loc="outside upper right", ncols=len(FATES) + 1)
    return figure


def traffic(run: RunFiles) -> Figure:
    """Bytes of every round, bytes so far, and what quality these had bought."""
    figure, (each, total, bought) = canvas(3.0, widths=(1, 1, 1))
    rounds = [row for row in run.rows("rounds") if row.get("failed") is None]
    at = series(rounds, "round")
    for key, label, ink in (
        ("bytes_up", "up, from the clients", "fed"),
        ("bytes_down", "down, to the clients", "late"),
    ):
        number = np.array(series(rounds, key))
        each.plot(at, number, color=INK[ink], label=label, linewidth=1.5)
        total.plot(at, np.cumsum(np.nan_to_num(number)), color=INK[ink], linewidth=1.5)
    each.set_title("bytes per round, all clients")
    each.legend()
    total.set_title("bytes so far")
    for panel in (each, total):
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: size(value)))
        panel.set_ylim(bottom=0)
        _rounds(panel)
    _each_way(bought, run)
    bought.set_title("macro-F1 against bytes so far")
    return figure


def _each_way(panel: Axes, run: RunFiles) -> None:
    """Validation macro-F1 over the bytes up and over the bytes down until then; dashed, with a logarithmic scale that holds
    both: over the bytes that whole float32 vectors would have taken.
    """
    curve, whole = run.rows("curve"), _whole(run)
    f1, fewer = series(curve, "validation", "macro_f1"), []
    for key, name, ink in (("bytes_up", "up", "fed"), ("bytes_down", "down", "late")):
        ours = series(curve, key)
        panel.plot(ours, f1, color=INK[ink], linewidth=1.5)
        if whole:
            at = [whole.get(number, (math.nan, math.nan))[name == "down"] for number in series(curve, "round")]
            panel.plot(at, f1, color=INK[ink], linewidth=1.2, linestyle=(0, (5, 2)))
            if at and ours[-1] > 0 and math.isfinite(at[-1]):
                fewer.append(f"{at[-1] / ours[-1]:.3g} times {name}")
    bytes_ = FuncFormatter(lambda value, _: size(value))
    if not whole:
        panel.set_xlabel("up and down")
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.xaxis.set_major_formatter(bytes_)
        return
    panel.set_xscale("log")  # puts a formatter of its own in place
    panel.xaxis.set_major_formatter(bytes_)
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.xaxis.set_major_locator(LogLocator(numticks=5))
    panel.set_xlabel("up and down; dashed: whole vectors" + (f",\n{', '.join(fewer)}" if fewer else ""))


def _whole(run: RunFiles) -> dict[float, tuple[float, float]]:
    """{round: bytes (up, down) until then}, had whole float32 vectors travelled; empty where they did."""
    dense = run.part("bytes")
    if not dense.get("dense_up"):
        return {}
    up, down, setup = 0.0, 0.0, float(dense.get("dense_setup") or 0)
    spent: dict[float, tuple[float, float]] = {}
    for row in run.rows("rounds"):
        up += float(dense["dense_up"]) * float(row.get("answered") or 0)
        down += (float(dense["dense_down"]) + (setup if not spent else 0.0)) * float(row.get("invited") or 0)
        spent[float(row["round"])] = up, down
    return spent


def steps(run: RunFiles) -> Figure:
    """Training loss of the clients that answered, and the length of the server's step."""
    figure, (loss, norm) = canvas(2.7, widths=(1, 1))
    rounds = [row for row in run.rows("rounds") if row.get("failed") is None]
    at = series(rounds, "round")
    loss.plot(at, series(rounds, "loss"), color=INK["fed"])
    loss.set_title("mean training loss of the clients")
    norm.plot(at, series(rounds, "update_norm"), color=INK["ink"], linewidth=1.4)
    norm.set_title("length of the aggregated update (L2)")
    for panel in (loss, norm):
        panel.set_ylim(bottom=0)
        _rounds(panel)
    return figure


def overlay(runs: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], inks: Sequence[str]) -> Figure:
    """Validation macro-F1 of several runs over rounds and over bytes. ``runs`` holds (label, curve) pairs."""
    figure, (by_round, by_bytes) = canvas(4.0, widths=(1.4, 1))
    seen: set[str] = set()
    for (label, curve), ink in zip(runs, inks, strict=True):
        f1 = series(curve, "validation", "macro_f1")
        by_round.plot(series(curve, "round"), f1, color=ink, label="_" if label in seen else label, linewidth=1.5)
        _bought(by_bytes, curve, ink)
        seen.add(label)
    by_round.set_title("validation macro-F1")
    _rounds(by_round)
    by_bytes.set_title("against bytes so far")
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def _bought(panel: Axes, curve: Sequence[Mapping[str, Any]], ink: str) -> None:
    """Validation macro-F1 over the bytes that crossed the network until then, both ways."""
    total = np.array(series(curve, "bytes_up")) + np.array(series(curve, "bytes_down"))
    panel.plot(total, series(curve, "validation", "macro_f1"), color=ink, linewidth=1.5)
    panel.set_xlabel("up and down")
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size(value)))
    panel.xaxis.set_major_locator(MaxNLocator(4))


def _sparse(panel: Axes, at: Sequence[float], values: Sequence[float]) -> None:
    """The test curve: it may have points at some rounds only."""
    points = [(x, y) for x, y in zip(at, values, strict=True) if math.isfinite(y)]
    if points:
        x, y = zip(*points, strict=True)
        marker = "o" if len(points) <= 30 else ""
        look: dict[str, Any] = {"color": INK["ink"], "linewidth": 1.3, "marker": marker, "markersize": 3.2}
        panel.plot(x, y, label="federated, test (only the experimenter knows)", **look)


def _rounds(panel: Axes) -> None:
    panel.set_xlabel("round")
    panel.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
