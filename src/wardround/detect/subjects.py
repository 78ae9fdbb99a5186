"""Whose incident a finding is: the victim of a flood, the source of a scan, the other end of what is known already.

Detectors tell of devices; an analyst must be shown the one to look at. See ``subject`` for the rules, docs/reference/incidents.md
for the table. Addresses of devices are learnt, so that a peer's address is found to be a device of the inventory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wardround.detect.findings import Finding
from wardround.detect.incident import Incident, State
from wardround.detect.tags import ANOMALY, FAMILIES

MOST_ADDRESSES = 65_536
STORM = 8
"""So many new subjects with one and the same peer within a vote's span are one incident of that peer."""


@dataclass
class Subjects:
    """``held``: the machine's incidents by subject, as they stand; ``names``: address -> device."""

    held: Mapping[str, Incident]
    names: dict[str, str] = field(default_factory=dict)

    def learn(self, address: str, device: str) -> None:
        """``device`` uses ``address``. The newest ``MOST_ADDRESSES`` are known: a router uses every address beyond it."""
        if address and address != device and self.names.get(address) != device:
            self.names.pop(address, None)
            self.names[address] = device
            if len(self.names) > MOST_ADDRESSES:
                del self.names[next(iter(self.names))]

    def peer(self, f: Finding) -> str:
        """The other end, by its device's name where that is known."""
        return self.names.get(f.flow.peer, f.flow.peer)

    def subject(self, f: Finding, span: int) -> str:
        """Who must be looked at: a flood's target, a scan's source; the other end of an open incident is part of it. ``span``:
        windows within which evidence counts together.
        """
        peer = self.peer(f)
        keyed = FAMILIES[f.family].keyed
        if keyed == "target" and f.flow.outward and peer:
            return peer
        if keyed == "source" and f.family != ANOMALY.name and not f.flow.outward:
            return self._source(f, span) or f.device
        if keyed == "target" and peer and self._suffers(peer, f):
            return peer  # what its victim answers to forged sources
        if f.family == ANOMALY.name and peer and self._known(peer):
            return peer  # spoofed sources, a scan's victims
        return f.device

    def storm(self, f: Finding, subject: str, span: int) -> str:
        """The one peer of many fresh subjects, or nothing."""
        peer = self.peer(f)
        if not peer or peer == subject or subject != f.device:
            return ""
        within = f.end - span * max(f.end - f.start, 1)
        alike = [i for i in self.held.values() if i.last_seen > within and peer in i.peers and i.subject != peer]
        return peer if len(alike) >= STORM else ""

    def _known(self, name: str) -> bool:
        """Has it an open incident of more than oddity?"""
        other = self.held.get(name)
        return other is not None and State(other.state) is State.OPEN and other.family != ANOMALY.name

    def _suffers(self, name: str, f: Finding) -> bool:
        """Is it the victim of an open incident of the family that ``f`` tells of its other end?"""
        other = self.held.get(name)
        return (
            other is not None
            and State(other.state) is State.OPEN
            and other.family == f.family
            and not other.flow.outward
        )

    def _source(self, f: Finding, span: int) -> str:
        """Who does what ``f`` tells of a victim: whoever already stands out for it towards this device. The other end of most
        packets is not it: a scan is many small exchanges beside one large.
        """
        since = f.end - span * max(f.end - f.start, 1)
        alike = [
            i
            for i in self.held.values()
            if f.device in i.peers
            and i.last_seen >= since
            and any(FAMILIES[c.name].keyed == "source" for c in i.families)
        ]
        return max(alike, key=lambda i: i.windows).subject if alike else ""
