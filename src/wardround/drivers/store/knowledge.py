"""From a site's store to what its detector knows: models in service, baselines, thresholds; and how calibration makes them.

Calibration looks at the stored windows that are taken for normal: all in no incident, and those an operator called so. A window
that alarmed but came to nothing counts too, otherwise each calibration would cut off the tail it is to measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from wardround.arrays import F32, F64, I64
from wardround.detect import calibration, drift, norms
from wardround.detect.baseline import LEAST
from wardround.detect.calibration import Entry, Normal
from wardround.detect.detector import MODELS, Budget, Detector, Knowledge
from wardround.detect.measures import Rate
from wardround.detect.norms import Norms
from wardround.detect.scorer import BATCH, Scorer
from wardround.detect.thresholds import Calibration, counts
from wardround.detect.vetting import Sample, Verdict, vet
from wardround.drivers.store.site import SiteStore
from wardround.drivers.store.site_rows import Shelving, Stored
from wardround.errors import DataError, DecodeError, UsageError
from wardround.training.bundle import Bundle, compact, from_safetensors, to_safetensors
from wardround.wire import decode, encode, message

NEWEST = 50_000
"""Windows on which models are compared and counted."""
CALIBRATIONS, NORMS = "calibrations", "norms"


@message(0x4410)
@dataclass(frozen=True, eq=False)
class Calibrations:
    """All of a site's; ``made``: nanoseconds since 1970."""

    made: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Calibrated:
    """What a calibration came to, for people. ``drift``: population stability index of each model input (drift.py).
    ``alarms``: how often normal windows alarmed under the thresholds until now, of all devices ("") and by type.
    """

    windows: int
    benign: int
    types: Mapping[str, int]
    baselines: tuple[str, ...]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    drift: Mapping[str, float] = field(default_factory=dict)
    alarms: Mapping[str, Rate] = field(default_factory=dict)


def load(store: SiteStore, budget: Budget) -> Knowledge:
    """What the store holds.

    Raises:
        DataError: a model, a baseline or the calibrations are damaged.
    """
    active = _active(store)
    bundles = {slot: bundle for slot, (_, bundle) in active.items()}
    hashes = {slot: digest for slot, (digest, _) in active.items()}
    kept = [e for e in _saved(store) if not e.model or hashes.get(e.detector) == e.model]
    found = {(e.detector, e.type): e.calibration for e in kept}
    # counts were made with one budget; the rates that count are those of today
    for key, c in found.items():
        basis = bundles.get(key[0])
        federation = c.federation if basis is None or basis.benign_scores is None else basis.benign_scores
        found[key] = Calibration(budget.of(key[0]), federation, c.site, c.fixed)
    return Knowledge(bundles, store.baselines(), found, budget, _norms(store))


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
    active = _active(store)
    learnt = calibration.learn(Normal(stored.x[calm], tuple(stored.type[i] for i in calm)), active, budget, seed)
    with store.batch():
        store.set_baselines(learnt.baselines)
        store.put(CALIBRATIONS, encode(Calibrations(now, learnt.entries)))
        store.put(NORMS, _records(store, stored, calm).to_bytes())
        store.changed()
    thresholds = {f"{e.detector} {e.type or 'all devices'}": e.calibration.value for e in learnt.entries}
    shifted = _drift({slot: Scorer(bundle) for slot, (_, bundle) in active.items() if slot in MODELS}, stored.x[calm])
    alarms = drift.alarm_rates(stored.alarm[calm], [stored.type[i] for i in calm])
    return Calibrated(len(stored), len(calm), learnt.sizes, tuple(learnt.baselines), thresholds, shifted, alarms)


def offer(
    store: SiteStore,
    slot: str,
    bundle: Bundle,
    when: tuple[int, int],
    body: bytes = b"",
    *,
    budget: Budget | None = None,
) -> tuple[int, Verdict]:
    """Put a model on the shelf, and into service unless it is worse on this site's own windows. Its version and why.
    ``when``: the federation's round, and now (ns); ``body``: the file it came from, where it came from one.

    Raises:
        UsageError: it cannot score, or its schema is not that of the stored windows.
    """
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
    stored = store.stored(newest=NEWEST)
    active = _active(store).get(slot)
    calm, attack = _calm(stored), np.flatnonzero(stored.attack)
    before = None
    if active is not None:
        before = _sample(Scorer(active[1]), stored.x, calm, attack)
    verdict = vet(_sample(scorer, stored.x, calm, attack), before)
    with store.batch():
        state = "candidate" if verdict.fit else "refused"
        version = store.shelve(body or to_safetensors(bundle), Shelving(slot, when[0], state, verdict.reason, when[1]))
        store.forget_models(slot)
    if verdict.fit:
        use(store, version, verdict.reason, budget)
    return version, verdict


