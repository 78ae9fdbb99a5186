"""Sums of a batch of packets by device and window.

First by conversation (one direction between two ends, about one port, in one window), because a batch has far fewer of
those than packets; then both ends' devices get their share. All columns are sums, so that batches of one window add up.

Laws: sums over any cut of a stretch into batches add up to those of the whole; every packet counts once for its source's
device and once for its target's (not for broadcast and multicast).
What it does not do: keep state (pkt.py), turn sums into features (pkt.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wardround.arrays import F64, I64, U8, U16, U64, Array
from wardround.traffic.clock import SECOND
from wardround.traffic.grouping import dense, distinct, mix
from wardround.traffic.packets import (
    ACK,
    ARP,
    CWR,
    ECE,
    FIN,
    ICMP,
    ICMPV6,
    IPV6,
    MESSAGES,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    URG,
    Packets,
)
from wardround.traffic.services import SERVICE_OF_PORT, SERVICES

LARGEST_BATCH = 1 << 16
SMALL, LARGE = 128, 1024
FAST = SECOND // 1000
FLAGS = ("syn", "synack", "fin", "rst", "psh", "ack", "odd")
_PACKED = ("syn", "synack", "fin", "rst", "psh", "ack", "odd", "fragments", "small", "large")
_KINDS = ("tcp", "udp", "icmp", "echo", "unreachable", "arp", "arp replies", "ipv6", "no ip")
GAPS = ("gaps", "fast", "gap", "gap squared", "gap log")
SIDE: tuple[str, ...] = ("packets", "bytes", "squares", "payload", *_PACKED, *_KINDS, *GAPS)
"""Sums kept for each direction."""
PEERS_OUT, PEERS_IN, PORTS_OUT, PORTS_IN = range(4)
_SHIFT = 17  # three counts of at most LARGEST_BATCH fit one float64 exactly
_BASE = float(1 << _SHIFT)
_EMPTY_KEY = np.uint64(0)


@dataclass(frozen=True)
class Layout:
    """Where the sums of a group stand in its row: ``SIDE`` sent, ``SIDE`` received, packets of each second sent and
    received, messages, services, labelled packets.
    """

    seconds: int
    classes: int

    @property
    def parts(self) -> dict[str, slice]:
        sizes = {
            "out": len(SIDE),
            "in": len(SIDE),
            "seconds out": self.seconds,
            "seconds in": self.seconds,
            "messages": len(MESSAGES),
            "services": len(SERVICES),
            "labels": self.classes,
        }
        ends = np.cumsum(list(sizes.values())).tolist()
        return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}

    @property
    def width(self) -> int:
        return 2 * (len(SIDE) + self.seconds) + len(MESSAGES) + len(SERVICES) + self.classes


@dataclass(frozen=True, eq=False)
class Placed:
    """A stretch of packets with its clock: ``time`` [n] never decreases; ``window`` [n] its number; ``source`` and
    ``target`` [n] numbers of devices (0: none); ``last_out``, ``last_in`` [devices]: time of the last packet each
    sent and received (-1: none); they are written.
    """

    packets: Packets
    time: I64
    window: I64
    length: int
    source: I64
    target: I64
    last_out: I64
    last_in: I64
    capacity: int


@dataclass(frozen=True, eq=False)
class Groups:
    """Sums by (window, device), ascending: ``key`` [g] = window x capacity + device; ``sums`` [g, width].

    ``marks`` [m], ``owners`` [m]: hashes of distinct things and the group (key x 4 + kind) they count for.
    ``most`` [g], ``peer`` [g, 2], ``port`` [g], ``own_port`` [g], ``protocol`` [g]: the end most packets
    were exchanged with in this batch.
    ``address`` [g, 2]: an address the device sent from, 0 if none.
    """

    key: I64
    sums: F64
    marks: U64
    owners: I64
    most: I64
    peer: U64
    port: U16
    own_port: U16
    protocol: U8
    address: U64


def _packings() -> tuple[F64, F64, F64]:
    """For TCP's flags (0..255; 256: no TCP), three counts to a number: see ``_PACKED``."""
    flags = np.arange(257)
    tcp = flags < 256
    syn, ack, fin = flags & SYN > 0, flags & ACK > 0, flags & FIN > 0
    odd = tcp & ((flags & ~(ECE | CWR) == 0) | (syn & fin) | (fin & ~ack) | (flags & (PSH | URG) > 0) & ~ack)
    columns = [syn & ~ack & ~fin, syn & ack, fin, flags & RST > 0, flags & PSH > 0, ack, odd]
    first, second, third, fourth, fifth, sixth, seventh = ((tcp & column).astype(np.float64) for column in columns)
    return (
        first + _BASE * second + _BASE**2 * third,
        fourth + _BASE * fifth + _BASE**2 * sixth,
        seventh,
    )


