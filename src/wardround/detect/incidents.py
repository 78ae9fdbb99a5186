"""Findings -> incidents: k of n windows to open, one incident per subject, updates held back, closed after silence.

A subject is the device that an analyst must look at: the victim of a flood (however many addresses its sources claim), the
source of a scan or a spoofing (subjects.py). Detectors open no incidents of their own: they add evidence to the subject's.

    state       event -> next state                             what it is
    NONE        evidence -> SUSPECTED                           nothing is remembered
    SUSPECTED   enough -> OPEN, muted -> MUTED, stale -> NONE   votes are counted within n windows
    OPEN        evidence -> OPEN (told at once where a new kind of attack shows), quiet -> CLOSED, labelled -> CLOSED
    MUTED       evidence -> MUTED, over -> OPEN, quiet -> CLOSED   allowed, or in a maintenance window: kept, not raised
    CLOSED      evidence -> CLOSED, enough -> OPEN, stale -> NONE  the same incident opens again if it is back soon

The table ``TRANSITIONS`` is the machine's own: docs/reference/incidents.md is checked against it. Time is an argument
(nanoseconds since 1970). Laws: an incident opens at most once per evidence; ``from_bytes(to_bytes(m))`` answers all later
findings alike; opened and closed alternate; the number of incidents held is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wardround.detect.findings import Finding, Reason
from wardround.detect.incident import (
    SECOND,
    TRANSITIONS,
    Change,
    Incident,
    Policy,
    State,
    added,
    anew,
    enough,
    new_kind,
    told_for,
)
from wardround.detect.subjects import Subjects
from wardround.errors import DecodeError, LocalProtocolError
from wardround.wire import decode, encode, message

MOST_SUSPECTS = 20_000


@message(0x440A)
@dataclass(frozen=True)
class _Saved:
    next_number: int
    incidents: tuple[Incident, ...]
    addresses: tuple[str, ...]
    names: tuple[str, ...]


class Incidents:
    """The machine."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self._held: dict[str, Incident] = {}
        self._subjects = Subjects(self._held)
        self._next = 1

    def learn(self, address: str, device: str) -> None:
        """``device`` uses ``address``."""
        self._subjects.learn(address, device)

    def subject(self, f: Finding) -> str:
        """Who must be looked at (subjects.py)."""
        return self._subjects.subject(f, self.policy.rules.span)

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
            state = State(incident.state)
            if state in {State.OPEN, State.MUTED} and (now - incident.backed) / SECOND >= rules.quiet_s:
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

    def number(self, subject: str) -> int:
        """The number of a subject's open or muted incident; 0: none."""
        incident = self._held.get(subject)
        return incident.number if incident is not None and State(incident.state) in {State.OPEN, State.MUTED} else 0

    def to_bytes(self) -> bytes:
        names = list(self._subjects.names.items())
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
        made._subjects.names = dict(zip(saved.addresses, saved.names, strict=True))
        made._next = saved.next_number
        return made

    # --- inside

    def _passed(self, subject: str, now: int) -> list[Change]:
        """What time alone has done to a subject's incident before ``now``: a watch may have been away and nobody ticked."""
        incident, rules = self._held.get(subject), self.policy.rules
        if incident is None:
            return []
        found, silent = [], (now - incident.last_seen) / SECOND
        unbacked = (now - incident.backed) / SECOND
        if State(incident.state) in {State.OPEN, State.MUTED} and unbacked >= rules.quiet_s:
            found.append(self._close(subject, incident.backed + int(rules.quiet_s * SECOND), "quiet"))
            incident = self._held[subject]
        over = (now - incident.closed) / SECOND >= rules.reopen_s
        if (State(incident.state) is State.CLOSED and over) or (
            State(incident.state) is State.SUSPECTED and silent >= rules.quiet_s
        ):
            self._forget(subject)
        return found

    def _evidence(self, f: Finding) -> Change | None:
        subject, rules = self.subject(f), self.policy.rules
        before = self._held.get(subject)
        if before is None:
            before = Incident(0, subject, State.SUSPECTED.value, f.end, f.end)
            if len(self._held) >= MOST_SUSPECTS:
                self._drop_oldest()
        peer = self._subjects.peer(f) if f.device == subject else f.device
        incident, stronger = added(before, f, peer, rules)
        self._held[subject] = incident
        muted = self.policy.muted(f, subject, self._subjects.peer(f))
        state = State(incident.state)
        if state is State.OPEN:
            return self._open_one(f, before, muted, stronger)
        self._move(subject, "evidence")
        if not enough(incident, rules):
            return None
        if state is State.MUTED:
            return None if muted else self._raise(subject, f, "")
        if self._settled(incident, f):
            return None
        storm = self._subjects.storm(f, subject, rules.span) if state is State.SUSPECTED and not muted else ""
        if storm:
            del self._held[subject]
            return self._evidence(replace(f, device=storm, flow=replace(f.flow, outward=False)))
        return self._raise(subject, f, muted)

    def _open_one(self, f: Finding, before: Incident, muted: str, stronger: bool) -> Change | None:
        """What more evidence of ``f`` says of an incident that is open: nothing new, or an update, or another kind of attack."""
        subject, rules = before.subject, self.policy.rules
        incident = self._held[subject]
        if muted:
            self._move(subject, "muted")
            self._held[subject] = replace(self._held[subject], muted_by=muted)
            return Change("muted", self._held[subject], f)
        self._move(subject, "evidence")
        changed = new_kind(incident, before.kinds, f, rules)
        worse = incident.severity < before.severity
        due = (f.end - incident.told) / SECOND >= rules.hold_s
        if not (changed or worse or due):
            return None
        kinds = told_for(incident, f) if changed else incident.kinds
        self._held[subject] = replace(incident, told=f.end, updates=incident.updates + 1, kinds=kinds)
        return Change("changed" if changed else "updated", self._held[subject], f if changed or stronger else None)

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
            anew(self._held[subject], f) if again else self._held[subject],
            number=number,
            opened=incident.opened or f.end,
            closed=0,
            told=f.end,
            muted_by=muted,
            verdict="",
            settled=(),
            kinds=told_for(incident, f),
            backed=f.end,
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

    def _drop_oldest(self) -> None:
        """Make room: the longest silent suspect goes; open incidents stay."""
        idle = [i for i in self._held.values() if State(i.state) in {State.SUSPECTED, State.CLOSED}]
        for incident in sorted(idle, key=lambda i: i.last_seen)[: max(1, MOST_SUSPECTS // 10)]:
            del self._held[incident.subject]
