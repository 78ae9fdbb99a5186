"""Devices, vendors and wards of the lab, as parameters. Plausible orders of magnitude, not measurements.

A vendor's style (how often, how much, which stack) is what makes two wards with the same device types differ.
What it does not do: draw anything (ward.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "wearable", "patient monitor", "infusion pump", "imaging", "room sensor", "nurse tablet", "image server", "broker"
]


@dataclass(frozen=True)
class Vendor:
    """``oui``: first three bytes of its addresses. ``gap_s``: mean time between its messages; ``jitter``: coefficient
    of variation of the gaps (1: a Poisson process). ``size``: bytes of its values. ``style``: what its type makes of
    it. ``ttl``, ``linux``, ``window``: of its network stack.
    """

    oui: int
    gap_s: float
    jitter: float
    size: int
    style: str
    ttl: int = 64
    linux: bool = True
    window: int = 502


VENDORS: dict[Kind, tuple[Vendor, ...]] = {
    "wearable": (
        Vendor(0xA4C138, 1.0, 0.15, 60, "qos0", 255, linux=False, window=5744),
        Vendor(0x3C71BF, 2.5, 0.4, 180, "qos1", 255, linux=False, window=5744),
        Vendor(0xB827EB, 4.0, 0.9, 640, "qos1 sleepy"),
        Vendor(0x24A160, 0.5, 0.3, 42, "qos0", 128, linux=False, window=8192),
        Vendor(0x4C11AE, 1.2, 0.6, 90, "qos0 sleepy", 255, linux=False, window=5744),
    ),
    "patient monitor": (
        Vendor(0x00095C, 4.0, 0.1, 4, "held waveform"),
        Vendor(0x0009FB, 10.0, 0.2, 9, "each", 128, linux=False, window=8192),
        Vendor(0x001EC0, 1.5, 0.5, 3, "held waveform", 255, linux=False, window=4096),
    ),
    "infusion pump": (
        Vendor(0x000E8C, 1.0, 0.05, 24, "modbus", 255, linux=False, window=2920),
        Vendor(0x7C1E52, 2.0, 0.3, 160, "http"),
        Vendor(0x00A0B0, 2.0, 0.6, 60, "modbus", 64, linux=False, window=4096),
        Vendor(0x5CF286, 12.0, 0.8, 420, "http", 128, linux=False, window=8192),
    ),
    "imaging": (
        Vendor(0x0003BA, 150.0, 0.8, 180_000, "study", 128, linux=False, window=8192),
        Vendor(0x00104D, 260.0, 0.6, 420_000, "study"),
        Vendor(0x001A4B, 60.0, 1.0, 48_000, "study"),
    ),
    "room sensor": (
        Vendor(0x00124B, 5.0, 0.1, 18, "con", 64, linux=False, window=2048),
        Vendor(0x840D8E, 15.0, 0.5, 40, "non", 255, linux=False, window=2048),
        Vendor(0x68C63A, 2.5, 0.9, 12, "non", 255, linux=False, window=2048),
    ),
    "nurse tablet": (
        Vendor(0xF0D1A9, 14.0, 1.2, 9_000, "web"),
        Vendor(0xAC5F3E, 7.0, 1.4, 3_500, "web mqtt"),
        Vendor(0x98D6F7, 25.0, 1.0, 22_000, "web", 128, linux=False, window=64240),
    ),
    "image server": (Vendor(0x3CECEF, 20.0, 0.9, 160_000, "fetch"), Vendor(0xD4AE52, 45.0, 0.7, 300_000, "fetch")),
    "broker": (Vendor(0x001D72, 30.0, 0.5, 300, "mosquitto"), Vendor(0xDCA632, 60.0, 0.5, 300, "mosquitto")),
}
SPEAKS_MQTT: tuple[Kind, ...] = ("wearable", "nurse tablet", "broker")
RHYTHM: dict[Kind, float] = {
    # how much of a type's traffic follows the day (0: none)
    "wearable": 0.3,
    "patient monitor": 0.05,
    "infusion pump": 0.1,
    "imaging": 0.8,
    "room sensor": 0.05,
    "nurse tablet": 0.8,
    "image server": 0.6,
    "broker": 0.2,
}
WARDS: dict[str, dict[Kind, float]] = {
    # mean number of devices of each type beside the broker that every ward has
    "intensive care": {"patient monitor": 4, "infusion pump": 4, "wearable": 1, "room sensor": 1, "nurse tablet": 1},
    "radiology": {
        "imaging": 4,
        "image server": 1,
        "nurse tablet": 2,
        "room sensor": 1,
        "patient monitor": 1,
        "wearable": 1,
    },
    "outpatients": {"wearable": 5, "nurse tablet": 2, "patient monitor": 1, "infusion pump": 1, "room sensor": 1},
    "maternity": {"patient monitor": 2, "infusion pump": 2, "wearable": 3, "room sensor": 2, "nurse tablet": 1},
    "surgery": {
        "patient monitor": 3,
        "infusion pump": 3,
        "imaging": 1,
        "nurse tablet": 2,
        "room sensor": 1,
        "wearable": 1,
    },
    "home care hub": {"wearable": 5, "room sensor": 3, "infusion pump": 1, "nurse tablet": 1},
}
OUTSIDE = (
    "emr",
    "pacs",
    "name server",
    "clock",
    "pump manager",
    "portal",
    "updates",
    "scanner",
    "telehealth",
    "laboratory",
)
"""Hosts beyond the ward's router: their frames carry the router's MAC."""


@dataclass(frozen=True)
class Range:
    """Packets per second log-uniform from ``low`` to ``high``; ``sources``: how many hosts take part."""

    low: float
    high: float
    sources: tuple[int, int] = (1, 1)


_MANY, _ONE = (3, 9), (1, 1)
OFFENCES: dict[str, Range] = {
    **{f"TCP_IP-DDoS-{kind}": Range(3, 1000, _MANY) for kind in ("ICMP", "SYN", "TCP", "UDP")},
    **{f"TCP_IP-DoS-{kind}": Range(3, 1000, _ONE) for kind in ("ICMP", "SYN", "TCP", "UDP")},
    "Recon-OS_Scan": Range(2, 60),
    "Recon-Ping_Sweep": Range(0.8, 40),
    "Recon-Port_Scan": Range(1.5, 200),
    "Recon-VulScan": Range(0.4, 8),  # requests per second, some ten packets each
    "MQTT-DDoS-Connect_Flood": Range(0.8, 80, _MANY),  # connections per second, some ten packets each
    "MQTT-DDoS-Publish_Flood": Range(4, 600, _MANY),
    "MQTT-DoS-Connect_Flood": Range(0.8, 80, _ONE),
    "MQTT-DoS-Publish_Flood": Range(4, 600, _ONE),
    "MQTT-Malformed_Data": Range(0.4, 20),
    "ARP_Spoofing": Range(0.3, 2),
}
ODDITIES: dict[str, Range] = {
    "reconnect storm": Range(0.5, 40),
    "telemetry backlog": Range(4, 300),
    "firmware rollout": Range(0.2, 2, (2, 6)),
    "image migration": Range(0.5, 4),
    "authorised scanner": Range(1, 80),
    "address failover": Range(0.3, 3),
    "clock-sync storm": Range(3, 200),
    "link monitoring": Range(0.8, 30),
    "half-open clients": Range(2, 60, (1, 4)),
    "bulk export": Range(4, 600),
}
