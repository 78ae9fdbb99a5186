"""Print docs/results.md from the committed JSON of bench/results: no number there is typed by hand.

.venv/bin/python bench/write_results.py          # write docs/results.md
.venv/bin/python bench/write_results.py --check  # fail if it is not what the JSON says
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
OUT = ROOT / "docs" / "results.md"


def page() -> str:
    """The whole page."""
    parts = ["# Results\n", INTRODUCTION]
    for name, write in SECTIONS.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            parts.append(write(json.loads(path.read_text(encoding="utf-8"))))
    return "\n".join(parts)


INTRODUCTION = """Every number on this page is printed by `bench/write_results.py` from the JSON files in `bench/results/`, which the scripts in `bench/` wrote
in one run each, with the machine's description. Mean ± sample standard deviation over seeds 1, 2 and 3 unless a line says otherwise.
"""


def quality(found: dict[str, Any]) -> str:
    """Macro-F1 and the rest, per case."""
    lines = [
        "## Detection quality\n",
        f"{_machine(found)} Each case is a shipped experiment (`experiments/NAME.toml`) with the keys in brackets changed; repeat with "
        "`bench/quality.py`. *Centralised* trains the same model on the pooled rows, *local-only* trains each gateway alone; all three are scored "
        "on the same test rows.\n",
        "| case | federated macro-F1 | centralised | local-only | ROC-AUC | recall at 1 % FPR | worst tenth of clients | MB up / down per client |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, case in found["cases"].items():
        seeds = list(case["seeds"].values())
        changed = f" <br>`{' '.join(case['sets'])}`" if case["sets"] else ""
        lines.append(
            f"| {name} ({case['experiment']}){changed} | {_over(seeds, _macro('federated'))} | {_over(seeds, _macro('centralised'))} "
            f"| {_over(seeds, _macro('local'))} | {_over(seeds, lambda s: s['federated']['roc_auc'])} "
            f"| {_over(seeds, _recall)} | {_over(seeds, lambda s: s['federated']['clients']['worst_tenth'])} "
            f"| {_megabytes(seeds, 'up')} / {_megabytes(seeds, 'down')} |",
        )
    lines += ["", *_claims(found), ""]
    return "\n".join(lines)


def _claims(found: dict[str, Any]) -> list[str]:
    """The targets of issue 2 beside what was measured."""
    cases = found["cases"]
    lines = ["### Against the targets\n", "| target | measured | met |", "|---|---|---|"]
    for name, most in (("ciciomt2024-6class, IID", 0.5), ("ciciomt2024-6class, Dirichlet 0.5", 2.0)):
        if name in cases:
            gap = _gap(cases[name])
            lines.append(
                f"| {name}: within {most} points of centralised | {gap:+.2f} points | {'yes' if gap >= -most else '**no**'} |"
            )
    for name, case in cases.items():
        if name.startswith("negative control"):
            values = [s["federated"]["balanced_accuracy"] for s in case["seeds"].values()]
            chance = all(abs(v - 0.5) < 0.03 for v in values)
            lines.append(f"| {name}: chance | balanced accuracy {_spread(values)} | {'yes' if chance else '**no**'} |")
        if name.startswith("wustl"):
            shares = [1 - s["federated"]["predicted_shares"][0] for s in case["seeds"].values()]
            lines.append(
                f"| {name}: no collapse to all-benign | {_spread(shares)} of test rows called attack | {'yes' if min(shares) > 0.01 else '**no**'} |"
            )
    return lines


def speed(found: dict[str, Any]) -> str:
    """Simulation speed, as bench/simulation_speed.py wrote it."""
    lines = [
        "## Simulation speed\n",
        f"{_machine(found)} The task of PEERS.md; client-rounds per CPU-second, best and median of interleaved repetitions; repeat with "
        "`bench/simulation_speed.py`.\n",
        "| contender | best | median | times the plain PyTorch loop (best) |",
        "|---|---|---|---|",
    ]
    contenders = found["contenders"]
    floor = next((c["best"] for c in contenders if c["name"] == found.get("floor")), None)
    for each in contenders:
        if each.get("absent"):
            lines.append(f"| {each['name']} | not installed: {each['absent']} | | |")
            continue
        ratio = f"x{each['best'] / floor:.1f}" if floor else ""
        lines.append(f"| {each['name']} | {each['best']:,.0f} | {each['median']:,.0f} | {ratio} |")
    return "\n".join([*lines, ""])


SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {"quality": quality}


def _machine(found: dict[str, Any]) -> str:
    machine = found["machine"]
    return f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; {found['date']}."


def _macro(model: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda seed: seed[model]["macro_f1"] if model in seed else None


def _recall(seed: dict[str, Any]) -> float | None:
    value: float | None = seed["federated"]["recall_at_fpr"]["0.01"]["recall"]
    return value


def _over(seeds: list[dict[str, Any]], read: Callable[[dict[str, Any]], float | None]) -> str:
    values = [value for seed in seeds if (value := read(seed)) is not None]
    return _spread(values) if values else "–"


def _spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{deviation}"


def _gap(case: dict[str, Any]) -> float:
    seeds = case["seeds"].values()
    return 100 * statistics.fmean(s["federated"]["macro_f1"] - s["centralised"]["macro_f1"] for s in seeds)


def _megabytes(seeds: list[dict[str, Any]], way: str) -> str:
    return f"{statistics.fmean(s['bytes'][f'{way}_per_client'] for s in seeds) / 1e6:.2f}"


def main() -> None:
    text = page()
    if "--check" in sys.argv:
        if not OUT.exists() or OUT.read_text(encoding="utf-8") != text:
            sys.exit(f"{OUT} is not what bench/results says: run bench/write_results.py")
        return
    OUT.write_text(text, encoding="utf-8")
    print(OUT)


if __name__ == "__main__":
    main()
