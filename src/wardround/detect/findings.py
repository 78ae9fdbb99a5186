"""What detectors say of one window, and what an operator allows: the values that go into the incident machine.

Everything here is numbers, names of devices and addresses. No payload and no field of an application message exists in
these types, so none can reach an alert.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field

from wardround.wire import message


@message(0x4405)
@dataclass(frozen=True)
class Reason:
    """One feature of an explanation. ``value`` and the usual range ``low`` .. ``high`` in the feature's own unit;
    ``share``: of the whole explanation, 0 to 1.
    """

    feature: str
    value: float
    low: float
    high: float
    share: float
    unit: str = ""

    @property
    def text(self) -> str:
        """For people: "SYN share 0.97, usually 0.02-0.08"."""
        unit = f" {self.unit}" if self.unit else ""
        if self.value != self.value:  # noqa: PLR0124 - missing
            return f"{self.feature} missing, usually {number(self.low)}-{number(self.high)}{unit}"
        usual = number(self.low) if number(self.low) == number(self.high) else f"{number(self.low)}-{number(self.high)}"
        return f"{self.feature} {number(self.value)}{unit}, usually {usual}{unit}"


@message(0x4406)
@dataclass(frozen=True)
class Flow:
    """Whom most of the window's packets were exchanged with; empty texts and zeros where layer 2 has none.

    ``port``: the other end's, ``own_port``: the device's (0: unknown). ``outward``: the device is the sender of what was found.
    """

    address: str = ""
    peer: str = ""
    port: int = 0
    protocol: int = 0
    outward: bool = False
    own_port: int = 0


@dataclass(frozen=True)
class Finding:
    """A detector's alarm on one window.

    Attributes:
        start, end: of the window, nanoseconds since 1970.
        device: name of the device whose window it is.
        detector: ``model``, ``guard``, ``baseline``, ``volume`` or ``arp``.
        label: attack class or the rule's name; empty for an anomaly.
        family: of detect.tags.FAMILIES.
        score, threshold, p_value: the detector's own scale; p_value 0 where it has none.
        weight: votes: 1, 2 for a score that a tenth of the rate would catch too; a deterministic rule brings all it needs.
        flow: the other end.
        row: the window's place in its batch, for the explanation.
    """

    start: int
    end: int
    device: str
    detector: str
    label: str
    family: str
    score: float
    threshold: float
    p_value: float
    weight: int
    flow: Flow = field(default_factory=Flow)
    row: int = -1

    @property
    def view(self) -> str:
        """What the detector looks at: feature ``rows``, whose detectors err alike, or ``rates`` and bindings."""
        return "rates" if self.detector in {"volume", "arp"} else "rows"


@dataclass(frozen=True)
class Allow:
    """Findings of ``device`` (or towards ``peer``) in ``family`` are expected: an authorised scanner, a load test. Patterns as
    shells have them; ``*`` is anything.

    Attributes:
        device: name or address of the device that acts (for floods: that is hit).
        peer: name or address of the other end.
        family: flood, scan, probe, arp-spoofing, malformed, brute-force, control-writes, exfiltration, anomaly, attack.
        until: nanoseconds since 1970; 0: for ever.
        reason: for the record.
    """

    device: str = "*"
    peer: str = "*"
    family: str = "*"
    until: int = 0
    reason: str = ""

    def covers(self, f: Finding, names: tuple[str, ...], peers: tuple[str, ...]) -> bool:
        """Is ``f``, told of any of ``names`` with any of ``peers``, expected?"""
        return (
            (not self.until or f.end <= self.until)
            and _match(self.family, (f.family,))
            and _match(self.device, names)
            and _match(self.peer, peers)
        )


@dataclass(frozen=True)
class Maintenance:
    """Between ``start`` and ``end`` (nanoseconds) incidents of ``device`` (a pattern) are recorded and not raised."""

    start: int
    end: int
    device: str = "*"
    reason: str = ""

    def covers(self, time: int, names: tuple[str, ...]) -> bool:
        return self.start <= time < self.end and _match(self.device, names)


def number(value: float) -> str:
    """A number as people read it: three significant digits, no exponent between 0.001 and a billion."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e9:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.2e}"


def _match(pattern: str, names: tuple[str, ...]) -> bool:
    return pattern == "*" or any(fnmatch.fnmatchcase(name, pattern) for name in names)
