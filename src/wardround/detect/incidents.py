"""Findings -> incidents: k of n windows to open, one incident per subject, updates held back, closed after silence.

A subject is the device that an analyst must look at: the victim of a flood (however many addresses its sources claim), the
source of a scan or a spoofing. Detectors do not open incidents of their own: they add evidence to the subject's one.

    state       event -> next state                             what it is
    NONE        evidence -> SUSPECTED                           nothing is remembered
    SUSPECTED   enough -> OPEN, muted -> MUTED, stale -> NONE   votes are counted within n windows
    OPEN        evidence -> OPEN, quiet -> CLOSED, labelled -> CLOSED
    MUTED       evidence -> MUTED, over -> OPEN, quiet -> CLOSED   allowed, or in a maintenance window: kept, not raised
    CLOSED      evidence -> CLOSED, enough -> OPEN, stale -> NONE  the same incident opens again if it is back soon

The table ``TRANSITIONS`` is the machine's own: docs/reference/incidents.md is checked against it. Time is an argument
(nanoseconds since 1970). Laws: an incident opens at most once per evidence; ``from_bytes(to_bytes(m))`` answers all later
findings alike; opened and closed alternate; the number of incidents held is bounded.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from wardround.detect.findings import Allow, Finding, Flow, Maintenance, Reason
from wardround.detect.tags import ANOMALY, FAMILIES
from wardround.errors import DecodeError, LocalProtocolError
from wardround.wire import decode, encode, message

SECOND = 1_000_000_000
MOST_PEERS = 16
MOST_SUSPECTS = 20_000
MOST_ADDRESSES = 65_536
STORM = 8
"""So many new subjects with one and the same peer within a vote's span are one incident of that peer."""


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
        quiet_s: without evidence for so long, it closes.
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


@message(0x4407)
@dataclass(frozen=True)
class Count:
    name: str
    count: int


@message(0x4408)
@dataclass(frozen=True)
class Vote:
    """``weight`` at the window that ended at ``end``, from one view (Finding.view): of each view a subject has one vote per
    window end, the heaviest; two views that agree add up.
    """

    end: int
    view: str
    weight: int


