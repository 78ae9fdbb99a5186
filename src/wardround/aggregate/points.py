"""Rows as affine combinations of points, so that most rules need one Gram matrix and one weighted sum.

The points are the m rows, the origin, and vectors the server adds (a root direction, last round's centre). Krum, the
geometric median, centred clipping, mixing and the rest only need inner products and return weights over the points: one
blocked pass over [m, d], then work in m x m, then one product w @ X. A pre-aggregation (NNM, bucketing, clipping) is
only a new ``mix`` matrix: no mixed copy of the rows is made.

Precision: products are float32 over blocks of columns and added up in float64, about a centre near the cloud of rows.
That centre is the mean of the half of the rows with the smallest norms: no row of a hostile minority, however long,
moves it far, so the distances between honest rows keep their digits. In exact arithmetic the centre cancels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wardround.arrays import F32, F64

LANES = 4  # BLAS is faster on row counts that are multiples of this: the rest is filled up with zeros
BLOCK_VALUES = 1 << 18  # float32 values of a block of columns: 1 MB, which a core's own cache holds


@dataclass(frozen=True, eq=False)
class Points:
    """The vectors behind a stack: ``rows`` [m, d] with ``norms`` [m], the origin (index m), then ``extra`` ones."""

    rows: F32
    norms: F64
    extra: tuple[F32, ...] = ()

    @property
    def count(self) -> int:
        return len(self.rows) + 1 + len(self.extra)

    @cached_property
    def gram(self) -> F64:
        """Inner products [p, p] of all points about one centre."""
        m, d = self.rows.shape
        near = np.zeros(m, dtype=np.float32)
        near[np.argsort(self.norms, kind="stable")[: (m + 1) // 2]] = 1.0 / ((m + 1) // 2)
        padded = -(-self.count // LANES) * LANES
        total = np.zeros((padded, padded))
        room = np.zeros((padded, min(widest(self.count), d)), dtype=np.float32)  # one for all: fresh memory is slow
        for a, b in blocks(d, self.count):
            part = self.rows[:, a:b]
            centre = near @ part
            shifted = room[:, : b - a]
            np.subtract(part, centre, out=shifted[:m])
            np.negative(centre, out=shifted[m])
            for at, vector in enumerate(self.extra, start=m + 1):
                np.subtract(vector[a:b], centre, out=shifted[at])
            total += shifted @ shifted.T
        return total[: self.count, : self.count]

    def vector(self, weights: F64) -> F32:
        """The point ``weights`` [p] @ points, [d]."""
        m = len(self.rows)
        out: F32 = weights[:m].astype(np.float32) @ self.rows
        for weight, vector in zip(weights[m + 1 :], self.extra, strict=True):
            if weight:
                out += np.float32(weight) * vector
        return out


@dataclass(frozen=True, eq=False)
class Stack:
    """k rows, each an affine combination of the points: ``mix`` [k, p], rows sum to 1; None: the rows themselves."""

    points: Points
    mix: F64 | None = None

    @property
    def count(self) -> int:
        return len(self.points.rows) if self.mix is None else len(self.mix)

    @property
    def origin(self) -> int:
        """Index of the origin among the points."""
        return len(self.points.rows)

    @cached_property
    def coordinates(self) -> F64:
        """``mix``, written out: [k, p]."""
        return np.eye(self.count, self.points.count) if self.mix is None else self.mix

    def mixed(self, matrix: F64) -> Stack:
        """The stack of the rows ``matrix`` [j, k] @ these rows; each row of ``matrix`` sums to 1."""
        return Stack(self.points, matrix @ self.coordinates)

    def inner(self) -> F64:
        """Inner products [k, k] of the rows about the points' centre."""
        gram, m = self.points.gram, self.origin
        if self.mix is None:
            return gram[:m, :m]
        inner: F64 = self.mix @ gram @ self.mix.T
        return (inner + inner.T) / 2  # equal distances must stay equal: ties are broken by more than rounding

    def products(self) -> F64:
        """Inner products [k, k] of the rows about the origin."""
        gram, mix, zero = self.points.gram, self.coordinates, self.origin
        about = gram - gram[zero] - gram[:, zero, None] + gram[zero, zero]
        out: F64 = about[:zero, :zero] if self.mix is None else mix @ about @ mix.T
        return out

    def distances(self) -> F64:
        """Squared Euclidean distances [k, k], float64, zero on the diagonal."""
        inner = self.inner()
        norms = np.diag(inner)
        out = norms[:, None] + norms[None, :] - 2 * inner
        np.fill_diagonal(out, 0.0)
        np.maximum(out, 0.0, out=out)  # rounding may leave a small negative number
        return out

    def distances_to(self, point: int) -> F64:
        """Squared distances [k] of the rows to one of the points."""
        gram, mix = self.points.gram, self.coordinates
        inner = mix @ gram
        own = np.einsum("kp,kp->k", inner, mix)
        out: F64 = np.maximum(own - 2 * inner[:, point] + gram[point, point], 0.0)
        return out

    def norms(self) -> F64:
        """Euclidean norms [k]; the Gram matrix is asked for only where rows are mixed."""
        if self.mix is None:
            return self.points.norms
        out: F64 = np.sqrt(self.distances_to(self.origin))
        return out

    def along(self, vector: F32) -> F64:
        """Inner products [k] of the rows with ``vector`` [d], about the origin."""
        rows = self.points.rows @ vector
        extra = [float(np.dot(other, vector)) for other in self.points.extra]
        products = np.concatenate([rows.astype(np.float64), [0.0], extra])
        return products[: self.count] if self.mix is None else self.mix @ products

    def row(self, at: int) -> F32:
        """One row [d]; read only."""
        return self.points.rows[at] if self.mix is None else self.points.vector(self.mix[at])

    def vector(self, weights: F64) -> F32:
        """The combination ``weights`` [k] @ rows, [d]."""
        return self.points.vector(self.over_points(weights))

    def over_points(self, weights: F64) -> F64:
        """``weights`` [k] of the rows as weights [p] of the points."""
        if self.mix is None:
            return np.concatenate([weights, np.zeros(self.points.count - self.origin)])
        return weights @ self.mix

    def column_blocks(self) -> Iterator[tuple[slice, F32]]:
        """(columns, rows of those columns [k, width]) one block after the other; read only, valid until the next."""
        mix = None if self.mix is None else self.mix.astype(np.float32)
        m, d = self.points.rows.shape
        most = max(m, self.count)
        room = np.empty(0 if mix is None else self.count * widest(most), dtype=np.float32)
        for a, b in blocks(d, most):
            part = self.points.rows[:, a:b]
            if mix is not None:
                mixed = np.matmul(mix[:, :m], part, out=room[: self.count * (b - a)].reshape(self.count, b - a))
                for at, vector in enumerate(self.points.extra, start=m + 1):
                    mixed += np.outer(mix[:, at], vector[a:b])
                part = mixed
            yield slice(a, b), part


def blocks(d: int, rows: int) -> Iterator[tuple[int, int]]:
    """Column ranges (from, to) of a width at which ``rows`` rows fit the cache."""
    width = widest(rows)
    return ((a, min(a + width, d)) for a in range(0, d, width))


def widest(rows: int) -> int:
    """Width of a block of ``rows`` rows."""
    return min(8192, max(1024, BLOCK_VALUES // max(rows, 1)))
