"""Which rows train, which validate, which test: before anything else looks at them (Arp et al., USENIX Security 2022).

Random splits of traffic flatter a detector: equal rows land on both sides, and neighbours in time are near-copies.
So ``stratified`` keeps equal feature rows together, ``temporal`` cuts along time, ``groups`` holds whole sites back.

Laws: the three parts are disjoint, sorted, and hold only rows of the table; ``stratified`` and ``groups`` use every
row; the same generator state gives the same split.
What it does not do: deal rows to clients (partition.py).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from wardround.arrays import F32, F64, I64, U64, Bool
from wardround.errors import ConfigError
from wardround.traffic.table import Table

_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))
_SHIFT = np.uint64(29)
_ROUNDING = 1e-9  # so that a border that is a whole row in exact arithmetic is one in float64


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the table, ascending, in three disjoint parts."""

    train: I64
    validation: I64
    test: I64

    @property
    def parts(self) -> tuple[I64, I64, I64]:
        """Train, validation, test."""
        return self.train, self.validation, self.test


class SplitStrategy(Protocol):
    """A way to split; ``name`` is what ``use =`` says."""

    name: ClassVar[str]

    def assign(self, table: Table, rng: np.random.Generator) -> Split:
        """The parts of ``table``.

        Raises:
            ConfigError: the table lacks what this strategy needs (time, natural clients).
        """
        ...


@dataclass(frozen=True)
class Stratified:
    """A random share of every class; rows with equal features stay on one side, whatever their labels.

    A set of equal rows goes where its middle falls, so each class keeps its shares to within half its largest set.

    Attributes:
        test: share of each class's rows to test on.
        validation: share of each class's rows for thresholds and model choice.
        together: keep equal rows on one side; only data of a handful of distinct rows needs ``false``, and then every
            measure speaks of rows that were trained on.
    """

    name: ClassVar[str] = "stratified"

    test: float = 0.2
    validation: float = 0.1
    together: bool = True

    def __post_init__(self) -> None:
        _check_shares(test=self.test, validation=self.validation)

    def assign(self, table: Table, rng: np.random.Generator) -> Split:
        """Parts with the table's class shares."""
        keys = row_hashes(table.x) if self.together else np.arange(len(table), dtype=np.uint64)
        position = _stratified_positions(keys, table.y, rng)
        return _by_position(position < self.test, position < self.test + self.validation)


@dataclass(frozen=True)
class Temporal:
    """The first part trains, then validation, then test: what a detector meets in service.

    Rows of equal time keep the table's order. Equal feature rows may stand on both sides, as they do in service.

    Attributes:
        test: share of the rows, the latest, to test on.
        validation: share of the rows just before them.
        gap: share of the rows dropped before validation and again before test, so that neighbours are not near-copies.
        per_group: cut within each natural client (so that each has all three parts) instead of at one time for all.
    """

    name: ClassVar[str] = "temporal"

    test: float = 0.2
    validation: float = 0.1
    gap: float = 0.0
    per_group: bool = False

    def __post_init__(self) -> None:
        gaps = self.gap * (2 if self.validation else 1)
        _check_shares(test=self.test, validation=self.validation, gap=gaps)

    def assign(self, table: Table, rng: np.random.Generator) -> Split:
        """Parts along time.

        Raises:
            ConfigError: rows without a time, or ``per_group`` without natural clients.
        """
        del rng  # nothing is drawn: time decides
        if table.time is None or np.isnan(table.time).any():
            lacking = "no time" if table.time is None else "rows without a time"
            raise ConfigError(
                f'[split] temporal: {table.schema.name} has {lacking}; set use = "stratified" or "groups"'
            )
        if self.per_group:
            _require_groups(table, "temporal with per_group = true")
        group = table.group if self.per_group else np.zeros(len(table), dtype=np.int32)
        position = _positions_in_time(table.time, np.asarray(group, dtype=np.int64))
        start = 1 - self.test - _ROUNDING
        before = start - (self.gap if self.validation else 0.0)
        trains = position < before - self.validation - self.gap
        validates = (position >= before - self.validation) & (position < before)
        return Split(*(np.flatnonzero(chosen) for chosen in (trains, validates, position >= start)))


