"""Direct mode, for short vectors: the values themselves are shared among the committee, and no ciphertext is sent.

The lattice shares a key of n = 1024 coefficients, whatever the vector's length. A vector of a few hundred values costs less
when its quantised values take the key's place in the packed sharing (crypto/sharing.py): the same commitments and low-degree
proof, the same votes, certificates and opening; what members open is the cohort's sum itself.

    element   ``slots`` steps of the update in base N levels + 1, or ``slots`` digits of the counts, below p = 65521
    update    value -> 0..levels steps, levels = 2^b - 2: zero is a step, so values near zero get little rounding noise
    rounding  up or down at random, by the client's entropy: unbiased, variance at most 1/4 steps^2

Laws: the opened sum is the sum of the clients' steps and counts exactly; any t shares are independent of the values.
What it keeps of layer 2, and what it gives up: docs/protocol/secagg.md, section Direct mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from wardround.arrays import F32, F64, I64, U64
from wardround.crypto.sampling import stream_bytes, subseed
from wardround.crypto.sharing import PRIME
from wardround.secagg import fixedpoint, kahe
from wardround.secagg.parameters import Dithered, Exact

SUITE = 0
"""The suite number of descriptors in direct mode: no ring."""
_FINE = 16  # bits of the random rounding


@dataclass(frozen=True)
class Plain:
    """What a contribution shares: ``update_values`` in ``update`` steps, ``counts_values`` in ``counts`` digits."""

    update: Dithered | None
    counts: Exact | None
    update_values: int
    counts_values: int

    @property
    def update_elements(self) -> int:
        return -(-self.update_values // _steps(self.update).slots) if self.update else 0

    @property
    def elements(self) -> int:
        """Field elements of a contribution."""
        return self.update_elements + (self.counts.coefficients(self.counts_values) if self.counts else 0)


def choose_update(clients: int, bits: int) -> Dithered | None:
    """Steps of ``bits`` bits whose sum over ``clients`` is an element; None: it does not fit."""
    levels = (1 << bits) - 2
    return Dithered(16, 0, levels, clients) if clients * levels < PRIME else None


@cache
def choose_counts(clients: int, bits: int) -> Exact | None:
    """Digits whose sums over ``clients`` are elements: the fewest elements per value; None: none fits."""
    best: Exact | None = None
    for digits in range(1, bits + 1):
        digit_bits = -(-bits // digits)
        base = clients * ((1 << digit_bits) - 1) + 1
        if base > PRIME:
            continue
        found = Exact(16, 0, 0, slots(base), digits, digit_bits, clients)
        if best is None or digits / found.slots < best.digits / best.slots:
            best = found
    return best


def slots(base: int) -> int:
    """How many numbers below ``base`` stand in one element."""
    count, whole = 0, base
    while whole <= PRIME:
        count, whole = count + 1, whole * base
    return count


def share(layout: Plain, values: F32, counts: U64, clip: float, entropy: bytes) -> I64:
    """The elements [n] of a client's ``values`` (cut at ``clip``) and whole ``counts``.

    Raises:
        DataError: a value is not a number.
    """
    parts = []
    if layout.update is not None:
        fine = fixedpoint.to_steps(values, clip, layout.update.levels, _FINE)
        draw = np.frombuffer(stream_bytes(subseed(entropy, b"rounding"), 2 * fine.size), "<u2").astype(np.int64)
        parts.append(kahe.encode(_steps(layout.update), ((fine + draw) >> _FINE).astype(np.uint64)))
    if layout.counts is not None:
        parts.append(kahe.encode(layout.counts, counts))
    return np.concatenate(parts).astype(np.int64)


def read(layout: Plain, elements: I64, clients: int) -> tuple[F64, U64, bool]:
    """(summed steps [d], summed whole counts [m], whether every element can be a sum of ``clients``) of opened elements."""
    cut, steps, counts, plausible = layout.update_elements, np.zeros(0), np.zeros(0, np.uint64), True
    if layout.update is not None:
        mode = _steps(layout.update)
        sums = elements[:cut].astype(np.uint64)
        plausible = bool((sums < mode.base**mode.slots).all())
        steps = kahe.decode(mode, sums, layout.update_values).astype(np.float64)
        plausible = plausible and bool((steps <= clients * layout.update.levels).all())
    if layout.counts is not None:
        sums = elements[cut:].astype(np.uint64)
        plausible = plausible and bool((sums < layout.counts.base**layout.counts.slots).all())
        counts = kahe.decode(layout.counts, sums, layout.counts_values)
    return steps, counts, plausible


@cache
def _steps(update: Dithered) -> Exact:
    """The update's steps as digits of one kind: ``levels`` + 1 values each."""
    base = update.clients * update.levels + 1
    return _Steps(16, 0, 0, slots(base), 1, update.levels.bit_length(), update.clients, update.levels)


@dataclass(frozen=True)
class _Steps(Exact):
    """``Exact`` with digits of 0..levels instead of a power of two."""

    levels: int = 0

    @property
    def base(self) -> int:
        return self.clients * self.levels + 1
