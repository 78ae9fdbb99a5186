"""Codecs in the round: what compress/ makes of an algorithm's block at a client and of a row at the server.

    client   ask.model -> the announced model to train from;   block -> numbers on the shared support, or bytes
    server   bytes -> block, client by client, or cohort means of numbers -> means of blocks, before the rule sees them

A block has parts (reach.Part). Those as long as the model go through the chain, each with its own error feedback; others
(FedNova's one number) travel as they are. Docs: docs/design/0804.

Wire of an open answer's body (``Coded``), whole numbers as LEB128 varints, each in its one shortest form:

    exchange | weight | loss x weight in thousandths | steps | parts in order: [length] code, or float32 numbers

``weight`` 0 ends the body: a client that has nothing to say. The length is left out where the code is all there is.
Open answers of counts alone (statistics, errors, measures) are ``exchange | packed counts`` (compress/pack.py): a gateway's
histograms are mostly zeros, and would otherwise outweigh all its rounds.
Laws: ``unpack(pack(x)) == x``; any other bytes give DecodeError; without codecs nothing here runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, F64
from wardround.compress import downlink
from wardround.compress.budget import Bought, Ring
from wardround.compress.chain import Chain, Coding, LinearChain, LinearCoding
from wardround.compress.codec import Feedback, Memory, Public
from wardround.compress.downlink import Announced, Ledger, Track
from wardround.compress.pack import pack_counts, unpack_counts
from wardround.compress.table import DEFAULT, Compress
from wardround.errors import DecodeError
from wardround.federation.reach import Part
from wardround.params import Layout
from wardround.wire import encode, message

EAGER = 1 / 16
"""The reach of the first round under a codec, in units of the part's own: what is cut then is learned later, while a reach
that is too large drowns few bits in rounding noise."""
_MOST_VARINT = 9  # bytes: 63 bits, a signed 64-bit word's magnitude


@message(0x4301)
@dataclass(frozen=True)
class Coded:
    """A client's answer to a training exchange in the open, compressed; ``body`` as above.

    Raises:
        ValueError: the body does not begin with an exchange's number.
    """

    body: bytes

    def __post_init__(self) -> None:
        take_varint(self.body, 0)

    @property
    def exchange(self) -> int:
        return take_varint(self.body, 0)[0]


@dataclass(frozen=True, eq=False)
class Sender:
    """What a client needs to send one block: the round's coding, its own error feedback, its own stream."""

    coding: Coding | LinearCoding
    feedback: tuple[Memory, ...]
    rng: np.random.Generator


class Coder:
    """The chains of a federation for a model of ``layout``, by class of link; remembers the newest round's codings.

    ``ring``: the numbers of the secure sum, None in the open.

    Raises:
        ValueError: a budget is too small, or a chain does not fit a secure sum.
    """

    def __init__(self, compress: Compress, identity: bytes, layout: Layout, ring: Ring | None) -> None:
        bought = compress.links(layout, ring)
        down = Chain.of(compress.downlink(layout, ring))
        names = (DEFAULT, *compress.classes)
        self.links: tuple[Bought, ...] = tuple(bought[name] for name in names)
        self.protected = ring is not None
        self.tracks = tuple(
            Track(identity, layout, LinearChain.of(b.codecs) if ring else Chain.of(b.codecs), down) for b in self.links
        )
        self.remembers = any(_feedback(track.up) is not None for track in self.tracks)
        """Whether clients of some class keep error feedback."""
        # public data are learned once for all classes: by the first chain that learns
        self.track = next((t for t in self.tracks if _learns(t.up.init(layout))), self.tracks[0])
        self._last: dict[int, tuple[Announced, Coding | LinearCoding]] = {}

    def start(self, parameters: F32) -> Ledger:
        """The server's ledger before the first round."""
        return Ledger(self.track.start(parameters))

    def advance(self, ledger: Ledger, parameters: F32, rng: np.random.Generator) -> Ledger:
        """The ledger with the difference to ``parameters`` [d]."""
        return downlink.advance(self.track, ledger, parameters, rng)

    def follow(self, held: Announced | None, data: bytes) -> Announced:
        """What a client holds after the server's ``data``.

        Raises:
            DecodeError: damaged.
            RemoteProtocolError: differences from a version that this client does not hold.
        """
        return downlink.follow(self.track, held, data)

    def coding(self, held: Announced, link: int = 0) -> Coding | LinearCoding:
        """The uplink of the round after ``held`` for the class of ``link``.

        Raises:
            DecodeError: there is no such class.
        """
        if not 0 <= link < len(self.tracks):
            raise DecodeError(f"link class {link} is not one of the {len(self.tracks)} that [compress] makes")
        known = self._last.get(link)
        if known is None or known[0] is not held:
            known = (held, self.tracks[link].coding(held))
            self._last[link] = known
        return known[1]

    def linear(self, held: Announced) -> LinearCoding:
        """The coding of a secure sum.

        Raises:
            TypeError: sums are open here.
        """
        coding = self.coding(held)
        if not isinstance(coding, LinearCoding):
            raise TypeError("an open sum has no shared linear coding")
        return coding

    def digest(self, held: Announced) -> bytes:
        """32 bytes for model, public data and chains: who shares them sends the same coordinates (secagg's descriptor)."""
        chains = hashlib.sha256(repr(tuple(link.codecs for link in self.links)).encode()).digest()
        return hashlib.sha256(b"wardround coding" + chains + encode(held)).digest()


