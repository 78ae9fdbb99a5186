"""The rows of a round for people: two coordinates per row, what it weighed, what was refused.

The coordinates are the rows' two principal components about their mean, signs fixed so that the larger half of a component is
positive. Two numbers of a cohort's mean (of a client's update where cohorts hold one) are all that leaves the server.
"""

from __future__ import annotations

import numpy as np

from wardround.aggregate.rule import Combined
from wardround.arrays import F32, F64
from wardround.events import RowsJudged

MOST_ROWS = 500  # a round of more rows is not shown row by row


def rows_judged(round_: int, rows: F32, sizes: tuple[int, ...], mean: Combined) -> tuple[RowsJudged, ...]:
    """The event of a round; none where there is nothing to compare, or too much to show."""
    if not 2 <= len(rows) <= MOST_ROWS:
        return ()
    finite = np.isfinite(rows).all(axis=1)
    places = np.zeros((len(rows), 2))
    if finite.sum() >= 2:
        places[finite] = principal(rows[finite])
    weights = () if mean.weights is None else tuple(float(w) for w in mean.weights)
    refused = tuple(f"row {each.row}: {each.reason}" for each in mean.refused)
    x, y = (tuple(float(v) for v in places[:, k]) for k in (0, 1))
    return (RowsJudged(round_, x, y, weights, sizes, refused),)


def principal(rows: F32) -> F64:
    """The first two principal components [m, 2] of rows [m, d], in float64."""
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    places = np.zeros((len(rows), 2))
    for column, at in enumerate(range(len(values) - 1, max(len(values) - 3, -1), -1)):
        part = vectors[:, at] * np.sqrt(max(float(values[at]), 0.0))
        places[:, column] = part * (1.0 if np.sum(part**3) >= 0 else -1.0)
    return places
