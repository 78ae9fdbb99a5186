"""The lattice sum over real processes: members that die inside the committee's turns, and every model beside its simulation."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_e2e_nats import NAMES, Hospital, apart, simulated, until  # type: ignore[import-not-found]

LONG = "WARDROUND_KILLS" in os.environ  # make kills
MORTAL = Path(__file__).with_name("mortal.py")
EVERYBODY = (*NAMES, "maternity 1")
PATIENCE_S = 12  # what one death costs inside a turn, and what the living have to answer in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("nats-server", path=f"{os.environ['PATH']}:/usr/sbin") is None, reason="needs Debian's nats-server"
    ),
]

COHORTS = f"""use = "lattice"
committee = "small"
members = [{", ".join(f'"{name}"' for name in EVERYBODY)}]
minimum = 2"""


class Ward(Hospital):  # type: ignore[misc]
    """Four gateways, each with a member of the committee in its process, and cohorts of two: every turn there is."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 400, COHORTS)

    def write(self, name: str, text: str) -> None:
        text = text.replace("wards = 3", "wards = 4").replace(
            "measure_every = 3", "measure_every = 400\ncohort_size = 2"
        )
        super().write(name, text.replace("wait_for = 3", f"wait_for = 4\ncommittee_s = {PATIENCE_S}"))

    def start(self, who: str) -> None:
        if who == "serve":
            super().start(who)
            return
        with (self.folder / f"{who}.out").open("ab") as out:
            command = [sys.executable, str(MORTAL), str(self.folder), "join", "federation.toml", "--as", who]
            self.running[who] = subprocess.Popen(command, cwd=self.folder, stdout=out, stderr=out)

    def dead(self) -> list[str]:
        return [who for who in EVERYBODY if self.running[who].poll() is not None]

    def bury(self) -> None:
        for who in self.dead():
            self.running.pop(who).wait()
            self.start(who)

    def answers(self) -> list[list[str]]:
        return [line.split() for line in (self.folder / "answers").read_text().splitlines()]

    def rounds(self, kind: str = "RoundDone") -> list[int]:
        return [e["round"] for e in self.events() if e["event"] == kind]

    def gone_on(self, by: int) -> None:
        """Wait until so many more rounds are over."""
        before = len(self.rounds())
        until(lambda: len(self.rounds()) >= before + by, 240)


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    place = Ward(tmp_path)
    yield place
    place.close()


@pytest.mark.parametrize(
    "within, beyond",
    [("BeaconShares", "Beacon"), *([("Beacon", "BeaconShares"), ("Proposal", "Certificate")] if LONG else [])],
)
def test_members_die_at_the_beacon_and_at_the_partition(ward: Ward, within: str, beyond: str) -> None:
    for who in ("serve", *EVERYBODY):
        ward.start(who)
    until(lambda: len(ward.rounds()) >= 1, 240)
    (ward.folder / f"2.{within}").touch()
    until(ward.dead, 120)
    ward.gone_on(1)  # one of four may be away: the round it died in is opened without it
    assert ward.rounds("RoundFailed") == []
    assert len(ward.dead()) == 1
    ward.bury()
    before = len(ward.answers())
    until(lambda: any(member == "2" for _, member, *_ in ward.answers()[before:]), 240)  # it is back on the committee
    ward.gone_on(1)
    assert ward.rounds("RoundFailed") == []
    for member in (1, 3, 4):
        (ward.folder / f"{member}.{beyond}").touch()
    until(lambda: len(ward.dead()) == 3, 120)
    until(lambda: len(ward.rounds("RoundFailed")) == 1, 240)
    (lost,) = ward.rounds("RoundFailed")
    shares = Counter(identity for identity, _, _, said in ward.answers() if said == "SumShares")
    opened = len([identity for identity, count in shares.items() if count >= 3])
    if beyond in ("Beacon", "BeaconShares"):  # nobody saw a certificate of a partition: not one sum-share was given out
        assert set(shares.values()) <= {3, 4}
    else:  # the one that lived gave out its own, and three are needed
        assert Counter(shares.values())[1] == 1
    ward.bury()
    until(lambda: any(number > lost for number in ward.rounds()), 240)
    ward.gone_on(1)
    assert ward.rounds("RoundFailed") == [lost]
    assert len([i for i, n in Counter(a[0] for a in ward.answers() if a[3] == "SumShares").items() if n >= 3]) > opened
    assert ward.stop("serve") == 0


SUMS = """use = "lattice"
committee = "small"
members = ["intensive care 1", "radiology 1", "outpatients 1", "registrar"]
minimum = 2
bits = 16"""
MODELS = {
    "residual": 'use = "residual"\nwidth = 8\nblocks = 1',
    "logistic": 'use = "logistic"',
    "autoencoder": 'use = "autoencoder"\nhidden = [8, 4, 8]',
    "mlp": 'use = "mlp"\nhidden = [16]',
}


@pytest.mark.skipif(not LONG, reason="four federations of processes: make kills")
@pytest.mark.parametrize("model", MODELS)
def test_a_models_secure_sum_over_processes_ends_where_the_simulation_does(tmp_path: Path, model: str) -> None:
    """Always run: all models through the coordinator's loop (tests/drivers/nats), and an mlp with processes (test_e2e_nats.py)."""

    class Other(Hospital):  # type: ignore[misc]
        def write(self, name: str, text: str) -> None:
            text = text.replace('use = "mlp"\nhidden = [32]', MODELS[model])
            super().write(name, text.replace("wards = 3", 'wards = 3\nlabels = "binary"'))

    place = Other(tmp_path, 4, SUMS)
    assert MODELS[model] in (tmp_path / "federation.toml").read_text()
    try:
        for who in ("serve", *NAMES, "registrar"):
            place.start(who)
        assert place.wait(240) == 0, (tmp_path / "serve.out").read_text()[-2000:]
        rounds = [e for e in place.events() if e["event"] == "RoundDone"]
        assert [(e["round"], e["answered"]) for e in rounds] == [(1, 3), (2, 3), (3, 3), (4, 3)]
        reached, expected = place.model(), simulated(place)
        assert apart(reached, expected) < 0.03
        assert max(float(np.median(np.abs(reached[key] - expected[key]))) for key in expected) < 1e-3
    finally:
        place.close()
