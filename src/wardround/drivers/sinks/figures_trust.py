"""Figures of a run with rows to compare: the rows in two dimensions, what they weighed, trust in each client over the rounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wardround.drivers.sinks.figures_style import INK, canvas
from wardround.drivers.sinks.hostility import Hostility

SHOWN = 4  # rounds shown side by side
STATE_INK = {"active": "fed", "probation": "late", "quarantined": "bad", "revoked": "ink"}


def rows(seen: Hostility) -> Figure:
    """The rows of a few rounds in their two principal components; grey rows weighed nothing."""
    chosen = spaced(len(seen.rows), SHOWN)
    figure, axes = canvas(3.0, widths=(1.0,) * len(chosen))
    for panel, at in zip(axes, chosen, strict=True):
        event = seen.rows[at]
        x, y = np.array(event.x), np.array(event.y)
        weight = np.array(event.weights) if event.weights else np.full(len(x), 1.0 / max(len(x), 1))
        share = weight / max(float(weight.max(initial=0.0)), 1e-12)
        used = share > 0.01
        panel.scatter(x[~used], y[~used], s=34, facecolors="none", edgecolors=INK["muted"], label="weighed nothing")
        panel.scatter(x[used], y[used], s=14 + 60 * share[used], color=INK["fed"], alpha=0.75, label="used")
        panel.set_title(f"round {event.round}")
        panel.set_xlabel("first component")
        panel.ticklabel_format(style="sci", scilimits=(-2, 3))
        panel.margins(0.12)
    axes[0].set_ylabel("second component")
    axes[0].legend(loc="upper left", bbox_to_anchor=(0.0, -0.2), ncols=2, fontsize=8)
    return figure


def trust(seen: Hostility) -> Figure:
    """Trust score of every client over the rounds, in the colour of its last standing, and the posterior beside it."""
    figure, axes = canvas(3.6, widths=(1.0, 1.0))
    rounds = [event.round for event in seen.trust]
    score = np.array([event.score for event in seen.trust])
    posterior = np.array([event.posterior for event in seen.trust])
    last = seen.trust[-1].states
    for panel, values, title in ((axes[0], score, "trust score"), (axes[1], posterior, "posterior of being hostile")):
        _lines(panel, rounds, values, last)
        panel.set_title(title)
        panel.set_xlabel("round")
        panel.set_ylim(-0.03, 1.03)
    handles = {str(line.get_label()): line for line in axes[0].lines if not str(line.get_label()).startswith("_")}
    axes[1].legend(
        handles.values(), handles.keys(), loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, fontsize=8
    )
    return figure


def spaced(count: int, most: int) -> list[int]:
    """At most ``most`` of 0 .. count - 1, the first and the last among them, evenly spaced."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(most, count))})


def _lines(panel: Axes, rounds: Sequence[int], values: np.ndarray, last: Sequence[str]) -> None:
    named: set[str] = set()
    for client in sorted(range(len(last)), key=lambda i: -list(STATE_INK).index(last[i])):
        state = last[client]
        label = f"{state} ({last.count(state)})" if state not in named else "_"
        named.add(state)
        front = state != "active"
        panel.plot(
            rounds,
            values[:, client],
            color=INK[STATE_INK[state]],
            linewidth=1.3 if front else 0.8,
            alpha=0.85 if front else 0.35,
            zorder=3 if front else 2,
            label=label,
        )
