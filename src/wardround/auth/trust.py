"""Standings of a device, and what moves them: evidence with hysteresis, or an operator.

Evidence is a beta distribution per device (Josang and Ismail, "The Beta Reputation System", 2002): good and bad weights
from other rooms' verdicts (robust rules, suspicion, alerts on the gateway, missed rounds), forgotten at a fixed rate. The
thresholds to fall and to rise differ, so a device does not flicker. Law: REVOKED is terminal; nothing but an operator
leaves QUARANTINED; ``observe`` never revokes.

What it does not do: produce verdicts, or store them; the registry (drivers/store) keeps the audit chain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from wardround.errors import UsageError
from wardround.wire import message


class State(Enum):
    ACTIVE = "active"
    PROBATION = "probation"
    QUARANTINED = "quarantined"
    REVOKED = "revoked"


class Turn(Enum):
    DOUBT = "score falls below probation_below"
    RELIEF = "score rises above active_above"
    CONDEMN = "score falls below quarantine_below"
    QUARANTINE = "operator quarantines"
    RELEASE = "operator releases"
    REVOKE = "operator revokes"


TRANSITIONS: dict[State, dict[Turn, State]] = {
    State.ACTIVE: {
        Turn.DOUBT: State.PROBATION,
        Turn.QUARANTINE: State.QUARANTINED,
        Turn.REVOKE: State.REVOKED,
    },
    State.PROBATION: {
        Turn.RELIEF: State.ACTIVE,
        Turn.CONDEMN: State.QUARANTINED,
        Turn.QUARANTINE: State.QUARANTINED,
        Turn.REVOKE: State.REVOKED,
    },
    State.QUARANTINED: {
        Turn.RELEASE: State.PROBATION,
        Turn.REVOKE: State.REVOKED,
    },
    State.REVOKED: {},
}

MAY_AUTHENTICATE = {State.ACTIVE: True, State.PROBATION: True, State.QUARANTINED: False, State.REVOKED: False}
WEIGHT = {State.ACTIVE: 1.0, State.PROBATION: 0.5, State.QUARANTINED: 0.0, State.REVOKED: 0.0}


@dataclass(frozen=True)
class TrustPolicy:
    """When evidence moves a device: the table ``[trust]``.

    Attributes:
        prior_good, prior_bad: weights every device begins with; large numbers make the score slow.
        forget: share of the evidence (beyond the prior) that is forgotten with each verdict, 0 to below 1.
        probation_below: an active device whose score good / (good + bad) falls below this goes on probation.
        active_above: a device on probation whose score rises above this is active again; above ``probation_below``.
        quarantine_below: a device on probation that falls below this is quarantined; below ``probation_below``.
    """

    prior_good: float = 8.0
    prior_bad: float = 1.0
    forget: float = 0.02
    probation_below: float = 0.6
    active_above: float = 0.75
    quarantine_below: float = 0.35

    def __post_init__(self) -> None:
        if not 0.0 < self.quarantine_below < self.probation_below < self.active_above < 1.0:
            raise UsageError("[trust] needs 0 < quarantine_below < probation_below < active_above < 1")
        if self.prior_good <= 0.0 or self.prior_bad <= 0.0 or not 0.0 <= self.forget < 1.0:
            raise UsageError("[trust] needs prior_good and prior_bad above 0 and 0 <= forget < 1")
        if self.score(Standing()) < self.active_above:
            raise UsageError(
                "[trust]: a new device's score prior_good / (prior_good + prior_bad) is below active_above"
            )

    def score(self, standing: Standing) -> float:
        """Expected share of good conduct, 0 to 1."""
        good, bad = self.prior_good + standing.good, self.prior_bad + standing.bad
        return good / (good + bad)


@message(0x3501)
@dataclass(frozen=True)
class Verdict:
    """What another room says about one device; weights are at least 0 and finite. ``source`` says which room."""

    source: str
    good: float = 0.0
    bad: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.good < 1e6 and 0.0 <= self.bad < 1e6):
            raise ValueError(f"a verdict's weights are between 0 and a million, not {self.good} and {self.bad}")


@message(0x3502)
@dataclass(frozen=True)
class Standing:
    """A device's state and the evidence beyond the prior."""

    state: str = State.ACTIVE.value
    good: float = 0.0
    bad: float = 0.0

    def __post_init__(self) -> None:
        State(self.state)

    @property
    def name(self) -> State:
        return State(self.state)


def observe(policy: TrustPolicy, standing: Standing, verdict: Verdict) -> tuple[Standing, Turn | None]:
    """The standing after a verdict, and the turn it took, if any. Quarantined and revoked devices gather no evidence."""
    if standing.name not in (State.ACTIVE, State.PROBATION):
        return standing, None
    keep = 1.0 - policy.forget
    standing = replace(standing, good=keep * standing.good + verdict.good, bad=keep * standing.bad + verdict.bad)
    turn = _turn(policy, standing)
    return (turned(policy, standing, turn), turn) if turn else (standing, None)


def turned(policy: TrustPolicy, standing: Standing, turn: Turn) -> Standing:
    """The standing after a turn; a release begins with the evidence of a device that just fell on probation.

    Raises:
        UsageError: this state has no such turn.
    """
    after = TRANSITIONS[standing.name].get(turn)
    if after is None:
        raise UsageError(f"a device that is {standing.state} cannot take this turn: {turn.value}")
    if turn is Turn.RELEASE:
        bad = policy.prior_good * (1.0 / policy.probation_below - 1.0) - policy.prior_bad
        return Standing(after.value, bad=bad)
    return replace(standing, state=after.value)


def _turn(policy: TrustPolicy, standing: Standing) -> Turn | None:
    score = policy.score(standing)
    if standing.name is State.ACTIVE:
        return Turn.DOUBT if score < policy.probation_below else None
    if score < policy.quarantine_below:
        return Turn.CONDEMN
    return Turn.RELIEF if score > policy.active_above else None