_PACK_A, _PACK_B, _PACK_C = _packings()


def sums(placed: Placed, layout: Layout) -> Groups:
    """The groups of one stretch of at most ``LARGEST_BATCH`` packets (at least one)."""
    p = placed.packets
    asked = _asked(p)
    service = np.maximum(SERVICE_OF_PORT[p.source_port], SERVICE_OF_PORT[p.target_port])
    number, first = distinct(_conversation(placed, asked, service))
    talk = _Talks(placed, number, first, asked[first], service[first])
    by_talk = talk.sums()
    # the two ends' groups; device 0 is nobody
    base = placed.window[first] * placed.capacity
    keys = np.concatenate([base + placed.source[first], base + placed.target[first]])
    low = int(keys.min())
    which, found = dense(keys - low)
    key, half = found + low, len(first)
    out, into = which[:half], which[half:]
    result = np.zeros((len(key), layout.width))
    for side, group in (("out", out), ("in", into)):
        _add_side(result, placed, talk, (side, group, by_talk), layout)
    kept = key % placed.capacity != 0
    marks, owners = talk.marks(keys[:half], keys[half:])
    most, peer, ports, protocol, address = talk.ends(out, into, by_talk[:, 0], len(key))
    other, own = ports
    return Groups(
        key=key[kept],
        sums=result[kept],
        marks=marks,
        owners=owners,
        most=most[kept],
        peer=peer[kept],
        port=other[kept],
        own_port=own[kept],
        protocol=protocol[kept],
        address=address[kept],
    )


def _add_side(result: F64, placed: Placed, talk: _Talks, side: tuple[str, I64, F64], layout: Layout) -> None:
    """Add one direction to ``result`` [g, width]: ``side`` is its name, each conversation's group, and sums by conversation."""
    name, group, by_talk = side
    parts, g, p = layout.parts, len(result), placed.packets
    columns = result[:, parts[name]]
    for i in range(by_talk.shape[1]):
        columns[:, i] = np.bincount(group, by_talk[:, i], g)
    device, last = (placed.source, placed.last_out) if name == "out" else (placed.target, placed.last_in)
    of_packet = group[talk.number]
    columns[:, by_talk.shape[1] :] = _gaps(placed.time, device, last, of_packet, g)
    second = (placed.time - placed.window * placed.length) // SECOND
    result[:, parts[f"seconds {name}"]] = _joint(of_packet, second, (g, layout.seconds))
    for part, codes, some in (
        ("messages", p.message, p.message > 0),
        ("labels", p.label, (p.label >= 0) & (p.label < layout.classes)),
    ):
        rows, size = np.flatnonzero(some), parts[part].stop - parts[part].start
        if len(rows):
            result[:, parts[part]] += _joint(of_packet[rows], codes[rows], (g, size))
    result[:, parts["services"]] += _joint(group, talk.service, (g, len(SERVICES)), by_talk[:, 0])


