"""``ciciomt2024-v2``: the features of CICIoMT2024's second release, computed from packets.

So that a model trained on the published files can run live. A window is N consecutive frames, all protocols mixed. The
published windows are those of the whole link (``per = "link"``); a gateway cuts them for each device (``per =
"device"``), because one attacker's packets drown among a busy link's; a window then also ends with its time slot.

The window-length leak: the publishers cut floods into 100 packets and all else into 10. Here N is the same for all traffic,
and the columns that tell N (``LENGTH_COLUMNS``) are not in the schema; ``everything`` computes all 39 for comparison.

Formulas: reconstructed from the published rows (docs/design/0603-ciciomt.md). Two things the rows do not settle: how IPv6
counts (here as TCP, UDP and so on, but not as ``IPv``), and IRC's ports (here 21, as in the first release, and 6668).
Laws: windows do not depend on the cut into batches. What it does not do: the first release's 45 columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from wardround.arrays import F64, I64, Array, Bool
from wardround.traffic import hosts, windows
from wardround.traffic.clock import SECOND, stretches
from wardround.traffic.devices import Registry, device_keys
from wardround.traffic.packets import (
    ACK,
    ARP,
    CWR,
    ECE,
    FIN,
    ICMP,
    IGMP,
    IPV4,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    Packets,
    concat,
    empty,
    take,
)
from wardround.traffic.table import Column, Schema
from wardround.traffic.windows import Windows

FLAGS = {"fin": FIN, "syn": SYN, "rst": RST, "psh": PSH, "ack": ACK, "ece": ECE, "cwr": CWR}
COUNTS = ("ack_count", "syn_count", "fin_count", "rst_count")
_APPLICATIONS = {
    "HTTP": (80,),
    "HTTPS": (443,),
    "DNS": (53,),
    "Telnet": (23,),
    "SMTP": (25,),
    "SSH": (22,),
    "IRC": (21, 6668),
}
_PROTOCOLS = ("TCP", "UDP", "DHCP", "ARP", "ICMP", "IGMP", "IPv", "LLC")
SHARES = (*(f"{flag}_flag_number" for flag in FLAGS), *_APPLICATIONS, *_PROTOCOLS)
SIZES = ("Tot sum", "Min", "Max", "AVG", "Std", "Tot size", "IAT", "Number")
V2 = ("Header_Length", "Protocol Type", "Time_To_Live", "Rate", *SHARES[:7], *COUNTS, *SHARES[7:], *SIZES, "Variance")
"""All 39 columns, in the publishers' order."""
LENGTH_COLUMNS = ("Number", "Tot sum", *COUNTS)
COPIES = ("Tot size", "LLC", "Variance")
PROTOCOLS = ("0", "1", "2", "6", "17")
UNITS = {"Header_Length": "B", "Rate": "packets/s", "Min": "B", "Max": "B", "AVG": "B", "Std": "B", "IAT": "s"}


def column(name: str) -> Column:
    """The column ``name`` of the second release."""
    if name == "Protocol Type":
        return Column(name, "category", PROTOCOLS)  # the window's most frequent IP protocol
    return Column(name, "flag" if name in SHARES else "numeric", unit=UNITS.get(name, ""))


KEPT = tuple(name for name in V2 if name not in (*LENGTH_COLUMNS, *COPIES))
SCHEMA = Schema("ciciomt2024-v2", tuple(column(name) for name in KEPT))


@dataclass
class CicState:
    """Packets of windows that are not full, their devices and slots; the last packet's time of each device (-1: none)."""

    devices: Registry = field(default_factory=lambda: Registry(1024))
    packets: Packets = field(default_factory=empty)
    time: I64 = field(default_factory=lambda: np.empty(0, np.int64))
    device: I64 = field(default_factory=lambda: np.empty(0, np.int64))
    sent: Bool = field(default_factory=lambda: np.empty(0, np.bool_))
    last: I64 = field(default_factory=lambda: np.full(1024, -1, np.int64))
    now: int | None = None


