"""The same exchange on Flower's engine: a real SuperLink, real SuperNodes, 80 kB down and 80 kB up, on loopback.

A Flower app that does nothing else: its ServerApp sends an array to all nodes and waits for theirs: an exchange. A round is one of
Flower's own FedAvg without evaluation: 20,000 parameters to every node, theirs back, averaged. Without TLS, which is in Flower's favour.

Run by bench/transport_engines.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from transport import spread  # type: ignore[import-not-found]
from transport_nvflare import of_sessions, pss_kb  # type: ignore[import-not-found]

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
PROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "exchange-bench"
version = "1.0.0"
description = "exchange"
license = {{ file = "LICENSE" }}
dependencies = ["flwr>=1.41.0,<1.42"]
[tool.hatch.build.targets.wheel]
packages = ["ping"]
[tool.flwr.app]
publisher = "wardround"
fab-format-version = 1
flwr-version-target = "1.41.0"
[tool.flwr.app.components]
serverapp = "ping.app:server"
clientapp = "ping.app:client"
[tool.flwr.app.config]
out = "{out}"
nodes = {nodes}
exchanges = {exchanges}
"""
APP = """
import json, time
import numpy as np
from flwr.app import ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

server = ServerApp()
client = ClientApp()
ARRAYS = lambda: ArrayRecord([np.zeros(20_000, dtype=np.float32)])

@client.query()
def answer(message, context):
    return Message(RecordDict({"a": ARRAYS()}), reply_to=message)

@client.train()
def train(message, context):
    metrics = MetricRecord({"num-examples": 1})
    return Message(RecordDict({"arrays": ARRAYS(), "metrics": metrics}), reply_to=message)

@server.main()
def main(grid, context):
    asked = context.run_config
    while len(list(grid.get_node_ids())) < asked["nodes"]:
        time.sleep(0.2)
    taken = []
    for turn in range(asked["exchanges"]):
        began = time.perf_counter()
        sent = [Message(RecordDict({"a": ARRAYS()}), dst_node_id=n, message_type=MessageType.QUERY) for n in grid.get_node_ids()]
        replies = list(grid.send_and_receive(sent, timeout=300))
        assert len(replies) == asked["nodes"] and not any(r.has_error() for r in replies)
        taken.append(time.perf_counter() - began)
    stamps = [time.perf_counter()]
    def closed(server_round, arrays):
        if server_round:
            stamps.append(time.perf_counter())
        else:
            stamps[0] = time.perf_counter()
        return MetricRecord({"round": server_round})
    rounds = asked["exchanges"] - 1
    strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=asked["nodes"])
    strategy.start(grid=grid, initial_arrays=ARRAYS(), num_rounds=rounds, timeout=300, evaluate_fn=closed)
    rounds = [b - a for a, b in zip(stamps, stamps[1:])]
    with open(asked["out"] + ".part", "w") as file:
        json.dump({"exchange": taken, "round": rounds}, file)
    import os
    os.rename(asked["out"] + ".part", asked["out"])
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measured(nodes: int, exchanges: int, folder: Path) -> dict[str, Any]:
    """Exchanges of a federation of ``nodes``; the first also starts processes and is left out."""
    out, port = folder / "taken.json", free_port()
    (folder / "app" / "ping").mkdir(parents=True)
    (folder / "app" / "LICENSE").write_text("Apache-2.0", encoding="utf-8")
    (folder / "app" / "pyproject.toml").write_text(
        PROJECT.format(out=out, nodes=nodes, exchanges=exchanges + 1), encoding="utf-8"
    )
    (folder / "app" / "ping" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "app" / "ping" / "app.py").write_text(APP, encoding="utf-8")
    home = folder / "home"
    home.mkdir()
    lab = f'[superlink]\ndefault = "lab"\n[superlink.lab]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    (home / "config.toml").write_text(lab, encoding="utf-8")
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        with (folder / "log").open("ab") as log:
            started.append(
                subprocess.Popen(
                    [BIN / command[0], *command[1:]],
                    stdout=log,
                    stderr=log,
                    env=environment,
                    cwd=folder,
                    start_new_session=True,
                )
            )

    try:
        start(
            "flower-superlink",
            "--insecure",
            "--disable-runtime-dependency-installation",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        )
        until(lambda: answers(port), 60)
        for _ in range(nodes):
            own = ("--host", "127.0.0.1", "--port", str(free_port()))
            start("flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}", *own)
        subprocess.run(
            [BIN / "flwr", "run", folder / "app", "lab"], cwd=folder, env=environment, check=True, timeout=120
        )
        most, leaders, began = 0.0, {process.pid for process in started}, time.monotonic()
        while not out.exists():
            most = max(most, sum(pss_kb(pid) for pid in of_sessions(leaders)) / 1000)
            if time.monotonic() - began > 400:
                raise RuntimeError("it does not end within 400 s")
            time.sleep(1.0)
        taken = json.loads(out.read_text(encoding="utf-8"))
        return {"exchange": spread(taken["exchange"][1:]), "round": spread(taken["round"]), "memory_mb": round(most)}
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def until(what: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise RuntimeError("it does not happen")
        time.sleep(0.1)
