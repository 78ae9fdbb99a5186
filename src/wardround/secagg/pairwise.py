"""Post-quantum SecAgg+: pairwise masks from ML-KEM, Shamir shares among neighbours, four rounds. The benchmark's baseline.

Bell et al., CCS 2020 (after Bonawitz et al., CCS 2017), with X-Wing in place of Diffie-Hellman: clients stand on a ring in an
order drawn from the round id, each with k neighbours (k/2 on either side).

    0  keys        two X-Wing keys: one for the channel to a neighbour, one for masks
    1  shares      x_i -> mask key and own pair seeds, b_i -> self mask; both Shamir-shared among the neighbours, sealed;
                   the first of a pair (ascending names) sends its pair seed to the other's mask key
    2  input       x + PRG(b_i) + sum over neighbours of +-PRG(pair seed) mod 2^L
    3  unmask      for each neighbour one share: of b_j if j sent its input, of x_j if it vanished. Never both

Law: the masks cancel exactly, so a sum is exact in its fixed point. A client that is asked for both secrets of one
neighbour, or twice, refuses (Flower 1.41 answers: flwr.client.mod.secure_aggregation, see docs/design/0206).
What it does not do: cohorts dealt after the upload (masks fix who is summed with whom), certificates against a server that
shows different survivors to different clients, or signatures on keys: use the lattice where the server is not trusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wardround.arrays import F32, F64, I64, U64, Array
from wardround.crypto.packing import pack, unpack
from wardround.crypto.sampling import field_elements, stream_bytes, subseed
from wardround.crypto.sharing import PRIME, evaluation, field_array, product
from wardround.errors import RemoteProtocolError, RoundError
from wardround.secagg import fixedpoint, keys
from wardround.secagg.parameters import Lattice
from wardround.wire import message

_SECRET_BYTES = 32
_ELEMENTS = _SECRET_BYTES  # one byte per field element: a secret's bytes never reach the prime


@message(0x5080)
@dataclass(frozen=True)
class PublicKeys:
    client: str
    channel: bytes
    mask: bytes


@message(0x5081)
@dataclass(frozen=True)
class SealedShares:
    """From one client to one neighbour, relayed by the server: encapsulation and sealed (share of x, share of b, pair seed)."""

    sender: str
    receiver: str
    channel: bytes
    sealed: bytes
    mask: bytes
    pair: bytes


@message(0x5082)
@dataclass(frozen=True)
class MaskedInput:
    client: str
    update: bytes
    counts: bytes


@message(0x5083)
@dataclass(frozen=True)
class UnmaskRequest:
    """Who sent an input and who vanished, among the receiver's neighbours."""

    survivors: tuple[str, ...]
    vanished: tuple[str, ...]


@message(0x5084)
@dataclass(frozen=True)
class Share:
    owner: str
    share: bytes = field(repr=False)


@message(0x5085)
@dataclass(frozen=True)
class UnmaskAnswer:
    client: str
    self_masks: tuple[Share, ...]
    keys: tuple[Share, ...]


