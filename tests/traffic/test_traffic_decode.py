"""The vectorised decoder: frames made by hand, dpkt as reference, and any bytes at all."""

import struct

import dpkt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_bytes import MACS, arp, ethernet, frames, ipv4, ipv6, tcp, udp  # type: ignore[import-not-found]

from wardround.traffic import packets as p
from wardround.traffic.decode import Frames, decode, malformed


def one(frame: bytes, link: int = 1, captured: int | None = None) -> dict[str, object]:
    found = decode(frames([frame], link, None if captured is None else [captured]))
    return {name: getattr(found, name)[0].tolist() for name in p.COLUMNS}


def test_tcp_over_ipv4() -> None:
    row = one(ethernet(ipv4(tcp(b"12345", 50000, 443, p.SYN | p.ECE, words=8), options=bytes(8), ttl=17)))
    wanted = {
        "ethertype": p.IPV4,
        "version": 4,
        "protocol": 6,
        "ttl": 17,
        "source_port": 50000,
        "target_port": 443,
        "flags": p.SYN | p.ECE,
        "header": 32,
        "payload": 5,
        "vlan": -1,
        "fragment": 0,
    }
    assert {name: row[name] for name in wanted} == wanted
    assert (row["source_mac"], row["target_mac"]) == (MACS[0], MACS[1])
    assert p.address_text(*row["source"]) == "10.0.0.1"  # type: ignore[misc]


def test_tags_and_padding() -> None:
    row = one(ethernet(ipv4(udp(b"abc"), 17), tags=(7, 9)) + bytes(11))
    assert (row["vlan"], row["payload"], row["target_port"]) == (7, 3, 53)


def test_ipv6_with_extension_headers_and_fragments() -> None:
    hop, routing = bytes([43, 0, 0, 0, 0, 0, 0, 0]), bytes([44, 1]) + bytes(14)
    first, later = struct.pack(">BBHI", 17, 0, 1, 5), struct.pack(">BBHI", 17, 0, 8 << 3 | 1, 5)
    row = one(ethernet(ipv6(hop + routing + first + udp(b"abcd"), 0), 0x86DD))
    assert (row["protocol"], row["fragment"], row["target_port"], row["payload"], row["ttl"]) == (17, 1, 53, 4, 61)
    row = one(ethernet(ipv6(hop + routing + later + udp(b"abcd"), 0), 0x86DD))
    assert (row["protocol"], row["fragment"], row["target_port"]) == (17, 2, 0)


def test_later_fragments_of_ipv4_have_no_ports() -> None:
    assert [one(ethernet(ipv4(tcp(), fragment=f)))["fragment"] for f in (0x4000, 0x2000, 0x2005, 5)] == [0, 1, 2, 2]
    assert one(ethernet(ipv4(tcp(), fragment=5)))["target_port"] == 0


def test_arp_is_seen() -> None:
    row = one(ethernet(arp(2, MACS[2]), p.ARP))
    assert (row["arp"], row["arp_mac"], row["version"]) == (2, MACS[2], 0)
    assert p.address_text(*row["source"]) == "10.0.0.1"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("link", "head"),
    [(0, struct.pack("<I", 2)), (0, struct.pack(">I", 2)), (108, struct.pack(">I", 2)), (101, b""), (12, b""), (228, b""), (113, struct.pack(">HHH6sHH", 0, 1, 6, b"\2\0\0\0\0\1", 0, 0x0800)), (276, struct.pack(">HHIHBB6sH", 0x0800, 0, 2, 1, 0, 6, b"\2\0\0\0\0\1", 0))],
)  # fmt: skip
def test_link_types(link: int, head: bytes) -> None:
    row = one(head + ipv4(udp(b"abc"), 17), link)
    assert (row["version"], row["target_port"], row["payload"]) == (4, 53, 3)
    assert row["source_mac"] == (MACS[0] if link in (113, 276) else 0)


def test_other_link_types_keep_time_and_size_only() -> None:
    row = one(ethernet(ipv4(tcp())), 195)
    assert (row["wire"], row["ethertype"], row["source_mac"]) == (54, 0, 0)


