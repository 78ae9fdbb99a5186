"""`wardround watch` as a process on each live source: an interface, a growing EVE log, Zeek's folder, NetFlow over UDP.

Nothing is asserted about how fast anything happens: traffic goes on until the watch has seen it, or a long deadline passes.
"""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
PATIENCE_S = 120.0
MONITOR, SERVER, THIEF = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2, 9))
VETH = ("wrtest0", "wrtest1")


class Watch:
    """A watching process with its site's folder."""

    def __init__(self, site: Path, *source: str) -> None:
        self.site = site
        self.command = [sys.executable, "-c", "from wardround.cli.main import main; main()"]
        with (site.parent / "watch.out").open("wb") as out:
            self.process = subprocess.Popen(
                [*self.command, "watch", *source, "--site", str(site), "--name", "ward7"], stdout=out, stderr=out
            )

    def devices(self) -> dict[str, dict[str, Any]]:
        if not (self.site / "site.db").exists():
            return {}
        done = subprocess.run(
            [*self.command, "devices", "--site", str(self.site), "--json"], capture_output=True, text=True, check=False
        )
        return {row["name"]: row for row in json.loads(done.stdout)} if done.returncode == 0 else {}

    def alerts(self) -> list[dict[str, Any]]:
        path = self.site / "alerts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def until(self, seen: Callable[[], bool], traffic: Callable[[], None]) -> None:
        """Send ``traffic`` until ``seen``."""
        end = time.monotonic() + PATIENCE_S
        while not seen():
            said = (self.site.parent / "watch.out").read_text()
            assert self.process.poll() is None, said
            assert time.monotonic() < end, said
            for _ in range(5):
                traffic()

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        return (self.site.parent / "watch.out").read_text()


@contextlib.contextmanager
def watching(tmp_path: Path, *source: str) -> Iterator[Watch]:
    watch = Watch(tmp_path / "site", *source)
    try:
        yield watch
    finally:
        if watch.process.poll() is None:
            watch.process.kill()
            watch.process.wait()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- an interface


