"""What a segment's first bytes say: which message of MQTT, HL7, DICOM, CoAP or Modbus it begins with.

A protocol is told by the server's port (HL7 also by its frame); its first bytes name the message, then they are
forgotten. Nothing of a payload is kept: the result is one code of ``packets.MESSAGES`` for a packet.

MQTT 3.1.1 and 5.0 section 2.1; MLLP (HL7 v2 transport) and MSH-9; DICOM PS3.8 section 9.3; CoAP RFC 7252 section 3;
Modbus messaging on TCP/IP 1.0b section 3.1.
Law: any bytes get a code. What it does not do: join segments, look past a segment's first message, decrypt.
"""

from __future__ import annotations

import numpy as np

from wardround.arrays import I64, U8, Array, Bool
from wardround.traffic.packets import MESSAGE, TCP, UDP, Packets

MQTT_PORTS, HL7_PORTS, DICOM_PORTS, COAP_PORTS, MODBUS_PORTS = (1883,), (2575,), (104, 11112), (5683,), (502,)
_PREFIX = 16
_MSH_PREFIX = 160
_MQTT, _HL7, _DICOM, _COAP, _MODBUS = range(1, 6)


def _numbered(protocol: int, *ports: int) -> U8:
    table = np.zeros(65536, np.uint8)
    table[list(ports)] = protocol
    return table


_TCP_PORTS: U8 = (
    _numbered(_MQTT, *MQTT_PORTS)
    + _numbered(_HL7, *HL7_PORTS)
    + _numbered(_DICOM, *DICOM_PORTS)
    + _numbered(_MODBUS, *MODBUS_PORTS)
)
_UDP_PORTS: U8 = _numbered(_COAP, *COAP_PORTS)


def classify(data: U8, packets: Packets, index: I64, at: I64, length: I64) -> None:
    """Set ``message`` of the packets ``index``, whose payload's first ``length`` captured bytes lie at ``at``."""
    tcp = packets.protocol[index] == TCP
    source, target = packets.source_port[index], packets.target_port[index]
    protocol = np.where(tcp, np.maximum(_TCP_PORTS[source], _TCP_PORTS[target]), 0)
    udp = packets.protocol[index] == UDP
    protocol = np.where(udp, np.maximum(_UDP_PORTS[source], _UDP_PORTS[target]), protocol)
    # HL7 has no port of its own in practice: a vertical tab begins its frame on any
    protocol = np.where((protocol == 0) & tcp & (data[at] == 0x0B) & (length >= 9), _HL7, protocol)
    for number, name in ((_MQTT, _mqtt), (_HL7, _hl7), (_DICOM, _dicom), (_COAP, _coap), (_MODBUS, _modbus)):
        part = np.flatnonzero(protocol == number)
        if len(part):
            width = _MSH_PREFIX if number == _HL7 else _PREFIX
            codes = name(_prefix(data, at[part], length[part], width), length[part])
            packets.message[index[part]] = codes
    stray = (packets.message[index] == MESSAGE["hl7 unframed"]) & ~(
        np.isin(source, HL7_PORTS) | np.isin(target, HL7_PORTS)
    )
    packets.message[index[stray]] = 0


def _prefix(data: U8, at: I64, length: I64, width: int) -> U8:
    """The first ``width`` bytes [n, width] of each payload, zero behind its end."""
    overlapping: Array = np.ndarray((len(data) - width + 1,), dtype=f"V{width}", buffer=data, strides=(1,))
    rows: U8 = overlapping[at].view(np.uint8).reshape(len(at), width)
    rows[np.arange(width) >= length[:, None]] = 0
    return rows


def _codes(n: int, protocol: str, *kinds: tuple[str, Bool]) -> U8:
    """The first kind that holds for each of ``n`` segments, else ``unframed``."""
    codes = [MESSAGE[f"{protocol} {kind}"] for kind, _ in kinds]
    found = np.select([holds for _, holds in kinds], codes, MESSAGE[f"{protocol} unframed"])
    return found.astype(np.uint8) if n else np.empty(0, np.uint8)


