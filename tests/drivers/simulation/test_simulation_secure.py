"""The secure sum in the simulated round: same result, nothing of one client at the server, faults, resume."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wardround.drivers.simulation import federate
from wardround.drivers.simulation.run import Options, resume_run, start_run
from wardround.drivers.store.rundir import RunDir
from wardround.events import CheckpointSaved, Event, Note, RoundDone, RoundFailed, ignore
from wardround.federation.messages import Answer
from wardround.federation.server import Server
from wardround.federation.server_state import ServerState
from wardround.secagg.messages import Contribution
from wardround.secagg.server import Server as SumServer
from wardround.traffic.normal import from_arrays
from wardround.training.bundle import from_safetensors
from wardround.wire import decode, encode

TOML = """
name = "secure"
seed = 5
[data]
use = "hospital"
wards = 8
devices_per_ward = 2
windows_per_device = 120
[split]
use = "stratified"
[partition]
use = "natural"
[model]
use = "mlp"
hidden = [16]
[training]
learning_rate = 0.1
[rounds]
count = 4
measure_every = 2
[evaluation]
centralised = false
local = false
[secagg]
use = "lattice"
"""


def run(folder: Path, text: str = TOML, emit: Any = ignore) -> RunDir:
    return start_run(text, "x.toml", Options(None, folder, None, "test"), emit)


def parameters(run_: RunDir) -> np.ndarray:
    return from_safetensors((run_.model / "model.safetensors").read_bytes()).parameters


@pytest.mark.parametrize("use", ["lattice", "pairwise"])
def test_the_secure_federation_ends_within_the_quantisers_error_of_the_plain_one(tmp_path: Path, use: str) -> None:
    plain = run(tmp_path, TOML.replace('"lattice"', '"plain"'))
    secure = run(tmp_path, TOML.replace('"lattice"', f'"{use}"'))
    moved = np.abs(parameters(plain)).max()
    assert np.abs(parameters(secure) - parameters(plain)).max() < 0.05 * moved
    score = [r.json("metrics.json")["models"]["federated"]["overall"]["macro_f1"] for r in (plain, secure)]
    assert score[1] == pytest.approx(score[0], abs=0.02)  # 300 test rows: one row is a third of a point


def test_counts_are_exact(tmp_path: Path) -> None:
    totals = []
    for use in ("plain", "lattice"):
        run_ = run(tmp_path, TOML.replace('"lattice"', f'"{use}"').replace("count = 4", "count = 1"))
        saved = decode(run_.checkpoint.read_bytes(), federate.Checkpoint)
        totals.append(decode(saved.server, ServerState).totals)
    assert np.array_equal(totals[0], totals[1])


def test_nothing_about_one_client_reaches_the_server_in_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Answer] = []
    seen: list[bytes] = []
    contributions: list[Contribution] = []
    chunk, sums = federate.Federation._chunk, Server.opened

    def spy_answers(self: Any, ask: Any, peers: Any, engine: Any) -> Any:
        found = chunk(self, ask, peers, engine)
        answers.extend(answer for _, answer, _ in found)  # type: ignore[misc]
        return found

    def spy_opened(self: Server, peers: Any, rows: Any, *more: Any) -> None:
        assert all(row.clients >= 4 for row in rows)
        sums(self, peers, rows, *more)
        seen.append(self.to_bytes())

    received = SumServer.contribution

    def spy_contribution(self: SumServer, contribution: Contribution, now: float) -> Any:
        contributions.append(contribution)
        seen.append(encode(contribution))
        return received(self, contribution, now)

    def forbidden(self: Server, *args: Any) -> None:
        raise AssertionError("the server was given a single client's answer")

    monkeypatch.setattr(federate.Federation, "_chunk", spy_answers)
    monkeypatch.setattr(Server, "opened", spy_opened)
    monkeypatch.setattr(SumServer, "contribution", spy_contribution)
    monkeypatch.setattr(Server, "receive", forbidden)
    run_ = run(tmp_path)
    assert len(contributions) == len(answers) > 8 * 6
    stored = b"".join(path.read_bytes() for path in run_.path.rglob("*") if path.is_file())
    haystack = b"".join(seen) + stored
    checked = 0
    for answer in answers:
        for vector in (answer.update.astype("<f4"), answer.counts.astype("<f8")):
            pieces = [vector[at : at + 4].tobytes() for at in range(0, vector.size - 3, max(1, vector.size // 40))]
            for piece in pieces:
                if len(set(piece)) > 6:  # runs of zeros and the like say nothing
                    checked += 1
                    assert piece not in haystack
    assert checked > 500


def test_too_few_answers_open_nothing_and_the_next_round_works(tmp_path: Path) -> None:
    happened: list[Event] = []
    text = TOML + "[participation]\nminimum = 6\n[weather]\ndropout = 0.3\n"
    run(
        tmp_path, text.replace("count = 4", "count = 8").replace('"lattice"', '"lattice"\nminimum = 6'), happened.append
    )
    failed = [e for e in happened if isinstance(e, RoundFailed)]
    assert failed
    assert any(isinstance(e, RoundDone) for e in happened)
    assert {e.code for e in happened if isinstance(e, Note)} >= {"secagg.failed"}


def test_cohorts_reach_the_rule_as_means(tmp_path: Path) -> None:
    text = TOML.replace("measure_every = 2", "measure_every = 2\ncohort_size = 4") + '[rule]\nuse = "uniform-mean"\n'
    happened: list[Event] = []
    run(tmp_path, text, happened.append)
    assert sum(isinstance(e, RoundDone) for e in happened) == 4


def test_a_stopped_lattice_run_resumes_to_the_bit(tmp_path: Path) -> None:
    whole = run(tmp_path / "a")

    class Stop(Exception):  # noqa: N818 - stands for the user
        pass

    def stop(event: Event) -> None:
        if isinstance(event, CheckpointSaved) and event.round == 2:
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path / "b", emit=stop)
    (broken,) = (tmp_path / "b").iterdir()
    resumed = resume_run(RunDir(broken), Options(None, tmp_path / "b", None, "test"), ignore)
    assert np.array_equal(parameters(resumed), parameters(whole))
    assert resumed.text("metrics.json") == whole.text("metrics.json")
    assert whole.json("metrics.json")["bytes"]["up"] > 0


def test_a_named_member_shares_its_gateways_weather_and_other_parties_are_always_there() -> None:
    from wardround.drivers.simulation.secure import Called, SecureSum
    from wardround.errors import RoundError
    from wardround.federation.messages import Answer
    from wardround.secagg.parameters import Lattice

    names = tuple(f"c{i}" for i in range(6))
    choice = Lattice(committee="small", members=("c0", "c1", "c2", "registrar"))

    def total(off: set[str], vanished: set[str]) -> Any:
        here = tuple(name for name in names if name not in off)
        answering = frozenset(here) - vanished
        answers = iter((name, Answer(1, np.ones(5, np.float32), np.ones(2))) for name in here if name in answering)
        return SecureSum(choice, names, 1).sum(answers, Called(here, answering, 0, frozenset(off), frozenset(vanished)))

    assert len(total(set(), set()).peers) == 6
    assert len(total({"c0"}, set()).peers) == 5
    assert len(total(set(), {"c1"}).peers) == 5
    assert len(total({"c4"}, {"c5"}).peers) == 4, "gateways without a seat"
    for off, vanished in (({"c0", "c1"}, set()), ({"c0"}, {"c2"})):
        with pytest.raises(RoundError, match="needed"):
            total(off, vanished)


def test_a_baseline_of_normal_traffic_comes_out_of_secure_sums_as_out_of_open_ones(tmp_path: Path) -> None:
    text = TOML.replace("[rounds]\ncount = 4", "[normal]\nfit = true\n[rounds]\ncount = 2")
    plain, secure = (
        from_arrays(
            from_safetensors(
                (run(tmp_path, text.replace('"lattice"', f'"{use}"')).model / "model.safetensors").read_bytes()
            ).arrays
        )
        for use in ("plain", "lattice")
    )
    assert sorted(plain) == sorted(secure)
    for kind, (
        mine,
        counts,
    ) in plain.items():  # "" is all devices; a type of device has its own where it has enough rows
        theirs, others = secure[kind]
        assert mine.rows == theirs.rows > (300 if kind == "" else 50)
        assert np.array_equal(mine.centre, theirs.centre), "whole multiples of 2^-8 come through exactly"
        assert np.array_equal(counts, others)
    assert plain[""][1].sum() > 50
