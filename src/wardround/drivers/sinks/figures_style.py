"""How the report's figures look: one palette, one set of sizes, SVG that follows the page's light or dark colours.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), which people with any colour vision tell apart.
Figures are drawn in the light palette; in the SVG each of its inks is then replaced by the CSS variable of the same
name, so that the page, not the figure, decides how it looks at night. Text stays text: it can be searched and read out.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Inks are a shade off the round values so that no class colour or heat map cell is taken for one.
INK = {
    "ink": "#1b2433",
    "muted": "#5b6677",
    "grid": "#dde3ea",
    "paper": "#fffffe",
    "fed": "#0072b1",
    "cen": "#d55e01",
    "loc": "#009e72",
    "bad": "#c0283a",
    "idle": "#b9c2cd",
    "late": "#e69f01",
    "drop": "#cc79a6",
}
CLASSES = ("#56b4e9", "#e69f00", "#009e73", "#0072b2", "#d55e00", "#cc79a7", "#f0e442", "#8d99a8")
MODEL_INK = {"federated": INK["fed"], "centralised": INK["cen"], "local": INK["loc"]}

_RC: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of classes and clients are text, whatever dollar signs they hold
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.edgecolor": INK["muted"],
    "axes.labelcolor": INK["muted"],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": INK["ink"],
    "grid.color": INK["grid"],
    "grid.linewidth": 0.8,
    "xtick.color": INK["muted"],
    "ytick.color": INK["muted"],
    "lines.linewidth": 1.8,
    "legend.frameon": True,
    "legend.facecolor": INK["paper"],
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "legend.fontsize": 9,
    "axes.formatter.use_mathtext": False,
}


@contextmanager
def style() -> Iterator[None]:
    """Within: figures are drawn in the house's style."""
    with mpl.rc_context(_RC):
        yield


def canvas(
    height: float,
    widths: Sequence[float] = (1.0,),
    width: float = 10.6,
) -> tuple[Figure, list[Axes]]:
    """A figure of ``height`` inches with panels side by side in the ratio ``widths``."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, len(widths), squeeze=False, width_ratios=list(widths))
    return figure, list(axes[0])


def svg(figure: Figure, title: str) -> str:
    """The figure as an ``<svg>`` element for an HTML page: no ids to clash, no addresses, CSS variables for inks."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = _prefix_ids(text, "f" + re.sub(r"\W", "", title.title()))
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text, count=1)
    for name, colour in INK.items():
        text = text.replace(colour, f"var(--{name})")
    return re.sub(r"\n\s*", "\n", text)


def _prefix_ids(text: str, prefix: str) -> str:
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))

    def rename(match: re.Match[str]) -> str:
        return f' id="{prefix}-{match[1]}"' if match[1] in used else ""

    text = re.sub(r' id="([^"]*)"', rename, text)
    return re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", text)