@dataclass(frozen=True)
class Groups:
    """Named natural clients are held back whole as test: leave-one-site-out, a site the federation never saw.

    A row of a held-back site may equal a training row of another site, as it may in service.

    Attributes:
        leave_out: names of the natural clients to test on.
        validation: share of every class of the remaining rows; equal feature rows stay on one side.
    """

    name: ClassVar[str] = "groups"

    leave_out: tuple[str, ...]
    validation: float = 0.1

    def __post_init__(self) -> None:
        _check_shares(validation=self.validation)
        if not self.leave_out:
            raise ValueError("leave_out must name at least one natural client")

    def assign(self, table: Table, rng: np.random.Generator) -> Split:
        """Parts by site.

        Raises:
            ConfigError: no natural clients, an unknown name, or nobody left to train.
        """
        _require_groups(table, "groups")
        left_out = np.isin(table.group, [self._code(table, name) for name in self.leave_out])
        rest = np.flatnonzero(~left_out)
        if not len(rest):
            raise ConfigError("[split] groups: leave_out names every natural client, so nobody is left to train")
        position = _stratified_positions(row_hashes(table.x[rest]), table.y[rest], rng)
        validates = position < self.validation
        return Split(rest[~validates], rest[validates], np.flatnonzero(left_out))

    def _code(self, table: Table, name: str) -> int:
        if name in table.groups:
            return table.groups.index(name)
        near = difflib.get_close_matches(name, table.groups, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(table.groups[:20])}"
        raise ConfigError(f"[split] groups: no natural client is named {name!r}; {hint}")


STRATEGIES: tuple[type[Stratified | Temporal | Groups], ...] = (Stratified, Temporal, Groups)


def row_hashes(x: F32) -> U64:
    """64-bit hashes [n] of feature rows [n, f]: equal rows (missing equals missing, -0 equals 0) have equal hashes.

    Different rows meet with probability n^2 / 2^65 (3e-8 for a million rows); they would only share a side.
    """
    result = np.full(len(x), 0x243F6A8885A308D3, dtype=np.uint64)
    for column in np.asarray(x, dtype=np.float32).T:
        values = column + np.float32(0)  # turns -0 into 0, and copies
        values[np.isnan(values)] = np.nan  # one bit pattern for all missing values
        result ^= values.view(np.uint32)
        for multiplier in _MULTIPLIERS:
            result *= multiplier  # wraps modulo 2^64, as a multiplicative hash should
            result ^= result >> _SHIFT
    return result


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise ValueError(f"{name} must be a share from 0 to below 1, not {share}")
    if sum(shares.values()) >= 1:
        raise ValueError(
            f"{' + '.join(shares)} must leave rows to train on, but they add up to {sum(shares.values()):g}"
        )


def _require_groups(table: Table, what: str) -> None:
    if not table.groups:
        raise ConfigError(f'[split] {what}: {table.schema.name} has no natural clients; set use = "stratified"')


def _stratified_positions(keys: U64, y: I64, rng: np.random.Generator) -> F64:
    """A place in [0, 1) for every row, uniform within its class; rows of equal ``keys`` share one."""
    _, first, which, sizes = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    label = y[first]  # a set of equal rows with conflicting labels counts for the class of its first row
    order = np.lexsort((rng.permutation(len(sizes)), label))
    ends = np.cumsum(sizes[order])
    totals = np.bincount(label, weights=sizes)
    starts = np.cumsum(totals) - totals
    position = np.empty(len(sizes))
    position[order] = (ends - sizes[order] / 2 - starts[label[order]]) / totals[label[order]]
    placed: F64 = position[which]
    return placed


def _positions_in_time(time: F64, group: I64) -> F64:
    """Rank in time within the row's group, divided by the group's rows: [n] in [0, 1)."""
    order = np.lexsort((time, group))
    _, which, sizes = np.unique(group[order], return_inverse=True, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    position = np.empty(len(time))
    position[order] = (np.arange(len(time)) - starts[which]) / sizes[which]
    return position


def _by_position(tests: Bool, tests_or_validates: Bool) -> Split:
    return Split(
        train=np.flatnonzero(~tests_or_validates),
        validation=np.flatnonzero(tests_or_validates & ~tests),
        test=np.flatnonzero(tests),
    )
