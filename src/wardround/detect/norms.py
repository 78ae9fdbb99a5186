r"""What one device never did: the highest counts of its own normal windows, column by column.

A ward's devices are creatures of habit: a wearable is asked for no connection, a pump gets no ping, a monitor publishes nothing.
A classifier of single windows weighs such a count against all devices; here each is weighed against the device's own record.

    level(k) = log2(SMOOTH + k)          a few packets more say little where few are usual, and much where none are
    score    = max over columns of level(count) - level(highest normal count) - room(n)

in octaves; above 0 is an alarm, above ``STRONG`` two votes, above ``PLAIN`` all that an incident needs. If windows are
exchangeable a count above the highest of n others has probability 1 / (n + 1) for each column (the p-value shown); the room is
for what a maximum of few windows does not know yet: half an octave for n >= ``SETTLED``, more for fewer, silence below ``LEAST``.

Laws: a count not above the highest normal one never alarms; more normal windows never make a new alarm of the same count.
What it does not do: know when windows are normal (drivers/store/knowledge.py), judge devices without a record (silent).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, F64, I64
from wardround.detect import volume
from wardround.detect.tags import ANOMALY
from wardround.errors import DecodeError
from wardround.traffic.table import Column, Schema
from wardround.traffic.windows import Windows
from wardround.wire import decode, encode, message

SMOOTH = 4.0
ROOM = 0.5
SETTLED = 3000
"""Windows from which a record's highest count needs no more than ``ROOM``: four hours of 5 s."""
LEAST = 30
STRONG, PLAIN = 0.5, 1.0
FLOOD = 2.0
"""Octaves above the room from which on more of what is counted is a flood; below it is an anomaly."""
SILENT = -20.0
_UNITS = frozenset({"packets", "flows"})
_DISTINCT = ("peers", "ports")
_SIDES = frozenset({"in", "out"})
_ANSWERS = frozenset({"rst", "synack", "unreachable", "resets"})
_SPREAD = frozenset({"unanswered", "failed", "failed 60 s", "ports", "ports 60 s", "peers", "peers 60 s"})


@dataclass(frozen=True, eq=False)
class Norm:
    """One device's record: its ``type`` when it was made, how many ``windows``, highest levels of the charts' measures
    (``rates`` [M], volume.py), highest counts of the schema's columns (``counts`` [f]; 0 where a column counts nothing).
    """

    type: str
    windows: int
    rates: F64
    counts: F64


@message(0x4412)
@dataclass(frozen=True, eq=False)
class _Saved:
    schema: str
    devices: tuple[str, ...]
    types: tuple[str, ...]
    windows: I64
    rates: F64
    counts: F64


