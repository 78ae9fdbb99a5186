"""Federated preprocessing: what a model needs to know about the features, computed as sums over clients.

A client answers one vector of sums over its own rows; only the sum over clients is ever used, so it can travel under
a secure sum. Both strategies first squeeze numbers by s(x) = sign(x) log(1 + 10^6 |x|), which needs no data.

Layout of the vector, column by column as the schema has them:
    quantile  number or flag: rows at each of bins + 1 knots, rows missing
    moments   number or flag: rows present, sum, sum of squares, rows missing
    both      category: rows of each word of the vocabulary, rows missing or unknown
Laws: ``statistics`` of parts add up to those of the whole (``quantile``: exactly; ``moments``: to float64 rounding), so
the fitted ``Preprocessor`` equals the pooled one.
What it does not do: apply the result (preprocess.py), add noise to the counts (each row counts once per column).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Protocol

import numpy as np

from wardround.arrays import F32, F64, I64
from wardround.traffic.preprocess import PROBIT_LIMIT, Affine, Curves, Preprocessor, signed_log
from wardround.traffic.table import Column, Schema

_CONSTANT = 1e-9
"""Variance over mean square below which a column is constant: float64 sums cannot tell less."""


class Scaling(Protocol):
    """A way to scale; ``name`` is what ``use =`` says."""

    name: ClassVar[str]

    def size(self, schema: Schema) -> int:
        """Length k of the statistics vector."""
        ...

    def statistics(self, schema: Schema, x: F32) -> F64:
        """Sums [k] over one client's rows ``x`` [n, f]; zeros for no rows."""
        ...

    def fit(self, schema: Schema, total: F64) -> Preprocessor:
        """The preprocessor that the summed statistics ``total`` [k] say.

        Raises:
            ValueError: ``total`` does not fit the schema, is not finite, or says that no column varies.
        """
        ...


@dataclass(frozen=True)
class Quantile:
    """Each number becomes its quantile among all the federation's rows, on the scale of a standard normal.

    Counts by the nearest of ``bins + 1`` fixed knots are summed over clients and read as a distribution; a knot maps to
    the normal quantile of the middle of its step, clipped to +-3.7; values between knots are interpolated.
    Columns with two values become -1 and 1, constant columns are dropped, a missing value becomes 0.
    A knot stands for 7 % of relative difference at 1,024 bins; columns of narrow range (body temperature) need 4,096.

    Attributes:
        bins: intervals between the fixed knots, from -10^9 to 10^9.
        missing_bits: add an input that says "missing" for every column in which somebody misses values.
    """

    name: ClassVar[str] = "quantile"
    REACH: ClassVar[float] = 35.0

    bins: int = 1024
    missing_bits: bool = True

    def __post_init__(self) -> None:
        if self.bins < 2 or self.bins % 2:
            raise ValueError(f"bins must be even and 2 or more (so that 0 is a knot), not {self.bins}")

    @property
    def width(self) -> float:
        """Distance of two knots in s(x)."""
        return 2 * self.REACH / self.bins

    def size(self, schema: Schema) -> int:
        return sum(_width(column, self.bins + 2) for column in schema.columns)

    def statistics(self, schema: Schema, x: F32) -> F64:
        sums = [_category_counts(c, v) if c.kind == "category" else self._counts(v) for c, v in _columns(schema, x)]
        return np.concatenate(sums)

    def fit(self, schema: Schema, total: F64) -> Preprocessor:
        found = _Inputs(schema, self.missing_bits)
        tables = []
        for index, part in _parts(schema, _checked(total, self.size(schema)), self.bins + 2):
            if schema.columns[index].kind == "category":
                found.category(index, part)
                continue
            if np.count_nonzero(part[:-1]) > 1:
                found.scaled(index)
                tables.append(_curve(part[:-1]))
            found.missing(index, part[-1], part.sum())
        table = np.asarray(tables, dtype=np.float32).reshape(len(tables), self.bins + 1)
        return found.preprocessor(Curves(-self.REACH, self.width, table))

    def _counts(self, values: F32) -> F64:
        present = values[~np.isnan(values)]
        position = (signed_log(present) + np.float32(self.REACH)) / np.float32(self.width)
        knot = np.clip(np.rint(position), 0, self.bins).astype(np.int64)
        counts = np.bincount(knot, minlength=self.bins + 2).astype(np.float64)
        counts[-1] = len(values) - len(present)
        return counts


