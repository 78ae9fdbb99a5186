"""Captures for the watcher, written byte by byte: a ward's quiet talk with patient data in its payloads, a flood, an ARP conflict."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

START_S = 1_700_000_000
PATIENT = ("MUELLER^ERIKA^M", "DOE^JOHN", "19410317", "PID|1||4711-0815", "ward7/bed3/patient/JANSEN")
MONITOR, SERVER, SENSOR, ATTACKER = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2, 3, 9))
ADDRESS = {MONITOR: 1, SERVER: 2, SENSOR: 3, ATTACKER: 9}
SYN, ACK, PSH = 2, 16, 8


def tcp(a: bytes, b: bytes, ports: tuple[int, int], flags: int, payload: bytes = b"") -> bytes:
    """One Ethernet frame with TCP from device ``a`` to ``b`` (checksums left at zero)."""
    segment = struct.pack(">HHIIBBHHH", *ports, 1, 1, 5 << 4, flags, 8192, 0, 0) + payload
    return ip(a, b, 6, segment)


def ip(a: bytes, b: bytes, protocol: int, data: bytes) -> bytes:
    head = struct.pack(
        ">BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(data),
        0,
        0,
        64,
        protocol,
        0,
        bytes([10, 0, 0, ADDRESS[a]]),
        bytes([10, 0, 0, ADDRESS[b]]),
    )
    return b + a + b"\x08\x00" + head + data


def arp(mac: bytes, address: int) -> bytes:
    """``mac`` says (a reply to all) that it has 10.0.0.``address``."""
    body = struct.pack(
        ">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, mac, bytes([10, 0, 0, address]), b"\xff" * 6, bytes([10, 0, 0, address])
    )
    return b"\xff" * 6 + mac + b"\x08\x06" + body


def hl7(n: int) -> bytes:
    text = f"MSH|^~\\&|MON|ICU|||20231114||ORU^R01|{n}|P|2.5\r{PATIENT[3]}||{PATIENT[0]}||{PATIENT[2]}\rOBX|1|NM|HR||{60 + n % 30}"
    return b"\x0b" + text.encode() + b"\x1c\r"


def mqtt(n: int) -> bytes:
    topic, value = PATIENT[4].encode(), f'{{"name":"{PATIENT[1]}","hr":{60 + n % 40}}}'.encode()
    rest = struct.pack(">H", len(topic)) + topic + value
    return bytes([0x30, len(rest)]) + rest


def quiet(seconds: int, seed: int, first: float = 0.0) -> Iterator[tuple[float, bytes]]:
    rng = np.random.default_rng(seed)
    yield first, arp(SERVER, 2)
    yield first + 0.01, arp(MONITOR, 1)
    for second in range(seconds):
        at = first + second + 0.1
        for n in range(int(rng.integers(1, 5))):
            yield at + n * 0.05, tcp(MONITOR, SERVER, (40000, 2575), PSH | ACK, hl7(second))
            yield at + n * 0.05 + 0.01, tcp(SERVER, MONITOR, (2575, 40000), ACK)
        for n in range(int(rng.integers(1, 4))):
            yield at + 0.4 + n * 0.05, tcp(SENSOR, SERVER, (50000, 1883), PSH | ACK, mqtt(second))
        if second % 240 == 120:
            yield at + 0.8, arp(SERVER, 2)


def flood(seconds: int, first: float, rate: int = 400) -> Iterator[tuple[float, bytes]]:
    for i in range(seconds * rate):
        yield first + i / rate, tcp(ATTACKER, MONITOR, (1024 + i % 60000, 2575), SYN)


def pcap(path: Path, packets: list[tuple[float, bytes]]) -> Path:
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
    for at, frame in sorted(packets, key=lambda p: p[0]):
        out.append(struct.pack("<IIII", START_S + int(at), int(at % 1 * 1e6), len(frame), len(frame)))
        out.append(frame)
    path.write_bytes(b"".join(out))
    return path