@dataclass(frozen=True)
class Pairwise:
    """What all agree on: round id, ring order of the clients, k ``neighbours``, shares needed, and the fixed point."""

    identity: bytes
    clients: tuple[str, ...]
    neighbours: int
    threshold: int
    update_values: int
    counts_values: int
    config: Lattice

    def __post_init__(self) -> None:
        if (
            self.neighbours % 2
            or not 2 <= self.neighbours < len(self.clients)
            or not 1 <= self.threshold <= self.neighbours
        ):
            raise ValueError(
                "neighbours must be even, 2 or more and fewer than the clients; the threshold at most as many"
            )

    def around(self, client: str) -> tuple[str, ...]:
        """The neighbours of ``client``, in the order of their share numbers 1..k."""
        at, n = self.clients.index(client), len(self.clients)
        return tuple(
            self.clients[(at + step) % n]
            for half in (1, -1)
            for step in range(half, half * (self.neighbours // 2 + 1), half)
        )

    @property
    def widths(self) -> tuple[int, int]:
        """Bits of an update's and of a count's sum."""
        n = len(self.clients)
        return (n * ((1 << self.config.bits) - 1)).bit_length(), (n * ((1 << self.config.count_bits) - 1)).bit_length()


def agree(identity: bytes, names: Sequence[str], neighbours: int, sizes: tuple[int, int], config: Lattice) -> Pairwise:
    """The round over ``names``: ring order by the hash of round id and name; more than half of the neighbours open a secret."""
    order = sorted(names, key=lambda name: hashlib.sha3_256(identity + name.encode()).digest())
    return Pairwise(identity, tuple(order), neighbours, neighbours // 2 + 1, *sizes, config)


@dataclass(eq=False)
class PairwiseClient:
    """One client's four answers; ``entropy`` gives fresh secret bytes."""

    name: str
    plan: Pairwise
    entropy: keys.Entropy = field(repr=False)
    public: dict[str, PublicKeys] = field(default_factory=dict)
    pairs: dict[str, bytes] = field(default_factory=dict, repr=False)
    held: dict[str, tuple[bytes, bytes]] = field(default_factory=dict, repr=False)
    unmasked: bool = False

    def __post_init__(self) -> None:
        self._x, self._b = self.entropy(_SECRET_BYTES), self.entropy(_SECRET_BYTES)
        self._channel = keys.kem_key(self.entropy(_SECRET_BYTES))
        self._mask = keys.kem_key(subseed(self._x, b"mask key"))

    def advertise(self) -> PublicKeys:
        """Round 0."""
        return PublicKeys(self.name, self._channel.public, self._mask.public)

    def share(self, public: Mapping[str, PublicKeys]) -> tuple[SealedShares, ...]:
        """Round 1: what each neighbour gets."""
        self.public = {name: public[name] for name in self.plan.around(self.name) if name in public}
        if len(self.public) < self.plan.threshold:
            raise RoundError(f"{self.name}: {len(self.public)} neighbours, {self.plan.threshold} are needed")
        of_x, of_b = (split(secret, self.plan, self.entropy) for secret in (self._x, self._b))
        out = []
        for number, neighbour in enumerate(self.plan.around(self.name)):
            if neighbour in self.public:
                out.append(self._seal(neighbour, of_x[number] + of_b[number]))
        return tuple(out)

    def receive(self, sealed: Sequence[SealedShares]) -> None:
        """The neighbours' shares and pair seeds."""
        for item in sealed:
            if item.receiver != self.name or item.sender not in self.public:
                raise RemoteProtocolError(f"{self.name}: shares of {item.sender} for {item.receiver}")
            key = subseed(self._channel.decapsulate(item.channel), b"shares")
            shares = keys.open_once(key, item.sealed, _bound(self.plan, item.sender, self.name))
            self.held[item.sender] = (shares[: 2 * _ELEMENTS], shares[2 * _ELEMENTS :])
            if item.sender < self.name:
                self.pairs[item.sender] = open_pair(self.plan, self._mask, item)

    def masked(self, update: F32, counts: F64) -> MaskedInput:
        """Round 2; only neighbours whose shares came take part in the masks."""
        config, (wide, exact) = self.plan.config, self.plan.widths
        steps = fixedpoint.to_steps(update, config.clip, (1 << config.bits) - 1, 0)
        whole = fixedpoint.to_counts(counts, config.count_bits, config.count_fraction)
        packed = []
        for plain, label, width in ((steps, b"update", wide), (whole, b"counts", exact)):
            values: Array = plain.astype(_word(width))  # masks are mod 2^16, 2^32 or 2^64: the width divides them
            values += stream(self._b, label, values.size, width)
            for neighbour in self.held:
                sign_mask(values, (self.name, neighbour), self._pair(neighbour), label, width)
            values &= values.dtype.type((1 << width) - 1)
            words: Array = values.astype(np.uint32 if width <= 32 else np.uint64, copy=False)
            packed.append(pack(words, width))
        return MaskedInput(self.name, *packed)

    def unmask(self, request: UnmaskRequest) -> UnmaskAnswer:
        """Round 3, once.

        Raises:
            RemoteProtocolError: a neighbour stands in both lists, or the question comes a second time.
        """
        if self.unmasked or set(request.survivors) & set(request.vanished):
            raise RemoteProtocolError(f"{self.name}: both secrets of one client are never given out")
        self.unmasked = True
        self_masks = tuple(Share(owner, self.held[owner][1]) for owner in request.survivors if owner in self.held)
        opened = tuple(Share(owner, self.held[owner][0]) for owner in request.vanished if owner in self.held)
        return UnmaskAnswer(self.name, self_masks, opened)

    def _seal(self, neighbour: str, shares: bytes) -> SealedShares:
        secret, channel = keys.encapsulate(self.public[neighbour].channel, self.entropy)
        bound = _bound(self.plan, self.name, neighbour)
        sealed = keys.seal_once(subseed(secret, b"shares"), shares, bound)
        mask = pair = b""
        if self.name < neighbour:
            shared, mask = keys.encapsulate(self.public[neighbour].mask, self.entropy)
            pair = keys.seal_once(subseed(shared, b"pair"), pair_seed(self._x, neighbour), bound)
        return SealedShares(self.name, neighbour, channel, sealed, mask, pair)

    def _pair(self, neighbour: str) -> bytes:
        return pair_seed(self._x, neighbour) if self.name < neighbour else self.pairs[neighbour]


class PairwiseServer:
    """Relays, adds, and removes the masks of whoever vanished."""

    def __init__(self, plan: Pairwise) -> None:
        self.plan = plan
        self.mail: dict[tuple[str, str], SealedShares] = {}
        self.inputs: set[str] = set()
        self._update, self._counts = np.zeros(plan.update_values, np.uint64), np.zeros(plan.counts_values, np.uint64)

    def relay(self, sealed: Sequence[SealedShares]) -> None:
        for item in sealed:
            self.mail[item.sender, item.receiver] = item

    def letters(self, receiver: str) -> tuple[SealedShares, ...]:
        return tuple(item for (_, to), item in self.mail.items() if to == receiver)

    def add(self, received: MaskedInput) -> None:
        if received.client in self.inputs or received.client not in self.plan.clients:
            raise RemoteProtocolError(f"{received.client}: a second input, or a stranger's")
        wide, exact = self.plan.widths
        self._update += unpack(received.update, self.plan.update_values, wide)
        self._counts += unpack(received.counts, self.plan.counts_values, exact)
        self.inputs.add(received.client)

    def request(self, client: str) -> UnmaskRequest:
        around = self.plan.around(client)
        senders = {sender for sender, _ in self.mail}
        vanished = tuple(name for name in around if name in senders and name not in self.inputs)
        return UnmaskRequest(tuple(name for name in around if name in self.inputs), vanished)

    def finish(self, answers: Sequence[UnmaskAnswer]) -> tuple[F64, F64]:
        """(sum of updates, sum of counts) over the clients whose input came.

        Raises:
            RoundError: too few shares of a secret came back.
        """
        for client in self.inputs:
            secret = self._join(
                client, [(a.client, s.share) for a in answers for s in a.self_masks if s.owner == client]
            )
            for values, label, width in self._sums():
                values -= stream(secret, label, values.size, width)
        for client in sorted({sender for sender, _ in self.mail} - self.inputs):
            x = self._join(client, [(a.client, s.share) for a in answers for s in a.keys if s.owner == client])
            self._forget(client, x)
        return self._decoded()

    def _forget(self, client: str, x: bytes) -> None:
        """Take the vanished client's half of its pair masks out of its neighbours' inputs."""
        mask = keys.kem_key(subseed(x, b"mask key"))
        for neighbour in self.plan.around(client):
            if neighbour not in self.inputs or (client, neighbour) not in self.mail:
                continue
            seed = (
                pair_seed(x, neighbour)
                if client < neighbour
                else open_pair(self.plan, mask, self.mail[neighbour, client])
            )
            for values, label, width in self._sums():
                sign_mask(values, (client, neighbour), seed, label, width)

    def _sums(self) -> tuple[tuple[U64, bytes, int], ...]:
        return ((self._update, b"update", self.plan.widths[0]), (self._counts, b"counts", self.plan.widths[1]))

    def _join(self, client: str, shares: Sequence[tuple[str, bytes]]) -> bytes:
        around = self.plan.around(client)
        numbered = {around.index(holder) + 1: share for holder, share in shares if holder in around}
        if len(numbered) < self.plan.threshold:
            raise RoundError(f"{len(numbered)} shares of a secret of {client}, {self.plan.threshold} are needed")
        return join(dict(sorted(numbered.items())[: self.plan.threshold]))

    def _decoded(self) -> tuple[F64, F64]:
        config, (wide, exact), n = self.plan.config, self.plan.widths, len(self.inputs)
        update = _low(self._update, wide).astype(np.float64)
        counts = _low(self._counts, exact)
        return (
            fixedpoint.from_steps(update, n, config.clip, (1 << config.bits) - 1),
            fixedpoint.from_counts(counts, n, config.count_bits, config.count_fraction),
        )


def split(secret: bytes, plan: Pairwise, entropy: keys.Entropy) -> list[bytes]:
    """Shamir shares 1..k of 32 bytes; ``threshold`` of them join."""
    t, k = plan.threshold, plan.neighbours
    random = field_elements(entropy(_SECRET_BYTES), _ELEMENTS * (t - 1), PRIME).reshape(_ELEMENTS, t - 1)
    points = np.concatenate([np.frombuffer(secret, np.uint8).astype(np.int64)[:, None], random], axis=1)
    known = tuple(PRIME - 1 - u for u in range(t))
    values: I64 = product(points, evaluation(known, tuple(range(1, k + 1))))
    return [column.astype("<u2").tobytes() for column in values.T]


def join(shares: Mapping[int, bytes]) -> bytes:
    """The 32 bytes in exactly ``threshold`` shares.

    Raises:
        RoundError: the shares are not of one secret.
    """
    words = np.stack([field_array(share) for share in shares.values()], axis=1)
    secret = product(words, evaluation(tuple(shares), (PRIME - 1,)))[:, 0]
    if secret.max() > 255:
        raise RoundError("the shares of a secret contradict each other")
    return secret.astype(np.uint8).tobytes()


def pair_seed(x: bytes, neighbour: str) -> bytes:
    return subseed(x, b"pair " + neighbour.encode())


def open_pair(plan: Pairwise, mask: keys.KemKey, item: SealedShares) -> bytes:
    """The pair seed in a letter to ``mask``'s owner."""
    return keys.open_once(
        subseed(mask.decapsulate(item.mask), b"pair"), item.pair, _bound(plan, item.sender, item.receiver)
    )


def sign_mask(values: Array, pair: tuple[str, str], seed: bytes, label: bytes, width: int) -> None:
    """Add the pair mask as the first of ``pair`` does: + for the first of the two names in order, - for the second."""
    change = stream(seed, label, values.size, width)
    np.add(values, change, out=values) if pair[0] < pair[1] else np.subtract(values, change, out=values)


def stream(seed: bytes, label: bytes, count: int, width: int) -> Array:
    """A mask: the shortest words that hold ``width`` bits, from AES-256-CTR."""
    word = _word(width)
    raw = stream_bytes(subseed(seed, label), count * word.itemsize)
    return np.frombuffer(raw, word.newbyteorder("<")).astype(word, copy=False)


def _word(width: int) -> np.dtype[Any]:
    return np.dtype(np.uint16 if width <= 16 else np.uint32 if width <= 32 else np.uint64)


def _low(values: U64, width: int) -> U64:
    return values & np.uint64((1 << width) - 1)


def _bound(plan: Pairwise, sender: str, receiver: str) -> bytes:
    return b"\x00".join((plan.identity, sender.encode(), receiver.encode()))
