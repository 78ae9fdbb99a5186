"""ARP: an address that two devices claim. Deterministic, because every model of packet sizes misses it.

The table remembers who had an address and when that one last said so or was seen. A claim by another MAC is

    a move     the old owner has been silent for HOLD_S: a lease that went on, a replaced device; the table follows
    a conflict the old owner was there a moment ago: an alarm, on the claimant; the table keeps the old owner

A shared address that moves on purpose (VRRP and HSRP routers answer with a virtual MAC) is no conflict; other failover pairs
belong on the allow-list. A claimant that takes many addresses at once (at least MANY within HOLD_S) alarms too: a
spoofer of a whole segment. What it does not see: a spoofer that never speaks where the probe listens, or one that
was there before the probe.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from wardround.arrays import I64, U64
from wardround.errors import DecodeError
from wardround.traffic.packets import address_text, mac_text
from wardround.traffic.windows import Claims, Windows
from wardround.wire import decode, encode, message

HOLD_S = 900.0
MANY = 8
MOST = 65536
"""Addresses remembered; the longest silent one goes first."""
VIRTUAL = (0x00005E0001, 0x00000C07AC, 0x00005E0002)  # VRRP (RFC 5798 section 7.3), HSRP, VRRP for IPv6: upper 40 bits
_HOLD_NS = int(HOLD_S * 1e9)


@dataclass(frozen=True)
class Conflict:
    """``claimant`` says it has ``address``, which ``owner`` had ``silent_s`` seconds ago. ``many``: addresses taken."""

    time: int
    address: str
    owner: str
    claimant: str
    silent_s: float
    many: int = 1


@message(0x4403)
@dataclass(frozen=True, eq=False)
class _Saved:
    address: U64
    mac: U64
    seen: I64


@dataclass
class Bindings:
    """address -> (MAC, last time in ns)."""

    table: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    taken: dict[int, dict[tuple[int, int], int]] = field(default_factory=dict)

    def seen(self, windows: Windows) -> None:
        """Devices that sent packets are there: an owner who talks need not say so by ARP. Nothing here moves the address of a
        living owner.
        """
        if not windows.devices or ":" not in windows.devices[0]:
            return  # devices without MACs have no bindings
        macs = [int(name.replace(":", ""), 16) if name.count(":") == 5 else 0 for name in windows.devices]
        used = windows.address.any(axis=1)
        for row in np.flatnonzero(used).tolist():
            mac, end = macs[int(windows.device[row])], int(windows.end[row])
            address = (int(windows.address[row, 0]), int(windows.address[row, 1]))
            owner, last = self.table.get(address, (mac, end))
            if mac and (owner == mac or end - last > _HOLD_NS):
                self.table[address] = (mac, max(end, last))

    def observe(self, claims: Claims) -> list[Conflict]:
        """Conflicts among ``claims``, in order of time."""
        found = []
        for time, address, mac in zip(claims.time.tolist(), claims.address.tolist(), claims.mac.tolist(), strict=True):
            conflict = self._claim(time, (address[0], address[1]), mac)
            if conflict is not None:
                found.append(conflict)
        if len(self.table) > MOST:
            kept = sorted(self.table.items(), key=lambda item: item[1][1])[len(self.table) - MOST :]
            self.table = dict(kept)
        return found

    def to_bytes(self) -> bytes:
        keys = np.array(list(self.table), dtype=np.uint64).reshape(-1, 2)
        macs = np.array([mac for mac, _ in self.table.values()], dtype=np.uint64)
        return encode(_Saved(keys, macs, np.array([time for _, time in self.table.values()], dtype=np.int64)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Bindings:
        """Raises:
        DecodeError: not what ``to_bytes`` wrote.
        """
        saved = decode(data, _Saved)
        n = len(saved.mac)
        if saved.address.shape != (n, 2) or saved.mac.shape != (n,) or saved.seen.shape != (n,):
            raise DecodeError("a binding has an address of two halves, a MAC and a time")
        rows = zip(saved.address.tolist(), saved.mac.tolist(), saved.seen.tolist(), strict=True)
        return cls({(a[0], a[1]): (mac, seen) for a, mac, seen in rows})

    def _claim(self, time: int, address: tuple[int, int], mac: int) -> Conflict | None:
        owner, seen = self.table.get(address, (mac, time))
        if owner == mac or time - seen > _HOLD_NS or mac >> 8 in VIRTUAL or owner >> 8 in VIRTUAL:
            self.table[address] = (mac, max(time, seen))
            return None
        mine = self.taken.setdefault(mac, {})
        mine[address] = time
        for old in [a for a, t in mine.items() if time - t > _HOLD_NS]:
            del mine[old]
        return Conflict(time, address_text(*address), mac_text(owner), mac_text(mac), (time - seen) / 1e9, len(mine))
