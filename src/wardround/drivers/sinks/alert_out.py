"""Where alerts go: ``FORMAT[+TRANSPORT]:PLACE``, as `wardround watch --alerts` takes it.

    eve:alerts.jsonl          a file, one line each (reopened when a log rotator moved it)
    ecs:-                     standard output
    cef+udp://siem:514        syslog (alert_syslog.py); also +tcp:// and +tls://
    leef+tls://siem:6514?ca=ca.pem

Every alert goes to every output. A full disk stops nothing: what could not be written is counted.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from wardround.detect.alert import Alert
from wardround.drivers.sinks import alert_cef, alert_ecs, alert_eve
from wardround.drivers.sinks.alert_syslog import Syslog, Target, message
from wardround.errors import UsageError

FORMATS: dict[str, Callable[[Alert], str]] = {
    "eve": alert_eve.line,
    "ecs": alert_ecs.line,
    "cef": alert_cef.cef,
    "leef": alert_cef.leef,
}
PORTS = {"udp": 514, "tcp": 601, "tls": 6514}


class Output(Protocol):
    """One place; ``counts``: alerts sent, alerts dropped."""

    @property
    def counts(self) -> tuple[int, int]: ...
    def write(self, alert: Alert) -> None: ...
    def pump(self) -> None: ...
    def close(self) -> None: ...


@dataclass
class FileOutput:
    """Lines appended to a file, or to standard output."""

    form: Callable[[Alert], str]
    path: Path | None
    sent: int = 0
    dropped: int = 0
    _descriptor: int = -1
    _inode: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.path is not None:
            try:
                self._open(self.path)
            except OSError as error:
                raise UsageError(f"alerts cannot be written to {self.path}: {os.strerror(error.errno or 0)}") from error

    @property
    def counts(self) -> tuple[int, int]:
        return self.sent, self.dropped

    def write(self, alert: Alert) -> None:
        data = (self.form(alert) + "\n").encode()
        if self.path is None:
            sys.stdout.write(data.decode())
            sys.stdout.flush()
            self.sent += 1
            return
        try:
            self._follow(self.path)
            done = os.write(self._descriptor, data) == len(data)
        except OSError:
            done = False
        self.sent += done
        self.dropped += not done

    def pump(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self, path: Path) -> None:
        # 0640: alerts name devices and addresses
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        found = os.fstat(self._descriptor)
        self._inode = found.st_dev, found.st_ino

    def _follow(self, path: Path) -> None:
        """A rotated log: the name leads to another file, or to none."""
        try:
            found = path.stat()
            same = (found.st_dev, found.st_ino) == self._inode
        except FileNotFoundError:
            same = False
        if not same:
            self.close()
            self._open(path)


@dataclass
class SyslogOutput:
    """Lines as syslog messages."""

    form: Callable[[Alert], str]
    syslog: Syslog
    host: str = field(default_factory=socket.gethostname)

    @property
    def counts(self) -> tuple[int, int]:
        return self.syslog.sent, self.syslog.dropped

    def write(self, alert: Alert) -> None:
        self.syslog.send(message(alert, self.form(alert), alert.site or self.host))

    def pump(self) -> None:
        self.syslog.pump()

    def close(self) -> None:
        self.syslog.close()


def output(text: str) -> Output:
    """The output that ``text`` names.

    Raises:
        UsageError: it names none, or the file cannot be written.
    """
    head, colon, place = text.partition(":")
    kind, _, transport = head.partition("+")
    if not colon or kind not in FORMATS or transport not in {"", *PORTS} or not place:
        raise UsageError(
            f"alerts go to FORMAT:FILE, FORMAT:- or FORMAT+TRANSPORT://HOST:PORT with formats {', '.join(FORMATS)} and "
            f"transports {', '.join(PORTS)}; {text!r} is none of these"
        )
    if not transport:
        return FileOutput(FORMATS[kind], None if place == "-" else Path(place))
    try:
        split = urlsplit(f"{transport}:{place}")
        port = split.port or PORTS[transport]
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}") from error
    if not split.hostname:
        raise UsageError(f"{text!r} names no host: write {head}://HOST:PORT")
    ca = parse_qs(split.query).get("ca", [""])[0]
    return SyslogOutput(FORMATS[kind], Syslog(Target(transport, split.hostname, port, ca)))  # type: ignore[arg-type]


@dataclass
class Outputs:
    """All of them."""

    places: Sequence[Output]

    def write(self, alert: Alert) -> None:
        for place in self.places:
            place.write(alert)

    def pump(self) -> None:
        for place in self.places:
            place.pump()

    def close(self) -> None:
        for place in self.places:
            place.close()

    @property
    def counts(self) -> tuple[int, int]:
        """Sent and dropped, over all places."""
        counted = [place.counts for place in self.places]
        return sum(sent for sent, _ in counted), sum(dropped for _, dropped in counted)
