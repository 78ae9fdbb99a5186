"""All detectors together, from windows to changes."""

from dataclasses import replace

import numpy as np
import pytest
from detect_worlds import SECOND, START, rows, windows_of  # type: ignore[import-not-found]
from hypothesis import given
from hypothesis import strategies as st

from wardround.detect import norms
from wardround.detect.alert import Identity, alert
from wardround.detect.baseline import learn
from wardround.detect.detector import DETECTORS, Budget, Detector, Knowledge
from wardround.detect.inventory import Inventory
from wardround.detect.scorer import Scorer
from wardround.detect.thresholds import REACH, Calibration, counts
from wardround.detect.volume import rates
from wardround.errors import DecodeError, UsageError
from wardround.traffic.table import Schema
from wardround.traffic.windows import FACTS, Claims, Facts, Windows, concat
from wardround.training.bundle import Bundle


def quiet(n: int, seed: int, first: int = START, device: str = "pump") -> Windows:
    x, y = rows(6 * n, seed)
    x = x[y == 0][:n]
    rng = np.random.default_rng(seed)
    found: Windows = windows_of(
        x, [device] * len(x), first, packets_in=rng.poisson(40, len(x)), packets_out=rng.poisson(30, len(x))
    )
    return found


def flood(n: int, seed: int, first: int, device: str = "pump") -> Windows:
    x, y = rows(6 * n, seed)
    found: Windows = windows_of(
        x[y == 1][:n], [device] * n, first, packets_in=np.full(n, 50), packets_out=np.full(n, 10)
    )
    return found


@pytest.fixture(scope="module")
def known(bundle: Bundle) -> Knowledge:
    x, y = rows(9000, seed=40)
    benign = x[y == 0]
    normal = learn(benign[:1500], 1)
    budget = Budget(rate=0.01)
    calibrations = {
        ("model", ""): Calibration(budget.of("model"), federation=counts(Scorer(bundle).scores(benign[1500:]))),
        ("baseline", ""): Calibration(budget.of("baseline"), site=counts(normal.scores(benign[1500:]))),
    }
    return Knowledge({"model": bundle}, {"": normal}, calibrations, budget)


def test_normal_traffic_stays_within_the_budget(known: Knowledge) -> None:
    found = Detector(known).observe(quiet(2500, 41))
    assert found.alarm.mean() < 2 * known.budget.rate
    assert set(found.scores) == set(DETECTORS)
    assert np.isnan(found.scores["guard"]).all()  # there is none


def test_a_flood_becomes_one_explained_incident(known: Knowledge) -> None:
    detector = Detector(known)
    detector.observe(quiet(30, 42))
    found = detector.observe(flood(6, 43, START + 3600 * SECOND))
    opened = [c for c in found.changes if c.kind == "opened"]
    assert len(opened) == 1
    incident = opened[0].incident
    assert (incident.subject, incident.family, incident.label) == ("pump", "flood", "TCP_IP-DDoS-SYN")
    assert 1 <= len(incident.reasons) <= 5
    assert found.incident.all()
    told = alert(opened[0], detector.inventory.get("pump"), START, Identity("3", "ab", 7))
    assert told.family.techniques[0].id == "T1498"
    (closed,) = detector.tick(START + 5000 * SECOND)
    assert closed.kind == "closed"


def test_an_arp_conflict_is_told_without_any_model() -> None:
    detector = Detector()
    one = windows_of(np.zeros((1, 4), np.float32), ["pump"])
    address = np.array([[0, (0xFFFF << 32) | 7]] * 2, np.uint64)
    macs = np.array([0xAA, 0xEE], np.uint64)
    said = Claims(np.array([START, START + SECOND], np.int64), address, macs)
    (change,) = detector.observe(replace(one, claims=said)).changes
    assert (change.kind, change.incident.subject, change.incident.family) == (
        "opened",
        "00:00:00:00:00:ee",
        "arp-spoofing",
    )
    assert detector.status("pump")["model"] == "no model yet"


def test_a_restart_changes_nothing(known: Knowledge) -> None:
    batches = [quiet(40, 44), flood(4, 45, START + 400 * SECOND), flood(4, 46, START + 425 * SECOND)]
    whole, broken = Detector(known), Detector(known)
    expected = [whole.observe(b).changes for b in batches]
    got = []
    for batch in batches:
        broken = Detector.from_bytes(broken.to_bytes(), known)
        got.append(broken.observe(batch).changes)
    assert got == expected
    assert broken.to_bytes() == whole.to_bytes()


def test_calibrations_travel_in_the_state(known: Knowledge) -> None:
    data = Detector(known).to_bytes()
    bare = Knowledge(known.bundles, known.baselines, {}, known.budget)
    assert (
        Detector.from_bytes(data, bare).calibration("model", "x").value
        == Detector(known).calibration("model", "x").value
    )


def test_a_type_with_enough_windows_has_a_threshold_of_its_own(known: Knowledge) -> None:
    mine = Calibration(known.budget.of("model"), federation=known.calibrations["model", ""].federation)
    mine = mine.with_site(np.random.default_rng(0).normal(3, 1, 20_000))
    detector = Detector(replace(known, calibrations={**known.calibrations, ("model", "camera"): mine}))
    assert detector.calibration("model", "camera").value > detector.calibration("model", "pump").value


