"""Why a row is an alarm: the five features that carry it, in the device's own words.

    classifier   integrated gradients (Sundararajan et al. 2017) of the attack score between a typical benign row of this device
                 and the row, over STEPS midpoints; words of a category and missing bits count for their column
    baseline     normalised reconstruction error and part of the distance (baseline.py)
    rules        the counter itself (volume.py, arp.py)

Law (completeness): the contributions add up to score(row) - score(reference), to 5 % at 64 steps (tests/detect). Values and usual
ranges are raw numbers in the schema's units; never z-scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wardround.arrays import F32, F64
from wardround.detect.baseline import Baseline
from wardround.detect.findings import Reason
from wardround.detect.scorer import Scorer
from wardround.params import views
from wardround.traffic.preprocess import LOG_SCALE, Curves, Preprocessor
from wardround.traffic.table import Column
from wardround.training import layers as parts
from wardround.training.kernels import Network
from wardround.training.layers import Dense
from wardround.training.metrics import error_scale

STEPS = 64
TOP = 5
_INPUT = "explained input"


class Gradients:
    """Integrated gradients of one scorer's attack score, for any model made of layers.

    An identity layer is put before the model: its bias has, summed over a batch, just the gradient at the inputs.

    Raises:
        ValueError: the model is an autoencoder (its reasons are its errors).
    """

    def __init__(self, scorer: Scorer, steps: int = STEPS) -> None:
        bundle = scorer.bundle
        if bundle.model.unsupervised:
            raise ValueError("integrated gradients are for classifiers: an autoencoder's reasons are its errors")
        self._scorer, self._steps = scorer, steps
        f = bundle.inputs
        stack = (Dense(_INPUT, f, f), *scorer.layers)
        layout = parts.layout(stack)
        tensors = views(bundle.model.layout(f, len(bundle.labels)), bundle.parameters)
        tensors |= {f"{_INPUT}.weight": np.eye(f, dtype=np.float32), f"{_INPUT}.bias": np.zeros(f, np.float32)}
        w = np.concatenate([tensors[name].ravel() for name in layout.names])[None]
        self._g: F32 = np.zeros_like(w)
        self._bias = views(layout, self._g)[f"{_INPUT}.bias"]
        self._network = Network(stack, np.ascontiguousarray(w), self._g, steps)
        self._benign = bundle.benign or 0

    def inputs(self, row: F32, reference: F32) -> F64:
        """Contribution of each model input [inputs] to the attack score of raw ``row`` [f] over raw ``reference`` [f]."""
        z = self._scorer.prepare(np.stack([row, reference]))
        along = ((np.arange(self._steps) + 0.5) / self._steps).astype(np.float32)[:, None]
        path = z[1] + along * (z[0] - z[1])
        logits = self._network.forward(path[None])[0]
        # d score / d logits: softmax over the attack classes, -1 at the benign one
        shifted = np.exp(logits - logits.max(1, keepdims=True))
        shifted[:, self._benign] = 0.0
        slope = shifted / np.maximum(shifted.sum(1, keepdims=True), 1e-30)
        slope[:, self._benign] = -1.0
        self._network.backward(np.ascontiguousarray(slope[None], dtype=np.float32))
        found: F64 = (z[0] - z[1]).astype(np.float64) * self._bias[0] / self._steps
        return found

    def columns(self, row: F32, reference: F32) -> F64:
        """Contribution of each raw column [f]."""
        p = self._scorer.preprocessor
        each = self.inputs(row, reference)
        found = np.zeros(p.features)
        owner = np.concatenate([p.columns, p.words[:, 0], p.masks])
        np.add.at(found, owner, each)
        return found


def reasons(share: F64, row: F32, columns: Sequence[Column], usual: F64, top: int = TOP) -> tuple[Reason, ...]:
    """The ``top`` columns by positive contribution ``share`` [f] of raw ``row`` [f]; ``usual`` [f, 3] low, middle, high."""
    positive = np.maximum(share, 0.0)
    total = float(positive.sum()) or 1.0
    found = []
    for index in np.argsort(-positive, kind="stable")[:top]:
        if positive[index] <= 0:
            break
        column = columns[int(index)]
        found.append(
            Reason(
                words(column),
                float(row[index]),
                float(usual[index, 0]),
                float(usual[index, 2]),
                float(positive[index]) / total,
                column.unit,
            )
        )
    return tuple(found)


def words(column: Column) -> str:
    """A column's name as people say it: ``syn_flag_number`` is "SYN share"."""
    name = column.name
    if name.endswith("_flag_number"):
        return f"{name.removesuffix('_flag_number').upper()} share"
    if column.kind == "flag" and name.isupper():
        return f"{name} share"
    return name.replace("_", " ")


def usual(baseline: Baseline | None, p: Preprocessor) -> F64:
    """Usual range of each raw column [f, 3]: the device type's own 5 %, 50 % and 95 %, else what the federation's curves say."""
    return baseline.quantiles if baseline is not None else from_curves(p)


def from_curves(p: Preprocessor) -> F64:
    """5 %, 50 %, 95 % of each raw column [f, 3] among all the federation's rows, read backwards from its quantile curves
    (to a knot's width); zeros for columns that no curve has.
    """
    found = np.zeros((p.features, 3))
    if not isinstance(p.scaler, Curves):
        return found
    wanted = (-1.645, 0.0, 1.645)
    for row, index in enumerate(p.columns):
        curve = p.scaler.table[row].astype(np.float64)
        knots = np.minimum(np.searchsorted(np.maximum.accumulate(curve), wanted), len(curve) - 1)
        # outside the steps of the curve nothing was ever seen: a flag's range is 0 to 1, not the whole scale
        rising = np.flatnonzero(np.diff(curve) > 0)
        if len(rising):
            knots = np.clip(knots, rising[0], rising[-1] + 1)
        squeezed = p.scaler.lo + knots * p.scaler.width
        found[index] = np.copysign(np.expm1(np.abs(squeezed)) / LOG_SCALE, squeezed)
    return found


def reference(baseline: Baseline | None, p: Preprocessor) -> F32:
    """A typical benign row [f]: the middle of the usual ranges."""
    middle = usual(baseline, p)[:, 1]
    return middle.astype(np.float32)


def errors(scorer: Scorer, row: F32) -> F64:
    """An autoencoder's normalised squared error of each raw column [f]."""
    p, bundle = scorer.preprocessor, scorer.bundle
    assert bundle.typical is not None
    each = np.square(scorer.outputs(row[None]) - scorer.prepare(row[None]))[0] / error_scale(bundle.typical)
    found = np.zeros(p.features)
    np.add.at(found, np.concatenate([p.columns, p.words[:, 0], p.masks]), each)
    return found
