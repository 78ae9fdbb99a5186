"""The trial: the whole detector, with the model just trained, watches a ward that no gateway of the federation has seen.

    a calm day of the ward -> baselines and thresholds (what ``wardround calibrate`` does)
    another day, every attack in turn and harmless oddities -> scores, incidents -> delays, false incidents per device-day

Packets, extractor and detector are those of ``wardround watch``. What the ward's own scanner does is on the allow-list, as
it would be. Law: trial.json depends on experiment and seed alone.
What it does not do: choose anything by what it finds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wardround.arrays import F64
from wardround.detect import calibration, norms, volume
from wardround.detect.detector import Assessment, Budget, Detector, Knowledge
from wardround.detect.findings import Allow
from wardround.detect.incident import Change, Policy
from wardround.detect.measures import DAY_NS, Attack, Days, Timeline, Told, timeline
from wardround.drivers.sources import feeds
from wardround.drivers.sources.ciciomt2024 import CLASSES, FAMILY_OF
from wardround.drivers.sources.lab import source
from wardround.drivers.sources.lab.files import ip_text, mac_text
from wardround.drivers.sources.lab.recording import Happening, Recording
from wardround.traffic.pkt import PacketFeatures
from wardround.traffic.windows import Windows, concat
from wardround.training.bundle import Bundle

FORMAT = 1
PIECE = 1500
"""Packets at a time: the detector's clock moves with them."""
TAUGHT = 4000
"""Windows a baseline is taught with at most: a demonstration must not last."""
GRACE_S = 60.0
SECOND = 1e9
TOLD = frozenset({"opened", "reopened", "changed"})
"""Changes that say something new: a desk looks. Updates do not count."""


@dataclass
class _Seen:
    """What the detector said, collected."""

    told: list[Change] = field(default_factory=list)
    time: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    marks: list[tuple[int, str]] = field(default_factory=list)
    days: Days = field(default_factory=Days)


def run(bundle: Bundle, settings: source.Lab, seed: int, budget: Budget | None = None) -> dict[str, Any]:
    """Calibrate on a calm day, watch the attacked one; everything trial.json says."""
    budget = budget or Budget()
    found = source.days(settings, seed)
    detector = Detector(Knowledge({"model": bundle}, budget=budget), _policy(found.attacked))
    calm = [windows for windows, _ in _watch(detector, found.calm, settings.window_s)]
    detector.know(learnt(detector, concat(calm), bundle, budget))
    detector.tick(int(found.attacked.sessions[0][0]))
    seen = _Seen()
    for windows, assessed in _watch(detector, found.attacked, settings.window_s):
        _collect(seen, detector, windows, assessed)
    return _record(found.attacked, seen, sum(len(w) for w in calm), budget)


def calm_day(
    bundle: Bundle, settings: source.Lab, seed: int, number: int, budget: Budget | None = None
) -> dict[str, Any]:
    """Ward ``number`` on a second calm day, after one to learn from: how often is anything told where nothing happens?"""
    budget = budget or Budget()
    first, second = (source.calm_day(settings, number, seed, day) for day in (1, 3))
    detector = Detector(Knowledge({"model": bundle}, budget=budget), _policy(first))
    calm = [windows for windows, _ in _watch(detector, first, settings.window_s)]
    detector.know(learnt(detector, concat(calm), bundle, budget))
    detector.tick(int(second.sessions[0][0]))
    seen, names, dicom = _Seen(), source.names_of(second), 0
    at = [c.name for c in calm[0].schema.columns].index("dicom data")
    alarms = rows = 0
    for windows, assessed in _watch(detector, second, settings.window_s):
        seen.told += [change for change in assessed.changes if change.kind in TOLD]
        rows, alarms = rows + len(windows), alarms + int(assessed.alarm.sum())
        dicom += int((windows.x[:, at] > 0).sum())
    days = sum((end - start) for start, end in second.sessions) * (len(second.ward.devices) + 1) / DAY_NS
    return {
        "ward": second.ward.name,
        "windows": rows,
        "windows_with_images": dicom,
        "alarms": alarms,
        "device_days": days,
        "incidents": [
            {
                "device": names.get(c.incident.subject, c.incident.subject),
                "family": c.incident.family,
                "detector": _by(c),
            }
            for c in seen.told
        ],
        "per_device_day": len({c.incident.number for c in seen.told}) / days,
    }


def learnt(detector: Detector, calm: Windows, bundle: Bundle, budget: Budget) -> Knowledge:
    """What a site knows after a calm day."""
    kinds = [detector.inventory.get(name).kind for name in calm.devices]
    device, types = ([names[number] for number in calm.device.tolist()] for names in (calm.devices, kinds))
    normal = calibration.Normal(calm.x, types)
    found = calibration.learn(normal, {"model": ("", bundle)}, budget, most=TAUGHT)
    own = norms.learn(calm.schema, device, types, volume.rates(calm), calm.x)
    return Knowledge({"model": bundle}, found.baselines, found.calibrations, budget, own)


def _policy(recording: Recording) -> Policy:
    """The hospital's scanner is known."""
    ward = recording.ward
    scanner = ip_text(int(ward.hosts["ip"][ward.outside("scanner")]))
    reason = "the hospital's own scanner"
    return Policy(allow=(Allow(device=scanner, reason=reason), Allow(peer=scanner, reason=reason)))


