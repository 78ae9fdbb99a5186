"""A site's own stored windows as a training table: yesterday's traffic for tonight's round.

`wardround watch` keeps windows, incidents and the operator's verdicts in SITE/site.db (drivers/store/site.py writes it; this
reads it, also while it is written). What a window is taken for:

    in no incident and without an alarm                 the benign class
    in an incident that an operator called true         its class, where the federation has it, else ``attack``
    in one called false, or an expected change          the benign class
    with an alarm and no verdict                        nothing: it is left out, nobody knows
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from wardround.arrays import F32, F64, I32, I64
from wardround.detect.inventory import TYPES
from wardround.errors import DataError
from wardround.traffic.table import Column, Labels, Schema, Table

FILE = "site.db"
DAY_S = 86_400.0
UNKNOWN = -1


@dataclass(frozen=True)
class SiteWindows:
    """The windows that this gateway's `wardround watch` has stored, labelled by incidents and verdicts.

    Attributes:
        classes: the federation's classes, normal traffic first.
        attack: class of confirmed attacks that ``classes`` does not name; empty: they are left out.
        days: only windows of so many days before the newest; 0: all.
        max_rows: at most so many rows, the newest of each class; 0: all.
    """

    name: ClassVar[str] = "site"

    classes: tuple[str, ...] = ("Benign", "Attack")
    attack: str = "Attack"
    days: float = 7.0
    max_rows: int = 100_000

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes should be two or more different names, not {list(self.classes)}")
        if self.attack and self.attack not in self.classes:
            raise ValueError(f"attack = {self.attack!r} is none of the classes {list(self.classes)}")
        if self.days < 0 or self.max_rows < 0:
            raise ValueError("days and max_rows must be 0 or more")

    def load(self, folder: Path, rng: np.random.Generator) -> Table:
        """The stored windows of the site in ``folder``.

        Raises:
            DataError: there is no store, or it holds no window that is known to be anything.
        """
        del rng
        with reading(folder) as db:
            schema = stored_schema(db)
            if schema is None:
                raise DataError(f"{folder / FILE} holds no windows yet: run wardround watch --site {folder} first")
            x, y, end, kind = self._rows(db, len(schema.columns))
        if not len(y):
            raise DataError(f"{folder / FILE} holds no windows of known nature: watch longer, or label incidents")
        return Table(
            schema=schema,
            labels=Labels(self.classes, 0),
            x=x,
            y=y,
            groups=(folder.name or "site",),
            group=np.zeros(len(y), np.int32),
            time=end,
            device_type=kind,
            device_types=TYPES,
        )

    def _rows(self, db: sqlite3.Connection, width: int) -> tuple[F32, I64, F64, I32]:
        newest = db.execute("SELECT max(end) FROM windows").fetchone()[0] or 0
        since = int(newest - self.days * DAY_S * 1e9) if self.days else 0
        rows = db.execute(
            "SELECT w.x, w.end, w.alarm, w.incident, i.verdict, i.label, w.type FROM windows w LEFT JOIN incidents i"
            " ON i.number = w.incident WHERE w.end > ? ORDER BY w.end, w.id",
            (since,),
        )
        xs, ys, ends, kinds = [], [], [], []
        for blob, end, alarm, incident, verdict, label, type_ in rows:
            code = self._code(bool(alarm), incident, verdict or "", label or "")
            if code != UNKNOWN and len(blob) == 4 * width:
                xs.append(blob)
                ys.append(code)
                ends.append(end / 1e9)
                kinds.append(TYPES.index(type_) if type_ in TYPES else -1)
        x = np.frombuffer(b"".join(xs), dtype="<f4").reshape(len(xs), width).astype(np.float32)
        y, times = np.array(ys, dtype=np.int64), np.array(ends)
        keep = self._newest(y)
        return x[keep], y[keep], times[keep], np.array(kinds, dtype=np.int32)[keep]

    def _code(self, alarm: bool, incident: int, verdict: str, label: str) -> int:
        if verdict == "true":
            wanted = label if label in self.classes[1:] else self.attack
            return self.classes.index(wanted) if wanted else UNKNOWN
        if verdict in {"false", "expected"}:
            return 0
        return UNKNOWN if alarm or incident else 0

    def _newest(self, y: I64) -> I64:
        """Row numbers, ascending: the newest ``max_rows``, shared evenly by the classes that need it."""
        if not self.max_rows or len(y) <= self.max_rows:
            return np.arange(len(y))
        share = max(1, self.max_rows // len(np.unique(y)))
        kept = [np.flatnonzero(y == code)[-share:] for code in np.unique(y)]
        return np.sort(np.concatenate(kept))


class reading:  # noqa: N801 - a context manager, named for what it does
    """A read-only connection to a site's store.

    Raises:
        DataError: there is none, or it is not one.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def __enter__(self) -> sqlite3.Connection:
        if not self._path.is_file():
            raise DataError(f"{self._path} is not there: a site's store is made by wardround watch --site DIR")
        self._db = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=10.0)
        try:
            self._db.execute("SELECT count(*) FROM meta").fetchone()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise DataError(f"{self._path} is not a site's store: {error}") from error
        return self._db

    def __exit__(self, *raised: object) -> None:
        self._db.close()


def schema_record(schema: Schema) -> bytes:
    """A schema as JSON."""
    columns: Sequence[Any] = [[c.name, c.kind, list(c.vocabulary), c.unit] for c in schema.columns]
    return json.dumps([schema.name, columns]).encode()


def stored_schema(db: sqlite3.Connection) -> Schema | None:
    """The schema of the stored windows.

    Raises:
        DataError: what is stored is no schema.
    """
    row = db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    if row is None:
        return None
    try:
        name, columns = json.loads(row[0])
        return Schema(str(name), tuple(Column(n, kind, tuple(words), unit) for n, kind, words, unit in columns))
    except (ValueError, TypeError) as error:
        raise DataError(f"the site's store has a damaged schema: {error}") from error
