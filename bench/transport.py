"""The deployed federation's transport on NATS: exchange and round, rejoin and resume after kill -9, memory of an idle gateway.

    bare       one gateway's 80 kB stored by JetStream: request and reply, nothing else
    exchange   hub -> notices and one body -> N gateways (80 kB down) -> answers (80 kB up) -> hub; and without a body
    round      the coordinator's loop with real machines, checkpoints on the disk and answers of 20,000 parameters (no training)
    rejoin     `wardround join` killed with -9 while idle: from the new process's start to its sign of life at the coordinator
    resume     `wardround serve` killed with -9 in a round: from the new process's start to the next finished round
    idle       resident memory of a `wardround join` that waits, and of one that has trained

Gateways are connections of one load process (as many as N), each with TLS and its own account, except for rejoin,
resume and idle, where they are processes. Run: python bench/transport.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from wardround.drivers.nats.broker import PrivateBroker, executable
from wardround.drivers.nats.brokerconfig import Listen
from wardround.drivers.nats.envelope import Presence
from wardround.drivers.nats.hub import Hub
from wardround.drivers.nats.keys import KeyFolder, make
from wardround.drivers.nats.link import connect, request
from wardround.drivers.nats.spoke import Spoke
from wardround.drivers.parties.names import token
from wardround.drivers.simulation.environment import machine
from wardround.drivers.store.state import State
from wardround.federation.messages import Answer, AskStatistics
from wardround.federation.step import Send
from wardround.wire import encode

HERE = Path(__file__).parent
PAYLOAD = 80_000
FEDERATION = """
name = "bench"
[data]
use = "hospital"
wards = 3
[partition]
use = "natural"
[secagg]
use = "plain"
[participation]
minimum = 2
[model]
use = "mlp"
hidden = [128, 96]
[training]
steps = 1
[rounds]
count = 100000
measure_every = 100000
[broker]
port = {port}
http = {http}
wait_for = 3
repeat_s = 1.0
[gateway]
heartbeat_s = 0.5
"""


def spread(seconds: list[float]) -> dict[str, float]:
    """Milliseconds."""
    ordered = sorted(1000 * s for s in seconds)
    return {
        "n": len(ordered),
        "median_ms": round(statistics.median(ordered), 2),
        "p95_ms": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 2),
        "best_ms": round(ordered[0], 2),
    }


class Place:
    """A private broker for ``count`` gateways in ``folder``."""

    def __init__(self, folder: Path, count: int, port: int) -> None:
        self.names = tuple(f"gateway {i}" for i in range(count))
        self.keys = KeyFolder(folder / "keys")
        make(self.keys, self.names, ["127.0.0.1"])
        self.servers = [f"tls://127.0.0.1:{port}"]
        self.broker = PrivateBroker(Listen("127.0.0.1", port, folder / "js"), folder)
        self.broker.start(self.keys, self.keys.roster(), [token(i) for i in range(count)])


async def echo(spoke: Spoke, state: State | None, size: int) -> None:
    """A gateway that answers each exchange with ``size`` bytes; ``state``: stores its answer first, as an agent does."""
    while True:
        notice = await spoke.notice()
        body = await spoke.body(notice)
        if body is None:
            continue
        answer = encode(Answer(notice.turn, np.zeros(size // 4, dtype=np.float32), np.zeros(3)))
        if state is not None:
            state.save("client", answer)
        await spoke.answer(notice.run, notice.turn, answer)
        spoke.drop_repeat(notice)


async def exchanges(place: Place, count: int, size: int, disk: Path | None) -> dict[str, Any]:
    """``count`` exchanges of ``size`` bytes each way; ``disk``: with checkpoints on both sides: a whole plain round."""
    hub = Hub("bench", {name: token(i) for i, name in enumerate(place.names)}, 60.0)
    await hub.open(place.servers, place.keys)
    spokes = [Spoke(token(i)) for i in range(len(place.names))]
    for spoke in spokes:
        await spoke.open(place.servers, place.keys)
        await spoke.here(Presence("bench", "bench", 0, False, False))
    states = [State(disk / s) for s in map(str, range(len(spokes)))] if disk else [None] * len(spokes)
    own = State(disk / "coordinator") if disk else None
    tasks = [asyncio.create_task(echo(s, st, size)) for s, st in zip(spokes, states, strict=True)]
    taken: list[float] = []
    clocks = (0.0, 0.0)
    for exchange in range(1, count + 6):
        if exchange == 6:
            clocks = time.process_time(), cpu_s(place.broker.pid)
        ask = AskStatistics(exchange, "x" * size)
        began = time.perf_counter()
        if own is not None:
            own.save("coordinator", bytes(3 * size))
        await hub.send(exchange, [Send(place.names, ask)])
        total = np.zeros(size // 4)
        for _ in spokes:
            reply = await hub.reply(30)
            assert reply is not None, "no answer within 30 s"
            total += 1.0
        if own is not None:
            own.save("coordinator", bytes(3 * size))
        await hub.settle()
        taken.append(time.perf_counter() - began)
    used = {
        "cpu_ms": round(1000 * (time.process_time() - clocks[0]) / count, 2),
        "broker_cpu_ms": round(1000 * (cpu_s(place.broker.pid) - clocks[1]) / count, 2),
    }
    for task in tasks:
        task.cancel()
    await asyncio.gather(*[s.close() for s in spokes], hub.close())
    for state in [*states, own]:
        if state is not None:
            state.close()
    return spread(taken[5:]) | used  # the first five warm connections and disks


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def bare(place: Place, count: int) -> dict[str, Any]:
    """One gateway: 80 kB stored at the broker, and fetched from it."""

    async def nothing() -> None:
        return

    connection = await connect(place.servers, place.keys, token(0), nothing)
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        await request(connection, "answer", bytes(PAYLOAD))
        taken.append(time.perf_counter() - began)
    await connection.close()
    return spread(taken)


class Processes:
    """`wardround serve` and `wardround join` in ``folder``."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.children = folder, dict[str, subprocess.Popen[bytes]]()
        (folder / "f.toml").write_text(FEDERATION.format(port=port, http=port + 1), encoding="utf-8")
        subprocess.run(self._command("keys", "f.toml"), cwd=folder, check=True, stdout=subprocess.DEVNULL)

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", "from wardround.cli.main import main; main()", *arguments]

    def start(self, who: str) -> float:
        """Start a process; returns when, on the monotonic clock."""
        arguments = ["serve", "f.toml", "-q"] if who == "serve" else ["join", "f.toml", "--as", who, "-q"]
        with (self.folder / "out").open("ab") as out:
            began = time.perf_counter()
            self.children[who] = subprocess.Popen(self._command(*arguments), cwd=self.folder, stdout=out, stderr=out)
        return began

    def kill(self, who: str) -> None:
        self.children[who].kill()
        self.children[who].wait()

    def memory(self, who: str) -> float:
        """Resident memory, MB."""
        for line in Path(f"/proc/{self.children[who].pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS"):
                return round(int(line.split()[1]) / 1000, 1)
        raise RuntimeError("no VmRSS")

    def lines(self, token_: str) -> list[str]:
        log = self.folder / "federation-state" / token_ / "log.jsonl"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def count(self, token_: str, word: str) -> int:
        return sum(word in line for line in self.lines(token_))

    def more(self, token_: str, word: str, than: int) -> float:
        """When there is one more line with ``word``, on the monotonic clock."""
        return until(lambda: self.count(token_, word) > than)

    def close(self) -> None:
        for child in self.children.values():
            child.kill()
            child.wait()


