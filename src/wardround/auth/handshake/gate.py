"""What stands before the expensive part of the handshake: cookies, token buckets, the memory of seen M1s.

Order and reason are in docs/protocol/handshake.md, "Gate": each check costs less than what it protects. Every store here
has a fixed size, so no number of datagrams can make it grow.

What it does not do: decide who is a member; the responder does.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from wardround.auth.handshake.messages import COOKIE_BYTES, Hello
from wardround.crypto import kdf, labels


@dataclass(frozen=True)
class Limits:
    """How much a server spends on handshakes that are not finished.

    Attributes:
        pending: half-open handshakes kept; beyond it the oldest is dropped.
        pending_seconds: how long one is kept.
        failures: wrong M3s after which a half-open handshake is dropped (one junk datagram must not do it).
        remembered: M1s remembered so that a replay is refused before any decapsulation.
        cookie_above: half-open handshakes above which M1 must carry a cookie (0: always).
        cookie_seconds: a cookie is good for this long to twice as long.
        source_per_second: M1s per source address and second that are looked at; 0 means no limit (one broker carries all).
        device_per_minute: handshakes per device and minute; a burst of as many is allowed.
        buckets: sources and devices whose rate is remembered.
    """

    pending: int = 4096
    pending_seconds: float = 10.0
    failures: int = 4
    remembered: int = 65_536
    cookie_above: int = 2048
    cookie_seconds: float = 120.0
    source_per_second: float = 0.0
    device_per_minute: float = 6.0
    buckets: int = 16_384


class Recent:
    """The last ``size`` values: membership and insertion in constant time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, value: bytes) -> bool:
        return value in self._values

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: bytes) -> None:
        self._values[value] = None
        if len(self._values) > self._size:
            self._values.popitem(last=False)


class Buckets:
    """Token buckets by key: ``rate`` per second on average, ``burst`` at once; the least recently used key is forgotten."""

    def __init__(self, rate: float, burst: float, size: int) -> None:
        self._rate, self._burst, self._size = rate, burst, size
        self._levels: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: bytes, now: float) -> bool:
        """Whether one more is allowed for ``key``; counts it if so."""
        level, since = self._levels.pop(key, (self._burst, now))
        level = min(self._burst, level + max(0.0, now - since) * self._rate)
        allowed = level >= 1.0
        self._levels[key] = (level - 1.0 if allowed else level, now)
        if len(self._levels) > self._size:
            self._levels.popitem(last=False)
        return allowed


@dataclass
class Gate:
    """The stateful checks of one server. ``secret`` (32 bytes) makes its cookies and dies with the process."""

    limits: Limits
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        limits = self.limits
        self.seen = Recent(limits.remembered)
        self._sources = Buckets(limits.source_per_second, max(1.0, limits.source_per_second), limits.buckets)
        self._devices = Buckets(limits.device_per_minute / 60.0, max(1.0, limits.device_per_minute), limits.buckets)

    def source_allowed(self, source: bytes, now: float) -> bool:
        return not self.limits.source_per_second or self._sources.take(source, now)

    def device_allowed(self, device_id: bytes, now: float) -> bool:
        return self._devices.take(device_id, now)

    def cookie(self, hello: Hello, source: bytes, now: float) -> bytes:
        """The cookie that ``source`` must send with this M1: proof that it receives what is sent to its address."""
        return self._cookie(hello, source, int(now // self.limits.cookie_seconds))

    def cookie_holds(self, hello: Hello, source: bytes, now: float) -> bool:
        window = int(now // self.limits.cookie_seconds)
        current = kdf.equal(hello.cookie, self._cookie(hello, source, window))
        return kdf.equal(hello.cookie, self._cookie(hello, source, window - 1)) or current

    def _cookie(self, hello: Hello, source: bytes, window: int) -> bytes:
        key = kdf.mac("sha256", self.secret, labels.COOKIE, window.to_bytes(8, "big", signed=True))
        return kdf.mac("sha256", key, len(source).to_bytes(4, "big"), source, hello.body)[:COOKIE_BYTES]
