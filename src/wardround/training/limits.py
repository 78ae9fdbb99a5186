"""A limit for each type of device: one that alarms more often than all devices do has to be surer before it alarms.

    client   benign validation rows -> margin of the likeliest attack over normal, counted in BINS, of each type   (when measured)
    server   summed counts -> what each type's margin must exceed, so that it alarms no more often than all rows together

A model that many wards share is right on average, and a type that few of them have pays for it in false alarms. Its
threshold is moved after training (as groups' thresholds are by Hardt, Price and Srebro, NeurIPS 2016), from sums alone:
counts are whole numbers, so they travel in the exact segment of a secure sum. A type's distribution is mixed with
``strength`` rows of everybody's, so a handful of rows moves little. Limits only rise: a quiet type is no debt to be spent on
alarms.

Laws: counts of parts add up to the counts of the whole; a limit is 0 or more, and 0 for a type that alarms no more than all;
on the rows that were counted no type of enough rows alarms more often than all do without limits, but for margins beyond
``HI``, which is the highest limit; the likeliest attack stays the likeliest.
What it costs: attacks on devices of that type that the model was less sure of.
What it does not do: budgets (detect/thresholds.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, F64, I32, I64, Bool

BINS = 400
LO, HI = -20.0, 20.0
ARRAY = "limits/"


@dataclass(frozen=True)
class TypeLimits:
    """A limit of its own for each type of device that alarms more often than all devices do.

    Attributes:
        even: learn the limits: a few hundred counts for each type in every measurement; the bundle then carries them.
        strength: rows of all types' distribution that each type's is mixed with.
        gateways: gateways with benign rows of a type below which nothing is counted for it, so that no sum shows a single
            gateway's devices; with a secure sum at least its least set.
    """

    even: bool = False
    strength: float = 50.0
    gateways: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.strength < np.inf:
            raise ValueError(f"strength must be 0 or more, not {self.strength}")
        if self.gateways < 1:
            raise ValueError(f"gateways must be 1 or more, not {self.gateways}")


def holds(kind: I32, y: I64, types: int, benign: int | None) -> F64:
    """1 for each type of which a client has benign rows [types]; its rows' ``kind`` [n] (-1: unknown), labels ``y`` [n]."""
    rows = (kind >= 0) & (y == benign) if benign is not None else np.zeros(len(y), dtype=np.bool_)
    return (np.bincount(kind[rows], minlength=types) > 0).astype(np.float64)


def counted(logits: F32, y: I64, kind: I32, benign: int, asked: Bool) -> F64:
    """Benign rows by margin, type after type [types * BINS]; 0 for types that are not ``asked`` [types]."""
    margin = np.delete(logits, benign, axis=1).max(axis=1).astype(np.float64) - logits[:, benign]
    place = np.clip((np.nan_to_num(margin, nan=LO) - LO) * (BINS / (HI - LO)), 0, BINS - 1).astype(np.int64)
    rows = (y == benign) & (kind >= 0) & asked[kind]
    found: F64 = np.bincount(kind[rows] * BINS + place[rows], minlength=len(asked) * BINS).astype(np.float64)
    return found


def read(counts: F64, strength: float) -> F32:
    """What each type's margin must exceed [types], from the summed ``counts`` [types * BINS]."""
    by_type = counts.reshape(-1, BINS)
    total = by_type.sum(0)
    if not total.sum():
        return np.zeros(len(by_type), dtype=np.float32)
    everybody = _above(total) / total.sum()
    rate = everybody[BINS // 2]
    rows = by_type.sum(1)
    share = np.array([_above(one) for one in by_type])
    share = (share + strength * everybody) / np.maximum(rows + strength, 1e-12)[:, None]
    first = (share <= rate + 1e-12).argmax(1)
    edges = LO + np.arange(BINS + 1) * ((HI - LO) / BINS)
    return np.where(rows > 0, np.maximum(edges[first], 0.0), 0.0).astype(np.float32)


def limited(logits: F32, kind: I32, limits: F32, benign: int | None) -> F32:
    """``logits`` [n, c] with the benign class raised by the limit of each row's type; rows of no known type as they are."""
    if benign is None or not limits.any():
        return logits
    found = logits.copy()
    found[:, benign] += np.where(kind >= 0, limits[kind], np.float32(0))
    return found


def to_arrays(limits: F32, types: tuple[str, ...]) -> dict[str, F32]:
    """For a model's file: an array [1] for each type with a limit."""
    return {
        ARRAY + name: np.array([limit], dtype=np.float32) for name, limit in zip(types, limits, strict=True) if limit
    }


def from_arrays(arrays: Mapping[str, F32]) -> dict[str, float]:
    """By type what ``to_arrays`` wrote.

    Raises:
        ValueError: a limit is not a number from 0 to ``HI``.
    """
    found: dict[str, float] = {}
    for name, array in arrays.items():
        if name.startswith(ARRAY):
            if array.shape != (1,) or not 0 <= array[0] <= HI:
                raise ValueError(f"the limit of {name.removeprefix(ARRAY)} is no number from 0 to {HI:g}")
            found[name.removeprefix(ARRAY)] = float(array[0])
    return found


def _above(counts: F64) -> F64:
    """Rows at each edge or above it [BINS + 1]."""
    return np.concatenate([counts[::-1].cumsum()[::-1], [0.0]])
