"""The gate before every rule: a row that is not a usable vector gets weight 0 and is named.

Checked per row: a vector of the right length; finite; Euclidean norm within the limit; a weight that is finite and
not negative. Law: refusing one row changes nothing for the others; the rule sees them as if the row had never come.
Without this one NaN poisons the median, Krum and the geometric median of every library we measured.

What it does not do: judge whether a usable row is honest; that is the rule's business. Under the lattice it sees
cohort means, so a client's own norm has to be bounded on the client's side of the wall.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, F64, I64

# float32 products of two rows must not overflow (3.4e38), also after a translation by another row of this size
NORM_CEILING = 1e15


@dataclass(frozen=True)
class Refusal:
    """A row that was refused: its position and why."""

    row: int
    reason: str


@dataclass(frozen=True, eq=False)
class Gated:
    """What may enter a rule.

    ``rows`` [k, d] (the caller's own array where nothing was left out: read only), their ``norms`` [k] and
    ``weights`` [k], all positive; ``kept`` [k]: their positions among the ``given`` rows. Rows of weight 0 are left
    out without blame: a cohort that holds no data has no opinion.
    """

    rows: F32
    norms: F64
    weights: F64
    kept: I64
    given: int
    refused: tuple[Refusal, ...]

    def spread(self, values: F64) -> F64:
        """``values`` [k] of the kept rows at their places among all rows, 0 elsewhere."""
        out = np.zeros(self.given)
        out[self.kept] = values
        return out


def gate(
    rows: F32 | Sequence[F32], weights: F64, norm_limit: float = NORM_CEILING, dimension: int | None = None
) -> Gated:
    """Let the usable rows through. ``rows``: [m, d], or m vectors of which each may be malformed.

    ``dimension`` is the length a row must have; where it is None, the array's own (a list needs it).

    Raises:
        ValueError: ``weights`` is not [m], or a list of rows comes without ``dimension``.
    """
    given = len(rows)
    if np.shape(weights) != (given,):
        raise ValueError(f"{given} rows came with weights of shape {np.shape(weights)}")
    if dimension is None:
        if not isinstance(rows, np.ndarray) or rows.ndim != 2:
            raise ValueError("rows are an array [m, d], or a list together with the dimension they must have")
        dimension = rows.shape[1]
    limit = min(norm_limit, NORM_CEILING)
    norms, weights = _norms(rows, dimension), np.asarray(weights, dtype=np.float64)
    usable = (norms <= limit) & (weights >= 0) & (weights < np.inf)  # what is not a number is not <= anything
    kept = np.flatnonzero(usable & (weights > 0))
    left_out = () if len(kept) == given else np.flatnonzero(~usable).tolist()
    refused = tuple(Refusal(at, _reason(rows[at], float(weights[at]), dimension, limit)) for at in left_out)
    return Gated(_take(rows, kept, dimension), norms[kept], weights[kept], kept, given, refused)


def _reason(row: F32, weight: float, dimension: int, limit: float) -> str:
    """Why a row was refused."""
    if np.shape(row) != (dimension,):
        return f"shape {np.shape(row)}, ({dimension},) is due"
    bad = int(np.count_nonzero(~np.isfinite(row)))
    if bad:
        return f"{bad} of {dimension} values are not finite"
    if not 0 <= weight < np.inf:
        return f"weight {weight} is not a finite number of 0 or more"
    return f"norm {_long_norm(row):.3g} is over the limit of {limit:.3g}"


def _norms(rows: F32 | Sequence[F32], dimension: int) -> F64:
    """Norms [m] in one pass, float32 inside: infinite far above the ceiling; not a number where a row has another length."""
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(rows, np.ndarray) and rows.shape[1:] == (dimension,):
            squares = np.vecdot(rows, rows)
        else:
            squares = np.array([np.vecdot(row, row) if np.shape(row) == (dimension,) else np.nan for row in rows])
        norms: F64 = np.sqrt(squares, dtype=np.float64)
    return norms


def _long_norm(row: F32) -> float:
    """The norm in float64, where finite float32 values cannot overflow; NaN where a value is not finite."""
    with np.errstate(invalid="ignore"):
        norm = math.sqrt(float(np.sum(np.square(row, dtype=np.float64))))
    return norm if norm < np.inf else np.nan


def _take(rows: F32 | Sequence[F32], kept: I64, dimension: int) -> F32:
    if isinstance(rows, np.ndarray) and rows.shape[1:] == (dimension,):
        return rows if len(kept) == len(rows) else rows[kept]
    usable = [np.asarray(rows[at], dtype=np.float32) for at in kept]
    return np.stack(usable) if usable else np.zeros((0, dimension), dtype=np.float32)
