"""Packets per CPU-second from a capture file to scored windows, beside NFStream, Suricata and dpkt; live on a virtual cable; memory.

    python bench/capture.py [--part file|live|steady|memory|rates] [--repeats 3] [--packets 500000]

file    Public Ethernet captures of ../shared (Modbus, MQTT malformed and slow, an IoT set-up), one after another and looped to 500,000
        packets. Every contender is a process of its own, all in turn; the CPU time is the process's (children too) less that of
        the same process on ten packets. Ours: pcap -> pkt-v1 windows -> a 64-32 MLP with quantile scaling, scored in numpy. NFStream
        in its fastest setting (no statistics, no dissection) and with statistics; Suricata writes flow records only (-S /dev/null,
        runmode single); dpkt parses to a dictionary of five-tuples.
live    tcpreplay sends the same packets at 60,000 a second over a veth pair between two network namespaces (root); the
        receiver scores windows too.
steady  The same for three minutes at 5,000 a second: resident memory every 5 seconds.
rates   Packets per CPU-second of every schema, records per CPU-second of every sensor's reader, in one process.
memory  36 million packets (the capture 72 times, times moved on) through windows and scorer: resident memory as it goes.

Peers: bench/.. .venv-peers with ``pip install nfstream dpkt``; suricata and tcpreplay from the distribution. What is absent is said.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(os.environ.get("WARDROUND_BENCH_OUT", ROOT / "bench/results/capture.json"))
DATA = Path(os.environ.get("WARDROUND_DATA", ROOT.parent / "shared/data"))
PEERS = ROOT / ".venv-peers/bin/python"
SOURCES = {
    "protocol-pcaps": ("protocol-pcaps/ics-security-tools/ModbusTCP/mb2.pcap",),
    "mqttset-reduced": ("mqttset-reduced/malformed.pcap", "mqttset-reduced/slowite.pcap"),
    "iot-sentinel": ("iot-sentinel/HueSwitch/Setup-A-1-STA.pcap", "iot-sentinel/D-LinkCam/Setup-A-1-STA.pcap"),
}
NFSTREAM = """
import sys
from nfstream import NFStreamer
print(sum(1 for _ in NFStreamer(source=sys.argv[1], statistical_analysis=sys.argv[2] == "1", n_dissections=0, n_meters=1)))
"""
DPKT = """
import sys, dpkt
flows = {}
for moment, data in dpkt.pcap.Reader(open(sys.argv[1], "rb")):
    try:
        ip = dpkt.ethernet.Ethernet(data).data
    except Exception:
        continue
    if not isinstance(ip, (dpkt.ip.IP, dpkt.ip6.IP6)):
        continue
    above = ip.data
    ports = (above.sport, above.dport) if isinstance(above, (dpkt.tcp.TCP, dpkt.udp.UDP)) else (0, 0)
    key = (ip.src, ip.dst, *ports)
    flows[key] = flows.get(key, 0) + 1
print(len(flows))
"""
SURICATA = """%YAML 1.1
---
outputs:
  - eve-log:
      enabled: yes
      filetype: regular
      filename: eve.json
      types: [flow]
