"""Network and disk faults under real processes: each in a network namespace of its own, on a line that loses, delays, repeats and
swaps packets, is cut and heals; a broker that restarts; a disk that fills up at a checkpoint.

The model that comes out is the undisturbed one, or the log names the round and how many answers it lost.
``make netfaults`` runs all of it; by default only the short one runs.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rough_network import RoughNetwork, missing  # type: ignore[import-not-found]
from test_e2e_nats import NAMES, Hospital, apart, simulated, wardround  # type: ignore[import-not-found]

BROKER_PORT = re.compile(r"\nport = (\d+)")
LONG = bool(os.environ.get("WARDROUND_NETFAULTS"))
EVERYBODY = ("serve", *NAMES)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("nats-server", path=f"{os.environ['PATH']}:/usr/sbin") is None, reason="needs Debian's nats-server"
    ),
]
needs_network = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
long = pytest.mark.skipif(not LONG, reason="long: make netfaults")


class Apart(Hospital):  # type: ignore[misc]
    """A hospital whose coordinator and gateways have a namespace each."""

    def __init__(self, folder: Path, rounds: int, patience_s: float = 30.0) -> None:
        self.net = RoughNetwork(f"wr{os.getpid() % 10000}x", 4, seed=rounds)
        super().__init__(folder, rounds)
        file = folder / "federation.toml"
        text = file.read_text().replace("patience_s = 30.0", f"patience_s = {patience_s}")
        file.write_text(text.replace("[broker]", f'[broker]\nhost = "{self.net.address(0)}"'))
        for made in ("keys", "registrar"):  # once more: the broker's certificate names its address
            shutil.rmtree(folder / made)
        self.do("keys", "federation.toml")

    def start(self, who: str) -> None:
        command = ["serve", "federation.toml"] if who == "serve" else ["join", "federation.toml", "--as", who]
        inside = self.net.inside(EVERYBODY.index(who), wardround(self.folder, *command))
        with (self.folder / f"{who}.out").open("ab") as out:
            self.running[who] = subprocess.Popen(inside, cwd=self.folder, stdout=out, stderr=out)

    def rounds(self) -> list[dict[str, Any]]:
        return [e for e in self.events() if e["event"] in ("RoundDone", "RoundFailed")]

    def after(self, rounds: int, seconds: float = 120) -> None:
        until(lambda: len(self.rounds()) >= rounds, seconds)

    def close(self) -> None:
        super().close()
        time.sleep(0.3)  # the broker follows its coordinator
        self.net.close()


def until(what: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)


def finished(place: Hospital, rounds: int, seconds: float = 300) -> list[dict[str, Any]]:
    """Wait for the end; the rounds that lost an answer or failed, as the log says it."""
    assert place.wait(seconds) == 0, (place.folder / "serve.out").read_text()[-2000:]
    told = [e for e in place.events() if e["event"] in ("RoundDone", "RoundFailed")]
    assert [e["round"] for e in told] == list(range(1, rounds + 1)), "every round is in the log, once"
    return [e for e in told if e["event"] == "RoundFailed" or e["answered"] < 3]


def same_or_said(place: Hospital, lost: list[dict[str, Any]]) -> None:
    """The undisturbed model, or rounds that the log names with what they lost."""
    if not lost:
        assert apart(place.model(), simulated(place)) < 1e-4
    for each in lost:
        assert each["event"] == "RoundFailed" or each["dropped"] + each["offline"] > 0, each


@pytest.fixture
def apart_(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Apart]:
    place = Apart(tmp_path, *request.param)
    yield place
    place.close()


@needs_network
@pytest.mark.parametrize("apart_", [(6,)], indirect=True)
def test_a_lossy_line_and_a_short_cut_cost_nothing(apart_: Apart) -> None:
    """The short one: 3 % loss, 10 ms, repeated and swapped packets, and a gateway cut off for half a second."""
    apart_.net.set(loss=0.03, delay_s=0.01, jitter_s=0.005, duplicate=0.03, swap=0.05)
    for who in EVERYBODY:
        apart_.start(who)
    apart_.after(2)
    apart_.net.cut(2)
    time.sleep(0.5)
    apart_.net.cut()
    lost = finished(apart_, 6)
    counts = apart_.net.counts
    assert min(counts["lost"], counts["duplicated"], counts["swapped"]) > 10, counts
    assert counts["cut"] > 0
    same_or_said(apart_, lost)


@long
@needs_network
@pytest.mark.parametrize("apart_", [(20,)], indirect=True)
def test_a_bad_line_costs_nothing(apart_: Apart) -> None:
    """10 % loss, 50 +- 30 ms, a tenth repeated, a fifth out of order."""
    apart_.net.set(loss=0.10, delay_s=0.05, jitter_s=0.03, duplicate=0.10, swap=0.20)
    for who in EVERYBODY:
        apart_.start(who)
    lost = finished(apart_, 20, 400)
    print(apart_.net.counts, "rounds with losses:", [e["round"] for e in lost])
    same_or_said(apart_, lost)


@long
@needs_network
@pytest.mark.parametrize("apart_", [(200, 3.0)], indirect=True)
def test_partitions_heal_and_the_log_names_what_they_cost(apart_: Apart) -> None:
    """A gateway cut off for longer than a round's patience, then the coordinator cut off from everybody."""
    apart_.net.set(delay_s=0.02)
    for who in EVERYBODY:
        apart_.start(who)
    apart_.after(3)
    apart_.net.cut(1)
    apart_.after(len(apart_.rounds()) + 5)
    apart_.net.cut()
    until(lambda: apart_.rounds()[-1].get("answered") == 3)
    apart_.net.cut(0)
    time.sleep(8)
    stopped = len(apart_.rounds())
    apart_.net.cut()
    lost = finished(apart_, 200)
    print("rounds with losses:", [(e["round"], e["event"], e["answered"]) for e in lost], "cut at", stopped)
    assert lost, "a gateway away for longer than the patience misses rounds"
    assert stopped < 200
    same_or_said(apart_, lost)
    assert apart_.rounds()[-1]["answered"] == 3, "healed: everybody is back"


