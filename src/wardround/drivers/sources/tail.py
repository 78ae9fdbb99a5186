"""Lines of a log file, to its end or for ever: survives rotation, truncation and a restart of the reader.

While following, a file that was renamed away (another inode under its name) is read to its end first, a truncated one
from its start. ``Tail.position`` can be kept by the caller and given back after a restart.
Law: every complete line is given once, in order; a last line without an end is given only when the file is not followed.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from wardround.drivers.sources.files import READ_ERRORS
from wardround.errors import DataError

PIECE = 1 << 20
LONGEST_LINE = 1 << 22
_PATIENCE = 0.25


@dataclass(frozen=True)
class Position:
    """The file (by inode) and the byte behind the last line that was given."""

    inode: int = 0
    offset: int = 0


@dataclass
class Tail:
    """Lines of ``path``. ``follow``: go on until ``stop`` says so, as more is written. ``overlong``: lines given up."""

    path: Path
    follow: bool = False
    stop: Callable[[], bool] = lambda: False
    position: Position = Position()
    overlong: int = 0
    pause: Callable[[float], None] = time.sleep
    _rest: bytes = field(default=b"", init=False)

    def __iter__(self) -> Iterator[list[bytes]]:
        """Lists of lines without their ends; an empty list while nothing comes.

        Raises:
            DataError: the file cannot be read, and is not waited for.
        """
        while not self.stop():
            try:
                with self._open() as stream:
                    yield from self._read(stream)
            except FileNotFoundError as error:
                if not self.follow:
                    raise DataError(f"{self.path}: no such file") from error
                yield []
                self.pause(_PATIENCE)
            except READ_ERRORS as error:
                raise DataError(f"{self.path}: cannot be read: {error}") from error
            if not self.follow:
                return

    def _open(self) -> IO[bytes]:
        if self.path.name.endswith(".gz"):
            return gzip.open(self.path, "rb")  # type: ignore[return-value]
        stream = self.path.open("rb")
        status = self.path.stat()
        if status.st_ino != self.position.inode or status.st_size < self.position.offset:
            self.position = Position(status.st_ino, 0)
        stream.seek(self.position.offset)
        self._rest = b""
        return stream

    def _read(self, stream: IO[bytes]) -> Iterator[list[bytes]]:
        """To the end of this file: when following, until another one stands under its name and this one is used up."""
        while not self.stop():
            piece = stream.read(PIECE)
            if piece:
                yield self._lines(piece)
                continue
            if not self.follow:
                if self._rest:
                    yield [self._rest]
                return
            if self._replaced():
                return
            yield []
            self.pause(_PATIENCE)

    def _lines(self, piece: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            self._rest, self.overlong = b"", self.overlong + 1
        used = sum(map(len, lines)) + len(lines)
        self.position = Position(self.position.inode, self.position.offset + used)
        return lines

    def _replaced(self) -> bool:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return False  # renamed away and not yet made again
        return status.st_ino != self.position.inode or status.st_size < self.position.offset
