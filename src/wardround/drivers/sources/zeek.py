"""Zeek's conn.log to flow records: tab-separated (any ``#fields``) or JSON lines, plain or rotated.

https://docs.zeek.org/en/master/logs/conn.html; labels as IoT-23 has them (``label`` and ``detailed-label`` joined to the last
field by blanks) are read where they stand. A record's own time of writing is not in the log: it is taken to be the
latest end so far. Law: any line gives a record or nothing and a count; never an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wardround.drivers.sources.eve import SERVICE_OF_NAME, address, bounded, mac_number, nanoseconds
from wardround.drivers.sources.files import natural
from wardround.errors import DataError
from wardround.traffic import flows as fl
from wardround.traffic import packets as p
from wardround.traffic.flows import Flows, blank
from wardround.traffic.services import SERVICE_OF_PORT

_PROTOCOLS = {"tcp": p.TCP, "udp": p.UDP, "icmp": p.ICMP}
_STATES = {
    **dict.fromkeys(("S0", "SH", "RSTOS0"), fl.ATTEMPT),
    "REJ": fl.REJECTED,
    "SF": fl.CLOSED,
    **dict.fromkeys(("S1", "S2", "S3"), fl.ESTABLISHED),
    **dict.fromkeys(("RSTO", "RSTR", "RSTRH"), fl.RESET),
}
_UNSET = ("", "-", "(empty)")
_NAMES: tuple[str, ...] = (
    *("start", "end", "source_mac", "target_mac", "source", "target", "source_port", "target_port", "protocol"),
    *("service", "packets_out", "packets_in", "bytes_out", "bytes_in", "state", "label"),
)


@dataclass
class ZeekReader:
    """Lines to records. ``fields``: of the last ``#fields`` line; ``labels``: class codes of labels (lower case; the rest
    are -1); ``malformed``: lines that are neither.
    """

    labels: Mapping[str, int] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    malformed: int = 0
    latest: int = 0

    def read(self, lines: list[bytes]) -> Flows:
        """The records in ``lines``."""
        rows = []
        for line in lines:
            if line.startswith(b"#"):
                self._header(line)
                continue
            if not line.strip():
                continue
            try:
                said = json.loads(line) if line.startswith(b"{") else self._named(line.decode())
                rows.append(self._row(said))
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
                self.malformed += 1
        if not rows:
            return blank(0)
        columns: dict[str, Any] = dict(zip(_NAMES, zip(*rows, strict=True), strict=True))
        for name in ("source", "target"):
            columns[name] = np.array(columns[name], np.uint64)
        reported = np.maximum(np.maximum.accumulate(np.array(columns["end"], np.int64)), self.latest)
        self.latest = int(reported[-1])
        return blank(len(rows), reported=reported, **columns)

    def _header(self, line: bytes) -> None:
        if line.startswith(b"#fields"):
            names = line.decode("utf-8", "replace").rstrip("\r").split("\t")[1:]
            # IoT-23's header has its last names parted by blanks, as its rows have their values
            self.fields = tuple(part for name in names for part in name.split())

    def _named(self, text: str) -> dict[str, Any]:
        values = text.rstrip("\r").split("\t")
        if len(values) < len(self.fields):
            values = [*values[:-1], *values[-1].split(maxsplit=len(self.fields) - len(values))]
        if not self.fields or len(values) != len(self.fields):
            raise ValueError("not as #fields says")
        return {name: value for name, value in zip(self.fields, values, strict=True) if value not in _UNSET}

    def _row(self, said: Mapping[str, Any]) -> tuple[Any, ...]:
        start = _time(said["ts"])
        end = start + round(float(said.get("duration", 0)) * 1e9)
        protocol = _PROTOCOLS.get(said["proto"], 255)
        icmp = protocol == p.ICMP
        source, target = address(said["id.orig_h"]), address(said["id.resp_h"])
        source_port, target_port = (
            0 if icmp else bounded(said.get(name, 0), 16) for name in ("id.orig_p", "id.resp_p")
        )
        service = SERVICE_OF_NAME.get(str(said.get("service", "")).split(",")[0], 0)
        service = service or int(max(SERVICE_OF_PORT[source_port], SERVICE_OF_PORT[target_port]))
        packets_in = bounded(said.get("resp_pkts", 0), 62)
        state = _STATES.get(said.get("conn_state", ""), fl.OTHER)
        if state == fl.CLOSED and protocol != p.TCP:
            state = fl.ESTABLISHED
        return (
            start,
            max(start, end),
            mac_number(said.get("orig_l2_addr", "")),
            mac_number(said.get("resp_l2_addr", "")),
            source,
            target,
            source_port,
            target_port,
            p.ICMPV6 if icmp and source[0] else protocol,
            service,
            bounded(said.get("orig_pkts", 0), 62),
            packets_in,
            bounded(said.get("orig_ip_bytes", said.get("orig_bytes", 0)), 62),
            bounded(said.get("resp_ip_bytes", said.get("resp_bytes", 0)), 62),
            state,
            self.labels.get(str(said.get("label", "")).lower(), -1),
        )


def _time(value: Any) -> int:
    """``ts``: Unix seconds with microseconds, or ISO 8601, as ns."""
    text = str(value)
    if "T" in text:
        return nanoseconds(text.replace("Z", "+00:00"))
    whole, _, part = text.partition(".")
    if not -(1 << 33) < int(whole) < 1 << 33:
        raise ValueError("no time of this age")
    return int(whole) * 10**9 + int((part + "000000000")[:9])


def logs(folder: Path) -> list[Path]:
    """The connection logs in ``folder`` (or the one file that it is), rotated ones first, in order of their names.

    Raises:
        DataError: there are none.
    """
    if folder.is_file():
        return [folder]
    found = {path for pattern in ("conn*.log", "conn*.log.gz", "conn.log.labeled") for path in folder.glob(pattern)}
    if not found:
        raise DataError(f"{folder}: no conn.log here; looked for conn*.log, conn*.log.gz, conn.log.labeled")
    return sorted(found, key=lambda path: (path.name == "conn.log", natural(path.name)))
