"""Volume and spread: one-sided CUSUM charts on a device's own rates, for floods and scans that a model never saw.

For each device and each measure (packets, connections, ICMP, UDP, unanswered attempts, distinct ports and peers, each way) a
chart accumulates how far log2(1 + rate) lies above what this device usually does (Page 1954; mean and mean absolute deviation are
forgotten exponentially, and move ``SLOW`` times slower while the chart is up, so that an attack does not become the norm):

    z = (v - mean) / max(deviation, FLOOR);   S <- S + z - DRIFT, at least 0;   score = ln S - ln LIMIT, of the worst chart

Positive scores are alarms of the textbook limit; a site's calibration (thresholds.py) may move that. A device that was not seen
before begins with ``prior``, broad on purpose. Laws: order of devices in a batch does not matter; ``from_bytes(to_bytes(c))``
goes on alike. What it does not do: tell which attack (the measure says: ``MEASURES``), ARP (arp.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from wardround.arrays import F64, I64
from wardround.errors import DecodeError
from wardround.traffic.windows import Facts, Windows
from wardround.wire import decode, encode, message

DRIFT, LIMIT, CAP, FLOOR = 2.0, 12.0, 60.0, 0.35
MEMORY = 200.0
"""Windows until an old one weighs 1/e."""
WARMUP = 20
"""Windows of a device before its own mean counts in full."""
SLOW = 50.0
"""While a chart is up its mean moves so much slower: a lasting change is learnt within a day, an attack of an hour is not."""
ROOM = 0.5
"""Octaves above the highest normal level that still are normal."""
FEW = 4
EACH = 10
"""Packets for each distinct port or address from which on many packets are a flood and not a scan."""
SILENT = -20.0


@dataclass(frozen=True)
class Measure:
    """``fact`` of traffic.windows.Facts, for people as ``text``; ``label``: what an alarm of it is called; ``least``: per
    second (distinct counts: per window), below which nothing is a flood or a scan, however quiet the device is.
    """

    fact: str
    text: str
    label: str
    least: float
    distinct: bool = False


MEASURES: tuple[Measure, ...] = (
    Measure("packets_in", "packets received per second", "flood of packets", 50.0),
    Measure("packets_out", "packets sent per second", "flood of packets sent", 50.0),
    Measure("connections_in", "connections received per second", "flood of connections", 5.0),
    Measure("connections_out", "connections begun per second", "flood of connections sent", 5.0),
    Measure("udp_in", "UDP packets received per second", "flood of UDP packets", 30.0),
    Measure("udp_out", "UDP packets sent per second", "flood of UDP packets sent", 30.0),
    Measure("icmp_in", "ICMP packets received per second", "flood of ICMP packets", 10.0),
    Measure("icmp_out", "ICMP packets sent per second", "flood of ICMP packets sent", 10.0),
    Measure("unanswered", "attempts without answer per second", "scan: attempts without answer", 2.0),
    Measure("ports_out", "distinct ports tried", "scan of ports", 12.0, distinct=True),
    Measure("ports_in", "distinct ports tried by others", "scan of ports of this device", 12.0, distinct=True),
    Measure("peers_out", "distinct addresses contacted", "scan of addresses", 12.0, distinct=True),
    Measure("peers_in", "distinct addresses seen", "flood from many addresses", 40.0, distinct=True),
    Measure("arp_out", "ARP packets sent per second", "scan of addresses by ARP", 5.0),
)
M = len(MEASURES)
_SENT = next(i for i, m in enumerate(MEASURES) if m.fact == "connections_out")
_SPREAD = frozenset({"ports_out", "ports_in", "peers_out", "arp_out"})
_DISTINCT = np.array([m.distinct for m in MEASURES])
_LEAST = np.array([m.least for m in MEASURES])
_NO_CEILING = np.full(M, -np.inf)
# what an unknown device is taken for: an eighth of the least rate that could alarm, within a wide band
_PRIOR_MEAN = np.log2(1 + _LEAST / 8)
_PRIOR_DEVIATION = 1.0


@message(0x4402)
@dataclass(frozen=True, eq=False)
class _Saved:
    devices: tuple[str, ...]
    seen: I64
    mean: F64
    deviation: F64
    sums: F64


@dataclass
class Volume:
    """Charts of all devices: ``mean``, ``deviation``, ``sums`` [d, M], ``seen`` [d] windows; grown as devices come.
    ``ceilings``: the highest levels [M] of a device in windows that calibration took for normal; what stays within ``ROOM`` of
    them adds nothing, so that an image server's bursts are no floods. They belong to calibration, not to the state.
    """

    numbers: dict[str, int] = field(default_factory=dict)
    seen: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    mean: F64 = field(default_factory=lambda: np.zeros((0, M)))
    deviation: F64 = field(default_factory=lambda: np.zeros((0, M)))
    sums: F64 = field(default_factory=lambda: np.zeros((0, M)))
    ceilings: Mapping[str, F64] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._names = list(self.numbers)

    def observe(self, windows: Windows) -> tuple[F64, I64]:
        """Scores [n] and the number in ``MEASURES`` of the worst chart [n], in the windows' order.

        A device's windows are taken one after the other, all devices at once.
        """
        n = len(windows)
        if not n:
            return np.full(0, SILENT), np.zeros(0, np.int64)
        charts = np.empty((n, M))
        device = self._rows(windows.devices)[windows.device]
        values = rates(windows)
        for turn in _turns(device):
            charts[turn] = self._step(device[turn], values[turn])
        worst = charts.argmax(1)
        scores = np.maximum(charts[np.arange(n), worst], SILENT)
        for row in np.flatnonzero(scores > 0):
            worst[row] = _named(charts[row], windows.facts, int(row))
        return scores, worst

    def usual(self, device: str, measure: int) -> tuple[float, float]:
        """A device's usual range of a measure (two deviations each way), in the measure's unit."""
        row = self.numbers.get(device)
        mean, deviation = (_PRIOR_MEAN[measure], _PRIOR_DEVIATION) if row is None else self._known(row, measure)
        low, high = (2 ** (mean + sign * 2 * deviation) - 1 for sign in (-1, 1))
        return max(0.0, float(low)), float(high)

    def to_bytes(self) -> bytes:
        return encode(_Saved(tuple(self.numbers), self.seen, self.mean, self.deviation, self.sums))

    @classmethod
    def from_bytes(cls, data: bytes) -> Volume:
        """Raises:
        DecodeError: not what ``to_bytes`` wrote.
        """
        saved = decode(data, _Saved)
        d = len(saved.devices)
        parts = (saved.mean, saved.deviation, saved.sums)
        if saved.seen.shape != (d,) or any(part.shape != (d, M) or not np.isfinite(part).all() for part in parts):
            raise DecodeError(f"the charts of {d} devices should have {M} finite measures each")
        return cls({name: i for i, name in enumerate(saved.devices)}, saved.seen, *parts)

    def forget(self, keep: Sequence[str]) -> None:
        """Drop every device but ``keep``: memory is bounded by the inventory."""
        rows = [self.numbers[name] for name in keep if name in self.numbers]
        names = [name for name in keep if name in self.numbers]
        self.numbers = {name: i for i, name in enumerate(names)}
        self._names = names
        self.seen, self.mean = self.seen[rows], self.mean[rows]
        self.deviation, self.sums = self.deviation[rows], self.sums[rows]

    def relearn(self, device: str) -> None:
        """An operator says the change was expected: begin anew with this device."""
        row = self.numbers.get(device)
        if row is not None:
            self.seen[row], self.mean[row], self.deviation[row], self.sums[row] = 0, _PRIOR_MEAN, _PRIOR_DEVIATION, 0.0

    def _known(self, row: int, measure: int) -> tuple[float, float]:
        return float(self.mean[row, measure]), max(float(self.deviation[row, measure]), FLOOR)

    def _rows(self, devices: Sequence[str]) -> I64:
        new = [name for name in devices if name not in self.numbers]
        for name in new:
            self.numbers[name] = len(self.numbers)
        if new:
            self._names = list(self.numbers)
            k = len(new)
            self.seen = np.concatenate([self.seen, np.zeros(k, np.int64)])
            self.mean = np.concatenate([self.mean, np.tile(_PRIOR_MEAN, (k, 1))])
            self.deviation = np.concatenate([self.deviation, np.full((k, M), _PRIOR_DEVIATION)])
            self.sums = np.concatenate([self.sums, np.zeros((k, M))])
        return np.array([self.numbers[name] for name in devices], dtype=np.int64)

    def _step(self, rows: I64, values: F64) -> F64:
        """One window of each of ``rows`` (distinct devices): the charts' scores [k, M]; ``values`` [k, M] raw rates."""
        level = np.log2(1 + values)
        mean, deviation = self.mean[rows], np.maximum(self.deviation[rows], FLOOR)
        z = (level - mean) / deviation
        z[values < _LEAST] = np.minimum(z[values < _LEAST], 0.0)
        gain = z - DRIFT
        if self.ceilings:
            top = np.stack([self.ceilings.get(self._names[row], _NO_CEILING) for row in rows.tolist()])
            gain = np.where(level > top + ROOM, gain, np.minimum(gain, 0.0))
        # a window that adds nothing is no alarm, and forgets half: an attack that is over must not echo
        before = np.minimum(self.sums[rows], CAP)
        sums = np.where(gain > 0, before + gain, np.maximum(before / 2 + gain, 0.0))
        self.sums[rows] = np.minimum(sums, CAP)
        calm = sums <= 0
        seen = self.seen[rows] + 1
        self.seen[rows] = seen
        share = np.maximum(1 / MEMORY, 1 / (seen + WARMUP))[:, None]
        move = np.where(calm, share, share / SLOW)
        self.mean[rows] = mean + move * (level - mean)
        self.deviation[rows] += move * (1.25 * np.abs(level - mean) - self.deviation[rows])
        with np.errstate(divide="ignore"):
            found: F64 = np.log(sums) - np.log(LIMIT)
        return np.where(gain > 0, found, np.minimum(found, 0.0))


