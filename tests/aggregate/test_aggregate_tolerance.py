"""Cohort arithmetic against enumeration, simulation and the dealing that the federation does."""

import itertools

import numpy as np
import pytest

from wardround.aggregate import tolerance
from wardround.aggregate.coordinate import Median, TrimmedMean
from wardround.aggregate.mean import Mean


@pytest.mark.parametrize(("clients", "size", "hostile"), [(7, 2, 2), (9, 3, 3), (8, 3, 4), (6, 1, 2), (10, 4, 1)])
def test_the_distribution_equals_enumeration(clients: int, size: int, hostile: int) -> None:
    sizes = tolerance.cohort_sizes(clients, size)
    cohort = np.repeat(np.arange(len(sizes)), sizes)
    counts = np.zeros(len(sizes) + 1)
    for placed in itertools.combinations(range(clients), hostile):
        counts[len({int(cohort[p]) for p in placed})] += 1
    np.testing.assert_allclose(tolerance.spoilt_distribution(sizes, hostile), counts / counts.sum(), atol=1e-12)


def test_for_many_clients_the_normal_approximation_is_near_the_exact_number(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = tolerance.cohort_sizes(600, 3)
    exact = [tolerance.at_most(sizes, 120, t) for t in (85, 95, 98, 105)]
    monkeypatch.setattr(tolerance, "EXACT_CLIENTS", 10)
    np.testing.assert_allclose([tolerance.at_most(sizes, 120, t) for t in (85, 95, 98, 105)], exact, atol=5e-3)


def test_the_prototypes_table_for_fifty_clients() -> None:
    """P(majority spoilt) for n = 50, research/robust_noniid_comm.md A4 (found by simulation there)."""
    assert 1 - tolerance.clean_majority(50, 5, 0.1) == pytest.approx(0.37, abs=0.02)
    assert 1 - tolerance.clean_majority(50, 2, 0.3) == pytest.approx(0.64, abs=0.02)
    assert 1 - tolerance.clean_majority(50, 10, 0.1) == pytest.approx(0.93, abs=0.02)


def test_cohorts_are_those_that_the_federation_deals() -> None:
    cohorts = pytest.importorskip("wardround.federation.cohorts")
    for clients, size in [(7, 2), (50, 5), (3, 5), (11, 1), (100, 8)]:
        dealt = sorted(len(c) for c in cohorts.deal(clients, size, 1, 1))
        assert sorted(tolerance.cohort_sizes(clients, size)) == dealt


def test_single_clients_are_certain() -> None:
    assert tolerance.outlook(Median(), 50, 1, 0.2).probability == 1.0
    assert tolerance.outlook(Median(), 50, 1, 0.5).probability == 0.0
    assert tolerance.outlook(TrimmedMean(hostile=0.1), 50, 1, 0.2).probability == 0.0


def test_an_outlook_holds_the_numbers_it_rests_on() -> None:
    got = tolerance.outlook(TrimmedMean(hostile=0.4), 50, 5, 0.1)
    assert (got.rows, got.survives, got.hostile_clients) == (10, 4, 5)
    assert got.expected_spoilt == pytest.approx(10 * (1 - tolerance._clean(50, 5, 5)))
    assert 0.5 < got.probability < 0.75
    assert tolerance.outlook(Mean(), 50, 5, 0.1).probability == pytest.approx(0.0, abs=1e-12)
    assert tolerance.outlook(Mean(), 50, 5, 0.0).probability == 1.0


def test_one_cohort_of_all_is_one_row() -> None:
    assert tolerance.cohort_sizes(20, 0) == [20]
    assert tolerance.outlook(Median(), 20, 0, 0.1).probability == 0.0


def test_the_bound_of_large_federations() -> None:
    assert [round(tolerance.majority_bound(s), 3) for s in (1, 2, 3, 5, 10)] == [0.5, 0.293, 0.206, 0.129, 0.067]


def test_wrong_numbers_are_named() -> None:
    with pytest.raises(ValueError, match="hostile share"):
        tolerance.clean_majority(10, 2, 1.5)
    with pytest.raises(ValueError, match="cannot be dealt"):
        tolerance.clean_majority(0, 2, 0.1)
