"""The pictures of *Hostile clients* in docs/results.md, from bench/results/robust.json.

.venv/bin/python bench/draw_robust.py            # docs/pictures/robust*.png
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from bench.hostile_cells import (
    COHORTS,
    ORDER,
    SHARES,
    Found,
    alone,
    default,
    lost,
    lost_at_most,
    lost_by_attack,
    of,
    rows_of,
    seeds_of,
    shipped,
    title,
)

PICTURES = ROOT / "docs" / "pictures"


def draw(found: Found) -> list[Path]:
    """The pictures: points lost by rule and attack at 20 % hostile, what ships by share and cohort size, every rule's worst."""
    import matplotlib as mpl

    mpl.use("Agg")
    cells = list(found["cells"].values())
    return [_heat(cells), _curves(cells), _worst_of_all(cells)]


def _worst_of_all(cells: list[Found]) -> Path:
    """Every rule by itself under the attack that costs it most, by share and cohort size; what ships is the last line."""
    from matplotlib.figure import Figure

    columns = [(share, cohort) for share in SHARES for cohort in COHORTS]
    here = {column: alone(cells, *column) for column in columns}
    rules = sorted({c["rule"] for got in here.values() for c in got}, key=lambda name: (name != "mean", name))
    ships = shipped(cells, "ciciomt2024", 0.5)
    values = [[lost_at_most(cells, of(here[column], rule=rule)) for column in columns] for rule in rules]
    values.append([lost_at_most(cells, of(ships, share=share, cohort=cohort)) for share, cohort in columns])
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    panel = figure.subplots()
    _painted(panel, values)
    panel.set_yticks(range(len(values)), [*rules, "what ships: default rule + trust"])
    panel.set_xticks(range(len(columns)), [str(cohort) for _, cohort in columns])
    panel.set_xlabel("clients in a row: 10 % hostile | 20 % | 30 %")
    for share in range(1, len(SHARES)):
        panel.axvline(share * len(COHORTS) - 0.5, color="black", linewidth=1.2)
    panel.set_title(
        "points of macro-F1 below the unattacked mean, each rule's worst of 13 attacks", loc="left", fontsize=10
    )
    return _saved(figure, "robust-cube.png")


def _painted(panel: Any, values: list[list[float]]) -> None:
    """A table as colours and numbers."""
    panel.imshow(values, cmap="YlOrRd", vmin=0, vmax=20, aspect="auto")
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if value == value:
                ink = "white" if value > 12 else "black"
                panel.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=8, color=ink)


def _heat(cells: list[Found]) -> Path:
    """Rules by attacks, rows of one client above cohorts of five; what ships is the last line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 9), layout="constrained")
    for panel, cohort in zip(figure.subplots(2, 1), (1, 5), strict=True):
        here, (rule, root) = alone(cells, 0.2, cohort), default(cohort)
        rules = sorted({c["rule"] for c in here}, key=lambda name: (name != "mean", name))
        ships = of(shipped(cells, "ciciomt2024", 0.5), share=0.2, cohort=cohort)
        gaps = [lost_by_attack(cells, got) for got in (*(of(here, rule=name) for name in rules), ships)]
        _painted(panel, [[line.get(attack, float("nan")) for attack in ORDER] for line in gaps])
        panel.set_yticks(range(len(gaps)), [*(title(name, root) for name in rules), title(rule, root, watch=True)])
        panel.set_xticks(range(len(ORDER)), ORDER if cohort == 5 else [""] * len(ORDER), rotation=35, ha="right")
        text = f"points of macro-F1 below the unattacked mean, 20 % hostile, {rows_of(cohort)} ({seeds_of(here)})"
        panel.set_title(text, loc="left", fontsize=10)
    return _saved(figure, "robust.png")


def _curves(cells: list[Found]) -> Path:
    """What ships: the worst attack and all attacks' mean, beside what the absence of the hostile clients' data costs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    panels = figure.subplots(1, len(COHORTS), sharey=True)
    here = shipped(cells, "ciciomt2024", 0.5)
    for panel, cohort in zip(panels, COHORTS, strict=True):
        lines: dict[str, list[float]] = {"worst attack": [], "mean of the attacks": [], "hostile clients absent": []}
        for share in SHARES:
            gaps = [g for a, g in lost_by_attack(cells, of(here, share=share, cohort=cohort)).items() if a != "none"]
            absent = of(cells, data="ciciomt2024", alpha=0.5, share=share, attack="absent", rule="mean")
            lines["worst attack"].append(max(gaps, default=float("nan")))
            lines["mean of the attacks"].append(statistics.fmean(gaps) if gaps else float("nan"))
            lines["hostile clients absent"].append(lost(cells, absent) if absent else float("nan"))
        for (name, values), style in zip(lines.items(), ("o-", "s--", ":"), strict=True):
            panel.plot([100 * share for share in SHARES], values, style, label=name, markersize=4)
        panel.set_title(rows_of(cohort), fontsize=10)
        panel.set_xlabel("hostile clients, %")
        panel.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    panels[0].set_ylabel("points of macro-F1 lost")
    panels[0].legend(fontsize=8, frameon=False)
    return _saved(figure, "robust-curve.png")


def _saved(figure: Any, name: str) -> Path:
    path = PICTURES / name
    figure.savefig(path, dpi=110, facecolor="white", metadata={"Software": None})
    return path


if __name__ == "__main__":
    for drawn in draw(json.loads((ROOT / "bench" / "results" / "robust.json").read_text(encoding="utf-8"))):
        print(drawn)
