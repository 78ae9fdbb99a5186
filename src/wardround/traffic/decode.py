"""Frames to packets, all at once: one numpy decoder for files and live rings.

A header is gathered for all frames of a batch by one indexed copy (16 to 40 bytes a frame) and read through a big-endian
record type, so the cost of a packet is a few hundred nanoseconds whatever its length. Lengths are checked before
fields are believed: a header that was not captured whole, or that contradicts itself, leaves its columns zero.

Link types (https://www.tcpdump.org/linktypes.html): 0 and 108 loopback, 1 Ethernet (802.1Q and 802.1ad tags), 12, 14,
101, 228, 229 raw IP, 113 and 276 Linux cooked. Frames of any other link type keep time and sizes only.
IPv4 with options and fragments (RFC 791), IPv6 with extension headers (RFC 8200), ARP (RFC 826), TCP, UDP, SCTP, ICMP.

Laws: any bytes decode without an error; one packet comes out for each frame, in order.
What it does not do: find frames in files (drivers/sources), reassemble, check checksums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from wardround.arrays import I16, I32, I64, U8, Array
from wardround.traffic.messages import classify
from wardround.traffic.packets import (
    ARP,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    MAPPED,
    QINQ,
    TCP,
    UDP,
    VLAN,
    Packets,
    blank,
    concat,
    take,
)

PAD = 256
"""Bytes that must follow the last frame's start in ``Frames.data``: any header may be read, then judged."""
ETHERNET, SLL, SLL2 = 1, 113, 276
LOOPBACK = (0, 108)
RAW = (12, 14, 101, 228, 229)
SCTP = 132
_PORTS = np.isin(np.arange(256), (TCP, UDP, SCTP))
_EXTENSIONS = np.isin(np.arange(256), (0, 43, 44, 51, 60, 135, 139, 140))
_MAX_EXTENSIONS = 8
_MAX_TAGS = 4

Record: TypeAlias = Array


@dataclass(frozen=True, eq=False)
class Frames:
    """Where n captured frames lie in ``data``, which ends at least ``PAD`` bytes after the last frame's start.

    time [n]: ns since 1970; offset [n]: first byte; captured, wire [n]: bytes; link: its type, or types [n];
    vlan [n]: a tag the capture took off the frame (-1: none), or None.
    """

    data: U8
    time: I64
    offset: I64
    captured: I32
    wire: I32
    link: int | I32
    vlan: I16 | None = None

    def __len__(self) -> int:
        return len(self.time)


def decode(frames: Frames) -> Packets:
    """The packets in ``frames``, one for each, in order."""
    if isinstance(frames.link, int):
        return _of_link(frames, frames.link)
    links = np.unique(frames.link)
    if len(links) == 1:
        return _of_link(frames, int(links[0]))
    parts = [np.flatnonzero(frames.link == link) for link in links]
    found = concat([_of_link(_some(frames, part), int(link)) for link, part in zip(links, parts, strict=True)])
    order = np.concatenate([np.empty(0, np.int64), *parts])
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return take(found, back)


def malformed(packets: Packets) -> int:
    """How many packets say they are IPv4, IPv6 or ARP but have no such header that was captured whole."""
    ip = ((packets.ethertype == IPV4) | (packets.ethertype == IPV6)) & (packets.version == 0)
    arp = (packets.ethertype == ARP) & (packets.arp == 0)
    return int(ip.sum() + arp.sum())


def _some(frames: Frames, index: I64) -> Frames:
    vlan = None if frames.vlan is None else frames.vlan[index]
    time, offset, captured, wire = frames.time[index], frames.offset[index], frames.captured[index], frames.wire[index]
    return Frames(frames.data, time, offset, captured, wire, 0, vlan)


class _Columns:
    """Columns under way, and ``end`` [n]: the offset behind the last captured byte of each frame."""

    def __init__(self, frames: Frames) -> None:
        self.data = frames.data
        self.at: I64 = frames.offset.astype(np.int64)
        self.end: I64 = self.at + frames.captured
        n = len(frames)
        given = {"time": frames.time, "wire": frames.wire, "captured": frames.captured, "vlan": frames.vlan}
        self.packets = blank(n, **{name: value for name, value in given.items() if value is not None})

    def set(self, index: Any, **values: Any) -> None:
        for name, value in values.items():
            getattr(self.packets, name)[index] = value


def _of_link(frames: Frames, link: int) -> Packets:
    c = _Columns(frames)
    if not len(frames):
        return c.packets
    if link == ETHERNET:
        _ethernet(c)
    elif link == SLL:
        _cooked(c, _SLL)
    elif link == SLL2:
        _cooked(c, _SLL2)
    elif link in RAW:
        _raw(c, 0)
    elif link in LOOPBACK:
        _raw(c, 4)
    else:
        return c.packets
    kind = c.packets.ethertype
    transport = [_ipv4(c, np.flatnonzero(kind == IPV4)), _ipv6(c, np.flatnonzero(kind == IPV6))]
    _arp(c, np.flatnonzero(kind == ARP))
    for index, at, length in transport:
        if len(index):
            _transport(c, index, at, length)
    return c.packets


