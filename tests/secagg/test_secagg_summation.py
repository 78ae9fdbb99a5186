"""One facade for lattice, pairwise and plain sums: the same clients, the same counts, updates within the quantiser's error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wardround.errors import RoundError
from wardround.rng import stream
from wardround.secagg.client import Plain
from wardround.secagg.in_memory import Absences, Ledger, Parties
from wardround.secagg.parameters import Lattice
from wardround.secagg.summation import Order, neighbours_of, secure_sum

NAMES = tuple(f"gw-{i:02d}" for i in range(14))
SEED = bytes(range(32))


def plain(name: str) -> Plain:
    rng = stream(8, name)
    return Plain(rng.uniform(-1, 1, 50).astype(np.float32), rng.integers(-99, 99, 4).astype(float))


@pytest.fixture(scope="module")
def parties() -> Parties:
    return Parties(NAMES, Lattice(minimum=3, sharing="keys"), SEED)


@pytest.mark.parametrize("use", ["lattice", "pairwise", "plain"])
@pytest.mark.parametrize("cohort", [0, 5])
def test_all_three_sum_the_same_clients(parties: Parties, use: Any, cohort: int) -> None:
    gone = frozenset({"gw-03"})
    order = Order(NAMES[:12], cohort, (50, 4), absences=Absences(gone))
    rows = secure_sum(use, parties, order, plain, SEED)
    assert sorted(c for row in rows for c in row.clients) == [n for n in NAMES[:12] if n not in gone]
    assert len(rows) == (1 if cohort == 0 else 2)
    for row in rows:
        assert np.array_equal(row.counts, sum(plain(c).counts for c in row.clients))
        wanted = sum(plain(c).update.astype(float) for c in row.clients)
        assert np.abs(row.update - wanted).max() < {"plain": 1e-6}.get(use, 9 / 127)


def test_a_round_may_invite_some_and_the_next_others(parties: Parties) -> None:
    for chosen in (NAMES[:5], NAMES[7:], NAMES[3:9]):
        (row,) = secure_sum(
            "lattice", parties, Order(chosen, 0, (50, 0)), lambda n: Plain(plain(n).update, np.zeros(0)), SEED
        )
        assert row.clients == chosen
        assert row.counts.size == 0


@pytest.mark.parametrize("use", ["lattice", "pairwise", "plain"])
def test_too_few_clients_are_a_round_error_for_all(parties: Parties, use: Any) -> None:
    gone = Absences(frozenset(NAMES[:5]))
    with pytest.raises(RoundError):
        secure_sum(use, parties, Order(NAMES[:6], 0, (50, 4), absences=gone), plain, SEED)


def test_the_ledger_counts_what_is_sent_and_spent(parties: Parties) -> None:
    ticks = iter(range(10**6))
    ledger = Ledger(measure_bytes=True, clock=lambda: float(next(ticks)))
    secure_sum("lattice", parties, Order(NAMES, 0, (50, 4)), plain, SEED, ledger=ledger)
    assert set(ledger.sent_bytes) == set(ledger.spent_s) == {"client", "member", "server"}
    assert ledger.spent_s["client"] == len(NAMES)  # one call each, one tick per call
    assert 4900 < ledger.sent_bytes["client"] / len(NAMES) < 5900


def test_an_epoch_ends_before_its_keys_do() -> None:
    few = Parties(NAMES[:3], Lattice(minimum=3, sharing="keys"), SEED)
    few.number = 4096
    rows = secure_sum("lattice", few, Order(NAMES[:3], 0, (50, 4)), plain, SEED)
    assert few.epoch == 2
    assert len(rows[0].clients) == 3


def test_neighbours_are_even_and_fewer_than_the_clients() -> None:
    assert [neighbours_of(n) for n in (3, 4, 5, 10, 43, 1000)] == [2, 2, 4, 8, 42, 42]


def test_simulations_repeat_to_the_bit() -> None:
    """Encapsulations and signatures are randomised, sums are not: they depend on seed and entropy alone."""
    runs = []
    for _ in range(2):
        few = Parties(NAMES[:8], Lattice(minimum=3, sharing="keys"), SEED)
        runs.append(secure_sum("lattice", few, Order(NAMES[:8], 4, (50, 4)), plain, SEED))
    for one, other in zip(*runs, strict=True):
        assert one.clients == other.clients
        assert np.array_equal(one.update, other.update)
