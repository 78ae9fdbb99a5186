"""The figure of personal models: what a client gains on its own traffic against what it loses of everybody's."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from wardround.drivers.sinks.figures_style import INK, canvas
from wardround.drivers.sinks.runfiles import RunFiles, series


def trade(run: RunFiles) -> Figure:
    """One line per client from the common model to its own: macro-F1 on its own rows across, on everybody's up."""
    rows = run.part("personal").get("clients") or ()
    points = {
        kind: np.array([series(rows, kind, "macro_f1_present"), series(rows, kind, "everybody_macro_f1")])
        for kind in ("common", "own")
    }
    figure, (panel,) = canvas(3.4)
    (x0, y0), (x1, y1) = points["common"], points["own"]
    for i in range(len(rows)):
        panel.plot([x0[i], x1[i]], [y0[i], y1[i]], color=INK["idle"], linewidth=1, zorder=1)
    panel.plot(x0, y0, "o", color=INK["fed"], markersize=5, label="common model", zorder=2)
    panel.plot(x1, y1, "D", color=INK["loc"], markersize=5, label="the client's own", zorder=3)
    panel.set_xlabel("macro-F1 on the client's own test rows")
    panel.set_ylabel("on everybody's")
    figure.legend(loc="outside upper left", ncols=2)
    return figure
