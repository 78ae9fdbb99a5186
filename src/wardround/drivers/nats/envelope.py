"""What the broker carries: a notice that a message waits, its body in parts, an answer in parts, a sign of life.

A body is named by its SHA-256, so that one that goes to a thousand gateways is stored once and a damaged one is refused.
Law: ``join(split(body)) == body``; parts in any order, repeated or of several bodies at once give each body exactly once.
What it does not do: encode asks and answers (federation/messages.py), protect them (layer 2).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from wardround.errors import RemoteProtocolError
from wardround.wire import message

PART_BYTES = 512 * 1024  # a broker refuses messages above 1 MiB by default
MAX_PARTS = 4096  # 2 GiB


@message(0x4E01)
@dataclass(frozen=True)
class Notice:
    """To one peer: a message of ``turn`` of ``run`` waits; fetch ``parts`` parts of the body ``digest``.

    ``record`` is the sealed word on that body for this peer alone (secured.py).
    """

    run: str
    turn: int
    digest: bytes
    parts: int
    record: bytes = b""

    def __post_init__(self) -> None:
        if not 1 <= self.parts <= MAX_PARTS or len(self.digest) != 32:
            raise ValueError(f"{self.parts} parts and a digest of {len(self.digest)} bytes")

    @property
    def body(self) -> str:
        """The body's name in subjects."""
        return self.digest.hex()[:32]


@message(0x4E02)
@dataclass(frozen=True)
class Part:
    """One part of a gateway's answer."""

    run: str
    turn: int
    digest: bytes
    number: int
    parts: int
    data: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.parts <= MAX_PARTS:
            raise ValueError(f"part {self.number} of {self.parts}")


@message(0x4E03)
@dataclass(frozen=True)
class Presence:
    """A gateway's sign of life; ``leaving``: it is going down and should not be invited; ``session``: its session's id;
    ``sent_ms``: how long its answer to ``turn`` was on the way, round trips left out; -1: it does not know.
    """

    version: str
    run: str
    turn: int
    busy: bool
    leaving: bool
    session: bytes = b""
    sent_ms: int = -1


def digest_of(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def split(body: bytes) -> list[bytes]:
    """``body`` in parts that a broker takes; an empty body is one empty part."""
    return [body[at : at + PART_BYTES] for at in range(0, max(len(body), 1), PART_BYTES)]


def answer_parts(run: str, turn: int, body: bytes) -> list[Part]:
    pieces, digest = split(body), digest_of(body)
    return [Part(run, turn, digest, number, len(pieces), piece) for number, piece in enumerate(pieces)]


def join(pieces: list[bytes], digest: bytes) -> bytes:
    """The body of ``digest``.

    Raises:
        RemoteProtocolError: the pieces are not that body.
    """
    body = b"".join(pieces)
    if digest_of(body) != digest:
        raise RemoteProtocolError(f"a body of {len(body)} bytes is not the one its notice names")
    return body


class Assembly:
    """One peer's answer as its parts come in; a newer one takes the place of an unfinished one."""

    def __init__(self) -> None:
        self._key: tuple[str, int, bytes, int] | None = None
        self._pieces: dict[int, bytes] = {}

    def add(self, part: Part) -> bytes | None:
        """The whole body once its last part is here, else None.

        Raises:
            RemoteProtocolError: the parts do not make the body they announce.
        """
        key = (part.run, part.turn, part.digest, part.parts)
        if self._key != key:
            self._key, self._pieces = key, {}
        self._pieces[part.number] = part.data
        if len(self._pieces) < part.parts:
            return None
        self._key, pieces = None, self._pieces
        self._pieces = {}
        return join([pieces[i] for i in range(part.parts)], part.digest)
