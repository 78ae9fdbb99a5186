"""Generated packets against a reference decoder (dpkt), with checksums computed here once more, and TCP by its rules."""

from __future__ import annotations

import io
import struct
from collections import defaultdict

import dpkt
import numpy as np
import pytest

from wardround.drivers.sources.lab import frames as fr
from wardround.drivers.sources.lab.frames import Payloads, pcap_header, pcap_records
from wardround.drivers.sources.lab.recording import Plan, Recording, record
from wardround.drivers.sources.lab.stage import HOST, RST_SERVER, SEGMENT, Stage

PLAN = Plan(wards=1, unseen=1, sessions=1, minutes=8)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record(PLAN, 1, 3)


@pytest.fixture(scope="module")
def packets(recording: Recording) -> list[tuple[int, bytes]]:
    """(ns, frame) as the reference reads the file."""
    raw = pcap_header() + pcap_records(recording.frames, recording.payloads)
    return [(round(float(t) * 1e9), frame) for t, frame in dpkt.pcap.Reader(io.BytesIO(raw))]


def ones_complement(data: bytes) -> int:
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return int(total)


def test_the_reference_reads_every_packet_in_order_of_time(
    recording: Recording, packets: list[tuple[int, bytes]]
) -> None:
    assert len(packets) == len(recording.frames) > 5_000
    times = np.array([t for t, _ in packets])
    assert np.abs(times - recording.frames["time"]).max() < 1000  # dpkt's clock is a float
    assert (np.diff(recording.frames["time"]) >= 0).all()
    assert min(len(frame) for _, frame in packets) >= 60
    assert max(len(frame) for _, frame in packets) <= 1514


def test_every_checksum_is_right(packets: list[tuple[int, bytes]]) -> None:
    seen: dict[str, int] = defaultdict(int)
    for _, frame in packets[::7]:
        if frame[12:14] != b"\x08\x00":
            continue
        length = int.from_bytes(frame[16:18], "big")
        head, body, protocol = frame[14:34], frame[34 : 14 + length], frame[23]
        assert ones_complement(head) == 0xFFFF
        if protocol == 1:
            assert ones_complement(body) == 0xFFFF
        else:
            pseudo = frame[26:34] + struct.pack(">HH", protocol, len(body))
            assert ones_complement(pseudo + body) == 0xFFFF
        seen[str(protocol)] += 1
    assert set(seen) == {"1", "6", "17"}


def test_fields_arrive_as_meant(recording: Recording, packets: list[tuple[int, bytes]]) -> None:
    for row, (_, frame) in list(zip(recording.frames, packets, strict=True))[::11]:
        eth = dpkt.ethernet.Ethernet(frame)
        assert int.from_bytes(eth.src, "big") == row["smac"]
        if row["kind"] == fr.ARP:
            assert isinstance(eth.data, dpkt.arp.ARP)
            assert int.from_bytes(eth.data.spa, "big") == row["sip"]
            assert eth.data.op == row["flags"]
            continue
        ip = eth.data
        assert (int.from_bytes(ip.src, "big"), int.from_bytes(ip.dst, "big"), ip.ttl) == (
            row["sip"],
            row["dip"],
            row["ttl"],
        )
        if row["kind"] == fr.TCP:
            tcp = ip.data
            assert (tcp.sport, tcp.dport, tcp.flags, tcp.seq) == (row["sport"], row["dport"], row["flags"], row["seq"])
            text = recording.payloads.texts[row["payload"]][row["skip"] : row["skip"] + row["size"]]
            assert bytes(tcp.data) == (text if row["size"] else b"")
        elif row["kind"] == fr.UDP:
            assert (ip.data.sport, ip.data.dport, len(ip.data.data)) == (row["sport"], row["dport"], row["size"])


def test_tcp_numbers_follow_the_rules(recording: Recording) -> None:
    """Within every benign conversation: bytes in sequence (but for retransmissions), nothing acknowledged unsent."""
    frames = recording.frames
    tcp = frames[(frames["kind"] == fr.TCP) & (frames["label"] == 0) & (frames["incident"] == -1)]
    sent: dict[tuple[int, ...], int] = {}
    wrong = checked = retransmitted = 0
    for row in tcp:
        here = (int(row["sip"]), int(row["sport"]), int(row["dip"]), int(row["dport"]))
        there = (here[2], here[3], here[0], here[1])
        used = int(row["size"]) + bool(row["flags"] & (fr.SYN | fr.FIN))
        seq = int(row["seq"])
        if row["flags"] & fr.SYN or here not in sent:
            sent[here] = (seq + used) & 0xFFFFFFFF
            continue
        checked += 1
        if seq == sent[here]:
            sent[here] = (seq + used) & 0xFFFFFFFF
        elif (sent[here] - seq) & 0xFFFFFFFF < 1 << 30:
            retransmitted += 1
        else:
            wrong += 1
        if row["flags"] & fr.ACK and there in sent:
            wrong += (sent[there] - int(row["ack"])) & 0xFFFFFFFF > 1 << 30
    assert checked > 1000
    assert wrong == 0
    assert retransmitted < 0.02 * checked


def test_a_long_message_is_cut_acknowledged_and_put_together_again() -> None:
    hosts = np.zeros(2, HOST)
    hosts["mac"], hosts["ip"], hosts["ttl"], hosts["linux"], hosts["delay"] = (1, 2), (1, 2), 64, True, 1e-3
    payloads = Payloads()
    text = bytes(range(256)) * 40
    stage = Stage(hosts, payloads, 10**18, np.random.default_rng(0))
    link = stage.connect(0, 1, 80, [1.0], [5.0], ending=RST_SERVER)
    stage.say(link, [2.0], [True], payloads.add(text))
    frames = stage.finish()
    data = frames[frames["size"] > 0]
    assert len(data) == -(-len(text) // SEGMENT)
    assert b"".join(text[r["skip"] : r["skip"] + r["size"]] for r in data) == text
    assert frames["flags"].tolist()[:3] == [fr.SYN, fr.SYN | fr.ACK, fr.ACK]
    assert frames["flags"][-1] == fr.RST | fr.ACK
    bare = frames[(frames["size"] == 0) & (frames["flags"] == fr.ACK) & (frames["sip"] == 2)]
    assert len(bare) == -(-len(data) // 2)
    assert int(bare["ack"][-1]) == (int(data["seq"][0]) + len(text)) & 0xFFFFFFFF


def test_the_pool_keeps_a_payload_once() -> None:
    payloads = Payloads()
    assert [payloads.add(t) for t in (b"a", b"bb", b"a")] == [0, 1, 0]
    assert payloads.sizes().tolist() == [1, 2]