def until(what: Callable[[], bool]) -> float:
    end = time.perf_counter() + 120
    while not what():
        if time.perf_counter() > end:
            raise RuntimeError("it does not happen")
        time.sleep(0.005)
    return time.perf_counter()


def deaths(folder: Path, port: int, times: int) -> dict[str, Any]:
    """Rejoin, resume and memory with real processes."""
    place = Processes(folder, port)
    wards = ("intensive care 1", "radiology 1", "outpatients 1")
    found: dict[str, Any] = {}
    try:
        idle = wards[0]
        place.start(idle)
        time.sleep(5)  # no broker yet: connecting
        found["gateway_waiting_mb"] = place.memory(idle)
        for who in ("serve", *wards[1:]):
            place.start(who)
        place.more("coordinator", "RoundDone", 0)
        found["gateway_after_training_mb"] = place.memory(idle)
        found["coordinator_mb"] = place.memory("serve")
        rejoin, resume = [], []
        for _ in range(times):
            place.kill(idle)
            joined = place.count("g00000", "gateway.joined")
            rejoin.append(-place.start(idle) + place.more("g00000", "gateway.joined", joined))
            time.sleep(1)
            place.kill("serve")
            started = place.count("coordinator", "RunStarted")
            began = place.start("serve")
            # the log is cut back to its checkpoint when the new process takes it up: count rounds from there
            place.more("coordinator", "RunStarted", started)
            resume.append(-began + place.more("coordinator", "RoundDone", place.count("coordinator", "RoundDone")))
            time.sleep(1)
        found["rejoin_after_kill_9"] = spread(rejoin)
        found["resume_after_kill_9"] = spread(resume)
    finally:
        place.close()
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="few repetitions, no result file")
    options.add_argument("--count", type=int, default=100, help="exchanges of each kind")
    options.add_argument("--port", type=int, default=14700)
    asked = options.parse_args()
    count, sizes = (5, (3,)) if asked.quick else (asked.count, (3, 10, 50))
    results: dict[str, Any] = {"gateways": {}}
    for offset, gateways in enumerate(sizes):
        with tempfile.TemporaryDirectory() as name:
            place = Place(Path(name), gateways, asked.port + offset)
            try:
                results["gateways"][str(gateways)] = {
                    "exchange_empty": asyncio.run(exchanges(place, count, 4, None)),
                    "exchange_80kB": asyncio.run(exchanges(place, count, PAYLOAD, None)),
                    "round_80kB_with_checkpoints": asyncio.run(exchanges(place, count, PAYLOAD, Path(name) / "disk")),
                    "bare_store_80kB": asyncio.run(bare(place, 4 * count)),
                }
            finally:
                place.broker.stop()
    with tempfile.TemporaryDirectory() as name:
        results["processes"] = deaths(Path(name), asked.port + 10, 2 if asked.quick else max(5, asked.count // 10))
    results |= {
        "what": "NATS JetStream transport, TLS, one account per gateway, loopback; payload 80 kB down and 80 kB up",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": os.getloadavg(),
        "machine": machine(),
        "versions": {
            "nats-server": subprocess.run(
                [executable(), "--version"], capture_output=True, text=True, check=True
            ).stdout.strip(),
            **{p: version(p) for p in ("wardround", "nats-py", "nkeys", "numpy")},
        },
    }
    text = json.dumps(results, indent=1)
    print(text)
    if not asked.quick:
        (HERE / "results" / "transport.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
