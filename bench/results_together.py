"""The section *All at once, under attack* of docs/results.md and its picture, from bench/results/together.json.

.venv/bin/python bench/results_together.py            # draw docs/pictures/together.png
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from bench.hostile_cells import Found, of, spread
from bench.together import ATTACKS, BUILDS

PICTURE = ROOT / "docs" / "pictures" / "together.png"
BYTES = {
    "rounds_up_per_client": "up per gateway in the 100 rounds",
    "rounds_down_per_client": "down in the rounds",
    "bytes_up_per_client": "up in all, set-up and 11 measurements included",
    "bytes_down_per_client": "down in all",
}


def section(found: Found) -> str:
    """The whole section."""
    machine, runs = found["machine"], list(found["runs"].values())
    seeds = sorted({r["seed"] for r in runs})
    lines = [
        "## All at once, under attack\n",
        f"{machine['processor']}, {machine['cores']} cores. CICIoMT2024 v2, 19 classes, 50 gateways, Dirichlet 0.5, 100 rounds of ten steps, a fifth of the gateways hostile, cohorts of 5; seeds {', '.join(map(str, seeds))} (in brackets how many where it is not all). "
        "Whole simulations from one file: handshakes (X-Wing), ciphertexts and committee are real; the rule is the default (FLTrust with a root set of 1,000 rows) and trust runs by itself because the file assumes hostile clients. The attackers know rule and cohort size. "
        "Macro-F1 on the test rows after rounds 80, 90 and 100. Repeat with `bench/together.py`.\n",
        f"| attack | {' | '.join(BUILDS)} |",
        "|---" * (len(BUILDS) + 1) + "|",
    ]
    for attack in ATTACKS:
        texts = [_spread(of(runs, build=build, attack=attack), len(seeds)) for build in BUILDS]
        lines.append(f"| {attack} | {' | '.join(texts)} |")
    planted = [[r["backdoor"] for r in of(runs, build=build, attack="model-replacement")] for build in BUILDS]
    lines.append(f"| backdoor success | {' | '.join(f'{statistics.fmean(b):.0%}' if b else '' for b in planted)} |")
    for key, name in BYTES.items():
        calm = [[r[key] / 1e3 for r in of(runs, build=build, attack="none")] for build in BUILDS]
        texts = [f"{statistics.fmean(b):,.0f}" if b else "" for b in calm]
        lines.append(f"| kB {name}, nobody attacks | {' | '.join(texts)} |")
    picture = "![Macro-F1 under attack, FedAvg beside the whole system](pictures/together.png)\n"
    return "\n".join([*lines, "", *_expelled(runs), "", picture, NOTE])


def _expelled(runs: list[Found]) -> list[str]:
    """A table of whom trust found: all seeds together."""
    watched = list(BUILDS)[1:]  # FedAvg looks at nobody
    lines = [f"| gateways expelled under | {' | '.join(watched)} |", "|---" * (len(watched) + 1) + "|"]
    for attack in ATTACKS:
        cells = [_caught(of(runs, build=build, attack=attack)) for build in watched]
        lines.append(f"| {attack} | {' | '.join(cells)} |")
    return lines


def _caught(runs: list[Found]) -> str:
    rounds, hostile = [r for run in runs for r in run["expelled"]], sum(run["hostile"] for run in runs)
    honest = sum(run["expelled_honest"] for run in runs)
    of = f"{len(rounds)} of {hostile} hostile" if hostile else ""
    when = f", median round {statistics.median(rounds):.0f}, last {max(rounds)}" if rounds else ""
    return f"{of}{when}{'; ' if of else ''}{honest} honest"


def _spread(runs: list[Found], seeds: int) -> str:
    few = f" ({len(runs)})" if 0 < len(runs) < seeds else ""
    return spread([r["macro_f1"] for r in runs]) + few


NOTE = """FedAvg goes under where an attacker optimises against the mean, and takes every backdoor. What the whole system gives up for all its layers stands in the first line, what an attack takes from it in the others.
Trust expels the hostile gateways from sums alone, beside the codec too, whose rounds carry a tenth of the coordinates each; in these runs it expelled no honest one. **A backdoor outlives those who planted it** for a while: the model forgets it only in part in the rounds that are left (the success above is
that of the last round; an unattacked model gives the adversary's label to hardly any triggered row).
A measurement counts 4,361 whole numbers exactly; under the lattice that is as much as dozens of rounds with the codec: on a thin line measure seldom (`[rounds] measure_every`).
"""


def draw(found: Found) -> Path:
    """Bars of macro-F1 by attack, one colour per build."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    runs = list(found["runs"].values())
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panel = figure.subplots()
    width = 0.8 / len(BUILDS)
    for number, (build, colour) in enumerate(zip(BUILDS, ("0.6", "#7fb3d5", "#2874a6", "#d35400"), strict=True)):
        scores = [[r["macro_f1"] for r in of(runs, build=build, attack=attack)] for attack in ATTACKS]
        means = [statistics.fmean(s) if s else 0.0 for s in scores]
        spreads = [statistics.stdev(s) if len(s) > 1 else 0.0 for s in scores]
        at = [k + (number - (len(BUILDS) - 1) / 2) * width for k in range(len(ATTACKS))]
        panel.bar(at, means, width, yerr=spreads, label=build, color=colour, error_kw={"elinewidth": 0.8})
    panel.set_xticks(range(len(ATTACKS)), ["nobody attacks", *ATTACKS[1:]], rotation=20, ha="right")
    panel.set_ylabel("macro-F1, 19 classes")
    panel.set_ylim(0, 1.02)
    panel.legend(fontsize=8, frameon=False, ncols=2, loc="upper left")
    figure.savefig(PICTURE, dpi=110, facecolor="white", metadata={"Software": None})
    return PICTURE


if __name__ == "__main__":
    print(draw(json.loads((ROOT / "bench" / "results" / "together.json").read_text(encoding="utf-8"))))
