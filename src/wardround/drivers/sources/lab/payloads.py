"""Application payloads as bytes: MQTT 3.1.1, HL7 v2 over MLLP, Modbus/TCP, DICOM upper layer, CoAP, HTTP, TLS, DNS, NTP.

Well formed, so that any parser reads them, unless the name says ``broken``. Values are made up; names of patients do
not occur. What it does not do: decide when something is sent.
"""

from __future__ import annotations

import struct

# MQTT 3.1.1 (OASIS, 2014): fixed header, remaining length as a base-128 number


def mqtt(kind: int, flags: int, body: bytes) -> bytes:
    """One MQTT control packet."""
    length, rest = b"", len(body)
    while True:
        rest, low = divmod(rest, 128)
        length += bytes([low | (128 if rest else 0)])
        if not rest:
            return bytes([kind << 4 | flags]) + length + body


def mqtt_connect(client: str, keepalive: int = 60) -> bytes:
    """CONNECT with a clean session."""
    return mqtt(1, 0, b"\0\4MQTT\4\2" + struct.pack(">H", keepalive) + _text(client))


def mqtt_publish(topic: str, value: bytes, qos: int = 0, number: int = 1) -> bytes:
    """PUBLISH; QoS 1 carries a packet number."""
    return mqtt(3, qos << 1, _text(topic) + (struct.pack(">H", number) if qos else b"") + value)


def mqtt_subscribe(topic: str) -> bytes:
    """SUBSCRIBE to one topic at QoS 0."""
    return mqtt(8, 2, b"\0\1" + _text(topic) + b"\0")


def mqtt_puback(number: int = 1) -> bytes:
    """PUBACK."""
    return mqtt(4, 0, struct.pack(">H", number))


CONNACK = bytes((0x20, 2, 0, 0))
SUBACK = bytes((0x90, 3, 0, 1, 0))
PINGREQ, PINGRESP, DISCONNECT = bytes((0xC0, 0)), bytes((0xD0, 0)), bytes((0xE0, 0))


def mqtt_broken(variant: int, noise: bytes) -> bytes:
    """Packets that a broker must refuse: reserved kinds and flags, false lengths, texts that run over."""
    kinds = (
        bytes((0xF0, min(len(noise), 127))) + noise[:127],
        b"\x10\xff\xff\xff\xff" + noise[:40],
        b"\x36" + bytes([min(len(noise), 90) + 2]) + b"\x00\xff" + noise[:90],
        b"\x10\x0c\0\6MQIsdp\3\2" + noise[:4],
        b"\x82\x05\0\1\0\x40" + noise[:1],
        b"\x00\x08" + noise[:8],
    )
    return kinds[variant % len(kinds)]


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">H", len(raw)) + raw


# HL7 v2.5 in MLLP blocks


def hl7_result(number: int, bed: str, observations: list[tuple[str, float]]) -> bytes:
    """ORU^R01: vital signs of a bed."""
    lines = [f"MSH|^~\\&|MON|{bed}|EMR|LAB|20261127||ORU^R01|{number}|P|2.5", f"PID|1||BED{bed}", "OBR|1|||VITALS"]
    lines += [f"OBX|{i}|NM|{name}||{value:.1f}|||||F" for i, (name, value) in enumerate(observations, 1)]
    return b"\x0b" + ("\r".join(lines) + "\r").encode() + b"\x1c\r"


def hl7_ack(number: int) -> bytes:
    """ACK with MSA|AA."""
    return b"\x0b" + f"MSH|^~\\&|EMR|LAB|MON|W|20261127||ACK^R01|{number}|P|2.5\rMSA|AA|{number}\r".encode() + b"\x1c\r"


# Modbus/TCP: MBAP header, function 3 (read holding registers)


def modbus_read(number: int, unit: int, first: int, registers: int) -> bytes:
    """A request of ``registers`` holding registers."""
    return struct.pack(">HHHBBHH", number, 0, 6, unit, 3, first, registers)


def modbus_values(number: int, unit: int, values: bytes) -> bytes:
    """Its answer; ``values``: two bytes a register."""
    return struct.pack(">HHHBBB", number, 0, 3 + len(values), unit, 3, len(values)) + values


# DICOM upper layer (PS3.8)


