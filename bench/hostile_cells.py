"""Reading bench/results/robust.json: cells by what they hold, means over seeds, points lost."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

ORDER = (
    "none",
    "label-flip",
    "sign-flip",
    "gaussian",
    "free-rider",
    "mimic",
    "alie",
    "ipm",
    "min-max",
    "min-sum",
    "alie-aware",
    "ipm-aware",
    "fltrust-adaptive",
    "model-replacement",
)
ATTACKS = ORDER[1:]
SHARES, COHORTS = (0.1, 0.2, 0.3), (1, 2, 3, 5, 8)
SMALL = 2  # rows of at most so many clients take rooted-mean and a root set of 300
ROOTED = ("fltrust", "rooted-mean", "zeno")
OFF = {"watch": False, "keep": 0.0}  # what cells of before these switches had
Found = dict[str, Any]


def default(cohort: int) -> tuple[str, int]:
    """The default rule for rows of ``cohort`` clients and the rows of its root set."""
    return ("rooted-mean", 300) if cohort <= SMALL else ("fltrust", 1000)


def of(cells: Iterable[Found], **wanted: Any) -> list[Found]:
    return [c for c in cells if all(c.get(key, OFF.get(key)) == value for key, value in wanted.items())]


def shipped(cells: Iterable[Found], data: str, alpha: float) -> list[Found]:
    """The cells of what a file gets that assumes hostile clients: the default rule, and trust."""
    here = of(cells, data=data, alpha=alpha, watch=True, keep=0.0)
    return [c for c in here if (c["rule"], c["root"]) == default(c["cohort"])]


def alone(cells: Iterable[Found], share: float, cohort: int) -> list[Found]:
    """The cells of rules by themselves on CICIoMT2024, Dirichlet 0.5: of seed 2, and of each further seed that has them all."""
    here = of(cells, data="ciciomt2024", alpha=0.5, share=share, cohort=cohort, watch=False, keep=0.0)
    here = [c for c in here if c["root"] == default(cohort)[1] and c["attack"] in ORDER]
    held = {seed: {(c["rule"], c["attack"]) for c in here if c["seed"] == seed} for seed in (1, 2, 3)}
    return [c for c in here if held[c["seed"]] >= held[2]]


def seeds_of(cells: Iterable[Found]) -> str:
    """The seeds of ``cells`` in words."""
    seeds = sorted({c["seed"] for c in cells})
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def mean(cells: Sequence[Found], key: str = "macro_f1") -> float:
    return statistics.fmean(c[key] for c in cells)


def spread(scores: Sequence[float]) -> str:
    """Mean and standard deviation in words; nothing where nothing ran."""
    if not scores:
        return ""
    deviation = f" ± {statistics.stdev(scores):.3f}" if len(scores) > 1 else ""
    return f"{statistics.fmean(scores):.3f}{deviation}"


def unattacked(cells: Iterable[Found], data: str, alpha: float, seeds: Iterable[int]) -> float:
    """Macro-F1 of the plain mean over all clients' rows when nobody attacks; not a number where it was not run."""
    wanted = set(seeds)
    calm = of(cells, data=data, alpha=alpha, rule="mean", cohort=1, attack="none", watch=False, keep=0.0)
    found = {c["seed"]: c for c in calm if c["seed"] in wanted}
    return mean(list(found.values())) if found.keys() == wanted else float("nan")


def lost(cells: Sequence[Found], got: Sequence[Found]) -> float:
    """Points of macro-F1 that ``got`` (cells of one federation, over seeds) lie below the unattacked mean of their seeds."""
    first = got[0]
    return 100 * (unattacked(cells, first["data"], first["alpha"], {c["seed"] for c in got}) - mean(got))


def lost_by_attack(cells: Sequence[Found], here: Sequence[Found]) -> dict[str, float]:
    """Points below the unattacked mean of the same seeds, by attack."""
    return {attack: lost(cells, got) for attack in ORDER if (got := of(here, attack=attack))}


def lost_at_most(cells: Sequence[Found], here: Sequence[Found]) -> float:
    """Points lost to the attack that costs most; not a number where nothing ran."""
    return max((lost(cells, same) for attack in ATTACKS if (same := of(here, attack=attack))), default=float("nan"))


def title(rule: str, root: int, watch: bool = False) -> str:
    rooted = f" (root {root})" if rule in ROOTED else ""
    return f"{rule}{rooted}{' + trust' if watch else ''}"


def rows_of(cohort: int) -> str:
    return "rows of one client" if cohort == 1 else f"cohorts of {cohort}"
