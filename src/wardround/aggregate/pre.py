"""Pre-aggregations: rows in, better rows out, before any rule.

    nnm        each row becomes the mean of its k - f nearest rows, itself included (nearest-neighbour mixing:
               Allouah et al., "Fixing by Mixing", AISTATS 2023, Algorithm 2). Keeps the rule's
               breakdown point and repairs it on non-IID rows.
    bucketing  rows are dealt at random into buckets, each becomes its mean (Karimireddy, He, Jaggi, "Byzantine-Robust
               Learning on Heterogeneous Datasets via Bucketing", ICLR 2022, Algorithm 1). k rows become k / s;
               f hostile rows spoil at most f buckets.
    arc        the floor(2 (f/k) (k - f)) longest rows are clipped to the norm of the next (adaptive robust clipping:
               Allouah et al., "Adaptive Gradient Clipping for Robust Federated Learning", ICLR 2025, Algorithm 2).

Each is a new mix matrix over the same points: O(k^2) work after the Gram matrix, no copy of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wardround.aggregate.points import Stack
from wardround.arrays import F64


@dataclass(frozen=True, eq=False)
class Mixing:
    """What a pre-aggregation works with: rows, their policy ``weights`` [k], and the settings of its rule."""

    stack: Stack
    weights: F64
    hostile: int
    bucket_size: int
    rng: np.random.Generator | None


def nearest_neighbours(mixing: Mixing) -> tuple[Stack, F64]:
    """NNM. Rows keep their weights. f is capped below k / 2, where the paper's bound ends."""
    k = mixing.stack.count
    near = k - min(mixing.hostile, (k - 1) // 2)
    order = np.argsort(mixing.stack.distances(), axis=1)[:, :near]
    matrix = np.zeros((k, k))
    matrix[np.arange(k)[:, None], order] = 1.0 / near
    return mixing.stack.mixed(matrix), mixing.weights


def bucketing(mixing: Mixing) -> tuple[Stack, F64]:
    """Bucketing. A bucket weighs what its rows weigh together.

    Raises:
        ValueError: there is no stream to draw the buckets from.
    """
    if mixing.rng is None:
        raise ValueError("bucketing draws its buckets: give it the round's stream in the context (rng)")
    order = mixing.rng.permutation(mixing.stack.count)
    buckets = buckets_of(mixing.stack.count, mixing.bucket_size)
    matrix = np.zeros((buckets, mixing.stack.count))
    for bucket, members in enumerate(np.array_split(order, buckets)):
        matrix[bucket, members] = 1.0 / len(members)
    return mixing.stack.mixed(matrix), (matrix > 0) @ mixing.weights


def adaptive_clipping(mixing: Mixing) -> tuple[Stack, F64]:
    """ARC. Rows keep their weights."""
    stack, k = mixing.stack, mixing.stack.count
    clipped = min(int(2 * mixing.hostile / k * (k - mixing.hostile)), k - 1)
    norms = stack.norms()
    limit = np.sort(norms)[k - 1 - clipped]
    return shrunk(stack, limit / np.maximum(norms, max(limit, np.finfo(float).tiny))), mixing.weights


def shrunk(stack: Stack, factors: F64) -> Stack:
    """Each row times its factor [k] in [0, 1]: a step towards the origin, which is one of the points."""
    mix = factors[:, None] * stack.coordinates
    mix[:, stack.origin] += 1.0 - factors
    return Stack(stack.points, mix)


PRE: dict[str, Callable[[Mixing], tuple[Stack, F64]]] = {
    "nnm": nearest_neighbours,
    "bucketing": bucketing,
    "arc": adaptive_clipping,
}
NEED_HOSTILE = ("nnm", "arc")


def check(pre: Sequence[str]) -> None:
    """Names of pre-aggregations.

    Raises:
        ValueError: one is unknown.
    """
    for name in pre:
        if name not in PRE:
            raise ValueError(f"pre holds {name!r}; the pre-aggregations are {', '.join(PRE)}")


def buckets_of(rows: int, size: int) -> int:
    """Number of buckets that ``rows`` rows make."""
    return max(1, rows // size)


def remaining(pre: Sequence[str], rows: int, bucket_size: int) -> int:
    """Rows that are left of ``rows`` after the pre-aggregations."""
    for name in pre:
        if name == "bucketing":
            rows = buckets_of(rows, bucket_size)
    return rows
