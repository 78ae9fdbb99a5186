"""The devices a site has: seen on the wire, typed by what they speak or by the operator's list.

The guess is coarse on purpose (what a device serves or uses most, by well-known port) and only groups devices for baselines; the
operator's word stands above it. Criticality weighs an incident: 1 life support and infusion, 2 imaging and monitoring,
3 all else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from wardround.arrays import I32
from wardround.errors import DecodeError
from wardround.traffic.packets import address_text
from wardround.traffic.windows import Windows
from wardround.wire import decode, encode, message

MOST = 20_000
PORTS: Mapping[int, str] = {
    1883: "mqtt-sensor",
    8883: "mqtt-sensor",
    2575: "hl7-monitor",
    6661: "hl7-monitor",
    104: "imaging",
    11112: "imaging",
    4242: "imaging",
    502: "controller",
    47808: "controller",
    44818: "controller",
    20000: "controller",
    4840: "controller",
    5683: "coap-sensor",
    5684: "coap-sensor",
    554: "camera",
    9100: "printer",
    631: "printer",
}
OTHER = "other"
TYPES = (*dict.fromkeys(PORTS.values()), OTHER)
"""What a device can be guessed to be: the types that a federation learns a baseline for (traffic/normal.py)."""
SHARE = 0.2
"""Of a device's windows that must speak for a guess: a moment's talk does not make a type."""
CRITICALITY: Mapping[str, int] = {"controller": 1, "hl7-monitor": 2, "imaging": 2}


@message(0x440B)
@dataclass(frozen=True)
class Device:
    """One device. ``type``: as the operator says; ``guessed``: as its traffic says. Times in ns. ``votes``: windows by guess."""

    name: str
    address: str = ""
    type: str = ""
    guessed: str = OTHER
    ward: str = ""
    criticality: int = 0
    first_seen: int = 0
    last_seen: int = 0
    windows: int = 0
    types: tuple[str, ...] = ()
    votes: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        """The type that counts."""
        return self.type or self.guessed

    @property
    def weight(self) -> int:
        """1 (most critical) to 3."""
        return self.criticality or CRITICALITY.get(self.kind, 3)


@message(0x440C)
@dataclass(frozen=True)
class _Saved:
    devices: tuple[Device, ...]


@dataclass
class Inventory:
    """Devices by name. ``told``: the operator's entries, kept apart from what is seen."""

    devices: dict[str, Device] = field(default_factory=dict)

    def tell(self, name: str, type_: str = "", ward: str = "", criticality: int = 0) -> None:
        """The operator's word; empty values leave what stands."""
        old = self.devices.get(name, Device(name))
        self.devices[name] = replace(
            old, type=type_ or old.type, ward=ward or old.ward, criticality=criticality or old.criticality
        )

    def observe(self, windows: Windows) -> None:
        """Take in a batch: who was there, at which address, speaking what."""
        if not len(windows):
            return
        last: dict[int, int] = {}
        counts: dict[int, dict[str, int]] = {}
        rows: dict[int, int] = {}
        for row, (device, port) in enumerate(zip(windows.device.tolist(), windows.port.tolist(), strict=True)):
            last[device] = row
            rows[device] = rows.get(device, 0) + 1
            guess = PORTS.get(port)
            if guess is not None:
                mine = counts.setdefault(device, {})
                mine[guess] = mine.get(guess, 0) + 1
        for device, row in last.items():
            self._seen(windows, device, row, rows[device], counts.get(device, {}))
        if len(self.devices) > MOST:
            seen = sorted((d for d in self.devices.values() if not d.type), key=lambda d: d.last_seen)
            for old in seen[: len(self.devices) - MOST]:
                del self.devices[old.name]

    def codes(self, names: Sequence[str]) -> I32:
        """The kind of each device as a number of ``TYPES``; -1 for a type of the operator's own."""
        kinds = [self.get(name).kind for name in names]
        return np.array([TYPES.index(kind) if kind in TYPES else -1 for kind in kinds], dtype=np.int32)

    def get(self, name: str) -> Device:
        return self.devices.get(name, Device(name))

    def to_bytes(self) -> bytes:
        return encode(_Saved(tuple(self.devices.values())))

    @classmethod
    def from_bytes(cls, data: bytes) -> Inventory:
        """Raises:
        DecodeError: not what ``to_bytes`` wrote.
        """
        saved = decode(data, _Saved)
        if any(len(d.types) != len(d.votes) for d in saved.devices):
            raise DecodeError("every guess of a device has its votes")
        return cls({d.name: d for d in saved.devices})

    def _seen(self, windows: Windows, number: int, row: int, count: int, guesses: Mapping[str, int]) -> None:
        name, end = windows.devices[number], int(windows.end[row])
        old = self.devices.get(name) or Device(name, first_seen=int(windows.start[row]))
        upper, lower = windows.address[row].tolist()
        votes = dict(zip(old.types, old.votes, strict=True))
        for guess, more in guesses.items():
            votes[guess] = votes.get(guess, 0) + more
        best = max(votes, key=lambda k: votes[k]) if votes else OTHER
        if votes.get(best, 0) < SHARE * (old.windows + count):
            best = OTHER
        self.devices[name] = replace(
            old,
            address=address_text(upper, lower) if upper or lower else old.address,
            guessed=best,
            first_seen=old.first_seen or int(windows.start[row]),
            last_seen=max(old.last_seen, end),
            windows=old.windows + count,
            types=tuple(votes),
            votes=tuple(votes.values()),
        )
