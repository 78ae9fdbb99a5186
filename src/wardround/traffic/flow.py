"""``flow-v1``: what each device does in steps of fixed length, from flow records of any reporter.

The portable schema: own packets, Suricata, Zeek and NetFlow can all fill it, so every site can join a federation whatever
its sensor. One row for each device and step in which a record about it was reported, with what it began (``out``) and what
others began with it (``in``): this step, the last 60 s, and the busiest second. Records are counted when they are
reported, because that is when a site can know them; reporters differ in how long they wait, so thresholds are
calibrated for each site.

Left out on purpose: addresses, port numbers, times of day. What a reporter cannot tell is missing (NaN).
Laws: rows do not depend on the cut into batches (but for ``peer`` and ``port``).
What it does not do: read logs (drivers/sources), make records of packets (flowtable.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from wardround.arrays import F32, F64, I64, U8, U16, U64, Array
from wardround.traffic import hosts, windows
from wardround.traffic.clock import SECOND, stretches
from wardround.traffic.conversations import PEERS_IN, PEERS_OUT, PORTS_IN, PORTS_OUT, unique_marks
from wardround.traffic.devices import HOME, Registry, address_keys, networks, within
from wardround.traffic.flows import ATTEMPT, REJECTED, RESET, Flows, take
from wardround.traffic.grouping import dense, mix
from wardround.traffic.packets import ICMP, ICMPV6, TCP, UDP
from wardround.traffic.services import SERVICES
from wardround.traffic.table import Column, Schema
from wardround.traffic.windows import Windows

_SUMS = (
    *("flows", "failed", "resets", "packets sent", "packets received", "bytes sent", "bytes received"),
    *("log duration", "log bytes", "tcp", "udp", "icmp", "arp", "udp packets", "icmp packets"),
)
_N = len(_SUMS)
_SECONDS = 16  # a record's first second, modulo 16: enough to tell the busiest one apart
_LONG = ("flows", "failed", "bytes sent")
_SIDES = ("out", "in")
_WIDTH = 2 * (_N + _SECONDS) + len(SERVICES)
_WARM_UP = 600 * SECOND
_HOUR = 3600 * SECOND
_PAIRS = 1 << 19


def _columns() -> tuple[Column, ...]:
    columns = []
    for side in _SIDES:
        columns += [Column(f"{name} {side}", unit="flows") for name in ("flows", "failed", "resets", "busiest second")]
        columns += [Column(f"{name} {side}", unit=name.split()[0]) for name in _SUMS[3:7]]
        columns += [
            Column(f"{name} {side}", "flag")
            for name in ("failed share", "sent share", "tcp share", "udp share", "icmp share")
        ]
        columns += [Column(f"{name} {side}") for name in ("log duration", "log bytes", "peers", "ports")]
        columns += [Column(f"{name} 60 s {side}") for name in (*_LONG, "peers", "ports")]
    columns += [Column("arp", unit="flows"), Column("new peers")]
    columns += [Column(f"{name} share", "flag") for name in SERVICES]
    return tuple(columns)


COLUMNS: tuple[Column, ...] = _columns()


@dataclass
class Step:
    """What is left of a step that is over, for the 60 s after it: sums ``_LONG`` of each side, and its marks."""

    number: int
    device: I64
    long: F64
    marks: U64
    owners: I64


@dataclass
class FlowState:
    """The open step as sums by device number, the steps of the last minute, and the pairs that have met."""

    classes: int
    devices: Registry = field(default_factory=Registry)
    step: int | None = None
    now: int | None = None
    began: int | None = None
    layer2: bool = False
    past: deque[Step] = field(default_factory=deque)
    marks: list[U64] = field(default_factory=list)
    owners: list[I64] = field(default_factory=list)
    sums: F64 = field(init=False)
    labels: I64 = field(init=False)
    busy: I64 = field(init=False)
    most: I64 = field(init=False)
    peer: U64 = field(init=False)
    port: U16 = field(init=False)
    own_port: U16 = field(init=False)
    protocol: U8 = field(init=False)
    met: list[Array] = field(init=False)
    turned: int = 0

    def __post_init__(self) -> None:
        n = self.devices.capacity
        self.sums, self.labels = np.zeros((n, _WIDTH)), np.zeros((n, self.classes), np.int64)
        self.busy, self.most, self.peer = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros((n, 2), np.uint64)
        self.port, self.own_port, self.protocol = np.zeros(n, np.uint16), np.zeros(n, np.uint16), np.zeros(n, np.uint8)
        self.met = [np.zeros(_PAIRS, np.bool_), np.zeros(_PAIRS, np.bool_)]


@dataclass(frozen=True)
class FlowFeatures:
    """The extractor of ``flow-v1`` on flow records.

    Attributes:
        step: length of a step in whole seconds, a divisor of 60.
        classes: how many classes the records' labels have; 0 where there are none.
        home: networks whose addresses are devices, where records name no MACs.
    """

    step: int = 10
    classes: int = 0
    home: tuple[str, ...] = HOME

    def __post_init__(self) -> None:
        if not (isinstance(self.step, int) and 1 <= self.step <= 60 and 60 % self.step == 0):
            raise ValueError(f"step must be a whole number of seconds that divides 60, not {self.step}")
        networks(self.home)

    @cached_property
    def schema(self) -> Schema:
        return Schema(f"flow-v1/{self.step}s", COLUMNS)

    def init(self) -> FlowState:
        return FlowState(self.classes)

    def update(self, state: FlowState, batch: Flows) -> tuple[FlowState, Windows]:
        found: list[Windows] = []
        state.layer2 |= batch.layer2
        for where, reported, back in stretches(batch.reported, state.now):
            if back:
                found += self._close(state)
                state.now = None
                state.past.clear()
            for start, end, step in _runs(reported // (self.step * SECOND)):
                if state.step is not None and step > state.step:
                    found += self._close(state)
                state.step, state.now = step, int(reported[end - 1])
                state.began = state.now if state.began is None else min(state.began, state.now)
                self._take_in(state, take(batch, slice(where.start + start, where.start + end)))
        return state, replace(self._joined(found), claims=batch.claims)

    def tick(self, state: FlowState, now: int) -> tuple[FlowState, Windows]:
        over = state.step is not None and (state.step + 1) * self.step * SECOND + SECOND < now
        return state, self._joined(self._close(state) if over else [])

    def flush(self, state: FlowState) -> tuple[FlowState, Windows]:
        return state, self._joined(self._close(state))

    def _joined(self, found: list[Windows]) -> Windows:
        return windows.concat(found) if found else windows.none(self.schema, self.classes)

    def _take_in(self, state: FlowState, flows: Flows) -> None:
        ends = self._devices(state, flows)
        for side, (device, peer_device) in enumerate((ends, ends[::-1])):
            del peer_device
            some = np.flatnonzero(device)
            if len(some):
                _add(state, take(flows, some), device[some], side)

    def _devices(self, state: FlowState, flows: Flows) -> tuple[I64, I64]:
        assert state.now is not None
        found = []
        for mac, other, address in (
            (flows.source_mac, flows.target_mac, flows.source),
            (flows.target_mac, flows.source_mac, flows.target),
        ):
            by_mac = (mac != 0) & (other != 0)
            keys = np.where(mac & np.uint64(1 << 40), np.uint64(0), mac)
            by_address = np.where(within(address, self.home), address_keys(address), np.uint64(0))
            number = state.devices.numbers(np.where(by_mac, keys, by_address), address, state.now - _HOUR)
            state.devices.fresh()
            state.devices.seen[number] = state.now
            speaks = address.any(1)
            state.devices.address[number[speaks]] = address[speaks]
            found.append(number)
        return found[0], found[1]

    def _close(self, state: FlowState) -> list[Windows]:
        device = np.flatnonzero(state.busy)
        if state.step is None or not len(device):
            state.step = None
            return []
        device = device[np.argsort(state.devices.keys[device], kind="stable")]
        sums = state.sums[device]
        marks, owners = _joined_marks(state.marks, state.owners)
        steps = 60 // self.step
        while state.past and state.past[0].number <= state.step - steps:
            state.past.popleft()
        long_columns = np.concatenate(
            [_side(sums, side)[:, [_SUMS.index(name) for name in _LONG]] for side in (0, 1)], axis=1
        )
        state.past.append(Step(state.step, device, long_columns, marks, owners))
        long, long_counts = _minute(state, device)
        counts = hosts.distinct_counts(device, owners)
        arp = _side(sums, 0)[:, _SUMS.index("arp")] if state.layer2 else np.full(len(device), np.nan)
        x = _features(sums, counts, (long, long_counts), [arp, _new(state, device, marks, owners)])
        start = np.full(len(device), state.step * self.step * SECOND)
        found = Windows(
            schema=self.schema,
            devices=tuple(state.devices.name(int(number)) for number in device),
            device=np.arange(len(device), dtype=np.int32),
            start=start,
            end=start + self.step * SECOND,
            x=x,
            facts=_facts(sums, counts),
            address=state.devices.address[device],
            peer=state.peer[device],
            port=state.port[device],
            own_port=state.own_port[device],
            protocol=state.protocol[device],
            claims=windows.no_claims(),
            label_counts=state.labels[device],
        )
        state.sums[device], state.labels[device], state.busy[device], state.most[device] = 0, 0, 0, 0
        state.step, state.marks, state.owners = None, [], []
        return [found]


def _runs(step: I64) -> Iterator[tuple[int, int, int]]:
    """(start, end, step) of each run of equal steps."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(step)) + 1, [len(step)]])
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if end > start:
            yield start, end, int(step[start])


