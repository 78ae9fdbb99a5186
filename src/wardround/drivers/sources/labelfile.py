"""What is what in a capture: a label file beside it, ``X.pcap.labels.csv`` (or ``.csv.gz``), in one of two forms.

    first,count,label          packets first .. first + count - 1 (from 0), run after run; further columns are left unread
    start,end,device,label     Unix seconds, start <= time < end; device: a MAC, an address, or * for all

What no line names is ``Benign``. Where intervals overlap, the later line holds.
What it does not do: decide what a window is (capture.py).
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wardround.arrays import F64, I16, I64, Bool
from wardround.drivers.sources.eve import address, mac_number
from wardround.drivers.sources.files import READ_ERRORS
from wardround.errors import DataError
from wardround.traffic.flows import Flows
from wardround.traffic.packets import Packets

BENIGN = "Benign"
_RUNS, _INTERVALS = ("first", "count", "label"), ("start", "end", "device", "label")
Code = Callable[[str], int | None]


@dataclass(frozen=True, eq=False)
class Runs:
    """Codes of packet numbers: ``first`` [k] ascending, ``last`` [k] (exclusive), ``code`` [k]."""

    first: I64
    last: I64
    code: I64

    def packets(self, start: int, packets: Packets) -> I16:
        """Codes [n] of a batch whose first packet has the number ``start``; 0 where nothing is said."""
        number = np.arange(start, start + len(packets))
        place = np.searchsorted(self.first, number, side="right") - 1
        said = (place >= 0) & (number < self.last[place])
        return np.where(said, self.code[place], 0).astype(np.int16)


@dataclass(frozen=True, eq=False)
class Intervals:
    """Codes of times and devices. ``mac`` [k] (0: none), ``address`` [k, 2] (0: none); neither: all devices."""

    start: I64
    end: I64
    mac: I64
    address: I64
    code: I64

    def packets(self, start: int, packets: Packets) -> I16:
        """Codes [n] of a batch."""
        del start
        found = np.zeros(len(packets), np.int16)
        for i in self._near(packets.time, packets.time):
            inside = (packets.time >= self.start[i]) & (packets.time < self.end[i])
            found[inside & self._mine(i, packets)] = self.code[i]
        return found

    def flows(self, flows: Flows) -> I64:
        """Codes [n] of records: those that began inside."""
        found = np.zeros(len(flows), np.int64)
        for i in self._near(flows.start, flows.start):
            inside = (flows.start >= self.start[i]) & (flows.start < self.end[i])
            found[inside & self._mine(i, flows)] = self.code[i]
        return found

    def _near(self, start: I64, end: I64) -> I64:
        if not len(start):
            return np.empty(0, np.int64)
        return np.flatnonzero((self.start <= end.max()) & (self.end > start.min()))

    def _mine(self, i: int, batch: Packets | Flows) -> Bool:
        mac, address = self.mac[i], self.address[i].view(np.uint64)
        if mac:
            by_mac: Bool = (batch.source_mac == mac) | (batch.target_mac == mac)
            return by_mac
        if not address.any():
            return np.ones(len(batch), np.bool_)
        found: Bool = (batch.source == address).all(1) | (batch.target == address).all(1)
        return found


def beside(path: Path) -> Path | None:
    """The label file of a capture or log, None where there is none."""
    names = (path.name + ".labels.csv", path.name + ".labels.csv.gz")
    return next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)


def read(path: Path, code: Code) -> Runs | Intervals:
    """The labels in ``path``; ``code`` gives a word's class code, or None where it is no class.

    Raises:
        DataError: the file cannot be read, or a line is not as its header says; names line and column.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
        lines = io.StringIO(data.decode("utf-8-sig")).read().splitlines()
    except (*READ_ERRORS, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    head = tuple(lines[0].strip().split(",")) if lines else ()
    if head[:3] == _RUNS:
        return _runs(path, lines[1:], code)
    if head[:4] == _INTERVALS:
        return _intervals(path, lines[1:], code)
    raise DataError(
        f"{path}:1: a label file begins with {','.join(_RUNS)} or {','.join(_INTERVALS)}, not {','.join(head)!r}"
    )


def _runs(path: Path, lines: list[str], code: Code) -> Runs:
    rows: list[tuple[int, int, int]] = []
    known: dict[str, int] = {}
    for number, line in enumerate(lines, 2):
        fields = line.split(",")
        try:
            first, count, word = int(fields[0]), int(fields[1]), fields[2]
        except (ValueError, IndexError) as error:
            raise DataError(f"{path}:{number}: first and count must be whole numbers: {line[:80]!r}") from error
        if rows and first < rows[-1][1]:
            raise DataError(f"{path}:{number}: packet {first} was named before; runs must be in order")
        if word not in known:
            known[word] = _known(path, number, word, code)
        rows.append((first, first + count, known[word]))
    table = np.array(rows, np.int64).reshape(-1, 3)
    return Runs(table[:, 0], table[:, 1], table[:, 2]) if rows else Runs(*(np.array([0], np.int64) for _ in range(3)))


def _intervals(path: Path, lines: list[str], code: Code) -> Intervals:
    times: list[tuple[float, float]] = []
    ends: list[tuple[int, int, int]] = []
    codes: list[int] = []
    for number, line in enumerate(lines, 2):
        fields = [field.strip() for field in line.split(",")]
        try:
            start, end, device, word = float(fields[0]), float(fields[1]), fields[2], fields[3]
            times.append((start, end))
            ends.append(_end(device))
        except (ValueError, IndexError) as error:
            raise DataError(f"{path}:{number}: needs start,end,device,label: {line[:80]!r} ({error})") from error
        codes.append(_known(path, number, word, code))
    moments: F64 = np.array(times, np.float64).reshape(-1, 2)
    places = np.array(ends, np.uint64).reshape(-1, 3).view(np.int64)
    seconds = np.clip(moments, -(2.0**32), 2.0**33) * 1e9
    begin, end_ = seconds.astype(np.int64).T
    return Intervals(begin, end_, places[:, 0], places[:, 1:].copy(), np.array(codes, np.int64))


def _end(device: str) -> tuple[int, int, int]:
    if device in ("", "*"):
        return 0, 0, 0
    if device.count(":") == 5 and len(device) == 17:
        return mac_number(device), 0, 0
    return 0, *address(device)


def _known(path: Path, number: int, word: str, code: Code) -> int:
    found = code(word.strip())
    if found is None:
        raise DataError(f"{path}:{number}: column 'label': {word[:60]!r} is not a class")
    return found
