"""The lab's section of docs/results.md, printed from bench/results/lab.json (bench/lab.py) and netlab.json."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from typing import Any

from scipy.stats import chi2

ATTACK_S, REST_S = 15, 30
"""How long an attack of the netlab lasts, and the rest after it."""
FAMILIES = ("DDoS", "DoS", "Recon", "MQTT", "Spoofing")
NOTES = """* Everything here is **generated traffic**. The unseen ward's devices, vendors and rates are other draws than those trained on.
* *Found*: an incident about one of the attack's devices opens while it lasts or within a minute after; the delay counts from the attack's first packet. Attack rates are log-uniform from below a
  device's own rate, so some attacks are a packet every two seconds among many.
* A false incident is any without an attack, those about harmless oddities included; a trial plays more oddities into three hours than a day has. The calm days have none.
* Model rows: windows of the unseen ward; "HGB" sees all learning wards' rows in one place.
"""


def section(found: dict[str, Any]) -> str:
    """The whole section."""
    seeds, hardness = list(found["seeds"].values()), list(found["hardness"].values())
    lines = [
        "## The lab: federation and detector in a generated ward nobody trained on\n",
        f"{found['machine']['processor']}, {found['machine']['cores']} cores, shared; {found['date']}, commit {found['commit']}; seeds {', '.join(found['seeds'])}. "
        "Eight wards learn (experiments/demo.toml, plain sums), the ninth tests. Repeat with `bench/lab.py`.\n",
        "| windows of the unseen ward | macro-F1, 6 classes | ROC-AUC | recall at 1 % FPR |",
        "|---|---|---|---|",
        *(_model(seeds, name) for name in ("federated", "centralised", "local")),
    ]
    if hardness:
        lines.append(
            f"| centralised HGB | {_over([h['hgb_unseen_ward']['macro_f1'] for h in hardness])} | "
            f"| {_over([h['hgb_unseen_ward']['tpr_at_1e-2'] for h in hardness])} |"
        )
    lines += [
        "",
        "| attacks of the trial | found | median delay of those found, s | found within 10 s |",
        "|---|---|---|---|",
    ]
    attacks = [row for seed in seeds for row in seed["trial"]["attacks"]]
    lines += [_family(attacks, name) for name in FAMILIES]
    lines += [
        "",
        "### Against the targets\n",
        "| target | measured | met |",
        "|---|---|---|",
        *_claims(seeds, hardness, attacks),
    ]
    for commit, row in found.get("now", {}).items():
        lines += [
            "",
            f"With the detector of commit {commit}, on the model of one run of `make demo` (seed {row['seed']}, lattice sum):\n",
        ]
        lines += ["| target | measured | met |", "|---|---|---|", *_claims([row], [], row["trial"]["attacks"])]
    if found["held_out"]:
        lines += [
            "",
            "| family no gateway has met (seed 1) | its windows found at 1 % FPR, model alone | attacks found by all detectors |",
            "|---|---|---|",
        ]
        lines += [_held_out(name, row) for name, row in found["held_out"].items()]
    return "\n".join([*lines, "", NOTES])


def calm(found: dict[str, Any]) -> str:
    """Calm days of wards nobody trained on."""
    days = list(found["days"].values())
    total, told = sum(d["device_days"] for d in days), sum(d["incidents"] for d in days)
    low, high = poisson(told)
    kinds = sorted({d["ward"].rsplit(" ", 1)[0] for d in days})
    seeds = sorted({int(key.split("/")[0]) for key in found["days"]})
    lines = [
        "## Calm days: how often something is told where nothing happens\n",
        f"Wards that no gateway of the federation saw, models of seeds {', '.join(map(str, seeds))}; each is watched for a calm day after one to learn from (`bench/lab_calm.py`, commit {found['commit']}). "
        "Generated traffic: a real ward's days differ more.\n",
        "| kind of ward | device-days | incidents | per device-day | windows with images | alarms of single windows |",
        "|---|---|---|---|---|---|",
    ]
    for kind in kinds:
        mine = [d for d in days if d["ward"].rsplit(" ", 1)[0] == kind]
        span, n = sum(d["device_days"] for d in mine), sum(d["incidents"] for d in mine)
        images, alarms, rows = (sum(d[key] for d in mine) for key in ("windows_with_images", "alarms", "windows"))
        lines.append(f"| {kind} | {span:.1f} | {n} | {n / span:.2f} | {images:,} | {alarms / rows:.2%} of {rows:,} |")
    by = Counter[str]()
    for d in days:
        by.update(d["told"])
    told_by = ", ".join(f"{name} {n}" for name, n in by.most_common())
    return "\n".join(
        [
            *lines,
            "",
            "| target | measured | met |",
            "|---|---|---|",
            _claim(
                "at most 1 false incident per device-day",
                f"{told / total:.2f} ({told} in {total:.1f} device-days; 95 %: {low / total:.2f}-{high / total:.2f})",
                told / total <= 1,
            ),
            "",
            f"What told them (reopenings counted): {told_by or 'nothing'}.",
            "",
        ]
    )


def poisson(n: int) -> tuple[float, float]:
    """Exact 95 % limits of a Poisson mean after ``n`` events (Garwood 1936)."""
    return (float(chi2.ppf(0.025, 2 * n)) / 2 if n else 0.0), float(chi2.ppf(0.975, 2 * n + 2)) / 2


def netlab(found: dict[str, Any]) -> str:
    """Real tools in namespaces."""
    calm = found["calm_watch"]
    lines = [
        "## Real tools in network namespaces (`make netlab`)\n",
        f"The demo's model under `wardround watch --iface`, after {found['calm_s']:.0f} s of calm ({found['labelled_expected']} incidents of it labelled expected) and "
        f"`wardround calibrate`; {_policy(found)}, the least that so short a calm can tell. *Found*: an incident about attacker or victim opens, or an open one is told anew for another kind of attack, while it lasts or in the {REST_S} s after.\n",
        "| attack | found after, s | by |",
        "|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | {'not found' if row['delay_s'] is None else row['delay_s']} | {row['by']} |"
        for row in found["attacks"]
    ]
    total = len(found["attacks"])
    lines += [
        "",
        "| target | measured | met |",
        "|---|---|---|",
        _claim(
            "every attack found within 10 s",
            f"{found['within_10_s']} of {total} ({found['found']} at all)",
            found["within_10_s"] == total,
        ),
        _families(found["attacks"]),
        _claim(
            "at most 1 false incident per device-day",
            f"{len(calm['incidents'])} in {calm['device_days']:.3f} device-days: too short to verify",
            met=False,
        ),
        "",
        f"In the calm watch of {calm['seconds']:.0f} s before the attacks {len(calm['incidents'])} incident(s) opened: by the same luck "
        f"{len(calm['incidents']) * (ATTACK_S + REST_S) / calm['seconds'] * total:.1f} of the {total} attacks would be 'found' without being seen.",
    ]
    return "\n".join([*lines, ""])


def _families(attacks: list[dict[str, Any]]) -> str:
    """The claim for families: the median of each family's attacks, one not found counted as never."""
    delays = {row["family"]: [] for row in attacks}  # type: dict[str, list[float]]
    for row in attacks:
        delays[row["family"]].append(math.inf if row["delay_s"] is None else row["delay_s"])
    middles = {name: statistics.median(values) for name, values in delays.items()}
    said = ", ".join(f"{name} {middle:.1f}" for name, middle in middles.items())
    return _claim("every family found within 10 s (median of its attacks)", said, max(middles.values()) <= 10)


