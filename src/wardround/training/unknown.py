"""A word that nobody in the federation has (a service, a connection's state): a row that shows one is an attack.

A category's words become inputs where the federation's sums count rows with and without them, so a word that a new site
alone has is no input at all: the model judges the row as if nothing were there. Which words are known is in the announced
preprocessing; with ``[training] unknown_words = "attack"`` the benign logit of such a row falls by ``ALARM`` for each of its
categories without a known word. Nothing is trained and nothing is sent: the same holds under every aggregation.

``Watchful`` does it around an engine (the simulation's view), ``extended`` writes it into the model's own weights: one more
unit in each hidden layer, which is 0 for rows of known words. Scorer, explanation and ONNX export read that like any other
model.

Laws: rows of known words get the very logits they had; ``extended`` and ``Watchful`` agree within float32 rounding.
What it does not do: watch a category of which the federation knows one word or none (it has no input), or one that some row
of the federation lacks (its inputs are 0 there too); tell an unknown word from a missing value where none was missing before
(both are values nobody had); judge numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wardround.arrays import F32, I64
from wardround.params import flatten, views
from wardround.training.models import Logistic, Mlp, Model
from wardround.training.task import Engine, Job, Trained

ALARM = np.float32(50.0)
"""Logits: beyond what a trained model's classes differ by."""


def strangers(x: F32, columns: I64) -> F32:
    """Categories of each prepared row ``x`` [n, inputs] whose value nobody in the federation has [n]; ``columns`` [inputs]: the
    category that each input is a word of, -1 for other inputs (``Preprocessor.categories``).
    """
    used = columns >= 0
    found: F32 = np.float32(len(np.unique(columns[used]))) - x[:, used].sum(1, dtype=np.float32)
    return found


@dataclass(frozen=True, eq=False)
class Watchful:
    """``inner`` as an engine whose logits call rows with an unknown word attacks; training is the inner one's."""

    inner: Engine
    columns: I64
    benign: int

    @property
    def chunk(self) -> int:
        """As the inner one's."""
        return self.inner.chunk

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """As the inner one."""
        return self.inner.train(jobs)

    def outputs(self, parameters: F32, x: F32) -> F32:
        """Logits [n, outputs]."""
        found = self.inner.outputs(parameters, x)
        found[:, self.benign] -= ALARM * strangers(x, self.columns)
        return found


def can(model: Model) -> bool:
    """Whether ``extended`` knows how to write it into such a model."""
    return isinstance(model, Logistic | Mlp)


def extended(model: Model, parameters: F32, outputs: int, columns: I64, benign: int) -> tuple[Model, F32]:
    """``model`` with ``parameters`` [d] for ``len(columns)`` inputs and ``outputs`` classes, and the alarm in its weights:
    (model, parameters). Without a category it is the model as it was.

    Raises:
        ValueError: the model is neither ``mlp`` nor ``logistic``.
    """
    if not can(model):
        raise ValueError(f"an alarm for unknown words can be written into mlp and logistic, not into {model.name}")
    used = (columns >= 0).astype(np.float32)
    categories = np.float32(len(np.unique(columns[columns >= 0])))
    if not categories:
        return model, parameters
    tensors = {name: part.copy() for name, part in views(model.layout(len(columns), outputs), parameters).items()}
    if isinstance(model, Mlp):
        _thread(tensors, len(model.hidden), used, categories)
        tensors["out.weight"][-1, benign] = -ALARM
        model = replace(model, hidden=tuple(width + 1 for width in model.hidden))
    else:
        tensors["out.weight"][:, benign] += ALARM * used
        tensors["out.bias"][benign] -= ALARM * categories
    return model, flatten(model.layout(len(columns), outputs), tensors)


def _thread(tensors: dict[str, F32], hidden: int, used: F32, categories: np.float32) -> None:
    """One unit more in each hidden layer: ``strangers`` in the first, handed on by the others; the output layer gets its row."""
    for number in range(1, hidden + 1):
        weight, bias = tensors[f"hidden{number}.weight"], tensors[f"hidden{number}.bias"]
        if number == 1:
            column = -used[:, None]
        else:
            weight = np.vstack([weight, np.zeros((1, weight.shape[1]), dtype=np.float32)])
            column = np.zeros((len(weight), 1), dtype=np.float32)
            column[-1] = 1.0
        tensors[f"hidden{number}.weight"] = np.hstack([weight, column])
        tensors[f"hidden{number}.bias"] = np.append(bias, categories if number == 1 else np.float32(0))
    out = tensors["out.weight"]
    tensors["out.weight"] = np.vstack([out, np.zeros((1, out.shape[1]), dtype=np.float32)])