"""


def records(folder: Path) -> list[tuple[int, int, bytes]]:
    """(ns, wire length, frame) of the captures in ``SOURCES``, one capture after another on one clock."""
    found: list[tuple[int, int, bytes]] = []
    shift = 1_700_000_000 * 10**9
    for archive, names in SOURCES.items():
        subprocess.run(["tar", "xJf", str(DATA / f"{archive}.tar.xz"), "-C", str(folder), *names], check=True)
        for name in names:
            data, at = (folder / name).read_bytes(), 24
            assert struct.unpack_from("<II", data)[0] == 0xA1B2C3D4, name
            assert struct.unpack_from("<I", data, 20)[0] == 1, f"{name} is not Ethernet"
            rows = []
            while at + 16 <= len(data):
                seconds, micros, captured, wire = struct.unpack_from("<IIII", data, at)
                rows.append((seconds * 10**9 + micros * 1000, wire, data[at + 16 : at + 16 + captured]))
                at += 16 + captured
            first = rows[0][0]
            found += [(shift + max(0, moment - first), wire, frame) for moment, wire, frame in rows]
            shift = found[-1][0] + 10**9
    return found


def write_capture(path: Path, rows: list[tuple[int, int, bytes]], packets: int) -> dict[str, Any]:
    """The rows looped to ``packets`` packets as a pcap of microseconds."""
    span = rows[-1][0] - rows[0][0] + 10**9
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for i in range(packets):
            lap, place = divmod(i, len(rows))
            moment, wire, frame = rows[place]
            seconds, nanos = divmod(moment + lap * span, 10**9)
            out.write(struct.pack("<IIII", seconds, nanos // 1000, len(frame), wire) + frame)
    return {
        "packets": packets,
        "distinct": len(rows),
        "bytes": path.stat().st_size,
        "hours": span * packets / len(rows) / 3.6e12,
    }


def scorer(path: Path) -> Any:
    """A 64-32 MLP over pkt-v1 with the quantile map of this capture's own rows; its weights do not matter for speed."""
    import numpy as np

    from wardround.detect.scorer import Scorer
    from wardround.drivers.sources import feeds
    from wardround.traffic.pkt import PacketFeatures
    from wardround.traffic.scaling import Quantile
    from wardround.training.bundle import Bundle
    from wardround.training.models import Mlp

    extractor, scaling = PacketFeatures(), Quantile()
    x = np.concatenate([windows.x for windows in feeds.pcap(path, extractor)])
    fitted = scaling.fit(extractor.schema, scaling.statistics(extractor.schema, x))
    model, labels = Mlp((64, 32)), ("Benign", "Attack")
    parameters = model.init(len(fitted.names), len(labels), np.random.default_rng(1))
    return Scorer(Bundle(model, parameters, len(fitted.names), labels, 0, extractor.schema.id, fitted.to_record()))


def subject(path: Path, small: Path) -> None:
    """The process that is measured: a capture to scored windows."""
    from wardround.drivers.sources import feeds
    from wardround.traffic.pkt import PacketFeatures

    score, rows = scorer(small), 0
    for windows in feeds.pcap(path, PacketFeatures()):
        if len(windows):
            rows += len(score.decide(windows.x).score)
    print(rows)


