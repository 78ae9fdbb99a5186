"""Does one column give the label away? A predictor that sees that column alone, judged on rows it has not seen.

Half of the rows (drawn at random) make the predictor, the other half judge it. Three predictors are tried: a table
per *value*; a table per *bin* of equal counts, for numbers; and the nearest *neighbour* by value, for numbers (this
finds clocks and counters, whose values never return). All choose the class that is most over-represented against its
share, so that balanced accuracy (the mean recall over the classes) is 1/classes for a column that says nothing,
whatever the prior; the same forecasts give macro-F1. See Arp et al., "Dos and Don'ts of Machine Learning in Computer
Security", USENIX Security 2022, for such shortcuts in published work.

Two marks. ``LEAK``: alone it tells benign from attack, or all classes, with balanced accuracy of at least ``LEAK_AT``
and macro-F1 of at least ``LEAK_F1`` (a feature that catches all attacks but calls much normal traffic one is no leak).
``GROUPS``: alone it parts the classes into groups that (nearly) never share a value, and names a row's group with
balanced accuracy of at least ``GROUPS_AT``. That can be nature (an ICMP flood is ICMP) or an artefact of the recording
(a window's length, a clock, a tool's constant): a person must look. Thresholds were set on the data sets of
docs/reference/data.md, where the known leaks stand above them.
What it does not do: find leaks spread over several columns, or prove that an unmarked column is honest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wardround.arrays import F64, I64

LEAK_AT = 0.95
LEAK_F1 = 0.9
GROUPS_AT = 0.99
OVERLAP = 0.01
"""Two classes whose distributions over a column's values share more than this are in one group."""
SMALLEST_CLASS = 50
BINS = 512
MANY_VALUES = 2000

Way = Literal["value", "bin", "neighbour"]
Mark = Literal["", "GROUPS", "LEAK"]


@dataclass(frozen=True)
class Skill:
    """How well a column alone forecasts ``target`` (``attack`` or ``class``) on held-out rows, by its best ``way``.

    ``balanced_accuracy`` stands beside ``chance`` (1 / classes), ``macro_f1`` beside ``majority_f1`` (always the most
    frequent class).
    """

    target: str
    way: Way
    balanced_accuracy: float
    chance: float
    macro_f1: float
    majority_f1: float


@dataclass(frozen=True)
class Shortcut:
    """What ``column`` alone tells: its ``skill`` at the target it knows best, the ``groups`` of classes (codes) that
    it parts, and its ``mark``; empty groups where it parts none.
    """

    column: str
    skill: Skill
    groups: tuple[tuple[int, ...], ...]
    mark: Mark


