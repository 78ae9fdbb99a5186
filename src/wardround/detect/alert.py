"""An alert: what changed about an incident, with all that a security desk may know of it, and nothing else.

It is made of the incident, the inventory's entry of the device, and the model's identity. Formats are functions of it
(drivers/sinks/alert_eve.py and its neighbours). What it can never hold: payload, application fields, patient data; no type that
leads here has a place for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wardround.detect.community import community_id
from wardround.detect.incident import Change, Incident
from wardround.detect.inventory import Device
from wardround.detect.tags import FAMILIES, Family

FIRST_ID = 9_100_000
"""Signature ids from here on: a range that no public rule set uses."""
PROTOCOLS = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 47: "GRE", 58: "IPv6-ICMP", 132: "SCTP"}


@dataclass(frozen=True)
class Identity:
    """Which model said so. ``hash``: SHA-256 of its bundle, hex; ``round``: of the federation, 0 where unknown."""

    version: str = ""
    hash: str = ""
    round: int = 0
    personalised: bool = False


@dataclass(frozen=True)
class Alert:
    """``time``: nanoseconds since 1970. ``kind``: opened, updated, changed, reopened, closed, muted.
    ``site``: the gateway's name.
    """

    time: int
    kind: str
    incident: Incident
    device: Device
    identity: Identity = field(default_factory=Identity)
    site: str = ""

    @property
    def family(self) -> Family:
        return FAMILIES.get(self.incident.family, FAMILIES["attack"])

    @property
    def severity(self) -> int:
        """1 (high) to 3: the family's, one up for the most critical devices, one down for the least."""
        return min(3, max(1, self.incident.severity + self.device.weight - 2))

    @property
    def signature_id(self) -> int:
        return FIRST_ID + list(FAMILIES).index(self.family.name)

    @property
    def signature(self) -> str:
        """One line for people."""
        named = f": {self.incident.label}" if self.incident.label else ""
        return f"wardround {self.family.name}{named}"

    @property
    def ends(self) -> tuple[str, str]:
        """Source and target addresses; a MAC's place stays empty where the device has no address."""
        flow = self.incident.flow
        mine = flow.address or (self.device.address if self.incident.subject == self.device.name else "")
        return (mine, flow.peer) if flow.outward else (flow.peer, mine)

    @property
    def ports(self) -> tuple[int, int]:
        """Source and target ports; 0: unknown."""
        flow = self.incident.flow
        return (flow.own_port, flow.port) if flow.outward else (flow.port, flow.own_port)

    @property
    def protocol(self) -> str:
        number = self.incident.flow.protocol
        return PROTOCOLS.get(number, str(number)) if number else ""

    @property
    def community(self) -> str | None:
        """Community ID of the main exchange, where both of its ports are known."""
        ports, number = self.ports, self.incident.flow.protocol
        if number in {6, 17, 132} and not all(ports):
            return None
        return community_id(*self.ends, number, ports) if number and all(self.ends) else None

    @property
    def reasons(self) -> tuple[str, ...]:
        """The explanation in words."""
        return tuple(reason.text for reason in self.incident.reasons)


def alert(change: Change, device: Device, time: int, identity: Identity, site: str = "") -> Alert:
    """The alert of a change."""
    return Alert(time, change.kind, change.incident, device, identity, site)
