from __future__ import annotations

import numpy as np
import pytest

from wardround.drivers.sources.hospital import ATTACK_PACKETS, Hospital
from wardround.drivers.sources.hospital_profiles import ACTIVITIES, ATTACKS, DEVICES, ODDITIES, WARDS
from wardround.drivers.sources.hospital_windows import (
    ACTIVITY_NAMES,
    PARSED,
    SCHEMA,
    WINDOW_S,
    Doings,
    features,
    packets,
)
from wardround.rng import stream
from wardround.traffic.table import Table

SMALL = Hospital(wards=3, devices_per_ward=4, windows_per_device=100)


def load(hospital: Hospital = SMALL, seed: int = 1) -> Table:
    return hospital.load(None, stream(seed, "data"))


def column(table: Table, name: str) -> np.ndarray:
    return table.x[:, [c.name for c in table.schema.columns].index(name)]


def test_the_same_seed_gives_the_same_hospital() -> None:
    one, same, other = load(), load(), load(seed=2)
    assert np.array_equal(one.x, same.x, equal_nan=True)
    assert np.array_equal(one.y, same.y)
    assert not np.array_equal(one.y, other.y)


def test_it_says_that_it_is_synthetic() -> None:
    assert any("SYNTHETIC" in note for note in load().notes)


def test_labels_are_views_of_one_hospital() -> None:
    binary, six, nineteen = (load(Hospital(3, 4, 100, labels=labels)) for labels in ("binary", "6class", "19class"))
    assert binary.labels.names == ("Benign", "Attack")
    assert six.labels.names == ("Benign", "DDoS", "DoS", "Recon", "MQTT", "Spoofing")
    assert set(nineteen.labels.names) == {"Benign", *ATTACKS}
    assert np.array_equal(binary.x, nineteen.x, equal_nan=True)
    assert np.array_equal(binary.y == 0, six.y == 0)
    assert np.array_equal(binary.y == 0, nineteen.y == 0)
    recon = [i for i, name in enumerate(nineteen.labels.names) if name.startswith("Recon")]
    assert np.array_equal(six.y == 3, np.isin(nineteen.y, recon))


def test_natural_clients_are_wards_or_devices() -> None:
    wards, devices = load(), load(Hospital(3, 4, 100, clients="device"))
    assert wards.groups == ("intensive care 1", "radiology 1", "outpatients 1")
    assert np.bincount(wards.group).tolist() == [400] * 3
    assert len(set(devices.groups)) == 12
    assert np.bincount(devices.group).tolist() == [100] * 12
    kind = column(devices, "device")
    for code, name in enumerate(devices.groups):
        assert len(set(kind[devices.group == code])) == 1
        assert tuple(DEVICES)[int(kind[devices.group == code][0])] in name


def test_time_runs_within_each_device() -> None:
    t = load(Hospital(2, 2, 50, days=2, clients="device"))
    assert t.time is not None
    for code in range(4):
        time = t.time[t.group == code]
        assert (np.diff(time) > 0).all()
        assert 0 < time[0] < time[-1] < 2 * 86_400


def test_values_are_possible() -> None:
    t = load()
    assert not np.isinf(t.x).any()
    for index, spec in enumerate(t.schema.columns):
        values = t.x[:, index][~np.isnan(t.x[:, index])]
        assert values.min() >= 0
        if spec.kind == "flag":
            assert values.max() <= 1
        if spec.kind == "category":
            assert values.max() < len(spec.vocabulary)
    protocols = sum(column(t, f"share {name}") for name in ("tcp", "udp", "icmp", "arp"))
    assert np.nanmax(np.abs(protocols - 1)) < 1e-5
    size = column(t, "size largest")
    assert np.nanmin(size) >= 60
    assert np.nanmax(size) <= 1514


def test_values_are_missing_now_and_then_and_never_for_one_label_only() -> None:
    t = load(Hospital(6, 6, 300))
    unparsed = np.isnan(t.x[:, PARSED[0]])
    assert 0.005 < unparsed.mean() < 0.15
    assert unparsed[t.y == 0].mean() > 0.002
    assert unparsed[t.y != 0].mean() < 0.5


def test_device_types_and_wards_differ() -> None:
    t = load(Hospital(6, 8, 200, attack_share=0.01, oddity_share=0.0))
    benign = t.y == 0
    rate, kind = column(t, "rate"), column(t, "device")
    typical = {
        name: float(np.median(rate[benign & (kind == i)])) for i, name in enumerate(DEVICES) if (kind == i).any()
    }
    assert max(typical.values()) > 20 * min(typical.values())
    mqtt = column(t, "share mqtt")
    wearable, pump = (mqtt[benign & (kind == list(DEVICES).index(name))] for name in ("wearable", "infusion pump"))
    assert np.nanmedian(wearable) > 0.8
    assert np.nanmedian(pump) == 0


