"""What is normal for a type of device, learnt by a federation from sums alone: moments of benign rows, Mahalanobis distance.

    client   benign training rows, of all devices and of each type -> rows, sum s, sum s s'     (set-up, once)
    server   summed moments -> centre, scale, inverse of the shrunk covariance (OAS: Chen et al., IEEE TSP 2010, eq. 23)
    client   benign validation rows -> distances, counted in BINS                               (when measured)

s(x) = sign(x) log(1 + |x|) of a raw value, 0 where it is missing, cut at +-LIMIT; standardised by the benign mean and
deviation plus
FLOOR, cut at +-CLIP. The score is the logarithm of the squared distance per column, so 0 is a usual benign row. A vector of sums
travels in the exact segment of a secure sum: totals are rounded to 2^-8, the default precision of a count.

Laws: moments of parts add up to those of the whole within 2^-9 a part; the fit of the summed moments is the fit of the pooled
rows. What it does not do: autoencoders, thresholds (detect/baseline.py, thresholds.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, F64, I32, I64

LIMIT = 32.0
CLIP = 12.0
FLOOR = 0.02
MOST = 1 << 20
"""Rows of one client that count at most, the newest: with LIMIT^2 a row no total leaves the range of a count."""
ROUNDING = 256.0
BINS = 400
LO, HI = -20.0, 20.0
_FINEST = 5
"""Bins of a score histogram (metrics.ScoreBins: 2000) in one of BINS."""


@dataclass(frozen=True)
class NormalTraffic:
    """A benign-only baseline for each type of device, learnt by the federation from protected sums.

    Attributes:
        fit: learn it: one longer statistics message (columns^2 / 2 numbers for each type), a few hundred counts in each
            measurement; the bundle then carries it, and a gateway without a baseline of its own watches with it.
        least: benign rows in the federation below which a type has none.
    """

    fit: bool = False
    least: int = 300

    def __post_init__(self) -> None:
        if self.least < 2:
            raise ValueError(f"least must be 2 or more, not {self.least}")


@dataclass(frozen=True, eq=False)
class Spread:
    """Normal rows of one type: how many, centre [f], scale [f] of the squeezed columns, inverse covariance [f, f]."""

    rows: int
    centre: F64
    scale: F64
    inverse: F64

    def __post_init__(self) -> None:
        f = len(self.centre)
        if self.scale.shape != (f,) or self.inverse.shape != (f, f):
            raise ValueError(f"scale {self.scale.shape} and inverse {self.inverse.shape} for {f} columns")

    def scores(self, x: F32) -> F64:
        """Log of the squared distance per column [n] of raw rows ``x`` [n, f]."""
        z = np.clip((squeeze(x) - self.centre) / self.scale, -CLIP, CLIP)
        distance = np.einsum("nf,fg,ng->n", z, self.inverse, z)
        found: F64 = np.log(np.maximum(distance / len(self.centre), 1e-9))
        return found


def width(features: int) -> int:
    """Numbers in the moments of one group of rows."""
    return 1 + features + features * (features + 1) // 2


def moments(x: F32) -> F64:
    """Rows, sum of s [f], upper triangle of the sum of s s', of raw rows ``x`` [n, f]; rounded to multiples of 2^-8."""
    s = squeeze(x[-MOST:])
    upper = np.triu_indices(s.shape[1])
    found: F64 = np.concatenate([[float(len(s))], s.sum(0), (s.T @ s)[upper]])
    return np.round(found * ROUNDING) / ROUNDING


def statistics(x: F32, kind: I32, types: int) -> F64:
    """Moments of benign rows ``x`` [n, f]: of all, then of each of ``types`` kinds; ``kind`` [n], -1: no type."""
    return np.concatenate([moments(x), *(moments(x[kind == k]) for k in range(types))])


def fit(total: F64, features: int, least: int) -> tuple[Spread | None, ...]:
    """A ``Spread`` of each group in summed ``statistics``; None where there are fewer than ``least`` rows.

    Raises:
        ValueError: ``total`` is no whole number of groups, or not finite.
    """
    if total.size % width(features) or not np.isfinite(total).all():
        raise ValueError(f"{total.size} moments do not fit {features} columns")
    return tuple(_spread(part, features, least) for part in total.reshape(-1, width(features)))


def counted(spreads: Sequence[Spread | None], x: F32, kind: I32) -> F64:
    """Rows ``x`` by distance [groups * BINS]: to all devices' normal, then each row to that of its own type."""
    found = []
    for group, spread in enumerate(spreads):
        rows = x if group == 0 else x[kind == group - 1]
        scores = np.zeros(0) if spread is None else spread.scores(rows)
        index = np.clip(((scores - LO) * (BINS / (HI - LO))).astype(np.int64), 0, BINS - 1)
        found.append(np.bincount(index, minlength=BINS))
    return np.concatenate(found).astype(np.float64)


