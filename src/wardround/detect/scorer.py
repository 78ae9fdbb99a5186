"""A model bundle as a scorer of raw feature rows: numpy alone, no PyTorch, made for a gateway's one core.

    raw rows [n, features] -> preprocessing -> layers -> attack score [n] (training/metrics.py), class and probability

What ``Preprocessor.apply``, the engine and ``metrics.attack_scores`` do in the federation, fused over buffers that live as
long as the scorer: scaled columns are treated as one matrix, biases ride in the products. Laws: prepared inputs equal
``Preprocessor.apply`` to the bit; scores equal the federation's within 1e-4 and the ONNX export's within 1e-3
(tests/detect/test_detect_scorer.py). A scorer belongs to one thread: buffers are overwritten by each call.
What it does not do: thresholds (thresholds.py), explanation (explain.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, F64, I64
from wardround.params import views
from wardround.traffic.preprocess import LOG_SCALE, Curves, Preprocessor
from wardround.training import metrics
from wardround.training.bundle import Bundle
from wardround.training.kernels import Network
from wardround.training.layers import Dense, Layer, Relu
from wardround.training.models import layers_of

# by name: looking them up tells where a row takes microseconds
absolute, add, copysign, divide, floor, log = np.absolute, np.add, np.copysign, np.divide, np.floor, np.log
maximum, minimum, multiply, subtract, total = np.maximum, np.minimum, np.multiply, np.subtract, np.add.reduce
_ZERO = np.zeros((), dtype=np.float32)
TAME_WEIGHT, TAME_SUM, LARGEST = 1e6, 1e25, 600.0
BATCH = 256
"""Rows taken at a time: the working set stays in the second cache."""


@dataclass(frozen=True, eq=False)
class Decisions:
    """Per row: attack ``score`` [n] (log odds; an autoencoder's log error), most likely attack class ``code`` [n] (a
    label's code; the benign one where there is no attack class) and its ``probability`` [n] (0 for autoencoders).
    """

    score: F64
    code: I64
    probability: F64


class Scorer:
    """Scores rows of ``bundle``'s schema.

    Raises:
        ValueError: the model is not made of layers, has no benign class, or an autoencoder lacks its typical errors.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.preprocessor = Preprocessor.from_record(bundle.preprocessing)
        self.layers = layers_of(bundle.model, bundle.inputs, len(bundle.labels))
        if not bundle.model.unsupervised and (bundle.benign is None or len(bundle.labels) < 2):
            raise ValueError("a classifier without a benign and an attack class has no attack score")
        if bundle.model.unsupervised and bundle.typical is None:
            raise ValueError("an autoencoder's bundle needs the typical error of each input")
        self._inputs = _Inputs(self.preprocessor)
        self._forward = _forward(self.layers, bundle)
        attacks = [k for k in range(len(bundle.labels)) if k != bundle.benign]
        self._attacks = np.array(attacks, dtype=np.int64)
        self._attack = np.zeros(len(bundle.labels), dtype=np.float32)
        self._attack[attacks] = 1.0
        # no row with tame inputs leaves the range of float32 then: numpy need not be silenced, which costs a microsecond
        weights = float(np.abs(bundle.parameters).max(initial=0.0))
        self._tame = weights < TAME_WEIGHT and not bundle.model.unsupervised and isinstance(self._forward, _Perceptron)

    def scores(self, x: F32) -> F64:
        """Attack score [n] of raw rows ``x`` [n, features].

        Raises:
            ValueError: ``x`` has another number of columns.
        """
        x = self._checked(x)
        if len(x) == 1 and self._tame:
            inputs = self._inputs.one(x)
            if inputs is not None:
                return np.array([_log_odds(self._forward(inputs)[0].tolist(), self.bundle.benign or 0)])
        with np.errstate(all="ignore"):
            if len(x) <= BATCH:
                return self._scores(x)
            found = np.empty(len(x), dtype=np.float64)
            for at in range(0, len(x), BATCH):
                found[at : at + BATCH] = self._scores(x[at : at + BATCH])
            return found

    def decide(self, x: F32) -> Decisions:
        """Score, class and probability of raw rows ``x`` [n, features].

        Raises:
            ValueError: ``x`` has another number of columns.
        """
        outputs = self.outputs(x)
        if self.bundle.model.unsupervised:
            score = metrics.anomaly_scores(outputs, self.prepare(x), self._typical())
            return Decisions(score, np.full(len(x), self.bundle.benign or 0, dtype=np.int64), np.zeros(len(x)))
        probability = metrics.probabilities(outputs)
        code = self._attacks[outputs[:, self._attacks].argmax(1)]
        score = metrics.attack_scores(outputs, self.bundle.benign or 0)
        return Decisions(score, code, probability[np.arange(len(x)), code])

    def prepare(self, x: F32) -> F32:
        """Model inputs [n, inputs], a copy."""
        x = self._checked(x)
        with np.errstate(all="ignore"):
            parts = [self._inputs(x[at : at + BATCH])[:, :-1].copy() for at in range(0, len(x), BATCH)]
        return np.concatenate(parts) if parts else np.empty((0, self.bundle.inputs), dtype=np.float32)

    def outputs(self, x: F32) -> F32:
        """Logits [n, classes], or reconstructions [n, inputs]."""
        x = self._checked(x)
        with np.errstate(all="ignore"):
            parts = [self._forward(self._inputs(x[at : at + BATCH])).copy() for at in range(0, len(x), BATCH)]
        width = self.bundle.inputs if self.bundle.model.unsupervised else len(self.bundle.labels)
        return np.concatenate(parts) if parts else np.empty((0, width), dtype=np.float32)

    def score_prepared(self, inputs: F32) -> F64:
        """Attack score [n] of at most ``BATCH`` prepared rows [n, inputs + 1] whose last column is 1."""
        with np.errstate(all="ignore"):
            return self._score(inputs)

    def _scores(self, x: F32) -> F64:
        """Of at most ``BATCH`` rows."""
        return self._score(self._inputs(x))

    def _score(self, inputs: F32) -> F64:
        outputs = self._forward(inputs)
        if self.bundle.model.unsupervised:
            return metrics.anomaly_scores(outputs, inputs[:, :-1], self._typical())
        benign = self.bundle.benign or 0
        if len(inputs) == 1:
            return np.array([_log_odds(outputs[0].tolist(), benign)])
        # no shift by the maximum: an exponential that leaves float32's range gives no finite score, and is done again
        odds = np.log(np.exp(outputs) @ self._attack)
        score: F64 = np.subtract(odds, outputs[:, benign], dtype=np.float64)
        if math.isfinite(np.add.reduce(score)):
            return score
        return metrics.attack_scores(outputs, benign)

    def _typical(self) -> F64:
        typical = self.bundle.typical
        assert typical is not None  # the constructor saw it
        return typical

    def _checked(self, x: F32) -> F32:
        if x.ndim != 2 or x.shape[1] != self.preprocessor.features:
            raise ValueError(f"rows of shape {x.shape} for a schema of {self.preprocessor.features} columns")
        return x


class _Inputs:
    """Prepared inputs in one buffer [BATCH, inputs + 1]; the last column is 1 and carries the first layer's bias."""

    def __init__(self, p: Preprocessor) -> None:
        self._p = p
        self._scaled = len(p.columns)
        self._last = self._scaled + len(p.words)
        self._word_columns = p.words[:, 0]
        self._codes = p.words[:, 1].astype(np.float32)
        self._buffer = np.ones((BATCH, len(p.names) + 1), dtype=np.float32)
        self._curves = _CurveTables(p.scaler, p.columns) if isinstance(p.scaler, Curves) else None
        self._row = self._buffer[:1]
        self._row_scaled, self._row_words = self._row[:, : self._scaled], self._row[:, self._scaled : self._last]
        self._words = np.empty((1, len(p.words)), dtype=np.float32)
        self._is_word = np.empty((1, len(p.words)), dtype=np.bool_)

    def one(self, x: F32) -> F32 | None:
        """The inputs of one row; None where it is not tame (missing, infinite or huge values), or there are no curves."""
        if self._curves is None or not self._curves.one(x, self._row_scaled):
            return None
        if self._last > self._scaled:
            x.take(self._word_columns, axis=1, out=self._words, mode="clip")
            np.equal(self._words, self._codes, out=self._is_word)
            np.copyto(self._row_words, self._is_word)
        if len(self._p.masks):
            np.copyto(self._row[:, self._last : -1], np.isnan(x.take(self._p.masks, axis=1)))
        return self._row

    def __call__(self, x: F32) -> F32:
        buffer = self._buffer[: len(x)]
        if self._curves is not None:
            self._curves(x, buffer[:, : self._scaled])
        else:
            for row, index in enumerate(self._p.columns):
                buffer[:, row] = np.nan_to_num(self._p.scaler.apply(row, x[:, index]), nan=0.0)
        if self._last > self._scaled:
            np.equal(x.take(self._word_columns, axis=1), self._codes, out=buffer[:, self._scaled : self._last])
        if len(self._p.masks):
            buffer[:, self._last : -1] = np.isnan(x.take(self._p.masks, axis=1))
        return buffer


class _CurveTables:
    """``Curves.apply`` for all columns at once, the same operations in the same order."""

    def __init__(self, curves: Curves, columns: I64) -> None:
        table = curves.table
        c, width = table.shape
        self._columns = columns
        # arrays of one number: numpy takes them quicker than scalars, which tells for a single row
        self._scale, self._one, self._zero, self._bins, self._lo, self._width = (
            np.array(v, dtype=np.float32) for v in (LOG_SCALE, 1, 0, width - 1, curves.lo, curves.width)
        )
        # one flat table of heights and one of steps; at the last knot the rest is 0, so its step is never felt
        self._left = np.ascontiguousarray(table, dtype=np.float32).ravel()
        steps = np.diff(table, axis=1)
        self._step = np.ascontiguousarray(np.concatenate([steps, np.zeros((c, 1), np.float32)], 1)).ravel()
        self._starts = np.arange(c, dtype=np.int64) * width
        self._spaces: tuple[F32, ...] = tuple(np.empty((BATCH, c), dtype=np.float32) for _ in range(4))
        self._knots: I64 = np.empty((BATCH, c), dtype=np.int64)
        self._row = tuple(space[:1] for space in self._spaces), self._knots[:1]  # cut once: single rows are common

    def one(self, x: F32, into: F32) -> bool:
        """A single row, the same operations; False where a value is missing, infinite or huge."""
        (v, a, f, g), k = self._row
        x.take(self._columns, axis=1, out=v, mode="clip")
        absolute(v, out=a)
        if not total(a, axis=None) < TAME_SUM:
            return False
        multiply(a, self._scale, out=a)
        add(a, self._one, out=a)
        log(a, out=a)
        copysign(a, v, out=a)
        subtract(a, self._lo, out=a)
        divide(a, self._width, out=a)
        maximum(a, self._zero, out=a)
        minimum(a, self._bins, out=a)
        floor(a, out=f)
        np.copyto(k, f, casting="unsafe")
        add(k, self._starts, out=k)
        subtract(a, f, out=a)
        self._step.take(k, out=g, mode="clip")
        multiply(a, g, out=a)
        self._left.take(k, out=g, mode="clip")
        add(g, a, out=into)
        return True

    def __call__(self, x: F32, into: F32) -> None:
        n = len(x)
        (v, a, f, g), k = tuple(s[:n] for s in self._spaces), self._knots[:n]
        x.take(self._columns, axis=1, out=v, mode="clip")
        np.abs(v, out=a)
        np.multiply(a, self._scale, out=a)
        np.add(a, self._one, out=a)
        np.log(a, out=a)
        np.copysign(a, v, out=a)
        np.subtract(a, self._lo, out=a)
        np.divide(a, self._width, out=a)
        # fmax and fmin take the number where the other is NaN: a missing value is set to 0 at the end
        np.fmax(a, self._zero, out=a)
        np.fmin(a, self._bins, out=a)
        np.floor(a, out=f)
        np.copyto(k, f, casting="unsafe")
        np.add(k, self._starts, out=k)
        np.subtract(a, f, out=a)
        self._step.take(k, out=g, mode="clip")
        np.multiply(a, g, out=a)
        self._left.take(k, out=g, mode="clip")
        np.add(g, a, out=into)
        total = float(np.add.reduce(v, axis=None))
        if total != total:  # noqa: PLR0124 - a value is missing (or two infinities met): the slow way
            into[np.isnan(v)] = 0.0


def _log_odds(logits: list[float], benign: int) -> float:
    """``metrics.attack_scores`` of one row: for nineteen numbers plain Python beats numpy's calls."""
    normal = logits.pop(benign)
    top = max(logits)
    if -LARGEST < top < LARGEST:  # no exponential leaves float64's range
        return math.log(sum(map(math.exp, logits))) - normal
    if not math.isfinite(top):
        return math.nan
    return top + math.log(math.fsum([math.exp(z - top) for z in logits])) - normal


def _forward(layers: tuple[Layer, ...], bundle: Bundle) -> Callable[[F32], F32]:
    perceptron = all(isinstance(layer, Dense | Relu) for layer in layers)
    return _Perceptron(layers, bundle) if perceptron else _Stack(layers, bundle)


class _Perceptron:
    """Dense and ReLU layers by turns, each bias one more row of its matrix. Buffers end in a column of ones."""

    def __init__(self, layers: tuple[Layer, ...], bundle: Bundle) -> None:
        tensors = views(bundle.model.layout(bundle.inputs, len(bundle.labels)), bundle.parameters)
        self._steps: list[tuple[F32, F32, bool]] = []
        dense = [layer for layer in layers if isinstance(layer, Dense)]
        for number, layer in enumerate(dense):
            last = number == len(dense) - 1
            weight, bias = tensors[f"{layer.name}.weight"], tensors[f"{layer.name}.bias"]
            matrix = np.zeros((layer.inputs + 1, layer.outputs + (not last)), dtype=np.float32)
            matrix[:-1, : layer.outputs], matrix[-1, : layer.outputs] = weight, bias
            if not last:
                matrix[-1, -1] = 1.0  # the column of ones goes on, and ReLU leaves it alone
            self._steps.append((matrix, np.empty((BATCH, matrix.shape[1]), dtype=np.float32), not last))

    def __call__(self, inputs: F32) -> F32:
        n = len(inputs)
        for matrix, space, relu in self._steps:
            y = space[:n]
            np.dot(inputs, matrix, out=y)
            if relu:
                np.maximum(y, _ZERO, out=y)
            inputs = y
        return inputs


class _Stack:
    """Any layers, by the training kernels."""

    def __init__(self, layers: tuple[Layer, ...], bundle: Bundle) -> None:
        self._network = Network(layers, bundle.parameters[None], None, BATCH)

    def __call__(self, inputs: F32) -> F32:
        found: F32 = self._network.forward(np.ascontiguousarray(inputs[:, :-1])[None])[0]
        return found
