"""One wide picture of a run for a README: the trial's timeline where there is one, learning curve, confusion matrix, clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from wardround.drivers.sinks import figures_trial
from wardround.drivers.sinks.figures_clients import FEW, HEAT, draw_ranked, worst_tenth
from wardround.drivers.sinks.figures_style import INK, canvas, style
from wardround.drivers.sinks.figures_training import learning_panel
from wardround.drivers.sinks.numerals import count
from wardround.drivers.sinks.runfiles import RunFiles, load, series

COUNTED = 8  # classes up to which a cell has room for its count


def figure_png(run_folder: Path, path: Path) -> Path:
    """Write the picture of a run to ``path`` (PNG, 2,100 pixels wide).

    Raises:
        DataError: the folder holds no finished run.
    """
    run = load(run_folder)
    with style():
        figure, curve, confusion, clients = _panels(run)
        learning_panel(curve, run, "macro_f1")
        curve.set_title("macro-F1 over the rounds")
        curve.legend(loc="upper center", bbox_to_anchor=(0.45, -0.14), fontsize=8)
        _confusion(confusion, run)
        if clients is not None:
            _clients(clients, run)
        synthetic = "  (synthetic data)" if run.part("data").get("synthetic") else ""
        name = f"{run.metrics.get('experiment')}{synthetic}: {len(run.rows('clients')):,} clients"
        figure.suptitle(name, x=0.01, ha="left", fontsize=12, fontweight="bold")
        figure.savefig(path, format="png", dpi=150, facecolor="white", metadata={"Software": None})
    return path


def _panels(run: RunFiles) -> tuple[Figure, Axes, Axes, Axes | None]:
    """The figure with its panels for curve, confusion and clients (none where a whole site is the test), timeline above."""
    if not run.trial:
        figure, (curve, confusion, clients) = canvas(4.7, widths=(1.35, 1, 1), width=14.0)
        return figure, curve, confusion, clients
    figure = Figure(figsize=(14.0, 10.4), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(5.9, 4.5))
    figures_trial.draw(parts[0], run.trial)
    curve, confusion = parts[1].subplots(1, 2, width_ratios=(1.35, 1))
    return figure, curve, confusion, None


def _confusion(panel: Axes, run: RunFiles) -> None:
    panel.set_title("federated model on the test rows")
    panel.grid(visible=False)
    counts = np.array((run.overall("federated") or {}).get("confusion") or np.zeros((0, 0)), dtype=float)
    if not counts.size:
        panel.text(0.5, 0.5, "no confusion matrix", ha="center", transform=panel.transAxes, color=INK["muted"])
        return
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    panel.imshow(share, cmap=HEAT, vmin=0, vmax=1, aspect="auto", interpolation="none")
    panel.set_xticks(range(len(counts)), run.classes, rotation=45, ha="right")
    panel.set_yticks(range(len(counts)), run.classes)
    panel.set_xlabel("said")
    panel.set_ylabel("was")
    if len(counts) <= COUNTED:
        for (row, column), number in np.ndenumerate(counts):
            ink = "white" if share[row, column] > 0.45 else INK["ink"]
            panel.text(column, row, count(number), ha="center", va="center", fontsize=8, color=ink)


def _clients(panel: Axes, run: RunFiles) -> None:
    panel.set_title("each client's own test rows")
    federated = run.clients_of("federated")
    f1 = np.array(series(federated, "macro_f1"))
    local = {row.get("name"): row for row in run.clients_of("local")}
    beside = np.array(series([local.get(row.get("name")) or {} for row in federated], "macro_f1"))
    if not np.isfinite(f1).any():
        panel.text(0.5, 0.5, "not measured", ha="center", transform=panel.transAxes, color=INK["muted"])
        return
    order = np.argsort(f1)
    worst = worst_tenth(f1)
    if len(f1) <= FEW:
        at = np.arange(1, len(f1) + 1)
        panel.bar(at, f1[order], color=INK["fed"], width=0.75, label="federated model")
        panel.bar(at[:worst], f1[order][:worst], color=INK["bad"], width=0.75, label="federated model, worst tenth")
        if np.isfinite(beside).any():
            panel.plot(at, beside[order], "D", color=INK["loc"], markeredgecolor="white", label="own local model")
        panel.set_ylim(0, 1)
        panel.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        panel.grid(visible=False, axis="x")
    else:
        draw_ranked(panel, f1[order], beside[order], worst)
    panel.set_xlabel("clients, worst served first")
    panel.set_ylabel("macro-F1")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=8)
