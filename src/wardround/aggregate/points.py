"""Rows as affine combinations of points, so that most rules need one Gram matrix and one weighted sum.

The points are the m rows, the origin, and vectors the server adds (a root direction, last round's centre). Krum, the
geometric median, centred clipping, mixing and the rest only need inner products and return weights over the points: one
blocked pass over [m, d], then work in m x m, then one product w @ X. A pre-aggregation (NNM, bucketing, clipping) is
only a new ``mix`` matrix: no mixed copy of the rows is made.

Precision: products are float32 over blocks of columns and added up in float64. Where the rows lie closely together far from
the origin, a second pass takes them about the middle row, whose median distance to the others is smallest: it lies among the
honest ones, so that their distances keep their digits, whatever a hostile minority sends. In exact arithmetic it cancels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wardround.arrays import F32, F64

BLOCK_VALUES = 1 << 18  # float32 values of a block of columns: 1 MB, which a core's own cache holds
MOST_COLUMNS = 1 << 14  # of a block
CLOSE = 1 / 16  # the middle row's median squared distance, in its squared norms, below which it is the centre
FEW = 16  # rows of which BLAS multiplies a block faster in a general product than in a symmetric one
SMALL_PRODUCT = 10**6  # multiplications that BLAS does without packing its operands first


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
        """Inner products [p, p] of all points about one centre: the origin, or the middle row where rows lie close about it."""
        plain, m = self._products(None), len(self.rows)
        norms = plain.diagonal()[:m]
        reach = np.partition(norms[:, None] + norms - 2 * plain[:m, :m], m // 2, axis=1)[:, m // 2]
        middle = int(np.argmin(reach))
        return plain if reach[middle] >= CLOSE * norms[middle] else self._products(self.rows[middle])

    def _products(self, centre: F32 | None) -> F64:
        """Inner products [p, p] about the origin or about ``centre`` [d]."""
        m, d = self.rows.shape
        written = centre is not None or self.extra  # else the rows' own memory will do: the origin's products are 0
        width = min(fast(self.count, self.count), widest(self.count)) if written else fast(m, m)
        room = np.empty((self.count, width) if written else 0, dtype=np.float32)  # one for all: fresh memory is slow
        total = np.zeros((self.count, self.count))
        for a, b in blocks(d, width):
            block = self._moved(centre, a, b, room[:, : b - a]) if written else self.rows[:, a:b]
            total[: len(block), : len(block)] += own_products(block)
        return total

    def _moved(self, centre: F32 | None, a: int, b: int, out: F32) -> F32:
        """The points' columns ``a`` to ``b`` less those of the centre, written to ``out`` [p, b - a]."""
        m = len(self.rows)
        middle = np.zeros(b - a, dtype=np.float32) if centre is None else centre[a:b]
        np.subtract(self.rows[:, a:b], middle, out=out[:m])
        np.negative(middle, out=out[m])
        for at, vector in enumerate(self.extra, start=m + 1):
            np.subtract(vector[a:b], middle, out=out[at])
        return out

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
        if self.mix is not None:
            return Stack(self.points, matrix @ self.mix)
        mix = np.zeros((len(matrix), self.points.count))
        mix[:, : self.origin] = matrix
        return Stack(self.points, mix)

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
        norms = inner.diagonal()
        out = norms[:, None] + norms - 2 * inner
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

    def column_blocks(self, copied: bool = False, by_column: bool = False) -> Iterator[tuple[slice, F32]]:
        """(columns, rows of those columns [k, width]) one block after the other, valid until the next.

        Read only, unless ``copied``. ``by_column``: copied so that the values of a column lie next to each other.
        """
        mix = None if self.mix is None else self.mix.astype(np.float32)
        k, (m, d) = self.count, self.points.rows.shape
        # where columns are gathered from far apart, narrow blocks are faster
        most = 4 * max(m, k) if by_column else max(m, k)
        width = min(widest(most), d, MOST_COLUMNS if mix is None else fast(k, m))
        written = copied or by_column or mix is not None
        room = np.empty(k * width if written else 0, dtype=np.float32)
        for a, b in blocks(d, width):
            part = self.points.rows[:, a:b]
            if written:
                space = room[: k * (b - a)]
                out = space.reshape(b - a, k).T if by_column else space.reshape(k, b - a)
                part = self._written(mix, a, b, out)
            yield slice(a, b), part

    def _written(self, mix: F32 | None, a: int, b: int, out: F32) -> F32:
        """The rows' columns ``a`` to ``b``, written to ``out`` [k, b - a]."""
        points = self.points
        m, part = len(points.rows), points.rows[:, a:b]
        if mix is None:
            np.copyto(out, part)
            return out
        if out.flags.c_contiguous:
            np.matmul(mix[:, :m], part, out=out)
        else:  # the same product transposed, which is faster than to leave that to numpy
            np.matmul(part.T, mix[:, :m].T, out=out.T)
        for at, vector in enumerate(points.extra, start=m + 1):
            out += np.outer(mix[:, at], vector[a:b])
        return out


def own_products(rows: F32) -> F32:
    """Inner products [k, k] of the rows [k, width] with each other.

    numpy has BLAS multiply a matrix with its own transpose as a symmetric update, which is slow for few rows. A product
    that leaves the last row out is a general one; the last row's products stand in the others' last column.
    """
    if len(rows) > FEW:
        return rows @ rows.T
    out = np.empty((len(rows), len(rows)), dtype=np.float32)
    np.matmul(rows[:-1], rows.T, out=out[:-1])
    out[-1, :-1] = out[:-1, -1]
    out[-1, -1] = np.vdot(rows[-1], rows[-1])
    return out


def blocks(d: int, width: int) -> Iterator[tuple[int, int]]:
    """Column ranges (from, to) of equal width, but for the last one, and of at most ``width``."""
    even = max(-(-d // max(-(-d // width), 1)), 1)
    return ((a, min(a + even, d)) for a in range(0, d, even))


def widest(rows: int) -> int:
    """Width of a block of ``rows`` rows that the cache holds."""
    return min(MOST_COLUMNS, max(1024, BLOCK_VALUES // max(rows, 1)))


def fast(rows: int, others: int) -> int:
    """Width at which products of ``rows`` rows with ``others`` are fast: small ones, where that leaves a block its width."""
    return min(MOST_COLUMNS, SMALL_PRODUCT // (rows * others)) if rows * others <= FEW**2 else MOST_COLUMNS