def numbers(parts: Sequence[Part], coding: LinearCoding) -> tuple[Part, ...]:
    """What travels of a block's ``parts`` under a secure sum: the coded ones shrink to the support."""
    d = _coded_size(parts)
    if not coding.maps:
        return tuple(Part(p.size, p.reach * EAGER) if p.size == d else p for p in parts)
    k = coding.maps[-1].outputs
    return tuple(Part(k, p.reach * EAGER) if p.size == d else p for p in parts)


def send(parts: Sequence[Part], block: F32, sender: Sender) -> tuple[F32, tuple[Memory, ...]]:
    """Client, secure sum: (numbers, new feedback) of ``block``."""
    coding, d = sender.coding, _coded_size(parts)
    assert isinstance(coding, LinearCoding), "a secure sum takes linear chains only"
    out, kept, memories = [], [], _memories(parts, sender.feedback)
    for part, piece in zip(parts, _split(parts, block), strict=True):
        if part.size != d:
            out.append(piece)
            continue
        z, memory = coding.send(piece, memories.pop(0))
        out.append(z)
        kept.append(memory)
    return np.concatenate(out).astype(np.float32), tuple(kept)


def spread(parts: Sequence[Part], rows: F32, coding: LinearCoding) -> F32:
    """Server, secure sum: rows of numbers [m, K] -> rows of blocks [m, D]."""
    d = _coded_size(parts)
    pieces = np.split(rows, np.cumsum([part.size for part in numbers(parts, coding)])[:-1], axis=1)
    whole = [coding.backward(z) if part.size == d else z for part, z in zip(parts, pieces, strict=True)]
    return np.concatenate(whole, axis=1).astype(np.float32)


def through(parts: Sequence[Part], block: F32, coding: LinearCoding) -> F32:
    """A block [D] of the server's own as it would arrive through the round's support: rules compare like with like."""
    d = _coded_size(parts)
    pieces = np.split(block, np.cumsum([part.size for part in parts])[:-1])
    seen = [coding.backward(coding.forward(v)) if part.size == d else v for part, v in zip(parts, pieces, strict=True)]
    return np.concatenate(seen).astype(np.float32)


def pack(exchange: int, counts: Sequence[int], code: bytes) -> Coded:
    """An open answer: ``counts`` are weight, loss and steps; nothing else of a client that weighs nothing."""
    said = counts if counts[0] else [0]
    return Coded(b"".join(varint(n) for n in (exchange, *said)) + (code if counts[0] else b""))


