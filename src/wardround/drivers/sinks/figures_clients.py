"""Figures over the clients: what each one's training rows are, and how well each one is served."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from wardround.drivers.sinks.figures_style import CLASSES, INK, canvas
from wardround.drivers.sinks.numerals import count, fixed
from wardround.drivers.sinks.runfiles import RunFiles, series

FEW = 40  # clients that can each have a line with a name
HEAT = LinearSegmentedColormap.from_list("share", ("#eef3f8", "#8fc1e3", "#0072b2", "#08304f"))


def label_mix(run: RunFiles) -> Figure:
    """The share of every class in each client's training rows; bars for few, a heat map for many."""
    labels = np.array([row.get("labels") or [0] * len(run.classes) for row in run.rows("clients")], dtype=float)
    share = labels / np.maximum(labels.sum(1, keepdims=True), 1)
    if len(share) > FEW:
        return _mix_of_many(run.classes, share)
    figure, (mix, rows) = canvas(1.3 + 0.24 * len(share), widths=(4, 1))
    if len(run.classes) <= len(CLASSES):
        _stacked(mix, run.classes, share)
        figure.legend(loc="outside upper left", ncols=min(6, len(run.classes)))
    else:
        _heat(mix, run.classes, share)
    names = [_short(str(row.get("name"))) for row in run.rows("clients")]
    mix.set_yticks(range(len(names)), names)
    total = labels.sum(1)
    rows.barh(range(len(total)), total, color=INK["idle"], height=0.7)
    for at, number in enumerate(total):
        rows.text(number, at, f" {count(number)}", va="center", fontsize=8, color=INK["muted"])
    rows.set_title("training rows")
    rows.set_yticks([])
    rows.set_xlim(0, max(1.0, 1.35 * float(total.max())))
    for panel in (mix, rows):
        panel.set_ylim(len(names) - 0.4, -0.6)
        panel.grid(visible=False)
    rows.set_xticks([])
    return figure


def _stacked(panel: Axes, classes: list[str], share: np.ndarray) -> None:
    left = np.zeros(len(share))
    for number, name in enumerate(classes):
        panel.barh(
            range(len(share)), share[:, number], left=left, color=CLASSES[number], height=0.78, label=_short(name)
        )
        left += share[:, number]
    panel.set_xlim(0, 1)
    panel.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def _heat(panel: Axes, classes: list[str], share: np.ndarray) -> None:
    image = panel.imshow(share, aspect="auto", cmap=HEAT, vmin=0, vmax=1, interpolation="none")
    panel.set_xticks(range(len(classes)), [_short(name) for name in classes], rotation=50, ha="right", fontsize=8)
    panel.figure.colorbar(image, ax=panel, fraction=0.03, pad=0.01, format=lambda value, _: f"{100 * value:.0f} %")


def _mix_of_many(classes: list[str], share: np.ndarray) -> Figure:
    """Clients side by side, those alike next to each other."""
    figure, (panel,) = canvas(1.4 + 0.22 * max(4, len(classes)))
    order = np.lexsort((-share.max(1), share.argmax(1)))
    image = panel.imshow(share[order].T, aspect="auto", cmap=HEAT, vmin=0, vmax=1, interpolation="none")
    panel.set_yticks(range(len(classes)), [_short(name) for name in classes])
    panel.set_xlabel(f"{len(share):,} clients, ordered by their most frequent class")
    panel.grid(visible=False)
    figure.colorbar(image, ax=panel, fraction=0.02, pad=0.01, format=lambda value, _: f"{100 * value:.0f} %")
    return figure


def quality(run: RunFiles) -> Figure:
    """Macro-F1 of the federated and of the local model on each client's own test rows; the worst tenth is shaded."""
    federated = run.clients_of("federated")
    local = {row.get("name"): row for row in run.clients_of("local")}
    f1 = np.array(series(federated, "macro_f1"))
    beside = np.array(series([local.get(row.get("name")) or {} for row in federated], "macro_f1"))
    order = np.argsort(f1)  # NaN comes last
    names = [_short(str(federated[int(i)].get("name"))) for i in order]
    worst = worst_tenth(f1)
    if len(f1) <= FEW:
        return _dumbbells(names, f1[order], beside[order], worst)
    return quality_of_many(f1[order], beside[order], worst)


def _dumbbells(names: list[str], f1: np.ndarray, beside: np.ndarray, worst: int) -> Figure:
    figure, (panel,) = canvas(1.1 + 0.23 * len(names))
    at = np.arange(len(names))
    panel.axhspan(-0.5, worst - 0.5, color=INK["bad"], alpha=0.09, linewidth=0, label="worst tenth")
    panel.hlines(at, np.minimum(f1, beside), np.maximum(f1, beside), color=INK["idle"], linewidth=2)
    if np.isfinite(beside).any():
        panel.plot(beside, at, "D", color=INK["loc"], markersize=5, label="own local model")
    panel.plot(f1, at, "o", color=INK["fed"], markersize=7, label="federated model")
    panel.set_yticks(at, names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.set_xlim(_low(f1, beside), 1.0)
    panel.grid(visible=False, axis="y")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def quality_of_many(f1: np.ndarray, beside: np.ndarray, worst: int) -> Figure:
    """The same for many clients: rank across, macro-F1 up."""
    figure, (panel,) = canvas(3.2)
    draw_ranked(panel, f1, beside, worst)
    panel.set_xlabel("clients, worst served first")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def worst_tenth(f1: np.ndarray) -> int:
    """How many clients the worst tenth has: a tenth of those measured, rounded up."""
    return -(-int(np.isfinite(f1).sum()) // 10)


def draw_ranked(panel: Axes, f1: np.ndarray, beside: np.ndarray, worst: int) -> None:
    """Clients by rank on ``panel``; many points become one small picture, so that the page stays light."""
    at = np.arange(1, len(f1) + 1)
    panel.axvspan(0.5, worst + 0.5, color=INK["bad"], alpha=0.09, linewidth=0, label="worst tenth")
    local: dict[str, Any] = {"color": INK["loc"], "markersize": 3, "rasterized": len(f1) > 200}
    if np.isfinite(beside).any():
        panel.plot(at, beside, "D", label="own local model", **local)
    panel.plot(at, f1, color=INK["fed"], linewidth=2.4, label=f"federated model, mean {fixed(_mean(f1))}")
    panel.set_xlim(0.5, len(f1) + 0.5)
    panel.set_ylim(_low(f1, beside), 1.0)


def _low(*values: np.ndarray) -> float:
    every = np.concatenate(values)
    every = every[np.isfinite(every)]
    return max(0.0, float(every.min()) - 0.05) if len(every) else 0.0


def _mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def _short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
