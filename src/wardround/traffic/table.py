"""The one form in which traffic reaches training: a table of feature rows with labels.

Every data source (files, generator, later packets) gives a ``Table``. The schema's id travels with every
update, so that gateways with different features cannot be averaged by accident.

Laws: ``rows(t, all) == t``; ``concat([t]) == t``; a schema's id changes with every name, kind or vocabulary.
What it does not do: read files (drivers/sources), scale (scaling.py), split (split.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from wardround.arrays import F32, F64, I32, I64

Kind = Literal["numeric", "flag", "category"]


@dataclass(frozen=True)
class Column:
    """One feature. ``numeric``: any real, NaN where missing. ``flag``: 0 or 1 (or a share in between), NaN where
    missing. ``category``: a code 0..len(vocabulary)-1; every value not in the vocabulary, and a missing one, is NaN.
    """

    name: str
    kind: Kind = "numeric"
    vocabulary: tuple[str, ...] = ()
    unit: str = ""


@dataclass(frozen=True)
class Schema:
    """Names, kinds and vocabularies of the feature columns, in order; fixed before any data is seen."""

    name: str
    columns: tuple[Column, ...]

    @cached_property
    def id(self) -> str:
        """SHA-256 over name, columns, kinds and vocabularies, in hex."""
        text = json.dumps([self.name, [[c.name, c.kind, list(c.vocabulary), c.unit] for c in self.columns]])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Labels:
    """Class names in the order of the codes; ``benign`` is the code of normal traffic, None where there is none."""

    names: tuple[str, ...]
    benign: int | None


@dataclass(frozen=True)
class Dropped:
    """A column of the file that is not a feature, and why: shown in the log and by ``wardround data inspect``."""

    column: str
    reason: str


@dataclass(frozen=True, eq=False)
class Table:
    """Feature rows of one data set.

    x [n, f]: raw values as the schema says (float32; categories as codes; NaN = missing; never infinite).
    y [n]: class codes. group [n]: the natural client (device, capture, site) or -1; ``groups`` names them.
    time [n]: seconds or any increasing order key for temporal splits, or None where the data carries no order.
    device_type [n]: what kind of device a row is of (code into ``device_types``, -1 unknown), or None where the data does not
    say; no feature: it chooses typed heads (training/typed.py) and parts the false positives in reports.
    """

    schema: Schema
    labels: Labels
    x: F32
    y: I64
    group: I32
    groups: tuple[str, ...] = ()
    time: F64 | None = None
    dropped: tuple[Dropped, ...] = ()
    notes: tuple[str, ...] = ()
    device_type: I32 | None = None
    device_types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.y)
        if self.x.shape != (n, len(self.schema.columns)) or self.group.shape != (n,):
            raise ValueError(f"x {self.x.shape}, y {self.y.shape} and group {self.group.shape} do not fit together")
        if self.time is not None and self.time.shape != (n,):
            raise ValueError(f"time has shape {self.time.shape} for {n} rows")
        if self.device_type is not None and self.device_type.shape != (n,):
            raise ValueError(f"device_type has shape {self.device_type.shape} for {n} rows")

    def __len__(self) -> int:
        return len(self.y)

    def types_of(self, index: I64) -> I32:
        """The type of device of rows ``index``; -1 where the data does not say."""
        return np.full(len(index), -1, np.int32) if self.device_type is None else self.device_type[index]


def rows(table: Table, index: I64) -> Table:
    """The rows ``index`` of ``table``, in that order."""
    time = None if table.time is None else table.time[index]
    kind = None if table.device_type is None else table.device_type[index]
    return replace(table, x=table.x[index], y=table.y[index], group=table.group[index], time=time, device_type=kind)


def concat(tables: Sequence[Table]) -> Table:
    """All rows of tables that share schema, labels and groups.

    Raises:
        ValueError: nothing to join, or the tables differ in schema, labels, groups or device types.
    """
    if not tables:
        raise ValueError("no table to join")
    first = tables[0]
    for other in tables[1:]:
        if (other.schema.id, other.labels, other.groups, other.device_types) != (
            first.schema.id,
            first.labels,
            first.groups,
            first.device_types,
        ):
            raise ValueError(f"tables of schema {first.schema.name} and {other.schema.name} cannot be joined")
    times, kinds = [t.time for t in tables], [t.device_type for t in tables]
    time = None if any(t is None for t in times) else np.concatenate([t for t in times if t is not None])
    kind = None if any(k is None for k in kinds) else np.concatenate([k for k in kinds if k is not None])
    return replace(
        first,
        x=np.concatenate([t.x for t in tables]),
        y=np.concatenate([t.y for t in tables]),
        group=np.concatenate([t.group for t in tables]),
        time=time,
        device_type=kind,
    )