@message(0x4409)
@dataclass(frozen=True)
class Incident:
    """One thing to look at.

    Attributes:
        number: counts up from 1 in a site; 0 while only suspected.
        subject: the device to look at.
        state: value of ``State``.
        first_seen, last_seen: ends of the first and last window with evidence (ns); opened, closed, told: ns, 0: never.
        windows: windows with evidence; updates: how often it was told.
        families, detectors, labels: evidence by family, detector and class.
        peers: other ends, the first ``MOST_PEERS``; more_peers: how many there were besides.
        score, threshold, p_value, detector, label, flow, reasons: of the strongest evidence.
        severity: 1 high, 2, 3 low.
        verdict: an operator's word: "", "true", "false" or "expected".
        muted_by: why it is not raised.
        settled: families that a verdict of "false" or "expected" was about.
        votes: of the last windows.
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
    """``kind``: opened, updated, reopened, closed, muted. ``finding``: what brought it, None for closing."""

    kind: str
    incident: Incident
    finding: Finding | None = None


@message(0x440A)
@dataclass(frozen=True)
class _Saved:
    next_number: int
    incidents: tuple[Incident, ...]
    addresses: tuple[str, ...]
    names: tuple[str, ...]


class Incidents:
    """The machine. ``names``: address -> device, so that a peer's address is found to be a device of the inventory."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self._held: dict[str, Incident] = {}
        self._names: dict[str, str] = {}
        self._next = 1

    def learn(self, address: str, device: str) -> None:
        """``device`` uses ``address``. The newest ``MOST_ADDRESSES`` are known: a router uses every address beyond it."""
        if address and address != device and self._names.get(address) != device:
            self._names.pop(address, None)
            self._names[address] = device
            if len(self._names) > MOST_ADDRESSES:
                del self._names[next(iter(self._names))]

    def observe(self, findings: Sequence[Finding]) -> list[Change]:
        """Take in findings, in order of their windows' ends."""
        found: list[Change] = []
        for finding in findings:
            found += self._passed(self.subject(finding), finding.end)
            change = self._evidence(finding)
            if change is not None:
                found.append(change)
        return found

    def tick(self, now: int) -> list[Change]:
        """Close what has been quiet, forget what is stale, raise what is no longer muted."""
        found, rules = [], self.policy.rules
        for subject, incident in list(self._held.items()):
            state, silent = State(incident.state), (now - incident.last_seen) / SECOND
            if state in {State.OPEN, State.MUTED} and silent >= rules.quiet_s:
                found.append(self._close(subject, now, "quiet"))
                continue
            since, limit = (
                (incident.closed, rules.reopen_s) if state is State.CLOSED else (incident.last_seen, rules.quiet_s)
            )
            if (now - since) / SECOND >= limit:
                self._forget(subject)
        return found

    def label(self, subject: str, verdict: str, now: int) -> list[Change]:
        """An operator's word on the subject's incident: a false alarm or an expected change closes it at once."""
        incident = self._held.get(subject)
        if incident is None or not incident.number:
            return []
        settled = () if verdict == "true" else tuple(c.name for c in incident.families)
        self._held[subject] = replace(incident, verdict=verdict, settled=settled)
        if verdict == "true" or State(incident.state) not in {State.OPEN, State.MUTED}:
            return []
        return [self._close(subject, now, "labelled")]

    def explained(self, subject: str, reasons: tuple[Reason, ...]) -> None:
        """Put the explanation into the subject's incident.

        Raises:
            LocalProtocolError: it has none.
        """
        if subject not in self._held:
            raise LocalProtocolError(f"{subject} has no incident to explain")
        self._held[subject] = replace(self._held[subject], reasons=reasons)

    @property
    def open(self) -> list[Incident]:
        """Open incidents, oldest first."""
        found = [i for i in self._held.values() if State(i.state) is State.OPEN]
        return sorted(found, key=lambda i: i.number)

    @property
    def held(self) -> dict[str, Incident]:
        """All that is remembered, by subject."""
        return dict(self._held)

    def subject(self, f: Finding) -> str:
        """Who must be looked at: see the module's head."""
        peer = self._names.get(f.flow.peer, f.flow.peer)
        keyed = FAMILIES[f.family].keyed
        if keyed == "target" and f.flow.outward and peer:
            return peer
        if keyed == "source" and f.family != ANOMALY.name and not f.flow.outward:
            return self._source(f) or f.device
        if f.family == ANOMALY.name and peer:
            other = self._held.get(peer)
            # the other end of what is already an incident is part of it: spoofed sources, a scan's victims
            if other is not None and State(other.state) is State.OPEN and other.family != ANOMALY.name:
                return peer
        return f.device

    def number(self, subject: str) -> int:
        """The number of a subject's open or muted incident; 0: none."""
        incident = self._held.get(subject)
        return incident.number if incident is not None and State(incident.state) in {State.OPEN, State.MUTED} else 0

    def to_bytes(self) -> bytes:
        names = list(self._names.items())
        return encode(
            _Saved(self._next, tuple(self._held.values()), tuple(a for a, _ in names), tuple(d for _, d in names))
        )

    @classmethod
    def from_bytes(cls, data: bytes, policy: Policy | None = None) -> Incidents:
        """Raises:
        DecodeError: not what ``to_bytes`` wrote.
        """
        saved = decode(data, _Saved)
        made = cls(policy)
        states = {state.value for state in State} - {State.NONE.value}
        for incident in saved.incidents:
            if incident.state not in states:
                raise DecodeError(f"an incident is in no state named {incident.state!r}")
            made._held[incident.subject] = incident
        if len(saved.addresses) != len(saved.names):
            raise DecodeError("every address has a device")
        made._names = dict(zip(saved.addresses, saved.names, strict=True))
        made._next = saved.next_number
        return made

    # --- inside

    def _passed(self, subject: str, now: int) -> list[Change]:
        """What time alone has done to a subject's incident before ``now``: a watch may have been away and nobody ticked."""
        incident, rules = self._held.get(subject), self.policy.rules
        if incident is None:
            return []
        found, silent = [], (now - incident.last_seen) / SECOND
        if State(incident.state) in {State.OPEN, State.MUTED} and silent >= rules.quiet_s:
            found.append(self._close(subject, incident.last_seen + int(rules.quiet_s * SECOND), "quiet"))
            incident = self._held[subject]
        over = (now - incident.closed) / SECOND >= rules.reopen_s
        if (State(incident.state) is State.CLOSED and over) or (
            State(incident.state) is State.SUSPECTED and silent >= rules.quiet_s
        ):
            self._forget(subject)
        return found

    def _evidence(self, f: Finding) -> Change | None:
        subject = self.subject(f)
        before = self._held.get(subject)
        if before is None:
            before = Incident(0, subject, State.SUSPECTED.value, f.end, f.end)
            if len(self._held) >= MOST_SUSPECTS:
                self._drop_oldest()
        incident, stronger = self._added(before, f)
        self._held[subject] = incident
        enough = sum(vote.weight for vote in incident.votes) >= self._needed(incident)
        muted = self._muted(f, subject)
        state = State(incident.state)
        if state in {State.SUSPECTED, State.CLOSED}:
            self._move(subject, "evidence")
            if not enough or self._settled(incident, f):
                return None
            storm = self._storm(f, subject) if state is State.SUSPECTED and not muted else ""
            if storm:
                del self._held[subject]
                return self._evidence(replace(f, device=storm, family=f.family, flow=replace(f.flow, outward=False)))
            return self._raise(subject, f, muted)
        if state is State.MUTED:
            self._move(subject, "evidence")
            return None if muted or not enough else self._raise(subject, f, "")
        if muted:
            self._move(subject, "muted")
            self._held[subject] = replace(self._held[subject], muted_by=muted)
            return Change("muted", self._held[subject], f)
        self._move(subject, "evidence")
        worse = incident.severity < before.severity
        due = (f.end - incident.told) / SECOND >= self.policy.rules.hold_s
        if not (worse or due):
            return None
        self._held[subject] = replace(incident, told=f.end, updates=incident.updates + 1)
        return Change("updated", self._held[subject], f if stronger else None)

    def _needed(self, i: Incident) -> int:
        """Weight that opens: where nothing but oddity speaks, two more than usual."""
        rules = self.policy.rules
        odd = all(c.name == ANOMALY.name for c in i.families)
        return min(rules.votes + 2, rules.span) if odd else rules.votes

    def _settled(self, i: Incident, f: Finding) -> bool:
        """An operator has just called this a false alarm or expected: more of the same says nothing new."""
        recent = (f.end - i.closed) / SECOND < self.policy.rules.reopen_s
        return recent and f.family in i.settled

    def _raise(self, subject: str, f: Finding, muted: str) -> Change:
        incident = self._held[subject]
        again = incident.number > 0 and State(incident.state) is State.CLOSED
        late = State(incident.state) is State.MUTED
        self._move(subject, "muted" if muted else ("over" if late else "enough"))
        number = incident.number or self._next
        self._next = max(self._next, number + 1)
        self._held[subject] = replace(
            self._held[subject],
            number=number,
            opened=incident.opened or f.end,
            closed=0,
            told=f.end,
            muted_by=muted,
            verdict="",
            settled=(),
        )
        return Change("muted" if muted else ("reopened" if again else "opened"), self._held[subject], f)

    def _close(self, subject: str, now: int, event: str) -> Change:
        self._move(subject, event)
        self._held[subject] = replace(self._held[subject], closed=now, votes=())
        return Change("closed", self._held[subject])

    def _forget(self, subject: str) -> None:
        self._move(subject, "stale")
        del self._held[subject]

    def _move(self, subject: str, event: str) -> None:
        """Every change of state goes through the table.

        Raises:
            LocalProtocolError: the table has no such transition.
        """
        incident = self._held[subject]
        nxt = TRANSITIONS[State(incident.state)].get(event)
        if nxt is None:
            raise LocalProtocolError(f"an incident that is {incident.state} does not know {event!r}")
        if nxt is not State.NONE:
            self._held[subject] = replace(incident, state=nxt.value)

    def _added(self, i: Incident, f: Finding) -> tuple[Incident, bool]:
        """``i`` with the evidence of ``f``; whether it is the strongest so far."""
        length = max(f.end - f.start, 1)
        oldest = f.end - self.policy.rules.span * length
        votes = {(v.end, v.view): v.weight for v in i.votes if v.end > oldest}
        votes[f.end, f.view] = max(votes.get((f.end, f.view), 0), f.weight)
        margin, best = f.score - f.threshold, i.score - i.threshold
        # a named attack tells more than an anomaly, whatever the two scales say
        rank = (f.family != ANOMALY.name, margin)
        stronger = not i.detector or rank > (bool(i.label), best)
        new = {c.name for c in i.families} | {f.family}
        peer = self._names.get(f.flow.peer, f.flow.peer) if f.device == i.subject else f.device
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
            votes=tuple(Vote(end, view, weight) for (end, view), weight in sorted(votes.items())),
        )
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

    def _source(self, f: Finding) -> str:
        """Who does what ``f`` tells of a victim: whoever already stands out for it towards this device. The other end of most
        packets is not it: a scan is many small exchanges beside one large.
        """
        since = f.end - self.policy.rules.span * max(f.end - f.start, 1)
        alike = [
            i
            for i in self._held.values()
            if f.device in i.peers
            and i.last_seen >= since
            and any(FAMILIES[c.name].keyed == "source" for c in i.families)
        ]
        return max(alike, key=lambda i: i.windows).subject if alike else ""

    def _storm(self, f: Finding, subject: str) -> str:
        """The one peer of many fresh subjects, or nothing."""
        peer = self._names.get(f.flow.peer, f.flow.peer)
        if not peer or peer == subject or subject != f.device:
            return ""
        within = f.end - self.policy.rules.span * max(f.end - f.start, 1)
        alike = [i for i in self._held.values() if i.last_seen > within and peer in i.peers and i.subject != peer]
        return peer if len(alike) >= STORM else ""

    def _muted(self, f: Finding, subject: str) -> str:
        """Why this finding is expected; nothing where it is not."""
        peer = self._names.get(f.flow.peer, f.flow.peer)
        mine = tuple(n for n in (f.device, f.flow.address) if n)
        other = tuple(n for n in (peer, f.flow.peer) if n)
        actor, rest = (other, mine) if subject not in mine and subject in other else (mine, other)
        for allow in self.policy.allow:
            if allow.covers(f, actor, rest):
                return f"allowed: {allow.reason or allow.family}"
        for window in self.policy.maintenance:
            if window.covers(f.end, (subject, *mine)):
                return f"maintenance: {window.reason or window.device}"
        return ""

    def _drop_oldest(self) -> None:
        """Make room: the longest silent suspect goes; open incidents stay."""
        idle = [i for i in self._held.values() if State(i.state) in {State.SUSPECTED, State.CLOSED}]
        for incident in sorted(idle, key=lambda i: i.last_seen)[: max(1, MOST_SUSPECTS // 10)]:
            del self._held[incident.subject]


def _more(counts: tuple[Count, ...], name: str) -> tuple[Count, ...]:
    found = Counter({c.name: c.count for c in counts})
    found[name] += 1
    return tuple(Count(n, c) for n, c in sorted(found.items(), key=lambda item: (-item[1], item[0]))[:32])
