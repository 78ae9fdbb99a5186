"""The page docs/results-hostile.md: every cell of bench/results/robust.json on CICIoMT2024, rule by attack."""

from __future__ import annotations

from bench.hostile_cells import COHORTS, ORDER, SHARES, Found, default, of, rows_of, title, unattacked


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
        lines += _table(cells, share, f"### {share:.0%} hostile\n", watch=True)
    lines.append("## Every rule by itself, without trust, seed 2\n")
    for share in SHARES:
        for cohort in COHORTS:
            lines += _table(cells, share, f"### {share:.0%} hostile, {rows_of(cohort)}\n", watch=False, cohort=cohort)
    return "\n".join(lines)


def _table(cells: list[Found], share: float, heading: str, *, watch: bool, cohort: int = 0) -> list[str]:
    """Lines by rule (of one ``cohort`` size, seed 2), or of the defaults with trust by cohort size and seed."""
    here = of(cells, data="ciciomt2024", alpha=0.5, share=share, keep=0.0, watch=watch)
    here = [c for c in here if c["root"] == default(c["cohort"])[1] and c["attack"] in ORDER]
    if watch:
        here = [c for c in here if c["rule"] == default(c["cohort"])[0]]
    else:
        here = of(here, cohort=cohort, seed=2)
    if not here:
        return []
    keys = sorted(
        {(c["cohort"], c["rule"], c["root"], c["seed"]) for c in here}, key=lambda k: (k[0], k[1] != "mean", k)
    )
    first = "rows of | rule | seed" if watch else "rule"
    lines = [
        heading,
        f"| {first} | {' | '.join(ORDER)} | backdoor |",
        "|---" * (len(ORDER) + (4 if watch else 2)) + "|",
    ]
    for size, rule, root, seed in keys:
        row = of(here, cohort=size, rule=rule, root=root, seed=seed)
        texts = [f"{got[0]['macro_f1']:.3f}" if (got := of(row, attack=attack)) else "" for attack in ORDER]
        planted = of(row, attack="model-replacement")
        name = f"{size} | {title(rule, root)} | {seed}" if watch else title(rule, root)
        backdoor = f"{planted[0]['backdoor']:.0%}" if planted else ""
        lines.append(f"| {name} | {' | '.join(texts)} | {backdoor} |")
    return [*lines, ""]
