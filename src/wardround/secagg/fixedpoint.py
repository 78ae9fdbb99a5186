"""Real values and counts <-> the integers that are summed.

    update   v in [-clip, clip] -> x = (v + clip) levels / (2 clip) in [0, levels], on a grid of 2^-r steps
    counts   v -> v 2^fraction + 2^(bits - 1) in [0, 2^bits), rounded to the nearest whole number

Laws: a sum of N values comes back as ``from_steps(sum x, N)`` resp. ``from_counts(sum x, N)``; counts that are multiples
of 2^-fraction and in range come back exactly. What is out of range is cut (updates) or refused (counts: a wrong metric
is worse than a missing one).
"""

from __future__ import annotations

import numpy as np

from wardround.arrays import F32, F64, I32, I64, U64
from wardround.errors import DataError

OFFSET_BITS = 16
HALF = 1 << (OFFSET_BITS - 1)
_PIECE = 1 << 13  # values at a time: stays in the first-level cache


def to_steps(values: F32, clip: float, levels: int, r: int, offset: int = HALF) -> I32 | I64:
    """``values`` [d], clipped, in units of 2^-r quantiser steps; 32 bits wide where that suffices.

    A value between two grid points goes to the upper one if its distance to the lower is at least 1 - ``offset`` / 2^16: HALF is
    rounding to the nearest; an offset drawn uniformly from 0 .. 2^16 - 1 gives every value its own size on average.

    Raises:
        DataError: a value is not a number.
    """
    half = levels * (1 << r) / 2
    shift = half + offset / (1 << OFFSET_BITS)
    small = levels << r < 1 << 31
    whole: I32 | I64 = np.empty(values.size, np.int32) if small else np.empty(values.size, np.int64)
    if np.isnan(np.max(values, initial=0.0)):  # the maximum carries it on
        raise DataError("the update holds a value that is not a number: it was not sent")
    steps = np.empty(min(_PIECE, values.size))
    for at in range(0, values.size, _PIECE):
        some = values[at : at + _PIECE]
        here = steps[: some.size]
        np.multiply(some, half / clip, out=here, dtype=np.float64)
        np.clip(here, -half, half, out=here)
        here += shift
        whole[at : at + _PIECE] = here  # none is negative: cutting is rounding down
    return whole


def from_steps(total: F64, clients: int, clip: float, levels: int) -> F64:
    """Sum of ``clients`` values [d] from the sum of their steps."""
    return total * (2 * clip / levels) - clients * clip


def to_counts(values: F64, bits: int, fraction: int) -> U64:
    """``values`` [m] as unsigned whole numbers of ``bits`` bits.

    Raises:
        DataError: a value is out of range; the text says which range there is.
    """
    half = 1 << (bits - 1)
    whole = np.rint(np.asarray(values, np.float64) * (1 << fraction))
    if not (np.abs(whole) < half).all():  # NaN fails too
        raise DataError(
            f"a count lies outside +-2^{bits - 1 - fraction}: raise [secagg] count_bits or lower count_fraction"
        )
    return (whole.astype(np.int64) + half).astype(np.uint64)


def from_counts(total: U64, clients: int, bits: int, fraction: int) -> F64:
    """Sum of ``clients`` counts [m] from the sum of their whole numbers."""
    return (total.astype(np.int64) - clients * (1 << (bits - 1))).astype(np.float64) / (1 << fraction)