@dataclass(frozen=True)
class CicFeatures:
    """The extractor of ``ciciomt2024-v2``.

    Attributes:
        packets: N, the packets of a full window.
        seconds: a window also ends with its slot of so many seconds, however few packets it has; 0: never.
        per: ``device`` (what it sends and receives) or ``link`` (one window after the other, as published).
        classes: how many classes the packets' labels have; 0 where there are none.
    """

    packets: int = 100
    seconds: int = 10
    per: Literal["device", "link"] = "device"
    classes: int = 0

    def __post_init__(self) -> None:
        if self.packets < 2 or self.seconds < 0 or self.per not in ("device", "link"):
            raise ValueError(f'packets must be 2 or more, seconds 0 or more, per "device" or "link", not {self}')

    @cached_property
    def schema(self) -> Schema:
        return SCHEMA

    def init(self) -> CicState:
        return CicState()

    def update(self, state: CicState, batch: Packets) -> tuple[CicState, Windows]:
        found = []
        for where, time, back in stretches(batch.time, state.now):
            if back:
                found.append(self.flush(state)[1])
            if len(time):
                found.append(self._stretch(state, take(batch, where), time))
        claims = hosts.claims(batch)
        joined = windows.concat(found) if found else windows.none(self.schema, self.classes)
        return state, Windows(**{**vars(joined), "claims": claims})

    def tick(self, state: CicState, now: int) -> tuple[CicState, Windows]:
        over = self.seconds > 0 and state.now is not None and self._slot(state.now) < self._slot(now - SECOND)
        return state, self._close(state, np.ones(len(state.time), np.bool_)) if over else windows.none(
            SCHEMA, self.classes
        )

    def flush(self, state: CicState) -> tuple[CicState, Windows]:
        found = self._close(state, np.ones(len(state.time), np.bool_))
        state.now, state.last[:] = None, -1
        return state, found

    def _slot(self, time: int) -> int:
        return time // (self.seconds * SECOND) if self.seconds else 0

    def _stretch(self, state: CicState, packets: Packets, time: I64) -> Windows:
        state.now = int(time[-1])
        index, device, sent = self._owned(state, packets, time)
        state.packets = concat([state.packets, take(packets, index)])
        state.time = np.concatenate([state.time, time[index]])
        state.device = np.concatenate([state.device, device])
        state.sent = np.concatenate([state.sent, sent])
        order, starts, sizes = self._cut(state)
        slot = state.time // (self.seconds * SECOND) if self.seconds else np.zeros(len(state.time), np.int64)
        whole = (sizes == self.packets) | (slot[order[starts]] < self._slot(state.now)) if len(starts) else sizes > 0
        done = np.zeros(len(state.time), np.bool_)
        done[order] = np.repeat(whole, sizes)
        return self._close(state, done)

    def _owned(self, state: CicState, packets: Packets, time: I64) -> tuple[I64, I64, Bool]:
        """(packet, device, whether it sent it) for each device's share of each packet, in order of time."""
        n = len(packets)
        if self.per == "link":
            return np.arange(n), np.zeros(n, np.int64), np.ones(n, np.bool_)
        keys = device_keys(packets)
        numbers = [
            state.devices.numbers(key, address, int(time[0]) - 600 * SECOND)
            for key, address in zip(keys, (packets.source, packets.target), strict=True)
        ]
        state.last[state.devices.fresh()] = -1
        for number in numbers:
            state.devices.seen[number] = time
        both = np.column_stack(numbers).ravel()
        some = np.flatnonzero(both)
        return some // 2, both[some], some % 2 == 0

    def _cut(self, state: CicState) -> tuple[I64, I64, I64]:
        """(order of the packets by device, slot and time; where windows start in it; their sizes)."""
        slot = state.time // (self.seconds * SECOND) if self.seconds else np.zeros(len(state.time), np.int64)
        order = np.lexsort((np.arange(len(slot)), slot, state.device))
        begins = np.ones(len(order), np.bool_)
        device, slot = state.device[order], slot[order]
        begins[1:] = (device[1:] != device[:-1]) | (slot[1:] != slot[:-1])
        at = np.arange(len(order))
        since = at - np.maximum.accumulate(np.where(begins, at, 0))
        starts = np.flatnonzero(since % self.packets == 0)
        return order, starts, np.diff(np.append(starts, len(order)))

    def _close(self, state: CicState, done: Bool) -> Windows:
        if not done.any():
            return windows.none(SCHEMA, self.classes)
        kept = ~done
        closing = CicState(
            state.devices, take(state.packets, done), state.time[done], state.device[done], state.sent[done]
        )
        state.packets, state.time = take(state.packets, kept), state.time[kept]
        state.device, state.sent = state.device[kept], state.sent[kept]
        order, starts, sizes = self._cut(closing)
        c = _Cut(
            take(closing.packets, order), closing.time[order], closing.device[order], closing.sent[order], starts, sizes
        )
        gap = c.gaps(state.last)
        x = everything(c, gap)
        names = list(V2)
        kept_columns = [names.index(name) for name in KEPT]
        rows = x[:, kept_columns]
        rows[:, KEPT.index("Protocol Type")] = _codes(x[:, names.index("Protocol Type")])
        return self._windows(state, c, rows)

    def _windows(self, state: CicState, c: _Cut, rows: F64) -> Windows:
        ends = np.append(c.starts[1:], len(c.time)) - 1
        by_end = np.lexsort((state.devices.keys[c.device[c.starts]], c.time[ends]))
        first, last = c.starts[by_end], ends[by_end]
        numbers, device = np.unique(c.device[first], return_inverse=True)
        names = ("link",) if self.per == "link" else tuple(state.devices.name(int(number)) for number in numbers)
        labels = np.zeros((len(first), self.classes), np.int64)
        for code in range(self.classes):
            labels[:, code] = np.add.reduceat((c.packets.label == code).astype(np.int64), c.starts)[by_end]
        p, sent = c.packets, c.sent[last]
        return Windows(
            schema=SCHEMA,
            devices=names,
            device=device.astype(np.int32),
            start=c.time[first],
            end=c.time[last],
            x=rows[by_end].astype(np.float32),
            facts=c.facts(by_end),
            address=np.where(sent[:, None], p.source[last], p.target[last]),
            peer=np.where(sent[:, None], p.target[last], p.source[last]),
            port=np.where(sent, p.target_port[last], p.source_port[last]),
            own_port=np.where(sent, p.source_port[last], p.target_port[last]),
            protocol=p.protocol[last],
            claims=windows.no_claims(),
            label_counts=labels,
        )