def to_arrays(spreads: Sequence[Spread | None], types: Sequence[str], counts: F64) -> dict[str, F32]:
    """For a model's file: arrays by name, of the groups that have a ``Spread``; ``counts`` as ``counted``, or empty."""
    found: dict[str, F32] = {}
    for group, (name, spread) in enumerate(zip(("", *types), spreads, strict=True)):
        if spread is None:
            continue
        mine = counts[group * BINS : (group + 1) * BINS] if counts.size else np.zeros(BINS)
        parts = {"rows": np.array([spread.rows]), "centre": spread.centre, "scale": spread.scale}
        parts |= {"inverse": spread.inverse, "counts": mine}
        found |= {f"normal/{name}/{part}": array.astype(np.float32) for part, array in parts.items()}
    return found


def from_arrays(arrays: Mapping[str, F32]) -> dict[str, tuple[Spread, F64]]:
    """By type ("": all devices) the spread and the counts [BINS] that ``to_arrays`` wrote.

    Raises:
        ValueError: an array is missing, has a wrong shape, or numbers that cannot be.
    """
    found: dict[str, tuple[Spread, F64]] = {}
    for name in sorted({n[len("normal/") : n.rindex("/")] for n in arrays if n.startswith("normal/")}):
        parts = [arrays.get(f"normal/{name}/{part}") for part in ("rows", "centre", "scale", "inverse", "counts")]
        whole = [part.astype(np.float64) for part in parts if part is not None and np.isfinite(part).all()]
        if len(whole) != len(parts) or whole[0].shape != (1,) or whole[1].ndim != 1 or whole[4].shape != (BINS,):
            raise ValueError(f"the federation's normal of {name or 'all devices'} is not whole")
        if (whole[2] <= 0).any() or (whole[4] < 0).any() or whole[0][0] < 1:
            raise ValueError(f"the federation's normal of {name or 'all devices'} has numbers that cannot be")
        found[name] = Spread(int(whole[0][0]), whole[1], whole[2], whole[3]), whole[4]
    return found


def fine(counts: F64, place: float, spread: float, onto: tuple[int, float, float]) -> F64:
    """``counts`` [BINS] of distances as counts of (distance - ``place``) / ``spread`` in ``onto`` (bins, lowest, highest): the
    rows of a bin lie evenly in it, those beyond an end in the last bin.
    """
    bins, lo, hi = onto
    parts = 8 * _FINEST
    middles = LO + (np.arange(BINS * parts) + 0.5) * ((HI - LO) / (BINS * parts))
    index = np.clip(((middles - place) / spread - lo) * (bins / (hi - lo)), 0, bins - 1).astype(np.int64)
    found: F64 = np.bincount(index, np.repeat(counts / parts, parts), bins).astype(np.float64)
    return found


def quantile(counts: F64, share: float) -> float:
    """The distance below which ``share`` of the rows counted [BINS] lie; 0 for no rows."""
    total = counts.sum()
    if not total:
        return 0.0
    below = np.concatenate([[0.0], np.cumsum(counts)]) / total
    return float(np.interp(share, below, np.linspace(LO, HI, BINS + 1)))


def shrunk_inverse(n: float, total: F64, outer: F64) -> F64:
    """Inverse of the OAS-shrunk covariance [p, p] from rows, sum [p] and sum of outer products [p, p]."""
    p = len(total)
    mean = total / n
    s = outer / n - np.outer(mean, mean)
    trace, square = float(np.trace(s)), float(np.square(s).sum())
    above = (1 - 2 / p) * square + trace**2
    below = (n + 1 - 2 / p) * (square - trace**2 / p)
    rho = 1.0 if below <= 0 else min(1.0, above / below)
    shrunk = (1 - rho) * s + np.eye(p) * max(rho * trace / p, 1e-3)
    # sums of which one part lies need not be a covariance: a distance is never negative all the same
    values, vectors = np.linalg.eigh((shrunk + shrunk.T) / 2)
    found: F64 = (vectors / np.maximum(values, 1e-6)) @ vectors.T
    return found


def squeeze(x: F32) -> F64:
    """s(x) [n, f]; 0 where a value is missing."""
    clean = np.nan_to_num(x, nan=0.0, posinf=1e9, neginf=-1e9).astype(np.float64)
    found: F64 = np.clip(np.copysign(np.log1p(np.abs(clean)), clean), -LIMIT, LIMIT)
    return found


def unsqueeze(s: F64) -> F64:
    """The raw value of s."""
    found: F64 = np.copysign(np.expm1(np.abs(s)), s)
    return found


def _spread(part: F64, f: int, least: int) -> Spread | None:
    n = float(part[0])
    if n < least:
        return None
    upper = np.triu_indices(f)
    outer = np.zeros((f, f))
    outer[upper] = part[1 + f :]
    outer = outer + np.triu(outer, 1).T
    centre = part[1 : 1 + f] / n
    covariance = outer / n - np.outer(centre, centre)
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0)) + FLOOR
    scaled = covariance / np.outer(scale, scale)
    return Spread(int(n), centre, scale, shrunk_inverse(n, np.zeros(f), n * scaled))


def benign_of(y: I64, benign: int | None) -> I64:
    """Row numbers of normal traffic; all rows where labels have no such class."""
    return np.arange(len(y)) if benign is None else np.flatnonzero(y == benign)
