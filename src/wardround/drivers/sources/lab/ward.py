"""A ward: its devices, the hosts beyond its router, and how they are reached; drawn from a seed.

Law: the same arguments and generator give the same ward. Attackers get no hosts of their own: they are devices of the
ward or hosts that it talks to anyway, so address, hop count and network stack say nothing about guilt.
What it does not do: traffic (habits.py, offences.py, oddities.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.arrays import F64, I64
from wardround.drivers.sources.lab.profiles import OUTSIDE, RHYTHM, VENDORS, WARDS, Kind, Vendor
from wardround.drivers.sources.lab.stage import HOST

OPEN_PORTS: dict[str, tuple[int, ...]] = {
    "wearable": (),
    "patient monitor": (80,),
    "infusion pump": (80, 502),
    "imaging": (104, 11112, 22),
    "room sensor": (),
    "nurse tablet": (),
    "image server": (22, 80, 443, 11112),
    "broker": (22, 80, 1883),
}


@dataclass(frozen=True)
class Device:
    """One device of a ward. ``host``: its number; ``pace`` and ``weight``: its own factors on the vendor's gap and size."""

    host: int
    kind: Kind
    vendor: Vendor
    name: str
    pace: float
    weight: float

    @property
    def gap_s(self) -> float:
        return self.vendor.gap_s * self.pace

    @property
    def size(self) -> int:
        return max(2, round(self.vendor.size * self.weight))


@dataclass(frozen=True, eq=False)
class Ward:
    """``hosts`` [h]: devices first, then the router, then ``OUTSIDE``. ``peak_h``: its busiest hour; ``load``: how
    busy it is beside others; ``subnet``: its /24.
    """

    name: str
    kind: str
    devices: tuple[Device, ...]
    hosts: NDArray[Any]
    router: int
    subnet: int
    peak_h: float
    load: float

    def outside(self, name: str) -> int:
        """The number of a host beyond the router."""
        return self.router + 1 + OUTSIDE.index(name)

    def of(self, *kinds: str) -> tuple[Device, ...]:
        """Devices of some kinds."""
        return tuple(device for device in self.devices if device.kind in kinds)

    @property
    def broker(self) -> Device:
        return self.of("broker")[0]

    def level(self, seconds: F64, kind: Kind) -> F64:
        """How busy devices of a kind are [n], mean about 1 over a day."""
        depth = RHYTHM[kind]
        result: F64 = self.load * (1 + depth * np.cos((seconds / 3600 - self.peak_h) * np.pi / 12))
        return result


def draw_ward(number: int, size: float, rng: np.random.Generator) -> Ward:
    """Ward ``number`` (kinds take turns); ``size`` scales the number of devices."""
    kinds = list(WARDS)
    kind = kinds[number % len(kinds)]
    types: list[Kind] = ["broker"]
    for each, mean in WARDS[kind].items():
        types += [each] * max(int(mean >= 1), round(mean * size * rng.uniform(0.7, 1.3)))
    tastes = {each: rng.dirichlet(np.full(len(VENDORS[each]), 0.8)) for each in VENDORS}
    devices = []
    for host, each in enumerate(types):
        vendor = VENDORS[each][int(rng.choice(len(VENDORS[each]), p=tastes[each]))]
        pace, weight = np.exp(rng.normal(0, (0.35, 0.3)))
        devices.append(Device(host, each, vendor, f"{each} {types[: host + 1].count(each)}", pace, weight))
    subnet = (10 << 24) | (int(rng.integers(16, 240)) << 16) | (int(rng.integers(0, 255)) << 8)
    return Ward(
        name=f"{kind} {number // len(kinds) + 1}",
        kind=kind,
        devices=tuple(devices),
        hosts=_hosts(devices, subnet, rng),
        router=len(devices),
        subnet=subnet,
        peak_h=float(rng.normal(13, 2)),
        load=float(np.exp(rng.normal(0, 0.25))),
    )


def _hosts(devices: list[Device], subnet: int, rng: np.random.Generator) -> NDArray[Any]:
    inside, n = len(devices), len(devices) + 1 + len(OUTSIDE)
    hosts = np.zeros(n, HOST)
    last: I64 = rng.permutation(np.arange(2, 254))[:inside]
    hosts["ip"][:inside] = subnet | last
    for device in devices:
        row = hosts[device.host : device.host + 1]
        row["mac"] = (device.vendor.oui << 24) | int(rng.integers(0, 1 << 24))
        row["ttl"], row["linux"], row["window"] = device.vendor.ttl, device.vendor.linux, device.vendor.window
    router = (0x00000C << 24) | int(rng.integers(0, 1 << 24))
    hosts["mac"][inside:] = router
    hosts["ip"][inside] = subnet | 1
    hosts["ip"][inside + 1 :] = (10 << 24) | (1 << 16) | rng.permutation(4000)[: len(OUTSIDE)] + 10
    hosts["ttl"][inside:] = rng.choice([64, 128, 255], n - inside) - rng.integers(0, 4, n - inside)
    hosts["linux"][inside:] = rng.random(n - inside) < 0.7
    hosts["window"][inside:] = rng.choice([501, 509, 8192, 64240], n - inside)
    hosts["boot"] = rng.integers(0, 1 << 32, n)
    hosts["delay"] = np.exp(rng.normal(-7.5, 0.8, n))
    return hosts