def unpack(answer: Coded) -> tuple[list[int], bytes]:
    """(weight, loss, steps), code.

    Raises:
        DecodeError: the body is no open answer.
    """
    found, at = [], take_varint(answer.body, 0)[1]
    for _ in range(3):
        number, at = take_varint(answer.body, at)
        found.append(number)
        if found == [0]:
            found = [0, 0, 0]
            break
    if not found[0] and at != len(answer.body):
        raise DecodeError("an answer that weighs nothing says more than that")
    return found, answer.body[at:]


def pack_answer(exchange: int, counts: F64) -> Coded:
    """An open answer of counts alone."""
    return Coded(varint(exchange) + pack_counts(counts))


def unpack_answer(answer: Coded, count: int) -> F64:
    """Its ``count`` counts.

    Raises:
        DecodeError: damaged, or another number of them.
    """
    return unpack_counts(answer.body[take_varint(answer.body, 0)[1] :], count)


def encode_block(parts: Sequence[Part], block: F32, sender: Sender) -> tuple[bytes, tuple[Memory, ...]]:
    """Client, open sum: (code, new feedback) of ``block``."""
    coding, d = sender.coding, _coded_size(parts)
    assert isinstance(coding, Coding), "an open sum sends bytes"
    out, kept, memories = [], [], _memories(parts, sender.feedback)
    for part, piece in zip(parts, _split(parts, block), strict=True):
        if part.size != d:
            out.append(piece.astype("<f4").tobytes())
            continue
        data, memory = coding.encode(piece, memories.pop(0), sender.rng)
        out.append(data if len(parts) == 1 else varint(len(data)) + data)
        kept.append(memory)
    return b"".join(out), tuple(kept)


def decode_block(parts: Sequence[Part], code: bytes, coding: Coding) -> F32:
    """Server, open sum: the block as it was sent.

    Raises:
        DecodeError: these bytes are no block of ``parts``.
    """
    d, out, at = _coded_size(parts), [], 0
    for part in parts:
        size = 4 * part.size
        if part.size == d:
            size, at = (len(code), at) if len(parts) == 1 else take_varint(code, at)
        if size > len(code) - at:
            raise DecodeError(f"the code ends at byte {len(code)}, {at + size} were announced")
        piece = code[at : at + size]
        out.append(coding.decode(piece) if part.size == d else np.frombuffer(piece, "<f4").astype(np.float32))
        at += size
    if at != len(code):
        raise DecodeError(f"{len(code) - at} bytes are left over after the last part")
    return np.concatenate(out).astype(np.float32)


def counts_of(said: Sequence[int], length: int) -> F64:
    """The counts [length] of an open answer: weight, loss, steps, 1, and nothing where sums are open."""
    counts = np.zeros(length)
    counts[:3] = said
    counts[3] = float(said[0] > 0)
    return counts


def varint(number: int) -> bytes:
    """LEB128 of a whole number of 0 or more.

    Raises:
        ValueError: it is negative or has more than 63 bits.
    """
    if not 0 <= number < 1 << 63:
        raise ValueError(f"{number} is no whole number of at most 63 bits")
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def take_varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, where it ends) of the varint at ``at``.

    Raises:
        DecodeError: it is cut short, too long, or not the shortest form.
    """
    number = 0
    for i in range(_MOST_VARINT):
        if at + i >= len(data):
            raise DecodeError("a number is cut short")
        byte = data[at + i]
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if byte == 0 and i:
                raise DecodeError("a number is not in its shortest form")
            return number, at + i + 1
    raise DecodeError(f"a number takes more than {_MOST_VARINT} bytes")


def _feedback(chain: Chain | LinearChain) -> Feedback | None:
    return chain.linear.feedback if isinstance(chain, Chain) else chain.feedback


def _learns(public: Public) -> bool:
    return bool(public.levels.size or public.factor.size)


def _coded_size(parts: Sequence[Part]) -> int:
    return parts[0].size


def _memories(parts: Sequence[Part], feedback: tuple[Memory, ...]) -> list[Memory]:
    coded = sum(part.size == _coded_size(parts) for part in parts)
    return list(feedback) if len(feedback) == coded else [Memory() for _ in range(coded)]


def _split(parts: Sequence[Part], block: F32) -> list[F32]:
    return np.split(block, np.cumsum([part.size for part in parts])[:-1])
