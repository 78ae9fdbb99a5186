"""A synthetic hospital: feature rows of device windows, generated from a seed. NOT real traffic.

It exists so that the product runs without a download, and so that tests know the truth. Results on it say that the
machinery works, nothing about hospitals. It is made to be honest about difficulty: attacks run from below a device's
own rate to saturation and share their windows with the device's normal traffic; harmless oddities (a reconnect storm,
an image migration, the authorised scanner) look like attacks and are labelled Benign; no column gives the label away
(tests/drivers/sources/test_hospital_honesty.py audits this).

Labels: a window is an attack when at least ``ATTACK_PACKETS`` of the attack's packets fall into it.
What it does not do: packets one by one (hospital_windows.py draws counts), addresses, clocks, payload.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from wardround.arrays import F64, I64
from wardround.drivers.sources.ciciomt2024 import CLASSES, FAMILIES, FAMILY_OF, LABEL_SETS
from wardround.drivers.sources.hospital_profiles import ATTACKS, DEVICES, ODDITIES, WARDS, Incident
from wardround.drivers.sources.hospital_windows import ACTIVITY_NAMES, SCHEMA, Doings, features, join, packets
from wardround.traffic.table import Labels, Table

DAY_S = 86_400.0
ATTACK_PACKETS = 3
NOTE = "SYNTHETIC: generated hospital traffic; results on it say nothing about real hospitals"
_INCIDENTS: dict[str, Incident] = {**ATTACKS, **ODDITIES}
_NAMES = tuple(_INCIDENTS)
_FAMILIES = tuple(name for name in FAMILIES if name != "Benign")
_FAMILY_WEIGHTS = np.array([1.2, 1.2, 1.0, 1.1, 0.8])
_RUN_WINDOWS = 6
_OWN_SIGMA = 0.5
_WINDOW_SIGMA = 0.45
_SLOW = 1.5


@dataclass(frozen=True)
class Hospital:
    """A synthetic hospital (no download, seeded): windows of 10 s per device, classes named as in CICIoMT2024.

    Kept for quick tests of the machinery: it has no packets; the default is ``lab``.

    Attributes:
        wards: wards of six kinds in turn; each has its own devices, load, hours and attackers.
        devices_per_ward: devices in each ward.
        windows_per_device: rows of each device, spread evenly over ``days``.
        days: how long the hospital was watched.
        attack_share: share of the windows in which an attack goes on, on average; wards differ (a Beta draw).
        oddity_share: share of the windows in which something harmless looks like an attack.
        exposure: Dirichlet concentration of the attack families over wards; small makes wards differ more.
        labels: ``binary``, ``6class`` (Benign, DDoS, DoS, Recon, MQTT, Spoofing) or ``19class``.
        clients: natural clients are the gateways of each ``ward`` or each ``device``.
    """

    name: ClassVar[str] = "hospital"
    needs_folder: ClassVar[bool] = False

    wards: int = 12
    devices_per_ward: int = 6
    windows_per_device: int = 700
    days: float = 7.0
    attack_share: float = 0.4
    oddity_share: float = 0.12
    exposure: float = 0.5
    labels: Literal["binary", "6class", "19class"] = "6class"
    clients: Literal["ward", "device"] = "ward"

    def __post_init__(self) -> None:
        for key in ("wards", "devices_per_ward", "windows_per_device"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be 1 or more, not {getattr(self, key)}")
        if not (0 < self.attack_share < 1 and 0 <= self.oddity_share < 1):
            raise ValueError("attack_share must lie between 0 and 1, oddity_share from 0 to below 1")
        if not (self.exposure > 0 and self.days > 0):
            raise ValueError("exposure and days must be above 0")

    def load(self, folder: Path | None, rng: np.random.Generator) -> Table:
        """All windows of all devices, device by device in order of time; ``folder`` is not used."""
        del folder
        ward = np.repeat(np.arange(self.wards), self.devices_per_ward)
        kind = self._devices(ward, rng)
        time = np.tile(
            (np.arange(self.windows_per_device) + 0.5) * self.days * DAY_S / self.windows_per_device, len(ward)
        )
        device = np.repeat(np.arange(len(ward)), self.windows_per_device)
        incident = self._incidents(ward, kind, rng)
        usual = self._usual(ward, kind, time, rng)
        unusual = self._unusual(incident, rng)
        doings = join([usual, unusual])
        counts = packets(doings, rng)
        sent = np.bincount(unusual.window, weights=counts[len(usual.window) :], minlength=len(time))
        return Table(
            schema=SCHEMA,
            labels=Labels(LABEL_SETS[self.labels], 0),
            x=features(doings, counts, kind[device], rng),
            y=self._codes(np.where(sent >= ATTACK_PACKETS, incident.kind, -1)),
            group=(ward[device] if self.clients == "ward" else device).astype(np.int32),
            groups=self._groups(ward, kind),
            time=time,
            notes=(NOTE,),
            device_type=kind[device].astype(np.int32),
            device_types=tuple(DEVICES),
        )

    def _devices(self, ward: I64, rng: np.random.Generator) -> I64:
        """The type [devices] of each device, by its ward's weights."""
        weights = np.array(list(WARDS.values()))[ward % len(WARDS)]
        reached = np.cumsum(weights, axis=1) / weights.sum(1, keepdims=True)
        kind: I64 = (rng.random((len(ward), 1)) > reached).sum(1)
        return kind

    def _usual(self, ward: I64, kind: I64, time: F64, rng: np.random.Generator) -> Doings:
        """The devices' own traffic: their habits, the ward's load, the hour, and chance."""
        load = np.exp(rng.normal(0, 0.4, self.wards))[ward] * np.exp(rng.normal(0, _OWN_SIGMA, len(ward)))
        hour = rng.normal(14, 2, self.wards)[ward]
        windows = np.arange(len(time)).reshape(len(ward), -1)
        day = np.cos((time.reshape(windows.shape) / 3600 - hour[:, None]) * np.pi / 12)
        parts = []
        for code, device in enumerate(DEVICES.values()):
            mine = np.flatnonzero(kind == code)
            factor = load[mine, None] * np.exp(device.rhythm * (1.2 * day[mine] - 0.6))
            for activity, rate, share in device.habits:
                on = rng.random(factor.shape) < share
                chance = np.exp(rng.normal(0, _WINDOW_SIGMA, factor.shape))
                style = np.broadcast_to(np.exp(rng.normal(0, 0.2, (len(mine), 1))), factor.shape)
                parts.append(_doings(windows[mine][on], activity, (rate * factor * chance)[on], size=style[on]))
        return join(parts)

    def _incidents(self, ward: I64, kind: I64, rng: np.random.Generator) -> _Runs:
        """Runs of neighbouring windows of a device in which an attack or an oddity goes on."""
        prior = _FAMILY_WEIGHTS / _FAMILY_WEIGHTS.sum()
        mix = rng.dirichlet(self.exposure * len(prior) * prior, size=self.wards)
        attacked = rng.beta(3 * self.attack_share, 3 * (1 - self.attack_share), self.wards) * (1 - self.oddity_share)
        runs = max(1, -(-self.windows_per_device // _RUN_WINDOWS))
        chosen = np.full((len(ward), runs), -1)
        for device, (at, type_) in enumerate(zip(ward, kind, strict=True)):
            weights = _weights(mix[at], list(DEVICES)[type_], attacked[at], self.oddity_share)
            chosen[device] = rng.choice(len(weights), size=runs, p=weights) - 1
        run = np.repeat(np.arange(chosen.size).reshape(chosen.shape), _RUN_WINDOWS, axis=1)[
            :, : self.windows_per_device
        ]
        return _Runs(chosen.ravel(), run.ravel())

    def _unusual(self, runs: _Runs, rng: np.random.Generator) -> Doings:
        """The incidents' packets: each run has its own rate, sources and frame size, each window its share of it."""
        level, sources = rng.random((2, len(runs.chosen)))
        level **= _SLOW  # more of the slow ones, which hide in the device's own traffic
        style = rng.normal(0, 0.5, len(runs.chosen))
        window = np.flatnonzero(runs.kind >= 0)
        duty = rng.beta(1.0, 1.0, len(runs.run))
        parts = []
        for code, name in enumerate(_NAMES):
            what = _INCIDENTS[name]
            at = window[runs.kind[window] == code]
            run = runs.run[at]
            rate = what.low * (what.high / what.low) ** level[run] * duty[at]
            many = what.sources[0] * (what.sources[1] / what.sources[0]) ** sources[run]
            for activity, share in what.parts:
                parts.append(_doings(at, activity, rate * share, many, np.exp(style[run])))
        return join(parts)

    def _codes(self, kind: I64) -> I64:
        """Label codes of incident numbers; oddities and no incident (-1) are Benign."""
        names = [name if name in ATTACKS else "Benign" for name in _NAMES]
        if self.labels == "binary":
            codes = [int(name != "Benign") for name in names]
        elif self.labels == "6class":
            codes = [LABEL_SETS["6class"].index(FAMILY_OF[name]) for name in names]
        else:
            codes = [CLASSES.index(name) for name in names]
        return np.array([*codes, 0])[kind]

    def _groups(self, ward: I64, kind: I64) -> tuple[str, ...]:
        kinds = list(WARDS)
        wards = [f"{kinds[i % len(kinds)]} {i // len(kinds) + 1}" for i in range(self.wards)]
        if self.clients == "ward":
            return tuple(wards)
        types = list(DEVICES)
        return tuple(f"{wards[w]}/{types[k]} {i + 1}" for i, (w, k) in enumerate(zip(ward, kind, strict=True)))


@dataclass(frozen=True, eq=False)
class _Runs:
    """``chosen`` [runs]: number of the incident or -1; ``run`` [n]: the run of each window."""

    chosen: I64
    run: I64

    @property
    def kind(self) -> I64:
        found: I64 = self.chosen[self.run]
        return found


def _weights(mix: F64, device: str, attack_share: float, oddity_share: float) -> F64:
    """Probability of nothing, then of each incident, for a run of a device in a ward with families ``mix``."""
    fits = [not _INCIDENTS[name].where or device in _INCIDENTS[name].where for name in _NAMES]
    family = {name: [a for a in FAMILIES[name] if fits[_NAMES.index(a)]] for name in _FAMILIES}
    weights = np.zeros(len(_NAMES))
    for name, share in zip(_FAMILIES, mix, strict=True):
        for attack in family[name]:
            weights[_NAMES.index(attack)] = share / len(family[name])
    odd = np.array([name in ODDITIES for name in _NAMES]) & np.array(fits)
    total = weights.sum()
    if total > 0:  # else the ward's attackers only know attacks that this device cannot suffer
        weights *= attack_share / total
    weights += odd * oddity_share / odd.sum()
    return np.concatenate([[1 - weights.sum()], weights])


def _doings(window: I64, activity: str, rate: F64, sources: F64 | None = None, size: F64 | None = None) -> Doings:
    ones = np.ones(len(window))
    number = np.full(len(window), ACTIVITY_NAMES.index(activity))
    return Doings(window, number, rate, ones if sources is None else sources, ones if size is None else size)
