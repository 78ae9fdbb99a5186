"""Syslog: RFC 5424 messages over UDP (RFC 5426), TCP with octet counting (RFC 6587) and TLS (RFC 5425).

A collector that is away must not stop the detector: messages wait in a bounded queue (the oldest is dropped and counted),
connecting is tried again after a growing pause, and no call takes longer than ``TIMEOUT_S``.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wardround.detect.alert import Alert
from wardround.drivers.sinks.alert_eve import stamp
from wardround.errors import UsageError

LOCAL0, APP = 16, "wardround"
LEVEL = {1: 1, 2: 4, 3: 5}
"""Syslog severities of ours: alert, warning, notice."""
TIMEOUT_S, FIRST_PAUSE_S, LONGEST_PAUSE_S, MOST_WAITING = 2.0, 1.0, 60.0, 10_000
LONGEST = {"udp": 8192, "tcp": 65536, "tls": 65536}
"""Octets of one message: a datagram of this size passes on common networks; RFC 5424 section 6.1 asks for 2048 at least."""


def message(alert: Alert, text: str, host: str) -> bytes:
    """The RFC 5424 message that carries ``text``; MSGID is the incident's kind of change."""
    priority = LOCAL0 * 8 + LEVEL[alert.severity]
    when = stamp(alert.time).replace("+0000", "Z")
    head = f"<{priority}>1 {when} {_name(host)} {APP} {os.getpid()} {_name(alert.kind)} - "
    return head.encode("ascii") + text.encode()


def framed(data: bytes) -> bytes:
    """Octet counting: the length, a space, the message."""
    return b"%d %s" % (len(data), data)


@dataclass(frozen=True)
class Target:
    """Where to: ``ca``: a PEM file with the collector's authority (TLS); empty: the system's."""

    transport: Literal["udp", "tcp", "tls"]
    host: str
    port: int
    ca: str = ""


@dataclass
class Syslog:
    """A connection that is made when needed. ``clock`` is monotonic seconds."""

    target: Target
    clock: Callable[[], float] = time.monotonic
    sent: int = 0
    dropped: int = 0
    _waiting: deque[bytes] = field(default_factory=deque)
    _socket: socket.socket | None = None
    _pause: float = FIRST_PAUSE_S
    _again: float = 0.0

    def __post_init__(self) -> None:
        if self.target.ca and not Path(self.target.ca).is_file():
            raise UsageError(f"the collector's CA file {self.target.ca} is not there")

    def send(self, data: bytes) -> None:
        """Queue a message and send what can be sent."""
        self._waiting.append(data[: LONGEST[self.target.transport]])
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self.pump()

    def pump(self) -> None:
        """Send what waits, if the collector is there."""
        if not self._waiting or self.clock() < self._again:
            return
        try:
            if self._socket is None:
                self._socket = self._connect()
            while self._waiting:
                data = self._waiting[0]
                if self.target.transport == "udp":
                    self._socket.send(data)
                else:
                    self._socket.sendall(framed(data))
                self._waiting.popleft()
                self.sent += 1
            self._pause = FIRST_PAUSE_S
        except OSError:
            self._forget()
            self._again = self.clock() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE_S)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        """One last try, then what still waits is counted as dropped."""
        self._again = 0.0
        self.pump()
        self.dropped += len(self._waiting)
        self._waiting.clear()
        self._forget()

    def _connect(self) -> socket.socket:
        t = self.target
        if t.transport == "udp":
            family, kind, number, _, address = socket.getaddrinfo(t.host, t.port, type=socket.SOCK_DGRAM)[0]
            made = socket.socket(family, kind, number)
            made.settimeout(TIMEOUT_S)
            made.connect(address)
            return made
        plain = socket.create_connection((t.host, t.port), timeout=TIMEOUT_S)
        if t.transport == "tcp":
            return plain
        context = ssl.create_default_context(cafile=t.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            return context.wrap_socket(plain, server_hostname=t.host)
        except OSError:
            plain.close()
            raise

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _name(text: str) -> str:
    """A header field: printable ASCII without spaces, "-" for none (RFC 5424 section 6)."""
    found = "".join(c if "!" <= c <= "~" else "_" for c in text)[:48]
    return found or "-"
