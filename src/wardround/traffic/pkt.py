"""``pkt-v1``: what each device sends and receives in windows of fixed length, from packets.

Sizes, gaps, flags, distinct peers and ports, and counts of MQTT, HL7, DICOM, CoAP and Modbus messages. One row for each
device and window with traffic, sent or received, so a flood's victim has a row even when its sources are forged.
Windows begin at whole multiples of their length since 1970, the same for all gateways and all classes.

Left out on purpose: addresses, port numbers, times of day, TTLs (each can stand for one lab's attacker).
A column that is a ratio without a denominator (no packet sent) is missing (NaN).

Laws: rows do not depend on the cut into batches (``peer`` and ``port`` of ``Windows`` are those of the batch in which
the largest conversation was seen); the schema's id changes with the window's length.
What it does not do: keep state (hosts.py), read captures (drivers/sources), score (detect/).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from wardround.arrays import F32, F64, I64, Array
from wardround.traffic import hosts, windows
from wardround.traffic.clock import SECOND
from wardround.traffic.conversations import PEERS_IN, PEERS_OUT, PORTS_IN, PORTS_OUT, SIDE, Layout
from wardround.traffic.hosts import Closed, HostState
from wardround.traffic.packets import MESSAGES, Packets
from wardround.traffic.services import SERVICES
from wardround.traffic.table import Column, Schema
from wardround.traffic.windows import Facts, Windows

_COUNTS = ("syn", "synack", "fin", "rst", "odd", "fragments", "echo", "unreachable", "arp", "arp replies")
_SHARES = ("tcp", "udp", "icmp", "ipv6", "no ip", "psh", "ack", "small", "large")
_SIDES = ("out", "in")
_GRACE = SECOND


def _columns() -> tuple[Column, ...]:
    columns = []
    for side in _SIDES:
        columns += [Column(f"{name} {side}", unit="packets") for name in ("packets", *_COUNTS)]
        columns += [Column(f"{name} {side}", unit="B") for name in ("bytes", "payload", "mean size", "size deviation")]
        columns += [Column(f"{name} share {side}", "flag") for name in _SHARES]
        columns += [
            Column(f"peak second {side}", unit="packets"),
            Column(f"gap log {side}"),
            Column(f"gap variation {side}"),
        ]
        columns += [Column(f"fast gaps {side}", "flag")]
        columns += [Column(f"peers {side}"), Column(f"ports {side}")]
    columns += [
        Column("unanswered out", unit="packets"),
        Column("unanswered in", unit="packets"),
        Column("out share", "flag"),
    ]
    columns += [Column(f"{name} share", "flag") for name in SERVICES]
    columns += [Column(name, unit="packets") for name in MESSAGES[1:]]
    return tuple(columns)


COLUMNS: tuple[Column, ...] = _columns()


@dataclass(frozen=True)
class PacketFeatures:
    """The extractor of ``pkt-v1``.

    Attributes:
        seconds: length of a window, a whole number of seconds.
        classes: how many classes the packets' labels have; 0 where there are none.
    """

    seconds: int = 5
    classes: int = 0

    def __post_init__(self) -> None:
        if not (isinstance(self.seconds, int) and 1 <= self.seconds <= 600):
            raise ValueError(f"seconds must be a whole number from 1 to 600, not {self.seconds}")
        if self.classes < 0:
            raise ValueError(f"classes must be 0 or more, not {self.classes}")

    @cached_property
    def schema(self) -> Schema:
        return Schema(f"pkt-v1/{self.seconds}s", COLUMNS)

    def init(self) -> HostState:
        return HostState(Layout(self.seconds, self.classes), self.seconds * SECOND)

    def update(self, state: HostState, batch: Packets) -> tuple[HostState, Windows]:
        found = self._windows(state, hosts.take_in(state, batch))
        return state, replace(found, claims=hosts.claims(batch))

    def tick(self, state: HostState, now: int) -> tuple[HostState, Windows]:
        over = state.window is not None and (state.window + 1) * state.length + _GRACE < now
        return state, self._windows(state, hosts.close(state) if over else [])

    def flush(self, state: HostState) -> tuple[HostState, Windows]:
        return state, self._windows(state, hosts.close(state))

    def _windows(self, state: HostState, closed: list[Closed]) -> Windows:
        if not closed:
            return windows.none(self.schema, self.classes)
        return windows.concat([self._rows(state, part) for part in closed])

    def _rows(self, state: HostState, closed: Closed) -> Windows:
        numbers, device = np.unique(closed.device, return_inverse=True)
        start = closed.window * state.length
        return Windows(
            schema=self.schema,
            devices=tuple(state.devices.name(int(number)) for number in numbers),
            device=device.astype(np.int32),
            start=start,
            end=start + state.length,
            x=features(closed, state.layout),
            facts=_facts(closed, state.layout),
            address=closed.address,
            peer=closed.peer,
            port=closed.port,
            own_port=closed.own_port,
            protocol=closed.protocol,
            claims=windows.no_claims(),
            label_counts=closed.sums[:, state.layout.parts["labels"]].astype(np.int64),
        )


def features(closed: Closed, layout: Layout) -> F32:
    """Raw rows [g, f] of ``COLUMNS``."""
    parts = layout.parts
    columns: list[Array] = []
    sides = [_side(closed.sums[:, parts[side]]) for side in _SIDES]
    kinds = ((PEERS_OUT, PORTS_OUT), (PEERS_IN, PORTS_IN))
    for side, sums, (peers, ports) in zip(_SIDES, sides, kinds, strict=True):
        packets = sums["packets"]
        mean = _over(sums["bytes"], packets)
        columns += [sums[name] for name in ("packets", *_COUNTS)]
        spread = np.sqrt(np.maximum(_over(sums["squares"], packets) - mean * mean, 0))
        columns += [sums["bytes"], sums["payload"], mean, spread]
        columns += [_over(sums[name], packets) for name in _SHARES]
        columns += [closed.sums[:, parts[f"seconds {side}"]].max(axis=1), *_gap_columns(sums)]
        columns += [closed.counts[:, peers], closed.counts[:, ports]]
    out, into = sides
    total = out["packets"] + into["packets"]
    columns += [np.maximum(out["syn"] - into["synack"], 0), np.maximum(into["syn"] - out["synack"], 0)]
    columns += [out["packets"] / total]
    columns += list((closed.sums[:, parts["services"]] / total[:, None]).T)
    columns += list(closed.sums[:, parts["messages"]].T[1:])
    return np.column_stack(columns).astype(np.float32)


def _gap_columns(sums: Mapping[str, F64]) -> list[F64]:
    """Mean logarithm of a gap, its coefficient of variation, share below a millisecond."""
    gaps = sums["gaps"]
    mean = _over(sums["gap"], gaps)
    spread = np.sqrt(np.maximum(_over(sums["gap squared"], gaps) - mean * mean, 0))
    return [_over(sums["gap log"], gaps), _over(spread, np.maximum(mean, 1e-9)), _over(sums["fast"], gaps)]


def _facts(closed: Closed, layout: Layout) -> Facts:
    found: dict[str, F64 | I64] = {}
    for side in _SIDES:
        sums = _side(closed.sums[:, layout.parts[side]])
        names = {"packets": "packets", "bytes": "bytes", "connections": "syn", "resets": "rst"}
        names |= {name: name for name in ("icmp", "udp", "arp")}
        found |= {f"{fact}_{side}": sums[name] for fact, name in names.items()}
        if side == "in":
            found["unanswered"] = np.maximum(found["connections_out"] - sums["synack"], 0)
    for kind, name in (
        (PEERS_OUT, "peers_out"),
        (PEERS_IN, "peers_in"),
        (PORTS_OUT, "ports_out"),
        (PORTS_IN, "ports_in"),
    ):
        found[name] = closed.counts[:, kind]
    return windows.facts(len(closed), **found)


def _side(sums: F64) -> dict[str, F64]:
    return dict(zip(SIDE, sums.T, strict=True))


def _over(part: F64, whole: F64) -> F64:
    """``part / whole``, missing where ``whole`` is 0."""
    found: F64 = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return found