def _side(sums: F64, side: int) -> F64:
    return sums[:, side * _N : (side + 1) * _N]


def _add(state: FlowState, f: Flows, device: I64, side: int) -> None:
    """Count the records ``f`` for the end ``side`` (0: it began), the devices ``device`` [n]."""
    group, numbers = dense(device)
    state.busy[numbers] = 1
    at = 2 * _N + side * _SECONDS
    for i, column in enumerate(_sums(f, side)):
        state.sums[numbers, side * _N + i] += np.bincount(group, column, len(numbers))
    state.sums[numbers, at : at + _SECONDS] += _joint(group, f.start // SECOND % _SECONDS, (len(numbers), _SECONDS))
    state.sums[numbers, -len(SERVICES) :] += _joint(group, f.service, (len(numbers), len(SERVICES)))
    labelled = np.flatnonzero((f.label >= 0) & (f.label < state.classes))
    packets = np.maximum(f.packets_out + f.packets_in, 1)  # a flood may be one record of many packets
    np.add.at(state.labels, (device[labelled], f.label[labelled]), packets[labelled])
    _largest(state, f, (group, numbers), side)
    _mark(state, f, device, side)


def _sums(f: Flows, side: int) -> list[Array]:
    """The columns ``_SUMS`` [n] of each record, seen from the end ``side``."""
    sent, received = (f.packets_out, f.packets_in) if side == 0 else (f.packets_in, f.packets_out)
    bytes_sent, bytes_received = (f.bytes_out, f.bytes_in) if side == 0 else (f.bytes_in, f.bytes_out)
    icmp = (f.protocol == ICMP) | (f.protocol == ICMPV6)
    udp, packets = f.protocol == UDP, f.packets_out + f.packets_in
    return [
        np.ones(len(f)),
        (f.state == ATTEMPT) | (f.state == REJECTED),
        f.state == RESET,
        sent,
        received,
        bytes_sent,
        bytes_received,
        np.log1p(np.maximum(f.end - f.start, 0) * 1e-3),
        np.log1p(np.maximum(f.bytes_out + f.bytes_in, 0)),
        f.protocol == TCP,
        udp,
        icmp,
        f.protocol == 0,
        packets * udp,
        packets * icmp,
    ]


def _largest(state: FlowState, f: Flows, groups: tuple[I64, I64], side: int) -> None:
    """Remember the end of each device's record with most packets."""
    group, numbers = groups
    packets, peer = f.packets_out + f.packets_in, f.target if side == 0 else f.source
    rank = np.argsort(packets, kind="stable")
    best = np.zeros(len(numbers), np.int64)
    best[group[rank]] = rank
    better = packets[best] > state.most[numbers]
    at, row = numbers[better], best[better]
    ports = (f.target_port, f.source_port) if side == 0 else (f.source_port, f.target_port)
    state.most[at], state.peer[at], state.protocol[at] = packets[row], peer[row], f.protocol[row]
    state.port[at], state.own_port[at] = ports[0][row], ports[1][row]


def _mark(state: FlowState, f: Flows, device: I64, side: int) -> None:
    """Remember which peers and ports each device met."""
    peer = f.target if side == 0 else f.source
    port = f.target_port.astype(np.int64) | f.protocol.astype(np.int64) << 16
    for kind, thing, holds in (
        ((PEERS_OUT, PEERS_IN)[side], mix(peer[:, 0], peer[:, 1]), peer.any(1)),
        ((PORTS_OUT, PORTS_IN)[side], port.astype(np.uint64), f.target_port > 0),
    ):
        owner = device[holds] * 4 + kind
        marks, owners = unique_marks(mix(thing[holds], owner.view(np.uint64)), owner)
        if sum(map(len, state.marks)) < hosts.MOST_MARKS:
            state.marks.append(marks)
            state.owners.append(owners)


def _joined_marks(marks: list[U64], owners: list[I64]) -> tuple[U64, I64]:
    """All of them, each once."""
    return unique_marks(
        np.concatenate([np.empty(0, np.uint64), *marks]), np.concatenate([np.empty(0, np.int64), *owners])
    )


def _joint(group: I64, code: Array, shape: tuple[int, int]) -> F64:
    found = np.bincount(group * shape[1] + code, minlength=shape[0] * shape[1])
    return found.reshape(shape).astype(np.float64)


def _minute(state: FlowState, device: I64) -> tuple[F64, I64]:
    """Sums ``_LONG`` of both sides [g, 6] and distinct counts [g, 4] of the devices over the last 60 s."""
    total = np.zeros((state.devices.capacity, 2 * len(_LONG)))
    for step in state.past:
        total[step.device] += step.long
    _, owners = _joined_marks([step.marks for step in state.past], [step.owners for step in state.past])
    return total[device], hosts.distinct_counts(device, owners)


def _new(state: FlowState, device: I64, marks: U64, owners: I64) -> F64:
    """Peers [g] a device turned to that it had not met in the last one to two hours; missing in the first ten minutes."""
    assert state.now is not None
    assert state.began is not None
    hour = state.now // _HOUR
    if hour != state.turned:
        kept = state.met[0] if hour == state.turned + 1 else np.zeros(_PAIRS, np.bool_)
        state.met, state.turned = [np.zeros(_PAIRS, np.bool_), kept], hour
    mine = (owners & 3) == PEERS_OUT
    place = (marks[mine] % np.uint64(_PAIRS)).astype(np.int64)
    fresh = ~(state.met[0][place] | state.met[1][place])
    state.met[0][place] = True
    if state.now - state.began < _WARM_UP:
        return np.full(len(device), np.nan)
    return hosts.distinct_counts(device, owners[mine][fresh])[:, PEERS_OUT].astype(np.float64)


def _features(sums: F64, counts: I64, minute: tuple[F64, I64], more: list[F64]) -> F32:
    """Rows [g, f] of ``COLUMNS``; ``more``: the columns ``arp`` and ``new peers``."""
    long, long_counts = minute
    columns: list[Array] = []
    for side, kinds in enumerate(((PEERS_OUT, PORTS_OUT), (PEERS_IN, PORTS_IN))):
        s = dict(zip(_SUMS, _side(sums, side).T, strict=True))
        at = 2 * _N + side * _SECONDS
        columns += [s["flows"], s["failed"], s["resets"], sums[:, at : at + _SECONDS].max(axis=1)]
        columns += [s[name] for name in _SUMS[3:7]]
        columns += [_over(s["failed"], s["flows"]), _over(s["bytes sent"], s["bytes sent"] + s["bytes received"])]
        columns += [_over(s[name], s["flows"]) for name in ("tcp", "udp", "icmp", "log duration", "log bytes")]
        columns += [counts[:, kind] for kind in kinds]
        columns += list(long[:, side * len(_LONG) : (side + 1) * len(_LONG)].T)
        columns += [long_counts[:, kind] for kind in kinds]
    services = sums[:, -len(SERVICES) :]
    columns += more
    columns += list((services / np.maximum(services.sum(1, keepdims=True), 1)).T)
    return np.column_stack(columns).astype(np.float32)


def _facts(sums: F64, counts: I64) -> windows.Facts:
    out, into = (dict(zip(_SUMS, _side(sums, side).T, strict=True)) for side in (0, 1))
    return windows.facts(
        len(sums),
        packets_out=out["packets sent"] + into["packets sent"],
        packets_in=out["packets received"] + into["packets received"],
        bytes_out=out["bytes sent"] + into["bytes sent"],
        bytes_in=out["bytes received"] + into["bytes received"],
        connections_out=out["tcp"],
        connections_in=into["tcp"],
        unanswered=out["failed"],
        peers_out=counts[:, PEERS_OUT],
        peers_in=counts[:, PEERS_IN],
        ports_out=counts[:, PORTS_OUT],
        ports_in=counts[:, PORTS_IN],
        icmp_out=out["icmp packets"],
        icmp_in=into["icmp packets"],
        udp_out=out["udp packets"],
        udp_in=into["udp packets"],
        arp_out=out["arp"],
        arp_in=into["arp"],
        resets_out=out["resets"],
        resets_in=into["resets"],
    )


def _over(part: F64, whole: F64) -> F64:
    found: F64 = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return found