def use(store: SiteStore, version: int, reason: str, budget: Budget | None = None) -> None:
    """Put a version into service and count the scores it gives the site's own normal windows, from which its thresholds follow.

    Raises:
        UsageError: no such version.
    """
    store.activate(version, reason)
    slot = next(row.slot for row in store.models() if row.version == version)
    digest, bundle = _active(store)[slot]
    stored, rate = store.stored(newest=NEWEST), (budget or Budget()).of(slot)
    entries = [e for e in _saved(store) if e.detector != slot]
    calm = _calm(stored)
    if len(calm) >= LEAST:
        normal = Normal(stored.x[calm], tuple(stored.type[i] for i in calm))
        entries += calibration.counted(slot, (digest, bundle), normal, rate)
    with store.batch():
        store.put(CALIBRATIONS, encode(Calibrations(0, tuple(entries))))
        store.changed()


@lru_cache(maxsize=2)
def bundle_of(body: bytes) -> Bundle:
    """A stored bundle; the two in service are kept, for every look at the shelf would parse them again.

    Raises:
        DataError: it is damaged.
    """
    try:
        return compact(from_safetensors(body))
    except DecodeError as error:
        raise DataError(f"a model of the site's shelf is damaged: {error}") from error


def _active(store: SiteStore) -> dict[str, tuple[str, Bundle]]:
    """Hash and bundle in service, by slot."""
    return {row.slot: (row.hash, bundle_of(store.body(row.version))) for row in store.models() if row.state == "active"}


def _records(store: SiteStore, stored: Stored, calm: I64) -> Norms:
    """Each device's own record of the windows ``calm``."""
    schema = store.schema()
    assert schema is not None  # there are windows
    device, types = (tuple(names[i] for i in calm) for names in (stored.device, stored.type))
    return norms.learn(schema, device, types, stored.rates[calm], stored.x[calm])


def _norms(store: SiteStore) -> Norms:
    saved = store.get(NORMS)
    if saved is None:
        return norms.NONE
    try:
        return Norms.from_bytes(saved)
    except DecodeError as error:
        raise DataError(f"the calibrations in {store.folder} are damaged ({error}): calibrate again") from error


def _saved(store: SiteStore) -> tuple[Entry, ...]:
    saved = store.get(CALIBRATIONS)
    if saved is None:
        return ()
    try:
        return decode(saved, Calibrations).entries
    except DecodeError as error:
        raise DataError(f"the calibrations in {store.folder} are damaged ({error}): calibrate again") from error


def _calm(stored: Stored) -> I64:
    """Windows taken for normal, in order of time: see the module's head."""
    said = np.array([v in {"false", "expected"} for v in stored.verdict], dtype=np.bool_)
    return np.flatnonzero(said | (stored.incident == 0))


def _drift(scorers: Mapping[str, Scorer], x: F32) -> dict[str, float]:
    """How far this site's normal windows lie from the federation's rows: of the model's inputs, and of its benign scores."""
    scorer = scorers.get("model") or scorers.get("guard")
    if scorer is None:
        return {}
    names = scorer.preprocessor.names
    scaled = len(scorer.preprocessor.columns)
    seen = drift.Drift(names[:scaled])
    seen.observe(scorer.prepare(x)[:, :scaled])
    found = seen.against(drift.uniform(scaled))
    federation = scorer.bundle.benign_scores
    if federation is not None:
        found = {"benign scores": drift.score_psi(counts(scorer.scores(x)), federation), **found}
    return found


def _sample(scorer: Scorer, x: F32, calm: I64, attack: I64) -> Sample:
    limit = Detector(Knowledge({"model": scorer.bundle})).calibration("model", "").value
    if not len(x):
        return Sample(np.zeros(0), np.zeros(0), limit)
    return Sample(_scores(scorer, x, calm), _scores(scorer, x, attack), limit)


def _scores(scorer: Scorer, x: F32, rows: I64) -> F64:
    """Scores of ``rows`` of ``x``, a few at a time: no copy of them all."""
    parts = [scorer.scores(x[rows[at : at + BATCH]]) for at in range(0, len(rows), BATCH)]
    return np.concatenate(parts) if parts else np.zeros(0)
