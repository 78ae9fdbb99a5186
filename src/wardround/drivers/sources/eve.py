"""Suricata's EVE log (JSON lines) to flow records: ``flow`` and ``arp`` events; its ``alert`` events are passed on.

Suricata 7 and 8, https://docs.suricata.io/en/latest/output/eve/eve-json-format.html. Payloads, names and URLs in the
log are not looked at. Law: any line gives a record, an alert, or nothing and a count; never an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

import numpy as np

from wardround.traffic import packets as p
from wardround.traffic.flows import Flows, blank, state_of
from wardround.traffic.services import SERVICE_OF_PORT, SERVICES
from wardround.traffic.windows import Claims

_NAMES: tuple[str, ...] = (
    *("reported", "start", "end", "source_mac", "target_mac", "source", "target", "source_port", "target_port"),
    *("protocol", "service", "packets_out", "packets_in", "bytes_out", "bytes_in"),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PROTOCOLS = {
    "TCP": p.TCP,
    "UDP": p.UDP,
    "ICMP": p.ICMP,
    "IPv6-ICMP": p.ICMPV6,
    "IPV6-ICMP": p.ICMPV6,
    "SCTP": 132,
    "IGMP": p.IGMP,
}
SERVICE_OF_NAME = {name: code for code, name in enumerate(SERVICES)} | {
    "tls": SERVICES.index("https"),
    "ssl": SERVICES.index("https"),
    "quic": SERVICES.index("https"),
    "http2": SERVICES.index("http"),
    "ssh": SERVICES.index("shell"),
    "telnet": SERVICES.index("shell"),
    "rdp": SERVICES.index("shell"),
    "ftp": SERVICES.index("file"),
    "smb": SERVICES.index("file"),
    "nfs": SERVICES.index("file"),
    "mdns": SERVICES.index("discovery"),
}
"""Sensors' own names of application protocols as codes of ``SERVICES``."""


@dataclass(frozen=True)
class SensorAlert:
    """An alert of the sensor itself: ``time`` ns, the two ends as text, and what its rule says."""

    time: int
    source: str
    target: str
    signature_id: int
    signature: str
    category: str
    severity: int


@dataclass
class EveReader:
    """Lines to records. ``malformed``: lines that are no EVE event; ``on_alert`` is given the sensor's own alerts."""

    on_alert: Callable[[SensorAlert], None] = lambda _: None
    malformed: int = 0
    _rows: list[tuple[Any, ...]] = field(default_factory=list, init=False)
    _claims: list[tuple[int, int, int]] = field(default_factory=list, init=False)

    def read(self, lines: list[bytes]) -> Flows:
        """The records in ``lines``."""
        self._rows, self._claims = [], []
        arp = False
        for line in lines:
            if not line.strip():
                continue
            try:
                event = json.loads(line)
                kind = event.get("event_type")
                if kind == "flow":
                    self._rows.append(_flow(event))
                elif kind == "arp":
                    self._arp(event)
                    arp = True
                elif kind == "alert":
                    self.on_alert(_alert(event))
            except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError):
                self.malformed += 1
        return self._flows(arp)

    def _arp(self, event: Mapping[str, Any]) -> None:
        said, when = event["arp"], nanoseconds(event["timestamp"])
        source, target = address(said["src_ip"]), address(said["dest_ip"])
        mac = mac_number(said["src_mac"])
        self._rows.append(
            (when, when, when, mac, mac_number(said["dest_mac"]), source, target, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0)
        )
        if source[1] & 0xFFFFFFFF:
            self._claims.append((when, source[1], mac))

    def _flows(self, arp: bool) -> Flows:
        if not self._rows:
            return blank(0, layer2=arp)
        *columns, flags_out, flags_in = zip(*self._rows, strict=True)
        found: dict[str, Any] = dict(zip(_NAMES, columns, strict=True))
        for name in ("source", "target"):
            found[name] = np.array(found[name], np.uint64)
        state = state_of(
            np.array(found["protocol"]), np.array(flags_out), np.array(flags_in), np.array(found["packets_in"])
        )
        times, addresses, macs = zip(*self._claims, strict=True) if self._claims else ((), (), ())
        claimed = np.array([(0, a) for a in addresses], np.uint64).reshape(-1, 2)
        claims = Claims(np.array(times, np.int64), claimed, np.array(macs, np.uint64))
        flows = blank(len(self._rows), layer2=arp, state=state, **found)
        return Flows(**{**vars(flows), "claims": claims})


def _flow(event: Mapping[str, Any]) -> tuple[Any, ...]:
    flow, tcp = event["flow"], event.get("tcp", {})
    protocol = _PROTOCOLS.get(event["proto"], 0) or int(event.get("proto_number", 255))
    source_port, target_port = bounded(event.get("src_port", 0), 16), bounded(event.get("dest_port", 0), 16)
    service = SERVICE_OF_NAME.get(event.get("app_proto", ""), 0)
    service = service or int(max(SERVICE_OF_PORT[source_port], SERVICE_OF_PORT[target_port]))
    ether = event.get("ether", {})
    return (
        nanoseconds(event["timestamp"]),
        nanoseconds(flow["start"]),
        nanoseconds(flow["end"]),
        mac_number((ether.get("src_macs") or [ether.get("src_mac", "")])[0]),
        mac_number((ether.get("dest_macs") or [ether.get("dest_mac", "")])[0]),
        address(event["src_ip"]),
        address(event["dest_ip"]),
        source_port,
        target_port,
        bounded(protocol, 8),
        service,
        *(
            bounded(flow.get(name, 0), 62)
            for name in ("pkts_toserver", "pkts_toclient", "bytes_toserver", "bytes_toclient")
        ),
        int(tcp.get("tcp_flags_ts", "0"), 16) & 0xFF,
        int(tcp.get("tcp_flags_tc", "0"), 16) & 0xFF,
    )


def _alert(event: Mapping[str, Any]) -> SensorAlert:
    said = event["alert"]
    return SensorAlert(
        nanoseconds(event["timestamp"]),
        str(event["src_ip"]),
        str(event["dest_ip"]),
        int(said["signature_id"]),
        str(said.get("signature", "")),
        str(said.get("category", "")),
        int(said.get("severity", 3)),
    )


def nanoseconds(text: str) -> int:
    """An ISO 8601 time with zone as ns since 1970 (microseconds are what sensors write).

    Raises:
        ValueError, TypeError: it is none.
    """
    return (
        _second(text[:19] + text[26:]) + int(text[20:26]) * 1000 if len(text) >= 31 and text[19] == "." else _slow(text)
    )


@lru_cache(1 << 12)
def _second(text: str) -> int:
    return _slow(text)


def _slow(text: str) -> int:
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


@lru_cache(1 << 16)
def address(text: str) -> tuple[int, int]:
    """The (upper, lower) halves of an address, IPv4 mapped.

    Raises:
        ValueError: it is none.
    """
    found = ip_address(text)
    number = int(found) | (p.MAPPED if found.version == 4 else 0)
    return number >> 64, number & (1 << 64) - 1


@lru_cache(1 << 14)
def mac_number(text: str) -> int:
    """A MAC address in the usual form, 0 where there is none.

    Raises:
        ValueError: it is none.
    """
    digits = text.replace(":", "").replace("-", "")
    return int(digits, 16) & p.BROADCAST if digits else 0


def bounded(value: Any, bits: int) -> int:
    """A whole number of at most ``bits`` bits.

    Raises:
        ValueError, TypeError: it is none, or larger, or negative.
    """
    number = int(value)
    if number < 0 or number >> bits:
        raise ValueError(f"{number} does not fit {bits} bits")
    return number
