"""Rows of equal keys, without sorting where that can be helped.

Packets of a batch mostly repeat a few keys, so a table of the last row of each hash tells nearly all rows what they
equal; only rows whose hash met another key are sorted.
Laws: rows have one number exactly when their keys are equal; numbers are 0..groups-1.
"""

from __future__ import annotations

import numpy as np

from wardround.arrays import I64, U64

_ODD = np.uint64(0x9E3779B97F4A7C15)
_BITS = 16


def distinct(keys: U64) -> tuple[I64, I64]:
    """(number [n] of each row's group, one row of each group [groups]) for 64-bit ``keys`` [n]."""
    n = len(keys)
    place = (keys * _ODD) >> np.uint64(64 - _BITS)
    table = np.empty(1 << _BITS, np.int32)
    table[place] = np.arange(n, dtype=np.int32)
    chosen = table[place]
    number = np.empty(n, np.int64)
    number[chosen] = 1
    stray = np.flatnonzero(keys[chosen] != keys)
    mark = np.zeros(n, np.bool_)
    mark[chosen] = True
    rows = np.flatnonzero(mark)
    number[rows] = np.arange(len(rows))
    number = number[chosen]
    if not len(stray):
        return number, rows
    _, first, which = np.unique(keys[stray], return_index=True, return_inverse=True)
    number[stray] = len(rows) + which
    return number, np.concatenate([rows, stray[first]])


def mix(*parts: U64) -> U64:
    """One 64-bit hash of several columns [n]."""
    found = parts[0] * _ODD
    for part in parts[1:]:
        found ^= found >> np.uint64(32)
        found += part
        found *= _ODD
    found ^= found >> np.uint64(29)
    return found


def dense(keys: I64) -> tuple[I64, I64]:
    """(number [n] of each row's group, key of each group [groups], ascending) for ``keys`` >= 0."""
    if not len(keys):
        return keys, keys
    reach = int(keys.max()) + 1
    if reach > 4 * len(keys) + (1 << 16):
        values, number = np.unique(keys, return_inverse=True)
        return number, values
    there = np.zeros(reach, np.bool_)
    there[keys] = True
    values = np.flatnonzero(there)
    place = np.empty(reach, np.int64)
    place[values] = np.arange(len(values))
    return place[keys], values