@dataclass(frozen=True, eq=False)
class Norms:
    """Records of a site's devices, of windows of the schema with the id ``schema``."""

    schema: str
    devices: Mapping[str, Norm]

    def to_bytes(self) -> bytes:
        found = list(self.devices.values())
        return encode(
            _Saved(
                self.schema,
                tuple(self.devices),
                tuple(norm.type for norm in found),
                np.array([norm.windows for norm in found], dtype=np.int64),
                np.array([norm.rates for norm in found]).reshape(-1, volume.M),
                np.stack([norm.counts for norm in found]) if found else np.zeros((0, 0)),
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Norms:
        """Raises:
        DecodeError: not what ``to_bytes`` wrote.
        """
        s = decode(data, _Saved)
        d = len(s.devices)
        shaped = len(s.types) == d and s.windows.shape == (d,) and s.rates.shape == (d, volume.M)
        if not (shaped and s.counts.ndim == 2 and len(s.counts) == d):
            raise DecodeError(f"the records of {d} devices have other shapes")
        if not (np.isfinite(s.rates).all() and np.isfinite(s.counts).all()):
            raise DecodeError("a record's numbers are finite")
        rows = zip(s.devices, s.types, s.windows.tolist(), s.rates, s.counts, strict=True)
        return cls(s.schema, {name: Norm(type_, n, rates, counts) for name, type_, n, rates, counts in rows})


NONE = Norms("", {})


@dataclass(frozen=True, eq=False)
class Excess:
    """``score`` [n] of each window and the ``column`` [n] it is of."""

    score: F64
    column: I64


def learn(schema: Schema, device: Sequence[str], type_: Sequence[str], rates: F64, x: F32) -> Norms:
    """Records of normal windows: each one's device and type [n], ``volume.rates`` [n, M] and raw row [n, f]."""
    names = np.array(device, dtype=object)
    kinds = np.array(type_, dtype=object)
    level, counts = np.log2(1 + rates), _counts(x)
    found = {}
    for name in sorted(set(names.tolist())):
        mine = np.flatnonzero(names == name)
        types, often = np.unique(kinds[mine].astype(str), return_counts=True)
        kind = str(types[often.argmax()])
        found[str(name)] = Norm(kind, len(mine), level[mine].max(axis=0), counts[mine].max(axis=0))
    return Norms(schema.id, found)


def excess(norms: Norms, windows: Windows) -> Excess:
    """How far each window lies above its device's record; ``SILENT`` where there is none, or a short one."""
    n = len(windows)
    found = Excess(np.full(n, SILENT), np.zeros(n, np.int64))
    chosen = counted(windows.schema.columns)
    known = [norms.devices.get(name) for name in windows.devices]
    if not n or not len(chosen) or norms.schema != windows.schema.id or not any(known):
        return found
    tops = np.array([[np.inf] * len(chosen) if m is None or m.windows < LEAST else m.counts[chosen] for m in known])
    rooms = np.array([ROOM if m is None else room(m.windows) for m in known])
    above = np.log2(SMOOTH + _counts(windows.x[:, chosen])) - np.log2(SMOOTH + tops)[windows.device]
    worst = above.argmax(axis=1)
    score = above[np.arange(n), worst] - rooms[windows.device]
    return Excess(np.maximum(score, SILENT), chosen[worst])


def furthest(norm: Norm, columns: Sequence[Column], row: F32) -> int:
    """The column in which a raw ``row`` [f] lies furthest above a record."""
    chosen = counted(columns)
    above = np.log2(SMOOTH + _counts(row[chosen])) - np.log2(SMOOTH + norm.counts[chosen])
    return int(chosen[above.argmax()])


def counted(columns: Sequence[Column]) -> I64:
    """Numbers of the columns that count something."""
    return np.array(
        [i for i, c in enumerate(columns) if c.unit in _UNITS or c.name.startswith(_DISTINCT)], dtype=np.int64
    )


def room(windows: int) -> float:
    """Octaves that are granted above the highest of so many windows."""
    return ROOM * (1 + max(0.0, float(np.log10(SETTLED / max(windows, 1)))))


def weight(score: float, all_: int) -> int:
    """Votes of a score above 0; ``all_``: what an incident needs."""
    if score > PLAIN:
        return all_
    return 2 if score > STRONG else 1


def named(column: str, score: float, sends: bool) -> tuple[str, str, bool]:
    """What an alarm of ``column`` is called (nothing for an anomaly), its family, and whether the device does it itself;
    ``sends`` is taken for columns without a direction. Answers tell of what they answer: a RST sent of a SYN received.
    """
    what, _, side = column.rpartition(" ")
    if side in _SIDES:
        sends = (side == "out") != (what in _ANSWERS)
    how = "sent" if (side == "out" if side in _SIDES else sends) else "received"
    if "unframed" in column:
        return f"malformed messages: more {column} than ever", "malformed", sends
    if column == "modbus write":
        return "burst of modbus write commands", "control-writes", sends
    if what == "odd" and score > STRONG:
        return f"probe: more odd TCP flags {how} than ever", "probe", sends
    if (what in _SPREAD or column == "arp out") and score > STRONG:
        return f"scan: more {column} than ever", "scan", sends
    if score > FLOOD:
        return f"flood: far more {what if side in _SIDES else column} {how} than ever", "flood", sends
    return "", ANOMALY.name, sends


def _counts(x: F32) -> F64:
    """Counts of raw values: missing is none."""
    return np.maximum(np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0), 0.0)
