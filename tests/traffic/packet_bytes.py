"""Packets and frames for tests, made by hand byte by byte and by chance."""

import struct
from collections.abc import Sequence

import numpy as np

from wardround.traffic import packets as p
from wardround.traffic.decode import PAD, Frames

MACS = [0x020000000001, 0x020000000002, 0x020000000003]


def ethernet(
    payload: bytes, kind: int = 0x0800, source: int = MACS[0], target: int = MACS[1], tags: Sequence[int] = ()
) -> bytes:
    head = target.to_bytes(6, "big") + source.to_bytes(6, "big")
    for tag in tags:
        head += struct.pack(">HH", 0x8100, tag)
    return head + struct.pack(">H", kind) + payload


def ipv4(
    payload: bytes,
    protocol: int = 6,
    source: int = 0x0A000001,
    target: int = 0x0A000002,
    options: bytes = b"",
    **more: int,
) -> bytes:
    words = 5 + len(options) // 4
    total = more.get("total", 4 * words + len(payload))
    head = struct.pack(
        ">BBHHHBBHII",
        0x40 | words,
        0,
        total,
        7,
        more.get("fragment", 0),
        more.get("ttl", 64),
        protocol,
        0,
        source,
        target,
    )
    return head + options + payload


def ipv6(payload: bytes, protocol: int = 6, source: int = 1 << 64 | 1, target: int = 1 << 64 | 2) -> bytes:
    return (
        struct.pack(">IHBB", 6 << 28, len(payload), protocol, 61)
        + source.to_bytes(16, "big")
        + target.to_bytes(16, "big")
        + payload
    )


def tcp(payload: bytes = b"", source: int = 40000, target: int = 1883, flags: int = p.ACK, words: int = 5) -> bytes:
    return (
        struct.pack(">HHIIBBHHH", source, target, 1, 2, words << 4, flags, 500, 0, 0) + bytes(4 * words - 20) + payload
    )


def udp(payload: bytes = b"", source: int = 40000, target: int = 53) -> bytes:
    return struct.pack(">HHHH", source, target, 8 + len(payload), 0) + payload


def arp(operation: int = 1, mac: int = MACS[0], source: int = 0x0A000001, target: int = 0x0A000002) -> bytes:
    return (
        struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation)
        + mac.to_bytes(6, "big")
        + struct.pack(">I6xI", source, target)
    )


def frames(data: Sequence[bytes], link: int = 1, captured: Sequence[int] | None = None) -> Frames:
    kept = [len(frame) for frame in data] if captured is None else list(captured)
    offset = np.cumsum([0, *(len(frame) for frame in data)])[:-1]
    return Frames(
        np.frombuffer(b"".join(data) + bytes(PAD), np.uint8),
        np.arange(len(data)) * 1_000_000,
        offset.astype(np.int64),
        np.array(kept, np.int32),
        np.array([len(frame) for frame in data], np.int32),
        link,
    )


def pcap(data: Sequence[bytes], order: str = "<", magic: int = 0xA1B2C3D4, link: int = 1, step: int = 1000) -> bytes:
    found = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    unit = 1 if magic == 0xA1B23C4D else 1000
    for i, frame in enumerate(data):
        second, rest = divmod(1_700_000_000_000_000_000 + i * step * 1000, 10**9)
        found += struct.pack(f"{order}IIII", second, rest // unit, len(frame), len(frame)) + frame
    return found


def traffic(n: int, seed: int = 1, seconds: float = 60, devices: int = 6) -> p.Packets:
    """A hodgepodge of ``n`` packets among a few devices: all protocols, both IP versions, forged sources."""
    rng = np.random.default_rng(seed)
    four = rng.random(n) < 0.8
    protocol = rng.choice([6, 17, 1, 0], size=n, p=[0.6, 0.3, 0.05, 0.05]).astype(np.uint8)
    source, target = rng.integers(1, devices, (2, n))
    target[rng.random(n) < 0.05] = 0
    lower = np.where(four, p.MAPPED | 0x0A000000, 5).astype(np.uint64)
    upper = np.where(four, 0, 0xFE80 << 48).astype(np.uint64)
    forged = np.where(rng.random(n) < 0.2, rng.integers(256, 4096, n), source).astype(np.uint64)
    ip = protocol > 0
    transport = (protocol == 6) | (protocol == 17)
    column = {
        "time": np.sort(rng.integers(0, int(seconds * 1e9), n)) + 1_700_000_000 * 10**9,
        "wire": rng.integers(60, 1500, n),
        "ethertype": np.where(ip, np.where(four, p.IPV4, p.IPV6), p.ARP),
        "source_mac": 0x020000000000 + source,
        "target_mac": np.where(target == 0, p.BROADCAST, 0x020000000000 + target),
        "version": np.where(ip, np.where(four, 4, 6), 0),
        "source": np.column_stack([upper, lower | forged]),
        "target": np.column_stack([upper, lower | target.astype(np.uint64)]),
        "protocol": protocol,
        "source_port": np.where(transport, rng.choice([1883, 50000, 50001], n), 0),
        "target_port": np.where(transport, rng.choice([1883, 53, 443, 60000], n), 0),
        "flags": np.where(
            protocol == 6, rng.choice([p.SYN, p.SYN | p.ACK, p.ACK, p.ACK | p.PSH, p.RST, p.FIN | p.ACK, 0], n), 0
        ),
        "icmp": np.where(protocol == 1, rng.choice([0x0800, 0x0301, 0], n), 0),
        "message": np.where(protocol == 6, rng.integers(0, len(p.MESSAGES), n), 0),
        "payload": rng.integers(0, 1400, n),
        "arp": np.where(ip, 0, rng.integers(1, 3, n)),
        "arp_mac": np.where(ip, 0, 0x020000000000 + source),
        "label": rng.integers(-1, 3, n),
    }
    return p.blank(n, **column)
