"""Layer 1 in the simulated round: it changes no number, refuses whom it must, survives a resume, and costs what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from simulated import events, metrics, resume, simulate  # type: ignore[import-not-found]

from wardround.auth.choice import MlKem768, XWing
from wardround.auth.trust import State, Turn, Verdict
from wardround.drivers.simulation.authenticated import Asked, Authenticated
from wardround.drivers.store.rundir import RunDir
from wardround.errors import ConfigError, UsageError
from wardround.events import Note, RoundDone
from wardround.training.bundle import from_safetensors

BODY = bytes(range(256)) * 40


def parameters(run: RunDir) -> np.ndarray:
    return from_safetensors((run.model / "model.safetensors").read_bytes()).parameters


def done(run: RunDir) -> list[RoundDone]:
    return [e for e in events(run) if isinstance(e, RoundDone)]


def layer(*names: str, revoke: tuple[str, ...] = ()) -> Authenticated:
    return Authenticated(MlKem768(revoke=revoke), names or ("a", "b", "c"), 7)


@pytest.mark.parametrize("use", ["plain", "lattice"])
def test_the_model_is_the_same_with_and_without(tmp_path: Path, use: str) -> None:
    settings = (f'secagg.use="{use}"', "data.windows_per_device=30", "rounds.count=2")
    bare = simulate(tmp_path / "bare", *settings, 'auth.use="none"')
    full = simulate(tmp_path / "full", *settings)
    assert np.array_equal(parameters(bare), parameters(full))
    for without, with_ in zip(done(bare), done(full), strict=True):
        assert (with_.answered, with_.refused) == (without.answered, 0)
        clients = with_.answered
        # a record of up to 64 KiB adds 40 bytes and the Update's encoding; the ask's announcement is about 190 bytes
        assert 40 * clients <= with_.bytes_up - without.bytes_up <= 80 * clients
        assert 150 * clients <= with_.bytes_down - without.bytes_down <= 250 * clients


def test_the_handshakes_are_counted_in_the_first_exchange_only(tmp_path: Path) -> None:
    auth = layer()
    assert auth.open(1, [Asked(("a", "b"), BODY), Asked(("c",), b"another ask")]) == {"a", "b", "c"}
    tolls, _ = auth.take()
    assert tolls.handshakes == 3
    assert tolls.up == 3 * (2380 + 60)
    assert tolls.down > 3 * 2276
    auth.open(2, [Asked(("a", "b", "c"), BODY)])
    assert auth.take()[0].handshakes == 0


def test_one_answer_counts_once_and_only_in_its_exchange() -> None:
    auth = layer()
    auth.open(1, [Asked(("a", "b", "c"), BODY)])
    record = auth.seal("a", b"update")
    assert auth.receive("b", record) is None, "another client's record"
    assert auth.receive("a", record[:-1] + bytes([record[-1] ^ 1])) is None
    assert auth.receive("a", record) == b"update"
    assert auth.receive("a", record) == b"", "the same again is the stored receipt, not a second count"
    late = auth.seal("b", b"late")
    auth.open(2, [Asked(("a", "b", "c"), BODY)])
    assert auth.receive("b", late) is None, "a record of the exchange before"
    assert auth.take()[0].refused == 3


def test_a_revoked_client_is_cut_off_in_the_middle_of_a_round() -> None:
    auth = layer(revoke=("b@1",))
    auth.open(1, [Asked(("a", "b", "c"), BODY)])
    record = auth.seal("b", b"update")
    auth.fall(1)
    assert auth.receive("b", record) is None
    assert auth.carry("a", b"fine") == b"fine"
    assert (auth.state("b"), auth.weight("b")) == (State.REVOKED, 0.0)
    assert auth.open(2, [Asked(("a", "b", "c"), BODY)]) == {"a", "c"}, "and never told of anything again"
    assert not auth.takes_part("b", 2)


@pytest.mark.parametrize("use", ["plain", "lattice"])
def test_revocation_in_a_run(tmp_path: Path, use: str) -> None:
    sets = (f'secagg.use="{use}"', "data.windows_per_device=30", "data.wards=6", "rounds.count=3")
    run = simulate(tmp_path, *sets, 'auth.use="x-wing"', 'auth.revoke=["radiology 1@2"]')
    invited = [e.invited for e in done(run)]
    assert invited == [6, 6, 5]
    assert [e.answered for e in done(run)] == [6, 5, 5]
    assert [e.refused for e in done(run)] == [0, 1, 0]
    assert [e.code for e in events(run) if isinstance(e, Note) and e.code == "trust.turn"] == ["trust.turn"]


def test_verdicts_move_a_client_and_probation_halves_its_part() -> None:
    auth = layer()
    turns = [auth.judge("c", Verdict("rule.krum", bad=1.0)) for _ in range(30)]
    assert [t for t in turns if t] == [Turn.DOUBT, Turn.CONDEMN]
    assert auth.state("c") is State.QUARANTINED
    assert not any(auth.takes_part("c", r) for r in range(1, 9))
    while auth.state("b") is State.ACTIVE:
        auth.judge("b", Verdict("rule.krum", bad=1.0))
    assert auth.weight("b") == 0.5
    assert sum(auth.takes_part("b", r) for r in range(1, 9)) == 4
    auth.open(1, [Asked(("a", "b"), BODY)])
    auth.take()
    auth.open(2, [Asked(("a", "b"), BODY)])
    assert auth.take()[0].handshakes == 1, "on probation every exchange begins with a handshake"
    while auth.state("b") is not State.ACTIVE:
        assert auth.judge("b", Verdict("rule.krum", good=1.0)) in (None, Turn.RELIEF)


def test_a_resumed_layer_goes_on_at_no_counted_cost() -> None:
    auth = layer()
    auth.judge("c", Verdict("alerts", bad=40.0))
    for exchange in range(1, 40):  # past a KEM ratchet
        auth.open(exchange, [Asked(("a", "b"), BODY)])
        assert auth.carry("a", b"x") == b"x"
        if exchange == 20:
            saved = auth.to_bytes()
        tolls = auth.take()[0]
        if exchange == 21:
            following = [tolls]
        if exchange > 21:
            following.append(tolls)
    again = layer()
    again.restore(saved)
    assert again.state("c") is State.PROBATION
    for exchange, tolls in zip(range(21, 40), following, strict=True):
        again.open(exchange, [Asked(("a", "b"), BODY)])
        again.carry("a", b"x")
        assert again.take()[0] == tolls, exchange


def test_a_resumed_run_counts_the_same_bytes(tmp_path: Path) -> None:
    class Enough(Exception):  # noqa: N818
        pass

    def stop(event: object) -> None:
        if isinstance(event, RoundDone) and event.round == 3:
            raise Enough

    with pytest.raises(Enough):
        simulate(tmp_path / "stopped", "data.windows_per_device=30", emit=stop)
    (folder,) = (tmp_path / "stopped").iterdir()
    resumed = resume(RunDir(folder))
    whole = simulate(tmp_path / "whole", "data.windows_per_device=30")
    assert [(e.bytes_up, e.bytes_down) for e in done(resumed)] == [(e.bytes_up, e.bytes_down) for e in done(whole)]
    assert metrics(resumed) == metrics(whole)


def test_bad_scenarios_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="revoke names 'nobody'"):
        Authenticated(XWing(revoke=("nobody@1",)), ("a",), 1)
    with pytest.raises(ConfigError, match="not NAME@ROUND"):
        simulate(tmp_path, 'auth.use="x-wing"', 'auth.revoke=["a"]')


def test_signed_updates_cost_what_a_signature_costs() -> None:
    plain, signed = layer(), Authenticated(MlKem768(signed_update=True), ("a", "b", "c"), 7)
    sizes = []
    for auth in (plain, signed):
        auth.open(1, [Asked(("a", "b", "c"), BODY)])
        auth.take()
        assert auth.carry("a", b"x" * 1000) == b"x" * 1000
        sizes.append(auth.take()[0].up)
    assert 3309 < sizes[1] - sizes[0] < 3309 + 250
