"""Trust: who is found, who is never expelled, hysteresis, the operator, and what survives a restart."""

import numpy as np
import pytest

from wardround.arrays import F32
from wardround.auth.trust import State, Turn
from wardround.errors import UsageError
from wardround.events import TrustMoved, TrustSeen
from wardround.federation.trust import (
    Round,
    TrustState,
    Watch,
    asked,
    begin,
    membership,
    overrule,
    review,
    takes_part,
    trusted,
)
from wardround.wire import decode, encode

CLIENTS, SIZE, D = 60, 5, 50
PEERS = tuple(f"ward {i}" for i in range(CLIENTS))
WATCH = Watch(watch=True)


def federation(
    hostile: int, rounds: int, *, watch: Watch = WATCH, seed: int = 1
) -> tuple[TrustState, list[TrustMoved]]:
    """Rounds over cohorts of honest updates around a goal, and hostile ones against it; quarantined clients stay out."""
    rng = np.random.default_rng(seed)
    goal = rng.normal(size=D)
    own = 1.5 * rng.normal(size=(CLIENTS, D))  # what makes a client's data its own
    state, moved = begin(CLIENTS), []
    for number in range(1, rounds + 1):
        there = [PEERS.index(p) for p in trusted(state, PEERS, PEERS, number, 4)]
        updates = goal + own + rng.normal(size=(CLIENTS, D))
        updates[:hostile] = -2.0 * goal + 0.1 * rng.normal(size=(hostile, D))
        order = rng.permutation(there)
        parts = np.array_split(order, max(1, len(order) // SIZE))
        rows: F32 = np.stack([updates[part].mean(axis=0) for part in parts]).astype(np.float32)
        cohort = membership(PEERS, [[PEERS[i] for i in part] for part in parts])
        found = review(watch, state, Round(number, PEERS, cohort, rows, goal.astype(np.float32)))
        state = found.state
        moved += [event for event in found.events if isinstance(event, TrustMoved)]
        assert isinstance(found.events[-1], TrustSeen)
    return state, moved


def standings(state: TrustState, which: State) -> set[int]:
    return {i for i, each in enumerate(state.standings) if each.name is which}


def test_liars_are_quarantined_from_sums_alone_and_nobody_else() -> None:
    state, moved = federation(12, 25)
    assert standings(state, State.QUARANTINED) == set(range(12))
    assert len(standings(state, State.ACTIVE)) >= CLIENTS - 12 - 1, "an odd client may be on probation, no more"
    last = next(event for event in moved if event.after == "quarantined")
    assert last.before == "probation", "nobody falls in one step"
    assert "rounds its cohort was rejected" in last.why


@pytest.mark.parametrize("seed", range(4))
def test_where_nobody_lies_nobody_is_expelled(seed: int) -> None:
    state, moved = federation(0, 25, seed=seed)
    assert not moved
    assert standings(state, State.ACTIVE) == set(range(CLIENTS))


def test_clients_on_probation_that_behave_come_back() -> None:
    lying, _ = federation(12, 9)
    assert standings(lying, State.PROBATION) >= set(range(12))
    forgetful = Watch(watch=True, window=3, forget=0.1)  # the lies are soon out of sight
    rng, state = np.random.default_rng(2), lying
    goal = np.ones(D, dtype=np.float32)
    for number in range(15, 60):
        cohort = rng.permutation(np.arange(CLIENTS) // SIZE)
        rows = (goal + 0.3 * rng.normal(size=(CLIENTS // SIZE, D))).astype(np.float32)
        state = review(forgetful, state, Round(number, PEERS, cohort, rows, goal)).state
    assert standings(state, State.ACTIVE) == set(range(CLIENTS))


def test_the_operator_overrules_and_only_he_ends_a_quarantine() -> None:
    state, _ = federation(12, 25)
    back = overrule(WATCH, state, 0, Turn.RELEASE)
    assert back.standings[0].name is State.PROBATION
    held = overrule(WATCH, state, 30, Turn.QUARANTINE)
    assert not takes_part(held, 30, 1)
    gone = overrule(WATCH, held, 30, Turn.REVOKE)
    with pytest.raises(UsageError, match="revoked"):
        overrule(WATCH, gone, 30, Turn.RELEASE)


def test_clients_on_probation_sit_out_every_second_round_and_measure_always() -> None:
    state, _ = federation(12, 9)
    index = min(standings(state, State.PROBATION))
    assert takes_part(state, index, 2) != takes_part(state, index, 3)
    assert PEERS[index] in trusted(state, PEERS, PEERS, 0, 4)
    assert set(trusted(state, PEERS, PEERS, 2, CLIENTS)) == set(PEERS), "unless too few would be left"


def test_a_row_that_is_not_finite_counts_as_the_worst_and_breaks_nothing() -> None:
    rows = np.ones((4, D), dtype=np.float32)
    rows[2, 3] = np.nan
    cohort = np.arange(CLIENTS) % 4
    found = review(WATCH, begin(CLIENTS), Round(1, PEERS, cohort, rows, np.ones(D, dtype=np.float32)))
    assert np.isfinite(found.state.seen[-1].scores).all()
    assert set(np.flatnonzero(found.state.rejected)) == set(np.flatnonzero(cohort == 2))


def test_who_spoils_sums_that_nobody_can_open_is_found_by_whose_cohorts_fail() -> None:
    """Three clients' keys do not fit their ciphertexts: their cohorts are never opened, and no single client can be named."""
    rng, state, liars = np.random.default_rng(3), begin(CLIENTS), {4, 17, 30}
    goal = np.ones(D, dtype=np.float32)
    for number in range(1, 25):
        there = [PEERS.index(p) for p in trusted(state, PEERS, PEERS, number, 4)]
        parts = np.array_split(rng.permutation(there), len(there) // SIZE)
        good = [part for part in parts if not liars & set(part.tolist())]
        bad = [part for part in parts if liars & set(part.tolist())]
        rows = (goal + 0.3 * rng.normal(size=(len(good), D))).astype(np.float32)
        cohort = membership(PEERS, [[PEERS[i] for i in part] for part in (*good, *bad)])
        found = review(WATCH, state, Round(number, PEERS, cohort, rows, goal, len(bad)))
        state = found.state
    assert standings(state, State.QUARANTINED) == liars
    assert len(standings(state, State.ACTIVE)) == CLIENTS - len(liars)


def test_trust_survives_the_checkpoint() -> None:
    state, _ = federation(12, 9)
    back = decode(encode(state), TrustState)
    assert back.standings == state.standings
    assert len(back.seen) == 9
    np.testing.assert_array_equal(back.rejected, state.rejected)


@pytest.mark.parametrize(("clients", "needed"), [(10, 10.0), (20, 12.5), (40, 25.0), (2000, 25.0)])
def test_few_clients_are_asked_for_less_evidence(clients: int, needed: float) -> None:
    assert asked(Watch(), clients) == needed
    assert asked(Watch(evidence=4.0), clients) == min(4.0, needed), "never more than the file asks for"


@pytest.mark.parametrize("wrong", [{"window": 1}, {"certain": 0.5}, {"apart": 0.0}, {"evidence": -1.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Watch(**wrong)  # type: ignore[arg-type]
