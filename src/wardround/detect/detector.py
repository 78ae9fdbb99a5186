r"""All detectors beside each other: each with its own share of the false-alarm budget, one incident machine behind.

    windows -> model    (the federation's classifier: scorer.py)      score  \
            -> guard    (its second: benign or not, exposure.py)      score   |
            -> baseline (this device type's own normal: baseline.py)  score   > threshold of its share -> finding -> incidents.py
            -> volume   (this device's own rates: volume.py)          score   |
            -> norms    (what this device never did: norms.py)        score  /
            -> arp      (bindings: arp.py)                            conflict ------------------------/

A share of a rate r is r_d = share_d * r, so the union of alarms on benign windows is at most r however the detectors depend on
one another (Boole's inequality). A detector without a basis for its threshold is silent and says so (``status``).
Sans-IO: windows in, an ``Assessment`` out; ``to_bytes`` is everything a restart needs but the bundle and the baselines, which
drivers keep as files. Laws: a restart between any two batches changes nothing; scores do not depend on the cut into batches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from wardround.arrays import F64, I64, Bool
from wardround.detect import norms
from wardround.detect.arp import Bindings, Conflict
from wardround.detect.baseline import Baseline
from wardround.detect.exchange import flow, outward
from wardround.detect.findings import Finding, Flow
from wardround.detect.incident import Change, Policy
from wardround.detect.incidents import Incidents
from wardround.detect.inventory import Inventory
from wardround.detect.norms import Norms
from wardround.detect.prior import prior
from wardround.detect.scorer import Scorer
from wardround.detect.tags import ANOMALY, family
from wardround.detect.thresholds import REACH, Calibration, threshold
from wardround.detect.volume import MEASURES, Volume
from wardround.detect.why import Why
from wardround.errors import UsageError
from wardround.traffic.windows import Windows
from wardround.training.bundle import Bundle
from wardround.training.limits import from_arrays as type_limits
from wardround.wire import decode, encode, message

MODELS = ("model", "guard")
DETECTORS = (*MODELS, "baseline", "volume", "norms")
FIXED = frozenset({"volume", "norms"})
"""Rules: their scale has its limit at 0, whatever was counted."""
STRONG = 10.0
"""A score that a rate so many times smaller would catch too has two votes."""
SPREADS = 2.0
"""What stands for that where no counts are known: so far above the threshold; a chart of twice its limit (volume.py)."""


@dataclass(frozen=True)
class Budget:
    """``rate``: alarms on benign device-windows, of all detectors together; ``shares``: of each of ``DETECTORS``."""

    rate: float = 0.005
    shares: tuple[float, ...] = (0.3, 0.3, 0.2, 0.1, 0.1)

    def __post_init__(self) -> None:
        if not 0 < self.rate < 0.5:
            raise ValueError(f"the false-alarm rate must lie between 0 and 0.5, not {self.rate}")
        if len(self.shares) != len(DETECTORS) or min(self.shares) <= 0 or sum(self.shares) > 1 + 1e-9:
            raise ValueError(f"shares should be {len(DETECTORS)} positive numbers that sum to at most 1: {self.shares}")

    def of(self, detector: str) -> float:
        """The detector's own rate."""
        return self.rate * self.shares[DETECTORS.index(detector)]


@dataclass(frozen=True, eq=False)
class Assessment:
    """What came of a batch: scores of each detector [n] (NaN: silent on that row), which rows alarm [n], the number of the
    incident that a row belongs to [n] (0: none), what changed.
    """

    scores: Mapping[str, F64]
    alarm: Bool
    incident: I64
    findings: tuple[Finding, ...]
    changes: tuple[Change, ...]


@message(0x440D)
@dataclass(frozen=True, eq=False)
class _Entry:
    detector: str
    type: str
    calibration: Calibration


