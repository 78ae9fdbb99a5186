"""What a site's store holds: its tables, and their rows as values (site.py reads and writes them)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, F64, I64, Bool

VERDICTS = ("true", "false", "expected")
TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS windows (
  id INTEGER PRIMARY KEY, start INTEGER NOT NULL, end INTEGER NOT NULL, device TEXT NOT NULL, type TEXT NOT NULL,
  x BLOB NOT NULL, rates BLOB NOT NULL, score REAL, alarm INTEGER NOT NULL, incident INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS windows_by_end ON windows (end);
CREATE TABLE IF NOT EXISTS incidents (
  number INTEGER PRIMARY KEY, subject TEXT NOT NULL, state TEXT NOT NULL, severity INTEGER NOT NULL, family TEXT NOT NULL,
  label TEXT NOT NULL, opened INTEGER NOT NULL, closed INTEGER NOT NULL, last_seen INTEGER NOT NULL,
  verdict TEXT NOT NULL DEFAULT '', record TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS verdicts (
  id INTEGER PRIMARY KEY, number INTEGER NOT NULL, verdict TEXT NOT NULL, class TEXT NOT NULL, note TEXT NOT NULL,
  actor TEXT NOT NULL, time INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS baselines (type TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS models (
  version INTEGER PRIMARY KEY, slot TEXT NOT NULL, hash TEXT NOT NULL, round INTEGER NOT NULL, added INTEGER NOT NULL,
  state TEXT NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL);
"""


@dataclass(frozen=True)
class Retention:
    """``keep_days`` of windows, at most ``keep_windows`` of them; ``per_device_day``: beyond so many quiet windows of one device
    in a day only every tenth is kept.
    """

    keep_days: float = 14.0
    keep_windows: int = 500_000
    per_device_day: int = 4_000


@dataclass(frozen=True, eq=False)
class Stored:
    """Windows as they come back: x [n, f], start, end [n] ns, device and type names [n], alarm [n], incident [n] (0: none),
    verdict [n], rates [n, M] (detect/volume.py).
    """

    x: F32
    start: I64
    end: I64
    device: list[str]
    type: list[str]
    alarm: Bool
    incident: I64
    verdict: list[str]
    rates: F64

    def __len__(self) -> int:
        return len(self.end)

    @property
    def benign(self) -> Bool:
        """Which windows [n] are taken for normal: quiet ones in no incident, and those an operator called so."""
        said = np.array([v in {"false", "expected"} for v in self.verdict], dtype=np.bool_)
        found: Bool = said | (~self.alarm & (self.incident == 0))
        return found

    @property
    def attack(self) -> Bool:
        """Which windows [n] an operator called an attack."""
        return np.array([v == "true" for v in self.verdict], dtype=np.bool_)


@dataclass(frozen=True)
class Verdict:
    """An operator's word: one of ``VERDICTS``; ``class_``: the attack's class, where it was told; ``time``: ns."""

    verdict: str
    class_: str
    note: str
    actor: str
    time: int


@dataclass(frozen=True)
class Shelving:
    """How a bundle comes to the shelf: ``slot`` model or guard, the federation's ``round``, its first ``state`` and why."""

    slot: str
    round: int
    state: str
    reason: str
    time: int


@dataclass(frozen=True)
class ModelRow:
    """One model of the shelf. ``state``: candidate, active, retired or refused."""

    version: int
    slot: str
    hash: str
    round: int
    added: int
    state: str
    reason: str
