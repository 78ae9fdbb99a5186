"""Columns as read -> feature rows as the schema says, and their assembly into a ``Table``.

Vocabularies are fixed in each source before any data is seen: a federation never pools categories. Infinite values
become missing (NaN) and are counted; a word outside its vocabulary becomes missing and is counted too.
What it does not do: read (csvfile.py), scale or impute (traffic/scaling).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from wardround.arrays import F32, F64, I64, Bool
from wardround.drivers.sources.csvfile import Place
from wardround.errors import UsageError
from wardround.traffic.table import Column, Dropped, Labels, Schema, Table

if TYPE_CHECKING:
    from pandas import DataFrame, Series


@dataclass(eq=False)
class Rows:
    """Gathers encoded rows, chunk by chunk, and becomes one ``Table``.

    ``max_rows`` (0 = all) caps the rows of each class in each file by a sample drawn from ``rng``; the rows that
    stay keep their order. ``words`` are the numbers that words stand for in numeric and flag columns read as text
    (a column read as numbers needs none). The cap is a uniform sample without replacement: every row gets a
    random key and the smallest keys stay, so a file of any length needs memory for the cap only.
    """

    schema: Schema
    labels: Labels
    rng: np.random.Generator
    max_rows: int = 0
    words: Mapping[str, float] = field(default_factory=dict)
    infinite: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    _x: list[F32] = field(default_factory=list)
    _y: list[I64] = field(default_factory=list)
    _group: list[int] = field(default_factory=list)
    _time: list[F64] = field(default_factory=list)
    _open: list[tuple[F32, I64, F64, F64]] = field(default_factory=list)
    skipped: int = 0

    def __post_init__(self) -> None:
        if self.max_rows < 0:
            raise UsageError(f"max_rows = {self.max_rows}: must be 0 (all rows) or a number of rows")

    def add(self, frame: DataFrame | Mapping[str, Series], y: I64, time: F64 | None = None) -> None:
        """Encode the columns of ``frame`` and keep the rows with codes ``y`` [n] (and order keys ``time`` [n])."""
        x = np.empty((len(y), len(self.schema.columns)), dtype=np.float32)
        for index, column in enumerate(self.schema.columns):
            x[:, index] = self._encode(column, frame[column.name])
        keys = self.rng.random(len(y)) if self.max_rows else np.zeros(len(y))
        self._open.append((x, y, np.full(len(y), np.nan) if time is None else time, keys))
        if self.max_rows:
            self._cap()

    def close_file(self, group: int = -1) -> None:
        """The rows since the last call are one file of natural client ``group``."""
        for x, y, time, _ in self._open:
            self._x.append(x)
            self._y.append(y)
            self._time.append(time)
            self._group.append(group)
        self._open = []

    def table(self, dropped: Sequence[Dropped], notes: Sequence[str] = (), groups: tuple[str, ...] = ()) -> Table:
        """All rows as a table; ``time`` is None where no file gave any."""
        counts = [len(y) for y in self._y]
        time = np.concatenate(self._time)
        found = [f"{name}: {n} infinite value(s) read as missing" for name, n in self.infinite.items()]
        found += [f"{name}: {n} value(s) outside the vocabulary read as missing" for name, n in self.unknown.items()]
        found += [f"{name}: {n} value(s) that are no number read as missing" for name, n in self.unread.items()]
        if self.skipped:
            found.append(
                f"max_rows = {self.max_rows}: {self.skipped} row(s) left out by a seeded sample per class and file"
            )
        return Table(
            schema=self.schema,
            labels=self.labels,
            x=np.concatenate(self._x),
            y=np.concatenate(self._y),
            group=np.repeat(np.asarray(self._group, dtype=np.int32), counts),
            groups=groups,
            time=None if np.isnan(time).all() else time,
            dropped=tuple(dropped),
            notes=(*notes, *found),
        )

    def _encode(self, column: Column, values: Series) -> F32:
        if column.kind == "category":
            codes, unknown = category_codes(values, column.vocabulary)
            if unknown:
                self.unknown[column.name] += unknown
            return codes
        if values.dtype.kind in "fiu":
            numbers, infinite = finite(values.to_numpy(dtype=np.float64))
        else:
            loose, unread = loose_numbers(values, self.words)
            numbers, infinite = finite(loose)
            if unread:
                self.unread[column.name] += unread
        if infinite:
            self.infinite[column.name] += infinite
        return numbers

    def _cap(self) -> None:
        """Keep the ``max_rows`` smallest keys of each class among the rows of the file so far."""
        x, y, time, keys = (np.concatenate(parts) for parts in zip(*self._open, strict=True))
        keep = np.sort(np.concatenate([_smallest(keys, np.flatnonzero(y == c), self.max_rows) for c in np.unique(y)]))
        self.skipped += len(y) - len(keep)
        self._open = [(x[keep], y[keep], time[keep], keys[keep])]


def _smallest(keys: F64, index: I64, count: int) -> I64:
    if len(index) <= count:
        return index
    chosen: I64 = index[np.argpartition(keys[index], count)[:count]]
    return chosen


def finite(values: F64) -> tuple[F32, int]:
    """``values`` [n] as float32 with infinite ones (also those too large for float32) as NaN, and their number."""
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    infinite: Bool = np.isinf(numbers)
    numbers[infinite] = np.nan
    return numbers, int(infinite.sum())


def category_codes(values: Series, vocabulary: tuple[str, ...]) -> tuple[F32, int]:
    """Codes [n] of the words, NaN for "" and for words outside ``vocabulary``, and how many the latter are.

    A vocabulary that names "" gives the empty word a code of its own (Zeek's unset field, which says something).
    """
    from pandas import Index

    words = values.to_numpy(dtype=object)
    codes = Index(list(vocabulary), dtype=object).get_indexer(Index(words, dtype=object)).astype(np.float32)
    outside = codes < 0
    codes[outside] = np.nan
    return codes, int((outside & (words != "")).sum())


def loose_numbers(values: Series, words: Mapping[str, float]) -> tuple[F64, int]:
    """Numbers [n] from text in which ``words`` and hexadecimal numbers stand too; all else is NaN, and counted.

    For columns in which the owners' own files mix numbers with words; other columns are read strictly.
    """
    distinct = {word: _loose(word, words) for word in values.unique()}
    numbers = values.map(distinct).to_numpy(dtype=np.float64)
    unread = np.isnan(numbers) & (values != "").to_numpy()
    return numbers, int(unread.sum())


def label_codes(words: Series, codes: Mapping[str, int], place: Place) -> I64:
    """Class codes [n] of the label words; the index of ``words`` is the row's number in the file.

    Raises:
        DataError: a label is missing or not one of the data set's; names the first and how many rows it concerns.
    """
    known = words.map(dict(codes))
    bad = np.flatnonzero(known.isna().to_numpy())
    if len(bad):
        word = str(words.iloc[int(bad[0])])
        said = f"{word[:60]!r} is not a class of this data set" if word else "the label is missing"
        raise place.error(int(words.index[bad[0]]), f"{said} ({len(bad)} such row(s) in this part of the file)")
    return np.asarray(known, dtype=np.int64)


def _loose(word: str, words: Mapping[str, float]) -> float:
    if word in words:
        return words[word]
    try:
        return float(int(word, 16)) if word.startswith("0x") else float(word)
    except ValueError:
        return np.nan
