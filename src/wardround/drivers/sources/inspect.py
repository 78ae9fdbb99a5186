"""Look at a data file or a data set's folder before anyone trains on it: ``wardround data inspect``.

Pure data comes out; the command line prints it. Every raw column is judged, identifiers, times and texts too, because
those are the ones that give labels away (shortcut.py). At most ``ROWS`` rows are read, the same number from each file.
What it does not do: encode, drop, or repair anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wardround.arrays import F64, I64
from wardround.drivers.sources import csvfile, iot23
from wardround.drivers.sources.files import DataFile, Layout, find, natural, on_disk
from wardround.drivers.sources.recognise import BENIGN, KINDS, USUAL_LABELS, Kind, kind_of
from wardround.drivers.sources.shortcut import Shortcut, shortcut
from wardround.errors import DataError
from wardround.rng import stream

if TYPE_CHECKING:
    from pandas import DataFrame, Series

ROWS = 500_000
_CLASS, _CLIENT = "\0class", "\0client"


@dataclass(frozen=True)
class ColumnFacts:
    """One raw column: values ``missing`` and ``infinite``, and how many are ``distinct`` (a missing one counts)."""

    name: str
    missing: int
    infinite: int
    distinct: int


@dataclass(frozen=True)
class Inspection:
    """What stands in a data set, before any training.

    ``classes`` and ``clients`` are (name, rows), the clients in natural order. ``duplicates``: rows whose columns
    (labels aside) all equal an earlier row's; ``conflicting``: rows that share all columns with a row of another
    class. ``shortcuts``: every column, the most telling first.
    """

    path: str
    dataset: str
    files: tuple[str, ...]
    rows: int
    label: str
    benign: str
    classes: tuple[tuple[str, int], ...]
    columns: tuple[ColumnFacts, ...]
    duplicates: int
    conflicting: int
    clients: tuple[tuple[str, int], ...]
    shortcuts: tuple[Shortcut, ...]
    notes: tuple[str, ...]

    @property
    def constant(self) -> tuple[str, ...]:
        """The columns that never change."""
        return tuple(column.name for column in self.columns if column.distinct <= 1)

    @property
    def leaks(self) -> tuple[str, ...]:
        """The columns that predict the label on their own."""
        return tuple(found.column for found in self.shortcuts if found.mark == "LEAK")

    @property
    def suspects(self) -> tuple[str, ...]:
        """The columns that part the classes into groups: a person must look why."""
        return tuple(found.column for found in self.shortcuts if found.mark == "GROUPS")


def inspect(path: Path, label: str = "", max_rows: int = ROWS) -> Inspection:
    """Look at the file or folder ``path``. ``label`` names the label column of a file of no known data set (the usual
    names are tried); ``max_rows`` bounds the rows read.

    Raises:
        DataError: nothing readable is found, several data sets lie in the folder, or there is no label.
    """
    files = _files(path)
    kind = kind_of(_names(files[0]), files[0])
    frame, notes = _read(files, kind, label, max(1, max_rows // len(files)))
    labels = [name for name in (label, *kind.also_labels, *kind.label) if name in frame]
    plain = frame.drop(columns=[*labels, _CLASS, _CLIENT], errors="ignore")
    classes, y = _numbered(frame[_CLASS])
    benign = next((name for name in classes if name.lower() in BENIGN), "")
    if not benign:
        notes.append("no class looks like normal traffic: columns are judged by the classes alone")
    duplicates, conflicting = _duplicates(plain, y)
    columns = [(name, _order(plain[name])) for name in plain.columns]
    return Inspection(
        path=str(path),
        dataset=kind.name,
        files=tuple(file.path for file in files),
        rows=len(frame),
        label=next((name for name in (label, *kind.label) if name in frame), "the file's name"),
        benign=benign,
        classes=tuple((name, int(n)) for name, n in zip(classes, np.bincount(y), strict=True)),
        columns=tuple(_facts(plain[name], order) for name, order in columns),
        duplicates=duplicates,
        conflicting=conflicting,
        clients=_clients(frame),
        shortcuts=_shortcuts([(plain[name], order) for name, order in columns], y, classes, benign),
        notes=tuple(notes),
    )


def _files(path: Path) -> list[DataFile]:
    """The files at ``path``: itself, or those of the one data set in the folder or archive."""
    if path.is_file() and not path.name.endswith((".tar.xz", ".tar.gz", ".tar")):
        return [on_disk(path)]
    found: dict[str, list[DataFile]] = {}
    for kind in KINDS:
        files = [file for layout in kind.layouts for file in _found(path, layout)]
        ours = [file for file in files if kind_of(_names(file), file) is kind]
        if ours:
            found[kind.name] = ours
    if len(found) > 1:
        raise DataError(f"{path}: holds several data sets ({', '.join(found)}); name the folder of one")
    if found:
        return next(iter(found.values()))
    plain = [on_disk(file) for pattern in ("*.csv", "*.csv.gz") for file in sorted(path.glob(pattern))]
    if not plain:
        raise DataError(f"{path}: no data set known to wardround and no CSV file here")
    return plain


def _found(path: Path, layout: Layout) -> list[DataFile]:
    try:
        return find(path, layout)
    except DataError:
        if not path.exists():
            raise
        return []  # this layout is not here; another may be


def _names(file: DataFile) -> list[str]:
    return iot23.form_of(file).names if _is_zeek(file) else csvfile.header(file)


def _is_zeek(file: DataFile) -> bool:
    return "conn.log" in file.name


def _read(files: Sequence[DataFile], kind: Kind, label: str, rows: int) -> tuple[DataFrame, list[str]]:
    """The first ``rows`` rows of each file as text, with the class and the natural client of each row."""
    from pandas import concat

    frames, notes = [], []
    for file in files:
        left = rows
        names = _names(file)
        column = _label_column(file, names, kind, label)
        for chunk in _chunks(file, names):
            part = chunk.iloc[:left]
            words = part[column].map(kind.name_of) if column else kind.class_of(file) if kind.class_of else ""
            client = kind.client_of(file) if kind.client_of else ""
            frames.append(part.assign(**{_CLASS: words, _CLIENT: client}))
            left -= len(part)
            if left <= 0:
                notes.append(f"{file.path}: only the first {rows} rows were read")
                break
    return concat(frames, ignore_index=True).fillna(""), notes


def _label_column(file: DataFile, names: list[str], kind: Kind, label: str) -> str:
    """The column of the labels; empty where the file's name tells the class."""
    if label and label not in names:
        raise DataError(f"{file.path}:1: no column {label!r}; the columns are {', '.join(names)[:300]}")
    column = label or next((name for name in kind.label if name in names), "")
    if not column and (kind.class_of is None or not kind.class_of(file)):
        tried = ", ".join(kind.label or USUAL_LABELS)
        raise DataError(f"{file.path}:1: no label column ({tried} were tried); name it by --label COLUMN")
    return column


