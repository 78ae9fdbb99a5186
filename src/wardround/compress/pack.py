"""zstd over a finished encoding, kept only where it is shorter (RFC 8878; Collet).

It pays behind ``int`` on dense vectors, whose numbers crowd around zero, and does not behind Rice codes, signs or EDEN, whose
bits are already close to random (docs/reference/codecs.md has figures).

    wire      0 | the bytes as they were      or      1 | one zstd frame that says its size

Law: ``unpack(pack(b)) == b``; unpacking stops at the length the receiver expects, whatever the frame claims. The frame's
bytes may differ between versions of the zstd library; what is unpacked does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import zstandard

from wardround.arrays import F64
from wardround.compress.codec import Size
from wardround.errors import DecodeError

_WINDOW = 1 << 27


@dataclass(frozen=True)
class Zstd:
    """Lossless zstd over the chain's bytes where that is shorter; always the last codec.

    Attributes:
        level: 1 (fast) to 19 (small).
    """

    name: ClassVar[str] = "zstd"
    linear: ClassVar[Literal[False]] = False
    lossless: ClassVar[Literal[True]] = True
    level: int = 9

    def __post_init__(self) -> None:
        if not 1 <= self.level <= 19:
            raise ValueError(f"level must be 1 to 19, not {self.level}")

    def size(self, inner: Size) -> Size:
        return Size(1, inner.expected + 1, inner.most + 1)

    def pack(self, data: bytes) -> bytes:
        coder = zstandard.ZstdCompressor(level=self.level, write_checksum=False)
        frame = coder.compress(data)
        return b"\x01" + frame if len(frame) < len(data) else b"\x00" + data

    def unpack(self, data: bytes, inner: Size) -> bytes:
        if len(data) > inner.most + 1:
            raise DecodeError(f"{len(data)} bytes, at most {inner.most + 1} are due")
        if data[:1] == b"\x00":
            return data[1:]
        if data[:1] != b"\x01":
            raise DecodeError("the first byte says neither plain nor zstd")
        return _inflate(data[1:], inner.most)


def pack_counts(counts: F64) -> bytes:
    """Counts [n] without loss: the bytes of equal weight side by side, then one zstd frame. Most bytes of counts are zero."""
    planes = np.frombuffer(counts.astype("<f8").tobytes(), np.uint8).reshape(-1, 8).T
    return zstandard.ZstdCompressor(level=9, write_checksum=False).compress(planes.tobytes())


def unpack_counts(data: bytes, count: int) -> F64:
    """The ``count`` counts that ``pack_counts`` made ``data`` of.

    Raises:
        DecodeError: damaged, or another number of counts.
    """
    raw = _inflate(data, 8 * count)
    if len(raw) != 8 * count:
        raise DecodeError(f"{count} counts are {8 * count} bytes, not {len(raw)}")
    planes = np.frombuffer(raw, np.uint8).reshape(8, -1).T
    return np.frombuffer(np.ascontiguousarray(planes).tobytes(), "<f8").astype(np.float64)


def _inflate(frame: bytes, most: int) -> bytes:
    """The one frame's content; its claimed length is compared with ``most`` before anything is allocated."""
    try:
        claimed = zstandard.frame_content_size(frame)
        if not 0 <= claimed <= most:
            raise DecodeError(f"a zstd frame of {claimed} bytes, at most {most} are due")
        decoder = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        return decoder.decompress(frame, max_output_size=claimed, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise DecodeError("not one zstd frame") from error
