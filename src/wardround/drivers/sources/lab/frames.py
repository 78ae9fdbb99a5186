"""Packets as columns, and their bytes: Ethernet, ARP, IPv4, TCP, UDP, ICMP; pcap with nanoseconds.

Vectorised numpy: one structured array holds all packets, one pool all payloads. Checksums are those of RFC 791, 768,
792, 9293 (ones' complement); frames are padded to 60 bytes as a network card does.
What it does not do: decide who says what (habits.py, offences.py) or number TCP bytes (conversations.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.arrays import I64, U8

Frames = NDArray[Any]
"""A structured array of dtype ``FRAME``, one element per packet."""

ARP, TCP, UDP, ICMP = 0, 1, 2, 3
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
BARE, MSS, LINUX_SYN, STAMPED = 0, 1, 2, 3
"""TCP options: none; a SYN's segment size; a Linux SYN's set; the two time stamps of RFC 7323."""

FRAME = np.dtype(
    [
        ("time", "i8"),  # ns since 1970
        ("kind", "u1"),
        ("smac", "u8"),
        ("dmac", "u8"),
        ("sip", "u4"),
        ("dip", "u4"),
        ("ttl", "u1"),
        ("ipid", "u2"),
        ("sport", "u2"),  # ICMP: type * 256 + code
        ("dport", "u2"),  # ICMP: identifier
        ("flags", "u1"),  # TCP flags; ARP: the operation
        ("seq", "u4"),  # ICMP: the sequence number
        ("ack", "u4"),
        ("window", "u2"),
        ("options", "u1"),
        ("stamp", "u4"),
        ("echo", "u4"),
        ("payload", "i4"),  # number in the pool
        ("skip", "i4"),  # first byte of the payload in this packet
        ("size", "i4"),  # its payload bytes
        ("label", "u1"),
        ("incident", "i4"),  # -1: none
    ],
)
HEADERS = 16 + 14 + 20 + 40
_TCP_BYTES = np.array([20, 24, 40, 32])
_CHUNK = 1 << 15


class Payloads:
    """A pool of application payloads, each kept once; a packet names one by number."""

    def __init__(self) -> None:
        self._number: dict[bytes, int] = {}
        self.texts: list[bytes] = []

    def add(self, text: bytes) -> int:
        """The number of ``text``, new or known."""
        number = self._number.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number

    def sizes(self) -> I64:
        """Bytes [payloads] of each."""
        return np.array([len(text) for text in self.texts], dtype=np.int64)


def new(n: int) -> Frames:
    """``n`` packets, all zero, of no incident."""
    frames = np.zeros(n, FRAME)
    frames["incident"] = -1
    return frames


def pcap_header(snap: int = 65535) -> bytes:
    """The head of a little-endian pcap file of Ethernet frames with nanoseconds."""
    head = np.array([0xA1B23C4D, 0x00040002, 0, 0, snap, 1], dtype="<u4")
    return head.tobytes()


def pcap_records(frames: Frames, payloads: Payloads) -> bytes:
    """The records of ``frames`` in their order, each a 16-byte pcap head and the frame."""
    parts = [_records(frames[i : i + _CHUNK], payloads) for i in range(0, len(frames), _CHUNK)]
    return b"".join(parts)


def _records(frames: Frames, payloads: Payloads) -> bytes:
    n = len(frames)
    head = np.zeros((n, HEADERS), np.uint8)
    lengths, after = _headers(head, frames, _sums(frames, payloads))
    wire = np.maximum(lengths - 16 + frames["size"], 60)
    seconds, nanos = np.divmod(frames["time"], 1_000_000_000)
    _little(head, 0, np.stack([seconds, nanos, wire, wire], axis=1))
    raw, texts, out = head.tobytes(), payloads.texts, []
    rows = zip(
        range(0, n * HEADERS, HEADERS), after.tolist(), frames["payload"].tolist(), frames["skip"].tolist(),
        frames["size"].tolist(), (wire - (lengths - 16) - frames["size"]).tolist(), strict=True,
    )  # fmt: skip
    for start, stop, number, skip, size, pad in rows:
        out.append(raw[start : start + stop])
        if size:
            out.append(texts[number][skip : skip + size])
        if pad:
            out.append(bytes(pad))
    return b"".join(out)


def _headers(head: U8, frames: Frames, payload_sums: I64) -> tuple[I64, I64]:
    """Fill the frames' headers behind the pcap heads; their lengths with the pcap head [n], twice."""
    eth = 16
    _big(head, eth, frames["dmac"], 6)
    _big(head, eth + 6, frames["smac"], 6)
    arp = frames["kind"] == ARP
    _big(head, eth + 12, np.where(arp, 0x0806, 0x0800), 2)
    body = eth + 14
    lengths = np.full(len(frames), body, np.int64)
    if arp.any():
        head[arp] = _arp(head[arp], frames[arp], body)
        lengths[arp] += 28
    ip = ~arp
    if ip.any():
        head[ip], lengths[ip] = _ip(head[ip], frames[ip], payload_sums[ip], body)
    return lengths, lengths