def test_office_devices_follow_the_day_and_monitors_do_not() -> None:
    """Habits: tablets sleep at night; a patient monitor never does."""
    assert DEVICES["nurse tablet"].rhythm > 5 * DEVICES["patient monitor"].rhythm
    t = load(Hospital(12, 6, 240, days=10, attack_share=0.01, oddity_share=0.0))
    assert t.time is not None
    hour = t.time / 3600 % 24
    day, night = (hour > 10) & (hour < 18), (hour < 5) | (hour > 23)
    swing = {}
    for name in ("image server", "nurse tablet", "room sensor"):
        mine = column(t, "device") == list(DEVICES).index(name)
        swing[name] = float(np.median(column(t, "rate")[mine & day]) / np.median(column(t, "rate")[mine & night]))
    assert swing["nurse tablet"] > 1.8 > 1.3 > swing["room sensor"]


def test_low_exposure_makes_wards_differ_more() -> None:
    def spread(exposure: float) -> float:
        t = load(Hospital(12, 4, 200, exposure=exposure))
        counts = np.array([np.bincount(t.y[t.group == g], minlength=6)[1:] for g in range(12)]) + 1e-9
        return float((counts / counts.sum(1, keepdims=True)).std(0).mean())

    assert spread(0.2) > 1.3 * spread(20)


def test_shares_of_attacks_and_oddities() -> None:
    attacked = np.mean([float((load(Hospital(12, 4, 100), seed).y != 0).mean()) for seed in range(4)])
    assert 0.2 < attacked < 0.45
    calm = load(Hospital(3, 4, 100, attack_share=1e-6, oddity_share=0.9))
    assert (calm.y != 0).mean() < 0.01  # oddities are Benign


@pytest.mark.parametrize(
    "keys",
    [
        {"wards": 0},
        {"attack_share": 1.0},
        {"attack_share": 0.0},
        {"oddity_share": -0.1},
        {"exposure": 0.0},
        {"days": 0.0},
    ],
)
def test_impossible_hospitals_are_refused(keys: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Hospital(**keys)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
def test_the_smallest_hospital(seed: int) -> None:
    t = load(Hospital(1, 1, 1, exposure=1e-3), seed)
    assert t.x.shape == (1, len(SCHEMA.columns))


def test_profiles_name_only_what_exists() -> None:
    named = [a for d in DEVICES.values() for a, _, _ in d.habits]
    named += [a for i in (*ATTACKS.values(), *ODDITIES.values()) for a, _ in i.parts]
    assert set(named) == set(ACTIVITIES)
    assert all(len(weights) == len(DEVICES) for weights in WARDS.values())
    for incident in (*ATTACKS.values(), *ODDITIES.values()):
        assert sum(share for _, share in incident.parts) == pytest.approx(1)
        assert set(incident.where) <= set(DEVICES)
        assert 0 < incident.low < incident.high


def test_a_window_of_one_activity_looks_like_it() -> None:
    n = 400
    scan = np.full(n, ACTIVITY_NAMES.index("port scan"))
    doings = Doings(np.arange(n), scan, np.full(n, 20.0), np.ones(n), np.ones(n))
    counts = packets(doings, stream(1, "packets"))
    x = features(doings, counts, np.zeros(n, dtype=np.int64), stream(1, "features"))
    at = {c.name: np.nanmean(x[:, i]) for i, c in enumerate(SCHEMA.columns)}
    assert at["rate"] == pytest.approx(counts.mean() / WINDOW_S, rel=1e-3) == pytest.approx(20, rel=0.05)
    assert at["share tcp"] == 1
    assert at["flag syn"] == pytest.approx(0.5, abs=0.02)
    assert at["ports"] == pytest.approx(700 * (1 - np.exp(-200 / 700)), rel=0.05)
    assert at["new connections"] == pytest.approx(10, rel=0.1)


def test_a_silent_window_has_rate_zero_and_missing_shares() -> None:
    nothing = Doings(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1), np.ones(1), np.ones(1))
    x = features(nothing, packets(nothing, stream(1, "p")), np.zeros(2, dtype=np.int64), stream(1, "f"))
    at = {c.name: x[:, i] for i, c in enumerate(SCHEMA.columns)}
    assert (at["rate"] == 0).all()
    assert np.isnan(at["share tcp"]).all()
    assert np.isnan(at["size largest"]).all()


def test_an_attack_needs_packets() -> None:
    assert ATTACK_PACKETS == 3
    assert min(incident.low for incident in ATTACKS.values()) * WINDOW_S > ATTACK_PACKETS
