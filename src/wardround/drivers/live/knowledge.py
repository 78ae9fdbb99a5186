"""From a site's store to what its detector knows: models in service, baselines, thresholds; and how calibration makes them.

Calibration looks at the stored windows that are taken for normal: all in no incident, and those an operator called so. A window
that alarmed but came to nothing counts too, otherwise each calibration would cut off the tail it is to measure. Of every device
type the older two thirds teach the baseline and the newer third counts its scores, so no window is judged by what it taught.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from wardround.arrays import F32, I64
from wardround.detect.baseline import LEAST, Baseline, learn
from wardround.detect.detector import MODELS, Budget, Detector, Knowledge
from wardround.detect.scorer import Scorer
from wardround.detect.thresholds import Calibration
from wardround.detect.vetting import Sample, Verdict, vet
from wardround.drivers.store.site import Shelving, SiteStore, Stored
from wardround.errors import DataError, DecodeError, UsageError
from wardround.rng import stream
from wardround.training.bundle import Bundle, from_safetensors, to_safetensors
from wardround.wire import decode, encode, message

ENOUGH_FOR_A_TYPE = 300
"""Benign windows from which a device type gets a baseline of its own."""
MOST = 20_000
"""Rows that a baseline is taught with."""
CALIBRATIONS = "calibrations"


@message(0x440F)
@dataclass(frozen=True, eq=False)
class Entry:
    detector: str
    type: str
    calibration: Calibration


@message(0x4410)
@dataclass(frozen=True, eq=False)
class Calibrations:
    """All of a site's; ``made``: nanoseconds since 1970."""

    made: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Calibrated:
    """What a calibration came to, for people."""

    windows: int
    benign: int
    types: Mapping[str, int]
    baselines: tuple[str, ...]
    thresholds: Mapping[str, float] = field(default_factory=dict)


def load(store: SiteStore, budget: Budget) -> Knowledge:
    """What the store holds.

    Raises:
        DataError: a model, a baseline or the calibrations are damaged.
    """
    bundles = {row.slot: bundle_of(store.body(row.version)) for row in store.models() if row.state == "active"}
    saved = store.get(CALIBRATIONS)
    found: dict[tuple[str, str], Calibration] = {}
    if saved is not None:
        try:
            found = {(e.detector, e.type): e.calibration for e in decode(saved, Calibrations).entries}
        except DecodeError as error:
            raise DataError(f"the calibrations in {store.folder} are damaged ({error}): calibrate again") from error
    # counts were made with one budget; the rates that count are those of today
    for key, c in found.items():
        basis = bundles.get(key[0])
        federation = c.federation if basis is None or basis.benign_scores is None else basis.benign_scores
        found[key] = Calibration(budget.of(key[0]), federation, c.site, c.fixed)
    return Knowledge(bundles, store.baselines(), found, budget)


def calibrate(store: SiteStore, budget: Budget, now: int, since: int = 0, seed: int = 1) -> Calibrated:
    """Learn baselines and count benign scores from the store's windows that ended after ``since``.

    Raises:
        DataError: there are too few benign windows.
    """
    stored = store.stored(since)
    calm = _calm(stored)
    if len(calm) < LEAST:
        raise DataError(
            f"{len(calm)} windows taken for normal in {store.folder}: calibration needs {LEAST}; watch longer"
        )
    types = np.array(stored.type, dtype=object)[calm]
    wanted = {"": calm} | {
        str(t): calm[types == t] for t in sorted(set(types.tolist())) if (types == t).sum() >= ENOUGH_FOR_A_TYPE
    }
    baselines: dict[str, Baseline] = {}
    entries: list[Entry] = []
    models = {row.slot: bundle_of(store.body(row.version)) for row in store.models() if row.state == "active"}
    scorers = {slot: Scorer(bundle) for slot, bundle in models.items() if slot in MODELS}
    for type_, rows in wanted.items():
        taught, counted = _parts(rows)
        baselines[type_] = learn(_some(stored.x[taught], seed, type_), seed)
        scores = {"baseline": baselines[type_].scores(stored.x[counted])}
        scores |= {slot: scorer.scores(stored.x[rows]) for slot, scorer in scorers.items()}
        for detector, values in scores.items():
            entries.append(
                Entry(detector, type_, _calibration(models.get(detector), budget.of(detector)).with_site(values))
            )
    with store.batch():
        store.set_baselines(baselines)
        store.put(CALIBRATIONS, encode(Calibrations(now, tuple(entries))))
        store.changed()
    thresholds = {f"{e.detector} {e.type or 'all devices'}": e.calibration.value for e in entries}
    sizes = {type_ or "all devices": len(rows) for type_, rows in wanted.items()}
    return Calibrated(len(stored), len(calm), sizes, tuple(baselines), thresholds)


