import random
from dataclasses import replace
from typing import TypeAlias

import pytest
from detect_worlds import SECOND, START, finding  # type: ignore[import-not-found]
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.detect.findings import Allow, Finding, Flow, Maintenance
from wardround.detect.incident import TRANSITIONS, Change, Policy, Rules, State
from wardround.detect.incidents import Incidents
from wardround.detect.subjects import STORM
from wardround.errors import DecodeError, LocalProtocolError


def kinds(machine: Incidents, findings: list[Finding]) -> list[str]:
    return [change.kind for change in machine.observe(findings)]


def at(seconds: float) -> int:
    return int(START + int(seconds * SECOND))


def test_k_of_n_opens_one_incident_and_silence_closes_it() -> None:
    machine = Incidents()
    assert kinds(machine, [finding(5), finding(10)]) == []
    assert kinds(machine, [finding(15)]) == ["opened"]
    assert kinds(machine, [finding(20), finding(25)]) == []
    assert machine.tick(at(100)) == []
    (closed,) = machine.tick(at(25 + 300))
    assert (closed.kind, closed.incident.windows, closed.incident.family) == ("closed", 5, "flood")
    assert machine.tick(at(25 + 300 + 899)) == []
    machine.tick(at(25 + 300 + 900))
    assert machine.held == {}


def test_votes_too_far_apart_open_nothing() -> None:
    machine = Incidents()
    assert kinds(machine, [finding(5 + 35 * i) for i in range(10)]) == []


def test_an_old_incident_is_closed_and_not_gone_on_with_though_nobody_ticked() -> None:
    machine = Incidents()
    machine.observe([finding(5 * i) for i in range(1, 4)])
    found = machine.observe([finding(90_000 + 5 * i) for i in range(1, 4)])
    assert [(c.kind, c.incident.number) for c in found] == [("closed", 1), ("opened", 2)]
    assert found[0].incident.closed == at(15 + 300)


def test_a_strong_window_has_two_votes_and_a_deterministic_rule_all() -> None:
    assert kinds(Incidents(), [finding(5, weight=2), finding(10)]) == ["opened"]
    assert kinds(Incidents(), [finding(5, detector="arp", family="arp-spoofing", weight=3)]) == ["opened"]


def test_detectors_of_one_view_have_one_vote_and_two_views_add_up() -> None:
    alike = [finding(5, detector=d, weight=2) for d in ("model", "guard", "baseline")]
    assert kinds(Incidents(), alike) == []
    assert kinds(Incidents(), [*alike, finding(5, detector="volume")]) == ["opened"]


def test_single_windows_keep_nothing_open() -> None:
    machine = Incidents()
    machine.observe([finding(5 * i) for i in range(1, 4)])
    later = [c for i in range(1, 10) for c in machine.observe([finding(15 + 45 * i)]) + machine.tick(at(15 + 45 * i))]
    assert [c.kind for c in later if c.kind != "updated"] == ["closed"]


def test_another_kind_of_attack_on_a_device_with_an_open_incident_is_told_at_once() -> None:
    machine = Incidents()
    assert kinds(machine, [finding(5 * i) for i in range(1, 4)]) == ["opened"]
    assert kinds(machine, [finding(20, family="malformed")]) == []  # one window is not enough
    (change,) = machine.observe([finding(25, family="malformed", weight=2)])
    assert (change.kind, change.incident.number) == ("changed", 1)
    assert change.finding is not None
    assert change.finding.family == "malformed"
    # the same kinds again tell nothing new; an anomaly is no kind
    assert kinds(machine, [finding(5 * i, family="malformed", weight=3) for i in range(6, 10)]) == []
    assert kinds(machine, [finding(5 * i, family="anomaly", weight=3) for i in range(10, 15)]) == []


def test_a_kind_that_was_silent_for_long_is_told_again() -> None:
    machine = Incidents()
    machine.observe([finding(5 * i) for i in range(1, 4)])
    told = kinds(machine, [finding(5 * i, family="malformed", weight=3) for i in range(4, 80)])
    assert told[0] == "changed"
    assert "changed" not in told[1:]
    assert "changed" in kinds(machine, [finding(400 + 5 * i, weight=3) for i in range(3)])