def _watch(detector: Detector, recording: Recording, window_s: int) -> Iterator[tuple[Windows, Assessment]]:
    """Every batch of windows with what the detector made of it."""
    extractor = PacketFeatures(window_s, classes=len(CLASSES))
    for windows in feeds.Feed(source.packets_of(recording, PIECE), extractor):
        if len(windows) or len(windows.claims):
            assessed = detector.observe(windows)
            if len(windows):
                detector.tick(int(windows.end.max()))
            yield windows, assessed


def _collect(seen: _Seen, detector: Detector, windows: Windows, assessed: Assessment) -> None:
    seen.told += [change for change in assessed.changes if change.kind in TOLD]
    seen.days.observe(windows)
    if not len(windows):
        return
    types = [detector.kind(name) for name in windows.devices]
    limit: F64 = np.array([detector.calibration("model", t).value for t in types])[windows.device]
    margin = assessed.scores["model"] - limit
    for end in np.unique(windows.end):
        seen.time.append(float(end) / SECOND)
        seen.score.append(float(np.nanmax(margin[windows.end == end])))
    seen.marks += [(int(windows.end[row]), windows.name(row)) for row in np.flatnonzero(assessed.alarm).tolist()]


def _record(recording: Recording, seen: _Seen, calm: int, budget: Budget) -> dict[str, Any]:
    names, begin = source.names_of(recording), recording.sessions[0][0]
    ward = recording.ward
    names |= {ip_text(int(ward.hosts["ip"][d.host])): d.name for d in ward.devices}
    attacks = [_attack(recording, h) for h in recording.happenings if h.label != "Benign"]
    told = [_told_of(c) for c in seen.told]
    found = timeline(attacks, told, seen.days.value, GRACE_S)
    explained = _explained(recording, told)
    return {
        "format": FORMAT,
        "ward": ward.name,
        "devices": [d.name for d in ward.devices] + ["router"],
        "packets": len(recording.frames),
        "hours": (recording.sessions[0][1] - begin) / SECOND / 3600,
        "calm_windows": calm,
        "budget": budget.rate,
        "device_days": found.device_days,
        "attacks": [_told(recording, h, begin, delay) for h, delay in _with_delays(recording, found)],
        "oddities": [_told(recording, h, begin, math.nan) for h in recording.happenings if h.label == "Benign"],
        "incidents": [
            {
                "at_s": (t.time - begin) / SECOND,
                "device": names.get(t.subject, t.subject),
                "family": t.label,
                "detector": _by(c),
                "explained_by": why,
            }
            for t, c, why in zip(told, seen.told, explained, strict=True)
        ],
        "found": found.found.hits,
        "false_incidents": found.false,
        "false_per_device_day": found.false_per_device_day,
        "score": [[round(t - begin / SECOND, 1), round(s, 3)] for t, s in zip(seen.time, seen.score, strict=True)],
        "alarms": [[round((end - begin) / SECOND, 1), names.get(name, name)] for end, name in seen.marks],
    }


def _by(change: Change) -> str:
    return change.finding.detector if change.finding else ""


def _told_of(change: Change) -> Told:
    i = change.incident
    return Told(_opened(change), i.subject, frozenset(i.peers), i.family, i.number)


def _opened(change: Change) -> int:
    return change.finding.end if change.finding is not None else change.incident.last_seen


def _attack(recording: Recording, h: Happening) -> Attack:
    return Attack(h.label, h.start, h.end, frozenset(_involved(recording, h)), frozenset(_touched(recording, h)))


def _touched(recording: Recording, h: Happening) -> set[str]:
    """MAC addresses that sent or were sent a packet of ``h``: bystanders that got answers to forged sources among them."""
    mine = recording.frames[recording.frames["incident"] == h.number]
    return {mac_text(int(mac)) for mac in np.unique(np.concatenate([mine["smac"], mine["dmac"]]))}


def _involved(recording: Recording, h: Happening) -> set[str]:
    """Names that an incident about ``h`` may carry: MAC and IP addresses of its actors and its victim."""
    router = mac_text(int(recording.ward.hosts["mac"][recording.ward.router]))
    macs = {mac_text(mac) for mac in (*h.actors, h.victim)}
    spoofs = {router} if h.name == "ARP_Spoofing" else set()
    return macs | {ip_text(ip) for ip in h.addresses} | spoofs


def _with_delays(recording: Recording, found: Timeline) -> list[tuple[Happening, float]]:
    attacks = [h for h in recording.happenings if h.label != "Benign"]
    return [(h, delay) for h, (_, delay) in zip(attacks, found.delays, strict=True)]


def _explained(recording: Recording, told: list[Told]) -> list[str]:
    """The attack or oddity at the time and place of each incident; empty: nothing happened there."""
    why = []
    touched = {h.number: _touched(recording, h) for h in recording.happenings}
    for t in told:
        near = [h for h in recording.happenings if h.start <= t.time <= h.end + int(GRACE_S * SECOND)]
        mine = [h for h in near if {t.subject, *t.peers} & _involved(recording, h) or t.subject in touched[h.number]]
        mine.sort(key=lambda h: h.label == "Benign")
        why.append(mine[0].name if mine else "")
    return why


def _told(recording: Recording, h: Happening, begin: int, delay: float) -> dict[str, Any]:
    names = source.names_of(recording)
    actors = sorted({names.get(mac_text(mac), "outside") for mac in h.actors})
    return {
        "name": h.name,
        "family": FAMILY_OF.get(h.name, ""),
        "start_s": (h.start - begin) / SECOND,
        "end_s": (h.end - begin) / SECOND,
        "events_per_s": round(h.rate, 2),
        "actors": actors,
        "victim": names.get(mac_text(h.victim), ""),
        "delay_s": None if math.isnan(delay) else round(delay, 2),
    }