def measured(command: list[str], cwd: str | None = None) -> tuple[float, float, str]:
    """(CPU seconds of the process and its children, MiB of the largest, last line of its output)."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, cwd=cwd)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode(errors="replace").strip()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {text[-300:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text.splitlines()[-1] if text else ""


def contenders(folder: Path, small: Path) -> dict[str, Any]:
    """Name -> command for a capture, or why it is absent."""
    (folder / "suricata.yaml").write_text(SURICATA)
    me = str(Path(__file__).resolve())
    suricata = [
        "suricata",
        "-c",
        str(folder / "suricata.yaml"),
        "--runmode",
        "single",
        "-S",
        "/dev/null",
        "-l",
        str(folder),
        "-r",
    ]
    peers = PEERS.exists()
    return {
        "wardround, to scored pkt-v1 windows": lambda p: [
            sys.executable,
            me,
            "--subject",
            str(p),
            "--small",
            str(small),
        ],
        "NFStream, no statistics": (lambda p: [str(PEERS), "-c", NFSTREAM, str(p), "0"]) if peers else "no .venv-peers",
        "NFStream, statistics": (lambda p: [str(PEERS), "-c", NFSTREAM, str(p), "1"]) if peers else "no .venv-peers",
        "Suricata, flow records": (lambda p: [*suricata, str(p)]) if shutil.which("suricata") else "not installed",
        "dpkt, five-tuples": (lambda p: [str(PEERS), "-c", DPKT, str(p)]) if peers else "no .venv-peers",
    }


def file_part(packets: int, repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = records(folder)
        about = write_capture(folder / "all.pcap", rows, packets)
        write_capture(folder / "ten.pcap", rows, 10)
        write_capture(folder / "small.pcap", rows, min(5000, packets))
        found: dict[str, Any] = {"capture": about, "load_before": os.getloadavg(), "contenders": []}
        commands = contenders(folder, folder / "small.pcap")
        times: dict[str, list[tuple[float, float, str]]] = {n: [] for n in commands}
        starts: dict[str, list[float]] = {n: [] for n in commands}
        for _ in range(repeats):
            for label, command in commands.items():
                if isinstance(command, str):
                    continue
                starts[label].append(measured(command(folder / "ten.pcap"), name)[0])
                times[label].append(measured(command(folder / "all.pcap"), name))
                print(label, starts[label][-1], times[label][-1], flush=True)
        for label, command in commands.items():
            if isinstance(command, str):
                found["contenders"].append({"name": label, "absent": command})
                continue
            start = min(starts[label])
            each = [packets / (cpu - start) for cpu, _, _ in times[label]]
            found["contenders"].append(
                {"name": label, "start_cpu_s": start, "cpu_s": [cpu for cpu, _, _ in times[label]], "best_per_cpu_s": max(each), "median_per_cpu_s": statistics.median(each), "peak_mib": max(m for _, m, _ in times[label]), "said": times[label][-1][2]}
            )  # fmt: skip
        found["load_after"] = os.getloadavg()
        return found


def receiver(interface: str, small: Path, seconds: float) -> None:
    """The process at the far end of the cable: packets to scored windows for so long; prints what it saw."""
    from wardround.drivers.sources import feeds
    from wardround.traffic.pkt import PacketFeatures

    score, rows = scorer(small), 0
    end = time.monotonic() + seconds
    feed = feeds.iface(interface, PacketFeatures(), lambda: time.monotonic() > end)
    print("ready", flush=True)
    before, began = time.process_time(), time.monotonic()
    points: list[float] = []
    for windows in feed:
        if len(windows):
            rows += len(score.decide(windows.x).score)
        if time.monotonic() - began > 5 * len(points):
            points.append(resident())
    used = time.process_time() - before
    print(json.dumps({"resident_mib_every_5_s": points, "packets": feed.stats.packets, "dropped": feed.stats.dropped, "malformed": feed.stats.malformed, "rows": rows, "cpu_s": used, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))  # fmt: skip


def resident() -> float:
    """MiB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def live_part(packets: int, rate: int, nice: int) -> dict[str, Any]:
    if os.geteuid() or not shutil.which("tcpreplay"):
        return {"absent": "needs root and tcpreplay"}
    here, there = f"wrb{os.getpid()}a", f"wrb{os.getpid()}b"
    spaces = [(here, "wrs0"), (there, "wrr0")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_capture(folder / "all.pcap", records(folder), packets)
        write_capture(folder / "small.pcap", records(folder), 5000)
        try:
            for space, _ in spaces:
                subprocess.run(["ip", "netns", "add", space], check=True)
            subprocess.run(
                ["ip", "-n", here, "link", "add", "wrs0", "type", "veth", "peer", "name", "wrr0", "netns", there],
                check=True,
            )
            for space, end in spaces:
                subprocess.run(
                    ["ip", "netns", "exec", space, "sysctl", "-qw", f"net.ipv6.conf.{end}.disable_ipv6=1"], check=False
                )
                subprocess.run(["ip", "-n", space, "link", "set", end, "mtu", "9000", "up"], check=True)
            seconds = packets / rate + 12
            listen = ["nice", f"--adjustment={nice}", "ip", "netns", "exec", there, sys.executable, str(Path(__file__).resolve()), "--receiver", "wrr0", "--small", str(folder / "small.pcap"), "--seconds", str(seconds)]  # fmt: skip
            process = subprocess.Popen(listen, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "ready"
            send = [
                "ip",
                "netns",
                "exec",
                here,
                "tcpreplay",
                "-i",
                "wrs0",
                "--preload-pcap",
                f"--pps={rate}",
                str(folder / "all.pcap"),
            ]
            load = os.getloadavg()
            said = subprocess.run(send, capture_output=True, text=True, check=False).stdout
            heard = json.loads(process.communicate()[0].strip().splitlines()[-1])
        finally:
            for space, _ in spaces:
                subprocess.run(["ip", "netns", "del", space], check=False)
    number = {key: float(m.group(1)) for key, pattern in (("sent", r"Successful packets:\s+(\d+)"), ("failed", r"Failed packets:\s+(\d+)"), ("pps", r"([\d.]+) pps")) if (m := re.search(pattern, said))}  # fmt: skip
    return {"asked_pps": rate, "nice": nice, "tcpreplay": number, "receiver": heard, "load_before": load}


def memory_part(laps: int, packets: int) -> dict[str, Any]:
    """Resident memory while the capture passes again and again, its times moved on."""
    from dataclasses import replace

    from wardround.drivers.sources import feeds
    from wardround.traffic.pkt import PacketFeatures

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        about = write_capture(folder / "all.pcap", records(folder), packets)
        write_capture(folder / "small.pcap", records(folder), 5000)
        score, extractor = scorer(folder / "small.pcap"), PacketFeatures()
        state, rows, points = extractor.init(), 0, []
        span = int(about["hours"] * 3.6e12) + 10**9
        before = time.process_time()
        for lap in range(laps):
            for batch in feeds.packets_of(folder / "all.pcap", feeds.Stats()):
                state, windows = extractor.update(state, replace(batch, time=batch.time + lap * span))
                if len(windows):
                    rows += len(score.decide(windows.x).score)
            points.append(resident())
        used = time.process_time() - before
    half = len(points) // 2
    return {"packets": laps * packets, "rows": rows, "cpu_s": used, "resident_mib": points, "growth_second_half_mib": points[-1] - points[half], "packets_second_half": (laps - half - 1) * packets}  # fmt: skip


def rates_part(packets: int, repeats: int) -> dict[str, Any]:
    """Packets per CPU-second of every schema, and records per CPU-second of every sensor's reader, in this process."""
    import socket

    from wardround.drivers.sources import feeds
    from wardround.drivers.sources.eve import EveReader
    from wardround.drivers.sources.zeek import ZeekReader
    from wardround.traffic.ciciomt import CicFeatures
    from wardround.traffic.flow import FlowFeatures
    from wardround.traffic.flow_of_packets import FlowsOfPackets
    from wardround.traffic.netflow import Collector
    from wardround.traffic.netflow import decode as decode_netflow
    from wardround.traffic.pkt import PacketFeatures

    def timed(work: Any, count: int) -> float:
        best = float("inf")
        for _ in range(repeats):
            before = time.process_time()
            work()
            best = min(best, time.process_time() - before)
        return count / best

    found: dict[str, Any] = {"packets": packets, "repeats": repeats, "per_cpu_s": {}}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "all.pcap"
        write_capture(path, records(Path(name)), packets)
        extractors = {
            "pkt-v1": PacketFeatures(),
            "flow-v1 from packets": FlowsOfPackets(),
            "ciciomt2024-v2 per device": CicFeatures(),
        }
        for label, extractor in extractors.items():
            found["per_cpu_s"][label] = timed(lambda e=extractor: sum(map(len, feeds.pcap(path, e))), packets)
    n = 20_000
    moment = "2026-01-01T00:00:{:02d}.{:06d}+0000"
    flow = {"pkts_toserver": 7, "pkts_toclient": 5, "bytes_toserver": 900, "bytes_toclient": 700}
    eve = [
        json.dumps({"timestamp": moment.format(i % 60, i), "event_type": "flow", "src_ip": f"10.0.{i % 4}.{i % 200}", "src_port": 1024 + i, "dest_ip": "10.0.0.250", "dest_port": 1883, "proto": "TCP", "app_proto": "mqtt", "flow": flow | {"start": moment.format(i % 60, i), "end": moment.format(i % 60, i)}, "tcp": {"tcp_flags_ts": "1b", "tcp_flags_tc": "1b"}}).encode()
        for i in range(n)
    ]  # fmt: skip
    fields = ["ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration", "orig_bytes", "resp_bytes", "conn_state", "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes"]  # fmt: skip
    zeek = ["\t".join(["#fields", *fields]).encode()]
    zeek += [f"1700000000.{i:06d}\tC{i}\t10.0.{i % 4}.{i % 200}\t{1024 + i}\t10.0.0.250\t1883\ttcp\tmqtt\t1.5\t90\t70\tSF\t7\t900\t5\t700".encode() for i in range(n)]  # fmt: skip
    shape = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (6, 1), (2, 4), (1, 4), (22, 4), (21, 4))
    learn = struct.pack(">HHHH", 0, 8 + 4 * len(shape), 300, len(shape)) + b"".join(
        struct.pack(">HH", *each) for each in shape
    )
    row = (
        socket.inet_aton("10.0.0.1")
        + socket.inet_aton("10.0.0.2")
        + struct.pack(">HHBBIIII", 40000, 1883, 6, 27, 7, 900, 1000, 2000)
    )
    datagram = (
        struct.pack(">HHIIII", 9, 31, 5000, 1_700_000_000, 1, 7) + struct.pack(">HH", 300, 4 + 30 * len(row)) + 30 * row
    )
    collector = Collector()
    decode_netflow(collector, struct.pack(">HHIIII", 9, 1, 5000, 1_700_000_000, 1, 7) + learn, "x")
    records_of = FlowFeatures()
    flows = ZeekReader().read(zeek)
    sensors = {
        "Suricata EVE, flow events": lambda: EveReader().read(eve),
        "Zeek conn.log, tab-separated": lambda: ZeekReader().read(zeek),
        "NetFlow v9, 30 records a datagram": lambda: [decode_netflow(collector, datagram, "x") for _ in range(n // 30)],
        "flow records to flow-v1": lambda: records_of.flush(records_of.update(records_of.init(), flows)[0]),
    }
    for label, work in sensors.items():
        found["per_cpu_s"][label] = timed(work, n)
    return found


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next(
        (line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), platform.machine()
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {"processor": model, "cores": len(os.sched_getaffinity(0)), "memory_gib": round(memory), "system": f"{platform.system()} {platform.release()}", "python": platform.python_version()}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("file", "live", "steady", "memory", "rates"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--packets", type=int, default=500_000)
    parser.add_argument("--rate", type=int, default=60_000)
    parser.add_argument(
        "--nice", type=int, default=0, help="of receiver and sender in the live part, on a machine that others use"
    )
    parser.add_argument("--laps", type=int, default=72)
    parser.add_argument("--subject", type=Path)
    parser.add_argument("--receiver")
    parser.add_argument("--small", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    asked = parser.parse_args()
    if asked.subject:
        subject(asked.subject, asked.small)
        return
    if asked.receiver:
        receiver(asked.receiver, asked.small, asked.seconds)
        return
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=ROOT
    ).stdout.strip()
    found |= {"machine": machine(), "date": datetime.now(UTC).date().isoformat(), "commit": commit}
    parts = {"file": lambda: file_part(asked.packets, asked.repeats), "live": lambda: live_part(asked.packets, asked.rate, asked.nice), "steady": lambda: live_part(5000 * 180, 5000, asked.nice), "memory": lambda: memory_part(asked.laps, asked.packets), "rates": lambda: rates_part(asked.packets, asked.repeats)}  # fmt: skip
    for name in [asked.part] if asked.part else list(parts):
        found[name] = parts[name]()
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
        print(name, json.dumps(found[name])[:1500])


if __name__ == "__main__":
    main()
