import math

import numpy as np
import pytest
from detect_worlds import START, windows_of  # type: ignore[import-not-found]
from hypothesis import given
from hypothesis import strategies as st

from wardround.detect.drift import LARGE, SMALL, Drift, alarm_rates, noisy, psi, score_psi, uniform
from wardround.detect.measures import Attack, Days, Rate, Told, by_group, timeline, tpr_at
from wardround.detect.thresholds import counts
from wardround.detect.vetting import LEAST, Sample, vet

DAY = 86_400_000_000_000
S = 1_000_000_000


@given(st.integers(1, 5000), st.data())
def test_a_rate_is_never_quoted_below_three_over_n(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    rate = Rate(hits, n)
    low, high = rate.interval
    assert 0 <= low <= hits / n <= high <= 1
    assert rate.value >= (min(1, 3 / n) if hits == 0 else hits / n)
    assert high >= min(1.0, 3 / n)


def test_an_interval_is_wilsons() -> None:
    low, high = Rate(10, 100).interval
    assert low == pytest.approx(0.0552, abs=1e-3)
    assert high == pytest.approx(0.1744, abs=1e-3)
    assert "below 0.03" in Rate(0, 100).text
    assert Rate(0, 0).text == "no decisions"
    assert math.isnan(Rate(0, 0).value)


def test_recall_at_a_rate_that_cannot_be_verified_is_not_given() -> None:
    rng = np.random.default_rng(0)
    attack = np.arange(1000) >= 600
    scores = rng.normal(0, 1, 1000) + 4 * attack
    at = {a.asked: a for a in tpr_at(scores, attack)}
    assert at[1e-2].recall is not None
    assert at[1e-2].recall.hits / at[1e-2].recall.n == (scores[attack] > np.sort(scores[~attack])[-7]).mean()
    assert at[1e-3].recall is None
    assert at[1e-4].benign == 600
    assert tpr_at(scores, np.zeros(1000, bool))[0].recall is None


def test_rates_by_group() -> None:
    found = by_group(np.array([True, False, False, False]), ["pump", "pump", "mri", "mri"])
    assert (found["pump"].value, found["mri"].hits) == (0.5, 0)


def test_incidents_are_matched_with_attacks_and_delays_are_from_the_start() -> None:
    attacks = [
        Attack("flood", 100 * S, 200 * S, frozenset({"a", "v"})),
        Attack("scan", 500 * S, 600 * S, frozenset({"b"})),
    ]
    told = [
        Told(107 * S, "v"),
        Told(150 * S, "x", frozenset({"a"})),
        Told(107 * S, "quiet one"),
        Told(300 * S, "v"),  # too late: nothing explains it
        Told(99 * S, "v"),  # too early
    ]
    found = timeline(attacks, told, 2.0)
    assert found.delays[0] == ("flood", 7.0)
    assert math.isnan(found.delays[1][1])
    assert (found.false, found.false_per_device_day, found.found.hits) == (3, 1.5, 1)
    assert math.isnan(timeline([], [], 0.0).false_per_device_day)


def test_device_days_count_spans() -> None:
    days = Days()
    x = np.zeros((4, 4), np.float32)
    feed = [windows_of(x, ["a"] * 4), windows_of(x[:1], ["a"], START + DAY), windows_of(x[:1], ["b"])]
    assert list(days.counting(feed)) == feed
    assert days.value == pytest.approx(1 + 2 * 5 / 86400, abs=1e-6)


# --- drift


def test_a_noisy_type_is_named_and_chance_is_not() -> None:
    types = ["pump"] * 1000 + ["camera"] * 1000 + ["lamp"] * 50
    alarm = np.zeros(2050, dtype=np.bool_)
    alarm[[*range(7), *range(1000, 1040), 2000]] = True
    rates = alarm_rates(alarm, types)
    assert list(rates) == ["", "camera", "lamp", "pump"]
    assert (rates[""].hits, rates[""].n) == (48, 2050)
    assert [type_ for type_, rate in rates.items() if noisy(rate, 0.005)] == ["", "camera"], "one of fifty is chance"


def test_the_same_traffic_has_no_drift_and_another_has() -> None:
    rng = np.random.default_rng(0)
    seen = Drift(["same", "moved"])
    seen.observe(rng.normal([0, 1.5], 1, (4000, 2)).astype(np.float32))
    found = seen.against(uniform(2))
    assert found["same"] < SMALL < LARGE < found["moved"]
    assert next(iter(found)) == "moved"


def test_psi_by_hand() -> None:
    assert psi(np.array([50.0, 50.0]), np.array([75.0, 25.0])) == pytest.approx(
        0.5 * 0 + (-0.25) * np.log(2 / 3) + 0.25 * np.log(2)
    )
    assert psi(np.zeros(2), np.ones(2)) == 0
    rng = np.random.default_rng(1)
    base, same, moved = (counts(rng.normal(m, 1, 5000)) for m in (0, 0, 2))
    assert score_psi(same, base) < SMALL < LARGE < score_psi(moved, base)
    assert score_psi(same, np.zeros_like(base)) == 0


# --- vetting


def sample(benign: float, attack: float = 5.0, threshold: float = 2.0, n: int = 400, m: int = 50) -> Sample:
    rng = np.random.default_rng(3)
    return Sample(rng.normal(benign, 1, n), rng.normal(attack, 1, m), threshold)


def test_a_model_is_refused_for_more_alarms_worse_fit_or_lost_attacks() -> None:
    active = sample(-2)
    assert vet(sample(-2.05), active).fit
    assert "more false alarms" in vet(sample(0.5), active).reason
    assert "fit worse" in vet(sample(-0.5, threshold=9.0), active).reason
    assert "confirmed attacks" in vet(sample(-2, attack=1.0), active).reason
    assert vet(sample(-2, attack=1.0, m=LEAST - 1), active).fit
    assert vet(sample(9, n=LEAST - 1), active).reason.startswith("not compared")
    assert vet(sample(9), None).fit
