"""NetFlow v5, v9 and IPFIX messages to flow records, whole data sets at once.

A template fixes the length of its records, so a data set is a matrix of bytes and a field is some of its columns. Written
here and not taken from a package because a collector listens to anybody on its network: every length is checked, no
message can make it loop, and what is remembered is bounded (docs/design/0604-netflow.md).

NetFlow v9 RFC 3954, IPFIX RFC 7011 (reduced-size encoding, section 6.2; variable lengths, section 7), biflows RFC 5103.
Records that tell one direction only are paired by ``Pairing``.

Law: for any bytes ``decode`` returns records or raises ``DecodeError``.
What it does not do: open sockets (drivers/sources), options records, sampling rates (counts are as exported).
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from wardround.arrays import I64, U8, U64
from wardround.errors import DecodeError
from wardround.traffic import flows as fl
from wardround.traffic.flows import Flows, blank, state_of
from wardround.traffic.packets import ICMP, ICMPV6, MAPPED
from wardround.traffic.services import SERVICE_OF_PORT

MOST_TEMPLATES = 4096
MOST_WAITING = 256
VARIABLE = 0xFFFF
_REVERSE = 29305 << 16  # RFC 5103: the same element, counted the other way
_SCOPE = 1 << 48  # no information element
_NTP = 2_208_988_800
_V5 = (
    *((8, 0, 4), (12, 4, 4), (2, 16, 4), (1, 20, 4), (22, 24, 4), (21, 28, 4)),
    *((7, 32, 2), (11, 34, 2), (6, 37, 1), (4, 38, 1)),
)
"""Version 5's fixed record of 48 bytes: (element, offset, length)."""
Key = tuple[str, int, int]
"""(exporter, observation domain, template id)."""


@dataclass(frozen=True)
class Template:
    """(element, length) of each field; ``element`` is its id, plus enterprise << 16."""

    fields: tuple[tuple[int, int], ...]

    @property
    def length(self) -> int:
        """Bytes of a record, 0 where they vary."""
        return 0 if any(size == VARIABLE for _, size in self.fields) else sum(size for _, size in self.fields)


@dataclass
class Collector:
    """What exporters have said so far. ``waiting``: data sets whose template is still to come; ``lost``: sets given up.

    ``boots``: when an exporter's uptime was 0 (ns), where IPFIX options said so. Templates leave in the order of their
    last use when there are more than ``MOST_TEMPLATES``.
    """

    templates: OrderedDict[Key, Template] = field(default_factory=OrderedDict)
    waiting: list[tuple[Key, bytes, _Header]] = field(default_factory=list)
    boots: OrderedDict[tuple[str, int], int] = field(default_factory=OrderedDict)
    lost: int = 0


@dataclass(frozen=True)
class _Header:
    """``now``: export time, ns since 1970; ``boot``: when the exporter's uptime was 0 (v5, v9), ns."""

    version: int
    now: int
    boot: int
    domain: int


def decode(collector: Collector, data: bytes, exporter: str) -> Flows:
    """The records of one datagram from ``exporter``, each in one direction unless the exporter tells both.

    Raises:
        DecodeError: the bytes are no message of versions 5, 9 or 10.
    """
    if len(data) < 24 and not (len(data) >= 16 and data[:2] == b"\x00\x0a"):
        raise DecodeError("no NetFlow message: too short for a header")
    (version,) = struct.unpack_from(">H", data)
    if version == 5:
        return _version_5(data)
    if version not in (9, 10):
        raise DecodeError(f"no NetFlow message of version 5, 9 or 10: it says {version}")
    header, at, end = _header(version, data)
    found = []
    while at + 4 <= end:
        kind, size = struct.unpack_from(">HH", data, at)
        if size < 4 or at + size > end:
            raise DecodeError(f"a set claims {size} of the {end - at} bytes left")
        body = data[at + 4 : at + size]
        if kind == (0 if version == 9 else 2):
            found += _learn(collector, body, header, exporter)
        elif kind == (1 if version == 9 else 3):
            _learn_options(collector, body, header, exporter)
        elif kind > 255:
            found += _data(collector, (exporter, header.domain, kind), body, header)
        at += size
    return fl.concat(found) if found else blank(0)


def _header(version: int, data: bytes) -> tuple[_Header, int, int]:
    if version == 9:
        _, uptime, seconds, _, domain = struct.unpack_from(">HIIII", data, 2)
        now = seconds * 10**9
        return _Header(9, now, now - uptime * 10**6, domain), 20, len(data)
    length, seconds, _, domain = struct.unpack_from(">HIII", data, 2)
    return _Header(10, seconds * 10**9, 0, domain), 16, min(length, len(data))