def _fields(width: int, **fields: tuple[str, int]) -> np.dtype[Any]:
    """A record of ``width`` bytes with big-endian fields: name -> (format, offset)."""
    return np.dtype(
        {
            "names": list(fields),
            "formats": [format_ for format_, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": width,
        }
    )


_ETHERNET = _fields(16, target=(">u8", 0), source=(">u8", 6), ethertype=(">u2", 12))
_TAG = _fields(4, tag=(">u2", 0), ethertype=(">u2", 2))
_SLL = _fields(16, length=(">u2", 4), source=(">u8", 6), ethertype=(">u2", 14))
_SLL2 = _fields(20, length=("u1", 11), source=(">u8", 12), ethertype=(">u2", 0))
_FIRST = _fields(8, family=("<u4", 0), swapped=(">u4", 0), raw=("u1", 0), behind=("u1", 4))
_IPV4 = _fields(
    20,
    first=("u1", 0),
    total=(">u2", 2),
    fragment=(">u2", 6),
    ttl=("u1", 8),
    protocol=("u1", 9),
    source=(">u4", 12),
    target=(">u4", 16),
)
_IPV6 = _fields(
    40,
    first=("u1", 0),
    length=(">u2", 4),
    protocol=("u1", 6),
    ttl=("u1", 7),
    source=("(2,)>u8", 8),
    target=("(2,)>u8", 24),
)
_EXTENSION = _fields(4, next=("u1", 0), length=("u1", 1), fragment=(">u2", 2))
_ARP = _fields(
    28,
    hardware=("u1", 4),
    protocol=("u1", 5),
    operation=(">u2", 6),
    mac=(">u8", 8),
    source=(">u4", 14),
    target=(">u4", 24),
)
_L4 = _fields(16, source=(">u2", 0), target=(">u2", 2), offset=("u1", 12), flags=("u1", 13), icmp=(">u2", 0))


def gather(data: U8, at: I64, record: np.dtype[Any]) -> Record:
    """The ``record`` [n] that starts at each byte ``at`` [n] of ``data``."""
    overlapping: Array = np.ndarray(
        (len(data) - record.itemsize + 1,), dtype=f"V{record.itemsize}", buffer=data, strides=(1,)
    )
    return overlapping[at].view(record)


def _ethernet(c: _Columns) -> None:
    found = gather(c.data, c.at, _ETHERNET)
    p = c.packets
    whole = c.end - c.at >= 14
    p.target_mac[:] = found["target"] >> np.uint64(16)
    p.source_mac[:] = found["source"] >> np.uint64(16)
    p.ethertype[:] = found["ethertype"]
    if not whole.all():
        c.set(~whole, target_mac=0, source_mac=0, ethertype=0)
    c.at = c.at + 14
    for _ in range(_MAX_TAGS):
        tagged = np.flatnonzero((p.ethertype == VLAN) | (p.ethertype == QINQ))
        if not len(tagged):
            break
        tags = gather(c.data, c.at[tagged], _TAG)
        cut = c.end[tagged] - c.at[tagged] < 4
        outer = p.vlan[tagged] < 0
        p.vlan[tagged[outer & ~cut]] = tags["tag"][outer & ~cut] & 0xFFF
        p.ethertype[tagged] = np.where(cut, 0, tags["ethertype"])
        c.at[tagged] += 4
    p.ethertype[p.ethertype < 1536] = 0  # an 802.3 length: LLC


def _cooked(c: _Columns, record: np.dtype[Any]) -> None:
    found = gather(c.data, c.at, record)
    whole = c.end - c.at >= record.itemsize
    six = whole & (found["length"] == 6)
    c.packets.source_mac[:] = np.where(six, found["source"] >> np.uint64(16), 0)
    c.packets.ethertype[:] = np.where(whole & (found["ethertype"] >= 1536), found["ethertype"], 0)
    c.at = c.at + record.itemsize


def _raw(c: _Columns, link: int) -> None:
    """IP at once, or behind ``link`` bytes of address family (of either byte order): the version nibble decides."""
    found = gather(c.data, c.at, _FIRST)
    version = (found["behind"] if link else found["raw"]) >> 4
    kind = np.select([version == 4, version == 6], [IPV4, IPV6], 0)
    if link:
        family = np.minimum(found["family"], found["swapped"])
        kind = np.where(np.isin(family, (2, 10, 24, 28, 30)), kind, 0)
    c.packets.ethertype[:] = np.where(c.end - c.at > link, kind, 0)
    c.at = c.at + link


_Above: TypeAlias = tuple[I64, I64, I64]
"""(packet numbers, offset of layer 4, bytes from there to the end of the IP packet) of packets that have a layer 4."""


def _ipv4(c: _Columns, index: I64) -> _Above:
    at = c.at[index]
    ip = gather(c.data, at, _IPV4)
    header = (ip["first"] & 15).astype(np.int64) * 4
    good = (c.end[index] - at >= header) & (header >= 20) & (ip["first"] >> 4 == 4)
    if not good.all():
        index, at, ip, header = index[good], at[good], ip[good], header[good]
    p = c.packets
    fragment = ip["fragment"]
    c.set(index, version=4, protocol=ip["protocol"], ttl=ip["ttl"])
    p.source[index, 1] = ip["source"] | np.uint64(MAPPED)
    p.target[index, 1] = ip["target"] | np.uint64(MAPPED)
    if (fragment & 0x3FFF).any():
        p.fragment[index] = np.where(fragment & 0x1FFF, 2, np.where(fragment & 0x2000, 1, 0))
    # total length 0: segmentation was left to the network card, so the frame's length is the truth
    on_wire = p.wire[index] - (at - c.end[index] + p.captured[index])
    total = np.where(ip["total"] == 0, on_wire, np.minimum(ip["total"], on_wire))
    return index, at + header, np.maximum(total - header, 0)


def _ipv6(c: _Columns, index: I64) -> _Above:
    at = c.at[index]
    ip = gather(c.data, at, _IPV6)
    good = (c.end[index] - at >= 40) & (ip["first"] >> 4 == 6)
    index, at, ip = index[good], at[good], ip[good]
    p = c.packets
    c.set(index, version=6, ttl=ip["ttl"], source=ip["source"], target=ip["target"])
    on_wire = p.wire[index] - (at - c.end[index] + p.captured[index])
    total = np.where(ip["length"] == 0, on_wire - 40, np.minimum(ip["length"].astype(np.int64), on_wire - 40))
    protocol, above, skipped = ip["protocol"].copy(), at + 40, np.zeros(len(index), np.int64)
    for _ in range(_MAX_EXTENSIONS):
        more = np.flatnonzero(_EXTENSIONS[protocol] & (c.end[index] - above >= 8) & (p.fragment[index] < 2))
        if not len(more):
            break
        found = gather(c.data, above[more], _EXTENSION)
        kind, length = protocol[more], found["length"].astype(np.int64)
        size = np.select([kind == 44, kind == 51], [8, 4 * length + 8], 8 * length + 8)
        pieces = np.where(found["fragment"] & 0xFFF8, 2, np.where(found["fragment"] & 1, 1, 0))
        split = kind == 44
        p.fragment[index[more[split]]] = pieces[split]
        protocol[more] = found["next"]
        above[more] += size
        skipped[more] += size
    p.protocol[index] = protocol
    return index, above, np.maximum(total - skipped, 0)


def _arp(c: _Columns, index: I64) -> None:
    at = c.at[index]
    found = gather(c.data, at, _ARP)
    good = (c.end[index] - at >= 28) & (found["hardware"] == 6) & (found["protocol"] == 4)
    index, found = index[good], found[good]
    p = c.packets
    c.set(index, arp=np.clip(found["operation"], 1, 255), arp_mac=found["mac"] >> np.uint64(16))
    p.source[index, 1] = found["source"] | np.uint64(MAPPED)
    p.target[index, 1] = found["target"] | np.uint64(MAPPED)


def _transport(c: _Columns, index: I64, at: I64, length: I64) -> None:
    """Layer 4 at ``at`` for the packets ``index``; ``length`` bytes of it by the IP header."""
    p = c.packets
    protocol, there = p.protocol[index], c.end[index] - at
    # the gather may run over a hostile header length: offsets stay inside, and `there` says what is believed
    found = gather(c.data, np.minimum(at, len(c.data) - PAD), _L4)
    first = p.fragment[index] < 2
    least = np.select([protocol == TCP, protocol == UDP, protocol == SCTP], [20, 8, 12], 1 << 20)
    ports = first & _PORTS[protocol] & (there >= least)
    tcp = ports & (protocol == TCP)
    p.source_port[index] = np.where(ports, found["source"], 0)
    p.target_port[index] = np.where(ports, found["target"], 0)
    p.flags[index] = np.where(tcp, found["flags"], 0)
    header = np.select([tcp, ports], [(found["offset"] >> 4).astype(np.int64) * 4, least], 0)
    p.header[index] = np.where(ports & (protocol == SCTP), 0, header)
    icmp = first & ((protocol == ICMP) | (protocol == ICMPV6)) & (there >= 4)
    if icmp.any():
        p.icmp[index[icmp]] = found["icmp"][icmp]
    payload = np.maximum(length - header, 0)
    p.payload[index] = payload
    seen = ports & (payload > 0) & (there > header)
    classify(c.data, p, index[seen], (at + header)[seen], np.minimum(payload, there - header)[seen])
