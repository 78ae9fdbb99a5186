"""Trust in the round: every round's rows become evidence about single clients, and evidence moves their standing.

    rows of a round -> scores per cohort (grouptest.py) -> a client's own scores, over a window of rounds
                    -> two crowds? -> a verdict per client -> standing (auth/trust.py) -> who is invited next

``Watch`` is the table ``[trust]``. ``review`` is sans-IO and takes and returns the whole state; the server keeps it in its
checkpoint. Hysteresis is that of auth/trust.py: evidence adds up, the thresholds to fall and to rise differ, only an operator
leaves quarantine. Every change comes with its reason in words.

What it does not do: judge single updates (it never sees one), or revoke (an operator does).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wardround.arrays import F32, F64, I64, Bool
from wardround.auth.trust import Standing, State, TrustPolicy, Turn, Verdict, observe, turned
from wardround.events import Event, TrustMoved, TrustSeen
from wardround.federation.crowds import Crowds, crowds
from wardround.federation.grouptest import FEATURES, VIEWS, Observation, estimate, rounds_in, scores
from wardround.wire import message

SOURCE = "group-testing"
MOST_CLIENTS = 2000  # the regression solves for all clients at once: a matrix of that size squared
FULL, LEAST = 40, 10.0  # clients that can show all the evidence; what is asked of however few (docs/design/0708)
GOOD, BAD = 0.25, 3.0  # evidence of a round in which a client is cleared, or found in the worse crowd


@dataclass(frozen=True)
class Watch(TrustPolicy):
    """Trust from group testing, and when evidence moves a client.

    Attributes:
        watch: find hostile clients from the cohorts' means and stop inviting them.
        unasked: do so without being asked where ``[robust]`` assumes hostile clients and cohorts can be compared: a rule alone
            bounds what they do, round after round.
        window: rounds that are looked at together.
        apart: how many spreads the two crowds must stand apart before anybody is called hostile.
        evidence: how much better two crowds must explain a score than one (twice the log likelihood ratio); twice as much for
            several scores at once. Fewer than 40 clients cannot show so much: of them it is asked in proportion, but 10 at least.
        certain: posterior from which a client counts as found.
        prior_good, prior_bad: weights every client begins with; large numbers make the score slow.
        forget: share of the evidence (beyond the prior) that is forgotten with each verdict.
        probation_below: an active client whose score good / (good + bad) falls below this goes on probation.
        active_above: a client on probation whose score rises above this is active again.
        quarantine_below: a client on probation that falls below this is quarantined: not invited any more.
    """

    watch: bool = False
    unasked: bool = True
    window: int = 30
    apart: float = 3.0
    evidence: float = 25.0
    certain: float = 0.97

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 2:
            raise ValueError(f"window must be 2 rounds or more, not {self.window}")
        if not 0.5 < self.certain < 1:
            raise ValueError(f"certain must lie between 0.5 and 1, not {self.certain}")
        for name in ("apart", "evidence"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")


@message(0x5A02)
@dataclass(frozen=True, eq=False)
class TrustState:
    """What must survive a restart: the window's rounds, and by client its standing, rounds it took part in, and rounds in
    which its cohort was ``rejected``.
    """

    seen: tuple[Observation, ...]
    standings: tuple[Standing, ...]
    rounds: I64
    rejected: I64


@dataclass(frozen=True, eq=False)
class Round:
    """What a round shows: its ``number``, the ``peers``, by peer the row it was in (``cohort`` [clients], -1: none), the ``rows``
    [m, d] and the ``reference`` [d] they are held against (the server's root update, or the round's result). After those rows
    come ``spoilt`` ones that were not opened, because their sum cannot be of honest clients.
    """

    number: int
    peers: Sequence[str]
    cohort: I64
    rows: F32
    reference: F32
    spoilt: int = 0


@dataclass(frozen=True, eq=False)
class Review:
    """What one round changed: the new state, verdicts by client name, and events."""

    state: TrustState
    verdicts: tuple[tuple[str, Verdict], ...]
    events: tuple[Event, ...]


def begin(clients: int) -> TrustState:
    """Nothing is known of anybody."""
    none = np.zeros(clients, dtype=np.int64)
    return TrustState((), (Standing(),) * clients, none, none)


def takes_part(state: TrustState, index: int, round_: int) -> bool:
    """Whether a client is invited: one on probation to every second training round, which halves its weight even in a sum
    that nobody can look into.
    """
    standing = state.standings[index].name
    if standing is State.PROBATION:
        return (round_ + index) % 2 == 0
    return standing is State.ACTIVE


def review(watch: Watch, state: TrustState, shown: Round) -> Review:
    """Evidence from a round."""
    cohort, finite = shown.cohort, np.asarray(np.isfinite(shown.rows).all(axis=1))
    if len(shown.rows) + shown.spoilt < 2 or not finite.any():
        return Review(state, (), ())
    sizes = np.bincount(cohort[cohort >= 0], minlength=len(shown.rows))[: len(shown.rows)].astype(np.float64)
    score = scores(shown.rows, shown.reference, sizes, shown.spoilt)
    finite = np.concatenate([finite, np.zeros(shown.spoilt, dtype=bool)])
    seen = (*state.seen, Observation(shown.number, cohort, score))[-watch.window :]
    found = _found(watch, seen, len(shown.peers))
    out = _in(cohort, np.asarray(score @ found.towards > found.line) | ~finite)
    state = replace(state, seen=seen, rounds=state.rounds + (cohort >= 0), rejected=state.rejected + out)
    return _judged(watch, state, shown, found)


def overrule(watch: Watch, state: TrustState, index: int, turn: Turn) -> TrustState:
    """An operator's decision about one client.

    Raises:
        UsageError: its standing has no such turn.
    """
    standings = list(state.standings)
    standings[index] = turned(watch, standings[index], turn)
    return replace(state, standings=tuple(standings))


def trusted(
    state: TrustState, peers: Sequence[str], reachable: Sequence[str], round_: int, least: int
) -> tuple[str, ...]:
    """Who of ``reachable`` is invited to training ``round_`` (0: to an exchange that trains nothing).

    Clients on probation sit out every second training round, unless fewer than ``least`` would be left.
    """
    index = {peer: at for at, peer in enumerate(peers)}
    allowed = tuple(p for p in reachable if state.standings[index[p]].name in (State.ACTIVE, State.PROBATION))
    if not round_:
        return allowed
    due = tuple(p for p in allowed if takes_part(state, index[p], round_))
    return due if len(due) >= least else allowed


def membership(peers: Sequence[str], cohorts: Sequence[Sequence[str]]) -> I64:
    """[clients]: the number of the cohort each of ``peers`` was in, -1 for none."""
    where = {name: row for row, members in enumerate(cohorts) for name in members}
    return np.array([where.get(peer, -1) for peer in peers], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Found:
    """What the window says: ``posterior`` [clients] of being hostile, ``known`` [clients] (seen often enough to say), which
    ``features`` speak, and the combination ``towards`` [features] of a cohort's scores that makes it a rejected one above
    ``line``.
    """

    posterior: F64
    known: Bool
    features: str
    towards: F64
    line: float
    decided: bool


def _found(watch: Watch, seen: Sequence[Observation], clients: int) -> Found:
    """The clearest view of the features that separates two crowds; where none does, nobody is suspected.

    A view of several features at once must show twice the evidence: it has more ways to find two crowds in one.
    """
    size = max(1.0, clients_per_row(seen[-1]))
    known = rounds_in(seen, clients) >= min(3, len(seen))
    needed = asked(watch, int(known.sum()))
    best: tuple[float, Crowds, tuple[int, ...]] | None = None
    if known.sum() >= 4 and len(seen) > size:  # fewer rounds than a cohort has members cannot tell them apart
        values = estimate(seen, clients)[known]
        for view in VIEWS:
            two = crowds(values[:, view])
            clear = two.evidence / (needed * (1 if len(view) == 1 else 2))
            if two.apart >= watch.apart and clear >= 1 and (best is None or clear > best[0]):
                best = (clear, two, view)
    posterior, towards = np.zeros(clients), np.zeros(len(FEATURES))
    if best is None:
        return Found(posterior, known, "", towards, 0.0, decided=False)
    _, two, view = best
    posterior[known], towards[list(view)] = two.hostile, two.towards
    # one hostile member lifts a cohort's score by that much over a clean one's: half of it is the line
    clean = float(np.median(seen[-1].scores @ towards)) - _expected_lift(posterior, two, size)
    named = " and ".join(FEATURES[at] for at in view)
    return Found(posterior, known, named, towards, clean + two.lift / size / 2, decided=True)


def asked(watch: Watch, clients: int) -> float:
    """The evidence for two crowds that is asked of so many ``clients``."""
    return min(watch.evidence, max(LEAST, watch.evidence * clients / FULL))


def _expected_lift(posterior: F64, two: Crowds, size: float) -> float:
    """How much the typical cohort lies above a clean one, because most cohorts hold a hostile client."""
    several = np.round(posterior.mean() * size)
    return float(several * two.lift / size)


def clients_per_row(each: Observation) -> float:
    """Mean size of a round's cohorts."""
    return float((each.cohort >= 0).sum()) / max(len(each.scores), 1)


