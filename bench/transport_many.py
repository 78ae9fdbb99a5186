"""Many gateways on one broker: 50 to 1,000 connections, all held by one load process on loopback.

Each gateway has TLS, a key and an account of its own, as in a deployed federation; per exchange it fetches a body and answers (8 kB
each way). The coordinator's end (the Hub) runs in a process of its own, so that its processor time and memory can be told from the
load's and the broker's. Processor time says what one exchange costs; wall time also what else the machine did.

Run: python bench/transport_many.py [--sizes 50,100,250,500,1000] [--exchanges 8]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from transport import Place, echo, spread  # type: ignore[import-not-found]
from wardround.drivers.nats.envelope import Presence
from wardround.drivers.nats.hub import Hub
from wardround.drivers.nats.keys import KeyFolder
from wardround.drivers.nats.link import LinkError
from wardround.drivers.nats.spoke import Spoke
from wardround.drivers.parties.names import token
from wardround.drivers.simulation.environment import machine
from wardround.federation.messages import AskStatistics
from wardround.federation.step import Send

HERE = Path(__file__).parent
SIZE = 8_000
AT_ONCE = 25  # handshakes under way at a time
TICKS = os.sysconf("SC_CLK_TCK")


def used(pid: int) -> dict[str, float]:
    """Processor seconds and resident MB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return {"cpu_s": (int(fields[11]) + int(fields[12])) / TICKS, "mb": round(resident / 1000, 1)}


async def load(folder: Path, servers: list[str], count: int) -> None:
    """The load process: ``count`` gateways that answer; says when all are connected."""
    keys, gate = KeyFolder(folder / "keys"), asyncio.Semaphore(AT_ONCE)
    spokes = [Spoke(token(i)) for i in range(count)]

    async def opened(spoke: Spoke) -> None:
        async with gate:
            for _ in range(20):
                try:
                    return await spoke.open(servers, keys)
                except LinkError:
                    await asyncio.sleep(0.5)
        raise RuntimeError("a gateway does not get in")

    began = time.perf_counter()
    await asyncio.gather(*[opened(spoke) for spoke in spokes])
    print(json.dumps({"connected_s": round(time.perf_counter() - began, 2)}), flush=True)
    for spoke in spokes:
        await spoke.here(Presence("bench", "bench", 0, False, False))
    await asyncio.gather(*[echo(spoke, None, SIZE) for spoke in spokes])


async def exchanges(place: Place, count: int, times: int, pids: dict[str, int]) -> dict[str, Any]:
    """``times`` exchanges; what they took, and what each process used for one."""
    hub = Hub("bench", {name: token(i) for i, name in enumerate(place.names)}, 600.0)
    await hub.open(place.servers, place.keys)
    taken, before = [], {}
    for turn in range(1, times + 3):
        if turn == 3:
            before = {name: used(pid) for name, pid in pids.items()}
        ask, began = AskStatistics(turn, "x" * SIZE), time.perf_counter()
        await hub.send(turn, [Send(place.names, ask)])
        total = np.zeros(SIZE // 4)
        for at in range(count):
            if await hub.reply(60) is None:
                raise RuntimeError(f"{count - at} of {count} answers did not come within 60 s")
            total += 1.0
        await hub.settle()
        taken.append(time.perf_counter() - began)
    after = {name: used(pid) for name, pid in pids.items()}
    await hub.close()
    return {
        "exchange": spread(taken[2:]),
        **{f"{n}_cpu_ms": round(1000 * (after[n]["cpu_s"] - before[n]["cpu_s"]) / times, 1) for n in pids},
        **{f"{n}_mb": after[n]["mb"] for n in pids},
    }


def measured(count: int, times: int, port: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        place = Place(Path(name), count, port)
        command = [sys.executable, __file__, "--load", name, "--port", str(port), "--sizes", str(count)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout is not None
            word = child.stdout.readline()
            if not word:
                raise RuntimeError("the load process ended")
            pids = {"server": os.getpid(), "broker": place.broker.pid, "load": child.pid}
            config = (Path(name) / "nats.conf").stat().st_size
            found = asyncio.run(exchanges(place, count, times, pids))
            return {**json.loads(word), **found, "config_kb": round(config / 1000, 1)}
        finally:
            child.kill()
            child.wait()
            place.broker.stop()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sizes", default="50,100,250,500,1000")
    options.add_argument("--exchanges", type=int, default=8)
    options.add_argument("--port", type=int, default=14900)
    options.add_argument("--load", type=Path)
    asked = options.parse_args()
    if asked.load:
        asyncio.run(load(asked.load, [f"tls://127.0.0.1:{asked.port}"], int(asked.sizes)))
        return
    out = HERE / "results" / "transport_many.json"
    found: dict[str, Any] = {
        "what": "one broker, one load process, 8 kB each way, TLS and an account per gateway",
        "sizes": {},
    }
    for at, count in enumerate(int(size) for size in asked.sizes.split(",")):
        try:
            found["sizes"][str(count)] = measured(count, asked.exchanges, asked.port + at)
        except RuntimeError as error:
            found["sizes"][str(count)] = {"failed": str(error)}
        print(count, found["sizes"][str(count)], flush=True)
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
        found |= {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "load_average": os.getloadavg(),
            "commit": commit.stdout.strip(),
            "machine": machine(),
        }
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