def test_another_schema_is_refused_with_advice(known: Knowledge) -> None:
    w = quiet(3, 47)
    with pytest.raises(UsageError, match="features the federation trains with"):
        Detector(known).observe(replace(w, schema=Schema("other", w.schema.columns)))
    narrow = Schema("narrow", w.schema.columns[:2])
    with pytest.raises(UsageError, match="calibrate again"):
        Detector(Knowledge(baselines=known.baselines)).observe(replace(w, schema=narrow, x=w.x[:, :2]))
    with pytest.raises(UsageError, match="cannot watch"):
        Detector(Knowledge({"model": replace(known.bundles["model"], benign=None)}))


def test_budget_and_state_are_checked() -> None:
    with pytest.raises(ValueError, match="rate"):
        Budget(rate=0.7)
    with pytest.raises(ValueError, match="shares"):
        Budget(shares=(0.9, 0.9, 0.1, 0.1, 0.1))
    assert sum(Budget().of(d) for d in DETECTORS) == pytest.approx(Budget().rate)


def test_the_threshold_of_a_baseline_is_of_its_own_scores(known: Knowledge) -> None:
    """Counts of the all-devices baseline say nothing of a type's own: they would let it alarm ten times too often, or never."""
    own = Calibration(known.budget.of("baseline"), site=counts(np.random.default_rng(0).normal(5, 1, 900)))
    typed = replace(
        known,
        baselines={**known.baselines, "camera": known.baselines[""]},
        calibrations={**known.calibrations, ("baseline", "camera"): own},
    )
    detector = Detector(typed)
    assert detector.calibration("baseline", "camera") is own
    assert detector.calibration("baseline", "pump") is known.calibrations["baseline", ""]


def test_a_noisy_type_raises_its_threshold_before_it_has_enough_windows_and_never_lowers_it(known: Knowledge) -> None:
    rate = known.budget.of("model")
    n = int(2 / rate)
    noisy, calm = (Calibration(rate).with_site(np.random.default_rng(0).normal(m, 1, n)) for m in (9.0, -30.0))
    found = {**known.calibrations, ("model", "broker"): noisy, ("model", "lamp"): calm}
    detector = Detector(replace(known, calibrations=found))
    usual = detector._limits("model", "")[0]
    assert usual < detector._limits("model", "broker")[0] <= usual + REACH
    assert detector._limits("model", "lamp")[0] == usual
    assert not noisy.own


def test_a_device_keeps_the_type_of_its_record_whatever_an_attack_makes_it_speak(known: Knowledge) -> None:
    w = quiet(40, 49)
    record = norms.learn(w.schema, ["pump"] * 40, ["controller"] * 40, rates(w), w.x)
    detector = Detector(replace(known, norms=record))
    detector.observe(replace(w, port=np.full(40, 1883, np.uint16)))
    assert detector.inventory.get("pump").guessed == "mqtt-sensor"
    assert detector.kind("pump") == "controller"
    detector.inventory.tell("pump", "ventilator")
    assert detector.kind("pump") == "ventilator"
    assert "40 windows" in detector.status("controller", "pump")["norms"]


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_detector(data: bytes) -> None:
    for cls in (Inventory,):
        with pytest.raises(DecodeError):
            cls.from_bytes(data)
    with pytest.raises(DecodeError):
        Detector.from_bytes(data, Knowledge())


def test_scores_do_not_depend_on_the_cut_into_batches(known: Knowledge) -> None:
    w = quiet(300, 48)
    one = Detector(known).observe(w)
    detector = Detector(known)

    def cut(a: int, b: int) -> Windows:
        pick = slice(a, b)
        facts = Facts(**{name: getattr(w.facts, name)[pick] for name in FACTS})
        columns = {
            c: getattr(w, c)[pick]
            for c in ("device", "start", "end", "x", "address", "peer", "port", "own_port", "protocol", "label_counts")
        }
        found: Windows = replace(w, facts=facts, **columns)
        return found

    parts = [detector.observe(cut(a, b)) for a, b in ((0, 100), (100, 101), (101, 300))]
    for name in DETECTORS:
        assert np.allclose(np.concatenate([p.scores[name] for p in parts]), one.scores[name], equal_nan=True, atol=1e-5)
    assert len(concat([cut(0, 100), cut(100, 300)])) == 300


def test_a_type_starts_with_the_limit_that_the_federation_learnt_for_it(bundle: Bundle, known: Knowledge) -> None:
    carrying = replace(bundle, arrays={"limits/pump": np.array([1.5], np.float32)})
    detector = Detector(replace(known, bundles={"model": carrying}))
    plain = detector._limits("model", "monitor")[0]
    assert detector._limits("model", "pump")[0] == pytest.approx(plain + 1.5)
    assert detector._limits("baseline", "pump")[0] == detector._limits("baseline", "monitor")[0]
    general = known.calibrations["model", ""]
    mine = {**known.calibrations, ("model", "pump"): replace(general, site=np.zeros_like(general.federation))}
    assert Detector(replace(known, bundles={"model": carrying}, calibrations=mine))._limits("model", "pump")[0] == plain
    with pytest.raises(UsageError, match="limits of types"):
        Detector(replace(known, bundles={"model": replace(bundle, arrays={"limits/pump": np.zeros(2, np.float32)})}))
