"""Which device a packet comes from and goes to: keys, numbers and names.

A device is a unicast MAC address; where a link gives no MAC for both ends (raw IP, Linux cooked) it is an address.
Broadcast, multicast and missing addresses are no device (number 0). At most ``capacity`` devices are known at once, so
forged source addresses cannot fill the memory: those not seen for longest leave, and while all are busy new ones share
number 1, ``other``.

Laws: a key keeps its number as long as it is known; numbers stay below ``capacity``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_network

import numpy as np

from wardround.arrays import I64, U64, Bool
from wardround.traffic.packets import BROADCAST, MAPPED, Packets, address_text, mac_text

NONE, OTHER = 0, 1
HOME = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7", "fe80::/10")
"""Private networks: RFC 1918, 6598, 3927, 4193, 4291."""
_HALF = (1 << 64) - 1
_BY_ADDRESS = np.uint64(1 << 63)
_SIX = np.uint64(1 << 62)
_ODD = np.uint64(0x9E3779B97F4A7C15)
_ODD2 = np.uint64(0xC2B2AE3D27D4EB4F)
_NEVER = np.int64((1 << 63) - 1)  # until its first packet is taken in
_GROUP_BIT = np.uint64(1 << 40)


def address_keys(address: U64) -> U64:
    """64-bit keys [n] of addresses [n, 2]: IPv4 exactly, IPv6 as a hash; multicast, broadcast and none are 0."""
    upper, lower = address[:, 0], address[:, 1]
    four = (upper == 0) & (lower >> np.uint64(32) == MAPPED >> 32)
    first = (lower >> np.uint64(24)) & np.uint64(255)
    host = np.where(four, (first < 224) & (lower != MAPPED), (upper >> np.uint64(56) != 0xFF) & ((upper | lower) != 0))
    mixed = (upper * _ODD ^ lower) * _ODD2
    six = (mixed ^ (mixed >> np.uint64(29))) & (_SIX - np.uint64(1)) | _SIX
    return np.where(host, _BY_ADDRESS | np.where(four, lower & np.uint64(0xFFFFFFFF), six), np.uint64(0))


def device_keys(packets: Packets) -> tuple[U64, U64]:
    """The keys [n] of the source's and the target's device, 0 for none."""
    by_mac = (packets.source_mac != 0) & (packets.target_mac != 0)
    source = np.where(packets.source_mac & _GROUP_BIT, np.uint64(0), packets.source_mac)
    target = np.where(packets.target_mac & _GROUP_BIT, np.uint64(0), packets.target_mac)
    if not by_mac.all():
        source = np.where(by_mac, source, address_keys(packets.source))
        target = np.where(by_mac, target, address_keys(packets.target))
    return source, target


@lru_cache(64)
def networks(home: tuple[str, ...]) -> list[tuple[int, int]]:
    """(network, mask) as 128-bit numbers, IPv4 mapped.

    Raises:
        ValueError: one of ``home`` is no network.
    """
    found = []
    for text in home:
        net = ip_network(text)
        lift, width = (MAPPED, 96) if net.version == 4 else (0, 0)
        full = (1 << 128) - 1
        mask = full ^ (full >> (net.prefixlen + width))
        found.append((lift | int(net.network_address), mask))
    return found


def within(address: U64, home: tuple[str, ...]) -> Bool:
    """Which of the addresses [n, 2] lie in one of the networks ``home``."""
    found = np.zeros(len(address), np.bool_)
    for network, mask in networks(home):
        halves = [(network >> 64, mask >> 64), (network & _HALF, mask & _HALF)]
        found |= np.logical_and.reduce(
            [address[:, i] & np.uint64(m) == np.uint64(n) for i, (n, m) in enumerate(halves)]
        )
    return found


def key_text(key: int, upper: int, lower: int) -> str:
    """The name of the device with ``key``, whose address is (upper, lower) where it is known by it."""
    return mac_text(key & BROADCAST) if key < 1 << 48 else address_text(upper, lower)


@dataclass
class Registry:
    """Devices by number. ``keys``, ``seen`` (last packet, ns) and ``address`` [.., 2] by number."""

    capacity: int = 4096
    keys: U64 = field(init=False)
    seen: I64 = field(init=False)
    address: U64 = field(init=False)
    known: U64 = field(init=False)
    _table: I64 = field(init=False)
    _numbers: dict[int, int] = field(default_factory=dict)
    _free: list[int] = field(init=False)
    _fresh: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = np.zeros(self.capacity, np.uint64)
        self.seen = np.zeros(self.capacity, np.int64)
        self.address = np.zeros((self.capacity, 2), np.uint64)
        self.known = np.zeros((self.capacity, 2), np.uint64)
        self._table = np.zeros(1 << 16, np.int64)
        self._free = list(range(self.capacity - 1, OTHER, -1))

    def numbers(self, keys: U64, address: U64, stale: int) -> I64:
        """The number [n] of each of ``keys`` [n]; ``address`` [n, 2] names those that are new and known by address.

        Where there is no room for new devices, those not seen since ``stale`` (ns) leave.
        """
        found: I64 = self._table[(keys * _ODD) >> np.uint64(48)]
        wrong = np.flatnonzero(self.keys[found] != keys)
        if len(wrong):
            distinct, first, which = np.unique(keys[wrong], return_index=True, return_inverse=True)
            if len(distinct) > len(self._free):
                self._forget(stale)
            each = [self._number(int(key), address[wrong[i]]) for key, i in zip(distinct, first, strict=True)]
            found[wrong] = np.array(each, np.int64)[which]
        return found

    def fresh(self) -> list[int]:
        """Numbers given to new devices since the last call."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def name(self, number: int) -> str:
        """What people call the device ``number``."""
        if number == OTHER:
            return "other"
        return key_text(int(self.keys[number]), int(self.known[number, 0]), int(self.known[number, 1]))

    def _forget(self, stale: int) -> None:
        for number in np.flatnonzero((self.seen < stale) & (self.keys != 0)).tolist():
            key = int(self.keys[number])
            del self._numbers[key]
            place = _place(key)
            if self._table[place] == number:
                self._table[place] = NONE
            self.keys[number] = 0
            self._free.append(number)

    def _number(self, key: int, address: U64) -> int:
        if key == 0:
            return NONE
        number = self._numbers.get(key)
        if number is None:
            if not self._free:
                return OTHER
            number = self._free.pop()
            self._numbers[key] = number
            self._fresh.append(number)
            self.keys[number], self.known[number], self.seen[number] = key, address, _NEVER
            self.address[number] = 0
        place = _place(key)
        if self._table[place] == NONE:
            self._table[place] = number
        return number


def _place(key: int) -> int:
    """Where ``numbers`` looks for ``key``."""
    return (key * int(_ODD) & (1 << 64) - 1) >> 48
