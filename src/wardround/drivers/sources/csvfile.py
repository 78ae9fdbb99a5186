"""Delimited text files to columns, with one clear error for a bad one.

The fast way is pandas' C parser in chunks, with every wanted column's type fixed beforehand, so that a chunk's
content never decides a type. When it fails, or when a row may have been cut short, the slow way walks the file
again with the csv module and raises the error that names file, line and column.

Law: for arbitrary bytes, ``read`` yields frames or raises ``DataError``, nothing else.
What it does not do: know any data set, encode (encode.py), repair.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from wardround.drivers.sources.files import READ_ERRORS, DataFile
from wardround.errors import DataError

if TYPE_CHECKING:
    from pandas import DataFrame

CHUNK_ROWS = 100_000
FIELD_LIMIT = 1 << 20
MISSING = ("", "nan", "NaN", "NAN", "null", "NULL", "None")


@dataclass(frozen=True)
class Dialect:
    """How the text is cut into fields: ``delimiter``; ``quoted`` fields or none; extra words for ``missing``;
    ``comment`` starts a line that is not a row (Zeek's ``#close``).
    """

    delimiter: str = ","
    quoted: bool = True
    missing: tuple[str, ...] = ()
    comment: str | None = None

    @property
    def quoting(self) -> Any:
        return csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE


COMMA = Dialect()


@dataclass(frozen=True)
class Place:
    """A column of a file, for errors about what stands in it; ``dialect`` and ``skip`` as in ``read``."""

    file: DataFile
    column: str
    dialect: Dialect = COMMA
    skip: int = 1

    def error(self, row: int, said: str) -> DataError:
        """The error for the field in ``row`` (from 0); the file is walked again to find its line."""
        reader_row, line = -1, self.skip
        with self.file.text() as text:
            for _ in range(self.skip):
                text.readline()
            reader = csv.reader(text, delimiter=self.dialect.delimiter, quoting=self.dialect.quoting)
            for fields in reader:
                blank = not fields or (self.dialect.comment and fields[0].startswith(self.dialect.comment))
                reader_row += not blank
                if reader_row == row:
                    break
                line = self.skip + reader.line_num
        return DataError(f"{self.file.path}:{line + 1}: column {self.column!r}: {said}")


@dataclass(frozen=True)
class Wanted:
    """Which columns are read and as what. ``numeric`` must hold numbers (or be missing); ``text`` is kept as it
    stands, a missing one as ""; ``optional`` may be absent from the file. All others are passed over unread.
    """

    numeric: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


def header(file: DataFile, dialect: Dialect = COMMA) -> list[str]:
    """The column names of the first line, stripped of blanks and of a byte-order mark.

    Raises:
        DataError: the file is empty, damaged, not text, or names a column twice.
    """
    try:
        with file.text() as text:
            line = text.readline(FIELD_LIMIT)
    except (*READ_ERRORS, UnicodeDecodeError) as error:
        raise damaged(file, 1, error) from error
    return names_of(file, line, dialect)


def names_of(file: DataFile, line: str, dialect: Dialect) -> list[str]:
    """The names in the header ``line``.

    Raises:
        DataError: there are none, or one stands there twice.
    """
    if not line.strip():
        raise DataError(f"{file.path}:1: the file is empty; a header line was expected")
    try:
        fields = next(csv.reader([line], delimiter=dialect.delimiter, quoting=dialect.quoting))
    except csv.Error as error:
        raise DataError(f"{file.path}:1: not a header line: {error}") from error
    names = [name.strip() for name in fields]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{file.path}:1: column {twice[0][:60]!r} stands in the header twice")
    return [name or f"unnamed {index}" for index, name in enumerate(names)]


def require(file: DataFile, names: list[str], wanted: Wanted, title: str) -> None:
    """Refuse a header that lacks a wanted column.

    Raises:
        DataError: naming the missing columns and what stands there instead.
    """
    lacking = [c for c in (*wanted.numeric, *wanted.text) if c not in names and c not in wanted.optional]
    if lacking:
        shown = ", ".join(repr(c) for c in lacking[:5]) + (", ..." if len(lacking) > 5 else "")
        raise DataError(
            f"{file.path}:1: not {title}: {len(lacking)} column(s) missing: {shown}; "
            f"the header has {len(names)} columns, beginning {', '.join(repr(n[:30]) for n in names[:4])}"
        )


def read(
    file: DataFile, names: list[str], wanted: Wanted, dialect: Dialect = COMMA, skip: int = 1
) -> Iterator[DataFrame]:
    """Chunks of the wanted columns (numeric as float64, text as stripped str). ``names`` are the columns of the
    file in order; ``skip`` lines stand above the rows.

    Raises:
        DataError: a row, field or byte that cannot be read, with its line and column; or no row at all.
    """
    from pandas.errors import ParserError

    rows, walked = 0, False
    numeric, text = _present(wanted.numeric, names), _present(wanted.text, names)
    try:
        with file.open() as raw, warnings.catch_warnings():
            warnings.simplefilter("error")  # a row longer than the header is only a warning to pandas
            for chunk in _parser(raw, names, numeric, dialect, skip):
                if not walked and chunk[names[-1]].isna().any():
                    _diagnose(file, names, wanted, dialect, skip)  # a row cut short ends in missing fields
                    walked = True
                rows += len(chunk)
                frame = chunk[[*numeric, *text]].copy()
                for column in text:
                    frame[column] = frame[column].fillna("").str.strip()
                yield frame
    except (*READ_ERRORS, ValueError, ParserError, Warning, OverflowError, MemoryError) as error:
        _diagnose(file, names, wanted, dialect, skip)
        raise DataError(f"{file.path}: cannot be read: {error}") from error
    if rows == 0:
        raise DataError(f"{file.path}:{skip + 1}: no rows below the header")


def _parser(raw: IO[bytes], names: list[str], numeric: list[str], dialect: Dialect, skip: int) -> Iterator[DataFrame]:
    """Pandas' C parser with every column's type fixed beforehand."""
    from pandas import read_csv

    types: dict[str, Any] = dict.fromkeys(names, "str") | dict.fromkeys(numeric, "float64")
    with read_csv(
        raw,
        sep=dialect.delimiter,
        quoting=dialect.quoting,
        comment=dialect.comment,
        encoding="utf-8",
        header=None,
        names=names,
        skiprows=skip,
        index_col=False,
        dtype=types,
        keep_default_na=False,
        na_values=[*MISSING, *dialect.missing],
        chunksize=CHUNK_ROWS,
        low_memory=False,
    ) as chunks:
        yield from chunks


def damaged(file: DataFile, line: int, error: BaseException) -> DataError:
    """The error for bytes that cannot be had or are not text."""
    if isinstance(error, UnicodeDecodeError):
        return DataError(
            f"{file.path}:{line}: not a text file: {error.reason} (byte 0x{error.object[error.start]:02x})"
        )
    if isinstance(error, EOFError):
        return DataError(f"{file.path}:{line}: the compressed file ends too early; download it again")
    return DataError(f"{file.path}:{line}: the file is damaged: {error}; download it again")


def _present(columns: tuple[str, ...], names: list[str]) -> list[str]:
    return [column for column in columns if column in names]


def _diagnose(file: DataFile, names: list[str], wanted: Wanted, dialect: Dialect, skip: int) -> None:
    """Walk the file slowly and raise for the first thing that is wrong; return where nothing is."""
    missing = {*MISSING, *dialect.missing}
    numeric = [(names.index(c), c) for c in _present(wanted.numeric, names)]
    line = skip
    try:
        with file.text() as text:
            for _ in range(skip):
                text.readline()
            reader = csv.reader(text, delimiter=dialect.delimiter, quoting=dialect.quoting)
            for fields in reader:
                line, at = skip + reader.line_num, line + 1
                if not fields or (dialect.comment and fields[0].startswith(dialect.comment)):
                    continue
                if len(fields) != len(names):
                    raise DataError(f"{file.path}:{at}: {_short_row(fields, names)}")
                for index, column in numeric:
                    _number(fields[index], column, missing, f"{file.path}:{at}")
    except csv.Error as error:
        raise DataError(f"{file.path}:{line + 1}: not a row: {error}") from error
    except (*READ_ERRORS, UnicodeDecodeError) as error:
        raise damaged(file, line + 1, error) from error


def _short_row(fields: list[str], names: list[str]) -> str:
    if len(fields) < len(names):
        return (
            f"column {names[len(fields)]!r}: the row stops after {len(fields)} of {len(names)} fields; is it cut off?"
        )
    return f"column {names[-1]!r}: the row has {len(fields)} fields, the header {len(names)}"


def _number(value: str, column: str, missing: set[str], place: str) -> None:
    if value.strip() in missing:
        return
    try:
        float(value)
    except ValueError:
        raise DataError(f"{place}: column {column!r}: {value[:40]!r} is not a number") from None
