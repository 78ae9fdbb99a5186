"""The same exchange on NVFLARE: its POC processes (a server, a parent and a job process per client) on loopback, TLS as it provisions it.

    exchange   its Controller's broadcast_and_wait: 80 kB to every client, 80 kB from each
    round      its own FedAvg workflow: 20,000 parameters to every client, theirs back, averaged, the model saved

Each as NVFLARE comes (clients ask for work every 2 s) and *tuned* (every 0.01 s at both ends), which its configuration allows.

NVFLARE has an environment of its own: python -m venv VENV && VENV/bin/pip install nvflare==2.9.0
Run by bench/transport_engines.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from transport import spread  # type: ignore[import-not-found]

HERE = Path(__file__).parent
CODE = """
import json, time
import numpy as np
from nvflare.apis.controller_spec import Task
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.executor import Executor
from nvflare.apis.impl.controller import Controller
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.workflows.fedavg import FedAvg

VALUES = {"w": np.zeros(20_000, dtype=np.float32)}


class Answer(Executor):
    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        return DXO(DataKind.WEIGHTS, data=VALUES, meta={"NUM_STEPS_CURRENT_ROUND": 1}).to_shareable()


class Exchanges(Controller):
    def __init__(self, out, count, clients, period):
        super().__init__(task_check_period=period)
        self.out, self.count, self.clients = out, count, clients

    def start_controller(self, fl_ctx):
        pass

    def stop_controller(self, fl_ctx):
        pass

    def control_flow(self, abort_signal, fl_ctx):
        taken = []
        for turn in range(self.count):
            data = DXO(DataKind.WEIGHTS, data=VALUES).to_shareable()
            task = Task(name="train", data=data, timeout=120)
            began = time.perf_counter()
            self.broadcast_and_wait(task=task, fl_ctx=fl_ctx, min_responses=self.clients, abort_signal=abort_signal)
            taken.append(time.perf_counter() - began)
        with open(self.out, "w") as file:
            json.dump(taken, file)


class Rounds(FedAvg):
    def __init__(self, out, folder, **more):
        super().__init__(**more)
        self.out, self.folder, self.stamps = out, folder, []

    def load_model(self):
        return FLModel(params=dict(VALUES))

    def save_model(self, model):
        np.save(self.folder + "/model.npy", model.params["w"])
        self.stamps.append(time.perf_counter())
        if len(self.stamps) == self.num_rounds:
            with open(self.out, "w") as file:
                json.dump([b - a for a, b in zip(self.stamps, self.stamps[1:])], file)
"""
SUBMIT = """
import sys, time
from nvflare.fuel.flare_api.flare_api import new_secure_session
session = new_secure_session("admin@nvidia.com", sys.argv[1], timeout=60.0)
for job in sys.argv[2:]:
    session.monitor_job(session.submit_job(job), timeout=240, poll_interval=0.2)
