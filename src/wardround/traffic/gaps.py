"""Sensors that lack columns: some clients' rows miss whole columns, as where a gateway cannot see what others see.

A missing value becomes the federation's middle (the mean of ``moments``, the median of ``quantile``) and a mask bit tells the
model so (scaling.py, ``missing_bits``): both follow from sums over clients, so a gateway that never saw a column is imputed by
those that did.

Laws: without gaps the table is untouched; rows of clients that lack nothing are untouched; a client lacks its columns in all
parts, and keeps at least one.
What it does not do: lose single values (data has those of its own).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from wardround.arrays import Bool
from wardround.errors import ConfigError
from wardround.traffic.partition import ClientShare
from wardround.traffic.table import Schema, Table


@dataclass(frozen=True)
class Gaps:
    """Which simulated clients lack which columns: the table ``[gaps]``.

    Attributes:
        clients: share of the clients that lack columns, drawn; 0: none.
        columns: share of the columns that each of them lacks, drawn for each.
        names: these columns (shell patterns) instead, the same for all of them.
    """

    clients: float = 0.0
    columns: float = 0.3
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.clients <= 1:
            raise ValueError(f"clients must be a share from 0 to 1, not {self.clients}")
        if not 0 <= self.columns < 1:
            raise ValueError(f"columns must be a share from 0 to below 1, not {self.columns}")


def lacking(gaps: Gaps, schema: Schema, clients: int, rng: np.random.Generator) -> Bool:
    """Which columns each client lacks [clients, columns].

    Raises:
        ConfigError: a pattern fits no column, or the patterns leave none.
    """
    columns = [column.name for column in schema.columns]
    found = np.zeros((clients, len(columns)), dtype=np.bool_)
    if not gaps.clients:
        return found
    named = _named(gaps, columns)
    for client in rng.permutation(clients)[: round(gaps.clients * clients)]:
        if gaps.names:
            found[client] = named
        else:
            drawn = rng.permutation(len(columns))[: min(round(gaps.columns * len(columns)), len(columns) - 1)]
            found[client, drawn] = True
    return found


def without(table: Table, shares: Sequence[ClientShare], lacks: Bool) -> Table:
    """``table`` with NaN where a row's client lacks the column; itself where nobody lacks any."""
    short = np.flatnonzero(lacks.any(1))
    if not len(short):
        return table
    x = table.x.copy()
    for client in short.tolist():
        share = shares[client]
        for part in (share.train, share.validation, share.test):
            x[np.ix_(part, np.flatnonzero(lacks[client]))] = np.nan
    each = lacks[short].sum(1)
    note = f"gaps: {len(short)} of {len(shares)} clients lack {each.min()} to {each.max()} of {lacks.shape[1]} columns"
    return replace(table, x=x, notes=(*table.notes, note))


def _named(gaps: Gaps, columns: Sequence[str]) -> Bool:
    for pattern in gaps.names:
        if not any(fnmatchcase(name, pattern) for name in columns):
            raise ConfigError(f"[gaps] names: no column is named {pattern!r}; there are {', '.join(columns[:20])}")
    found = np.array([any(fnmatchcase(name, pattern) for pattern in gaps.names) for name in columns])
    if found.all():
        raise ConfigError("[gaps] names: the patterns leave a client no column: name fewer")
    return found
