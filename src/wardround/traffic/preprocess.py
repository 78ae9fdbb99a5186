"""Feature rows -> model inputs, by parameters that the federation's sums gave: the half of scaling that gateways keep.

Every step is an elementwise formula or a table lookup with explicit parameters, so that the ONNX export of a model can
carry it. For a number x of a scaled column, s = sign(x) log(1 + 10^6 |x|) in float32, then
    Curves:  p = clip((s - lo) / width, 0, bins);  b = min(floor(p), bins - 1);  T[b] + (p - b) (T[b + 1] - T[b])
    Affine:  clip((s or x - mean) / std, -clip, clip)
and 0 where x is missing. Then one input per (column, word): 1 where the code is that word; then one per masked
column: 1 where it is missing.

Laws: inputs are always finite; ``from_record(to_record(p))`` applies equally, to the bit.
What it does not do: compute the parameters (scaling.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wardround.arrays import F32, I64, Bool

LOG_SCALE = 1e6
PROBIT_LIMIT = 3.7


def signed_log(values: F32) -> F32:
    """s(x) = sign(x) log(1 + 10^6 |x|) in float32; infinite where 10^6 |x| is."""
    with np.errstate(over="ignore"):
        size = np.log(np.float32(1) + np.abs(values) * np.float32(LOG_SCALE))
    signed: F32 = np.copysign(size, values)
    return signed


@dataclass(frozen=True, eq=False)
class Curves:
    """One piecewise linear curve per column over equal knots: ``table`` [c, bins + 1], knot j at s = lo + j * width."""

    lo: float
    width: float
    table: F32

    def apply(self, column: int, values: F32) -> F32:
        """Column number ``column`` of the table on ``values`` [n]; NaN stays NaN."""
        curve = self.table[column]
        bins = len(curve) - 1
        position = np.clip((signed_log(values) - np.float32(self.lo)) / np.float32(self.width), 0, bins)
        present = np.nan_to_num(position, nan=0.0)
        knot = np.minimum(present.astype(np.int32), bins - 1)
        steps = np.diff(curve)
        result: F32 = curve[knot] + (position - knot.astype(np.float32)) * steps[knot]
        return result

    def to_record(self) -> dict[str, Any]:
        return {"kind": "curves", "lo": self.lo, "width": self.width, "table": self.table.tolist()}


@dataclass(frozen=True, eq=False)
class Affine:
    """Centre and divide: ``log`` [c] (squeeze first?), ``mean`` [c], ``std`` [c], then clip to +-``clip``."""

    log: Bool
    mean: F32
    std: F32
    clip: float

    def apply(self, column: int, values: F32) -> F32:
        """Column number ``column`` on ``values`` [n]; NaN stays NaN."""
        squeezed = signed_log(values) if self.log[column] else values
        with np.errstate(over="ignore"):
            scaled: F32 = np.clip((squeezed - self.mean[column]) / self.std[column], -self.clip, self.clip)
        return scaled

    def to_record(self) -> dict[str, Any]:
        lists = {"log": self.log.tolist(), "mean": self.mean.tolist(), "std": self.std.tolist()}
        return {"kind": "affine", **lists, "clip": self.clip}


@dataclass(frozen=True, eq=False)
class Preprocessor:
    """Raw feature rows -> model inputs.

    schema: id of the schema it was made for. names: the model's inputs, in order. features: columns of a raw row.
    columns [c]: schema positions of the scaled columns. words [w, 2]: (schema position, code) of each one-hot input.
    masks [m]: schema positions with a "missing" input. complete: schema positions of categories in which every row of the
    federation has a word (the record does not keep it: it is asked before a model goes into service).
    """

    schema: str
    names: tuple[str, ...]
    features: int
    columns: I64
    scaler: Curves | Affine
    words: I64
    masks: I64
    complete: I64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def apply(self, x: F32) -> F32:
        """Inputs [n, inputs], float32 and finite, of raw rows ``x`` [n, features].

        Raises:
            ValueError: ``x`` has another number of columns.
        """
        if x.ndim != 2 or x.shape[1] != self.features:
            raise ValueError(f"rows of shape {x.shape} for a schema of {self.features} columns")
        inputs = np.empty((len(self.names), len(x)), dtype=np.float32)
        for row, index in enumerate(self.columns):
            inputs[row] = np.nan_to_num(self.scaler.apply(row, np.ascontiguousarray(x[:, index])), nan=0.0)
        at = len(self.columns)
        for row, (index, code) in enumerate(self.words, at):
            inputs[row] = x[:, index] == code
        for row, index in enumerate(self.masks, at + len(self.words)):
            inputs[row] = np.isnan(x[:, index])
        return np.ascontiguousarray(inputs.T)

    def categories(self) -> I64:
        """The schema position of the ``complete`` category that each input [inputs] is a word of; -1 for other inputs."""
        found = np.full(len(self.names), -1, dtype=np.int64)
        of = self.words[:, 0]
        found[len(self.columns) : len(self.columns) + len(of)] = np.where(np.isin(of, self.complete), of, -1)
        return found

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON; float32 values survive exactly."""
        return {
            "schema": self.schema,
            "names": list(self.names),
            "features": self.features,
            "columns": self.columns.tolist(),
            "scaler": self.scaler.to_record(),
            "words": self.words.tolist(),
            "masks": self.masks.tolist(),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Preprocessor:
        """What ``to_record`` wrote.

        Raises:
            ValueError: the record's parts do not fit together.
        """
        try:
            found = cls(
                schema=str(record["schema"]),
                names=tuple(map(str, record["names"])),
                features=int(record["features"]),
                columns=np.array(record["columns"], dtype=np.int64),
                scaler=_scaler(record["scaler"]),
                words=np.array(record["words"], dtype=np.int64).reshape(-1, 2),
                masks=np.array(record["masks"], dtype=np.int64),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a preprocessor's record: {error!r}") from error
        _check(found)
        return found


def _scaler(record: Mapping[str, Any]) -> Curves | Affine:
    if record["kind"] == "curves":
        table = np.array(record["table"], dtype=np.float32)
        return Curves(float(record["lo"]), float(record["width"]), table)
    if record["kind"] != "affine":
        raise ValueError(f"no scaler is named {record['kind']!r}")
    log = np.array(record["log"], dtype=np.bool_)
    mean, std = (np.array(record[key], dtype=np.float32) for key in ("mean", "std"))
    return Affine(log, mean, std, float(record["clip"]))


def _check(p: Preprocessor) -> None:
    """The parts of a record that came from a file must fit, else ``apply`` would fail later or give wrong columns."""
    rows = len(p.scaler.table) if isinstance(p.scaler, Curves) else len(p.scaler.mean)
    if rows != len(p.columns) or len(p.names) != len(p.columns) + len(p.words) + len(p.masks):
        raise ValueError("not a preprocessor's record: names, columns and tables differ in number")
    used = np.concatenate([p.columns, p.words[:, 0], p.masks])
    if len(used) and not 0 <= used.min() <= used.max() < p.features:
        raise ValueError(f"not a preprocessor's record: a column is outside 0..{p.features - 1}")