def _learn(collector: Collector, body: bytes, header: _Header, exporter: str) -> list[Flows]:
    """Remember the templates of a set; the records that waited for them."""
    at, found = 0, []
    while at + 4 <= len(body):
        number, count = struct.unpack_from(">HH", body, at)
        if number < 256:
            break  # padding
        fields, at = _fields(body, at + 4, count, header.version)
        found += _remember(collector, (exporter, header.domain, number), fields)
    return found


def _learn_options(collector: Collector, body: bytes, header: _Header, exporter: str) -> None:
    """The same for options templates, whose records tell about the exporter."""
    at = 0
    while at + 6 <= len(body):
        number, first, second = struct.unpack_from(">HHH", body, at)
        if number < 256:
            break
        if header.version == 9:  # lengths in bytes of scope and options; scope types have numbers of their own
            fields, at = _fields(body, at + 6, (first + second) // 4, 9)
            scope = first // 4
            fields = [(element | _SCOPE, size) for element, size in fields[:scope]] + fields[scope:]
        else:
            fields, at = _fields(body, at + 6, first, 10)
        _remember(collector, (exporter, header.domain, number), fields)


def _fields(body: bytes, at: int, count: int, version: int) -> tuple[list[tuple[int, int]], int]:
    fields: list[tuple[int, int]] = []
    for _ in range(count):
        if at + 4 > len(body):
            raise DecodeError("a template is cut off")
        element, size = struct.unpack_from(">HH", body, at)
        at += 4
        if version == 10 and element & 0x8000:
            if at + 4 > len(body):
                raise DecodeError("a template is cut off")
            (enterprise,) = struct.unpack_from(">I", body, at)
            element, at = element & 0x7FFF | enterprise << 16, at + 4
        fields.append((element, size))
    return fields, at


def _remember(collector: Collector, key: Key, fields: list[tuple[int, int]]) -> list[Flows]:
    collector.templates.pop(key, None)
    if not any(size for _, size in fields):
        return []  # withdrawn, or nothing in it
    collector.templates[key] = Template(tuple(fields))
    if len(collector.templates) > MOST_TEMPLATES:
        collector.templates.popitem(last=False)
    ready = [waiting for waiting in collector.waiting if waiting[0] == key]
    collector.waiting = [waiting for waiting in collector.waiting if waiting[0] != key]
    return [flows for _, late, its_header in ready for flows in _data(collector, key, late, its_header)]


def _data(collector: Collector, key: Key, body: bytes, header: _Header) -> list[Flows]:
    template = collector.templates.get(key)
    if template is None:
        collector.waiting.append((key, body, header))
        if len(collector.waiting) > MOST_WAITING:
            del collector.waiting[0]
            collector.lost += 1
        return []
    collector.templates.move_to_end(key)
    columns = _columns(template, body)
    n = len(next(iter(columns.values()))) if columns else 0
    boot = _number(columns, 160)
    if n and boot is not None and 21 not in columns:
        collector.boots[key[:2]] = int(min(boot[0], 1 << 42)) * 10**6
        if len(collector.boots) > MOST_TEMPLATES:
            collector.boots.popitem(last=False)
    if not n or not columns.keys() & {8, 27}:
        return []  # about the exporter, not about flows
    return [_flows(columns, n, replace(header, boot=header.boot or collector.boots.get(key[:2], 0)))]


def _columns(template: Template, body: bytes) -> dict[int, U8]:
    """The bytes [n, size] of each known element of all records in ``body``."""
    if template.length:
        n = len(body) // template.length
        rows = np.frombuffer(body, np.uint8, n * template.length).reshape(n, template.length)
        at, found = 0, {}
        for element, size in template.fields:
            found[element] = rows[:, at : at + size]
            at += size
        return found
    return _variable(template, body)


def _variable(template: Template, body: bytes) -> dict[int, U8]:
    """The same where lengths vary: record by record; of a field without a fixed length only its presence is known."""
    at, rows = 0, []
    while at < len(body):
        row = []
        for _, size in template.fields:
            if size == VARIABLE:
                if at >= len(body):
                    break
                size, at = body[at], at + 1
                if size == 255 and at + 2 <= len(body):
                    size, at = struct.unpack_from(">H", body, at)[0], at + 2
                row.append(b"")
            else:
                row.append(body[at : at + size])
            at += size
        if len(row) < len(template.fields) or at > len(body):
            break
        rows.append(row)
    fixed = [i for i, (_, size) in enumerate(template.fields) if size != VARIABLE]
    joined = {template.fields[i][0]: b"".join(row[i] for row in rows) for i in fixed}
    return {e: np.frombuffer(data, np.uint8).reshape(len(rows), -1) for e, data in joined.items() if data}


def _number(columns: Mapping[int, U8], *elements: int) -> I64 | None:
    """The first of ``elements`` that the records have, as whole numbers [n] (big-endian, 1 to 8 bytes)."""
    for element in elements:
        raw = columns.get(element)
        if raw is not None and 1 <= raw.shape[1] <= 8:
            wide = np.zeros((len(raw), 8), np.uint8)
            wide[:, 8 - raw.shape[1] :] = raw
            found: I64 = np.minimum(wide.view(">u8")[:, 0], np.uint64((1 << 62) - 1)).astype(np.int64)
            return found
    return None


def _address(columns: Mapping[int, U8], four: int, six: int, n: int) -> U64:
    found = np.zeros((n, 2), np.uint64)
    wide = columns.get(six)
    if wide is not None and wide.shape[1] == 16:
        found[:] = np.ascontiguousarray(wide).view(">u8")
    low = _number(columns, four)
    if low is not None:
        some = low > 0
        found[some] = np.column_stack([np.zeros(len(low), np.int64), low & 0xFFFFFFFF | MAPPED])[some]
    return found


def _time(columns: Mapping[int, U8], header: _Header, elements: tuple[int, ...]) -> I64 | None:
    """Start or end in ns; ``elements``: uptime, seconds, ms, us (NTP), ns (NTP), microseconds before the export."""
    uptime, seconds, milli, _, _, before = (_number(columns, element) for element in elements)
    boot = _number(columns, 160)
    if milli is not None:
        return np.asarray(np.minimum(milli, 1 << 42) * 10**6, np.int64)
    for element in elements[3:5]:
        ntp = columns.get(element)
        if ntp is not None and ntp.shape[1] == 8:
            halves = np.ascontiguousarray(ntp).view(">u4").astype(np.int64)
            since: I64 = (halves[:, 0] - _NTP) * 10**9 + (halves[:, 1] * 10**9 >> 32)
            return since
    if seconds is not None:
        return np.asarray(np.minimum(seconds, 1 << 32) * 10**9, np.int64)
    if before is not None:
        return np.asarray(header.now - np.minimum(before, 1 << 42) * 1000, np.int64)
    if uptime is None:
        return None
    zero = np.minimum(boot, 1 << 42) * 10**6 if boot is not None else header.boot
    found: I64 = zero + (uptime & 0xFFFFFFFF) * 10**6
    return found


def _flows(columns: Mapping[int, U8], n: int, header: _Header) -> Flows:
    def known(*elements: int) -> I64:
        found = _number(columns, *elements)
        return np.zeros(n, np.int64) if found is None else found

    end = _time(columns, header, (21, 151, 153, 155, 157, 159))
    start = _time(columns, header, (22, 150, 152, 154, 156, 158))
    end = np.full(n, header.now) if end is None else end
    start = end if start is None else np.minimum(start, end)
    if not header.boot and 160 not in columns and not columns.keys() & {151, 153, 155, 157, 159} and 21 in columns:
        start, end = (moment + header.now - end.max() for moment in (start, end))  # nobody said when uptime began
    protocol = known(4) & 0xFF
    icmp = (protocol == ICMP) | (protocol == ICMPV6)
    source_port, target_port = (np.where(icmp, 0, known(element) & 0xFFFF) for element in (7, 11))
    packets_in = known(_REVERSE | 2, _REVERSE | 86, 299, 24)
    flags_out, flags_in = known(6) & 0xFF, known(_REVERSE | 6) & 0xFF
    return blank(
        n,
        reported=np.full(n, header.now),
        start=start,
        end=end,
        source_mac=known(56) & (1 << 48) - 1,
        target_mac=known(80, 57) & (1 << 48) - 1,
        source=_address(columns, 8, 27, n),
        target=_address(columns, 12, 28, n),
        source_port=source_port,
        target_port=target_port,
        protocol=protocol,
        service=np.maximum(SERVICE_OF_PORT[source_port], SERVICE_OF_PORT[target_port]),
        packets_out=known(2, 86, 298),
        packets_in=packets_in,
        bytes_out=known(1, 85, 231),
        bytes_in=known(_REVERSE | 1, _REVERSE | 85, 232, 23),
        state=state_of(protocol, flags_out, flags_in, packets_in),
    )


def _version_5(data: bytes) -> Flows:
    count, uptime, seconds, nanos = struct.unpack_from(">HIII", data, 2)
    count = min(count, (len(data) - 24) // 48)
    header = _Header(5, seconds * 10**9 + min(nanos, 10**9), seconds * 10**9 - uptime * 10**6, 0)
    places = {
        8: (0, 4),
        12: (4, 4),
        2: (16, 4),
        1: (20, 4),
        22: (24, 4),
        21: (28, 4),
        7: (32, 2),
        11: (34, 2),
        6: (37, 1),
        4: (38, 1),
    }
    rows = np.frombuffer(data, np.uint8, count * 48, 24).reshape(count, 48)
    return _flows({element: rows[:, at : at + size] for element, (at, size) in places.items()}, count, header)
