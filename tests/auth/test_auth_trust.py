"""Trust states, hysteresis, and the roster that enforces them."""

from __future__ import annotations

import pytest

from wardround.auth.in_memory import Seeded, world
from wardround.auth.roster import Roster, RosterBytes
from wardround.auth.suites import SUITES
from wardround.auth.trust import (
    MAY_AUTHENTICATE,
    TRANSITIONS,
    WEIGHT,
    Standing,
    State,
    TrustPolicy,
    Turn,
    Verdict,
    observe,
    turned,
)
from wardround.errors import DecodeError, RemoteProtocolError, UsageError
from wardround.wire import decode, encode

POLICY = TrustPolicy()
BAD, GOOD = Verdict("robust rule", bad=1.0), Verdict("robust rule", good=1.0)


def many(standing: Standing, verdict: Verdict, count: int) -> tuple[Standing, list[Turn]]:
    turns = []
    for _ in range(count):
        standing, turn = observe(POLICY, standing, verdict)
        turns += [turn] if turn else []
    return standing, turns


def test_bad_conduct_falls_through_probation_into_quarantine_and_no_further() -> None:
    standing, turns = many(Standing(), BAD, 200)
    assert turns == [Turn.DOUBT, Turn.CONDEMN]
    assert standing.name is State.QUARANTINED
    assert many(standing, GOOD, 500) == (standing, [])  # only an operator leads out


def test_good_conduct_rises_again_above_another_threshold() -> None:
    standing, turns = many(Standing(), BAD, 5)
    assert turns == [Turn.DOUBT]
    fallen = POLICY.score(standing)
    assert fallen < POLICY.probation_below
    up = standing
    while POLICY.score(up) < POLICY.probation_below + 0.05:
        up, turn = observe(POLICY, up, GOOD)
        assert turn is None  # above the threshold to fall, below the one to rise: hysteresis
    assert up.name is State.PROBATION
    _, turns = many(up, GOOD, 60)
    assert turns == [Turn.RELIEF]


def test_alternating_evidence_does_not_flicker() -> None:
    standing, turns = many(Standing(), BAD, 5)
    for _ in range(100):
        standing, first = observe(POLICY, standing, GOOD)
        standing, second = observe(POLICY, standing, BAD)
        turns += [t for t in (first, second) if t]
    assert turns == [Turn.DOUBT]


def test_operators_turns() -> None:
    quarantined = turned(POLICY, Standing(), Turn.QUARANTINE)
    released = turned(POLICY, quarantined, Turn.RELEASE)
    assert released.name is State.PROBATION
    assert POLICY.score(released) == pytest.approx(POLICY.probation_below)
    assert many(released, GOOD, 60)[1] == [Turn.RELIEF]
    revoked = turned(POLICY, released, Turn.REVOKE)
    for turn in Turn:
        with pytest.raises(UsageError, match="a device that is revoked cannot take this turn"):
            turned(POLICY, revoked, turn)
    assert observe(POLICY, revoked, GOOD) == (revoked, None)


def test_the_table_is_complete_and_revocation_is_terminal() -> None:
    assert set(TRANSITIONS) == set(State) == set(WEIGHT) == set(MAY_AUTHENTICATE)
    assert TRANSITIONS[State.REVOKED] == {}
    assert all(TRANSITIONS[s][Turn.REVOKE] is State.REVOKED for s in State if s is not State.REVOKED)
    assert [WEIGHT[s] for s in State] == [1.0, 0.5, 0.0, 0.0]
    assert [MAY_AUTHENTICATE[s] for s in State] == [True, True, False, False]


@pytest.mark.parametrize(
    "bad",
    [
        {"quarantine_below": 0.0},
        {"probation_below": 0.3},
        {"active_above": 0.5},
        {"active_above": 1.0},
        {"forget": 1.0},
        {"prior_good": 0.0},
        {"prior_good": 1.0},
    ],
)
def test_a_policy_checks_itself(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"\[trust\]"):
        TrustPolicy(**bad)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), 1e6])
def test_a_verdict_checks_itself(weight: float) -> None:
    with pytest.raises(ValueError, match="between 0 and a million"):
        Verdict("x", bad=weight)
    with pytest.raises(DecodeError):
        decode(encode(Verdict("x")).replace(bytes(16), bytes(8) + b"\x7f\xf8" + bytes(6)), Verdict)


# --- the roster


def roster() -> Roster:
    return world(3, SUITES[1]).roster


def test_a_roster_travels() -> None:
    ours = roster()
    packed = decode(encode(ours.pack(b"fed")), RosterBytes)
    theirs = Roster(SUITES[1])
    assert theirs.update(packed) == ()
    assert sorted((e.device_id, e.psk, e.public) for e in theirs) == sorted(
        (e.device_id, e.psk, e.public) for e in ours
    )
    assert len(theirs) == 3


def test_an_update_names_who_lost_access() -> None:
    ours = roster()
    first, second, third = sorted(e.device_id for e in ours)
    theirs = Roster(SUITES[1])
    theirs.update(ours.pack(b"fed"))
    ours.set_state(first, State.REVOKED)
    ours.set_state(second, State.PROBATION)
    ours.version = 1
    assert theirs.update(ours.pack(b"fed")) == (first,)
    assert (theirs.state(second), theirs.weight(second), theirs.weight(third)) == (State.PROBATION, 0.5, 1.0)
    assert theirs.revocation_epoch == 1


def test_a_roster_never_goes_back() -> None:
    ours, theirs = roster(), Roster(SUITES[1])
    ours.version = 5
    theirs.update(ours.pack(b"fed"))
    ours.version = 4
    with pytest.raises(RemoteProtocolError, match="went back from version 5 to 4"):
        theirs.update(ours.pack(b"fed"))
    ours.version = 5
    device_id = next(iter(ours)).device_id
    theirs.set_state(device_id, State.REVOKED)
    with pytest.raises(RemoteProtocolError, match="un-revokes"):
        theirs.update(ours.pack(b"fed"))
    with pytest.raises(RemoteProtocolError, match="revoked for good"):
        theirs.set_state(device_id, State.ACTIVE)
    with pytest.raises(RemoteProtocolError, match="is not in the roster"):
        theirs.set_state(b"nobody", State.ACTIVE)
    assert theirs.weight(b"nobody") == 0.0


def test_a_roster_checks_itself() -> None:
    packed = roster().pack(b"fed")
    a, b, c = packed.entries
    for entries in ((b, a, c), (a, a, b)):
        with pytest.raises(ValueError, match="ascending order"):
            RosterBytes(b"fed", 1, 0, 0, entries)
    data = encode(packed).replace(b"active", b"activ3")
    with pytest.raises(DecodeError, match="unknown states"):
        decode(data, RosterBytes)


def test_a_psk_is_in_no_repr() -> None:
    w = world(1, SUITES[1], Seeded("repr"))
    psk = w.devices[0].psk
    shown = repr(next(iter(w.roster))) + repr(w.roster.pack(b"fed"))
    assert repr(psk)[2:-1] not in shown
