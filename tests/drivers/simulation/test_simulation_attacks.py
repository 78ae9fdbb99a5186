"""Hostile clients in the simulated round: who they are, that honest ones are untouched, what rules make of them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated import TINY, metrics, resume, simulate  # type: ignore[import-not-found]

from wardround.attacks.adversaries import ATTACKS
from wardround.config import override, parse
from wardround.drivers.simulation import engines, harm
from wardround.drivers.simulation.attackers import Attackers
from wardround.drivers.simulation.federate import Federation
from wardround.drivers.simulation.strategies import SIMULATED, simulated
from wardround.drivers.sinks.jsonlog import read
from wardround.drivers.store.rundir import find
from wardround.drivers.strategies import full
from wardround.drivers.world import build, plan
from wardround.errors import ConfigError, Stopped
from wardround.events import CheckpointSaved, Event, Note, RoundDone, RowsJudged, TrustMoved, ignore
from wardround.federation import pipeline
from wardround.federation.server import Server
from wardround.rng import stream

ROWS = ("rounds.cohort_size=1", "attack.fraction=0.3")


def f1(run: object) -> float:
    return float(metrics(run)["models"]["federated"]["overall"]["macro_f1"])


def test_every_attack_can_be_named_and_nobody_attacks_by_default(tmp_path: Path) -> None:
    assert set(SIMULATED) == {attack.name for attack in ATTACKS} - {"none"}
    assert metrics(simulate(tmp_path))["attack"] is None


def federation(*sets: str) -> Federation:
    """The tiny federation without folders and report; not yet run."""
    experiment = parse(override(TINY, list(sets), "tiny"), simulated())
    table = experiment.data.load(None, stream(experiment.seed, "data"))
    world, agreed = build(experiment, table), plan(experiment, table)
    server = Server.new(agreed, experiment.participation, world.names, experiment.seed)
    attackers = Attackers(experiment.attack, world.names, agreed, experiment.seed)
    maker = engines.maker(experiment.model, experiment.training, agreed.classes)
    pool = ThreadPoolExecutor(1)
    return Federation(experiment, world, agreed, server, maker, ignore, pool, 1, attackers=attackers)


@pytest.mark.parametrize("name", sorted(SIMULATED.keys() - {"malformed"}))
def test_every_attack_runs_through_the_round(name: str) -> None:
    running = federation(f"attack.use={name}", "rounds.count=1", "rounds.cohort_size=1", "attack.fraction=0.3")
    assert running.attackers is not None
    assert len(running.attackers.names) == 2  # 30 % of four wards, rounded up
    happened = [event for events in running.run() for event in events]
    assert [type(e).__name__ for e in happened] == ["Note", "RoundDone", "RowsJudged", "Measured"]
    assert (harm.backdoor(running, running.server.parameters) is not None) == (name == "model-replacement")


def test_before_its_start_an_attack_changes_nothing(tmp_path: Path) -> None:
    late = metrics(simulate(tmp_path, "attack.use=sign-flip", "attack.start=5", *ROWS))
    calm = metrics(simulate(tmp_path, "rounds.cohort_size=1"))
    assert late["models"]["federated"] == calm["models"]["federated"]
    assert late["attack"]["hostile"]


def test_a_root_rule_stands_where_the_mean_falls(tmp_path: Path) -> None:
    attack = ("attack.use=ipm", "attack.epsilon=20.0", "rounds.count=6", *ROWS)
    fallen = f1(simulate(tmp_path, *attack))
    stands = f1(simulate(tmp_path, "rule.use=fltrust", "root.size=80", *attack))
    assert stands > fallen + 0.05


def test_a_backdoor_is_measured_and_works_on_the_mean(tmp_path: Path) -> None:
    found = metrics(simulate(tmp_path, "attack.use=model-replacement", "rounds.count=6", *ROWS))
    assert found["attack"]["backdoor_success"] > 0.9


def test_the_server_alone_on_its_root_rows_is_a_baseline(tmp_path: Path) -> None:
    found = metrics(simulate(tmp_path, "root.size=80", "rule.use=zeno", "rounds.cohort_size=1"))
    assert found["models"]["root"]["rows"] == 80
    assert 0.0 < found["models"]["root"]["overall"]["macro_f1"] < 1.0
    held = sum(client["train"] for client in found["clients"])
    assert held + 80 == sum(found["data"]["class_counts"]["train"]) + 80


def test_an_attacked_run_with_a_root_set_ends_the_same_after_a_stop(tmp_path: Path) -> None:
    sets = ("rule.use=fltrust", "root.size=60", "attack.use=alie-aware", *ROWS)
    whole = metrics(simulate(tmp_path / "whole", *sets))
    runs = tmp_path / "cut"

    def stop(event: Event) -> None:
        if isinstance(event, CheckpointSaved) and event.round == 2:
            raise Stopped

    with pytest.raises(Stopped):
        simulate(runs, *sets, emit=stop)
    assert metrics(resume(find(runs, "last"))) == whole


def test_rules_with_a_root_need_a_root_set() -> None:
    with pytest.raises(ConfigError, match=r"\[root\] size"):
        parse(TINY + '[rule]\nuse = "fltrust"\n', full())


def test_a_deployed_federation_names_no_attack() -> None:
    with pytest.raises(ConfigError, match="simulated, never deployed"):
        parse(TINY + '[attack]\nuse = "ipm"\n', full())


def test_trust_finds_liars_in_the_round_and_stops_inviting_them(tmp_path: Path) -> None:
    sets = (
        "data.wards=20",
        "data.devices_per_ward=1",
        "data.windows_per_device=60",
        "rounds.cohort_size=3",
        "rounds.count=18",
        "rounds.measure_every=18",
        "rounds.weighting=uniform",
        "rule.use=fltrust",
        "root.size=80",
        "trust.watch=true",
        "attack.use=sign-flip",
        "attack.fraction=0.2",
        "attack.scale=3.0",
    )
    whole = simulate(tmp_path / "whole", *sets)
    hostile = set(metrics(whole)["attack"]["hostile"])
    moved = [event for event in read(whole.log) if isinstance(event, TrustMoved)]
    expelled = {event.peer for event in moved if event.after == "quarantined"}
    assert expelled
    assert expelled <= hostile
    invited = [event.invited for event in read(whole.log) if isinstance(event, RoundDone)]
    assert invited[0] == 20
    assert invited[-1] <= 20 - len(expelled)


def test_under_the_lattice_trust_sees_the_cohorts_that_the_committee_opened() -> None:
    running = federation(
        "data.wards=16",
        "data.devices_per_ward=1",
        "secagg={use='lattice', minimum=4}",
        "rounds.cohort_size=4",
        "rounds.count=2",
        "participation.minimum=8",
        "root.size=60",
        "trust.watch=true",
        "attack.use=sign-flip",
    )
    happened = [event for events in running.run() for event in events]
    assert running.plan.rule.name == "fltrust"  # chosen: cohorts, and a root set
    judged = [event for event in happened if isinstance(event, RowsJudged)]
    assert [event.sizes for event in judged] == [(4, 4, 4, 4)] * 2
    state = running.server.trust
    assert state is not None
    for seen in state.seen:
        assert np.bincount(seen.cohort).tolist() == [4, 4, 4, 4]
    assert not np.array_equal(state.seen[0].cohort, state.seen[1].cohort), "cohorts are dealt anew"


MALFORMED = (
    "attack.use=malformed",
    "attack.fraction=0.1",
    "secagg.use=lattice",
    "secagg.minimum=2",
    "rounds.cohort_size=2",
    "data.wards=8",
)


@pytest.mark.parametrize("part", ["size", "share", "proof"])
def test_malformed_contributions_are_named_left_out_and_reported(tmp_path: Path, part: str) -> None:
    run = simulate(tmp_path, *MALFORMED, f"attack.part={part}")
    (liar,) = metrics(run)["attack"]["hostile"]
    log = list(read(run.log))
    notes = [event for event in log if isinstance(event, Note) and event.code == "secagg.client"]
    rounds = [event for event in log if isinstance(event, RoundDone)]
    assert len(notes) == len(rounds) == 4
    assert all(note.text.startswith(f"{liar} was left out: ") for note in notes)
    assert [event.answered for event in rounds] == [7] * 4
    page = run.report.read_text(encoding="utf-8")
    assert "Rejected before the rule, and why (4 in all" in page
    assert f"round 3, {liar} was left out" in page


def test_a_ciphertext_under_another_key_costs_its_cohort_and_the_others_learn(tmp_path: Path) -> None:
    run = simulate(tmp_path, *MALFORMED, "attack.part=ciphertext", "model.hidden=[64,32]")
    (liar,) = metrics(run)["attack"]["hostile"]
    log = list(read(run.log))
    lost = [event.text for event in log if isinstance(event, Note) and event.code == "secagg.implausible"]
    assert len(lost) == 4
    assert all(liar in text for text in lost)
    assert [event.answered for event in log if isinstance(event, RoundDone)] == [6] * 4


def test_malformed_needs_a_sum_to_break() -> None:
    with pytest.raises(ConfigError, match="lattice"):
        federation("attack.use=malformed", "secagg.use=plain")


def test_an_adversary_that_sees_momentum_sends_what_it_means_to() -> None:
    """All clients remember; what hostile ones send as IPM is the reverse of what the honest ones send, to the digit."""
    momentum = ("algorithm.use=client-momentum", "rounds.cohort_size=1", "rounds.weighting=uniform")
    running = federation("attack.use=ipm", "attack.fraction=0.3", *momentum)
    rows: list[np.ndarray] = []
    combine = pipeline.combine

    def watched(plan: Any, sums: Any, *rest: Any) -> Any:
        rows.append(np.stack([row.update for row in sums]))
        return combine(plan, sums, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "combine", watched)
        for _ in running.run():
            pass
    assert running.attackers is not None
    assert len(rows) == 4
    for (
        sent
    ) in rows:  # cohorts of one are dealt in any order: the two hostile rows are equal, and minus half the others' mean
        norms = [np.linalg.norm(sent - row, axis=1) for row in sent]
        pair = min(((i, j) for i in range(4) for j in range(i)), key=lambda ij: norms[ij[0]][ij[1]])
        honest = np.delete(sent, pair, axis=0).mean(axis=0)
        np.testing.assert_allclose(sent[pair[0]], -0.5 * honest, atol=1e-4 * np.abs(honest).max() + 1e-6)


def test_the_adversary_is_one_whatever_its_clients_were_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """With codecs, who missed a round is sent another message than the others: its lies are still made of all updates."""
    running = federation(
        "compress.up=[{use='importance', share=0.3}]", "attack.use=ipm", "attack.fraction=0.3", "rounds.cohort_size=1"
    )
    attackers = running.attackers
    assert attackers is not None
    messages: list[int] = []
    known: list[set[int]] = []
    begin, forge = running.server.begin, Attackers.forge

    def begun(*given: Any) -> Any:
        running.server.forget(attackers.names)  # as if they had been away
        step = begin(*given)
        if running.server.exchange > 1:
            messages.append(len(step.send))
        return step

    def forged(self: Attackers, trained: Any, *rest: Any) -> Any:
        known.append(set(trained))
        sent = forge(self, trained, *rest)
        assert all(sent[i].delta is not trained[i].delta for i in self.hostile), (
            "a hostile client sends what it trained"
        )
        return sent

    monkeypatch.setattr(running.server, "begin", begun)
    monkeypatch.setattr(Attackers, "forge", forged)
    for _ in running.run():
        pass
    assert 2 in messages, "the hostile clients have a message of their own"
    assert known == [{0, 1, 2, 3}] * 4


FRUGAL = (
    "compress.up=[{use='importance', share=0.3}]",
    "compress.down=[{use='int'}]",
    "secagg.use=lattice",
    "secagg.minimum=2",
    "rounds.cohort_size=2",
    "data.wards=8",
    "rounds.count=8",
    "rounds.weighting=uniform",
    "auth.use=none",
)
OVERTURNED = ("attack.use=ipm", "attack.epsilon=12.0", "attack.fraction=0.2")


def test_a_rule_stands_on_the_masked_coordinates_of_a_secure_sum(tmp_path: Path) -> None:
    """30 % of the coordinates, drawn for all alike, summed by the lattice in pairs; most rows hold a liar, the root set tells."""
    fallen = f1(simulate(tmp_path, *FRUGAL, *OVERTURNED, "rule.use=mean"))
    stands = simulate(tmp_path, *FRUGAL, *OVERTURNED, "rule.use=rooted-mean", "root.size=80")
    assert f1(stands) > fallen + 0.05
    judged = [event for event in read(stands.log) if isinstance(event, RowsJudged)]
    assert all(len(event.weights) == 4 for event in judged)
    assert any(min(event.weights) == 0.0 for event in judged), "rows against the root weigh nothing"