@message(0x440E)
@dataclass(frozen=True, eq=False)
class _Saved:
    incidents: bytes
    volume: bytes
    bindings: bytes
    inventory: bytes
    calibrations: tuple[_Entry, ...]


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What training and calibration gave: bundles under "model" and "guard" (either may be absent), baselines by device type
    ("" for all), and calibrations by (detector, device type); the type "" is for all types without one of their own;
    ``norms``: each device's own record (norms.py).
    """

    bundles: Mapping[str, Bundle] = field(default_factory=dict)
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    calibrations: Mapping[tuple[str, str], Calibration] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    norms: Norms = norms.NONE


class Detector:
    """One site's detector.

    Raises:
        UsageError: the bundle cannot score (no benign class), or its schema has another width than a baseline.
    """

    def __init__(self, knowledge: Knowledge | None = None, policy: Policy | None = None) -> None:
        self.incidents = Incidents(policy)
        self.volume = Volume()
        self.bindings = Bindings()
        self.inventory = Inventory()
        self.know(knowledge or Knowledge())

    def know(self, knowledge: Knowledge) -> None:
        """Go on with another model, other baselines, other thresholds; incidents and charts stay.

        Raises:
            UsageError: see the class.
        """
        try:
            self.scorers = {name: Scorer(bundle) for name, bundle in knowledge.bundles.items() if name in MODELS}
        except ValueError as error:
            raise UsageError(f"this model cannot watch: {error}") from error
        try:
            self._announced = {name: type_limits(bundle.arrays) for name, bundle in knowledge.bundles.items()}
        except ValueError as error:
            raise UsageError(f"this model's limits of types cannot be read: {error}") from error
        self.knowledge = knowledge
        self.volume.ceilings = {name: norm.rates for name, norm in knowledge.norms.devices.items()}
        self._why = Why(self.scorers, self.volume, knowledge.norms)
        self._values: dict[tuple[str, str], tuple[float, float]] = {}
        self.prior = prior({} if knowledge.baselines else knowledge.bundles, knowledge.budget.of("baseline"))

    def observe(self, windows: Windows) -> Assessment:
        """Score ``windows`` and take their findings into incidents.

        Raises:
            UsageError: the windows' schema is not the model's.
        """
        self._same_schema(windows)
        self.inventory.observe(windows)
        for device in windows.devices:
            self.incidents.learn(self.inventory.get(device).address, device)
        types = [self.kind(name) for name in windows.devices]
        scores: dict[str, F64] = {name: np.full(len(windows), np.nan) for name in DETECTORS}
        for name, scorer in self.scorers.items():
            scores[name] = scorer.scores(windows.x)
        self._baselines(windows, types, scores["baseline"])
        scores["volume"], worst = self.volume.observe(windows)
        beyond = norms.excess(self.knowledge.norms, windows)
        scores["norms"] = beyond.score
        alarm: Bool = np.zeros(len(windows), dtype=np.bool_)
        findings = [self._conflict(c) for c in self.bindings.observe(windows.claims)]
        self.bindings.seen(windows)
        for name in DETECTORS:
            limits = np.array([self._limits(name, t) for t in types]).reshape(-1, 2)[windows.device]
            over = np.flatnonzero(scores[name] > limits[:, 0])
            alarm[over] = True
            if len(over):
                findings += self._findings(
                    name, windows, scores[name], limits, beyond.column if name == "norms" else worst
                )
        # who acts before who suffers: a victim's evidence joins its attacker's incident
        findings.sort(key=lambda f: (f.end, not f.flow.outward))
        changes = [self._explained(c, windows) for c in self.incidents.observe(findings)]
        return Assessment(scores, alarm, self._numbers(windows, findings), tuple(findings), tuple(changes))

    def tick(self, now: int) -> list[Change]:
        """The clock: incidents close."""
        return self.incidents.tick(now)

    def calibration(self, detector: str, type_: str) -> Calibration:
        """The one that counts for a device type."""
        if detector == "baseline" and self.prior.calibration is not None:
            return self.prior.calibration
        found = self.knowledge.calibrations
        mine = found.get((detector, type_))
        if detector == "baseline" and type_ in self.knowledge.baselines:
            return mine or self._unlearnt(detector)  # counts of another baseline's scores say nothing of this one's
        if mine is not None and mine.own:
            return mine
        general = found.get((detector, ""))
        if general is not None:
            return general
        return mine or self._unlearnt(detector)

    def kind(self, device: str) -> str:
        """The type that a device counts as: the operator's word, else what it was when its record was made, else the guess of its
        traffic. An attack must not make a pump a sensor, for which its own habits are strange.
        """
        seen, norm = self.inventory.get(device), self.knowledge.norms.devices.get(device)
        return seen.type or (norm.type if norm is not None else seen.guessed)

    def status(self, type_: str, device: str = "") -> dict[str, str]:
        """What each detector stands on for devices of ``type_``, and for ``device``; for people."""
        found = {name: self.calibration(name, type_).status for name in DETECTORS}
        found |= {name: "no model yet" for name in MODELS if name not in self.scorers}
        baseline = self._baseline(type_)
        found["baseline"] = "no baseline yet" if baseline is None else f"{baseline.rows} windows; {found['baseline']}"
        norm = self.knowledge.norms.devices.get(device)
        found["norms"] = "no record yet" if norm is None else f"record of {norm.windows} windows"
        return found

    def to_bytes(self) -> bytes:
        return encode(
            _Saved(
                self.incidents.to_bytes(),
                self.volume.to_bytes(),
                self.bindings.to_bytes(),
                self.inventory.to_bytes(),
                tuple(_Entry(d, t, c) for (d, t), c in sorted(self.knowledge.calibrations.items(), key=lambda i: i[0])),
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes, knowledge: Knowledge, policy: Policy | None = None) -> Detector:
        """``knowledge`` with the calibrations that ``data`` holds, unless it brings its own.

        Raises:
            DecodeError: not what ``to_bytes`` wrote.
        """
        saved = decode(data, _Saved)
        held = {(e.detector, e.type): e.calibration for e in saved.calibrations}
        found = Knowledge(
            knowledge.bundles, knowledge.baselines, knowledge.calibrations or held, knowledge.budget, knowledge.norms
        )
        made = cls(found, policy)
        made.incidents = Incidents.from_bytes(saved.incidents, policy)
        ceilings, made.volume = made.volume.ceilings, Volume.from_bytes(saved.volume)
        made.volume.ceilings = ceilings
        made._why = Why(made.scorers, made.volume, found.norms)
        made.bindings = Bindings.from_bytes(saved.bindings)
        made.inventory = Inventory.from_bytes(saved.inventory)
        return made

    # --- inside

    def _numbers(self, windows: Windows, findings: list[Finding]) -> I64:
        """The incident of each row: its evidence, and every row of a device that has one open."""
        mine = np.array([self.incidents.number(name) for name in windows.devices], dtype=np.int64)
        found: I64 = mine[windows.device] if len(mine) else np.zeros(0, np.int64)
        for f in findings:
            if f.row >= 0 and not found[f.row]:
                found[f.row] = self.incidents.number(self.incidents.subject(f))
        return found

    def _same_schema(self, windows: Windows) -> None:
        for name, bundle in self.knowledge.bundles.items():
            if bundle.schema != windows.schema.id:
                raise UsageError(
                    f"the {name} was trained on schema {bundle.schema[:12]}, these windows are {windows.schema.name} "
                    f"({windows.schema.id[:12]}): use the features the federation trains with"
                )
        width = len(windows.schema.columns)
        for type_, baseline in (self.knowledge.baselines or self.prior.baselines).items():
            if baseline.features != width:
                raise UsageError(
                    f"the baseline of {type_ or 'all devices'} has {baseline.features} features, windows have {width}: "
                    f"calibrate again"
                )

    def _baseline(self, type_: str) -> Baseline | None:
        held = self.knowledge.baselines or self.prior.baselines
        return held.get(type_) or held.get("")

    def _baselines(self, windows: Windows, types: list[str], into: F64) -> None:
        """Scores of each device type's baseline, where there is one."""
        if not (self.knowledge.baselines or self.prior.baselines) or not len(windows):
            return
        kinds = np.array(types, dtype=object)[windows.device]
        for type_ in set(types):
            baseline, rows = self._baseline(type_), np.flatnonzero(kinds == type_)
            if baseline is not None and len(rows):
                learnt = bool(self.knowledge.baselines)
                into[rows] = baseline.scores(windows.x[rows]) if learnt else self.prior.scores(type_, windows.x[rows])

    def _limits(self, detector: str, type_: str) -> tuple[float, float]:
        """Threshold, and what has two votes."""
        key = (detector, type_)
        if key not in self._values:
            c = self.calibration(detector, type_)
            least = 0.0 if c.counted else (math.log(2.0) if detector == "volume" else SPREADS)
            value = c.value + self._raised(detector, type_, c.value)
            self._values[key] = value, value + max(c.stricter(STRONG) - c.value, least)
        return self._values[key]

    def _raised(self, detector: str, type_: str, value: float) -> float:
        """What a device type adds to a threshold of all types before it has enough windows for one of its own: a type that is
        noisier than the rest must not eat their share. It never lowers it so. Before it has any: what the federation knows.
        """
        mine = self.knowledge.calibrations.get((detector, type_))
        if mine is None:
            return self._announced.get(detector, {}).get(type_, 0.0)
        if mine.own or not math.isfinite(value) or mine.site.sum() * mine.rate < 1:
            return 0.0
        return min(max(threshold(mine.site, mine.rate) - value, 0.0), REACH)

    def _unlearnt(self, detector: str) -> Calibration:
        """Before any benign window was counted here: the bundle's counts, its threshold, the charts' textbook limit, silence."""
        bundle = self.knowledge.bundles.get(detector)
        fixed = 0.0 if detector in FIXED else (None if bundle is None else bundle.threshold)
        rate, basis = self.knowledge.budget.of(detector), math.nan if fixed is None else fixed
        if bundle is not None and bundle.benign_scores is not None:
            return Calibration(rate, federation=bundle.benign_scores, fixed=basis)
        return Calibration(rate, fixed=basis)

    def _findings(self, name: str, windows: Windows, scores: F64, limits: F64, worst: I64) -> list[Finding]:
        """One for each row above its limit; ``limits`` [n, 2], ``worst`` [n] charts (norms: columns)."""
        over = np.flatnonzero(scores > limits[:, 0])
        labels = self._labels(name, windows, over)
        found = []
        for i, row in enumerate(over.tolist()):
            label, sends, score = labels[i], outward(windows, row), float(scores[row])
            known = family(label).name if label else ANOMALY.name
            votes = 1 + bool(score > limits[row, 1])
            p = float(self.calibration(name, self.kind(windows.name(row))).p_values(scores[row : row + 1])[0])
            where = flow(windows, row, sends)
            if name == "volume":
                measure = MEASURES[int(worst[row])]
                label, sends = measure.label, not measure.fact.endswith("_in")
                known, where = family(label).name, replace(where, outward=sends)
            elif name == "norms":
                label, known, where = self._named(windows, row, int(worst[row]), score)
                votes = norms.weight(score, self.incidents.policy.rules.votes)
                p = 1 / (1 + self.knowledge.norms.devices[windows.name(row)].windows)
            found.append(
                Finding(
                    start=int(windows.start[row]),
                    end=int(windows.end[row]),
                    device=windows.name(row),
                    detector=name,
                    label=label,
                    family=known,
                    score=score,
                    threshold=float(limits[row, 0]),
                    p_value=p,
                    weight=votes,
                    flow=where,
                    row=row,
                )
            )
        return found

    def _named(self, windows: Windows, row: int, column: int, score: float) -> tuple[str, str, Flow]:
        """Name, family and exchange of a window above its device's record."""
        label, known, sends = norms.named(windows.schema.columns[column].name, score, outward(windows, row))
        where = flow(windows, row, sends)
        if sends and 2 * windows.x[row, column] < windows.facts.packets_out[row]:
            # too little of what was sent for the main exchange to be the one it is about
            where = Flow(address=where.address, outward=True)
        return label, known, where

    def _labels(self, name: str, windows: Windows, rows: I64) -> list[str]:
        """The attack class that a model takes each of ``rows`` for; empty for what knows no kinds of attack."""
        scorer = self.scorers.get(name)
        if scorer is None or scorer.bundle.model.unsupervised or len(scorer.bundle.labels) == 2 or not len(rows):
            return [""] * len(rows)
        return [scorer.bundle.labels[code] for code in scorer.decide(windows.x[rows]).code.tolist()]

    def _conflict(self, c: Conflict) -> Finding:
        """ARP is deterministic: one conflict opens an incident on the claimant."""
        return Finding(
            start=c.time,
            end=c.time,
            device=c.claimant,
            detector="arp",
            label="ARP binding conflict",
            family="arp-spoofing",
            score=float(c.many),
            threshold=0.0,
            p_value=0.0,
            weight=self.incidents.policy.rules.votes,
            flow=Flow(address=c.address, peer=c.owner, outward=True),
        )

    def _explained(self, change: Change, windows: Windows) -> Change:
        """``change`` with the reasons of the finding that brought it."""
        f = change.finding
        if f is None or change.kind == "closed":
            return change
        reasons = self._why(f, windows, self._baseline(self.kind(f.device)))
        self.incidents.explained(change.incident.subject, reasons)
        # the change as it was: what is held may have gone on within the same batch
        return Change(change.kind, replace(change.incident, reasons=reasons), f)
