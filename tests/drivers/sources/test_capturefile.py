"""pcap and pcapng: every form a capture comes in, damage, and any bytes at all; bounded memory; the live ring."""

import gzip
import io
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import dpkt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "traffic"))
from packet_bytes import arp, ethernet, ipv4, pcap, tcp, udp  # type: ignore[import-not-found]

from wardround.drivers.sources import feeds
from wardround.drivers.sources.capturefile import Losses, blocks
from wardround.drivers.sources.ring import RingSettings, offloads, open_ring
from wardround.errors import DataError, UsageError
from wardround.traffic import packets as p
from wardround.traffic.decode import decode
from wardround.traffic.pkt import PacketFeatures

SHARED = Path(os.environ.get("WARDROUND_DATA", Path(__file__).parents[4] / "shared/data"))
SMALL = [ethernet(ipv4(tcp(bytes(i)))) for i in range(5)]
BEGAN = 1_700_000_000 * 10**9


def read(data: bytes, losses: Losses | None = None) -> p.Packets:
    return p.concat([decode(frames) for frames in blocks(io.BytesIO(data), losses or Losses())])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
def test_pcap_in_both_orders_and_resolutions(order: str, magic: int) -> None:
    found = read(pcap(SMALL, order, magic, step=1_000_001))
    assert found.time.tolist() == [BEGAN + i * 1_000_001_000 for i in range(5)]
    assert found.payload.tolist() == list(range(5))


def test_the_longer_record_header() -> None:
    plain = pcap(SMALL[:1], magic=0xA1B2CD34)
    assert read(plain[:40] + bytes(8) + plain[40:]).payload.tolist() == [0]


def option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = 1, options: bytes = b"", order: str = "<", snap: int = 0) -> bytes:
    return block(1, struct.pack(f"{order}HHI", link, 0, snap) + options, order)


def enhanced(frame: bytes, ticks: int, face: int = 0, order: str = "<", captured: int | None = None) -> bytes:
    size = len(frame) if captured is None else captured
    return block(
        6, struct.pack(f"{order}IIIII", face, ticks >> 32, ticks & 0xFFFFFFFF, size, len(frame)) + frame[:size], order
    )


