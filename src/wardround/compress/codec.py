"""What a codec is: five kinds of stage, and the order in which a chain may hold them.

    error feedback?  ->  linear maps*  ->  selector?  ->  quantiser?  ->  packer?
    (client's memory)    (public: all     (client's own  (values ->     (bytes ->
                          clients alike)   coordinates)   bytes)         bytes)

Only linear maps may stand under a secure sum, because only for them the sum of what clients send says the sum of what
they hold. Linearity is part of the type: ``LinearCodec`` is a protocol of its own, and chain.LinearChain takes no other.

Laws of every kind (tests/laws/test_compress_*.py): a decoded vector has the length that was encoded; what is random is
drawn from the stream passed in, so equal streams give equal bytes; a decoder takes any bytes and answers with a vector or
``DecodeError``, and allocates no more than the length it expects, which the receiver knows beforehand.
What it does not do: know rounds, messages or machines (federation/).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, TypeAlias

import numpy as np

from wardround.arrays import F32, I64, U8, U64
from wardround.params import Layout
from wardround.wire import message


@dataclass(frozen=True)
class Size:
    """Bytes of an encoding before it is made: all three are equal where the length does not depend on the values."""

    least: int
    expected: int
    most: int

    @classmethod
    def exactly(cls, count: int) -> Size:
        return cls(count, count, count)

    def __add__(self, other: Size) -> Size:
        return Size(self.least + other.least, self.expected + other.expected, self.most + other.most)


def _no_levels() -> U8:
    return np.zeros(0, dtype=np.uint8)


def _no_factor() -> F32:
    return np.zeros(0, dtype=np.float32)


@message(0x4801)
@dataclass(frozen=True, eq=False)
class Public:
    """What everyone in the federation knows about the model's past, learned from the models the server announced.

    ``levels`` [d]: running size of each coordinate's changes in 256 logarithmic steps, or empty; ``factor``: the bases
    of a low-rank map, or empty; ``turn``: how many models were learned from. It is a function of announced models alone: a
    server that wants to single out a coordinate would have to announce a model that does.
    """

    levels: U8 = field(default_factory=_no_levels)
    factor: F32 = field(default_factory=_no_factor)
    turn: int = 0


class LinearMap(Protocol):
    """One round's public linear map. Laws: ``forward(a + b) == forward(a) + forward(b)``; leading axes are kept."""

    @property
    def inputs(self) -> int: ...
    @property
    def outputs(self) -> int: ...

    def forward(self, v: F32) -> F32:
        """[..., inputs] -> [..., outputs]."""
        ...

    def backward(self, z: F32) -> F32:
        """[..., outputs] -> [..., inputs]: the server's reading of a sum or a mean."""
        ...


class LinearCodec(Protocol):
    """A stage that every client of the round applies alike; the only kind allowed under a secure sum.

    ``shrinks``: what it sends is never more than what it was given, so error feedback may stand around it;
    ``biased``: backward(forward(v)) is not v on average over the rounds' draws.
    """

    name: ClassVar[str]
    linear: ClassVar[Literal[True]]

    @property
    def biased(self) -> bool: ...
    @property
    def shrinks(self) -> bool: ...

    def init(self, layout: Layout) -> Public | None:
        """Public state before the first round; None where the map needs none."""
        ...

    def outputs(self, layout: Layout, turn: int = 0) -> int:
        """Values that remain of a vector of ``layout`` where the public state is at ``turn``."""
        ...

    def plan(self, public: Public, round_id: bytes, layout: Layout) -> LinearMap:
        """The map of the round ``round_id``."""
        ...

    def learn(self, public: Public, applied: LinearMap, difference: F32) -> Public:
        """Public state after the model moved by ``difference`` [inputs]."""
        ...


class Selector(Protocol):
    """A stage by which each client keeps coordinates of its own choice: not linear."""

    name: ClassVar[str]
    linear: ClassVar[Literal[False]]
    biased: ClassVar[bool]

    def most(self, n: int) -> int:
        """Largest number of coordinates kept of ``n``."""
        ...

    @property
    def fixed(self) -> bool:
        """Whether exactly ``most(n)`` are kept; else their number travels in the message."""
        ...

    def select(self, z: F32) -> I64:
        """Positions kept of z [n], ascending."""
        ...


class Quantiser(Protocol):
    """A stage that ends in bytes."""

    name: ClassVar[str]
    linear: ClassVar[Literal[False]]

    @property
    def biased(self) -> bool: ...

    def size(self, n: int) -> Size:
        """Bytes for ``n`` values."""
        ...

    def encode(self, z: F32, rng: np.random.Generator) -> bytes:
        """z [n], finite -> bytes."""
        ...

    def decode(self, data: bytes, n: int) -> F32:
        """Bytes -> [n].

        Raises:
            DecodeError: these bytes are no encoding of ``n`` values.
        """
        ...


class Packer(Protocol):
    """A lossless stage over bytes, always the last."""

    name: ClassVar[str]
    linear: ClassVar[Literal[False]]
    lossless: ClassVar[Literal[True]]

    def size(self, inner: Size) -> Size: ...
    def pack(self, data: bytes) -> bytes: ...
    def unpack(self, data: bytes, inner: Size) -> bytes:
        """The packed bytes, of a length within ``inner``.

        Raises:
            DecodeError: damaged, or more than ``inner.most`` bytes.
        """
        ...


@message(0x4802)
@dataclass(frozen=True, eq=False)
class Memory:
    """What error feedback keeps at a client between rounds: [d] each, or empty before the first round."""

    residual: F32 = field(default_factory=_no_factor)
    velocity: F32 = field(default_factory=_no_factor)


class Feedback(Protocol):
    """A stage around all others: what was not sent this round is added to the next."""

    name: ClassVar[str]
    linear: ClassVar[Literal[True]]
    keeps: ClassVar[Literal[True]]

    def state_bytes(self, d: int) -> int:
        """Bytes of ``Memory``'s arrays."""
        ...

    def correct(self, memory: Memory, update: F32) -> tuple[F32, Memory]:
        """(what should be sent [d], memory with the momentum step taken)."""
        ...

    def settle(self, memory: Memory, corrected: F32, sent: F32) -> Memory:
        """Memory after ``sent`` [d] of ``corrected`` [d] went out."""
        ...


Codec: TypeAlias = Feedback | LinearCodec | Selector | Quantiser | Packer


def round_id(federation: bytes, round_: int) -> bytes:
    """Identity [32 bytes] of a round, from what was agreed at enrolment and a counter: nobody can choose it."""
    return hashlib.sha256(
        b"wardround round" + len(federation).to_bytes(4, "big") + federation + round_.to_bytes(8, "big")
    ).digest()


def public_words(identity: bytes, label: str, count: int) -> U64:
    """``count`` public random 64-bit words of the round ``identity`` for one purpose.

    They are a bit generator's raw output, which numpy promises never to change (NEP 19): every client, whatever its
    version, draws the same. They are public, so they need no cryptographic strength beyond the hash that seeds them.
    """
    digest = hashlib.sha256(label.encode() + b"\x00" + identity).digest()
    words: U64 = np.random.PCG64(int.from_bytes(digest, "big")).random_raw(count)
    return words


def flat(n: int) -> Layout:
    """The layout of a vector without structure."""
    return Layout(("values",), ((n,),))


def checked_share(share: float) -> None:
    """A share of coordinates lies in (0, 1].

    Raises:
        ValueError: it does not.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], not {share}")


def kept(share: float, n: int) -> int:
    """Coordinates that ``share`` of ``n`` makes: at least one."""
    return min(n, max(1, round(share * n)))
