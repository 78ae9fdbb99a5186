"""Exposure: rows nobody sent, made of benign ones, that a detector learns to call attacks.

A classifier is free in what it says of rows unlike any it was trained on, and says "benign" of a flood it never saw
(an MLP found .01 of UDP floods when none was in training). So each gateway adds rows beside its own, anew in every round: a
benign row in which some inputs (1 to half of them) are taken from elsewhere, by thirds

    another benign row      the margins are normal, their combination is not
    one of its other rows   an attack's value in a benign row
    anywhere in the range   of prepared inputs

(outlier exposure, Hendrycks et al. 2019, with synthetic rows as Steinwart et al. 2005 have it: to tell data from such noise is to
estimate benign density). Only for two classes: an invented row has no attack class. Nothing about it leaves the gateway.
"""

from __future__ import annotations

import numpy as np

from wardround.arrays import F32
from wardround.training.task import Rows

RANGE = 3.7
"""Prepared inputs lie within +-RANGE (traffic/preprocess.py)."""


def expose(rows: Rows, benign: int, share: float, rng: np.random.Generator) -> Rows:
    """``rows`` of two classes with ``share`` times as many invented ones of the class that is not ``benign`` after them;
    unchanged where there is no benign row.
    """
    normal = rows.x[rows.y == benign]
    count = round(share * len(rows))
    if not len(normal) or not count:
        return rows
    others = rows.x[rows.y != benign]
    made = _invented(normal, others if len(others) else normal, count, rng)
    return Rows(np.concatenate([rows.x, made]), np.concatenate([rows.y, np.full(count, 1 - benign, dtype=np.int64)]))


def _invented(normal: F32, others: F32, count: int, rng: np.random.Generator) -> F32:
    inputs = normal.shape[1]
    base = normal[rng.integers(0, len(normal), count)]
    changed = rng.random((count, inputs)) < (rng.integers(1, inputs // 2 + 1, count) / inputs)[:, None]
    source = rng.integers(0, 3, count)[:, None]
    columns = np.arange(inputs)
    mixed = normal[rng.integers(0, len(normal), (count, inputs)), columns]
    foreign = others[rng.integers(0, len(others), (count, inputs)), columns]
    anywhere = rng.uniform(-RANGE, RANGE, (count, inputs))
    values = np.where(source == 0, mixed, np.where(source == 1, foreign, anywhere))
    found: F32 = np.where(changed, values, base).astype(np.float32)
    return found