def _arp(head: U8, frames: Frames, at: int) -> U8:
    _big(head, at, np.full(len(frames), 0x0001080006040000, np.uint64), 8)
    _big(head, at + 6, frames["flags"], 2)
    _big(head, at + 8, frames["smac"], 6)
    _big(head, at + 14, frames["sip"], 4)
    _big(head, at + 18, np.where(frames["flags"] == 1, 0, frames["dmac"]), 6)
    _big(head, at + 24, frames["dip"], 4)
    return head


def _ip(head: U8, frames: Frames, payload_sums: I64, at: int) -> tuple[U8, I64]:
    kind, size = frames["kind"], frames["size"].astype(np.int64)
    tcp = kind == TCP
    upper = np.where(tcp, _TCP_BYTES[frames["options"]], 8)
    protocol = np.select([tcp, kind == UDP], [6, 17], 1)
    head[:, at] = 0x45
    _big(head, at + 2, 20 + upper + size, 2)
    _big(head, at + 4, frames["ipid"], 2)
    head[:, at + 6] = 0x40
    head[:, at + 8] = frames["ttl"]
    head[:, at + 9] = protocol
    _big(head, at + 12, frames["sip"], 4)
    _big(head, at + 16, frames["dip"], 4)
    _big(head, at + 10, _checksum(_words(head, at, 20)), 2)
    _big(head, at + 20, frames["sport"], 2)
    for what, fill in ((tcp, _tcp), (kind == UDP, _udp), (kind == ICMP, _icmp)):
        if what.any():
            head[what] = fill(head[what], frames[what], at + 20)
    pseudo = _words(head, at + 12, 8) + protocol + upper + size
    total = _words(head, at + 20, 40) + payload_sums + np.where(kind == ICMP, 0, pseudo)
    check = _checksum(total)
    check = np.where((kind == UDP) & (check == 0), 0xFFFF, check)
    place = np.select([tcp, kind == UDP], [at + 36, at + 26], at + 22)
    row = np.arange(len(frames))
    head[row, place], head[row, place + 1] = check >> 8, check & 255
    return head, at + 20 + upper


def _tcp(head: U8, frames: Frames, at: int) -> U8:
    _big(head, at + 2, frames["dport"], 2)
    _big(head, at + 4, frames["seq"], 4)
    _big(head, at + 8, frames["ack"], 4)
    options = frames["options"]
    head[:, at + 12] = (_TCP_BYTES[options] // 4) << 4
    head[:, at + 13] = frames["flags"]
    _big(head, at + 14, frames["window"], 2)
    size = (options == MSS) | (options == LINUX_SYN)
    head[np.ix_(size, range(at + 20, at + 24))] = (2, 4, 0x05, 0xB4)
    syn = options == LINUX_SYN
    head[np.ix_(syn, range(at + 24, at + 28))] = (4, 2, 8, 10)
    head[np.ix_(syn, range(at + 36, at + 40))] = (1, 3, 3, 7)
    stamped = options == STAMPED
    head[np.ix_(stamped, range(at + 20, at + 24))] = (1, 1, 8, 10)
    for which, place in ((syn, at + 28), (stamped, at + 24)):
        stamps = np.stack([frames["stamp"][which], frames["echo"][which]], axis=1).astype(">u4")
        head[which, place : place + 8] = stamps.view(np.uint8).reshape(-1, 8)
    return head


def _udp(head: U8, frames: Frames, at: int) -> U8:
    _big(head, at + 2, frames["dport"], 2)
    _big(head, at + 4, frames["size"] + 8, 2)
    return head


def _icmp(head: U8, frames: Frames, at: int) -> U8:
    _big(head, at + 4, frames["dport"], 2)
    _big(head, at + 6, frames["seq"], 2)
    return head


def _sums(frames: Frames, payloads: Payloads) -> I64:
    """The sum [n] of the 16-bit words of each packet's payload; equal pieces are added up once."""
    keys = (frames["payload"].astype(np.int64) << 32) | (frames["skip"].astype(np.int64) << 12) | frames["size"]
    keys[frames["size"] == 0] = -1
    pieces, which = np.unique(keys, return_inverse=True)
    sums = np.zeros(len(pieces), np.int64)
    for i, key in enumerate(pieces.tolist()):
        if key >= 0:
            skip, size = (key >> 12) & 0xFFFFF, key & 0xFFF
            text = payloads.texts[key >> 32][skip : skip + size]
            sums[i] = int(np.frombuffer(text + bytes(size % 2), ">u2").sum())
    total: I64 = sums[which]
    return total


def _words(head: U8, at: int, size: int) -> I64:
    """Sum of the big-endian 16-bit words of ``size`` header bytes from ``at``."""
    words = np.ascontiguousarray(head[:, at : at + size]).view(">u2")
    total: I64 = words.sum(axis=1, dtype=np.int64)
    return total


def _checksum(total: I64) -> I64:
    for _ in range(3):
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def _big(head: U8, at: int, values: NDArray[Any], size: int) -> None:
    """Write numbers [n] as ``size`` big-endian bytes."""
    wide = np.ascontiguousarray(values).astype(">u8").view(np.uint8).reshape(-1, 8)
    head[:, at : at + size] = wide[:, 8 - size :]


def _little(head: U8, at: int, values: NDArray[Any]) -> None:
    """Write rows [n, k] as little-endian 32-bit numbers."""
    head[:, at : at + 4 * values.shape[1]] = values.astype("<u4").view(np.uint8)