def _in(cohort: I64, rows: Bool) -> Bool:
    """Clients [clients] that are in one of the ``rows`` [m]."""
    out: Bool = (cohort >= 0) & rows[np.maximum(cohort, 0)]
    return out


def _judged(watch: Watch, state: TrustState, shown: Round, found: Found) -> Review:
    """Verdicts on those who took part, and what they move."""
    standings, verdicts, events = list(state.standings), [], []
    for i in np.flatnonzero(found.known & (shown.cohort >= 0)).tolist():
        hostile = bool(found.posterior[i] >= watch.certain)
        verdict = Verdict(SOURCE, bad=BAD) if hostile else Verdict(SOURCE, good=GOOD if found.decided else 0.0)
        before = standings[i]
        standings[i], turn = observe(watch, before, verdict)
        verdicts.append((shown.peers[i], verdict))
        if turn is not None:
            why = f"{reason(state, i, found)}: {turn.value}"
            events.append(TrustMoved(shown.number, shown.peers[i], before.state, standings[i].state, why))
    trust = tuple(watch.score(each) for each in standings)
    states = tuple(each.state for each in standings)
    seen = TrustSeen(shown.number, tuple(float(p) for p in found.posterior), trust, states)
    return Review(replace(state, standings=tuple(standings)), tuple(verdicts), (*events, seen))


def reason(state: TrustState, index: int, found: Found) -> str:
    """Why a client's standing changes, in words."""
    rounds, rejected = int(state.rounds[index]), int(state.rejected[index])
    others = np.delete(state.rejected, index).sum() / max(int(np.delete(state.rounds, index).sum()), 1)
    text = f"in {rejected} of {rounds} rounds its cohort was rejected (others: {others:.0%} of theirs)"
    if found.features:
        text += f"; the cohorts it was in differ by {found.features}, posterior {found.posterior[index]:.3f}"
    return text