session.close()
"""


PERIODS = {"": (2.0, 0.2, 0.5), "tuned_": (0.01, 0.01, 0.01)}
"""Seconds between a client's questions for work, and between the server's looks at answers (a Controller, FedAvg)."""


def job(folder: Path, name: str, clients: int, count: int) -> Path:
    """A job folder whose server runs exchanges, then rounds, and whose clients answer."""
    asks, looks, fedavg = PERIODS[name]
    plain = {"out": str(folder / f"{name}exchange.json"), "count": count + 3, "clients": clients, "period": looks}
    more = {
        "out": str(folder / f"{name}round.json"),
        "folder": str(folder),
        "num_clients": clients,
        "num_rounds": count + 4,
    }
    workflows = [
        {"id": "exchanges", "path": "ping.Exchanges", "args": plain},
        {"id": "rounds", "path": "ping.Rounds", "args": {**more, "task_check_period": fedavg}},
    ]
    name = f"{name}job"
    app = folder / name / "app"
    (app / "config").mkdir(parents=True)
    (app / "custom").mkdir()
    (app / "custom" / "ping.py").write_text(CODE, encoding="utf-8")
    meta = {"name": name, "resource_spec": {}, "min_clients": clients, "deploy_map": {"app": ["@ALL"]}}
    (folder / name / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    server = {"format_version": 2, "server": {"task_request_interval": asks}, "workflows": workflows, "components": []}
    answer = {"tasks": ["train"], "executor": {"path": "ping.Answer", "args": {}}}
    client = {"format_version": 2, "executors": [answer], "components": []}
    (app / "config" / "config_fed_server.json").write_text(json.dumps(server), encoding="utf-8")
    (app / "config" / "config_fed_client.json").write_text(json.dumps(client), encoding="utf-8")
    return folder / name


class Poc:
    """NVFLARE's proof-of-concept federation in ``folder``; ``stop`` ends its processes."""

    def __init__(self, folder: Path, venv: Path, clients: int) -> None:
        self.folder, self.venv = folder, venv
        self.environment = {
            **os.environ,
            "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
            "NVFLARE_POC_WORKSPACE": str(folder / "poc"),
            "HOME": str(folder),
            "PYTHONPATH": "",
            "OMP_NUM_THREADS": "1",
        }
        self.command("nvflare", "poc", "prepare", "-n", str(clients))
        self.kits = folder / "poc" / "example_project" / "prod_00"
        self.started: list[subprocess.Popen[bytes]] = []
        for who in ["server", *(f"site-{i + 1}" for i in range(clients))]:
            with (folder / f"{who}.log").open("wb") as log:
                script = ["bash", str(self.kits / who / "startup" / "sub_start.sh"), "--once"]
                self.started.append(
                    subprocess.Popen(script, stdout=log, stderr=log, env=self.environment, start_new_session=True)
                )

    def command(self, *arguments: str) -> None:
        said = subprocess.run(
            arguments, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=280, check=False
        )
        if said.returncode:
            raise RuntimeError(f"{arguments[:2]}: {said.stdout[-800:]} {said.stderr[-800:]}")

    def memory_mb(self) -> float:
        """Proportional resident memory of all processes of this federation."""
        return sum(pss_kb(pid) for pid in of_sessions({p.pid for p in self.started})) / 1000

    def stop(self) -> None:
        for pid in of_sessions({p.pid for p in self.started}):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for process in self.started:
            process.wait()


def of_sessions(leaders: set[int]) -> list[int]:
    """Processes whose session is led by one of ``leaders``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) in leaders:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found


def pss_kb(pid: int) -> int:
    """Proportional resident memory of a process; 0 where it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


def measured(folder: Path, venv: Path, clients: int, count: int) -> dict[str, Any]:
    """Exchanges and rounds of a federation of ``clients``; the first three, which also start processes, are left out."""
    outs = {f"{how}{what}": folder / f"{how}{what}.json" for how in PERIODS for what in ("exchange", "round")}
    jobs = [job(folder, how, clients, count) for how in PERIODS]
    began, most = time.perf_counter(), 0.0
    poc = Poc(folder, venv, clients)
    try:
        (folder / "submit.py").write_text(SUBMIT, encoding="utf-8")
        kit = str(poc.kits / "admin@nvidia.com")
        with (folder / "submit.log").open("wb") as log:
            admin = subprocess.Popen(
                [str(venv / "bin" / "python"), "submit.py", kit, *map(str, jobs)],
                cwd=folder, env=poc.environment, stdout=log, stderr=log,
            )  # fmt: skip
        while admin.poll() is None:
            most = max(most, poc.memory_mb())
            if time.perf_counter() - began > 280:
                admin.kill()
            time.sleep(1.0)
        if admin.wait() or not all(out.exists() for out in outs.values()):
            raise RuntimeError((folder / "submit.log").read_text(errors="replace")[-1500:])
        taken = {name: spread(json.loads(out.read_text(encoding="utf-8"))[3:]) for name, out in outs.items()}
        return {**taken, "memory_mb": round(most), "all_s": round(time.perf_counter() - began, 1)}
    finally:
        poc.stop()


def nvflare_version(venv: Path) -> str:
    """The version that ``venv`` holds."""
    code = "from importlib.metadata import version; print(version('nvflare'))"
    done = subprocess.run([str(venv / "bin" / "python"), "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()
