"""What happens on a hospital's network, as parameters: activities, devices, wards, attacks, and harmless oddities.

The numbers are plausible orders of magnitude (a wearable publishes a few small MQTT messages a second, images fill
the link), not measurements. Attacks are named as in CICIoMT2024 (Dadkhah et al., Internet of Things 28, 2024).
Rates of attacks span from below a device's own rate to saturation, and each oddity copies the look of one attack.
What it does not do: draw anything (hospital_windows.py, hospital.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Protocol = Literal["tcp", "udp", "icmp", "arp"]
App = Literal["mqtt", "hl7", "dicom", "coap", "web", "dns", "other"]


@dataclass(frozen=True)
class Activity:
    """One kind of packets.

    ``size`` and ``spread``: mean frame bytes and its coefficient of variation. ``burst``: coefficient of variation of
    the gaps. ``peers`` and ``ports``: how many it draws from in a window. Shares of packets: ``inbound``, ``syn``,
    ``ack``, ``psh``, ``fin``, ``rst``, ``connect`` (MQTT CONNECT), ``malformed`` (the parser refuses it), ``unasked``
    (ARP replies nobody asked for).
    """

    protocol: Protocol
    app: App
    size: float
    spread: float = 0.3
    inbound: float = 0.5
    syn: float = 0.0
    ack: float = 0.0
    psh: float = 0.0
    fin: float = 0.0
    rst: float = 0.0
    connect: float = 0.0
    malformed: float = 0.0
    unasked: float = 0.0
    peers: float = 1.0
    ports: float = 1.0
    burst: float = 1.0


ACTIVITIES: dict[str, Activity] = {
    "hl7": Activity("tcp", "hl7", 420, 0.6, 0.45, syn=0.02, ack=0.97, psh=0.45, fin=0.02, rst=0.004),
    "waveform": Activity("udp", "other", 310, 0.2, 0.05, burst=0.4),
    "mqtt publish": Activity("tcp", "mqtt", 130, 0.5, 0.4, syn=0.015, ack=0.98, psh=0.5, fin=0.012, connect=0.01),
    "old mqtt firmware": Activity("tcp", "mqtt", 120, 0.6, 0.4, ack=0.97, psh=0.5, rst=0.02, malformed=0.04, burst=1.4),
    "mqtt broker": Activity(
        "tcp", "mqtt", 150, 0.7, 0.55, syn=0.03, ack=0.96, psh=0.5, connect=0.02, peers=14, ports=10
    ),
    "pump poll": Activity("tcp", "web", 260, 0.6, 0.5, syn=0.1, ack=0.88, psh=0.3, fin=0.1, rst=0.01, ports=3),
    "coap": Activity("udp", "coap", 95, 0.4, 0.4, malformed=0.004, ports=2),
    "dicom": Activity("tcp", "dicom", 1180, 0.4, 0.35, syn=0.002, ack=0.99, psh=0.2, fin=0.002, burst=2.0, ports=2),
    "web": Activity("tcp", "web", 560, 0.9, 0.6, syn=0.05, ack=0.93, psh=0.3, fin=0.04, rst=0.015, peers=6, ports=8),
    "dns": Activity("udp", "dns", 110, 0.3, 0.5, ports=3),
    "chatter": Activity("udp", "other", 140, 0.6, 0.85, peers=5, ports=4, burst=1.5),
    "arp": Activity("arp", "other", 60, 0.05, 0.6, unasked=0.06, peers=4, ports=0),
    "ping": Activity("icmp", "other", 90, 0.3, 0.5, peers=2, ports=0, burst=0.5),
    "icmp flood": Activity("icmp", "other", 240, 1.0, 0.8, ports=0, burst=0.8),
    "syn flood": Activity("tcp", "other", 62, 0.08, 0.75, syn=0.72, ack=0.27, rst=0.15, ports=2, burst=0.8),
    "tcp flood": Activity("tcp", "other", 120, 1.0, 0.75, syn=0.03, ack=0.85, psh=0.4, rst=0.16, fin=0.02, ports=3),
    "udp flood": Activity("udp", "other", 260, 1.0, 0.85, ports=9, burst=0.9),
    "ping sweep": Activity("icmp", "other", 74, 0.2, 0.4, peers=90, ports=0),
    "arp sweep": Activity("arp", "other", 60, 0.05, 0.35, peers=110, ports=0, unasked=0.01),
    "port scan": Activity("tcp", "other", 61, 0.08, 0.5, syn=0.5, ack=0.5, rst=0.45, peers=2, ports=700),
    "os probe": Activity("tcp", "other", 70, 0.25, 0.5, syn=0.45, ack=0.4, psh=0.08, fin=0.06, rst=0.35, ports=50),
    "udp probe": Activity("udp", "other", 90, 0.8, 0.5, ports=30, peers=2),
    "web probe": Activity(
        "tcp", "web", 330, 0.9, 0.5, syn=0.14, ack=0.8, psh=0.32, fin=0.1, rst=0.06, ports=12, peers=2
    ),
    "connect flood": Activity(
        "tcp", "mqtt", 88, 0.3, 0.55, syn=0.22, ack=0.72, psh=0.25, fin=0.14, rst=0.06, connect=0.14
    ),
    "publish flood": Activity("tcp", "mqtt", 190, 0.8, 0.65, syn=0.02, ack=0.97, psh=0.55, connect=0.012, burst=0.7),
    "broken mqtt": Activity(
        "tcp", "mqtt", 105, 0.6, 0.6, syn=0.08, ack=0.9, psh=0.45, rst=0.06, connect=0.05, malformed=0.3
    ),
    "arp claim": Activity("arp", "other", 60, 0.03, 0.6, unasked=0.6, peers=2, ports=0, burst=0.5),
    "relayed": Activity(
        "tcp", "web", 420, 0.8, 0.5, syn=0.04, ack=0.92, psh=0.35, rst=0.03, peers=3, ports=4, burst=1.8
    ),
    "download": Activity("tcp", "web", 1120, 0.4, 0.72, syn=0.004, ack=0.99, psh=0.12, burst=1.2, peers=2),
    "time sync": Activity("udp", "other", 92, 0.05, 0.5, peers=8, ports=2),
}


@dataclass(frozen=True)
class Device:
    """A type of device: ``habits``: (activity, packets per second, share of windows in which it happens); ``rhythm``:
    how much of its traffic follows the day (0: none).
    """

    habits: tuple[tuple[str, float, float], ...]
    rhythm: float


DEVICES: dict[str, Device] = {
    "patient monitor": Device((("hl7", 4, 1), ("waveform", 24, 0.8), ("dns", 0.1, 0.3), ("arp", 0.1, 0.8)), 0.1),
    "infusion pump": Device(
        (("pump poll", 1.5, 1), ("dns", 0.05, 0.2), ("arp", 0.08, 0.7), ("chatter", 0.2, 0.4)), 0.2
    ),
    "wearable": Device(
        (("mqtt publish", 5, 1), ("old mqtt firmware", 2, 0.15), ("dns", 0.1, 0.2), ("arp", 0.1, 0.6)), 0.4
    ),
    "imaging": Device(
        (("dicom", 240, 0.3), ("web", 1.2, 0.6), ("hl7", 0.8, 0.5), ("dns", 0.2, 0.4), ("arp", 0.1, 0.7)), 0.9
    ),
    "room sensor": Device((("coap", 1.2, 1), ("chatter", 0.3, 0.5), ("arp", 0.05, 0.5)), 0.05),
    "nurse tablet": Device((("web", 14, 0.75), ("mqtt publish", 0.8, 0.4), ("dns", 0.9, 0.7), ("arp", 0.2, 0.8)), 0.8),
    "image server": Device(
        (("dicom", 520, 0.5), ("hl7", 9, 1), ("web", 8, 0.8), ("dns", 0.5, 0.6), ("ping", 0.2, 0.5), ("arp", 0.5, 1)),
        0.7,
    ),
    "ward gateway": Device(
        (
            ("mqtt broker", 42, 1),
            ("web", 5, 0.8),
            ("coap", 4, 0.7),
            ("dns", 1.5, 0.9),
            ("chatter", 2, 0.9),
            ("arp", 0.8, 1),
        ),
        0.3,
    ),
}
SPEAKS_MQTT = ("wearable", "nurse tablet", "ward gateway")

WARDS: dict[str, tuple[float, ...]] = {
    # weights of the device types, in their order above
    "intensive care": (5, 5, 1, 0.3, 1, 1, 0.2, 1.2),
    "radiology": (0.5, 0.4, 0.3, 5, 0.8, 1.5, 2.5, 0.8),
    "outpatients": (0.6, 0.6, 5, 0.4, 1, 3, 0.2, 1.2),
    "maternity": (2.5, 2, 3, 0.4, 2, 2, 0.2, 1.2),
    "surgery": (3, 3, 0.6, 1.5, 2, 2, 0.8, 1),
    "home care hub": (0.8, 1.5, 6, 0.1, 4, 0.5, 0.1, 2),
}


@dataclass(frozen=True)
class Incident:
    """Something unusual that goes on for some windows: an attack, or a harmless oddity that looks like one.

    ``parts``: (activity, share of the incident's packets); packets per second are log-uniform from ``low`` to ``high``;
    sources are log-uniform from 1 to ``sources``; ``where``: device types it concerns, all where empty.
    """

    parts: tuple[tuple[str, float], ...]
    low: float
    high: float
    sources: tuple[float, float] = (1, 2)
    where: tuple[str, ...] = ()


def _flood(activity: str, *, many: bool) -> Incident:
    return Incident(((activity, 1.0),), 1.5, 9000, (2.5, 300) if many else (1, 5))


ATTACKS: dict[str, Incident] = {
    **{f"TCP_IP-DDoS-{kind}": _flood(f"{kind.lower()} flood", many=True) for kind in ("ICMP", "SYN", "TCP", "UDP")},
    **{f"TCP_IP-DoS-{kind}": _flood(f"{kind.lower()} flood", many=False) for kind in ("ICMP", "SYN", "TCP", "UDP")},
    "Recon-OS_Scan": Incident((("os probe", 0.6), ("ping", 0.1), ("udp probe", 0.15), ("port scan", 0.15)), 0.6, 150),
    "Recon-Ping_Sweep": Incident((("ping sweep", 0.6), ("arp sweep", 0.4)), 0.5, 60),
    "Recon-Port_Scan": Incident((("port scan", 0.97), ("ping", 0.03)), 0.6, 400),
    "Recon-VulScan": Incident((("web probe", 0.7), ("port scan", 0.2), ("udp probe", 0.1)), 0.8, 200),
    "MQTT-DDoS-Connect_Flood": Incident((("connect flood", 1),), 2, 3000, (2.5, 120), SPEAKS_MQTT),
    "MQTT-DDoS-Publish_Flood": Incident((("publish flood", 1),), 4, 5000, (2.5, 120), SPEAKS_MQTT),
    "MQTT-DoS-Connect_Flood": Incident((("connect flood", 1),), 2, 3000, (1, 4), SPEAKS_MQTT),
    "MQTT-DoS-Publish_Flood": Incident((("publish flood", 1),), 4, 5000, (1, 4), SPEAKS_MQTT),
    "MQTT-Malformed_Data": Incident((("broken mqtt", 1),), 0.6, 120, (1, 3), SPEAKS_MQTT),
    "ARP_Spoofing": Incident((("arp claim", 0.25), ("relayed", 0.75)), 1.2, 60),
}

ODDITIES: dict[str, Incident] = {
    "reconnect storm": Incident((("connect flood", 0.8), ("dns", 0.2)), 1, 400, (1, 40), SPEAKS_MQTT),
    "telemetry backlog": Incident((("publish flood", 1),), 4, 900, (1, 8), SPEAKS_MQTT),
    "firmware rollout": Incident((("download", 0.97), ("dns", 0.03)), 20, 3000, (1, 3)),
    "image migration": Incident((("dicom", 1),), 100, 6000, (1, 6), ("imaging", "image server")),
    "authorised scanner": Incident((("port scan", 0.4), ("web probe", 0.35), ("ping sweep", 0.25)), 0.5, 120),
    "address failover": Incident((("arp claim", 0.5), ("arp", 0.5)), 0.3, 10),
    "clock-sync storm": Incident((("time sync", 0.8), ("udp flood", 0.2)), 1, 400, (1, 30)),
    "link monitoring": Incident((("ping", 0.7), ("icmp flood", 0.3)), 0.5, 60, (1, 6)),
    "half-open clients": Incident((("syn flood", 0.5), ("web", 0.5)), 0.8, 80, (1, 20)),
    "bulk export": Incident((("tcp flood", 0.6), ("web", 0.4)), 3, 900, (1, 6)),
}
