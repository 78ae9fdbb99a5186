"""Fuzz target: captures, sensor logs and NetFlow datagrams all the way to feature rows; anything but our own errors is a finding.

    python fuzz/captures.py [seconds]     mutates small valid inputs with a seeded generator
    python fuzz/captures.py --atheris [libFuzzer options]     coverage-guided, where atheris is installed

The first byte of an input chooses the door: pcap or pcapng, EVE, Zeek, NetFlow.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import time

import numpy as np

from wardround.drivers.sources.capturefile import Losses, blocks
from wardround.drivers.sources.eve import EveReader
from wardround.drivers.sources.zeek import ZeekReader
from wardround.errors import DataError, DecodeError
from wardround.traffic.ciciomt import CicFeatures
from wardround.traffic.decode import decode
from wardround.traffic.flow import FlowFeatures
from wardround.traffic.flow_of_packets import FlowsOfPackets
from wardround.traffic.flows import Flows
from wardround.traffic.netflow import Collector
from wardround.traffic.netflow import decode as decode_netflow
from wardround.traffic.pairing import Pairing
from wardround.traffic.pkt import PacketFeatures

ZEEK = b"#fields\tts\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tduration\torig_pkts\tresp_pkts\tconn_state\n"


def one_input(data: bytes) -> None:
    """Every batch must go through every extractor, and rows must be finite or missing."""
    door, rest = data[:1], data[1:]
    if door == b"e":
        _flows(EveReader().read(rest.split(b"\n")))
    elif door == b"z":
        _flows(ZeekReader().read(rest.split(b"\n")))
    elif door == b"n":
        _netflow(rest)
    else:
        _packets(rest)


def _packets(data: bytes) -> None:
    extractors = (PacketFeatures(), CicFeatures(10, 2), CicFeatures(10, 0, "link"), FlowsOfPackets())
    states = [extractor.init() for extractor in extractors]
    try:
        for frames in blocks(io.BytesIO(data), Losses()):
            packets = decode(frames)
            for i, extractor in enumerate(extractors):
                states[i], windows = extractor.update(states[i], packets)  # type: ignore[attr-defined]
                assert not np.isinf(windows.x).any()
    except DataError:
        return
    for extractor, state in zip(extractors, states, strict=True):
        extractor.flush(state)  # type: ignore[attr-defined]


def _flows(flows: Flows) -> None:
    extractor = FlowFeatures()
    state, windows = extractor.update(extractor.init(), flows)
    assert not np.isinf(windows.x).any()
    extractor.flush(state)


def _netflow(data: bytes) -> None:
    collector, pairing = Collector(), Pairing()
    for datagram in data.split(b"<cut>"):
        try:
            flows = decode_netflow(collector, datagram, "x")
        except DecodeError:
            continue
        _flows(pairing.update(flows, 1_700_000_000 * 10**9))
    _flows(pairing.flush(1_700_000_001 * 10**9))


def samples() -> list[bytes]:
    """Small valid inputs."""
    ip = struct.pack(">BBHHHBBHII", 0x45, 0, 60, 1, 0, 64, 6, 0, 0x0A000001, 0x0A000002)
    tcp = struct.pack(">HHIIBBHHH", 40000, 1883, 1, 1, 0x50, 2, 9, 0, 0)
    frame = bytes(12) + b"\x08\x00" + ip + tcp + b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00"
    arp = b"\xff" * 6 + bytes(6) + b"\x08\x06" + struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + bytes(20)
    records = b"".join(
        struct.pack("<IIII", 1_700_000_000 + i, 5, len(f), len(f)) + f for i, f in enumerate((frame, arp, frame))
    )
    pcap = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + records
    padded = frame + bytes(-len(frame) % 4)
    face, size = struct.pack("<IIHHII", 1, 20, 1, 0, 0, 20), 32 + len(padded)
    enhanced = struct.pack("<IIIIIII", 6, size, 0, 1, 2, len(frame), len(frame)) + padded + struct.pack("<I", size)
    pcapng = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28) + face + enhanced
    moment = "2026-01-01T00:00:00.000000+0000"
    flow = {
        "pkts_toserver": 1,
        "pkts_toclient": 1,
        "bytes_toserver": 60,
        "bytes_toclient": 60,
        "start": moment,
        "end": moment,
    }
    eve = {
        "timestamp": moment,
        "event_type": "flow",
        "src_ip": "10.0.0.1",
        "dest_ip": "10.0.0.2",
        "proto": "TCP",
        "flow": flow,
    }
    zeek = ZEEK + b"1700000000.5\t10.0.0.1\t1\t10.0.0.2\t80\ttcp\t1.5\t3\t4\tSF\n"
    fields = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (2, 4), (21, 4), (22, 4))
    template = struct.pack(">HHHH", 0, 8 + 4 * len(fields), 300, len(fields)) + b"".join(
        struct.pack(">HH", *f) for f in fields
    )
    data = struct.pack(">HH", 300, 29) + struct.pack(">IIHHBIII", 0x0A000001, 0x0A000002, 1, 80, 6, 3, 900, 800)
    version_9 = struct.pack(">HHIIII", 9, 2, 1000, 1_700_000_000, 1, 1) + template + data
    return [
        b"p" + pcap,
        b"p" + pcapng,
        b"e" + json.dumps(eve).encode(),
        b"z" + zeek,
        b"n" + version_9 + b"<cut>" + version_9,
    ]


def main(seconds: float) -> None:
    rng, seeds, done, end = np.random.default_rng(1), samples(), 0, time.monotonic() + seconds
    for seed in seeds:
        one_input(seed)
    while time.monotonic() < end:
        data = bytearray(seeds[rng.integers(len(seeds))])
        for _ in range(rng.integers(1, 8)):
            data[rng.integers(1, len(data))] = rng.integers(256)
        one_input(bytes(data[: rng.integers(1, len(data) + 1)] if rng.integers(3) == 0 else data))
        done += 1
    print(f"{done} inputs, nothing found")


if __name__ == "__main__":
    if "--atheris" in sys.argv:
        import atheris

        sys.argv.remove("--atheris")
        atheris.Setup(sys.argv, one_input)
        atheris.Fuzz()
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
