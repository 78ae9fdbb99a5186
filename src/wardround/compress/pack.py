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

import zstandard

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
