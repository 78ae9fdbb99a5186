"""The section of docs/results.md on sites that were left out, printed from bench/results/sites.json (called by write_results.py)."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from wardround.detect.measures import Rate

TITLES = {"lab": "the lab's wards (generated)", "iot23": "IoT-23's captures"}
NORMALS = ("federation, all devices", "federation, by type", "federation, lower of both", "site's own")
NOTES = """* *Found at r FPR*: where exactly a share r of the site's benign rows would alarm; "-" where fewer than 3 / r benign rows are there. *Achieved*: at the threshold asked for 1 %, on the site's rows after its oldest third of benign ones.
* *The federation's threshold* is what a new site starts with; *the site's* adds its own offset once it has 10 / r benign rows (1,000), counted on that oldest third.
* PSI: stability index of the site's benign scores against the federation's; below .1 no shift, from .25 a large one. *Inputs shifted*: those with .25 or more against the other sites' rows.
* A row is a decision about one device and window (IoT-23: one flow), not an incident: incidents per device-day and delays are in the lab's section.
"""


def section(found: dict[str, Any]) -> str:
    """The whole section."""
    lines = [
        "## A site nobody learnt from (leave one site out)\n",
        "Each site in turn is kept out of training, validation and preprocessing (bench/sites.py): what a federation is worth to a hospital that joins. Federated classifier and `[normal]` baseline, "
        "thresholds asked for 1 % false alarms.\n",
    ]
    for part, title in TITLES.items():
        if part in found:
            lines += _part(title, found[part])
    machine = found["machine"]
    return "\n".join(
        [*lines, NOTES, f"*{machine['processor']}, {machine['cores']} cores; code of {found['commit']}.*\n"]
    )


def _part(title: str, seeds: dict[str, dict[str, Any]]) -> list[str]:
    sites = list(dict.fromkeys(site for places in seeds.values() for site in places))
    lines = [
        f"### {title[0].upper()}{title[1:]}, {_plural(len(seeds), 'seed')}\n",
        "| left out | benign rows | ROC-AUC | found at 1 % | 0.1 % | 0.01 % | achieved, federation's threshold | attacks found | achieved, site's threshold | attacks found | PSI of scores | inputs shifted |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_site(site, [places[site] for places in seeds.values() if site in places]) for site in sites]
    every = [row for places in seeds.values() for row in places.values()]
    lines.append(_site("**all**", every))
    return [*lines, "", *_types(every), *_normals(every)]


def _site(name: str, rows: list[dict[str, Any]]) -> str:
    benign = sum(row["alarms"]["groups"][0]["benign"] for row in rows)
    found = [_recall(rows, at) for at in range(3)]
    before, after = (_summed(row[key] for row in rows) for key in ("federations_threshold", "sites_threshold"))
    psi = [row["alarms"]["groups"][0]["psi"] for row in rows if row["alarms"]["groups"][0]["psi"] is not None]
    shifted = statistics.fmean(row["alarms"]["drift"]["large"] for row in rows)
    areas = _spread([row["roc_auc"] for row in rows])
    return (
        f"| {name} | {benign:,} | {areas} | {' | '.join(found)} | {_rate(before)} | {_found(before)} | {_rate(after)} | {_found(after)} | "
        f"{statistics.median(psi):.2f} | {shifted:.0f} |"
    )


def _types(rows: list[dict[str, Any]]) -> list[str]:
    """False alarms and attacks found by type of device, over all sites and seeds, at the federation's threshold."""
    names = list(dict.fromkeys(g["name"] for row in rows for g in row["alarms"]["groups"] if g["group"] == "type"))
    if not names:
        return []
    lines = [
        "By type of device, at the federation's threshold (1 % asked), over all left-out sites and seeds:\n",
        "| type | false alarms | attacks found |",
        "|---|---|---|",
    ]
    for name in names:
        mine = [g for row in rows for g in row["alarms"]["groups"] if g["group"] == "type" and g["name"] == name]
        false = Rate(sum(g["false"] for g in mine), sum(g["benign"] for g in mine))
        hit = Rate(sum(g["found"] for g in mine), sum(g["attacks"] for g in mine))
        lines.append(f"| {name} | {false.text} | {hit.text} |")
    return [*lines, ""]


def _normals(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "Benign-only baselines at the left-out site: the federation's (from sums, no row of the site) and the site's own (autoencoders and distance, learnt from its oldest third):\n",
        "| baseline | achieved at 1 % asked, pooled | worst site | attacks found there | attacks found at exactly 1 % |",
        "|---|---|---|---|---|",
    ]
    for name in NORMALS:
        mine = [row["normal"][name] for row in rows]
        whole = _summed(mine)
        worst = max(row["false"] / row["benign"] for row in mine)
        exact = [row["at_1e-2"] for row in mine if row["at_1e-2"] is not None]
        said = f"{sum(h for h, _ in exact) / sum(n for _, n in exact):.3f}" if exact else "-"
        lines.append(f"| {name} | {_rate(whole)} | {100 * worst:.1f} % | {_found(whole)} | {said} |")
    return [*lines, ""]


def _recall(rows: list[dict[str, Any]], at: int) -> str:
    values = [row["alarms"]["tpr_at"][at]["recall"] for row in rows]
    known = [value for value in values if value is not None]
    return _spread(known, 2) if known else "-"


def _summed(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    found = dict.fromkeys(("false", "benign", "found", "attacks"), 0)
    for row in rows:
        for key in found:
            found[key] += row[key]
    return found


def _rate(row: dict[str, int]) -> str:
    rate = Rate(row["false"], row["benign"])
    low, high = rate.interval
    return f"{'' if rate.hits else 'below '}{100 * rate.value:.2f} % ({100 * low:.2f}-{100 * high:.2f})"


def _found(row: dict[str, int]) -> str:
    return f"{row['found'] / row['attacks']:.2f}"


def _spread(values: list[float], digits: int = 3) -> str:
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}"


def _plural(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number != 1 else ''}"
