"""State as bytes in SQLite, on the disk when ``save`` returns: what a coordinator or a gateway must not lose.

WAL with synchronous=FULL syncs the log at each commit, so a kill -9 or a power cut leaves the old value or the new one.
One process owns a state folder: a lock file says so. Threads take turns. All files have mode 0600: secrets lie here.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from pathlib import Path

from wardround.errors import UsageError

LOOK_S = 0.05


class DiskError(Exception):
    """The disk did not take it (full, read-only, gone): nothing was changed; worth trying again."""


class State:
    """Named byte strings in ``folder``/state.db; ``wait_s``: another process that uses the folder is waited for so long.

    Raises:
        UsageError: the folder cannot be written, or another process owns it.
    """

    def __init__(self, folder: Path, wait_s: float = 0.0) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            os.close(
                os.open(folder / "state.db", os.O_RDWR | os.O_CREAT, 0o600)
            )  # SQLite's other files follow its mode
        except OSError as error:
            raise UsageError(
                f"the state folder {folder} cannot be written: {error}; choose another with --state"
            ) from error
        if not self._owned(time.monotonic() + wait_s):
            os.close(self._lock)
            raise UsageError(f"another wardround process uses {folder}: stop it, or choose another folder with --state")
        self._turn = threading.Lock()
        self._db = sqlite3.connect(folder / "state.db", isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value BLOB NOT NULL)")
        except sqlite3.DatabaseError as error:
            self.close()
            raise UsageError(f"{folder / 'state.db'} cannot be used ({error}): move it away and start again") from error

    def save(self, name: str, value: bytes) -> None:
        """Replace ``name``.

        Raises:
            DiskError: the disk did not take it; the old value stands.
        """
        try:
            with self._turn:
                self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))
        except sqlite3.OperationalError as error:
            raise DiskError(str(error)) from error

    def load(self, name: str) -> bytes | None:
        with self._turn:
            row = self._db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def forget(self, prefix: str, keep: str) -> None:
        """Delete every name that starts with ``prefix`` but ``keep``.

        Raises:
            DiskError: the disk did not take it; nothing is deleted.
        """
        try:
            with self._turn:
                self._db.execute(
                    "DELETE FROM state WHERE substr(name, 1, ?) = ? AND name != ?", (len(prefix), prefix, keep)
                )
        except sqlite3.OperationalError as error:
            raise DiskError(str(error)) from error

    def _owned(self, end: float) -> bool:
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() >= end:
                    return False
                time.sleep(LOOK_S)
            else:
                return True

    def close(self) -> None:
        self._db.close()
        os.close(self._lock)