@pytest.fixture
def cable() -> Iterator[tuple[str, str]]:
    """Two ends of a virtual cable; nothing of the machine hangs on it."""
    if os.geteuid():
        pytest.skip("a virtual cable and a raw socket need root")
    made = subprocess.run(
        ["ip", "link", "add", VETH[0], "type", "veth", "peer", "name", VETH[1]], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no virtual cable here: {made.stderr.decode().strip()}")
    try:
        for end in VETH:
            subprocess.run(["ip", "link", "set", end, "up"], check=True)
        yield VETH
    finally:
        subprocess.run(["ip", "link", "del", VETH[0]], check=False)


def arp_reply(mac: bytes, address: bytes) -> bytes:
    return (b"\xff" * 6 + mac + b"\x08\x06") + struct.pack(
        ">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, mac, address, b"\xff" * 6, address
    )


def datagram(a: bytes, b: bytes) -> bytes:
    ends = bytes([10, 0, 0, a[-1], 10, 0, 0, b[-1]])
    udp = struct.pack(">HHHH", 40000, 5683, 12, 0) + b"\x40\x01\x00\x01"
    return b + a + b"\x08\x00" + struct.pack(">BBHHHBBH", 0x45, 0, 32, 0, 0, 64, 17, 0) + ends + udp


def test_an_interface_is_watched_and_a_stolen_address_is_told(cable: tuple[str, str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire, watching(tmp_path, "--iface", cable[0]) as watch:
        wire.bind((cable[1], 0))

        def talk() -> None:
            for _ in range(10):
                wire.send(datagram(MONITOR, SERVER))
                time.sleep(0.02)
            wire.send(arp_reply(SERVER, bytes([10, 0, 0, 2])))

        watch.until(lambda: "02:00:00:00:00:01" in watch.devices(), talk)

        def steal() -> None:
            talk()
            wire.send(arp_reply(THIEF, bytes([10, 0, 0, 2])))

        watch.until(lambda: bool(watch.alerts()), steal)
        (first, *_) = watch.alerts()
        assert first["fl_ids"]["kind"] == "opened"
        assert first["fl_ids"]["detector"] == "arp"
        assert first["fl_ids"]["device"]["name"] == "02:00:00:00:00:09"
        found = watch.devices()["02:00:00:00:00:01"]
        assert (found["address"], found["type"]) == ("10.0.0.1", "coap-sensor")
        assert "stopped:" in watch.stop()


# --- sensors


def flow_event(number: int) -> str:
    def text(at: float) -> str:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f+0000")

    now = time.time()
    return json.dumps(
        {
            "timestamp": text(now),
            "flow_id": number,
            "event_type": "flow",
            "src_ip": "10.0.0.1",
            "src_port": 40000 + number % 1000,
            "dest_ip": "10.0.0.2",
            "dest_port": 1883,
            "proto": "TCP",
            "app_proto": "mqtt",
            "flow": {
                "pkts_toserver": 6,
                "pkts_toclient": 5,
                "bytes_toserver": 500,
                "bytes_toclient": 400,
                "start": text(now - 1),
                "end": text(now),
                "state": "closed",
            },
            "tcp": {"tcp_flags_ts": "1b", "tcp_flags_tc": "1b"},
        }
    )


def test_a_growing_eve_log_is_followed(tmp_path: Path) -> None:
    log = tmp_path / "eve.json"
    log.write_text("")
    count = iter(range(10**6))

    def grow() -> None:
        with log.open("a") as file:
            file.write(flow_event(next(count)) + "\n" + '{"event_type": "stats"}\n')
        time.sleep(0.2)

    with watching(tmp_path, "--eve", str(log), "--follow") as watch:
        watch.until(lambda: len(watch.devices()) == 2, grow)
        assert set(watch.devices()) == {"10.0.0.1", "10.0.0.2"}
        assert watch.devices()["10.0.0.1"]["type"] == "mqtt-sensor"
        watch.stop()


def test_zeeks_folder_is_followed(tmp_path: Path) -> None:
    fields = "ts uid id.orig_h id.orig_p id.resp_h id.resp_p proto service duration orig_bytes resp_bytes conn_state history orig_pkts orig_ip_bytes resp_pkts resp_ip_bytes"
    folder = tmp_path / "zeek"
    folder.mkdir()
    log = folder / "conn.log"
    log.write_text("#separator \\x09\n#unset_field\t-\n#path\tconn\n#fields\t" + "\t".join(fields.split()) + "\n")
    count = iter(range(10**6))

    def grow() -> None:
        n = next(count)
        row = f"{time.time() - 1:.6f} C{n} 10.0.0.1 {40000 + n % 1000} 10.0.0.2 2575 tcp - 1.0 100 20 SF ShADadFf 6 420 5 290"
        with log.open("a") as file:
            file.write("\t".join(row.split()) + "\n")
        time.sleep(0.2)

    with watching(tmp_path, "--zeek", str(folder), "--follow") as watch:
        watch.until(lambda: len(watch.devices()) == 2, grow)
        assert watch.devices()["10.0.0.1"]["type"] == "hl7-monitor"
        watch.stop()


def test_an_exporter_of_netflow_is_heard(tmp_path: Path) -> None:
    port = free_port()
    fields = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (6, 1), (2, 4), (1, 4), (22, 4), (21, 4))
    template = struct.pack(">HH", 300, len(fields)) + b"".join(struct.pack(">HH", *f) for f in fields)

    def record(a: str, b: str, ports: tuple[int, int], up: int) -> bytes:
        ends = socket.inet_aton(a) + socket.inet_aton(b)
        return ends + struct.pack(">HHBBIIII", *ports, 6, 0x1B, 5, 500, up - 900, up - 100)

    def export() -> None:
        up = 100_000
        both = record("10.0.0.1", "10.0.0.2", (40000, 502), up) + record("10.0.0.2", "10.0.0.1", (502, 40000), up)
        sets = b"".join(struct.pack(">HH", kind, 4 + len(d)) + d for kind, d in ((0, template), (300, both)))
        head = struct.pack(">HHIIII", 9, 3, up, int(time.time()), 1, 7)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as exporter:
            exporter.sendto(head + sets, ("127.0.0.1", port))
        time.sleep(0.2)

    with watching(tmp_path, "--netflow", f"127.0.0.1:{port}") as watch:
        watch.until(lambda: len(watch.devices()) == 2, export)
        assert watch.devices()["10.0.0.1"]["type"] == "controller"
        watch.stop()
