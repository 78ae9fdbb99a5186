"""Flower 1.41's simulation engine (Ray): a ServerApp with FedAvg and a ClientApp with the plain PyTorch loop, one CPU per actor.

CPU time is that of the whole process tree between the ends of two rounds; the first round, with Ray's start, stands apart.
"""

# mypy: ignore-errors
# a script for an environment that mypy does not see: imported names are the peer's, and task.py by its folder

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_worker_niceness="0")

import numpy as np
import task
import torch
import torch_loop
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

TICK = os.sysconf("SC_CLK_TCK")
CLIENT = ClientApp()


@CLIENT.train()
def train(message: Message, context: Context) -> Message:
    torch.set_num_threads(1)
    number = int(context.node_config["partition-id"])
    net = torch_loop.network()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    x, y = (torch.from_numpy(part) for part in task.client(number))
    torch_loop.train(net, x, y, torch.from_numpy(task.batches(number)))
    content = RecordDict(
        {"arrays": ArrayRecord(net.state_dict()), "metrics": MetricRecord({"num-examples": task.ROWS})}
    )
    return Message(content=content, reply_to=message)


class Clocked(FedAvg):
    """FedAvg that notes the time, the CPU time and the memory of the process tree after each round."""

    marks: list[tuple[float, float, float]]
    mean: np.ndarray

    def aggregate_train(self, server_round: int, replies: Any) -> Any:
        replies = list(replies)
        arrays, metrics = super().aggregate_train(server_round, replies)
        if arrays is None:
            raise SystemExit(f"round {server_round}: no reply could be used ({len(replies)} replies)")
        if server_round == 1:
            net = torch_loop.network()
            net.load_state_dict(arrays.to_torch_state_dict())
            self.mean = torch_loop.read(net).copy()
        self.marks.append((*tree(), time.perf_counter()))
        return arrays, metrics


def tree() -> tuple[float, float]:
    """CPU seconds and resident MiB (shared pages counted once per process: PSS) of this process and its descendants."""
    parents: dict[int, int] = {}
    ticks: dict[int, float] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents[int(folder.name)] = int(fields[1])
            ticks[int(folder.name)] = sum(map(int, fields[11:15])) / TICK
    ours, todo = set(), [os.getpid()]
    while todo:
        ours.add(found := todo.pop())
        todo += [pid for pid, parent in parents.items() if parent == found]
    return sum(ticks.get(pid, 0.0) for pid in ours), sum(_pss(pid) for pid in ours)


def _pss(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def main() -> None:
    options = task.arguments()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    server = ServerApp()
    strategy = Clocked(
        fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=options.clients, min_available_nodes=options.clients
    )
    strategy.marks = []

    @server.main()
    def run(grid: Grid, context: Context) -> None:
        del context
        net = torch_loop.network()
        torch_loop.load(net, [torch.from_numpy(t) for t in task.start()])
        strategy.start(grid=grid, initial_arrays=ArrayRecord(net.state_dict()), num_rounds=options.rounds + 1)

    began = time.perf_counter()
    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, CLIENT, options.clients, backend_config=resources)
    cpu, memory, wall = (np.array(column) for column in zip(*strategy.marks, strict=True))
    figures = {
        "cpu_s": np.diff(cpu).tolist(),
        "wall_s": np.diff(wall).tolist(),
        "first_round_s": float(wall[0] - began),
        "peak_mib": float(memory.max()),
    }
    task.report(options, figures, strategy.mean)


if __name__ == "__main__":
    main()