def test_a_batch_may_mix_link_types() -> None:
    batch = frames([ethernet(ipv4(tcp())), ipv4(udp(), 17), ethernet(arp(), p.ARP)])
    found = decode(
        Frames(batch.data, batch.time, batch.offset, batch.captured, batch.wire, np.array([1, 101, 1], np.int32))
    )
    assert (found.protocol.tolist(), found.arp.tolist(), found.time.tolist()) == (
        [6, 17, 0],
        [0, 0, 1],
        batch.time.tolist(),
    )


@pytest.mark.parametrize("captured", range(55))
def test_what_was_not_captured_is_not_believed(captured: int) -> None:
    frame = ethernet(ipv4(tcp(b"\x10\x0c\x00\x04MQTT")))
    row = one(frame, captured=captured)
    assert row["wire"] == len(frame)
    assert row["source_mac"] == (MACS[0] if captured >= 14 else 0)
    assert row["version"] == (4 if captured >= 34 else 0)
    assert row["target_port"] == (1883 if captured >= 54 else 0)
    assert row["payload"] == (0 if captured < 34 else 8 if captured >= 54 else 28), "by the IP header's length"


def test_headers_that_lie_are_malformed() -> None:
    bad = [b"\x41" + ipv4(tcp())[1:], b"\x65" + ipv4(tcp())[1:], b"\x4f" + ipv4(tcp())[1:][:24]]
    found = decode(frames([ethernet(b) for b in bad] + [ethernet(b"\x45", p.ARP), ethernet(ipv4(tcp()))]))
    assert found.version.tolist() == [0, 0, 0, 0, 4]
    assert malformed(found) == 4


MQTT, HL7 = {"target": 1883}, {"target": 2575}
MSH = b"\x0bMSH|^~\\&|LAB|WARD|EHR|HOSP|20260101||"


