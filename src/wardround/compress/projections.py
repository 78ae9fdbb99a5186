"""Linear maps onto fewer numbers that mix coordinates: count sketch and low rank.

    count-sketch   rows x columns of signed sums     Charikar et al. 2002; FetchSGD: Rothchild et al., ICML 2020
    low-rank       M Q and M' P by turns             PowerSGD: Vogels et al., NeurIPS 2019; one factor a round as in
                                                     ACP-SGD: Zhang et al., ICDCS 2023

Both are linear, so they stand under a secure sum. Our study found both weaker than ``importance`` on networks of 10^3
to 10^5 parameters (13 to 18 times fewer bytes against 54 to 68); they are here to be compared with.

PowerSGD needs two sums a round. With one factor a round, the other being the public basis from the last announced model,
one suffices. Law: a difference that lies in the basis passes unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from wardround.arrays import F32, I64
from wardround.compress.codec import LinearMap, Public, checked_share, public_words
from wardround.compress.supports import Stateless
from wardround.params import Layout


@dataclass(frozen=True, eq=False)
class Sketch:
    """``buckets`` [rows, n] and ``signs`` [rows, n] of a count sketch with ``columns`` sums per row."""

    buckets: I64
    signs: F32
    columns: int

    @property
    def inputs(self) -> int:
        return int(self.buckets.shape[1])

    @property
    def outputs(self) -> int:
        return len(self.buckets) * self.columns

    def forward(self, v: F32) -> F32:
        flat = v.reshape(-1, self.inputs)
        sums = [
            [
                np.bincount(bucket, sign * row, self.columns)
                for bucket, sign in zip(self.buckets, self.signs, strict=True)
            ]
            for row in flat
        ]
        return np.array(sums, dtype=np.float32).reshape(*v.shape[:-1], self.outputs)

    def backward(self, z: F32) -> F32:
        table = z.reshape(*z.shape[:-1], len(self.buckets), self.columns)
        estimates = np.stack([table[..., i, bucket] * self.signs[i] for i, bucket in enumerate(self.buckets)])
        median: F32 = np.median(estimates, axis=0).astype(np.float32)
        return median


@dataclass(frozen=True)
class CountSketch(Stateless):
    """Signed sums of coordinates in buckets (count sketch); the server takes the median of each one's estimates.

    Attributes:
        share: numbers sent, as a share of the coordinates.
        rows: independent sketches among which the median is taken; one row is unbiased.
    """

    name: ClassVar[str] = "count-sketch"
    linear: ClassVar[Literal[True]] = True
    share: float = 0.5
    rows: int = 3

    def __post_init__(self) -> None:
        checked_share(self.share)
        if self.rows < 1:
            raise ValueError(f"rows must be 1 or more, not {self.rows}")

    @property
    def biased(self) -> bool:
        return self.rows > 1

    @property
    def shrinks(self) -> bool:
        return False

    def _columns(self, n: int) -> int:
        return max(1, round(self.share * n / self.rows))

    def outputs(self, layout: Layout, turn: int = 0) -> int:
        del turn
        return self.rows * self._columns(layout.size)

    def plan(self, public: Public, round_id: bytes, layout: Layout) -> Sketch:
        del public
        n, columns = layout.size, self._columns(layout.size)
        words = public_words(round_id, self.name, self.rows * n).reshape(self.rows, n)
        buckets = ((words >> np.uint64(1)) % np.uint64(columns)).astype(np.int64)
        signs = (1.0 - 2.0 * (words & np.uint64(1))).astype(np.float32)
        return Sketch(buckets, signs, columns)


@dataclass(frozen=True, eq=False)
class Factors:
    """For each tensor of ``layout`` an orthonormal basis on one side of the matrix, or None: sent as it is."""

    layout: Layout
    bases: tuple[F32 | None, ...]
    left: bool

    @property
    def inputs(self) -> int:
        return self.layout.size

    @property
    def outputs(self) -> int:
        return sum(self._sizes)

    @property
    def _sizes(self) -> list[int]:
        return [
            size if basis is None else basis.shape[1] * shape[1 if self.left else 0]
            for size, shape, basis in zip(self.layout.sizes, self.layout.shapes, self.bases, strict=True)
        ]

    def forward(self, v: F32) -> F32:
        parts = []
        for at, size, shape, basis in self._tensors():
            part = v[..., at : at + size]
            if basis is not None:
                matrix = part.reshape(*v.shape[:-1], *shape)
                part = (basis.T @ matrix if self.left else matrix @ basis).reshape(*v.shape[:-1], -1)
            parts.append(part)
        return np.concatenate(parts, axis=-1)

    def backward(self, z: F32) -> F32:
        out = np.empty((*z.shape[:-1], self.inputs), dtype=np.float32)
        begin = 0
        for (at, size, shape, basis), length in zip(self._tensors(), self._sizes, strict=True):
            part = z[..., begin : begin + length]
            if basis is not None:
                rank = basis.shape[1]
                factor = part.reshape(*z.shape[:-1], *((rank, shape[1]) if self.left else (shape[0], rank)))
                part = (basis @ factor if self.left else factor @ basis.T).reshape(*z.shape[:-1], -1)
            out[..., at : at + size] = part
            begin += length
        return out

    def _tensors(self) -> list[tuple[int, int, tuple[int, ...], F32 | None]]:
        return list(zip(self.layout.offsets, self.layout.sizes, self.layout.shapes, self.bases, strict=True))


@dataclass(frozen=True)
class LowRank:
    """One factor of each weight matrix a round, against a public basis of the other side; vectors as they are. Biased.

    Attributes:
        rank: columns of a factor; matrices with no side longer than this go as they are.
    """

    name: ClassVar[str] = "low-rank"
    linear: ClassVar[Literal[True]] = True
    rank: int = 2

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be 1 or more, not {self.rank}")

    @property
    def biased(self) -> bool:
        return True

    @property
    def shrinks(self) -> bool:
        return True

    def init(self, layout: Layout) -> Public | None:
        """Random bases for the columns' side."""
        return Public(factor=self._pack([self._random(shape[1]) for shape in layout.shapes if self._factored(shape)]))

    def outputs(self, layout: Layout, turn: int = 0) -> int:
        """The two sides of the matrices take turns, and need not be equally long."""
        left = turn % 2 == 1
        return self._map(self._blank(layout, left), layout, left).outputs

    def plan(self, public: Public, round_id: bytes, layout: Layout) -> Factors:
        del round_id
        return self._map(public.factor, layout, public.turn % 2 == 1)

    def learn(self, public: Public, applied: LinearMap, difference: F32) -> Public:
        """The other side's bases: where the difference takes the present ones (a step of the power method)."""
        if not isinstance(applied, Factors):
            raise TypeError("a low-rank codec learns from its own map")
        bases = []
        for at, size, shape, basis in applied._tensors():
            if basis is not None:
                matrix = difference[at : at + size].reshape(shape)
                image = matrix.T @ basis if applied.left else matrix @ basis
                bases.append(_orthonormal(image + np.float32(1e-6) * np.abs(image).max() * self._random(len(image))))
        return Public(public.levels, self._pack(bases), public.turn + 1)

    def _factored(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 2 and min(shape) > self.rank

    def _random(self, rows: int) -> F32:
        words = public_words(b"", f"{self.name} {rows}", rows * self.rank)
        return _orthonormal((words.astype(np.float64) / 2.0**63 - 1.0).reshape(rows, self.rank).astype(np.float32))

    def _blank(self, layout: Layout, left: bool) -> F32:
        rows = sum(shape[0 if left else 1] for shape in layout.shapes if self._factored(shape))
        return np.zeros(rows * self.rank, dtype=np.float32)

    def _map(self, factor: F32, layout: Layout, left: bool) -> Factors:
        bases: list[F32 | None] = []
        at = 0
        for shape in layout.shapes:
            if not self._factored(shape):
                bases.append(None)
                continue
            rows = shape[0 if left else 1]
            bases.append(factor[at : at + rows * self.rank].reshape(rows, self.rank))
            at += rows * self.rank
        return Factors(layout, tuple(bases), left)

    def _pack(self, bases: list[F32]) -> F32:
        return np.concatenate([np.zeros(0, np.float32), *(basis.ravel() for basis in bases)]).astype(np.float32)


def _orthonormal(matrix: F32) -> F32:
    return np.linalg.qr(matrix)[0].astype(np.float32)
