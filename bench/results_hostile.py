"""The page docs/results-hostile.md: every cell of bench/results/robust.json on CICIoMT2024, rule by attack."""

from __future__ import annotations

from bench.hostile_cells import (
    COHORTS,
    ORDER,
    SHARES,
    Found,
    alone,
    default,
    mean,
    of,
    rows_of,
    seeds_of,
    shipped,
    spread,
    title,
    unattacked,
)


def page(found: Found) -> str:
    """The whole page."""
    cells = list(found["cells"].values())
    lines = [
        "# Hostile clients: every rule and attack\n",
        "The full tables behind [results.md](results.md#hostile-clients), which says what was run and what follows from it. CICIoMT2024 v2, 19 classes, 50 clients, Dirichlet 0.5, macro-F1; in the last column, in per cent, the backdoor's success under "
        "model replacement. An empty cell was not run. The plain mean with nobody attacking: "
        + ", ".join(f"seed {seed}: {unattacked(cells, 'ciciomt2024', 0.5, [seed]):.3f}" for seed in (1, 2, 3))
        + ".\n",
        "## What ships, seed by seed\n",
    ]
    for share in SHARES:
        lines += _shipped(cells, share, f"### {share:.0%} hostile\n")
    lines.append("## Every rule by itself, without trust\n")
    lines.append("One seed, or mean and standard deviation over the seeds named.\n")
    for share in SHARES:
        for cohort in COHORTS:
            lines += _rules(alone(cells, share, cohort), f"### {share:.0%} hostile, {rows_of(cohort)}")
    return "\n".join(lines)


def _shipped(cells: list[Found], share: float, heading: str) -> list[str]:
    """Lines of the defaults with trust, by cohort size and seed."""
    here = [c for c in of(shipped(cells, "ciciomt2024", 0.5), share=share) if c["attack"] in ORDER]
    if not here:
        return []
    lines = [heading, *_head("rows of | rule | seed")]
    for size, seed in sorted({(c["cohort"], c["seed"]) for c in here}):
        row = of(here, cohort=size, seed=seed)
        lines.append(f"| {size} | {title(*default(size))} | {seed} | {' | '.join(_texts(row))} |")
    return [*lines, ""]


def _rules(here: list[Found], heading: str) -> list[str]:
    """Lines by rule, of one share and cohort size."""
    if not here:
        return []
    lines = [f"{heading} ({seeds_of(here)})\n", *_head("rule")]
    for rule, root in sorted({(c["rule"], c["root"]) for c in here}, key=lambda each: (each[0] != "mean", each)):
        lines.append(f"| {title(rule, root)} | {' | '.join(_texts(of(here, rule=rule)))} |")
    return [*lines, ""]


def _head(first: str) -> list[str]:
    columns = [first, *ORDER, "backdoor"]
    return [f"| {' | '.join(columns)} |", "|---" * (first.count("|") + len(columns)) + "|"]


def _texts(row: list[Found]) -> list[str]:
    """Macro-F1 by attack, and the backdoor's success."""
    scores = [spread([c["macro_f1"] for c in of(row, attack=attack)]) for attack in ORDER]
    planted = of(row, attack="model-replacement")
    return [*scores, f"{mean(planted, 'backdoor'):.0%}" if planted else ""]