def _mqtt(b: U8, length: I64) -> U8:
    kind, flags = b[:, 0] >> 4, b[:, 0] & 15
    more = b[:, 1:5] >= 0x80
    varint = ~more.all(1)  # the remaining length takes at most four bytes
    size = 1 + np.argmin(more, axis=1)
    name = np.take_along_axis(b, (1 + size)[:, None] + np.arange(4), axis=1)
    connects = (name[:, 0] == 0) & np.isin(name[:, 1], (4, 6)) & (name[:, 2] == ord("M")) & (name[:, 3] == ord("Q"))
    wanted = np.select([np.isin(kind, (6, 8, 10))], [2], 0)
    framed = varint & (length >= 2) & np.where(kind == 3, (flags & 6) != 6, flags == wanted)
    return _codes(
        len(b),
        "mqtt",
        ("connect", framed & (kind == 1) & connects),
        ("connack", framed & (kind == 2)),
        ("publish", framed & (kind == 3)),
        ("subscribe", framed & np.isin(kind, (8, 9, 10, 11))),
        ("ping", framed & np.isin(kind, (12, 13)) & (b[:, 1] == 0)),
        ("disconnect", framed & (kind == 14)),
        ("other", framed & np.isin(kind, (4, 5, 6, 7, 15))),
    )


def _hl7(b: U8, length: I64) -> U8:
    framed = (b[:, 0] == 0x0B) & (b[:, 1] == ord("M")) & (b[:, 2] == ord("S")) & (b[:, 3] == ord("H")) & (length >= 9)
    bars = np.cumsum(b[:, 4:] == b[:, 4:5], axis=1)
    ninth = 5 + np.argmax(bars == 8, axis=1)  # MSH-1 is the separator itself, so MSH-9 follows the eighth
    kind = np.take_along_axis(b, np.minimum(ninth[:, None] + np.arange(3), b.shape[1] - 1), axis=1)
    ack = (kind == np.frombuffer(b"ACK", np.uint8)).all(1) & (bars[:, -1] >= 8)
    return _codes(len(b), "hl7", ("ack", framed & ack), ("message", framed))


def _dicom(b: U8, length: I64) -> U8:
    kind = b[:, 0]
    size = b[:, 2:6].copy().view(">u4")[:, 0]
    framed = (b[:, 1] == 0) & (length >= 6) & (size >= 4) & (size < 1 << 28)
    return _codes(
        len(b),
        "dicom",
        ("associate", framed & np.isin(kind, (1, 2, 3))),
        ("data", framed & (kind == 4)),
        ("release", framed & np.isin(kind, (5, 6)) & (size == 4)),
        ("abort", framed & (kind == 7) & (size == 4)),
    )


def _coap(b: U8, length: I64) -> U8:
    token, code = b[:, 0] & 15, b[:, 1]
    framed = (b[:, 0] >> 6 == 1) & (token <= 8) & (length >= 4 + token)
    return _codes(
        len(b),
        "coap",
        ("empty", framed & (code == 0) & (token == 0) & (length == 4)),
        ("request", framed & (code > 0) & (code < 32)),
        ("response", framed & np.isin(code >> 5, (2, 4, 5))),
    )


def _modbus(b: U8, length: I64) -> U8:
    function, size = b[:, 7], b[:, 4:6].copy().view(">u2")[:, 0]
    framed = (b[:, 2] == 0) & (b[:, 3] == 0) & (size >= 2) & (size <= 254) & (length >= 8)
    return _codes(
        len(b),
        "modbus",
        ("exception", framed & (function >= 0x80)),
        ("read", framed & np.isin(function, (1, 2, 3, 4, 20, 24))),
        ("write", framed & np.isin(function, (5, 6, 15, 16, 21, 22, 23))),
        ("other", framed & (function > 0)),
    )
