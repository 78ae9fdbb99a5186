"""Activities in windows -> packet counts -> the features that a window extractor would report.

Packets are drawn as counts, not one by one: for each (window, activity) a Poisson number of packets, binomial flags,
sizes by their mean and spread, distinct peers and ports by throwing the packets into as many boxes. Features are then
computed from the counts of the whole window alone, as an extractor sees it that does not know who sent what; so a
packet laboratory can take this module's place.

Laws: shares lie in [0, 1]; a window without packets has rate 0 and missing shares.
What it does not do: decide what happens when (hospital.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, F64, I64
from wardround.drivers.sources.hospital_profiles import ACTIVITIES, DEVICES
from wardround.traffic.table import Column, Schema

WINDOW_S = 10.0
FLAGS = ("syn", "ack", "psh", "fin", "rst")
PROTOCOLS = ("tcp", "udp", "icmp", "arp")
APPS = ("mqtt", "hl7", "dicom", "coap", "web", "dns")
ACTIVITY_NAMES = tuple(ACTIVITIES)

SCHEMA = Schema(
    "hospital-synthetic",
    (
        Column("device", "category", tuple(DEVICES)),
        Column("rate", unit="packets/s"),
        Column("byte rate", unit="B/s"),
        Column("size mean", unit="B"),
        Column("size deviation", unit="B"),
        Column("size largest", unit="B"),
        Column("gap mean", unit="s"),
        Column("gap variation"),
        Column("inbound", "flag"),
        *(Column(f"share {name}", "flag") for name in PROTOCOLS),
        *(Column(f"share {name}", "flag") for name in APPS),
        *(Column(f"flag {name}", "flag") for name in FLAGS),
        Column("mqtt connect", "flag"),
        Column("malformed", "flag"),
        Column("arp unasked", "flag"),
        Column("peers"),
        Column("ports"),
        Column("new connections", unit="1/s"),
    ),
)
PARSED = tuple(
    i for i, c in enumerate(SCHEMA.columns) if c.name in {*(f"share {a}" for a in APPS), "mqtt connect", "malformed"}
)
"""Columns that need a parser of the application layer, which a busy sensor switches off."""


@dataclass(frozen=True, eq=False)
class Doings:
    """What goes on, one entry [m] per window and activity.

    ``window`` and ``activity``: their numbers; ``rate``: packets/s; ``sources``: factor on the activity's peers;
    ``size``: factor on its frame size.
    """

    window: I64
    activity: I64
    rate: F64
    sources: F64
    size: F64


def join(parts: list[Doings]) -> Doings:
    """All entries of ``parts``."""
    names = ("window", "activity", "rate", "sources", "size")
    return Doings(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def packets(doings: Doings, rng: np.random.Generator) -> I64:
    """Packets [m] of each entry."""
    counts: I64 = rng.poisson(doings.rate * WINDOW_S)
    return counts


def features(doings: Doings, counts: I64, device: I64, rng: np.random.Generator) -> F32:
    """Feature rows [n, f] of windows whose device types are ``device`` [n]; ``counts`` [m] from ``packets``."""
    happened = counts > 0
    some = Doings(*(getattr(doings, name)[happened] for name in ("window", "activity", "rate", "sources", "size")))
    x = _Window(some, counts[happened], len(device), rng).features()
    x["device"] = device.astype(np.float64)
    rows = np.stack([x[column.name] for column in SCHEMA.columns], axis=1).astype(np.float32)
    overload = 1 / (1 + np.exp(-(np.log1p(x["rate"]) - 8))) * 0.5  # a sensor under load drops its parsers first
    unparsed = np.flatnonzero(rng.random(len(device)) < 0.01 + overload)
    rows[np.ix_(unparsed, np.array(PARSED))] = np.nan
    return rows


class _Window:
    """Sums of one batch of windows."""

    def __init__(self, doings: Doings, counts: I64, windows: int, rng: np.random.Generator) -> None:
        self._doings, self._counts, self._windows, self._rng = doings, counts, windows, rng
        self._n = counts.astype(np.float64)
        self._total = self._sum(self._n)

    def features(self) -> dict[str, F64]:
        """Every column but the device, [n] each."""
        tcp = self._sum(self._n * self._is("protocol", "tcp"))
        arp = self._sum(self._n * self._is("protocol", "arp"))
        mqtt = self._sum(self._n * self._is("app", "mqtt"))
        syn = self._sum(self._thinned("syn"))
        shares = {f"share {name}": self._share(self._sum(self._n * self._is("protocol", name))) for name in PROTOCOLS}
        shares |= {f"share {name}": self._share(self._sum(self._n * self._is("app", name))) for name in APPS}
        shares |= {f"flag {name}": _ratio(self._sum(self._thinned(name)), tcp) for name in FLAGS if name != "syn"}
        return {
            "rate": self._total / WINDOW_S,
            **self._sizes(),
            "gap mean": _ratio(np.full(self._windows, WINDOW_S), self._total),
            "gap variation": self._share(self._sum(self._n * self._of("burst"))) * self._noise(0.15),
            "inbound": self._share(self._sum(self._thinned("inbound"))),
            **shares,
            "flag syn": _ratio(syn, tcp),
            "mqtt connect": _ratio(self._sum(self._thinned("connect")), mqtt, empty=0.0),
            "malformed": self._share(self._sum(self._thinned("malformed"))),
            "arp unasked": _ratio(self._sum(self._thinned("unasked")), arp, empty=0.0),
            "peers": self._sum(self._distinct(self._of("peers") * self._doings.sources)),
            "ports": self._sum(self._distinct(self._of("ports"))),
            "new connections": syn / WINDOW_S,
        }

    def _sizes(self) -> dict[str, F64]:
        mean = np.clip(self._of("size") * self._doings.size, 60, 1514)
        spread = np.minimum(mean * self._of("spread"), 600)
        seen = np.clip(mean + spread * self._rng.normal(size=len(mean)) / np.sqrt(self._n), 60, 1514)
        squares = self._n * (seen**2 + spread**2)
        average = self._share(self._sum(self._n * seen))
        deviation = np.sqrt(np.maximum(self._share(self._sum(squares)) - average**2, 0))
        # the largest of n draws lies about sqrt(2 log n) deviations above the mean
        largest = np.clip(seen + spread * np.sqrt(2 * np.log(self._n)), 60, 1514)
        top = np.zeros(self._windows)
        np.maximum.at(top, self._doings.window, largest)
        top[self._total == 0] = np.nan
        byte_rate = np.nan_to_num(average) * self._total / WINDOW_S
        return {"byte rate": byte_rate, "size mean": average, "size deviation": deviation, "size largest": top}

    def _of(self, name: str) -> F64:
        values = np.array([getattr(activity, name) for activity in ACTIVITIES.values()], dtype=np.float64)
        found: F64 = values[self._doings.activity]
        return found

    def _is(self, name: str, value: str) -> F64:
        values = np.array([getattr(activity, name) == value for activity in ACTIVITIES.values()], dtype=np.float64)
        found: F64 = values[self._doings.activity]
        return found

    def _thinned(self, name: str) -> F64:
        """How many of the packets have the property."""
        return self._rng.binomial(self._counts, self._of(name)).astype(np.float64)

    def _distinct(self, boxes: F64) -> F64:
        """Boxes hit when the packets fall into ``boxes`` [m] equal ones: its mean, rounded at random."""
        hit = boxes * -np.expm1(-self._n / np.maximum(boxes, 1e-9))
        return np.floor(hit + self._rng.random(len(hit)))

    def _noise(self, sigma: float) -> F64:
        return np.exp(self._rng.normal(0, sigma, self._windows))

    def _sum(self, values: F64) -> F64:
        total: F64 = np.bincount(self._doings.window, weights=values, minlength=self._windows).astype(np.float64)
        return total

    def _share(self, values: F64) -> F64:
        return _ratio(values, self._total)


def _ratio(part: F64, whole: F64, empty: float = np.nan) -> F64:
    return np.divide(part, whole, out=np.full_like(part, empty), where=whole > 0)
