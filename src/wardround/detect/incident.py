"""An incident as a value: its states, what opens it, and how evidence changes it. The machine is in incidents.py.

A subject is the device that an analyst must look at. Votes are counted within n windows; a vote is of one view (findings.py)
of one window's end. ``kinds`` are the families that were told: a family that is new to an open incident, with enough votes
of its own, is told at once, because what is known of it has changed.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field, replace

from wardround.detect.findings import Allow, Finding, Flow, Maintenance, Reason
from wardround.detect.tags import ANOMALY, FAMILIES
from wardround.wire import message

SECOND = 1_000_000_000
MOST_PEERS = 16
ODD = 4
"""Votes more than usual that open what only feature rows find odd: a device that changed its ways a little is no alarm."""


class State(enum.Enum):
    NONE = "none"
    SUSPECTED = "suspected"
    OPEN = "open"
    MUTED = "muted"
    CLOSED = "closed"


TRANSITIONS: dict[State, dict[str, State]] = {
    State.NONE: {"evidence": State.SUSPECTED},
    State.SUSPECTED: {
        "evidence": State.SUSPECTED,
        "enough": State.OPEN,
        "muted": State.MUTED,
        "stale": State.NONE,
    },
    State.OPEN: {"evidence": State.OPEN, "quiet": State.CLOSED, "labelled": State.CLOSED, "muted": State.MUTED},
    State.MUTED: {"evidence": State.MUTED, "over": State.OPEN, "quiet": State.CLOSED, "labelled": State.CLOSED},
    State.CLOSED: {
        "evidence": State.CLOSED,
        "enough": State.OPEN,
        "muted": State.MUTED,
        "stale": State.NONE,
        "labelled": State.CLOSED,
    },
}


@dataclass(frozen=True)
class Rules:
    """When incidents open, tell and close.

    Attributes:
        votes: k: weight of evidence that opens an incident (a window has one vote of each view, two if far out).
        span: n: windows within which they must fall.
        hold_s: an open incident is told again after so many seconds at the earliest (at once where severity rises).
        quiet_s: when the evidence was not enough to open it for so long, it closes: single windows keep nothing open.
        reopen_s: evidence within so many seconds after closing opens the same incident again.
    """

    votes: int = 3
    span: int = 6
    hold_s: float = 60.0
    quiet_s: float = 300.0
    reopen_s: float = 900.0

    def __post_init__(self) -> None:
        if not 1 <= self.votes <= 2 * self.span:
            raise ValueError(f"votes must lie between 1 and twice the span {self.span}, not {self.votes}")
        for name in ("hold_s", "quiet_s", "reopen_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")


@dataclass(frozen=True)
class Policy:
    """What the operator decided: rules, allow-list, maintenance windows."""

    rules: Rules = field(default_factory=Rules)
    allow: tuple[Allow, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()

    def muted(self, f: Finding, subject: str, peer: str) -> str:
        """Why a finding about ``subject``, with ``peer`` at the other end, is expected; nothing where it is not."""
        mine = tuple(n for n in (f.device, f.flow.address) if n)
        other = tuple(n for n in (peer, f.flow.peer) if n)
        actor, rest = (other, mine) if subject not in mine and subject in other else (mine, other)
        for allow in self.allow:
            if allow.covers(f, actor, rest):
                return f"allowed: {allow.reason or allow.family}"
        for window in self.maintenance:
            if window.covers(f.end, (subject, *mine)):
                return f"maintenance: {window.reason or window.device}"
        return ""


@message(0x4407)
@dataclass(frozen=True)
class Count:
    name: str
    count: int


@message(0x4408)
@dataclass(frozen=True)
class Vote:
    """``weight`` at the window that ended at ``end``, from one view (Finding.view): of each view a subject has one vote per
    window end, the heaviest; two views that agree add up. ``family``: what it is for.
    """

    end: int
    view: str
    weight: int
    family: str = ANOMALY.name


@message(0x4413)
@dataclass(frozen=True)
class Kind:
    """A family that an incident was told for, and the end (ns) of the last window with evidence of it."""

    name: str
    seen: int


@message(0x4409)
@dataclass(frozen=True)
class Incident:
    """One thing to look at.

    Attributes:
        number: counts up from 1 in a site; 0 while only suspected.
        subject: the device to look at.
        state: value of ``State``.
        first_seen, last_seen: ends of the first and last window with evidence (ns); opened, closed, told: ns, 0: never.
        backed: end of the last window at which the evidence was enough to open it (ns).
        windows: windows with evidence; updates: how often it was told.
        families, detectors, labels: evidence by family, detector and class.
        peers: other ends, the first ``MOST_PEERS``; more_peers: how many there were besides.
        score, threshold, p_value, detector, label, flow, reasons: of the strongest evidence.
        severity: 1 high, 2, 3 low.
        verdict: an operator's word: "", "true", "false" or "expected".
        muted_by: why it is not raised.
        settled: families that a verdict of "false" or "expected" was about.
        votes: of the last windows.
        kinds: families it was told for.
    """

    number: int
    subject: str
    state: str
    first_seen: int
    last_seen: int
    opened: int = 0
    closed: int = 0
    told: int = 0
    windows: int = 0
    updates: int = 0
    families: tuple[Count, ...] = ()
    detectors: tuple[Count, ...] = ()
    labels: tuple[Count, ...] = ()
    peers: tuple[str, ...] = ()
    more_peers: int = 0
    score: float = 0.0
    threshold: float = 0.0
    p_value: float = 1.0
    detector: str = ""
    label: str = ""
    flow: Flow = field(default_factory=Flow)
    reasons: tuple[Reason, ...] = ()
    severity: int = 3
    verdict: str = ""
    muted_by: str = ""
    settled: tuple[str, ...] = ()
    votes: tuple[Vote, ...] = ()
    backed: int = 0
    kinds: tuple[Kind, ...] = ()

    @property
    def family(self) -> str:
        """The gravest family that a fifth of the leading evidence is of (ARP conflicts: one is enough), by severity, then by
        count; an anomaly only where nothing else is known.
        """
        known = [c for c in self.families if c.name != ANOMALY.name]
        if not known:
            return ANOMALY.name
        most = max(c.count for c in known)
        grave = [c for c in known if 5 * c.count >= most or c.name == "arp-spoofing"]
        return min(grave, key=lambda c: (FAMILIES[c.name].severity, -c.count)).name

    @property
    def id(self) -> str:
        return f"I{self.number}"


@dataclass(frozen=True)
class Change:
    """``kind``: opened, updated, changed, reopened, closed, muted. ``finding``: what brought it, None for closing."""

    kind: str
    incident: Incident
    finding: Finding | None = None


def added(i: Incident, f: Finding, peer: str, rules: Rules) -> tuple[Incident, bool]:
    """``i`` with the evidence of ``f``, whose other end is ``peer``; whether it is the strongest so far."""
    margin, best = f.score - f.threshold, i.score - i.threshold
    # a named attack tells more than an anomaly, whatever the two scales say
    rank = (f.family != ANOMALY.name, margin)
    stronger = not i.detector or rank > (bool(i.label), best)
    new = {c.name for c in i.families} | {f.family}
    fresh = bool(peer) and peer != i.subject and peer not in i.peers
    room = len(i.peers) < MOST_PEERS
    updated = replace(
        i,
        last_seen=max(i.last_seen, f.end),
        windows=i.windows + (f.end != i.last_seen or not i.windows),
        families=_more(i.families, f.family),
        detectors=_more(i.detectors, f.detector),
        labels=_more(i.labels, f.label) if f.label else i.labels,
        peers=(*i.peers, peer) if fresh and room else i.peers,
        more_peers=i.more_peers + (fresh and not room),
        severity=min(FAMILIES[name].severity for name in new),
        votes=_voted(i.votes, f, rules.span),
        kinds=tuple(replace(k, seen=max(k.seen, f.end)) if k.name == f.family else k for k in i.kinds),
    )
    if enough(updated, rules):
        updated = replace(updated, backed=max(updated.backed, f.end))
    if stronger:
        updated = replace(
            updated,
            score=f.score,
            threshold=f.threshold,
            p_value=f.p_value,
            detector=f.detector,
            label=f.label,
            flow=f.flow,
        )
    return updated, stronger


def enough(i: Incident, rules: Rules) -> bool:
    """Do the votes open it? Where nothing but oddity of feature rows speaks, two more than usual are asked."""
    odd = all(v.family == ANOMALY.name and v.view == "rows" for v in i.votes)
    return sum(v.weight for v in i.votes) >= (min(rules.votes + ODD, 2 * rules.span) if odd else rules.votes)


def anew(i: Incident, f: Finding) -> Incident:
    """``i`` as it opens again with ``f``: it is about what is seen now, not about what closed it before."""
    families = tuple(Count(name, n) for name, n in Counter(v.family for v in i.votes).most_common())
    return replace(
        i,
        families=families,
        detectors=(Count(f.detector, 1),),
        labels=(Count(f.label, 1),) if f.label else (),
        severity=min(FAMILIES[c.name].severity for c in families),
        score=f.score,
        threshold=f.threshold,
        p_value=f.p_value,
        detector=f.detector,
        label=f.label,
        flow=f.flow,
    )


def new_kind(i: Incident, before: tuple[Kind, ...], f: Finding, rules: Rules) -> bool:
    """Is the family of ``f`` one that an open incident was not told for lately, with enough votes of its own?"""
    if f.family == ANOMALY.name:
        return False
    known = next((k.seen for k in before if k.name == f.family), None)
    if known is not None and (f.end - known) / SECOND < rules.quiet_s:
        return False
    return sum(v.weight for v in i.votes if v.family == f.family) >= rules.votes


def told_for(i: Incident, f: Finding) -> tuple[Kind, ...]:
    """The kinds of ``i`` once it was told for ``f``."""
    return (*(k for k in i.kinds if k.name != f.family), Kind(f.family, f.end))


def _voted(votes: tuple[Vote, ...], f: Finding, span: int) -> tuple[Vote, ...]:
    """Votes within ``span`` windows of ``f``, its own among them where it is the heaviest of its view."""
    oldest = f.end - span * max(f.end - f.start, 1)
    held = {(v.end, v.view): v for v in votes if v.end > oldest}
    mine = held.get((f.end, f.view))
    heavier = mine is None or (f.weight, f.family != ANOMALY.name) > (mine.weight, mine.family != ANOMALY.name)
    if heavier:
        held[f.end, f.view] = Vote(f.end, f.view, f.weight, f.family)
    return tuple(held[key] for key in sorted(held))


def _more(counts: tuple[Count, ...], name: str) -> tuple[Count, ...]:
    found = Counter({c.name: c.count for c in counts})
    found[name] += 1
    return tuple(Count(n, c) for n, c in sorted(found.items(), key=lambda item: (-item[1], item[0]))[:32])
