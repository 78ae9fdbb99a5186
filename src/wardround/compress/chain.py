"""A chain of codecs, as the experiment file lists them, and what it makes of one round.

    up = [{use = "error-feedback"}, {use = "top-k", share = 0.01}, {use = "int", bits = 4}]

    chain.plan(public, round_id, layout) -> Coding        the round's maps, the same for every client
    coding.encode(update, memory, rng)   -> (bytes, memory)
    coding.decode(bytes)                 -> update as it was sent

A ``LinearChain`` ends in numbers instead of bytes and takes linear codecs only: a mypy error for who writes code, a
ConfigError (from ValueError) for who writes TOML. ``Chain`` is for clients whose updates the server may see.

Laws: shape; round trip of what was sent (``encode`` says how memory moved, so that residual = corrected - decoded); equal
streams give equal bytes; any bytes decode or give DecodeError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeGuard

import numpy as np

from wardround.arrays import F32, I64
from wardround.compress import bits as coding
from wardround.compress.codec import (
    Codec,
    Feedback,
    LinearCodec,
    LinearMap,
    Memory,
    Packer,
    Public,
    Quantiser,
    Selector,
    Size,
    flat,
)
from wardround.compress.quantise import Float32
from wardround.errors import DecodeError
from wardround.params import Layout

ORDER = "error-feedback, linear codecs, one selector (top-k or threshold), one quantiser, zstd"


def is_linear(codec: Codec) -> TypeGuard[LinearCodec]:
    """Whether every client of a round applies ``codec`` alike."""
    return codec.linear and not is_feedback(codec)


def is_feedback(codec: Codec) -> TypeGuard[Feedback]:
    """Whether ``codec`` is a client's memory."""
    return getattr(codec, "keeps", False) is True


def _is_selector(codec: Codec) -> TypeGuard[Selector]:
    return hasattr(codec, "select")


def _is_packer(codec: Codec) -> TypeGuard[Packer]:
    return getattr(codec, "lossless", False) is True


@dataclass(frozen=True)
class LinearChain:
    """What may stand under a secure sum: linear codecs, and a client's own error feedback before them."""

    codecs: tuple[LinearCodec, ...] = ()
    feedback: Feedback | None = None

    def __post_init__(self) -> None:
        _check_linear(self.codecs, self.feedback)

    @classmethod
    def of(cls, codecs: Sequence[Codec]) -> LinearChain:
        """The chain of ``codecs``, all of which must be linear.

        Raises:
            ValueError: one is not, or they stand in a wrong order; the text says which and what would fit.
        """
        feedback, rest = _split(codecs)
        for codec in rest:
            if not is_linear(codec):
                raise ValueError(
                    f"codec {codec.name!r} is not linear: under a secure sum all clients must send the same coordinates of a "
                    f"linear map; use importance, random-k or shared-top (the lattice quantises what is left)"
                )
        return cls(tuple(c for c in rest if is_linear(c)), feedback)

    @property
    def biased(self) -> bool:
        """Whether the mean over many rounds' draws is not the mean of the updates."""
        return any(codec.biased for codec in self.codecs)

    def outputs(self, layout: Layout, turn: int = 0) -> int:
        """Numbers that a client sends when the public state is at ``turn``."""
        for codec in self.codecs:
            layout = flat(codec.outputs(layout, turn))
        return layout.size

    def state_bytes(self, d: int) -> int:
        """Bytes that a client keeps between rounds, public state excluded."""
        return self.feedback.state_bytes(d) if self.feedback else 0

    def init(self, layout: Layout) -> Public:
        """Public state before the first round."""
        found = (codec.init(layout) for codec in self.codecs)
        return next((public for public in found if public is not None), Public())

    def plan(self, public: Public, identity: bytes, layout: Layout) -> LinearCoding:
        """The maps of the round ``identity`` (codec.round_id)."""
        maps: list[LinearMap] = []
        for codec in self.codecs:
            maps.append(codec.plan(public, identity, layout))
            layout = flat(maps[-1].outputs)
        return LinearCoding(self, tuple(maps))


