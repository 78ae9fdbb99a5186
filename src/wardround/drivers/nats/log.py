"""The run log of a process that outlives a full disk: lines wait in memory until there is room, and none is written twice.

Law: after ``position`` everything emitted before is on the disk, or DiskError is raised and nothing of it is lost.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

from wardround.drivers.sinks.jsonlog import JsonLog
from wardround.drivers.store.state import DiskError
from wardround.errors import DataError
from wardround.events import Event

MOST = 10_000  # events that wait; beyond, the oldest are lost (a disk that stays full for days)


class PatientLog:
    """An ``Emit`` over ``path``; ``at``: keep this many bytes of the file that is there (drivers/sinks/jsonlog.py).

    Raises:
        DataError: the file cannot be opened, or is shorter than ``at``.
    """

    def __init__(self, path: Path, at: int | None = None) -> None:
        self._log = JsonLog(path, at)
        self._waiting: deque[Event] = deque(maxlen=MOST)

    def __call__(self, event: Event) -> None:
        """Write it, or keep it for later; never raises on a full disk."""
        self._waiting.append(event)
        self._write()

    def position(self) -> int:
        """Length of the log in bytes, all of it on the disk.

        Raises:
            DiskError: there is no room yet.
        """
        refused = self._write()
        if refused:
            raise DiskError(refused)
        return self._log.position()

    def close(self) -> None:
        self._write()
        self._log.close()

    def _write(self) -> str:
        """Write what waits; what stopped it, if anything did."""
        try:
            while self._waiting:
                self._log(self._waiting[0])
                self._waiting.popleft()
        except DataError as error:
            return str(error)
        return ""