def _policy(found: dict[str, Any]) -> str:
    rate = float(found["policy"].split("false_alarm_rate = ")[1].split()[0])
    return f"false-alarm budget {100 * rate:.0f} % of windows"


def _model(seeds: list[dict[str, Any]], name: str) -> str:
    rows = [seed["models"][name] for seed in seeds if name in seed["models"]]
    few = f" (seed 1 alone, code of {rows[0]['of']})" if rows and "of" in rows[0] else ""
    return (
        f"| {name}{few} | {_over([r['macro_f1'] for r in rows])} | {_over([r['roc_auc'] for r in rows])} | "
        f"{_over([r['recall_at_fpr']['0.01']['recall'] for r in rows])} |"
    )


def _family(attacks: list[dict[str, Any]], name: str) -> str:
    mine = [row["delay_s"] for row in attacks if row["family"] == name]
    found = [d for d in mine if d is not None]
    middle = f"{statistics.median(found):.1f}" if found else "-"
    return f"| {name} | {len(found)} of {len(mine)} | {middle} | {sum(d <= 10 for d in found)} of {len(mine)} |"


def _claims(seeds: list[dict[str, Any]], hardness: list[dict[str, Any]], attacks: list[dict[str, Any]]) -> list[str]:
    quick = sum(row["delay_s"] is not None and row["delay_s"] <= 10 for row in attacks)
    firsts = {f: [r["delay_s"] for r in attacks if r["family"] == f and r["delay_s"] is not None] for f in FAMILIES}
    middles = {f: statistics.median(d) if d else math.inf for f, d in firsts.items()}
    lines = [
        _claim("every attack found within 10 s of its start", f"{quick} of {len(attacks)}", quick == len(attacks)),
        _claim(
            "every family found within 10 s (median of its attacks that were found)",
            ", ".join(f"{f} {m:.1f}" for f, m in middles.items()),
            max(middles.values()) <= 10,
        ),
    ]
    for index, what in ((0, "the unseen ward's calm day"), (1, "radiology's calm day (DICOM bursts quiet)")):
        days = sum(s["calm"][index]["device_days"] for s in seeds)
        told = sum(round(s["calm"][index]["per_device_day"] * s["calm"][index]["device_days"]) for s in seeds)
        images = sum(s["calm"][index]["windows_with_images"] for s in seeds)
        seen = f", {images:,} windows with images" if images else ""
        lines.append(
            _claim(
                f"at most 1 false incident per device-day: {what}",
                f"{told / days:.1f} ({told} in {days:.1f} device-days{seen})",
                told / days <= 1,
            )
        )
    calm = [day for s in seeds for day in s["calm"]]
    days = sum(day["device_days"] for day in calm)
    told = sum(round(day["per_device_day"] * day["device_days"]) for day in calm)
    low, high = poisson(told)
    lines.append(
        _claim(
            "at most 1 false incident per device-day: all calm days",
            f"{told / days:.2f} ({told} in {days:.1f} device-days; 95 %: {low / days:.2f}-{high / days:.2f})",
            told / days <= 1,
        )
    )
    false, days = sum(s["trial"]["false_incidents"] for s in seeds), sum(s["trial"]["device_days"] for s in seeds)
    odd = sum(len(s["trial"]["oddities"]) for s in seeds)
    nothing = sum(row["explained_by"] == "" for s in seeds for row in s["trial"]["incidents"])
    lines.append(
        _claim(
            "the same in the trial",
            f"{false / days:.1f} ({false} in {days:.1f} device-days with {odd} oddities; told {nothing} times where nothing happened)",
            false / days <= 1,
        )
    )
    if hardness:
        worst = max((tuple(v) for h in hardness for v in h["best_column"].values()), key=lambda v: v[1])
        scores = [h["hgb_random_split"]["macro_f1"] for h in hardness]
        lines += [
            _claim("centralised HGB below 0.95 macro-F1 (random split)", _over(scores), max(scores) < 0.95),
            _claim("no column with AUC of 0.98", f"{worst[1]:.3f} ({worst[0]})", worst[1] < 0.98),
        ]
    return lines


def _held_out(name: str, row: dict[str, Any]) -> str:
    recall = row["recall_at_1e-2"]
    said = "-" if recall is None else f"{recall[0] / recall[1]:.2f} ({recall[0]} of {recall[1]})"
    found = sum(a["delay_s"] is not None for a in row["attacks"])
    return f"| {name} | {said} | {found} of {len(row['attacks'])} |"


def _claim(target: str, said: str, met: bool) -> str:
    return f"| {target} | {said} | {'yes' if met else '**no**'} |"


def _over(values: list[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"
