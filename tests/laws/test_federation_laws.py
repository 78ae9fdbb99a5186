"""Laws of sums and measures: what the server reads from sums is what one would read from all rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.aggregate.optimise import SGD
from wardround.aggregate.rules import RULES
from wardround.config import dump, parse
from wardround.drivers.strategies import full
from wardround.federation import cohorts, measure, reach
from wardround.federation.algorithms import FedAvg
from wardround.federation.messages import Answer
from wardround.federation.participation import Participation, Weather
from wardround.federation.plan import Plan, Schedule
from wardround.traffic.scaling import Moments
from wardround.traffic.table import Column, Labels, Schema
from wardround.training import metrics
from wardround.training.models import Autoencoder, Logistic
from wardround.training.task import LocalTraining, Rows

MODEST = settings(max_examples=40, deadline=None, derandomize=True)
SIZES = st.integers(1, 40)
SEEDS = st.integers(0, 2**16)


def plan(*, unsupervised: bool) -> Plan:
    return Plan(
        schema=Schema("law", (Column("a"), Column("b"))),
        labels=Labels(("benign", "attack"), 0),
        scaling=Moments(),
        model=Autoencoder((2,)) if unsupervised else Logistic(),
        training=LocalTraining(),
        algorithm=FedAvg(),
        rule={rule.name: rule for rule in RULES}["mean"](),
        optimiser=SGD(),
        schedule=Schedule(1, 1, "last", 0, 0),
        weighting="rows",
        weight_cap=100,
    )


def rows_and_outputs(seed: int, n: int, outputs: int) -> tuple[Rows, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2)).astype(np.float32)
    return Rows(x, rng.integers(0, 2, n)), (3 * rng.normal(size=(n, outputs))).astype(np.float32)


@given(clients=SIZES, size=SIZES, seed=SEEDS, exchange=st.integers(1, 99))
@MODEST
def test_every_client_is_dealt_once_into_cohorts_that_are_large_enough(
    clients: int, size: int, seed: int, exchange: int
) -> None:
    dealt = cohorts.deal(clients, size, seed, exchange)
    assert sorted(i for members in dealt for i in members) == list(range(clients))
    assert all(len(members) >= min(size, clients) for members in dealt)
    assert dealt == cohorts.deal(clients, size, seed, exchange)


@given(clients=SIZES, size=SIZES, seed=SEEDS)
@MODEST
def test_cohort_sums_add_up_to_the_total_however_dealt(clients: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    answers = [
        Answer(1, rng.normal(size=5).astype(np.float32), rng.integers(0, 99, 3).astype(float)) for _ in range(clients)
    ]
    rows = cohorts.sums(answers, size, seed, 1)
    total = cohorts.empty(5, 3)
    for answer in answers:
        total = cohorts.add(total, answer)
    assert sum(row.clients for row in rows) == total.clients == clients
    assert np.allclose(sum(row.update for row in rows), total.update, rtol=0, atol=1e-9)
    assert np.array_equal(sum(row.counts for row in rows), total.counts)


@pytest.mark.parametrize("unsupervised", [False, True])
@given(n=st.integers(0, 200), cut=st.floats(0, 1), seed=SEEDS)
@MODEST
def test_measure_counts_of_parts_add_up(unsupervised: bool, n: int, cut: float, seed: int) -> None:
    agreed = plan(unsupervised=unsupervised)
    rows, outputs = rows_and_outputs(seed, n, 2)
    errors = np.array([10.0, 3.0, 8.0]) if unsupervised else np.zeros(0)
    at = int(cut * n)
    halves = [
        measure.counts(agreed, outputs[own], Rows(rows.x[own], rows.y[own]), errors)
        for own in (slice(None, at), slice(at, None))
    ]
    whole = measure.counts(agreed, outputs, rows, errors)
    assert whole.shape == (measure.size(agreed),)
    assert np.array_equal(halves[0] + halves[1], whole)
    moments = [measure.error_moments(outputs[own], rows.x[own]) for own in (slice(None, at), slice(at, None))]
    assert np.allclose(moments[0] + moments[1], measure.error_moments(outputs, rows.x))


@given(n=st.integers(1, 300), rate=st.floats(0.001, 0.5), seed=SEEDS, width=st.floats(0.01, 30))
@MODEST
def test_the_threshold_keeps_the_asked_rate_on_the_rows_it_was_made_from(
    n: int, rate: float, seed: int, width: float
) -> None:
    agreed = plan(unsupervised=False)
    rows, outputs = rows_and_outputs(seed, n, 2)
    outputs = (width * outputs).astype(np.float32)
    counts = measure.counts(agreed, outputs, rows, np.zeros(0))
    at = measure.threshold(counts, rate)
    score = measure.scores(agreed, outputs, rows.x, np.zeros(0))
    benign = score[rows.y == 0]
    last = measure.BINS.hi - (measure.BINS.hi - measure.BINS.lo) / measure.BINS.count
    if at == math.inf:  # nothing is known of benign rows, or too many lie where the bins end
        assert not len(benign) or (benign >= last - 1e-9).mean() > rate
        return
    # a float's rounding may put a score on the other side of the edge it lies on
    assert (benign > at + 1e-9).mean() <= rate
    step = (measure.BINS.hi - measure.BINS.lo) / measure.BINS.count
    if at > measure.BINS.lo:  # and it is the lowest such edge: one bin lower lets too many through
        lower = np.clip(benign, measure.BINS.lo, measure.BINS.hi)
        assert (lower >= at - step - 1e-9).mean() > rate


@given(n=st.integers(1, 300), seed=SEEDS)
@MODEST
def test_reading_sums_equals_the_exact_measures_within_a_bin(n: int, seed: int) -> None:
    agreed = plan(unsupervised=False)
    rows, outputs = rows_and_outputs(seed, n, 2)
    read = measure.read(agreed, measure.counts(agreed, outputs, rows, np.zeros(0)))
    exact = metrics.classification(metrics.confusion(rows.y, outputs.argmax(1), 2))
    assert read.macro_f1 == pytest.approx(exact.macro_f1)
    assert read.balanced_accuracy == pytest.approx(exact.balanced_accuracy)
    attack, score = rows.y == 1, measure.scores(agreed, outputs, rows.x, np.zeros(0))
    if attack.all() or not attack.any():
        assert math.isnan(read.roc_auc)
        return
    a, b = score[attack][:, None], score[~attack][None, :]
    step = (measure.BINS.hi - measure.BINS.lo) / measure.BINS.count
    near = (np.abs(a - b) <= step).mean()  # pairs that may share a bin count half instead of 0 or 1
    exact_auc = ((a > b) + 0.5 * (a == b)).mean()
    assert abs(read.roc_auc - exact_auc) <= 0.5 * near + 1e-12


@given(clients=SIZES, fraction=st.floats(0.01, 1), minimum=SIZES, seed=SEEDS)
@MODEST
def test_invitations_are_a_sample_without_repeats(clients: int, fraction: float, minimum: int, seed: int) -> None:
    names = [f"c{i}" for i in range(clients)]
    invited = Participation(fraction, minimum).invite(names, seed, 1)
    assert len(set(invited)) == len(invited) == min(clients, max(minimum, round(fraction * clients)))
    assert set(invited) <= set(names)


@given(clients=SIZES, rounds=st.integers(1, 20), more=st.integers(1, 20), seed=SEEDS)
@MODEST
def test_more_rounds_do_not_change_the_weather_of_the_first_ones(
    clients: int, rounds: int, more: int, seed: int
) -> None:
    weather = Weather(offline=0.3)
    assert np.array_equal(
        weather.presence(clients, rounds + more, seed)[: rounds + 1], weather.presence(clients, rounds, seed)
    )


@given(about=st.text(st.characters(exclude_categories=["Cs"]), max_size=40), seed=st.integers(0, 2**62))
@MODEST
def test_an_experiment_is_read_back_as_it_was_written(about: str, seed: int) -> None:
    small = parse('name = "x"\n[data]\nuse = "hospital"\n[partition]\nuse = "iid"\n', full())
    changed = replace(small, about=about, seed=seed)
    assert parse(dump(changed), full()) == changed


@given(sizes=st.lists(st.integers(0, 6), min_size=1, max_size=3), seed=SEEDS, scale=st.floats(-30, 30))
@MODEST
def test_the_reach_of_a_round_holds_the_values_it_was_told_and_goes_back_exactly(
    sizes: list[int], seed: int, scale: float
) -> None:
    parts = [reach.Part(size, 1.0) for size in sizes]
    block = (2.0**scale * np.random.default_rng(seed).normal(size=sum(sizes))).astype(np.float32)
    told = reach.exponents(parts, block)
    at = reach.following([3 * e for e in told], 3)  # three clients that say the same
    small = reach.shrink(parts, block, at)
    assert np.abs(small, dtype=np.float64).max(initial=0.0) <= 1.0
    assert np.array_equal(reach.spread(parts, small.astype(np.float64), at), block)  # powers of two lose nothing
    assert np.array_equal(reach.shrink(parts, block, np.zeros(0, dtype=np.float32)), block)
