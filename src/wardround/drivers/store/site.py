"""A site's store: windows, incidents, verdicts, baselines, models and the detector's state, in one SQLite file.

    SITE/site.db   meta, windows, incidents, verdicts, baselines, models

One writer of windows at a time (`wardround watch`; a lock says so); operators' commands write verdicts and settings beside it,
and bump a counter that the watcher looks at. Bounded: ``keep_days`` and ``keep_windows``; beyond ``per_device_day`` only every
tenth quiet window of a device. WAL with synchronous=FULL: a kill -9 leaves each batch whole or absent. What no table has a column
for: payload, application fields, names of people.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from wardround.arrays import F64, I64, Bool
from wardround.detect.baseline import Baseline
from wardround.detect.incident import Incident
from wardround.detect.volume import M, rates
from wardround.drivers.sources.site import FILE, schema_record, stored_schema
from wardround.drivers.store.site_rows import TABLES, VERDICTS, ModelRow, Retention, Shelving, Stored, Verdict
from wardround.errors import DataError, DecodeError, UsageError
from wardround.traffic.table import Schema
from wardround.traffic.windows import Windows
from wardround.wire import decode, encode


@dataclass
class SiteStore:
    """The store in ``folder``; ``watching``: take the writer's lock.

    Raises:
        UsageError: the folder cannot be written, another watcher owns it, or the file is not a store.
    """

    folder: Path
    watching: bool = False
    retention: Retention = field(default_factory=Retention)
    _counts: dict[tuple[str, int], int] = field(default_factory=dict)
    _lock: int = -1

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self.watching:
                self._lock = os.open(self.folder / "watch.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise UsageError(
                f"the site folder {self.folder} cannot be written: {error}; choose another with --site"
            ) from error
        if self.watching:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(self._lock)
                raise UsageError(
                    f"another wardround watch uses {self.folder}: stop it, or choose another --site"
                ) from error
        self._db = sqlite3.connect(self.folder / FILE, isolation_level=None, timeout=10.0)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(TABLES)
            (self.folder / FILE).chmod(0o600)
        except (sqlite3.DatabaseError, OSError) as error:
            self.close()
            raise UsageError(f"{self.folder / FILE} cannot be used ({error}): move it away and start again") from error

    def close(self) -> None:
        self._db.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @contextmanager
    def batch(self) -> Iterator[None]:
        """All writes within are on the disk together, or none of them.

        Raises:
            DataError: the disk did not take them.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise DataError(f"the site's store {self.folder / FILE} did not take a batch: {error}") from error
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    # --- meta

    def get(self, name: str) -> bytes | None:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, name: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    @property
    def settings(self) -> int:
        """Counts operators' changes: the watcher reads them again when it moves."""
        return int((self.get("settings") or b"0").decode())

    def changed(self) -> None:
        """An operator changed something."""
        self.put("settings", str(self.settings + 1).encode())

    # --- windows

    def schema(self) -> Schema | None:
        return stored_schema(self._db)

    def adopt(self, schema: Schema) -> None:
        """Windows of ``schema`` are stored from here on; windows of another are forgotten, they cannot be trained on together."""
        held = self.schema()
        if held is not None and held.id != schema.id:
            self._db.execute("DELETE FROM windows")
            self._db.execute("DELETE FROM baselines")
        if held is None or held.id != schema.id:
            self.put("schema", schema_record(schema))

    def add(self, windows: Windows, types: Sequence[str], score: F64, alarm: Bool, incident: I64) -> None:
        """Keep a batch, thinned as ``retention`` says; ``types`` by number of device."""
        rows = []
        x = np.ascontiguousarray(windows.x, dtype="<f4")
        counted = np.ascontiguousarray(rates(windows), dtype="<f4")
        for row in range(len(windows)):
            device, end = windows.name(row), int(windows.end[row])
            quiet = not alarm[row] and not incident[row]
            if quiet and not self._kept(device, end):
                continue
            number = int(windows.device[row])
            value = None if np.isnan(score[row]) else float(score[row])
            head = (
                int(windows.start[row]),
                end,
                device,
                types[number],
                x[row].tobytes(),
                counted[row].tobytes(),
                value,
            )
            rows.append((*head, int(alarm[row]), int(incident[row])))
        self._db.executemany(
            "INSERT INTO windows (start, end, device, type, x, rates, score, alarm, incident)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )

    def prune(self, now: int) -> None:
        """Forget what is older or more than ``retention`` allows."""
        self._db.execute("DELETE FROM windows WHERE end < ?", (now - int(self.retention.keep_days * 86_400e9),))
        extra = self.count() - self.retention.keep_windows
        if extra > 0:
            self._db.execute(
                "DELETE FROM windows WHERE id IN (SELECT id FROM windows ORDER BY end, id LIMIT ?)", (extra,)
            )
        days = {day for _, day in self._counts}
        if len(days) > 2:
            newest = max(days)
            self._counts = {key: n for key, n in self._counts.items() if key[1] >= newest - 1}

    def count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM windows").fetchone()[0])

    def stored(self, since: int = 0, newest: int = -1) -> Stored:
        """The windows that ended after ``since``, oldest first; only the ``newest`` so many, unless -1."""
        schema = self.schema()
        width = 0 if schema is None else len(schema.columns)
        n = int(self._db.execute("SELECT count(*) FROM windows WHERE end > ?", (since,)).fetchone()[0])
        n = n if newest < 0 else min(n, newest)
        found = Stored(
            x=np.empty((n, width), np.float32),
            start=np.empty(n, np.int64),
            end=np.empty(n, np.int64),
            device=[""] * n,
            type=[""] * n,
            alarm=np.empty(n, np.bool_),
            incident=np.empty(n, np.int64),
            verdict=[""] * n,
            rates=np.empty((n, M), np.float64),
        )
        rows = self._db.execute(
            "SELECT w.x, w.start, w.end, w.device, w.type, w.alarm, w.incident, i.verdict, w.rates FROM windows w"
            " LEFT JOIN incidents i ON i.number = w.incident WHERE w.end > ? ORDER BY w.end DESC, w.id DESC LIMIT ?",
            (since, n),
        )
        # row by row into arrays: a gateway with half a million windows must not hold them twice
        at = n
        for at, row in zip(range(n - 1, -1, -1), rows, strict=False):
            found.x[at] = np.frombuffer(row[0], dtype="<f4")
            found.start[at], found.end[at] = row[1], row[2]
            found.device[at], found.type[at] = sys.intern(row[3]), sys.intern(row[4])
            found.alarm[at], found.incident[at] = bool(row[5]), row[6]
            found.verdict[at] = row[7] or ""
            found.rates[at] = np.frombuffer(row[8], dtype="<f4")
        # a watcher beside us may have forgotten some meanwhile
        return found if not at else Stored(**{f.name: getattr(found, f.name)[at:] for f in fields(Stored)})

    # --- incidents and verdicts

    def keep(self, incidents: Iterable[tuple[Incident, dict[str, Any]]]) -> None:
        """Write incidents with their records (alert_eve.eve); an operator's verdict in the store stands."""
        for i, record in incidents:
            self._db.execute(
                "INSERT INTO incidents (number, subject, state, severity, family, label, opened, closed, last_seen, verdict,"
                " record, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE SET"
                " state = excluded.state, severity = excluded.severity, family = excluded.family, closed = excluded.closed,"
                " last_seen = excluded.last_seen, record = excluded.record, body = excluded.body,"
                " label = CASE WHEN incidents.verdict = 'true' THEN incidents.label ELSE excluded.label END",
                (
                    *(
                        i.number,
                        i.subject,
                        i.state,
                        i.severity,
                        i.family,
                        i.label,
                        i.opened,
                        i.closed,
                        i.last_seen,
                        i.verdict,
                    ),
                    json.dumps(record, ensure_ascii=False),
                    encode(i),
                ),
            )

    def incidents(self, last: int = 50, open_only: bool = False) -> list[tuple[Incident, str]]:
        """Incidents and their verdicts, newest first."""
        where = "WHERE state IN ('open', 'muted')" if open_only else ""
        rows = self._db.execute(f"SELECT body, verdict FROM incidents {where} ORDER BY number DESC LIMIT ?", (last,))  # noqa: S608
        return [(decode(bytes(body), Incident), verdict) for body, verdict in rows]

    def incident(self, number: int) -> tuple[Incident, dict[str, Any], str]:
        """One incident, its record, its verdict.

        Raises:
            UsageError: there is none of that number.
        """
        row = self._db.execute("SELECT body, record, verdict FROM incidents WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise UsageError(f"{self.folder} has no incident {number}: wardround incidents list --site {self.folder}")
        return decode(bytes(row[0]), Incident), json.loads(row[1]), row[2]

    def judge(self, number: int, said: Verdict) -> None:
        """Store an operator's verdict; the watcher takes it up, and the next round's labels follow it.

        Raises:
            UsageError: no such incident, or no such verdict.
        """
        if said.verdict not in VERDICTS:
            raise UsageError(f"a verdict is one of {', '.join(VERDICTS)}, not {said.verdict!r}")
        self.incident(number)
        with self.batch():
            self._db.execute("UPDATE incidents SET verdict = ? WHERE number = ?", (said.verdict, number))
            if said.class_:
                self._db.execute("UPDATE incidents SET label = ? WHERE number = ?", (said.class_, number))
            self._db.execute(
                "INSERT INTO verdicts (number, verdict, class, note, actor, time) VALUES (?, ?, ?, ?, ?, ?)",
                (number, said.verdict, said.class_, said.note, said.actor, said.time),
            )
            self.changed()

    def verdicts(self) -> list[tuple[int, str, str]]:
        """The newest verdict of each judged incident: number, subject, verdict."""
        rows = self._db.execute("SELECT number, subject, verdict FROM incidents WHERE verdict != '' ORDER BY number")
        return [(int(n), str(s), str(v)) for n, s, v in rows]

    # --- baselines

    def baselines(self) -> dict[str, Baseline]:
        """Baselines by device type.

        Raises:
            DataError: one is damaged.
        """
        try:
            rows = self._db.execute("SELECT type, body FROM baselines")
            return {type_: Baseline.from_bytes(bytes(body)) for type_, body in rows}
        except DecodeError as error:
            raise DataError(f"a baseline in {self.folder} is damaged ({error}): calibrate again") from error

    def set_baselines(self, found: Mapping[str, Baseline]) -> None:
        """Replace all baselines."""
        self._db.execute("DELETE FROM baselines")
        self._db.executemany("INSERT INTO baselines VALUES (?, ?)", [(t, b.to_bytes()) for t, b in found.items()])

    # --- models

    def shelve(self, body: bytes, how: Shelving) -> int:
        """Put a bundle on the shelf; its version. The same bundle twice is one version."""
        digest = hashlib.sha256(body).hexdigest()
        row = self._db.execute("SELECT version FROM models WHERE hash = ? AND slot = ?", (digest, how.slot)).fetchone()
        if row is not None:
            return int(row[0])
        cursor = self._db.execute(
            "INSERT INTO models (slot, hash, round, added, state, reason, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (how.slot, digest, how.round, how.time, how.state, how.reason, body),
        )
        return int(cursor.lastrowid or 0)

    def models(self) -> list[ModelRow]:
        """The shelf, oldest first."""
        rows = self._db.execute("SELECT version, slot, hash, round, added, state, reason FROM models ORDER BY version")
        return [ModelRow(*row) for row in rows]

    def body(self, version: int) -> bytes:
        """A model's bundle.

        Raises:
            UsageError: no such version.
        """
        row = self._db.execute("SELECT body FROM models WHERE version = ?", (version,)).fetchone()
        if row is None:
            raise self._unknown(version)
        return bytes(row[0])

    def _unknown(self, version: int) -> UsageError:
        return UsageError(f"{self.folder} has no model version {version}: wardround models list --site {self.folder}")

    def activate(self, version: int, reason: str) -> None:
        """Put a version into service; the one before it in its slot is retired, and can be rolled back to.

        Raises:
            UsageError: no such version.
        """
        found = self._db.execute("SELECT slot FROM models WHERE version = ?", (version,)).fetchone()
        if found is None:
            raise self._unknown(version)
        slot = found[0]
        with self.batch():
            active = self._db.execute(
                "SELECT version FROM models WHERE slot = ? AND state = 'active'", (slot,)
            ).fetchone()
            if active is not None and active[0] != version:
                self._db.execute("UPDATE models SET state = 'retired' WHERE version = ?", active)
                self.put(f"before {slot}", str(active[0]).encode())
            self._db.execute("UPDATE models SET state = 'active', reason = ? WHERE version = ?", (reason, version))
            self.changed()

    def before(self, slot: str) -> int | None:
        """The version that was in service before the present one."""
        found = self.get(f"before {slot}")
        return None if found is None else int(found.decode())

    def forget_models(self, slot: str, keep: int = 10) -> None:
        """Drop the oldest retired and refused versions beyond ``keep``."""
        self._db.execute(
            "DELETE FROM models WHERE slot = ? AND state IN ('retired', 'refused', 'candidate') AND version NOT IN"
            " (SELECT version FROM models WHERE slot = ? ORDER BY version DESC LIMIT ?)",
            (slot, slot, keep),
        )

    def _kept(self, device: str, end: int) -> bool:
        key = (device, end // 86_400_000_000_000)
        seen = self._counts.get(key, 0) + 1
        self._counts[key] = seen
        return seen <= self.retention.per_device_day or seen % 10 == 0
