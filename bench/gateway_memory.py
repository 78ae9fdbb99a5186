"""A gateway's memory: one process, one client's machine, training and codecs, without broker and files (issue 8).

    .venv/bin/python bench/gateway_memory.py [--rows 2000]

Each case runs in a process of its own: statistics, two training rounds and their answers of a client with ``--rows`` rows of the
generated hospital; the server's machine makes the asks in the parent and its bytes go over a pipe. What is shown is the process's
largest resident set (VmHWM): when all is imported, and at the end. Results: bench/results/gateway_memory.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from wardround.compress.codec import Codec
from wardround.compress.feedback import ErrorFeedback
from wardround.compress.quantise import Integer
from wardround.compress.rotation import Eden
from wardround.compress.sparsify import SparseTernary, TopK
from wardround.compress.supports import Importance
from wardround.compress.table import Compress
from wardround.config import parse
from wardround.drivers.nats.deployment import Federation
from wardround.drivers.nats.rows import own_rows
from wardround.drivers.simulation.environment import machine
from wardround.drivers.site import FittingEngine
from wardround.drivers.strategies import full
from wardround.drivers.world import build, plan
from wardround.federation.answering import PlainGateway
from wardround.federation.client import Client, ClientState
from wardround.federation.messages import ANSWERS, Reply
from wardround.federation.server import Phase, Server
from wardround.rng import stream
from wardround.training.stacked import StackedEngine
from wardround.wire import decode, encode

OUT = Path(__file__).resolve().parent / "results" / "gateway_memory.json"
TEXT = """
name = "memory"
seed = 1
[data]
use = "hospital"
wards = 2
devices_per_ward = 4
windows_per_device = {windows}
labels = "6class"
[partition]
use = "natural"
[participation]
minimum = 1
[secagg]
use = "plain"
[model]
use = "mlp"
hidden = {hidden}
[training]
steps = 10
batch_size = 32
[rounds]
count = 3
measure_every = 3
"""
HIDDEN = ("[64, 32]", "[512, 160]", "[1024, 900]")
CHAINS: dict[str, tuple[tuple[Codec, ...], tuple[Codec, ...]]] = {
    "dense": ((), ()),
    "STC 1%, down top-k 10% int8": ((ErrorFeedback(), SparseTernary(0.01)), (TopK(0.1), Integer(8))),
    "eden 1 bit": ((Eden(1),), ()),
    "importance 10%, both ways": ((Importance(0.1),), (Importance(0.1, weigh=False), Integer(8))),
}


def experiment(hidden: str, chain: str, rows: int) -> Federation:
    file = "memory.toml"
    up, down = CHAINS[chain]
    text = TEXT.format(hidden=hidden, windows=max(50, rows // 4))
    return replace(parse(text, full(), file, Federation), compress=Compress(up=up, down=down))


def resident(which: str = "VmHWM") -> int:
    """Bytes of this process's resident set: the largest it had (VmHWM) or has (VmRSS)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {which}")


def gateway(pipe: Connection, hidden: str, chain: str, rows: int) -> None:
    """The child: answers what comes until an empty message; then says its memory."""
    imported = resident()
    asked = experiment(hidden, chain, rows)
    table = asked.data.load(None, stream(asked.seed, "data"))
    agreed, name = plan(asked, table), build(asked, table).names[0]
    client = Client(agreed, asked.seed, ClientState(0))
    engine = FittingEngine(lambda inputs: StackedEngine(agreed.model, agreed.training, inputs, agreed.classes))
    machine_ = PlainGateway(client, own_rows(asked, table, name), engine)
    held = len(table)
    del table
    loaded = resident()
    while body := pipe.recv_bytes():
        answer = machine_.answer(body)
        state = machine_.to_bytes()
        pipe.send_bytes(answer)
    pipe.send((imported, loaded, resident(), len(state), held))


def run(hidden: str, chain: str, rows: int) -> dict[str, Any]:
    asked = experiment(hidden, chain, rows)
    table = asked.data.load(None, stream(asked.seed, "data"))
    agreed, names = plan(asked, table), build(asked, table).names
    server = Server.new(agreed, asked.participation, names, asked.seed)
    here, there = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(target=gateway, args=(there, hidden, chain, rows))
    child.start()
    there.close()  # so that a child that dies is seen
    while server.phase is not Phase.DONE:
        for send in server.begin(0.0, names[:1]).send:
            here.send_bytes(encode(send.message))
            server.receive(names[0], cast("Reply", decode(here.recv_bytes(), *ANSWERS)), 0.0)
        server.expire(1.0)
    here.send_bytes(b"")
    imported, loaded, peak, state, held = here.recv()
    child.join()
    return {
        "parameters": int(server.parameters.size),
        "chain": chain,
        "rows_in_the_table": held,
        "imported_bytes": imported,
        "loaded_bytes": loaded,
        "peak_bytes": peak,
        "state_bytes": state,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    cases = []
    for hidden in HIDDEN:
        for chain in CHAINS:
            cases.append(run(hidden, chain, options.rows))
            print(cases[-1], flush=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    found = {
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
        "seed": 1,
        "rows": options.rows,
        "cases": cases,
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