def test_answers_to_forged_sources_belong_to_the_floods_victim() -> None:
    machine = Incidents()
    machine.learn("10.0.0.9", "pump")
    machine.observe([finding(5, "pump", weight=3, flow=Flow("10.0.0.9", "10.0.0.1"))])
    answers = [finding(5 * i, "router", weight=3, flow=Flow("10.0.0.1", "10.0.0.9")) for i in range(2, 5)]
    assert machine.observe(answers) == []
    assert {i.subject for i in machine.open} == {"pump"}


def test_updates_wait_for_the_hold_down_unless_it_gets_worse() -> None:
    machine = Incidents()
    anomalies = [finding(5 * i, family="anomaly", weight=2) for i in range(1, 5)]
    assert kinds(machine, anomalies[:3]) == []  # oddity of feature rows alone needs four votes more
    assert kinds(machine, anomalies[3:]) == ["opened"]
    (worse,) = machine.observe([finding(35)])
    assert (worse.kind, worse.incident.severity, worse.incident.family) == ("updated", 1, "flood")
    assert kinds(machine, [finding(5 * i) for i in range(8, 20)]) == ["changed"]  # at 45 s: now it is a flood
    assert kinds(machine, [finding(100)]) == []
    assert kinds(machine, [finding(105)]) == ["updated"]


def test_a_flood_from_forged_sources_is_one_incident_of_its_victim() -> None:
    machine = Incidents()
    machine.learn("10.0.0.9", "pump")
    found = []
    for second in range(5, 65, 5):
        sources = [
            finding(second, f"203.0.{second}.{i}", weight=3, flow=Flow(f"203.0.{second}.{i}", "10.0.0.9", outward=True))
            for i in range(50)
        ]
        found += machine.observe([*sources, finding(second, "pump", weight=3)])
    assert [c.kind for c in found] == ["opened"]
    (incident,) = machine.open
    assert incident.subject == "pump"
    assert incident.peers
    assert incident.more_peers > 100


def test_fresh_addresses_that_are_only_strange_join_their_common_peer() -> None:
    machine = Incidents()
    machine.learn("10.0.0.9", "pump")
    for i in range(STORM + 20):
        machine.observe([finding(5, f"198.51.100.{i}", "anomaly", weight=9, flow=Flow("", "10.0.0.9", outward=True))])
    opened = {i.subject for i in machine.open}
    assert "pump" in opened
    assert len(opened) <= STORM + 1  # the first few could not be known to be many


def test_a_scan_is_one_incident_of_its_source() -> None:
    machine = Incidents()
    machine.learn("10.0.0.66", "laptop")
    for i in range(30):
        machine.learn(f"10.0.1.{i}", f"monitor-{i}")
    tries = [finding(5, "laptop", "scan", flow=Flow("10.0.0.66", f"10.0.1.{i}", outward=True)) for i in range(12)]
    # the other end of a victim's window may be anyone: most of its packets go to the server
    victims = [finding(5, f"monitor-{i}", "scan", weight=3, flow=Flow("", "10.0.0.2")) for i in range(12)]
    changes = machine.observe([*tries, *victims])
    assert [(c.kind, c.incident.subject) for c in changes] == [("opened", "laptop")]


def test_the_allow_list_and_maintenance_mute_and_the_end_of_maintenance_raises() -> None:
    scanner = Allow(device="scanner", family="scan", reason="weekly")
    window = Maintenance(at(0), at(100), "mri*", "new software")
    machine = Incidents(Policy(allow=(scanner,), maintenance=(window,)))
    scan = [finding(5 * i, "scanner", "scan", flow=Flow(outward=True)) for i in range(1, 5)]
    assert kinds(machine, scan) == ["muted"]
    assert kinds(machine, [finding(5 * i, "scanner") for i in range(5, 8)]) == ["opened"]  # a flood is not allowed
    assert kinds(machine, [finding(5 * i, "mri-2") for i in range(1, 20)]) == ["muted"]
    assert "maintenance: new software" in machine.held["mri-2"].muted_by
    assert kinds(machine, [finding(105, "mri-2")]) == ["opened"]
    assert kinds(Incidents(Policy(allow=(replace(scanner, until=at(1)),))), scan) == ["opened"]


@pytest.mark.parametrize(("verdict", "again"), [("false", False), ("expected", False), ("true", True)])
def test_a_verdict_closes_what_it_calls_harmless_and_keeps_it_closed(verdict: str, again: bool) -> None:
    machine = Incidents()
    machine.observe([finding(5 * i) for i in range(1, 4)])
    changes = machine.label("pump", verdict, at(20))
    assert [c.kind for c in changes] == ([] if again else ["closed"])
    more = [finding(5 * i) for i in range(5, 9)]
    assert kinds(machine, more) == []
    assert (machine.number("pump") > 0) is again
    # another kind of attack on the same device is told
    if not again:
        assert kinds(machine, [finding(5 * i, family="scan", flow=Flow(outward=True)) for i in range(9, 13)]) == [
            "reopened"
        ]
    assert machine.label("nobody", "false", at(0)) == []