def offer(store: SiteStore, slot: str, bundle: Bundle, round_: int, now: int) -> tuple[int, Verdict]:
    """Put a model on the shelf, and into service unless it is worse on this site's own windows. Its version and why.

    Raises:
        UsageError: it cannot score, or its schema is not that of the stored windows.
    """
    body = to_safetensors(bundle)
    try:
        scorer = Scorer(bundle)
    except ValueError as error:
        raise UsageError(f"this model cannot watch: {error}") from error
    schema = store.schema()
    if schema is not None and schema.id != bundle.schema:
        raise UsageError(
            f"the model is for rows of schema {bundle.schema[:12]}, this site stores {schema.name} ({schema.id[:12]}): "
            "train and watch with the same features"
        )
    stored = store.stored()
    active = next((row for row in store.models() if row.slot == slot and row.state == "active"), None)
    calm, attack = _calm(stored), np.flatnonzero(stored.attack)
    before = None
    if active is not None:
        before = _sample(Scorer(bundle_of(store.body(active.version))), stored.x, calm, attack)
    verdict = vet(_sample(scorer, stored.x, calm, attack), before)
    with store.batch():
        state = "candidate" if verdict.fit else "refused"
        version = store.shelve(body, Shelving(slot, round_, state, verdict.reason, now))
        store.forget_models(slot)
    if verdict.fit:
        store.activate(version, verdict.reason)
    return version, verdict


def bundle_of(body: bytes) -> Bundle:
    """A stored bundle.

    Raises:
        DataError: it is damaged.
    """
    try:
        return from_safetensors(body)
    except DecodeError as error:
        raise DataError(f"a model of the site's shelf is damaged: {error}") from error


def _calm(stored: Stored) -> I64:
    """Windows taken for normal, in order of time: see the module's head."""
    said = np.array([v in {"false", "expected"} for v in stored.verdict], dtype=np.bool_)
    return np.flatnonzero(said | (stored.incident == 0))


def _calibration(bundle: Bundle | None, rate: float) -> Calibration:
    if bundle is None:
        return Calibration(rate)
    fixed = math.nan if bundle.threshold is None else bundle.threshold
    if bundle.benign_scores is None:
        return Calibration(rate, fixed=fixed)
    return Calibration(rate, federation=bundle.benign_scores, fixed=fixed)


def _parts(rows: I64) -> tuple[I64, I64]:
    """The older two thirds, the newer third."""
    cut = max(LEAST, 2 * len(rows) // 3)
    return rows[:cut], rows[cut:]


def _some(x: F32, seed: int, type_: str) -> F32:
    if len(x) <= MOST:
        return x
    chosen = stream(seed, "baseline rows", type_).choice(len(x), MOST, replace=False)
    return x[np.sort(chosen)]


def _sample(scorer: Scorer, x: F32, calm: I64, attack: I64) -> Sample:
    limit = Detector(Knowledge({"model": scorer.bundle})).calibration("model", "").value
    if not len(x):
        return Sample(np.zeros(0), np.zeros(0), limit)
    return Sample(scorer.scores(x[calm]), scorer.scores(x[attack]), limit)