def _asked(p: Packets) -> I64:
    """What a packet asks for: a port (TCP without ACK; UDP to the lower port), or ICMP's type, or ARP's operation."""
    tcp, udp = p.protocol == TCP, p.protocol == UDP
    asks = np.where(tcp, (p.flags & (ACK | RST)) == 0, udp & (p.target_port <= p.source_port)) & (p.fragment < 2)
    other = ~(tcp | udp)
    found: I64 = np.where(asks, p.target_port, 0).astype(np.int64)
    if other.any():
        found[other] = (p.icmp[other] >> 8).astype(np.int64) | np.int64(p.arp[other]) << 8 | 1 << 17
    return found


def _conversation(placed: Placed, asked: I64, service: U8) -> U64:
    """Equal for packets of one window from one end to another about one thing."""
    p = placed.packets
    ends = (placed.source << 32 | placed.target << 8 | p.protocol).view(np.uint64)
    about = (placed.window << 26 ^ asked << 8 ^ service.astype(np.int64) ^ p.version.astype(np.int64) << 5).view(
        np.uint64
    )
    parts = [ends, about, p.source[:, 1] ^ p.target[:, 1] << np.uint64(32) ^ p.target[:, 1] >> np.uint64(32)]
    if (p.version == 6).any():
        parts += [p.source[:, 0], p.target[:, 0], p.target[:, 1]]
    return mix(*parts)


@dataclass(frozen=True, eq=False)
class _Talks:
    """Conversations: ``number`` [n] of each packet's, ``first`` [u] one packet of each, what it asks and its service."""

    placed: Placed
    number: I64
    first: I64
    asked: I64
    service: U8

    def sums(self) -> F64:
        """[u, SIDE without gaps]."""
        p, number, u = self.placed.packets, self.number, len(self.first)
        wire = p.wire.astype(np.float64)
        flags = np.where(p.protocol == TCP, p.flags.astype(np.int64), 256)
        third = _PACK_C[flags] + _BASE * (p.fragment > 0) + _BASE**2 * (p.wire <= SMALL)
        packets = np.bincount(number, minlength=u)
        packed = [np.bincount(number, weights, u) for weights in (_PACK_A[flags], _PACK_B[flags], third)]
        columns = [
            packets,
            np.bincount(number, wire, u),
            np.bincount(number, wire * wire, u),
            np.bincount(number, p.payload, u),
            *(part for pack in packed for part in _unpacked(pack)),
            np.bincount(number, p.wire >= LARGE, u),
            *(packets * kind for kind in self._kinds()),
        ]
        return np.column_stack(columns)

    def _kinds(self) -> list[F64]:
        p, first = self.placed.packets, self.first
        protocol, version, arp = p.protocol[first], p.version[first], p.ethertype[first] == ARP
        icmp = (protocol == ICMP) | (protocol == ICMPV6)
        kind = self.asked & 0xFF
        echo = icmp & np.where(protocol == ICMP, kind == 8, kind == 128)
        unreachable = icmp & np.where(protocol == ICMP, kind == 3, kind == 1)
        found = [protocol == TCP, protocol == UDP, icmp, echo, unreachable, arp, arp & (self.asked >> 8 & 0xFF == 2)]
        found += [p.ethertype[first] == IPV6, (version == 0) & ~arp]
        return [column.astype(np.float64) for column in found]

    def marks(self, out: I64, into: I64) -> tuple[U64, I64]:
        """Distinct (thing, owner) pairs: hashes and owners (group key x 4 + kind)."""
        p, first, capacity = self.placed.packets, self.first, self.placed.capacity
        source, target = p.source[first], p.target[first]
        port = np.where(self.asked < 1 << 16, self.asked, 0)
        port = port | np.where(port, p.protocol[first].astype(np.int64) << 16, 0)
        things = [
            (PEERS_OUT, out, mix(target[:, 0], target[:, 1]), target.any(1)),
            (PEERS_IN, into, mix(source[:, 0], source[:, 1]), source.any(1)),
            (PORTS_OUT, out, port.astype(np.uint64), port > 0),
            (PORTS_IN, into, port.astype(np.uint64), port > 0),
        ]
        values, owners = [], []
        for kind, key, value, holds in things:
            some = np.flatnonzero(holds & (key % capacity != 0))
            values.append(value[some])
            owners.append(key[some] * 4 + kind)
        owner = np.concatenate(owners)
        return unique_marks(mix(np.concatenate(values), owner.view(np.uint64)), owner)

    def ends(self, out: I64, into: I64, packets: F64, groups: int) -> tuple[I64, U64, tuple[U16, U16], U8, U64]:
        """For each group the end that most packets of one conversation were exchanged with (its port, the own), own address."""
        p, first = self.placed.packets, self.first
        rank = np.argsort(packets, kind="stable")
        best = np.zeros(groups, np.int64)
        best[into[rank]] = rank
        received = np.zeros(groups)
        received[into[rank]] = packets[rank]
        sent, best_out = np.zeros(groups), np.zeros(groups, np.int64)
        best_out[out[rank]] = rank
        sent[out[rank]] = packets[rank]
        by_out = sent >= received
        row = first[np.where(by_out, best_out, best)]
        peer = np.where(by_out[:, None], p.target[row], p.source[row])
        source, target = p.source_port[row], p.target_port[row]
        ports = np.where(by_out, target, source), np.where(by_out, source, target)
        address = np.zeros((groups, 2), np.uint64)
        speaks = p.version[first] > 0
        address[out[speaks]] = p.source[first[speaks]]
        return np.maximum(sent, received).astype(np.int64), peer, ports, p.protocol[row], address


