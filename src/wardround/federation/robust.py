"""What the server assumes of hostile clients, which rule that asks for, and whether it holds: the table ``[robust]``.

    what a row is        the default rule
    one or two clients   rooted-mean, if the server has a root set that covers every class
                         nearest-neighbour mixing and trimmed mean, if not: most rows are clean
    three and more       fltrust, if the server has a root set that covers every class: most rows may be spoilt
                         norm-clipping, if not: nothing is found, but no row moves the mean by more than its share
    all clients          mean: one row, nothing to compare

Cohorts are dealt at random after the last upload, so whether a rule holds in a round is a matter of probability
(aggregate/tolerance.py). What it does not do: judge a row (aggregate/), remember a client (trust.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from wardround.aggregate.coordinate import TrimmedMean
from wardround.aggregate.mean import Mean, NormClipping
from wardround.aggregate.rooted import FLTrust, RootedMean
from wardround.aggregate.rule import Rule
from wardround.aggregate.tolerance import Outlook, fitted, outlook, tolerated_share

SMALL = 2  # rows of at most so many clients: a majority of them stays clean
BOUNDED = ("norm-clipping",)
ROOT_ROWS = 1000  # what an advice names (docs/results.md says what fewer cost)


@dataclass(frozen=True)
class Robust:
    """What is assumed of hostile clients, and what to do where the rule does not hold against them.

    Attributes:
        assumed_hostile: share of the clients that is hostile, as you assume; 0 assumes none and checks nothing.
        least_probability: the rule holds if a round's draw of cohorts is good with at least this probability.
        on_doubt: ``refuse`` a file whose rule does not hold, or ``warn`` and go on.
    """

    assumed_hostile: float = 0.0
    least_probability: float = 0.95
    on_doubt: Literal["refuse", "warn"] = "refuse"

    def __post_init__(self) -> None:
        if not 0 <= self.assumed_hostile < 1:
            raise ValueError(f"assumed_hostile is a share of the clients in [0, 1), not {self.assumed_hostile}")
        if not 0 < self.least_probability < 1:
            raise ValueError(f"least_probability must lie between 0 and 1, not {self.least_probability}")


@dataclass(frozen=True)
class Setting:
    """What the question depends on: ``clients`` in a round, the least ``cohort`` size (0: one cohort of all), whether the
    server has a root set that covers every class, and whether answers are plain model updates (``comparable``).
    """

    clients: int
    cohort: int
    rooted: bool
    comparable: bool = True


@dataclass(frozen=True)
class Advice:
    """Whether the rule holds: ``holds``, or ``bounded`` (harm is limited, not prevented); the numbers; what would hold."""

    holds: bool
    bounded: bool
    outlook: Outlook
    nearest: tuple[str, ...]


def choose(robust: Robust, setting: Setting) -> Rule:
    """The default rule for what the server sees."""
    if setting.cohort == 0:
        return Mean()
    if setting.rooted and setting.comparable:
        return RootedMean() if setting.cohort <= SMALL else FLTrust()
    if setting.cohort <= SMALL or not setting.comparable:
        rule = TrimmedMean(pre=("nnm",))
        return fitted(rule, setting.clients, setting.cohort, robust.assumed_hostile or rule.hostile)
    return NormClipping()


def advise(rule: Rule, robust: Robust, setting: Setting) -> Advice:
    """Does ``rule`` hold against the assumed share of hostile clients?"""
    found = outlook(rule, setting.clients, setting.cohort, robust.assumed_hostile)
    holds = found.probability >= robust.least_probability and (setting.rooted or not rule.needs)
    bounded = rule.name in BOUNDED
    return Advice(holds, bounded, found, () if holds else _nearest(rule, robust, setting))


def text(rule: Rule, robust: Robust, setting: Setting) -> str:
    """The advice in words: what the server sees, what is spoilt, what the rule survives, and what would hold."""
    advice = advise(rule, robust, setting)
    seen, share = advice.outlook, robust.assumed_hostile
    named = f"{rule.name}{' after ' + ', '.join(rule.pre) if rule.pre else ''}"
    cohorts = f"cohorts of {setting.cohort}" if setting.cohort else "one cohort of all"
    spoilt = (
        f"{seen.hostile_clients} of {setting.clients} clients are assumed hostile ({share:.0%}): {seen.expected_spoilt:.1f} "
        f"of {seen.rows} rows hold one on average; the rule survives {seen.survives}"
    )
    lines = [
        f"rule {named}, {cohorts}: {setting.clients} clients a round make {seen.rows} rows",
        spoilt,
        f"probability that a round's draw of cohorts spoils no more: {seen.probability:.3f}",
    ]
    if rule.needs:
        lines.append(f"the rule compares rows with the server's root set, which {_cover(setting)}")
    if advice.holds:
        return "\n".join([*lines, f"it holds (asked: {robust.least_probability:g})"])
    if advice.bounded:
        part = seen.expected_spoilt / seen.rows
        lines.append(f"it is bounded, not robust: spoilt rows move the mean by at most {part:.0%} of the norm limit")
    else:
        lines.append(f"it does not hold (asked: {robust.least_probability:g})")
    return "\n".join([*lines, *(f"would hold: {each}" for each in advice.nearest)])


def _cover(setting: Setting) -> str:
    return "covers every class" if setting.rooted else "is missing or lacks classes"


def _nearest(rule: Rule, robust: Robust, setting: Setting) -> tuple[str, ...]:
    """Settings near this one that hold, each with one thing changed."""
    share, least = robust.assumed_hostile, robust.least_probability
    majority = TrimmedMean(pre=("nnm",)) if rule.needs or not rule.breakdown(100) else rule
    found: list[str] = []
    if rule.breakdown(100) and (setting.rooted or not rule.needs):
        most = tolerated_share(rule, setting.clients, setting.cohort, least)
        if most:
            found.append(f"at most {most:.0%} hostile, as it stands")
    for size in range(max(setting.cohort, 1), 0, -1):
        set_for = fitted(majority, setting.clients, size, share)
        if outlook(set_for, setting.clients, size, share).probability >= least and (
            set_for != rule or size != setting.cohort
        ):
            pre = f", pre = {list(set_for.pre)}" if set_for.pre else ""
            found.append(f'cohorts of {size} with [rule] use = "{set_for.name}"{pre}, hostile = {set_for.hostile:g}')
            break
    rooted = replace(setting, rooted=True)
    if setting.cohort and setting.comparable and not setting.rooted and advise(FLTrust(), robust, rooted).holds:
        found.append(f'[rule] use = "fltrust" with [root] size = {ROOT_ROWS} and every class in it')
    return tuple(found)