def test_pcapng_with_several_interfaces_resolutions_and_sections() -> None:
    data = (
        section()
        + interface()
        + interface(101, option(9, b"\x09") + option(14, struct.pack("<q", 5)) + option(0, b""))
        + interface(1, option(9, b"\x94"))
    )
    data += (
        enhanced(SMALL[1], BEGAN // 1000)
        + enhanced(ipv4(udp(b"abc"), 17), BEGAN, 1)
        + enhanced(SMALL[2], (BEGAN // 10**9) << 20 | 1 << 19, 2)
    )
    data += block(3, struct.pack("<I", len(SMALL[3])) + SMALL[3]) + block(
        2,
        struct.pack("<HHIIII", 0, 9, BEGAN // 1000 >> 32, BEGAN // 1000 & 0xFFFFFFFF, len(SMALL[4]), len(SMALL[4]))
        + SMALL[4],
    )
    data += block(5, bytes(20)) + section(">") + interface(order=">") + enhanced(SMALL[1], BEGAN // 1000, order=">")
    found = read(data)
    assert found.payload.tolist() == [1, 3, 2, 3, 4, 1]
    assert found.time.tolist() == [BEGAN, BEGAN + 5 * 10**9, BEGAN + 10**9 // 2, 0, BEGAN, BEGAN]


def test_packets_of_an_interface_that_nobody_declared_are_counted() -> None:
    losses = Losses()
    assert len(read(section() + interface() + enhanced(SMALL[0], 1, 7) + enhanced(SMALL[0], 1), losses)) == 1
    assert losses.unknown == 1


def test_a_cut_capture_gives_what_was_whole() -> None:
    for data in (pcap(SMALL), section() + interface() + b"".join(enhanced(frame, 1) for frame in SMALL)):
        counts = []
        for end in range(76, len(data) + 1, 2):
            losses = Losses()
            counts.append(len(read(data[:end], losses)))
            assert bool(losses.reason) == (losses.bytes_left > 0)
        assert counts == sorted(counts)
        assert counts[-1] >= 4


def test_a_length_that_lies_ends_the_reading_and_is_told() -> None:
    whole = pcap(SMALL)
    data = whole + struct.pack("<IIII", 1, 1, 1 << 30, 60) + bytes(5000)
    losses = Losses()
    assert len(read(data, losses)) == 5
    assert (losses.bytes_left, losses.reason) == (len(data) - len(whole), "a record claims 1073741824 bytes")


def test_what_is_no_capture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pcap").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"x\.pcap: not a pcap or pcapng file: it begins with 3c 68 74 6d"):
        list(feeds.pcap(tmp_path / "x.pcap", PacketFeatures()))
    with pytest.raises(DataError, match="cannot be opened"):
        list(feeds.pcap(tmp_path / "none.pcap", PacketFeatures()))


def test_a_packed_capture_and_one_cut_off_in_packing(tmp_path: Path) -> None:
    packed = gzip.compress(pcap(SMALL * 200))
    (tmp_path / "a.pcap.gz").write_bytes(packed)
    feed = feeds.pcap(tmp_path / "a.pcap.gz", PacketFeatures())
    assert sum(map(len, feed)) > 0
    assert feed.stats.packets == 1000
    (tmp_path / "a.pcap.gz").write_bytes(packed[: len(packed) // 2])
    feed = feeds.pcap(tmp_path / "a.pcap.gz", PacketFeatures())
    list(feed)
    assert 0 < feed.stats.packets < 1000
    assert feed.stats.lost


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=200), st.sampled_from([b"", pcap([]), pcap(SMALL), pcap(SMALL, ">"), section(), section() + interface(), section() + interface() + enhanced(SMALL[1], 1)]), st.integers(0, 400), st.integers(0, 255))  # fmt: skip
def test_any_bytes_are_read_or_refused(tail: bytes, head: bytes, at: int, value: int) -> None:
    data = bytearray(head + tail)
    if data:
        data[at % len(data)] = value
    try:
        found = read(bytes(data))
    except DataError:
        return
    assert len(found) <= len(data) // 16


def test_memory_does_not_grow_with_the_file() -> None:
    frames = pcap([ethernet(ipv4(udp(bytes(20_000))))] * 250)

    class Endless(io.RawIOBase):
        left = 40
        first = True

        def read(self, size: int = -1) -> bytes:
            del size
            self.left -= 1
            if self.left < 0:
                return b""
            data: bytes = frames if self.first else frames[24:]
            self.first = False
            return data

    tracemalloc.start()
    count = 0
    for part in blocks(Endless(), Losses()):  # type: ignore[arg-type]
        count += len(part)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_000
    assert peak < 40 << 20, "200 MB went through"


def public(name: str, folder: Path) -> list[Path]:
    subprocess.run(["tar", "xJf", str(SHARED / f"{name}.tar.xz"), "-C", str(folder)], check=True)
    return sorted(path for path in folder.rglob("*") if path.suffix in (".pcap", ".pcapng"))


@pytest.mark.data
@pytest.mark.skipif(not (SHARED / "protocol-pcaps.tar.xz").exists(), reason="needs ../shared/data or WARDROUND_DATA")
def test_all_public_protocol_captures_survive_and_dpkt_counts_the_same(tmp_path: Path) -> None:
    paths = public("protocol-pcaps", tmp_path)
    assert len(paths) > 100
    messages: set[str] = set()
    compared = 0
    for path in paths:
        feed = feeds.pcap(path, PacketFeatures())
        for windows in feed:
            assert not np.isinf(windows.x).any()
        packets = p.concat(list(feeds.packets_of(path, feeds.Stats())))
        messages |= {p.MESSAGES[code] for code in np.unique(packets.message)}
        assert len(packets) == feed.stats.packets, path.name
        try:
            with path.open("rb") as stream:
                rows = list(dpkt.pcapng.Reader(stream) if path.suffix == ".pcapng" else dpkt.pcap.Reader(stream))
        except ValueError:
            continue  # some forms dpkt does not know
        compared += 1
        assert len(packets) == len(rows), path.name
        np.testing.assert_allclose(packets.time / 1e9, [moment for moment, _ in rows], atol=1e-5)
    assert {
        "mqtt connect",
        "mqtt publish",
        "modbus read",
        "modbus exception",
        "coap request",
        "hl7 message",
        "hl7 ack",
    } <= messages


@pytest.fixture
def cable() -> Iterator[tuple[str, str]]:
    """Two interfaces joined by a virtual cable."""
    ends = (f"wrt{os.getpid() % 10**6}a", f"wrt{os.getpid() % 10**6}b")
    try:
        made = subprocess.run(
            ["ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1]], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("needs iproute2")
    if made.returncode:
        pytest.skip(f"needs root to make a virtual cable: {made.stderr.decode().strip()}")
    for end in ends:
        subprocess.run(["ip", "link", "set", end, "up"], check=True)
    yield ends
    subprocess.run(["ip", "link", "del", ends[0]], check=False)


def test_live_packets_come_whole_and_cut(cable: tuple[str, str]) -> None:
    opened, done, here, there = threading.Event(), threading.Event(), *cable

    def send() -> None:
        assert opened.wait(60)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
            out.bind((here, 0))
            for i in range(500):
                out.send(ethernet(ipv4(udp(bytes(900), target=1 + i), 17), tags=(7,) if i % 2 else ()))
            out.send(ethernet(arp(), p.ARP))
        time.sleep(1.0)
        done.set()

    def stop() -> bool:
        opened.set()  # asked for the first time when the ring stands
        return done.is_set() and bool(ticks)

    sender = threading.Thread(target=send)
    sender.start()
    stats, found = feeds.Stats(), []
    ticks: list[int] = []
    for batch in feeds.live_packets(there, stats, stop, RingSettings(block=1 << 16, blocks=8, snap=200)):
        if isinstance(batch, int):
            ticks.append(batch)
        else:
            found.append(batch)
    sender.join()
    packets = p.concat(found)
    mine = p.take(packets, (packets.protocol == p.UDP) & (packets.source_port == 40000))
    assert mine.target_port.tolist() == list(range(1, 501))
    assert mine.vlan.tolist() == [7 if i % 2 else -1 for i in range(500)], (
        "the kernel took the tag off: it is told beside"
    )
    assert set(mine.captured.tolist()) <= {200}
    assert set(mine.payload.tolist()) == {900}
    assert (packets.arp == 1).sum() == 1
    assert np.all(np.diff(packets.time) >= 0)
    assert abs(int(packets.time[-1]) - time.time_ns()) < 60 * 10**9
    assert stats.dropped == 0


def test_a_full_ring_counts_what_it_dropped(cable: tuple[str, str]) -> None:
    here, there = cable
    with (
        open_ring(there, RingSettings(block=4096, blocks=2, milliseconds=10)) as ring,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out,
    ):
        out.bind((here, 0))
        for _ in range(300):
            out.send(ethernet(ipv4(udp(bytes(500)))))
        time.sleep(0.1)
        assert ring.drops() > 200
        read = ring.read(0.1)
        assert read is not None
        assert len(read) > 0
    assert isinstance(offloads(there), tuple)


def test_an_interface_that_goes_away_is_told(cable: tuple[str, str]) -> None:
    here, there = cable
    with open_ring(there) as ring:
        subprocess.run(["ip", "link", "del", here], check=True)
        with pytest.raises(DataError, match="is gone"):
            [ring.read(0.05) for _ in range(20)]


def test_an_interface_that_is_not_there_is_told() -> None:
    with pytest.raises(UsageError, match="no interface is named 'nonesuch0'; there are"), open_ring("nonesuch0"):
        pass


def test_capturing_without_the_right_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("wardround.drivers.sources.ring.socket.socket", refuse)
    with pytest.raises(UsageError, match="CAP_NET_RAW"), open_ring("lo"):
        pass