def _chunks(file: DataFile, names: list[str]) -> Iterator[DataFrame]:
    everything = csvfile.Wanted(text=tuple(names))
    if _is_zeek(file):
        return iot23.flows(file, iot23.form_of(file), everything)
    return csvfile.read(file, names, everything)


def _numbered(words: Series) -> tuple[list[str], I64]:
    """The distinct words in natural order, and the number of each row's word."""
    from pandas import Index

    names = sorted({str(word) for word in words.unique()}, key=natural)
    return names, Index(names).get_indexer(Index(words)).astype(np.int64)


def _order(values: Series) -> F64 | None:
    """The column's numbers (NaN where missing or infinite is kept); None where most values are words."""
    from pandas import to_numeric

    numbers = to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    told = (values != "").to_numpy()
    return numbers if told.any() and np.isnan(numbers[told]).mean() < 0.5 else None


def _facts(values: Series, order: F64 | None) -> ColumnFacts:
    infinite = 0 if order is None else int(np.isinf(order).sum())
    return ColumnFacts(str(values.name), int((values == "").sum()), infinite, int(values.nunique()))


def _duplicates(frame: DataFrame, y: I64) -> tuple[int, int]:
    """Rows that repeat an earlier one, and rows whose equals have another class; by 64-bit hashes of the rows."""
    from pandas import Series
    from pandas.util import hash_pandas_object

    keys = hash_pandas_object(frame, index=False)
    kinds = Series(y).groupby(keys.to_numpy()).transform("nunique")
    return int(keys.duplicated().sum()), int((kinds > 1).sum())


def _clients(frame: DataFrame) -> tuple[tuple[str, int], ...]:
    counts = Counter(str(client) for client in frame[_CLIENT] if client)
    return tuple(sorted(counts.items(), key=lambda item: natural(item[0])))


def _shortcuts(
    columns: list[tuple[Series, F64 | None]], y: I64, classes: list[str], benign: str
) -> tuple[Shortcut, ...]:
    """All columns, marked ones first, then by how far above chance they are; none where there is one class."""
    from pandas import factorize

    if len(classes) < 2:
        return ()
    targets = {"class": y} if not benign else {"class": y, "attack": (y != classes.index(benign)).astype(np.int64)}
    found = []
    for values, order in columns:
        codes = factorize(values)[0].astype(np.int64)
        clean = None if order is None else np.where(np.isinf(order), np.nan, order)
        found.append(shortcut(str(values.name), codes, clean, targets, stream(0, "inspect", str(values.name))))
    ranks = {"LEAK": 0, "GROUPS": 1, "": 2}
    return tuple(sorted(found, key=lambda s: (ranks[s.mark], -_above_chance(s))))


def _above_chance(found: Shortcut) -> float:
    return (found.skill.balanced_accuracy - found.skill.chance) / (1 - found.skill.chance)