def unique_marks(marks: U64, owners: I64) -> tuple[U64, I64]:
    """Each mark once."""
    if not len(marks):
        return marks, owners
    _, rows = distinct(marks)
    return marks[rows], owners[rows]


def _unpacked(pack: Array) -> tuple[F64, F64, F64]:
    whole = pack.astype(np.int64)
    mask = (1 << _SHIFT) - 1
    low, middle, high = whole & mask, whole >> _SHIFT & mask, whole >> 2 * _SHIFT
    return low.astype(np.float64), middle.astype(np.float64), high.astype(np.float64)


def _joint(group: I64, code: Array, shape: tuple[int, int], weights: F64 | None = None) -> F64:
    """Counts [groups, codes] of pairs."""
    found = np.bincount(group * shape[1] + code, weights, shape[0] * shape[1])
    return found.reshape(shape).astype(np.float64)


def _gaps(time: I64, device: I64, last: I64, group: I64, groups: int) -> F64:
    """``GAPS`` [groups, 5] between packets of one device; gap in seconds, its logarithm of 1 + microseconds."""
    order = np.argsort(device.astype(np.uint16), kind="stable")
    times, devices = time[order], device[order]
    gap = np.empty(len(times), np.int64)
    gap[1:] = times[1:] - times[:-1]
    starts = np.flatnonzero(np.concatenate([[True], devices[1:] != devices[:-1]]))
    before = last[devices[starts]]
    gap[starts] = np.where(before < 0, -1, times[starts] - before)
    ends = np.concatenate([starts[1:], [len(times)]]) - 1
    last[devices[ends]] = times[ends]
    some = np.flatnonzero((gap >= 0) & (devices > 0))
    seconds = gap[some] * 1e-9
    owner = group[order[some]]
    counted = np.bincount(owner, 1.0 + _BASE * (gap[some] < FAST), groups).astype(np.int64)
    columns = [counted & (1 << _SHIFT) - 1, counted >> _SHIFT]
    columns += [np.bincount(owner, value, groups) for value in (seconds, seconds * seconds, np.log1p(seconds * 1e6))]
    return np.column_stack(columns)
