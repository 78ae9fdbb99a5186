"""pcap and pcapng files as a stream of frames, in blocks of bounded size.

Classic pcap in micro- and nanoseconds, both byte orders, Kuznetzov's longer record header; pcapng (draft-ietf-opsawg-
pcapng) with its enhanced, simple and obsolete packet blocks, several interfaces and time resolutions, several
sections. A file is read in pieces of ``PIECE`` bytes: memory does not grow with its length.

Laws: for any bytes ``blocks`` yields or raises ``DataError`` (only when the file does not even begin like a capture);
a damaged or truncated file gives the frames before the damage, and ``Losses`` says how many bytes were left.
What it does not do: decode frames (traffic/decode.py), skip damage (a length that lies leaves no place to go on).
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from wardround.arrays import I32, I64, U8, U64
from wardround.drivers.sources.files import READ_ERRORS
from wardround.errors import DataError
from wardround.traffic.decode import PAD, Frames

PIECE = 1 << 20
LONGEST_FRAME = 1 << 18
"""Bytes: the longest frame that capture programs write (Wireshark's limit); a longer one is damage."""
LONGEST_BLOCK = 1 << 24
_SECTION, _INTERFACE, _OBSOLETE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 2, 3, 6
_MAGICS = {
    0xA1B2C3D4: (1000, 16),
    0xA1B23C4D: (1, 16),
    0xA1B2CD34: (1000, 24),  # the record header of Alexey Kuznetzov's libpcap is 8 bytes longer
}


@dataclass
class Losses:
    """What a file lost: ``bytes_left`` not read because of ``reason``; ``unknown`` packets of undeclared interfaces."""

    bytes_left: int = 0
    unknown: int = 0
    reason: str = ""


@dataclass
class _Window:
    """The part of the stream in memory: ``data`` from position ``at`` on is not used up."""

    stream: IO[bytes]
    data: bytearray = field(default_factory=bytearray)
    at: int = 0
    ended: bool = False
    trouble: str = ""

    def more(self, size: int = PIECE) -> bool:
        """Drop what is used up and read on; False at the end."""
        del self.data[: self.at]
        self.at = 0
        piece = b"" if self.ended else self._read(size)
        self.data += piece
        self.ended = not piece
        return bool(piece)

    def _read(self, size: int) -> bytes:
        """Up to ``size`` bytes; what came before trouble is kept."""
        some = getattr(self.stream, "read1", self.stream.read)  # gzip's read forgets what it has when the file is cut
        pieces: list[bytes] = []
        while size > 0:
            try:
                piece = some(size)
            except READ_ERRORS as error:
                self.trouble = f"cannot be read further: {error}"
                break
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def padded(self) -> U8:
        """A copy of the bytes in memory, followed by ``PAD`` zeros: arrays made of it do not hold this buffer."""
        return np.frombuffer(bytes(self.data) + bytes(PAD), dtype=np.uint8)

    def rest(self) -> int:
        """Bytes not used up, to the end of the stream."""
        left = len(self.data) - self.at
        self.at = len(self.data)
        while self.more():
            left += len(self.data)
            self.at = len(self.data)
        return left


def open_capture(path: Path) -> IO[bytes]:
    """The bytes of a capture file, unpacked where the name ends in ``.gz``.

    Raises:
        DataError: it cannot be opened.
    """
    try:
        return cast("IO[bytes]", gzip.open(path, "rb")) if path.name.endswith(".gz") else path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror}") from error


def blocks(stream: IO[bytes], losses: Losses, name: str = "capture") -> Iterator[Frames]:
    """The frames of the capture in ``stream``, piece by piece; ``losses`` is filled in as the file is read.

    Raises:
        DataError: the first bytes are those of no capture file.
    """
    window = _Window(stream)
    window.more()
    first = bytes(window.data[:4])
    if len(first) == 4 and struct.unpack("<I", first)[0] == _SECTION:
        yield from _pcapng(window, losses)
    elif len(window.data) >= 24 and (order := _order(first)):
        yield from _pcap(window, order, losses)
    else:
        raise DataError(f"{name}: not a pcap or pcapng file: it begins with {first.hex(' ') or 'nothing'}")
    losses.reason = losses.reason or window.trouble


def _order(magic: bytes) -> str:
    return next((order for order in "<>" if struct.unpack(f"{order}I", magic)[0] in _MAGICS), "")


