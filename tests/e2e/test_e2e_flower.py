"""Flower's real engine on loopback: `flwr run` of the example app, a SuperLink that is killed, two SuperNodes, all processes."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from wardround.config import override
from wardround.drivers.nats.provisioning import Asked, keys
from wardround.drivers.simulation.run import Options, start_run
from wardround.drivers.sinks.jsonlog import read
from wardround.events import Note, RoundDone, RunStarted, ignore

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
SHORT = "rounds.count=1 rounds.measure_every=1"
OPEN = f"{SHORT} data.wards=2 participation.minimum=2 secagg={{use='plain'}} auth.use=none"
WITHIN_S = 900.0  # three exchanges of plain sums take about 30 s, some twenty turns of the lattice six times as long; busy machines longer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BIN / "flower-superlink").exists(), reason='needs pip install "wardround[flower]" in this environment'
    ),
]


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Engine:
    """A SuperLink and SuperNodes with their own FLWR_HOME; everything ends with ``stop``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, list[subprocess.Popen[bytes]]()
        self.port, *self.nodes = free_ports(5)
        home = folder / "home"
        home.mkdir()
        link = f'[superlink]\ndefault = "lab"\n[superlink.lab]\naddress = "127.0.0.1:{self.port}"\ninsecure = true\n'
        (home / "config.toml").write_text(link, encoding="utf-8")
        self.environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "OMP_NUM_THREADS": "1",
        }

    def start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.started.append(
                subprocess.Popen(
                    [BIN / arguments[0], *arguments[1:]],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.folder,
                    env=self.environment,
                    start_new_session=True,
                )
            )

    def link(self) -> None:
        """Start the SuperLink and wait until it takes connections."""
        flags = (
            "--insecure",
            "--disable-runtime-dependency-installation",
            "--database",
            str(self.folder / "superlink.db"),
        )
        self.start("superlink", "flower-superlink", *flags, "--host", "127.0.0.1", "--port", str(self.port))
        end = time.monotonic() + 200
        while not answers(self.port):
            if time.monotonic() > end or self.started[-1].poll() is not None:
                pytest.skip(f"the SuperLink does not start here: {self.logs()[-600:]}")
            time.sleep(0.2)

    def join(self, nodes: int) -> None:
        for index, port in enumerate(self.nodes[:nodes]):
            config = f'partition-id={index} state="{self.folder / f"site{index}"}" keys="{self.folder / "keys"}"'
            flags = ("--insecure", "--superlink", f"127.0.0.1:{self.port}", "--host", "127.0.0.1", "--port", str(port))
            self.start(f"supernode{index}", "flower-supernode", *flags, "--node-config", config)

    def run(self, app: Path, settings: str) -> None:
        done = subprocess.run(
            [BIN / "flwr", "run", app, "lab", "--run-config", settings],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def logs(self) -> str:
        return "\n".join(
            f"== {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in sorted(self.folder.glob("*.log"))
        )

    def wait_for(self, path: Path) -> None:
        end = time.monotonic() + WITHIN_S
        while not path.exists():
            assert time.monotonic() < end, self.logs()
            time.sleep(0.2)

    def kill_link(self) -> None:
        """kill -9 of the SuperLink and of the ServerApp that it started."""
        os.killpg(self.started[0].pid, signal.SIGKILL)
        self.started[0].wait(timeout=90)

    def stop(self) -> None:
        for process in self.started:  # a session each: the processes that they start go with them
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=90)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def simulated(folder: Path, settings: str) -> dict[str, np.ndarray]:
    """The model of the same experiment in the simulation."""
    text = (ROOT / "examples" / "flower" / "ward" / "experiment.toml").read_text(encoding="utf-8")
    only = [*settings.split(), "evaluation.centralised=false", "evaluation.local=false"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        run = start_run(
            override(text, only, "experiment.toml"), "experiment.toml", Options(None, folder, None, "simulate"), ignore
        )
    found: dict[str, np.ndarray] = load_file(run.model / "model.safetensors")
    return found


def apart(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def killed_and_run_again(engine: Engine, nodes: int, settings: str) -> dict[str, np.ndarray]:
    """`flwr run`, the SuperLink and its ServerApp killed at the first checkpoint, `flwr run` once more: the model."""
    app, state = shutil.copytree(ROOT / "examples" / "flower", engine.folder / "app"), engine.folder / "state"
    config = f'state="{state}" keys="{engine.folder / "keys"}" wait-for={nodes} set="{settings}"'
    engine.link()
    engine.join(nodes)
    engine.run(app, config)
    engine.wait_for(state / "checkpoint.bin")
    engine.kill_link()
    assert not (state / "result.json").exists()
    engine.link()
    engine.run(app, config)
    engine.wait_for(state / "result.json")
    found: dict[str, np.ndarray] = load_file(state / "model.safetensors")
    return found


def starts(engine: Engine) -> list[RunStarted]:
    return [event for event in read(engine.folder / "state" / "log.jsonl") if isinstance(event, RunStarted)]


def test_flwr_run_killed_and_run_again_ends_with_the_simulations_model(engine: Engine, tmp_path: Path) -> None:
    """With real processes: a new ClientApp process per message; the SuperLink killed after set-up, and `flwr run` once more."""
    model = killed_and_run_again(engine, 2, OPEN)
    begun = starts(engine)
    assert [event.parameters > 0 for event in begun] == [False, True]  # the second run found the set-up done
    assert begun[0].run == begun[1].run == json.loads((tmp_path / "state" / "result.json").read_text())["run"]
    assert apart(model, simulated(tmp_path, OPEN)) < 1e-6
    assert sorted(path.name for path in tmp_path.glob("site*/*.bin")) == ["client-00000.bin", "client-00001.bin"]


@pytest.mark.skipif("WARDROUND_FLOWER" not in os.environ, reason="several minutes of Flower's polling: make flower")
def test_layers_one_and_two_on_flower_s_engine(engine: Engine, tmp_path: Path) -> None:
    """The example as it stands: four enrolled nodes, each a gateway and a member; killed before its first sum is opened."""
    shutil.copy(ROOT / "examples" / "flower" / "ward" / "experiment.toml", tmp_path)
    list(keys(Asked(tmp_path / "experiment.toml")))
    model = killed_and_run_again(engine, 4, SHORT)
    begun = starts(engine)
    assert begun[0].run == begun[1].run
    assert apart(model, simulated(tmp_path, SHORT)) < 4 * 8 / 255  # rounding at 8 bits, as over NATS
    events = list(read(tmp_path / "state" / "log.jsonl"))
    assert [event.answered for event in events if isinstance(event, RoundDone)] == [4]
    here = [event.text for event in events if isinstance(event, Note) and event.code == "auth.session"]
    assert {text.removesuffix(" has authenticated") for text in here} >= {"radiology 1", "radiology 1 (committee)"}
    assert not list(tmp_path.glob("site*/*.bin"))
    assert len(list(tmp_path.glob("site*/*/state.db"))) == 8
