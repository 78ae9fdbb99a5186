"""What a recording promises: the seed decides, wards are independent, and guilt stands in no address, hop or hour."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wardround.drivers.sources.ciciomt2024 import CLASSES, FAMILY_OF
from wardround.drivers.sources.lab import files
from wardround.drivers.sources.lab import frames as fr
from wardround.drivers.sources.lab.profiles import ODDITIES, OFFENCES
from wardround.drivers.sources.lab.recording import ATTACKS, Plan, Recording, quiet, record
from wardround.errors import UsageError

PLAN = Plan(wards=4, unseen=1, sessions=2, minutes=6)


@pytest.fixture(scope="module")
def wards() -> list[Recording]:
    return [record(PLAN, number, 5) for number in range(5)]


@pytest.fixture(scope="module")
def unseen() -> Recording:
    return record(Plan(wards=1, unseen=1, sessions=4, minutes=15, attack_share=0.6, oddity_share=0.2), 1, 7)


def test_the_seed_and_the_ward_decide_alone(wards: list[Recording]) -> None:
    again = record(PLAN, 2, 5)
    assert np.array_equal(again.frames, wards[2].frames)
    assert again.payloads.texts == wards[2].payloads.texts
    assert again.happenings == wards[2].happenings
    assert len(record(PLAN, 2, 6).frames) != len(wards[2].frames)


def test_wards_differ(wards: list[Recording]) -> None:
    assert len({r.ward.name for r in wards}) == 5
    mixes = {tuple(sorted(d.kind for d in r.ward.devices)) for r in wards}
    assert len(mixes) >= 4
    rates = [len(r.frames[r.frames["label"] == 0]) for r in wards]
    assert max(rates) > 1.5 * min(rates)


def test_packets_stay_in_their_sessions(wards: list[Recording]) -> None:
    for recording in wards:
        time = recording.frames["time"]
        inside = np.zeros(len(time), bool)
        for start, end in recording.sessions:
            inside |= (time >= start) & (time < end + 10**9)
        assert inside.all()


def test_incidents_start_with_their_first_packet_and_are_labelled(wards: list[Recording], unseen: Recording) -> None:
    for recording in [*wards, unseen]:
        frames = recording.frames
        for each in recording.happenings:
            mine = frames[frames["incident"] == each.number]
            assert len(mine) > 0, each.name
            assert (mine["label"] == CLASSES.index(each.label)).all()
            assert abs(int(mine["time"].min()) - each.start) < 1.5e9, each.name
        attacked = frames["label"] > 0
        assert (frames["incident"][attacked] >= 0).all()


def test_the_unseen_ward_sees_every_attack(unseen: Recording) -> None:
    assert {h.name for h in unseen.happenings if h.name in OFFENCES} == set(ATTACKS)


def test_a_family_can_be_held_out() -> None:
    plan = Plan(wards=2, unseen=1, sessions=4, minutes=20, attack_share=0.7, oddity_share=0.1, held_out="Recon")
    names = [{h.name for h in record(plan, number, 1).happenings} for number in range(3)]
    assert not any(FAMILY_OF.get(name) == "Recon" for name in names[0] | names[1])
    assert {name for name in names[2] if FAMILY_OF.get(name) == "Recon"}


def test_quiet_wards_are_the_same_wards_without_incidents() -> None:
    calm = record(quiet(PLAN), 0, 5)
    assert not calm.happenings
    assert (calm.frames["label"] == 0).all()
    assert {d.name for d in calm.ward.devices} == {d.name for d in record(PLAN, 0, 5).ward.devices}


def test_attackers_and_patients_devices_share_addresses_hops_and_hours(
    wards: list[Recording], unseen: Recording
) -> None:
    """Of what only an attack does, no source MAC, TTL or hour is an attack's own (spoofed IP addresses are the attack)."""
    for recording in [*wards, unseen]:
        frames = recording.frames
        bad, good = frames[frames["label"] > 0], frames[frames["label"] == 0]
        assert len(bad) > 100
        assert set(bad["smac"].tolist()) <= set(good["smac"].tolist())
        relayed = bad["label"] == CLASSES.index("ARP_Spoofing")  # a relay takes one hop off, as routers do
        ip = (bad["kind"] != fr.ARP) & ~relayed
        assert set(bad["ttl"][ip].tolist()) <= set(good["ttl"].tolist())
        hours = [set((f["time"] // 3_600_000_000_000).tolist()) for f in (bad, good)]
        assert hours[0] <= hours[1]
        hosts = set(recording.ward.hosts["mac"].tolist())
        for each in recording.happenings:
            assert set(each.actors) <= hosts


def test_oddities_are_there_and_benign(wards: list[Recording], unseen: Recording) -> None:
    odd = [h for r in [*wards, unseen] for h in r.happenings if h.name in ODDITIES]
    assert len({h.name for h in odd}) >= 6
    assert {h.label for h in odd} == {"Benign"}


def test_spoofers_relay_their_victims_traffic(unseen: Recording) -> None:
    code = CLASSES.index("ARP_Spoofing")
    mine = unseen.frames[unseen.frames["label"] == code]
    claims, relays = mine[mine["kind"] == fr.ARP], mine[mine["kind"] != fr.ARP]
    assert len(claims) > 3
    router = int(unseen.ward.hosts["mac"][unseen.ward.router])
    assert (claims["flags"] == 2).all()
    assert router not in set(claims["smac"].tolist())
    taken = set(relays["dmac"].tolist())
    assert taken & {a for h in unseen.happenings if h.name == "ARP_Spoofing" for a in h.actors}


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"wards": 0}, "wards must be 1"),
        ({"minutes": 0.5}, "minutes 1 or more"),
        ({"sessions": 100, "minutes": 60.0}, "do not fit into a day"),
        ({"attack_share": 0.7, "oddity_share": 0.3}, "less than 1"),
        ({"held_out": "Worm"}, "held_out should be one of DDoS"),
    ],
)
def test_a_plan_says_what_is_wrong(keys: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Plan(**keys)  # type: ignore[arg-type]


def test_files_hold_the_packets_and_the_truth(tmp_path: Path) -> None:
    plan = Plan(wards=1, unseen=0, sessions=1, minutes=3)
    done = list(files.generate(tmp_path / "lab", plan, 1))
    recording = record(plan, 0, 1)
    assert done == [("intensive care 1", len(recording.frames), len(recording.happenings))]
    lines = (tmp_path / "lab/intensive-care-1.pcap.labels.csv").read_text().splitlines()
    assert lines[0] == "first,count,label,incident"
    label = np.concatenate(
        [np.full(int(n), CLASSES.index(name)) for _, n, name, _ in (line.split(",") for line in lines[1:])]
    )
    assert np.array_equal(label, recording.frames["label"])
    truth = json.loads((tmp_path / "lab/intensive-care-1.truth.json").read_text())
    assert len(truth["devices"]) == len(recording.ward.devices)
    assert "SYNTHETIC" in truth["note"]
    with pytest.raises(UsageError, match="not empty"):
        list(files.generate(tmp_path / "lab", plan, 1))