def _pcap(window: _Window, order: str, losses: Losses) -> Iterator[Frames]:
    magic, link = struct.unpack_from(f"{order}I16xI", window.data)
    unit, header = _MAGICS[magic]
    window.at = 24
    while True:
        offsets, at, damage = _records(window.data, window.at, order, header)
        if offsets:
            yield _classic(window.padded(), np.array(offsets, np.int64), order, (unit, header, link & 0xFFFF))
            window.at = at
        if damage:
            losses.reason, losses.bytes_left = damage, window.rest()
            return
        if not window.more():
            losses.bytes_left = len(window.data)
            losses.reason = "the last record is cut off" if losses.bytes_left else ""
            return


def _records(data: bytearray, at: int, order: str, header: int) -> tuple[list[int], int, str]:
    """Where whole records start, where the first that is not whole starts, and what is wrong with it if anything."""
    length_at = struct.Struct(f"{order}I").unpack_from
    found: list[int] = []
    append, last = found.append, len(data) - header
    while at <= last:
        (length,) = length_at(data, at + 8)
        if length > LONGEST_FRAME:
            return found, at, f"a record claims {length} bytes"
        following = at + header + length
        if following > last + header:
            break
        append(at)
        at = following
    return found, at, ""


def _classic(data: U8, start: I64, order: str, form: tuple[int, int, int]) -> Frames:
    unit, header, link = form
    heads = _gathered(data, start, 16, order)
    captured = heads[:, 2].astype(np.int32)
    time = heads[:, 0].astype(np.int64) * 1_000_000_000 + heads[:, 1].astype(np.int64) * unit
    return Frames(data, time, start + header, captured, _wire(heads[:, 3], captured), link)


def _wire(length: Any, captured: I32) -> I32:
    """Length on the wire: never less than what was captured, never more than a frame can be."""
    shown: I32 = np.maximum(np.minimum(length.astype(np.int64), LONGEST_FRAME), captured).astype(np.int32)
    return shown