@dataclass(frozen=True, eq=False)
class _Cut:
    """Packets in order of windows, which begin at ``starts`` and have ``sizes`` packets."""

    packets: Packets
    time: I64
    device: I64
    sent: Bool
    starts: I64
    sizes: I64

    def gaps(self, last: I64) -> F64:
        """Seconds [n] since the device's packet before, 0 for its first; ``last`` is brought up to date."""
        gap = np.zeros(len(self.time), np.int64)
        gap[1:] = np.diff(self.time)
        heads = np.flatnonzero(np.concatenate([[True], self.device[1:] != self.device[:-1]]))
        before = last[self.device[heads]]
        gap[heads] = np.where(before < 0, 0, self.time[heads] - before)
        ends = np.append(heads[1:], len(self.time)) - 1
        last[self.device[ends]] = self.time[ends]
        seconds: F64 = gap.astype(np.float64) * 1e-9
        return seconds

    def total(self, values: Array) -> F64:
        """Sums over each window."""
        found: F64 = np.add.reduceat(values.astype(np.float64), self.starts)
        return found

    def facts(self, rows: I64) -> windows.Facts:
        """Counts for rules (distinct peers and ports are counted by ``pkt-v1`` only)."""
        p = self.packets
        syn = (p.protocol == TCP) & ((p.flags & (SYN | ACK)) == SYN)
        kinds = {
            "packets": np.ones(len(self.time)),
            "bytes": p.wire,
            "connections": syn,
            "icmp": (p.protocol == ICMP) & (p.version == 4),
            "udp": p.protocol == UDP,
            "arp": p.ethertype == ARP,
            "resets": (p.protocol == TCP) & (p.flags & RST > 0),
        }
        columns = {f"{name}_out": self.total(value * self.sent)[rows] for name, value in kinds.items()}
        columns |= {f"{name}_in": self.total(value * ~self.sent)[rows] for name, value in kinds.items()}
        return windows.facts(len(rows), **columns)


