"""The run log: the event stream as JSON lines, appended as it happens and read back for replay and report.

One line is ``{"time": ISO 8601 in UTC, "event": KIND, fields...}``. Laws: ``read`` yields what was appended, in order;
opening with ``at=position()`` forgets exactly what came after. JSON has no NaN, so a number that is not finite is
written as null and read back as NaN. A line torn by a crash can only be the last one, and ``read`` leaves it out.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wardround.errors import DataError
from wardround.events import Event, from_record, to_record


def _now() -> datetime:
    return datetime.now(UTC)


class JsonLog:
    """An ``Emit`` that appends to ``path``; raises DataError where that fails.

    Args:
        path: the log file; its folder must exist.
        at: keep this many bytes of the file that is there and go on after them (resume); None starts it anew.
        now: the clock of the ``time`` field.

    Raises:
        DataError: the file cannot be written, or is shorter than ``at``.
    """

    def __init__(self, path: Path, at: int | None = None, now: Callable[[], datetime] = _now) -> None:
        self._now, self._path = now, path
        try:
            # unbuffered: a line that a full disk refuses must not be tried again when the file is closed
            self._file = path.open("wb" if at is None else "r+b", buffering=0)
        except OSError as error:
            raise DataError(f"the run log {path} cannot be written: {os.strerror(error.errno or 0)}") from error
        size = self._file.seek(0, os.SEEK_END)
        if at is not None and size < at:
            self._file.close()
            raise DataError(
                f"{path} holds {size} bytes, the checkpoint wants {at}: the log was cut; start the run again"
            )
        self._file.truncate(self._file.seek(at or 0))

    def __call__(self, event: Event) -> None:
        record = {"time": self._now().isoformat(timespec="milliseconds"), **_finite(to_record(event))}
        line = json.dumps(record, allow_nan=False, ensure_ascii=False).encode() + b"\n"
        before = self._file.tell()
        try:
            if self._file.write(line) == len(line):
                return
            why = "the disk is full"
        except OSError as error:
            why = os.strerror(error.errno or 0)
        with suppress(OSError):
            self._file.truncate(self._file.seek(before))  # no half line stays, so the event may be tried again
        raise DataError(f"the run log {self._path} cannot be written: {why}")

    def position(self) -> int:
        """Length of the log in bytes. They are on the disk when this returns, so a checkpoint may name them."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Sync and close; a second call does nothing."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()


def read(path: Path) -> Iterator[Event]:
    """The events of a run log, oldest first; a torn last line is left out.

    Raises:
        DataError: the file cannot be read, or a line other than a torn last one is damaged.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield _event(line)
                except (DataError, ValueError) as error:
                    if not line.endswith(b"\n"):
                        return
                    raise DataError(f"{path}:{number}: not an event of a run log: {error}") from error
    except OSError as error:
        raise DataError(f"the run log {path} cannot be read: {os.strerror(error.errno or 0)}") from error


def _event(line: bytes) -> Event:
    record = json.loads(line)  # JSONDecodeError and UnicodeDecodeError are ValueErrors
    if not isinstance(record, dict):
        raise DataError("a line must hold a JSON object")
    # No event has an optional field, so a null can only be a number that was not finite.
    return from_record({key: math.nan if value is None else value for key, value in record.items()})


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in record.items()}
