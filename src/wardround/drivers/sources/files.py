"""Where the files of a data set are: a folder as downloaded, or an archive beside it, read in memory.

``find`` tries a data set's patterns in order and returns the files of the first that matches; when none does, the
error lists every place it looked. An archive's members are never written to disk: links, devices and other odd
members are passed over, names are only compared with patterns, and the unpacked size is capped, so a hostile
archive can cost at most ``ARCHIVE_LIMIT_BYTES`` of memory.
What it does not do: download anything, or read what is inside the files (csvfile.py).
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, cast

from wardround.errors import DataError

ARCHIVE_LIMIT_BYTES = 1 << 30
READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError)
"""Everything a damaged or unreadable file may raise while its bytes are read."""


@dataclass(frozen=True)
class DataFile:
    """One file of a data set. ``path`` is shown in errors (``archive!member`` inside an archive); ``name`` is its
    base name; ``content`` holds the bytes of an archive's member, None for a file on disk.
    """

    path: str
    name: str
    content: bytes | None = field(default=None, repr=False)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Its bytes, unpacked where the name ends in ``.gz``.

        Raises:
            DataError: the file cannot be opened.
        """
        try:
            raw = Path(self.path).open("rb") if self.content is None else io.BytesIO(self.content)  # noqa: SIM115  closed below
        except OSError as error:
            raise DataError(f"{self.path}: cannot be opened: {error.strerror}") from error
        with raw:
            if self.name.endswith(".gz"):
                with gzip.open(raw, "rb") as unpacked:
                    yield cast("IO[bytes]", unpacked)
            else:
                yield raw

    @contextmanager
    def text(self) -> Iterator[io.TextIOWrapper]:
        """Its text (UTF-8, a byte-order mark passed over), lines as they stand.

        Raises:
            DataError: the file cannot be opened.
        """
        with self.open() as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as text:
            yield text


@dataclass(frozen=True)
class Layout:
    """Where a data set's files may lie: globs below the data folder, tried in order (``a|b``: both together), and
    archives with a pattern for their members. ``advice`` says where to get the data set.
    """

    title: str
    patterns: tuple[str, ...]
    archives: tuple[str, ...] = ()
    members: str = ""
    advice: str = ""


def find(folder: Path, layout: Layout) -> list[DataFile]:
    """The files of the first pattern of ``layout`` that matches below ``folder``, in natural order of their paths
    (2 before 10); a ``folder`` that is a file is that one file, or its members if it is an archive.

    Raises:
        DataError: the folder does not exist, nothing matches, or an archive is damaged.
    """
    if folder.is_file():
        return _members(folder, layout) if _is_archive(folder) else [on_disk(folder)]
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one with your downloads by --data DIR or WARDROUND_DATA")
    for pattern in layout.patterns:
        found = {path for part in pattern.split("|") for path in folder.glob(part) if path.is_file()}
        if found:
            return [on_disk(path) for path in sorted(found, key=lambda path: natural(str(path)))]
    for pattern in layout.archives:
        for archive in sorted(folder.glob(pattern)):
            return _members(archive, layout)
    looked = ", ".join((*layout.patterns, *layout.archives))
    raise DataError(f"{folder}: no {layout.title} here; looked for: {looked}. {layout.advice}".rstrip())


def on_disk(path: Path) -> DataFile:
    """The file ``path`` as it lies on disk."""
    return DataFile(str(path), path.name)


def natural(text: str) -> tuple[tuple[int, str], ...]:
    """A sort key in which numbers compare as numbers: capture 8 stands before capture 20."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text) if part)


def _is_archive(path: Path) -> bool:
    return path.name.endswith((".tar.xz", ".tar.gz", ".tar"))


def _members(archive: Path, layout: Layout) -> list[DataFile]:
    """The regular members that match ``layout.members``, read into memory."""
    found, left = [], ARCHIVE_LIMIT_BYTES
    try:
        # stream mode: members come one after the other and nothing is sought, so the cap holds for any archive
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                left -= member.size
                if left < 0:
                    raise DataError(
                        f"{archive}: unpacks to more than {ARCHIVE_LIMIT_BYTES >> 30} GiB; unpack it yourself"
                    )
                stream = tar.extractfile(member)
                if stream is not None and fnmatchcase(member.name, layout.members):
                    name = member.name.rsplit("/", 1)[-1]
                    found.append(DataFile(f"{archive}!{member.name}", name, stream.read()))
    except READ_ERRORS as error:
        raise DataError(f"{archive}: damaged archive: {error}; download it again") from error
    if not found:
        raise DataError(f"{archive}: holds no {layout.members}; is this the {layout.title} archive?")
    return sorted(found, key=lambda file: natural(file.path))