@long
@needs_network
@pytest.mark.parametrize("apart_", [(250,)], indirect=True)
def test_a_gateway_cut_off_for_50_rounds_comes_back_with_the_next(apart_: Apart) -> None:
    """Its connection is dead and it is not invited; when the cut heals one message brings it up to date."""
    apart_.net.set(delay_s=0.02)
    for who in EVERYBODY:
        apart_.start(who)
    apart_.after(2)
    apart_.net.cut(3)
    apart_.after(len(apart_.rounds()) + 52)
    apart_.net.cut()
    lost = finished(apart_, 250)
    print("rounds without it:", len(lost))
    assert 50 <= len(lost) < 248
    assert apart_.rounds()[-1]["answered"] == 3


class Ward(Hospital):  # type: ignore[misc]
    """A hospital with a broker of its own (not the coordinator's child)."""

    def __init__(self, folder: Path, rounds: int) -> None:
        super().__init__(folder, rounds)
        self.port = int(BROKER_PORT.search((folder / "federation.toml").read_text())[1])  # type: ignore[index]
        accounts = self.do("keys", "federation.toml", "--broker-config")
        keys = folder / "keys"
        (folder / "broker.conf").write_text(
            f'listen: "127.0.0.1:{self.port}"\nserver_name: "own"\njetstream {{ store_dir: "{folder / "js"}" }}\n'
            f'tls {{ cert_file: "{keys / "broker.pem"}", key_file: "{keys / "broker.key"}" }}\n{accounts}'
        )
        file = folder / "federation.toml"
        file.write_text(file.read_text().replace("[broker]", f'[broker]\nurl = "tls://127.0.0.1:{self.port}"'))
        self.broker: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        with (self.folder / "broker.out").open("ab") as out:
            self.broker = subprocess.Popen(
                [shutil.which("nats-server", path=f"{os.environ['PATH']}:/usr/sbin") or "", "-c", "broker.conf"],
                cwd=self.folder,
                stdout=out,
                stderr=out,
            )

    def end(self) -> None:
        assert self.broker is not None
        self.broker.kill()
        self.broker.wait()

    def close(self) -> None:
        super().close()
        self.end()


@long
def test_a_broker_that_is_killed_and_loses_its_disk_costs_nothing(tmp_path: Path) -> None:
    place = Ward(tmp_path, 20)
    try:
        place.begin()
        for who in EVERYBODY:
            place.start(who)
        for turn in range(4):
            until(lambda: len([e for e in place.events() if e["event"] == "RoundDone"]) > 3 * turn)  # noqa: B023
            place.end()
            if turn % 2:
                shutil.rmtree(tmp_path / "js")
            time.sleep(0.5 * turn)
            place.begin()
        same_or_said(place, finished(place, 20))
    finally:
        place.close()


@long
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_disks_that_fill_up_are_waited_for(tmp_path: Path) -> None:
    """Coordinator, broker and gateways on one small disk that fills up in the middle: they say so, wait, and go on."""
    # mounted outside of tmp_path: pytest's cleaning up would stumble over what a killed run leaves mounted
    disk = Path(tempfile.mkdtemp(prefix="wardround-disk"))
    (tmp_path / "federation-state").symlink_to(disk)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("tmpfs cannot be mounted here")
    place = Hospital(tmp_path, 12)
    try:
        for who in EVERYBODY:
            place.start(who)
        until(lambda: len([e for e in place.events() if e["event"] == "RoundDone"]) >= 3)
        filled = disk / "filler"
        with filled.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        out = tmp_path / "serve.out"
        until(lambda: "disk.full" in out.read_text() or "broker.away" in out.read_text())
        time.sleep(3)
        stuck = len([e for e in place.events() if e["event"] == "RoundDone"])
        assert place.running["serve"].poll() is None, out.read_text()[-2000:]
        filled.unlink()
        same_or_said(place, finished(place, 12))
        told = {e.get("code") for e in place.events()}
        assert told & {"disk.full", "broker.away"}, "the log says it, once there is room"
        assert stuck < 12
    finally:
        place.close()
        time.sleep(0.5)
        subprocess.run(["umount", "-l", str(disk)], check=True)
        disk.rmdir()
