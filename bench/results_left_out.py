"""IoT-23's captures left out in turn, and 34-1 that joins late: tables of *Hospitals that differ* (bench/results_personal.py)."""

from __future__ import annotations

import statistics

from results_cells import Found, Read, cases, first, spread, title  # type: ignore[import-not-found]

HEADS = {
    "prior none": "as it is",
    "prior window": "window",
    "unknown words": "unknown words",
    "SCAFFOLD": "SCAFFOLD",
    "SCAFFOLD + unknown words": "SCAFFOLD + unknown words",
    "prior calm": "calm",
    "SCAFFOLD + unknown words, prior calm": "all three",
}


def left_out(found: Found) -> list[str]:
    """IoT-23, each capture left out in turn: macro-F1 without any label of it, and what each method does to the other eight."""
    by_site = left_sites(found)
    if not by_site:
        return []
    lines = [
        "\nEach capture left out in turn, and not one label of it: the model as it is, with EM over its rows (`window`), with `[training] unknown_words = "
        '"attack"`, trained with SCAFFOLD, with both, with a threshold from its first 100 benign rows and its unlabelled traffic (`calm`, judged on the rest), and '
        "with all three. Macro-F1; of the three captures that are benign throughout the share of false alarms.\n",
        f"| left out | {' | '.join(HEADS.values())} |",
        "|---" * (1 + len(HEADS)) + "|",
    ]
    for site, named in by_site.items():
        read = judged_on(site)
        cells = [spread(named[method], read) if method in named else "–" for method in HEADS]
        lines.append(f"| {site}{', false alarms' if benign(site) else ''} | {' | '.join(cells)} |")
    return lines + harm(by_site)


def left_sites(found: Found) -> dict[str, dict[str, Found]]:
    """The cases of each site by method."""
    by_site: dict[str, dict[str, Found]] = {}
    for case in cases(found, "IoT-23 left out"):
        site, _, method = case["name"].partition(", ")
        by_site.setdefault(site, {})[method] = case
    return by_site


def benign(site: str) -> bool:
    """Captures without any attack."""
    return site.startswith("Honeypot")


def judged_on(site: str, key: str = "") -> Read:
    """Macro-F1, or the share of false alarms."""
    if benign(site):
        return lambda seed: 1 - seed["unlabelled"][f"accuracy{key}"]
    return lambda seed: seed["unlabelled"][f"macro_f1{key}"]


def harm(by_site: dict[str, dict[str, Found]]) -> list[str]:
    """What a method changes at the eight sites other than 34-1, seed by seed."""
    lines = [
        "\nWhat that does to the eight captures other than 34-1, seed by seed, in points against the FedAvg model as it is on the very same rows (macro-F1; of benign captures "
        "the share of rows without a false alarm). *All three* is held against SCAFFOLD + unknown words.\n",
        "| method | mean | worst | where | worse by a point or more | better by a point or more |",
        "|---|---|---|---|---|---|",
    ]
    for method, head in HEADS.items():
        steps = [step for site, named in by_site.items() if "34-1" not in site for step in changes(site, named, method)]
        if method == "prior none" or not steps:
            continue
        least = min(steps)
        lines.append(
            f"| {head} | {statistics.fmean(s for s, _ in steps):+.1f} | {least[0]:+.1f} | {least[1] if least[0] < -0.05 else '–'} "
            f"| {sum(s <= -1 for s, _ in steps)} of {len(steps)} | {sum(s >= 1 for s, _ in steps)} |"
        )
    return lines


def changes(site: str, named: dict[str, Found], method: str) -> list[tuple[float, str]]:
    """(points gained, site and seed) of a method."""
    sign = -100 if benign(site) else 100
    steps = []
    for number, seed in named.get(method, {"seeds": {}})["seeds"].items():
        own = seed["unlabelled"]
        if "calm" in method and "macro_f1_as_is" in own:
            before = judged_on(site, "_as_is")(seed)
        else:
            before = judged_on(site)(named["prior none"]["seeds"][number])
        after = judged_on(site)(seed)
        if before is not None and after is not None:
            steps.append((sign * (after - before), f"{site.rpartition('Capture-')[2]}, seed {number}"))
    return steps


def newcomer(found: Found) -> list[str]:
    """IoT-23 without capture 34-1."""
    rows = cases(found, "IoT-23")
    if not rows:
        return []
    lines = [
        "\n### A site the federation never saw: IoT-23 without capture 34-1\n",
        "Few-shot: 34-1 joins after training with so many of its own rows labelled, minutes of its traffic; macro-F1 on its other rows.\n",
        "| case | ROC-AUC | macro-F1 without any label of the site | 10 labelled rows | 30 | 100 | 300 | 1,000 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in rows:
        joined = bool(first(case)["late"])

        def shot(number: int) -> Read:
            return lambda seed: seed["late"][number]["own"]["macro_f1"]["mean"] if seed["late"] else None

        unlabelled: Read = shot(0) if joined else lambda seed: seed["unlabelled"]["macro_f1"]
        auc = "–" if joined else spread(case, lambda seed: seed["roc_auc"])
        cells = [auc, spread(case, unlabelled), *(spread(case, shot(n)) for n in (1, 2, 3, 4, 5))]
        lines.append(f"| {title(case)} | {' | '.join(cells)} |")
    return lines
