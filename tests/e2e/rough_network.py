"""A rough network between real processes: network namespaces joined by a router in user space that loses, delays, repeats and
swaps IP packets, or carries none at all.

It does what ``tc qdisc add ... netem`` does, packet by packet under the kernel's real TCP; it needs TUN devices and root but not
the kernel module sch_netem, which small kernels leave out (docs/design/0304).
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import selectors
import shutil
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

TUNSETIFF, IFF_TUN_NO_PI = 0x400454CA, 0x1001
PACKET = 65536


@dataclass(frozen=True)
class Weather:
    """What happens to a packet: chances of 0 to 1, delays in seconds. ``swap``: it overtakes those that wait (no delay)."""

    loss: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    duplicate: float = 0.0
    swap: float = 0.0


FAIR = Weather()


def missing() -> str:
    """Why no such network can be made here; empty: it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None or not Path("/dev/net/tun").exists():
        return "needs the command ip and /dev/net/tun"
    return ""


class RoughNetwork:
    """Namespaces ``PREFIX0``.. with the addresses 10.77.0.1.. ; ``weather`` may be changed at any time."""

    def __init__(self, prefix: str, count: int, seed: int) -> None:
        self.spaces = [f"{prefix}{i}" for i in range(count)]
        self.weather = FAIR
        self.counts = dict.fromkeys(("carried", "lost", "duplicated", "swapped", "cut"), 0)
        self._cut: frozenset[int] = frozenset()
        self._rng = random.Random(seed)
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._number = 0
        self._devices = [self._device(i, space) for i, space in enumerate(self.spaces)]
        self._open = True
        self._thread = threading.Thread(target=self._route, daemon=True)
        self._thread.start()

    @staticmethod
    def address(number: int) -> str:
        return f"10.77.0.{number + 1}"

    def inside(self, number: int, command: list[str]) -> list[str]:
        """``command`` as it runs in a namespace (the process keeps its id)."""
        return ["ip", "netns", "exec", self.spaces[number], *command]

    def cut(self, *numbers: int) -> None:
        """From now on these namespaces reach nobody; no numbers: the partition heals."""
        self._cut = frozenset(numbers)

    def set(self, **changes: float) -> None:
        self.weather = replace(self.weather, **changes)

    def close(self) -> None:
        self._open = False
        self._thread.join()
        for device in self._devices:
            os.close(device)
        for space in self.spaces:
            _ip("netns", "del", space)

    def _device(self, number: int, space: str) -> int:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        name = f"tun{space}"
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN_NO_PI))
        _ip("netns", "add", space)
        _ip("link", "set", name, "netns", space)
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "addr", "add", f"{self.address(number)}/24", "dev", name)
        _ip("-n", space, "link", "set", name, "up")
        return device

    def _route(self) -> None:
        selector = selectors.DefaultSelector()
        for number, device in enumerate(self._devices):
            selector.register(device, selectors.EVENT_READ, number)
        while self._open:
            wait = self._waiting[0][0] - time.monotonic() if self._waiting else 0.1
            for key, _ in selector.select(max(0.0, min(wait, 0.1))):
                self._read(key.data)
            now = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now:
                _, _, to, packet = heapq.heappop(self._waiting)
                self._write(to, packet)
        selector.close()

    def _read(self, number: int) -> None:
        for _ in range(64):
            try:
                packet = os.read(self._devices[number], PACKET)
            except BlockingIOError:
                return
            if len(packet) < 20 or packet[0] >> 4 != 4:
                continue  # IPv6 neighbour chatter
            to = packet[19] - 1
            if not 0 <= to < len(self._devices):
                continue
            if number in self._cut or to in self._cut:
                self.counts["cut"] += 1
                continue
            self._carry(to, packet)

    def _carry(self, to: int, packet: bytes) -> None:
        w, chance = self.weather, self._rng.random
        if chance() < w.loss:
            self.counts["lost"] += 1
            return
        copies = 1
        if chance() < w.duplicate:
            self.counts["duplicated"] += 1
            copies = 2
        for _ in range(copies):
            delay = w.delay_s + self._rng.uniform(-w.jitter_s, w.jitter_s)
            if chance() < w.swap:
                self.counts["swapped"] += 1
                delay = 0.0
            self._number += 1
            heapq.heappush(self._waiting, (time.monotonic() + max(0.0, delay), self._number, to, packet))

    def _write(self, to: int, packet: bytes) -> None:
        try:
            os.write(self._devices[to], packet)
            self.counts["carried"] += 1
        except OSError:  # its queue is full or its device is down: a lost packet, as on any line
            self.counts["lost"] += 1


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
