"""The trial's timeline: the model's score over time, what really happened, which devices alarmed, which incidents opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from wardround.drivers.sinks.figures_style import CLASSES, INK
from wardround.drivers.sinks.runfiles import RunFiles

FAMILIES = ("DDoS", "DoS", "Recon", "MQTT", "Spoofing")
COLOUR = dict(zip(FAMILIES, ("#d55e00", "#e69f00", "#0072b2", "#cc79a7", "#009e73"), strict=True))
ODD = CLASSES[-1]
HEIGHT = 5.6


def timeline(run: RunFiles) -> Figure:
    """Score above, devices below, one time axis."""
    figure = Figure(figsize=(10.6, HEIGHT), layout="constrained")
    draw(figure, run.trial)
    return figure


def draw(figure: Figure | SubFigure, trial: Mapping[str, Any]) -> None:
    """Both panels."""
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.0, 1.25))
    happened = [(row, COLOUR[row["family"]]) for row in trial["attacks"]] + [(row, ODD) for row in trial["oddities"]]
    _score(above, trial, happened)
    _devices(below, trial, happened)
    below.set_xlabel("minutes")
    below.set_xlim(0, trial["hours"] * 60)
    handles = [above.fill_between([], [], color=COLOUR[name], alpha=0.35, label=name) for name in FAMILIES]
    handles.append(above.fill_between([], [], color=ODD, alpha=0.35, label="harmless oddity"))
    true = above.plot([], [], "v", color=INK["ink"], label="incident opened: an attack")[0]
    false = above.plot([], [], "v", color=INK["bad"], label="incident opened: no attack")[0]
    figure.legend(handles=[*handles, true, false], loc="outside upper center", ncols=8, fontsize=7.5)


def _score(panel: Axes, trial: Mapping[str, Any], happened: Sequence[tuple[Mapping[str, Any], str]]) -> None:
    score = np.array(trial["score"], dtype=float).reshape(-1, 2)
    for row, colour in happened:
        panel.axvspan(row["start_s"] / 60, row["end_s"] / 60, color=colour, alpha=0.3, linewidth=0)
    panel.plot(score[:, 0] / 60, score[:, 1], color=INK["fed"], linewidth=0.8)
    panel.axhline(0, color=INK["bad"], linewidth=1.0, linestyle="--")
    top = float(score[:, 1].max(initial=1.0)) * 1.3
    bottom = float(np.quantile(score[:, 1], 0.02)) if len(score) else -1.0
    panel.set_ylim(bottom, top)
    for each in trial["incidents"]:
        panel.plot(each["at_s"] / 60, top * 0.93, "v", color=_ink(each, trial), markersize=5, clip_on=False)
    panel.set_ylabel("highest model score\nabove its threshold")
    panel.set_title(f"{trial['ward']}: a ward that no gateway of the federation has seen")


def _devices(panel: Axes, trial: Mapping[str, Any], happened: Sequence[tuple[Mapping[str, Any], str]]) -> None:
    names = list(trial["devices"])
    place = {name: len(names) - 1 - i for i, name in enumerate(names)}
    for row, colour in happened:
        for name in {*row["actors"], row["victim"]}:
            at = place.get("router" if name == "outside" else name)
            if at is not None:
                panel.fill_between(
                    [row["start_s"] / 60, row["end_s"] / 60], at - 0.42, at + 0.42, color=colour, alpha=0.35, lw=0
                )
    alarms = [(t / 60, place[name]) for t, name in trial["alarms"] if name in place]
    if alarms:
        time, line = np.array(alarms).T
        panel.plot(time, line, "|", color=INK["ink"], markersize=5, markeredgewidth=0.7)
    for each in trial["incidents"]:
        if each["device"] in place:
            panel.plot(
                each["at_s"] / 60,
                place[each["device"]],
                "v",
                color=_ink(each, trial),
                markersize=6,
                markeredgecolor="white",
            )
    panel.set_yticks(list(place.values()), list(place), fontsize=7.5)
    panel.set_ylim(-0.6, len(names) - 0.4)
    panel.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    panel.grid(visible=False, axis="y")
    panel.set_title("each device: alarms of single windows (|), incidents, and what it took part in")


def _ink(incident: Mapping[str, Any], trial: Mapping[str, Any]) -> str:
    true = incident["explained_by"] in {row["name"] for row in trial["attacks"]}
    return INK["ink"] if true else INK["bad"]