def dicom_associate(accept: bool, called: str, calling: str, contexts: int) -> bytes:
    """A-ASSOCIATE-RQ or -AC with ``contexts`` presentation contexts of CT image storage."""
    name = _item(0x10, b"1.2.840.10008.3.1.1.1")
    syntax = _item(0x40, b"1.2.840.10008.1.2")
    body = name
    for i in range(contexts):
        odd = bytes((2 * i + 1, 0, 0, 0))
        inner = syntax if accept else _item(0x30, b"1.2.840.10008.5.1.4.1.1.2") + syntax
        body += _item(0x21 if accept else 0x20, odd + inner)
    body += _item(0x50, _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"1.2.276.0.7230010.3"))
    head = struct.pack(">HH", 1, 0) + called.ljust(16).encode() + calling.ljust(16).encode() + bytes(32)
    return _pdu(2 if accept else 1, head + body)


def dicom_data(context: int, command: bool, last: bool, content: bytes) -> bytes:
    """P-DATA-TF with one presentation data value."""
    flags = (1 if command else 0) | (2 if last else 0)
    return _pdu(4, struct.pack(">IBB", len(content) + 2, context, flags) + content)


def dicom_release(answer: bool) -> bytes:
    """A-RELEASE-RQ or -RP."""
    return _pdu(6 if answer else 5, bytes(4))


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(body)) + body


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


# CoAP (RFC 7252)


def coap(kind: int, code: int, number: int, token: bytes, *, path: str = "", content: bytes = b"") -> bytes:
    """A message; ``kind``: 0 confirmable, 1 not, 2 acknowledgement; ``code``: class * 32 + detail."""
    head = struct.pack(">BBH", 0x40 | kind << 4 | len(token), code, number) + token
    options, before = b"", 0
    for part in filter(None, path.split("/")):
        options += bytes([(11 - before) << 4 | len(part)]) + part.encode()
        before = 11
    return head + options + (b"\xff" + content if content else b"")


# the web


def http_request(method: str, path: str, host: str, agent: str, body: bytes = b"") -> bytes:
    """An HTTP/1.1 request."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n{length}\r\n".encode()
        + body
    )


def http_answer(status: str, body: bytes, kind: str = "application/json") -> bytes:
    """An HTTP/1.1 answer."""
    head = f"HTTP/1.1 {status}\r\nServer: device\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def tls(kind: int, content: bytes) -> bytes:
    """TLS records (22 handshake, 23 application data) of at most 16 kB."""
    pieces = [content[i : i + 16000] for i in range(0, len(content), 16000)]
    return b"".join(struct.pack(">BHH", kind, 0x0303, len(piece)) + piece for piece in pieces)


# services


def dns_query(number: int, name: str) -> bytes:
    """A question for an address."""
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + _labels(name) + struct.pack(">HH", 1, 1)


def dns_answer(number: int, name: str, address: int) -> bytes:
    """Its answer with one address."""
    question = _labels(name) + struct.pack(">HH", 1, 1)
    answer = struct.pack(">HHHIHI", 0xC00C, 1, 1, 300, 4, address)
    return struct.pack(">HHHHHH", number, 0x8180, 1, 1, 0, 0) + question + answer


def mdns(name: str, address: int) -> bytes:
    """An announcement of an address (RFC 6762)."""
    answer = _labels(f"{name}.local") + struct.pack(">HHIHI", 1, 0x8001, 120, 4, address)
    return struct.pack(">HHHHHH", 0, 0x8400, 0, 1, 0, 0) + answer


def _labels(name: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def ntp(server: bool, second: int) -> bytes:
    """NTP version 4, 48 bytes."""
    stamp = struct.pack(">II", (second + 2_208_988_800) & 0xFFFFFFFF, 0x40000000)
    return struct.pack(">BBbb", 0x24 if server else 0x23, 2, 6, -20) + bytes(12) + stamp * 4


def dhcp(answer: bool, mac: int, address: int) -> bytes:
    """BOOTP with DHCP REQUEST or ACK."""
    head = struct.pack(">BBBBIHHIIII", 2 if answer else 1, 1, 6, 0, mac & 0xFFFFFFFF, 0, 0, 0, address, 0, 0)
    options = b"\x63\x82\x53\x63\x35\x01" + (b"\x05" if answer else b"\x03") + b"\x32\x04" + struct.pack(">I", address)
    return head + mac.to_bytes(6, "big") + bytes(202) + options + b"\xff" + bytes(20)
