"""Calibration: from windows taken for normal to baselines by device type and thresholds by detector.

Of every device type with enough windows the older two thirds teach the baseline and the newer third counts its scores, so no
window is judged by what it taught. Models were trained elsewhere: all windows count their scores. The type "" is all devices.
What it does not do: know which windows are normal (drivers/store/knowledge.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, I64
from wardround.detect import baseline
from wardround.detect.baseline import LEAST, Baseline
from wardround.detect.detector import MODELS, Budget
from wardround.detect.scorer import Scorer
from wardround.detect.thresholds import Calibration
from wardround.rng import stream
from wardround.training.bundle import Bundle
from wardround.wire import message

ENOUGH_FOR_A_TYPE = 300
"""Benign windows from which a device type gets a baseline and thresholds of its own."""
STRETCHES = 24
MOST = 20_000
"""Rows that a baseline is taught with."""


@dataclass(frozen=True, eq=False)
class Normal:
    """Windows taken for normal, oldest first: raw rows x [n, f] and the device type of each [n]."""

    x: F32
    types: Sequence[str]

    def __len__(self) -> int:
        return len(self.x)


@message(0x440F)
@dataclass(frozen=True, eq=False)
class Entry:
    """``model``: SHA-256 of the bundle whose scores were counted, empty for detectors without one: counts of one model say
    nothing of another.
    """

    detector: str
    type: str
    model: str
    calibration: Calibration


@dataclass(frozen=True, eq=False)
class Learnt:
    """``sizes``: windows by device type."""

    baselines: Mapping[str, Baseline]
    entries: tuple[Entry, ...]
    sizes: Mapping[str, int]

    @property
    def calibrations(self) -> dict[tuple[str, str], Calibration]:
        """As detect.detector.Knowledge wants them."""
        return {(e.detector, e.type): e.calibration for e in self.entries}


def learn(
    normal: Normal, models: Mapping[str, tuple[str, Bundle]], budget: Budget, seed: int = 1, *, most: int = MOST
) -> Learnt:
    """Baselines, each taught with ``most`` rows at most, and thresholds of them and of ``models`` (slot -> hash, bundle).

    Raises:
        ValueError: fewer than ``baseline.LEAST`` windows.
    """
    baselines: dict[str, Baseline] = {}
    entries: list[Entry] = []
    sizes: dict[str, int] = {}
    for type_, rows in _groups(normal).items():
        taught, after = _parts(rows)
        baselines[type_] = baseline.learn(_some(normal.x[taught], (seed, type_), most), seed)
        own = Calibration(budget.of("baseline")).with_site(baselines[type_].scores(normal.x[after]))
        entries.append(Entry("baseline", type_, "", own))
        sizes[type_ or "all devices"] = len(rows)
    for slot, model in models.items():
        if slot in MODELS:
            entries += counted(slot, model, normal, budget.of(slot))
    return Learnt(baselines, tuple(entries), sizes)


def counted(slot: str, model: tuple[str, Bundle], normal: Normal, rate: float) -> list[Entry]:
    """A model's scores of the normal windows, counted for all devices and for each type with enough."""
    digest, bundle = model
    scores = Scorer(bundle).scores(normal.x)
    base = prior(bundle, rate)
    return [Entry(slot, type_, digest, base.with_site(scores[rows])) for type_, rows in _groups(normal).items()]


def prior(bundle: Bundle, rate: float) -> Calibration:
    """What the federation says: its counts, else the bundle's threshold."""
    fixed = math.nan if bundle.threshold is None else bundle.threshold
    if bundle.benign_scores is None:
        return Calibration(rate, fixed=fixed)
    return Calibration(rate, federation=bundle.benign_scores, fixed=fixed)


def _groups(normal: Normal) -> dict[str, I64]:
    """Row numbers of all devices under "", then of each type with enough."""
    types = np.array(normal.types, dtype=object)
    found = {"": np.arange(len(normal))}
    for type_ in sorted(set(normal.types)):
        rows = np.flatnonzero(types == type_)
        if len(rows) >= ENOUGH_FOR_A_TYPE:
            found[type_] = rows
    return found


def _parts(rows: I64) -> tuple[I64, I64]:
    """Rows that teach, rows that count: of every three stretches of time two and one, so that both know all hours."""
    stretch = np.arange(len(rows)) * STRETCHES // max(len(rows), 1)
    counts = stretch % 3 == 2
    if len(rows) - counts.sum() < LEAST:
        return rows[:LEAST], rows[LEAST:]
    return rows[~counts], rows[counts]


def _some(x: F32, name: tuple[int, str], most: int) -> F32:
    if len(x) <= most:
        return x
    chosen = stream(name[0], "baseline rows", name[1]).choice(len(x), most, replace=False)
    return x[np.sort(chosen)]