def everything(c: _Cut, gap: F64) -> F64:
    """All 39 columns [windows, 39] in the order of ``V2``; ``Rate`` is missing where a window lasts no time."""
    p, n = c.packets, c.sizes.astype(np.float64)
    wire = p.wire.astype(np.float64)
    ends = np.append(c.starts[1:], len(c.time)) - 1
    span = (c.time[ends] - c.time[c.starts]) * 1e-9
    total = c.total(wire)
    mean = total / n
    centred = wire - np.repeat(mean, c.sizes)
    variance = c.total(centred * centred) / np.maximum(n - 1, 1)
    tcp = p.protocol == TCP
    found: dict[str, Array] = {
        "Header_Length": c.total(np.where(tcp | (p.protocol == UDP), p.header, 0)) / n,
        "Protocol Type": _mode(p.protocol.astype(np.int64), c),
        "Time_To_Live": c.total(p.ttl) / n,
        "Rate": np.divide(n, span, out=np.full(len(n), np.nan), where=span > 0),
        "Tot sum": total,
        "Min": np.minimum.reduceat(wire, c.starts),
        "Max": np.maximum.reduceat(wire, c.starts),
        "AVG": mean,
        "Std": np.sqrt(variance),
        "Tot size": mean,
        "IAT": c.total(gap) / n,
        "Number": n,
        "Variance": variance,
    }
    for name, bit in FLAGS.items():
        found[f"{name}_flag_number"] = c.total(tcp & (p.flags & bit > 0)) / n
    for name in COUNTS:
        found[name] = c.total(tcp & (p.flags & FLAGS[name.removesuffix("_count")] > 0))
    for name, holds in _shares(p).items():
        found[name] = c.total(holds) / n
    return np.column_stack([found[name] for name in V2])


def _shares(p: Packets) -> dict[str, Bool]:
    tcp, udp, four = p.protocol == TCP, p.protocol == UDP, p.ethertype == IPV4

    def on(*ports: int) -> Bool:
        found: Bool = np.isin(p.source_port, ports) | np.isin(p.target_port, ports)
        return found

    found = {name: on(*ports) & (udp if name == "DNS" else tcp) for name, ports in _APPLICATIONS.items()}
    found |= {"TCP": tcp, "UDP": udp, "DHCP": on(67, 68) & udp, "ARP": p.ethertype == ARP}
    found |= {"ICMP": (p.protocol == ICMP) & four, "IGMP": (p.protocol == IGMP) & four, "IPv": four, "LLC": four}
    return found


def _mode(values: I64, c: _Cut) -> F64:
    """The most frequent protocol of each window, the larger of two equally frequent."""
    window = np.repeat(np.arange(len(c.starts)), c.sizes)
    counts = np.bincount(window * 256 + values, minlength=256 * len(c.starts)).reshape(-1, 256)
    found: F64 = (255 - np.argmax(counts[:, ::-1], axis=1)).astype(np.float64)
    return found


def _codes(protocol: F64) -> F64:
    """Protocol numbers as codes of ``PROTOCOLS``, missing where not in it."""
    codes = np.full(256, np.nan)
    for code, word in enumerate(PROTOCOLS):
        codes[int(word)] = code
    found: F64 = codes[protocol.astype(np.int64)]
    return found
