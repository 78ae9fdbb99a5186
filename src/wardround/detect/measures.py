"""Measures that mean something to whoever answers alarms: incidents per device-day, delay, rates with their uncertainty.

A rate of false alarms is quoted with the number of benign decisions and a 95 % interval, never below 3 / n (the rule of three:
n quiet decisions show no more). Percentages of rows are not workloads: ``Days`` counts how long devices were watched.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from wardround.arrays import F64, Bool
from wardround.traffic.windows import Windows

Z95 = 1.959964
DAY_NS = 86_400_000_000_000


@dataclass(frozen=True)
class Rate:
    """``hits`` of ``n`` decisions, with a 95 % Wilson interval; ``value`` never below 3 / n where nothing was hit."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        """The rate that may be quoted; NaN for no decisions."""
        if not self.n:
            return math.nan
        return max(self.hits / self.n, min(1.0, 3 / self.n)) if not self.hits else self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, Wilson 1927; (0, 1) for no decisions. Its upper end is 3 / n at least."""
        if not self.n:
            return 0.0, 1.0
        p, n, z = self.hits / self.n, self.n, Z95
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        low = 0.0 if not self.hits else max(0.0, middle - half)
        return low, min(1.0, max(middle + half, 3 / n, p))

    @property
    def text(self) -> str:
        """For people."""
        if not self.n:
            return "no decisions"
        low, high = self.interval
        said = f"{self.value:.3g}" if self.hits else f"below {self.value:.3g}"
        return f"{said} ({self.hits} of {self.n}; 95 %: {low:.3g}-{high:.3g})"


@dataclass(frozen=True)
class AtRate:
    """Share of attacks found where a share ``asked`` of ``benign`` decisions alarms; ``recall`` None where fewer than 3 / asked
    benign decisions exist: then the rate cannot be verified.
    """

    asked: float
    recall: Rate | None
    benign: int


def tpr_at(scores: F64, attack: Bool, rates: Sequence[float] = (1e-2, 1e-3, 1e-4)) -> tuple[AtRate, ...]:
    """Recall at each rate, by exact order of scores."""
    benign, found = np.sort(scores[~attack]), []
    n = len(benign)
    for rate in rates:
        if n * rate < 3 or not attack.any():
            found.append(AtRate(rate, None, n))
            continue
        limit = benign[n - 1 - int(rate * n)]
        found.append(AtRate(rate, Rate(int((scores[attack] > limit).sum()), int(attack.sum())), n))
    return tuple(found)


def by_group(alarm: Bool, group: Sequence[str]) -> Mapping[str, Rate]:
    """Rate of alarms in each group (device types, sites): no kind of device must be the noisy one."""
    names = np.array(group, dtype=object)
    return {
        str(name): Rate(int(alarm[names == name].sum()), int((names == name).sum()))
        for name in sorted(set(names.tolist()))
    }


@dataclass(frozen=True)
class Attack:
    """What really happened: from ``start`` to ``end`` (ns) at ``devices`` (actors and victim, by name). ``touched``: devices
    besides that saw its packets; an incident about one of them is not false, and finds nothing.
    """

    label: str
    start: int
    end: int
    devices: frozenset[str]
    touched: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Told:
    """An incident as it was opened, or told anew for another kind of attack: at ``time`` (ns) about ``subject``, with ``peers``.
    ``number``: the incident's; 0: each is one of its own.
    """

    time: int
    subject: str
    peers: frozenset[str] = frozenset()
    label: str = ""
    number: int = 0


@dataclass(frozen=True)
class Timeline:
    """``delays`` in seconds of each attack from its start to the first incident that names one of its devices (NaN: missed);
    ``false``: incidents that were told at some time without an attack that explains it; ``device_days`` watched.
    """

    delays: tuple[tuple[str, float], ...]
    false: int
    device_days: float

    @property
    def found(self) -> Rate:
        return Rate(sum(not math.isnan(d) for _, d in self.delays), len(self.delays))

    @property
    def false_per_device_day(self) -> float:
        """NaN where nothing was watched."""
        return self.false / self.device_days if self.device_days else math.nan


def timeline(attacks: Sequence[Attack], told: Sequence[Told], device_days: float, grace_s: float = 60.0) -> Timeline:
    """Match incidents with attacks: during one (and ``grace_s`` after it) an incident about one of its devices is its."""
    grace = int(grace_s * 1e9)
    explained: set[int] = set()
    delays = []
    for attack in attacks:
        then = [i for i, t in enumerate(told) if attack.start <= t.time <= attack.end + grace]
        mine = [i for i in then if attack.devices & {told[i].subject, *told[i].peers}]
        explained |= {*mine, *(i for i in then if told[i].subject in attack.touched)}
        first = min((told[i].time for i in mine), default=None)
        delays.append((attack.label, math.nan if first is None else (first - attack.start) / 1e9))
    false = {t.number or -1 - i for i, t in enumerate(told) if i not in explained}
    return Timeline(tuple(delays), len(false), device_days)


@dataclass
class Days:
    """How long devices were watched: a device counts for the whole span in which it was seen, as an analyst would say it."""

    first: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)

    def observe(self, windows: Windows) -> None:
        """Count a batch."""
        for number, name in enumerate(windows.devices):
            mine = windows.device == number
            if mine.any():
                start, end = int(windows.start[mine].min()), int(windows.end[mine].max())
                self.first[name] = min(self.first.get(name, start), start)
                self.last[name] = max(self.last.get(name, end), end)

    def counting(self, feed: Iterable[Windows]) -> Iterator[Windows]:
        """``feed``, counted as it goes by."""
        for windows in feed:
            self.observe(windows)
            yield windows

    @property
    def value(self) -> float:
        """Device-days."""
        return sum(self.last[name] - self.first[name] for name in self.first) / DAY_NS
