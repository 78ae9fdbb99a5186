"""What a run's log and measures say about hostile clients: rows judged, trust, who moved and why, what the attack achieved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wardround.drivers.sinks.numerals import fixed
from wardround.drivers.sinks.runfiles import RunFiles
from wardround.events import Note, RoundDone, RoundFailed, RowsJudged, TrustMoved, TrustSeen

MOST_MOVES = 60  # lines of the report's table


@dataclass(frozen=True)
class Hostility:
    """The events of a run that speak of hostile clients, in order; ``outlook``: whether the rule was said to hold;
    ``unsummed``: (round, reason) of what layer 2 left out of its sums.
    """

    rows: tuple[RowsJudged, ...]
    trust: tuple[TrustSeen, ...]
    moved: tuple[TrustMoved, ...]
    outlook: str
    unsummed: tuple[tuple[int, str], ...] = ()

    @property
    def refused(self) -> list[tuple[int, str]]:
        """(round, reason) of what was rejected: contributions and sums by layer 2, rows by the gate."""
        gated = [(event.round, reason) for event in self.rows for reason in event.refused]
        return sorted([*self.unsummed, *gated], key=lambda each: each[0])


def hostility(run: RunFiles) -> Hostility:
    """What ``run`` recorded; all empty where it compared no rows."""

    def of(kind: type) -> tuple[Any, ...]:
        return tuple(event for event in run.log if isinstance(event, kind))

    outlook = "\n".join(event.text for event in of(Note) if event.code in ("rule.outlook", "root.coverage"))
    return Hostility(of(RowsJudged), of(TrustSeen), of(TrustMoved), outlook, tuple(_unsummed(run)))


def _unsummed(run: RunFiles) -> Iterator[tuple[int, str]]:
    """What layer 2 noted; a note stands in the log before the round it belongs to is done."""
    done = 0
    for event in run.log:
        if isinstance(event, RoundDone | RoundFailed):
            done = event.round
        elif isinstance(event, Note) and event.code in ("secagg.client", "secagg.implausible"):
            yield done + 1, event.text


def attack_facts(run: RunFiles) -> list[tuple[str, str]]:
    """(name, value) of what the adversary was and did, and what the server can do alone; empty where there is neither."""
    found: list[tuple[str, str]] = []
    attack = run.part("attack")
    settings = run.settings()
    if attack:
        hostile = attack.get("hostile") or ()
        found.append(
            (
                "attack",
                f"{attack.get('use')}, {len(hostile)} hostile clients, from round {settings.get('attack.start')}",
            )
        )
        found.append(("who", ", ".join(map(str, hostile)) or "nobody"))
        success = attack.get("backdoor_success")
        if success is not None:
            found.append(
                ("backdoor", f"{success:.1%} of triggered test rows of other classes get the adversary's label")
            )
    found.append(("rule", f"{settings.get('rule.use')}, rows of {settings.get('rounds.cohort_size')} clients"))
    root = run.overall("root")
    if root is not None:
        rows = ((run.metrics.get("models") or {}).get("root") or {}).get("rows")
        found.append(("server alone", f"macro-F1 {fixed(root.get('macro_f1'))} on its {rows} root rows"))
    return found


def moves(seen: Hostility) -> Sequence[TrustMoved]:
    """The changes of standing that the report lists: the last ones."""
    return seen.moved[-MOST_MOVES:]