def test_evidence_soon_after_closing_opens_the_same_incident_again() -> None:
    machine = Incidents()
    machine.observe([finding(5 * i) for i in range(1, 4)])
    machine.tick(at(400))
    found = machine.observe([finding(500 + 5 * i) for i in range(1, 4)])
    assert [(c.kind, c.incident.number) for c in found] == [("reopened", 1)]


def test_an_incident_that_opens_again_is_about_what_is_seen_now() -> None:
    machine = Incidents()
    machine.observe([finding(5, detector="arp", label="ARP binding conflict", family="arp-spoofing", weight=3)])
    machine.tick(at(400))
    (again,) = machine.observe([finding(500, weight=3)])
    assert (again.kind, again.incident.number) == ("reopened", 1)
    assert (again.incident.family, again.incident.label) == ("flood", "TCP_IP-DDoS-SYN")


# --- the machine as a whole

Todo: TypeAlias = list[tuple[str, str, str, int, float, str]]

steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["flood", "scan", "anomaly", "arp-spoofing", "malformed"]),
        st.sampled_from(["", "10.0.0.1", "10.0.0.2"]),
        st.integers(1, 3),
        st.sampled_from([1.0, 5.0, 5.0, 30.0, 400.0, 2000.0]),
        st.sampled_from(["see", "see", "see", "tick", "false", "expected", "true"]),
    ),
    max_size=60,
)


def drive(machine: Incidents, todo: Todo, now: float) -> tuple[list[Change], float]:
    told: list[Change] = []
    for device, family, peer, weight, gap, what in todo:
        now += gap
        if what == "see":
            f = finding(now, device, family, weight=weight, flow=Flow("", peer, outward=weight > 1))
            told += machine.observe([f])
        elif what == "tick":
            told += machine.tick(at(now))
        else:
            told += machine.label(device, what, at(now))
    return told, now


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(0, 60))
def test_a_restart_changes_nothing(todo: Todo, cut: int) -> None:
    policy = Policy(maintenance=(Maintenance(at(50), at(500), "b"),))
    whole, broken = Incidents(policy), Incidents(policy)
    for machine in (whole, broken):
        machine.learn("10.0.0.1", "a")
    first, now = drive(broken, todo[:cut], 0.0)
    again = Incidents.from_bytes(broken.to_bytes(), policy)
    second, _ = drive(again, todo[cut:], now)
    assert first + second == drive(whole, todo, 0.0)[0]
    assert again.to_bytes() == whole.to_bytes()


@settings(max_examples=60, deadline=None)
@given(steps)
def test_opened_and_closed_alternate_and_numbers_never_repeat(todo: Todo) -> None:
    told, _ = drive(Incidents(), todo, 0.0)
    up: dict[int, bool] = {}
    for change in told:
        number, kind = change.incident.number, change.kind
        if kind in {"opened", "reopened"}:
            assert not up.get(number, False)
            assert kind == "reopened" or number not in up
            up[number] = True
        elif kind == "closed":
            assert up[number]
            up[number] = False
        else:
            assert up[number]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_machine(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Incidents.from_bytes(data)


def test_damaged_bytes_give_the_documented_error_alone() -> None:
    machine = Incidents()
    machine.learn("10.0.0.9", "pump")
    machine.observe([finding(5 * i) for i in range(1, 4)])
    whole = machine.to_bytes()
    rng = random.Random(1)
    for _ in range(300):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            Incidents.from_bytes(bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.3 else data))
        except DecodeError:
            continue


def test_every_state_is_in_the_table_and_wrong_events_are_our_fault() -> None:
    assert set(TRANSITIONS) == set(State)
    machine = Incidents()
    machine.observe([finding(5)])
    with pytest.raises(LocalProtocolError):
        machine._move("pump", "over")
    with pytest.raises(LocalProtocolError):
        machine.explained("nobody", ())
    with pytest.raises(ValueError, match="votes"):
        Rules(votes=0)
    with pytest.raises(ValueError, match="quiet_s"):
        Rules(quiet_s=-1)