@dataclass(frozen=True, eq=False)
class LinearCoding:
    """A linear chain in one round."""

    chain: LinearChain
    maps: tuple[LinearMap, ...]

    def forward(self, v: F32) -> F32:
        """[..., d] -> [..., k]."""
        for applied in self.maps:
            v = applied.forward(v)
        return v

    def backward(self, z: F32) -> F32:
        """[..., k] -> [..., d]: of one client's numbers, or of their mean."""
        for applied in reversed(self.maps):
            z = applied.backward(z)
        return z

    def send(self, update: F32, memory: Memory) -> tuple[F32, Memory]:
        """Client: (the numbers [k] that enter the sum, new memory)."""
        feedback = self.chain.feedback
        if feedback is None:
            return self.forward(update), memory
        corrected, memory = feedback.correct(memory, update)
        z = self.forward(corrected)
        return z, feedback.settle(memory, corrected, self.backward(z))

    def learn(self, public: Public, difference: F32) -> Public:
        """Public state after the announced model moved by ``difference`` [d]; all who follow the model do the same."""
        if not self.maps:
            return public
        return self.chain.codecs[0].learn(public, self.maps[0], difference)


@dataclass(frozen=True)
class Chain:
    """Any codecs in their order; ends in bytes that the server decodes client by client."""

    linear: LinearChain = field(default_factory=LinearChain)
    selector: Selector | None = None
    quantiser: Quantiser = field(default_factory=Float32)
    packer: Packer | None = None

    def __post_init__(self) -> None:
        size = self.quantiser.size(1000)
        if self.selector and size.least != size.most:
            raise ValueError(f"{self.quantiser.name!r} chooses coordinates itself: take {self.selector.name!r} out")

    @classmethod
    def of(cls, codecs: Sequence[Codec]) -> Chain:
        """The chain of ``codecs`` in their order; none at all sends float32.

        Raises:
            ValueError: they stand in a wrong order, or one of a kind stands twice.
        """
        feedback, rest = _split(codecs)
        linear = [codec for codec in rest if is_linear(codec)]
        selectors = [codec for codec in rest if _is_selector(codec)]
        packers = [codec for codec in rest if _is_packer(codec)]
        quantisers = [c for c in rest if not is_linear(c) and not _is_selector(c) and not _is_packer(c)]
        if (
            rest != [*linear, *selectors, *quantisers, *packers]
            or max(len(selectors), len(quantisers), len(packers)) > 1
        ):
            names = ", ".join(codec.name for codec in codecs)
            raise ValueError(f"the codecs [{names}] should stand in the order {ORDER}")
        chain = cls(LinearChain(tuple(linear), feedback))
        if selectors:
            chain = replace(chain, selector=selectors[0])
        if quantisers:
            chain = replace(chain, quantiser=quantisers[0])  # type: ignore[arg-type]  # what is left is a quantiser
        return replace(chain, packer=packers[0]) if packers else chain

    @property
    def biased(self) -> bool:
        """Whether what is decoded differs from the update on average (before error feedback)."""
        return self.linear.biased or self.selector is not None or self.quantiser.biased

    def size(self, layout: Layout) -> Size:
        """Bytes of one update of ``layout``, over both turns of a codec that takes turns."""
        even, odd = (self._inner(self.linear.outputs(layout, turn)) for turn in (0, 1))
        size = Size(min(even.least, odd.least), (even.expected + odd.expected) // 2, max(even.most, odd.most))
        return self.packer.size(size) if self.packer else size

    def state_bytes(self, d: int) -> int:
        """Bytes that a client keeps between rounds, public state excluded."""
        return self.linear.state_bytes(d)

    def init(self, layout: Layout) -> Public:
        """Public state before the first round."""
        return self.linear.init(layout)

    def plan(self, public: Public, identity: bytes, layout: Layout) -> Coding:
        """The chain in the round ``identity`` (codec.round_id), for updates of ``layout``."""
        return Coding(self, self.linear.plan(public, identity, layout), layout.size)

    def _inner(self, n: int) -> Size:
        if self.selector is None:
            return self.quantiser.size(n)
        most = self.selector.most(n)
        full = self.quantiser.size(most) + coding.rice_size(most, n)
        if self.selector.fixed:
            return full
        # the longest code of k positions never shrinks with k, so the bound for the most of them holds for fewer
        return Size(_COUNT + self.quantiser.size(0).least, _COUNT + full.expected, _COUNT + full.most)


_COUNT = 4


@dataclass(frozen=True, eq=False)
class Coding:
    """A chain in one round: the same for every client, without a client's memory."""

    chain: Chain
    linear: LinearCoding
    d: int

    def encode(self, update: F32, memory: Memory, rng: np.random.Generator) -> tuple[bytes, Memory]:
        """Client: (bytes to send, new memory) for its ``update`` [d]; ``rng`` is its own stream for this round.

        Raises:
            ValueError: the update is of another length or not finite.
        """
        if update.shape != (self.d,):
            raise ValueError(f"an update of {self.d} values is due, not of shape {update.shape}")
        feedback = self.chain.linear.feedback
        if feedback is None:
            return self._bytes(self.linear.forward(update), rng), memory
        corrected, memory = feedback.correct(memory, update)
        data = self._bytes(self.linear.forward(corrected), rng)
        return data, feedback.settle(memory, corrected, self.decode(data))

    def decode(self, data: bytes) -> F32:
        """Server: the update [d] as it was sent.

        Raises:
            DecodeError: these bytes are no encoding under this chain.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # weights may take a hostile scale out of float32
            update = self.linear.backward(self._values(data))
        if not np.isfinite(update).all():
            raise DecodeError("a value is not finite")
        return update

    def learn(self, public: Public, difference: F32) -> Public:
        """Public state after the announced model moved by ``difference`` [d]."""
        return self.linear.learn(public, difference)

    def _bytes(self, z: F32, rng: np.random.Generator) -> bytes:
        chain = self.chain
        if not np.isfinite(z).all():
            raise ValueError("the update to compress is not finite")
        if chain.selector is None:
            data = chain.quantiser.encode(z, rng)
        else:
            chosen = chain.selector.select(z)
            count = b"" if chain.selector.fixed else len(chosen).to_bytes(_COUNT, "big")
            data = count + chain.quantiser.encode(z[chosen], rng) + coding.rice(chosen)
        return chain.packer.pack(data) if chain.packer else data

    def _values(self, data: bytes) -> F32:
        n = self.linear.maps[-1].outputs if self.linear.maps else self.d
        chain = self.chain
        if chain.packer:
            data = chain.packer.unpack(data, chain._inner(n))
        if chain.selector is None:
            return chain.quantiser.decode(data, n)
        z = np.zeros(n, dtype=np.float32)
        chosen, values = self._chosen(chain.selector, data, n)
        z[chosen] = values
        return z

    def _chosen(self, selector: Selector, data: bytes, n: int) -> tuple[I64, F32]:
        k = selector.most(n)
        if not selector.fixed:
            k = int.from_bytes(data[:_COUNT], "big")
            if len(data) < _COUNT or k > selector.most(n):
                raise DecodeError(f"{k} coordinates, at most {selector.most(n)} are due")
            data = data[_COUNT:]
        head = self.chain.quantiser.size(k).most
        return coding.positions(data[head:], k, n), self.chain.quantiser.decode(data[:head], k)


def _split(codecs: Sequence[Codec]) -> tuple[Feedback | None, list[Codec]]:
    """(error feedback if it stands first, the others).

    Raises:
        ValueError: error feedback stands elsewhere.
    """
    if not codecs or not is_feedback(codecs[0]):
        if any(is_feedback(codec) for codec in codecs):
            raise ValueError("error-feedback must be the first codec: it stands around all others")
        return None, list(codecs)
    if any(is_feedback(codec) for codec in codecs[1:]):
        raise ValueError("error-feedback stands twice")
    return codecs[0], list(codecs[1:])


def _check_linear(codecs: Sequence[LinearCodec], feedback: Feedback | None) -> None:
    for codec in codecs[1:]:
        if codec.init(flat(1)) is not None:
            raise ValueError(f"codec {codec.name!r} learns from the whole model: it must be the first linear codec")
    if feedback is not None:
        for codec in codecs:
            if not codec.shrinks:
                raise ValueError(
                    f"error feedback around {codec.name!r} as set here would grow without bound: let the codec send "
                    f"coordinates as they are (unbiased = false, weigh = false), or take error-feedback out"
                )