@pytest.mark.parametrize(
    ("segment", "kind"),
    [
        (tcp(b"\x10\x0c\x00\x04MQTT\x05", **MQTT), "mqtt connect"), (tcp(b"\x10\x0e\x00\x06MQIsdp\x03", **MQTT), "mqtt connect"), (tcp(b"\x20\x02\x00\x00", source=1883), "mqtt connack"),
        (tcp(b"\x32\x80\x01topic", **MQTT), "mqtt publish"), (tcp(b"\x36\x05topic", **MQTT), "mqtt unframed"), (tcp(b"\x82\x05abc", **MQTT), "mqtt subscribe"), (tcp(b"\xc0\x00", **MQTT), "mqtt ping"),
        (tcp(b"\xe0\x00", **MQTT), "mqtt disconnect"), (tcp(b"\x40\x02ab", **MQTT), "mqtt other"), (tcp(b"\x00\x00", **MQTT), "mqtt unframed"), (tcp(b"\x30\xff\xff\xff\xff\x01", **MQTT), "mqtt unframed"),
        (tcp(MSH + b"ORU^R01|1|P|2.5\r", **HL7), "hl7 message"), (tcp(MSH + b"ACK^R01|1|P|2.5\r", source=2575), "hl7 ack"), (tcp(MSH + b"ORU^R01|1|P|2.5\r", target=6661), "hl7 message"), (tcp(b"more of it", **HL7), "hl7 unframed"), (tcp(b"\x0bnot HL7 at all", target=6661), ""),
        (tcp(b"\x01\x00\x00\x00\x00\xcd" + bytes(80), target=104), "dicom associate"), (tcp(b"\x04\x00\x00\x00\x40\x00" + bytes(80), target=11112), "dicom data"), (tcp(b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00", target=104), "dicom release"),
        (tcp(b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00", source=104), "dicom abort"), (tcp(b"\xff" * 50, target=104), "dicom unframed"),
        (tcp(bytes.fromhex("000100000006010300000001"), target=502), "modbus read"), (tcp(bytes.fromhex("000100000006010600000001"), target=502), "modbus write"), (tcp(bytes.fromhex("000100000003018302"), source=502), "modbus exception"),
        (tcp(bytes.fromhex("0001000000050108000000"), target=502), "modbus other"), (tcp(b"GET / HTTP/1.1", target=502), "modbus unframed"), (tcp(b"", **MQTT), ""), (tcp(b"\x10\x0c", target=80), ""),
    ],
)  # fmt: skip
def test_messages_over_tcp(segment: bytes, kind: str) -> None:
    assert p.MESSAGES[one(ethernet(ipv4(segment)))["message"]] == kind  # type: ignore[call-overload]


@pytest.mark.parametrize(("datagram", "kind"), [(b"\x40\x01\x00\x01", "coap request"), (b"\x62\x45\x00\x01ab\xff1", "coap response"), (b"\x40\x00\x00\x01", "coap empty"), (b"\x80\x01\x00\x01", "coap unframed"), (b"\x4f\x01", "coap unframed")])  # fmt: skip
def test_messages_over_udp(datagram: bytes, kind: str) -> None:
    assert p.MESSAGES[one(ethernet(ipv4(udp(datagram, target=5683), 17)))["message"]] == kind  # type: ignore[call-overload]


PIECES = st.one_of(
    st.binary(max_size=80),
    st.builds(
        lambda b, o, f: ethernet(ipv4(tcp(b, flags=f), options=bytes(4 * o))),
        st.binary(max_size=30),
        st.integers(0, 10),
        st.integers(0, 255),
    ),
    st.builds(
        lambda b, port: ethernet(ipv4(udp(b, target=port), 17)),
        st.binary(max_size=30),
        st.sampled_from([53, 5683, 443]),
    ),
    st.builds(lambda b: ethernet(ipv6(tcp(b)), 0x86DD), st.binary(max_size=30)),
    st.builds(
        lambda b, t: ethernet(b, 0x0800, tags=t), st.binary(max_size=60), st.lists(st.integers(0, 4095), max_size=6)
    ),
    st.builds(lambda o: ethernet(arp(o), p.ARP), st.integers(0, 65535)),
)


@settings(deadline=None, max_examples=120)
@given(st.lists(PIECES, min_size=1, max_size=6), st.sampled_from([0, 1, 12, 101, 113, 228, 276, 999]), st.data())
def test_any_bytes_decode(pieces: list[bytes], link: int, data: st.DataObject) -> None:
    captured = [data.draw(st.integers(0, len(piece))) for piece in pieces]
    found = decode(frames(pieces, link, captured))
    assert len(found) == len(pieces)
    assert found.wire.tolist() == [len(piece) for piece in pieces]
    assert (found.payload >= 0).all()
    assert (found.payload <= found.wire).all()
    assert (found.message < len(p.MESSAGES)).all()


@settings(deadline=None, max_examples=100)
@given(st.lists(PIECES, min_size=1, max_size=6))
def test_dpkt_reads_the_same(pieces: list[bytes]) -> None:
    found = decode(frames(pieces))
    for i, piece in enumerate(pieces):
        try:
            packet = dpkt.ethernet.Ethernet(piece)
        except (dpkt.UnpackError, IndexError, struct.error):
            continue
        ip = packet.data
        if (
            not isinstance(ip, dpkt.ip.IP | dpkt.ip6.IP6)
            or found.fragment[i] == 2
            or getattr(ip, "hl", 5) < 5
            or ip.v not in (4, 6)
        ):
            continue
        if isinstance(ip, dpkt.ip.IP) and 20 + len(ip.opts) < 4 * ip.hl:
            continue  # options that were not captured whole: dpkt takes the header, we do not
        if isinstance(ip, dpkt.ip.IP):
            assert (found.version[i], found.protocol[i], found.ttl[i]) == (4, ip.p, ip.ttl)
            assert p.address_text(*found.target[i].tolist()) == ".".join(map(str, ip.dst))
        segment = ip.data
        if isinstance(segment, dpkt.tcp.TCP | dpkt.udp.UDP):
            assert (found.source_port[i], found.target_port[i]) == (segment.sport, segment.dport)
        if isinstance(segment, dpkt.tcp.TCP):
            assert found.flags[i] == segment.flags & 0xFF
            if segment.off >= 5:
                assert found.header[i] == 4 * segment.off