def _named(charts: F64, facts: Facts, row: int) -> int:
    """Which of a row's alarming charts names it: a scan where packets are spread (fewer than ``EACH`` for each distinct port or
    address), else the flood that is highest; attempts without answer alone are a scan unless all go to one place.
    """
    up: list[int] = [i for i in np.argsort(-charts, kind="stable").tolist() if charts[i] > 0]
    spread = [i for i in up if MEASURES[i].fact in _SPREAD]
    floods = [i for i in up if MEASURES[i].fact not in _SPREAD and MEASURES[i].fact != "unanswered"]
    if spread and floods:
        distinct = max(int(getattr(facts, MEASURES[i].fact)[row]) for i in spread)
        side = "in" if MEASURES[spread[0]].fact.endswith("_in") else "out"
        packets = int(getattr(facts, f"packets_{side}")[row])
        return floods[0] if packets >= EACH * distinct else spread[0]
    if not spread and not floods and int(facts.ports_out[row]) + int(facts.peers_out[row]) <= FEW:
        return _SENT  # unanswered attempts at one port of one device are a flood
    return (spread or floods or up)[0]


def rates(windows: Windows) -> F64:
    """The measures' values [n, M]: per second, distinct counts per window."""
    seconds = np.maximum((windows.end - windows.start) / 1e9, 1e-3)
    counted = np.stack([getattr(windows.facts, m.fact) for m in MEASURES], axis=1).astype(np.float64)
    return np.where(_DISTINCT, counted, counted / seconds[:, None])


def _turns(device: I64) -> list[I64]:
    """Row numbers such that each turn holds a device once, in order of time."""
    order = np.argsort(device, kind="stable")
    grouped = device[order]
    starts = np.flatnonzero(np.concatenate([[True], grouped[1:] != grouped[:-1]]))
    nth = np.arange(len(device)) - np.repeat(starts, np.diff(np.concatenate([starts, [len(device)]])))
    turns = np.empty(len(device), np.int64)
    turns[order] = nth
    by_turn = np.argsort(turns, kind="stable")
    return np.split(by_turn, np.cumsum(np.bincount(turns))[:-1])
