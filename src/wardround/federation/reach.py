"""The reach of update values: how large they may be when they are quantised for a secure sum.

A secure sum holds values in [-1, 1] on a fixed grid. The server announces a reach for each part of the algorithm's block
(for SCAFFOLD the change of the model and the change of the variate have their own); a client divides by it, and what
lies outside is cut. The next round's reach comes from a protected sum: each client adds the binary exponent of its largest
value, and the mean over clients, one step up, is the new reach. Nothing about one client is needed.

Law: ``spread(parts, shrink(parts, block, reach), reach) == block`` where nothing was cut.
What it does not do: cut and quantise (secagg/fixedpoint.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, F64, Array

SMALLEST, LARGEST = -40, 40  # exponents a client may report: a bounded whole number, as all counts are


@dataclass(frozen=True)
class Part:
    """A stretch of a block with values of one kind; ``reach`` holds for the first round, when nothing is known yet, and for all
    where ``fixed``: what the server divides by (marks, factors) has a bound, and cut there it would spoil the quotient.
    """

    size: int
    reach: float
    fixed: bool = False


def exponents(parts: Sequence[Part], block: F32) -> list[float]:
    """Per part: the least whole e with |values| <= 2^e, within the reportable range."""
    found = []
    for piece in _pieces(parts, block):
        largest = float(np.abs(piece).max()) if piece.size else 0.0
        exponent = math.ceil(math.log2(largest)) if largest > 0 else SMALLEST
        found.append(float(min(max(exponent, SMALLEST), LARGEST)))
    return found


def following(sums: Sequence[float], clients: float) -> F32:
    """The next round's reach [p] from the summed exponents of ``clients`` clients."""
    return np.array([2.0 ** math.ceil(total / max(clients, 1.0) + 1) for total in sums], dtype=np.float32)


def held(parts: Sequence[Part], reach: F32) -> F32:
    """``reach`` [p] with that of fixed parts put back."""
    return np.array([p.reach if p.fixed else found for p, found in zip(parts, reach, strict=True)], dtype=np.float32)


def first(parts: Sequence[Part]) -> F32:
    """The first round's reach [p]."""
    return np.array([part.reach for part in parts], dtype=np.float32)


def shrink(parts: Sequence[Part], block: F32, reach: F32) -> F32:
    """``block`` in units of the reach; an empty reach (a plain sum) leaves it alone."""
    if not reach.size:
        return block
    return (block / np.repeat(reach, [part.size for part in parts])).astype(np.float32)


def spread(parts: Sequence[Part], total: F64, reach: F32) -> F64:
    """A summed block back in its own units."""
    if not reach.size:
        return total
    return total * np.repeat(reach, [part.size for part in parts])


def cut(parts: Sequence[Part], block: F32, reach: F32) -> list[float]:
    """Per part: how many values lie outside ``reach``; with codecs this steers it (``steered``)."""
    pairs = zip(_pieces(parts, block), reach, strict=True)
    return [float(np.count_nonzero(np.abs(piece) > limit)) for piece, limit in pairs]


def steered(parts: Sequence[Part], cuts: Sequence[float], clients: float, reach: F32) -> F32:
    """The next round's reach [p] that cuts about half a percent of the values (as Andrew et al., NeurIPS 2021, with steps).

    Few bits need a tight reach: the largest value of a client says too little about where values lie.
    """
    shares = [total / max(clients * part.size, 1.0) for part, total in zip(parts, cuts, strict=True)]
    steps = [2.0 if s > 0.05 else 1.25 if s > 0.0075 else 0.9 if s < 0.0025 else 1.0 for s in shares]
    following: F32 = np.clip(reach * np.array(steps), 2.0**SMALLEST, 2.0**LARGEST).astype(np.float32)
    return following


def _pieces(parts: Sequence[Part], block: Array) -> list[Array]:
    return np.split(block, np.cumsum([part.size for part in parts])[:-1])