def _gathered(data: U8, at: I64, width: int, order: str) -> Any:
    """``width`` bytes at each of ``at`` [n] as 32-bit words [n, width / 4]."""
    overlapping: Any = np.ndarray((len(data) - width + 1,), dtype=f"V{width}", buffer=data, strides=(1,))
    return overlapping[at].view(f"{order}u4").reshape(len(at), width // 4)


@dataclass(frozen=True)
class _Interface:
    """``link`` type; a time unit is 10^-power s or, where ``binary``, 2^-power s; ``shift`` whole seconds are added."""

    link: int
    power: int = 6
    binary: bool = False
    shift: int = 0
    snap: int = 0


@dataclass
class _Section:
    """What the blocks since the last section header said."""

    order: str = "<"
    interfaces: list[_Interface] = field(default_factory=list)


def _pcapng(window: _Window, losses: Losses) -> Iterator[Frames]:
    section = _Section()
    while True:
        found, damage = _walk(window, section)
        if found:
            yield from _enhanced(window.padded(), found, section, losses)
        if found is not None and found.restart:
            continue
        if damage:
            losses.reason, losses.bytes_left = damage, window.rest()
            return
        if not window.more():
            losses.bytes_left = len(window.data)
            losses.reason = "the last block is cut off" if losses.bytes_left else ""
            return


@dataclass
class _Found:
    """Packet blocks of one piece: number of interface, where the time words, the two lengths and the frame lie.

    ``restart``: a section header or an interface follows, so these must be read before it.
    """

    interface: list[int] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    restart: bool = False

    def __bool__(self) -> bool:
        return bool(self.start)


def _walk(window: _Window, section: _Section) -> tuple[_Found, str]:
    """The packet blocks from ``window.at`` on, up to the end of what is in memory; what is wrong there, if anything."""
    found, data = _Found(), window.data
    heads = struct.Struct(f"{section.order}II").unpack_from
    while window.at + 12 <= len(data):
        kind, size = heads(data, window.at)
        if kind == _SECTION:
            if found:
                found.restart = True  # the byte order may change: first read what came before
                return found, ""
            order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(
                bytes(data[window.at + 8 : window.at + 12])
            )
            if order is None:
                return found, "a section header has no byte-order magic"
            section.order, section.interfaces = order, []
            heads = struct.Struct(f"{order}II").unpack_from
            kind, size = heads(data, window.at)
        if size < 12 or size > LONGEST_BLOCK:
            return found, f"a block claims {size} bytes"
        size += -size % 4
        if window.at + size > len(data):
            break
        if kind == _INTERFACE and size >= 20:
            section.interfaces.append(_interface(data, window.at, size, section.order))
        elif (
            (kind == _ENHANCED and size >= 32) or (kind == _OBSOLETE and size >= 32) or (kind == _SIMPLE and size >= 16)
        ):
            found.start.append(window.at)
            found.kind.append(kind)
            found.size.append(size)
        window.at += size
    return found, ""


def _interface(data: bytearray, at: int, size: int, order: str) -> _Interface:
    link, snap = struct.unpack_from(f"{order}H2xI", data, at + 8)
    power, binary, shift = 6, False, 0
    place, end = at + 16, at + size - 4
    while place + 4 <= end:
        code, length = struct.unpack_from(f"{order}HH", data, place)
        if code == 0 or place + 4 + length > end:
            break
        if code == 9 and length == 1:
            power, binary = data[place + 4] & 0x7F, bool(data[place + 4] & 0x80)
        elif code == 14 and length == 8:
            (shift,) = struct.unpack_from(f"{order}q", data, place + 4)
        place += 4 + length + -length % 4
    return _Interface(link, power, binary, shift, snap)


def _enhanced(data: U8, found: _Found, section: _Section, losses: Losses) -> Iterator[Frames]:
    start, kind, size = (np.array(x, np.int64) for x in (found.start, found.kind, found.size))
    simple, obsolete = kind == _SIMPLE, kind == _OBSOLETE
    words = _gathered(data, start + 8, 20, section.order)
    halves: Any = np.ndarray((len(data) - 1,), dtype="V2", buffer=data, strides=(1,))
    number = np.where(obsolete, halves[start + 8].view(f"{section.order}u2"), words[:, 0])
    number = np.where(simple, 0, number).astype(np.int64)
    known = number < len(section.interfaces)
    snaps = np.array([face.snap or LONGEST_FRAME for face in section.interfaces] or [0], np.int64)
    whole = words[:, 0].astype(np.int64)
    first = np.minimum(whole, np.minimum(snaps[0], size - 16))  # a simple block does not say what was captured
    captured = np.where(simple, first, words[:, 3].astype(np.int64))
    known &= (captured <= np.where(simple, size - 16, size - 32)) & (captured <= LONGEST_FRAME)
    losses.unknown += int((~known).sum())
    if not known.any():
        return
    ticks = words[:, 1].astype(np.uint64) << np.uint64(32) | words[:, 2]
    time = np.zeros(len(start), np.int64)
    link = np.zeros(len(start), np.int32)
    for i, face in enumerate(section.interfaces):
        mine = number == i
        time[mine] = _nanoseconds(ticks[mine], face)
        link[mine] = face.link
    time[simple] = 0
    offset = start + np.where(simple, 12, 28)
    wire = np.where(simple, whole, words[:, 4])
    k = np.flatnonzero(known)
    links = np.unique(link[k])
    yield Frames(
        data,
        time[k],
        offset[k],
        captured[k].astype(np.int32),
        _wire(wire[k], captured[k].astype(np.int32)),
        int(links[0]) if len(links) == 1 else link[k],
    )


def _nanoseconds(ticks: U64, face: _Interface) -> I64:
    """Ticks as nanoseconds since 1970, whole numbers all the way; nonsense ends at the year 2116."""
    if face.binary:
        power = min(face.power, 33)  # finer ticks are first made coarser
        ticks = ticks >> np.uint64(min(face.power - power, 63))
        whole = np.minimum(ticks >> np.uint64(power), np.uint64(1 << 32))
        part = (ticks & np.uint64((1 << power) - 1)) * np.uint64(10**9)
        found = whole * np.uint64(10**9) + (part >> np.uint64(power))
    elif face.power <= 9:
        factor = 10 ** (9 - face.power)
        found = np.minimum(ticks, np.uint64((1 << 62) // factor)) * np.uint64(factor)
    else:
        found = ticks // np.uint64(10 ** min(face.power - 9, 19))
    shift = max(-(1 << 32), min(1 << 32, face.shift)) * 1_000_000_000
    shifted: I64 = np.minimum(found, np.uint64((1 << 62) - abs(shift))).astype(np.int64) + np.int64(shift)
    return shifted
