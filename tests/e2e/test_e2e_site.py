"""The whole circle of a site, with the real commands: watch, label, train on the stored windows, shelve, vet, serve, roll back."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_e2e_nats import Hospital, free_ports, wardround  # type: ignore[import-not-found]

from wardround.training.bundle import from_safetensors, to_safetensors

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/bin") is None,
        reason="needs Debian's nats-server",
    ),
]
WARDS = ("intensive-care-1", "radiology-1", "outpatients-1")
FEDERATION = """
name = "night"
seed = 3
[data]
use = "site"
days = 0.0
classes = ["Benign", "Attack"]
attack = "Attack"
[partition]
use = "natural"
[secagg]
use = "plain"
[participation]
minimum = 2
[model]
use = "mlp"
hidden = [16]
[training]
learning_rate = 0.05
[rounds]
count = 4
measure_every = 1
[broker]
port = {port}
http = {http}
wait_for = 3
patience_s = 60.0
gateways = {gateways}
[gateway]
own_data = true
heartbeat_s = 5.0
"""


class Sites(Hospital):  # type: ignore[misc]
    """Gateways that train on what they watched."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.running = folder, dict[str, subprocess.Popen[bytes]]()
        port, self.http = free_ports(2)
        self.write("federation.toml", FEDERATION.format(port=port, http=self.http, gateways=json.dumps(WARDS)))

    def watch(self, ward: str, *more: str) -> None:
        self.do("watch", "--pcap", f"lab/{ward}.pcap", "--site", ward, "--name", ward, "-q", *more)

    def incidents(self, ward: str) -> list[dict[str, Any]]:
        return list(json.loads(self.do("incidents", "list", "--site", ward, "--json")))

    def shelf(self, ward: str) -> list[list[str]]:
        """Rows of the shelf: version, slot, round, state ..."""
        return [line.split() for line in self.do("models", "list", "--site", ward).splitlines()[1:]]

    def join(self, ward: str) -> None:
        command = ["join", "federation.toml", "--as", ward, "--data", ward]
        with (self.folder / f"{ward}.out").open("ab") as out:
            self.running[ward] = subprocess.Popen(
                wardround(self.folder, *command), cwd=self.folder, stdout=out, stderr=out
            )

    def train(self) -> None:
        command = wardround(self.folder, "serve", "federation.toml", "--data", WARDS[0])
        with (self.folder / "serve.out").open("ab") as out:
            self.running["serve"] = subprocess.Popen(command, cwd=self.folder, stdout=out, stderr=out)
        for ward in WARDS:
            self.join(ward)
        assert self.wait(300) == 0, (self.folder / "serve.out").read_text()[-3000:]
        for ward in WARDS:
            assert self.stop(ward) == 0, (self.folder / f"{ward}.out").read_text()[-3000:]


def test_yesterdays_windows_train_tonights_model_and_a_worse_one_stays_out(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    try:
        sites.do("lab", "generate", "lab", "--wards", "3", "--unseen", "1", "--sessions", "1", "--minutes", "8")
        labelled = 0
        for ward in WARDS:
            sites.watch(ward)
            for record in sites.incidents(ward):
                number = record["fl_ids"]["incident_id"].rsplit("-", 1)[-1]
                said = "true" if record["alert"]["severity"] <= 2 else "false"
                sites.do("incidents", "label", number, said, "--site", ward, "--note", "e2e")
                labelled += 1
            sites.do("calibrate", "--site", ward, "--days", "0")
        assert labelled
        sites.do("keys", "federation.toml")
        with _watching_beside(sites) as status:
            sites.train()
            _taken_up(sites, status)
        assert (sites.state / "model.safetensors").exists()
        _measured_models_are_shelved_and_vetted(sites)
        _the_watch_uses_what_is_in_service(sites)
        _a_worse_model_stays_out(sites)
    finally:
        sites.close()


@contextlib.contextmanager
def _watching_beside(sites: Sites) -> Iterator[int]:
    """A live watch on the first ward's site while it trains (of the loopback: root alone); the port of its /status, or 0."""
    if os.geteuid():
        yield 0
        return
    (port,) = free_ports(1)
    command = wardround(sites.folder, "watch", "--iface", "lo", "--site", WARDS[0], "--http", str(port), "-q")
    with (sites.folder / "watch.out").open("ab") as out:
        process = subprocess.Popen(command, cwd=sites.folder, stdout=out, stderr=out)
    try:
        yield port
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0, (sites.folder / "watch.out").read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _taken_up(sites: Sites, port: int) -> None:
    """The running watch uses what training put into service."""
    if not port:
        return
    (version,) = [row[0] for row in sites.shelf(WARDS[0]) if row[3] == "active"]
    end = time.monotonic() + 120
    said: dict[str, Any] = {}
    while said.get("model") != version:
        assert time.monotonic() < end, (said, (sites.folder / "watch.out").read_text())
        time.sleep(0.5)
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=10) as page,
        ):
            said = json.loads(page.read())


def _measured_models_are_shelved_and_vetted(sites: Sites) -> None:
    for ward in WARDS:
        rows = sites.shelf(ward)
        assert rows, (sites.folder / f"{ward}.out").read_text()[-2000:]
        assert sum(row[3] == "active" for row in rows) == 1
        assert {row[3] for row in rows} <= {"active", "retired", "refused"}
    said = [log.read_text() for log in sites.folder.rglob("g0*/log.jsonl")]
    assert len(said) == len(WARDS)
    assert all("gateway.shelf" in text for text in said), "what became of a model stands in the gateway's log"


def _the_watch_uses_what_is_in_service(sites: Sites) -> None:
    ward = WARDS[0]
    (version,) = [row[0] for row in sites.shelf(ward) if row[3] == "active"]
    sites.watch(ward, "--alerts", "eve:again.jsonl")
    lines = (sites.folder / "again.jsonl").read_text().splitlines()
    assert lines
    assert {json.loads(line)["fl_ids"]["model_version"] for line in lines} == {version}


def _a_worse_model_stays_out(sites: Sites) -> None:
    """One that calls everything an attack is refused; one that the operator insists on can be taken back."""
    ward = WARDS[0]
    good = from_safetensors((sites.state / "model.safetensors").read_bytes())
    parameters = good.parameters.copy()
    parameters[-1] += 50.0
    (sites.folder / "bad.safetensors").write_bytes(to_safetensors(replace(good, parameters=parameters)))
    before = sites.shelf(ward)
    (active,) = [row[0] for row in before if row[3] == "active"]
    command = [sys.executable, "-c", "from wardround.cli.main import main; main()"]
    added = subprocess.run(
        [*command, "models", "add", "bad.safetensors", "--site", ward],
        cwd=sites.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert added.returncode == 1, added.stdout + added.stderr
    assert "refused" in added.stdout
    assert [row[0] for row in sites.shelf(ward) if row[3] == "active"] == [active]
    (bad,) = [row[0] for row in sites.shelf(ward) if row not in before and row[3] == "refused"]
    sites.do("models", "use", bad, "--site", ward)
    assert [row[0] for row in sites.shelf(ward) if row[3] == "active"] == [bad]
    assert sites.do("models", "rollback", "--site", ward) == f"{active} is in service again\n"