@dataclass(frozen=True)
class Moments:
    """Each number is centred and divided by its standard deviation over all the federation's rows.

    Constant columns are dropped, a missing value becomes 0 (the mean), results are clipped to +-``clip``.

    Attributes:
        log: squeeze numbers by s(x) first (flags are not).
        clip: largest absolute value of an input.
        missing_bits: add an input that says "missing" for every column in which somebody misses values.
    """

    name: ClassVar[str] = "moments"

    log: bool = True
    clip: float = 6.0
    missing_bits: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.clip < np.inf:
            raise ValueError(f"clip must be above 0 and finite, not {self.clip}")

    def size(self, schema: Schema) -> int:
        return sum(_width(column, 4) for column in schema.columns)

    def statistics(self, schema: Schema, x: F32) -> F64:
        sums = [_category_counts(c, v) if c.kind == "category" else self._sums(c, v) for c, v in _columns(schema, x)]
        return np.concatenate(sums)

    def fit(self, schema: Schema, total: F64) -> Preprocessor:
        found = _Inputs(schema, self.missing_bits)
        affine: list[tuple[bool, float, float]] = []
        for index, part in _parts(schema, _checked(total, self.size(schema)), 4):
            column = schema.columns[index]
            if column.kind == "category":
                found.category(index, part)
                continue
            count, first, second, missing = part
            mean, square = first / max(count, 1.0), second / max(count, 1.0)
            variance = square - mean * mean
            if variance > _CONSTANT * square:
                found.scaled(index)
                affine.append((self._squeezes(column), mean, float(np.sqrt(variance))))
            found.missing(index, missing, count + missing)
        log, mean_, std = (np.array(values) for values in zip(*affine, strict=True)) if affine else (np.empty(0),) * 3
        return found.preprocessor(
            Affine(log.astype(np.bool_), mean_.astype(np.float32), std.astype(np.float32), self.clip)
        )

    def _squeezes(self, column: Column) -> bool:
        return self.log and column.kind == "numeric"

    def _sums(self, column: Column, values: F32) -> F64:
        present = values[~np.isnan(values)]
        squeezed = (signed_log(present) if self._squeezes(column) else present).astype(np.float64)
        return np.array(
            [len(present), squeezed.sum(), (squeezed * squeezed).sum(), len(values) - len(present)], np.float64
        )


STRATEGIES: tuple[type[Quantile | Moments], ...] = (Quantile, Moments)


def label_counts(y: I64, classes: int) -> F64:
    """Rows of each class, [classes]: sums over clients too.

    Raises:
        ValueError: a code is not one of 0..classes-1.
    """
    if len(y) and not 0 <= y.min() <= y.max() < classes:
        raise ValueError(f"labels from {y.min()} to {y.max()} for {classes} classes")
    return np.bincount(y, minlength=classes).astype(np.float64)


class _Inputs:
    """Gathers the model's inputs: scaled columns, then words of categories, then missing bits."""

    def __init__(self, schema: Schema, missing_bits: bool) -> None:
        self._schema, self._missing_bits = schema, missing_bits
        self._scaled: list[int] = []
        self._words: list[tuple[int, int]] = []
        self._masks: list[int] = []
        self._complete: list[int] = []

    def scaled(self, index: int) -> None:
        self._scaled.append(index)

    def category(self, index: int, counts: F64) -> None:
        """One input for each word that some rows have and some have not."""
        rows = counts.sum()
        self._words += [(index, code) for code, count in enumerate(counts[:-1]) if 0 < count < rows]
        if counts[-1] == 0:
            self._complete.append(index)

    def missing(self, index: int, missing: float, rows: float) -> None:
        if self._missing_bits and 0 < missing < rows:
            self._masks.append(index)

    def preprocessor(self, scaler: Curves | Affine) -> Preprocessor:
        columns = self._schema.columns
        names = (
            *(columns[i].name for i in self._scaled),
            *(f"{columns[i].name}={columns[i].vocabulary[code]}" for i, code in self._words),
            *(f"{columns[i].name} missing" for i in self._masks),
        )
        if not names:
            raise ValueError("no column varies among the rows of the federation, so there is nothing to learn from")
        return Preprocessor(
            schema=self._schema.id,
            names=names,
            features=len(columns),
            columns=np.array(self._scaled, dtype=np.int64),
            scaler=scaler,
            words=np.array(self._words, dtype=np.int64).reshape(-1, 2),
            masks=np.array(self._masks, dtype=np.int64),
            complete=np.array(self._complete, dtype=np.int64),
        )


def _columns(schema: Schema, x: F32) -> Iterator[tuple[Column, F32]]:
    return zip(schema.columns, x.T, strict=True)


def _width(column: Column, numeric: int) -> int:
    return len(column.vocabulary) + 1 if column.kind == "category" else numeric


def _parts(schema: Schema, total: F64, numeric: int) -> Iterator[tuple[int, F64]]:
    """Each column's own stretch of the vector."""
    start = 0
    for index, column in enumerate(schema.columns):
        end = start + _width(column, numeric)
        yield index, total[start:end]
        start = end


def _checked(total: F64, size: int) -> F64:
    if total.shape != (size,):
        raise ValueError(f"statistics of shape {total.shape} for a schema that needs {size}")
    if not np.isfinite(total).all():
        raise ValueError("the summed statistics are not finite")
    return total


def _category_counts(column: Column, values: F32) -> F64:
    words = len(column.vocabulary)
    known = (values >= 0) & (values < words)  # False for NaN
    codes = np.where(known, values, words).astype(np.int64)
    return np.bincount(codes, minlength=words + 1).astype(np.float64)


def _curve(counts: F64) -> F32:
    """The normal score at each knot [bins + 1] from the rows at each knot."""
    held = np.flatnonzero(counts)
    if len(held) == 2:
        return np.interp(np.arange(len(counts)), held, [-1.0, 1.0]).astype(np.float32)
    kept = np.maximum(counts, 0)  # noise added for privacy can turn an empty knot negative
    middle = (np.cumsum(kept) - kept / 2) / max(kept.sum(), 1.0)
    return _probit(middle)


def _probit(share: F64) -> F32:
    edge = NormalDist().cdf(-PROBIT_LIMIT)
    inverse = NormalDist().inv_cdf
    unique, which = np.unique(np.clip(share, edge, 1 - edge), return_inverse=True)
    return np.array([inverse(float(p)) for p in unique], dtype=np.float32)[which]