def shortcut(
    column: str, codes: I64, order: F64 | None, targets: Mapping[str, I64], rng: np.random.Generator
) -> Shortcut:
    """Judge one column. ``codes`` [n] number its distinct values, ``order`` [n] are its numbers (NaN = missing) or
    None for words; ``targets`` are the classes 0..k-1 [n] to forecast, ``class`` among them.
    """
    half = rng.permutation(len(codes))
    train, test = half[: len(codes) // 2], half[len(codes) // 2 :]
    skills = [_skill(name, y, codes, order, (train, test)) for name, y in targets.items()]
    best = max(skills, key=lambda skill: (skill.balanced_accuracy - skill.chance) / (1 - skill.chance))
    tables = [codes] if codes.max() < MANY_VALUES else []
    tables += [] if order is None else [_bins(order, train)]
    parted = [_groups(table, targets["class"], train, test) for table in tables]
    groups = max(parted, key=len, default=())
    mark: Mark = (
        "LEAK" if best.balanced_accuracy >= LEAK_AT and best.macro_f1 >= LEAK_F1 else "GROUPS" if groups else ""
    )
    return Shortcut(column, best, groups, mark)


def _skill(target: str, y: I64, codes: I64, order: F64 | None, halves: tuple[I64, I64]) -> Skill:
    """The best of the three predictors."""
    train, test = halves
    classes = int(y.max()) + 1
    forecasts: dict[Way, I64] = {"value": _by_table(codes, y, train, test, classes)}
    if order is not None:
        forecasts["bin"] = _by_table(_bins(order, train), y, train, test, classes)
        forecasts["neighbour"] = _by_neighbour(order, y, train, test)
    scores = {way: _scores(y[test], forecast, classes) for way, forecast in forecasts.items()}
    way = max(scores, key=lambda w: scores[w][0])
    usual = np.full(len(test), np.bincount(y[train]).argmax())
    return Skill(target, way, scores[way][0], 1 / classes, scores[way][1], _scores(y[test], usual, classes)[1])


def _groups(codes: I64, y: I64, train: I64, test: I64) -> tuple[tuple[int, ...], ...]:
    """The groups of classes that the column parts on held-out rows; () where it parts none.

    Classes of fewer than ``SMALLEST_CLASS`` rows have too few values to tell and are left out.
    """
    classes = int(y.max()) + 1
    large = np.flatnonzero(np.bincount(y, minlength=classes) >= SMALLEST_CLASS)
    if len(large) < 2:
        return ()
    share = _shares(codes, y, train, classes)[:, large]
    linked = np.minimum(share[:, :, None], share[:, None, :]).sum(axis=0) > OVERLAP
    group = np.arange(len(large))
    for _ in large:  # the smallest number reachable; as many steps as there are classes always suffice
        group = np.array([group[row].min() for row in linked | np.eye(len(large), dtype=bool)])
    _, group = np.unique(group, return_inverse=True)
    if group.max() == 0:
        return ()
    code_of = np.full(classes, -1)
    code_of[large] = group
    train, test = train[code_of[y[train]] >= 0], test[code_of[y[test]] >= 0]
    grouped = code_of[y]
    forecast = _by_table(codes, grouped, train, test, int(group.max()) + 1)
    if _scores(grouped[test], forecast, int(group.max()) + 1)[0] < GROUPS_AT:
        return ()
    return tuple(tuple(int(c) for c in large[group == g]) for g in range(int(group.max()) + 1))


def _shares(codes: I64, y: I64, train: I64, classes: int) -> F64:
    """How each class' training rows [:, class] spread over the codes [code, :]; columns sum to 1."""
    counts = np.zeros((int(codes.max()) + 1, classes))
    np.add.at(counts, (codes[train], y[train]), 1.0)
    shares: F64 = counts / np.maximum(counts.sum(axis=0), 1)
    return shares


def _by_table(codes: I64, y: I64, train: I64, test: I64, classes: int) -> I64:
    """The class that is most over-represented among the training rows with the same code."""
    # a code never seen in training falls to class 0: as good a guess as any for balanced accuracy
    best: I64 = _shares(codes, y, train, classes).argmax(axis=1)
    return best[codes[test]]


def _bins(order: F64, train: I64) -> I64:
    """Numbers to bins of (nearly) equal counts of the training rows; missing ones have a bin of their own."""
    known = order[train][~np.isnan(order[train])]
    bins = min(BINS, max(2, len(known) // 50))
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1])) if len(known) else np.zeros(0)
    found = np.searchsorted(edges, order, side="right")
    return np.where(np.isnan(order), len(edges) + 1, found).astype(np.int64)


def _by_neighbour(order: F64, y: I64, train: I64, test: I64) -> I64:
    """The class of the training row whose number is nearest (equal numbers: the last of them)."""
    filled = np.where(np.isnan(order), -np.inf, order)
    sorted_train = train[np.argsort(filled[train], kind="stable")]
    values = filled[sorted_train]
    right = np.clip(np.searchsorted(values, filled[test]), 1, len(values) - 1)
    with np.errstate(invalid="ignore"):
        left_is_nearer = ~(values[right] - filled[test] < filled[test] - values[right - 1])
    return y[sorted_train[np.where(left_is_nearer, right - 1, right)]]


def _scores(truth: I64, forecast: I64, classes: int) -> tuple[float, float]:
    """Balanced accuracy and macro-F1 over the classes that occur in ``truth``."""
    table = np.zeros((classes, classes))
    np.add.at(table, (truth, forecast), 1.0)
    hits, true, told = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    occurs = true > 0
    f1 = 2 * hits[occurs] / np.maximum(true[occurs] + told[occurs], 1)
    return float((hits[occurs] / true[occurs]).mean()), float(f1.mean())
