"""The light models a gateway trains: frozen descriptions of 2 thousand to 1 million parameters.

A model says its layers for a number of inputs and classes; engines, bundle and export read nothing else. A new model is
one class here with a line in ``MODELS``, or a third party's entry point ``model.NAME``. A model whose
``module(inputs, outputs)`` gives a ``torch.nn.Module`` trains with the torch engine only (torch_engine.py).
What it does not do: compute (kernels.py, torch_engine.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Protocol

import numpy as np

from wardround.arrays import F32
from wardround.params import Layout
from wardround.training import layers as parts
from wardround.training.layers import Dense, Layer, Norm, Relu, Skip

MOST_BLOCKS = 64


class Model(Protocol):
    """What the round needs to know of a model. ``unsupervised``: it learns from benign rows and its outputs are
    reconstructions [n, inputs]; else they are class logits [n, outputs].
    """

    name: ClassVar[str]
    unsupervised: ClassVar[bool]

    def layout(self, inputs: int, outputs: int) -> Layout:
        """Where the parameters lie."""
        ...

    def init(self, inputs: int, outputs: int, rng: np.random.Generator) -> F32:
        """Starting parameters [d]."""
        ...


class _Layered:
    """Layout and start of a model that is told in layers."""

    def layers(self, inputs: int, outputs: int) -> tuple[Layer, ...]:
        """The layers, in order."""
        raise NotImplementedError

    def layout(self, inputs: int, outputs: int) -> Layout:
        """Where the parameters lie."""
        return parts.layout(self.layers(inputs, outputs))

    def init(self, inputs: int, outputs: int, rng: np.random.Generator) -> F32:
        """Starting parameters [d] (He and Glorot normal)."""
        return parts.init(self.layers(inputs, outputs), rng)


@dataclass(frozen=True)
class Logistic(_Layered):
    """Multinomial logistic regression: one linear layer and softmax. No settings."""

    name: ClassVar[str] = "logistic"
    unsupervised: ClassVar[bool] = False

    def layers(self, inputs: int, outputs: int) -> tuple[Layer, ...]:
        """One dense layer."""
        return (Dense("out", inputs, outputs, "glorot"),)


@dataclass(frozen=True)
class Mlp(_Layered):
    """Multilayer perceptron: dense layers with ReLU between them, softmax at the end.

    Attributes:
        hidden: widths of the hidden layers, first to last.
    """

    name: ClassVar[str] = "mlp"
    unsupervised: ClassVar[bool] = False

    hidden: tuple[int, ...] = (64, 32)

    def __post_init__(self) -> None:
        _check_widths(self.hidden)

    def layers(self, inputs: int, outputs: int) -> tuple[Layer, ...]:
        """Dense and ReLU by turns, then the output layer."""
        return _perceptron((inputs, *self.hidden, outputs))


@dataclass(frozen=True)
class Residual(_Layered):
    """Residual MLP for tables (Gorishniy et al. 2021, without dropout): pre-normalised blocks around a skip.

    Attributes:
        width: features in every block.
        blocks: number of blocks; each is normalise, dense, ReLU, dense, added to its input.
    """

    name: ClassVar[str] = "residual"
    unsupervised: ClassVar[bool] = False

    width: int = 64
    blocks: int = 2

    def __post_init__(self) -> None:
        _check_widths((self.width, self.blocks))
        if self.blocks > MOST_BLOCKS:
            raise ValueError(f"a light model has at most {MOST_BLOCKS} blocks, not {self.blocks}")

    def layers(self, inputs: int, outputs: int) -> tuple[Layer, ...]:
        """Entry, blocks, a last norm, output."""
        w = self.width
        body = tuple(
            Skip(
                (
                    Norm(f"block{i}.norm", w),
                    Dense(f"block{i}.up", w, w),
                    Relu(),
                    Dense(f"block{i}.down", w, w, "glorot"),
                )
            )
            for i in range(1, self.blocks + 1)
        )
        return (Dense("in", inputs, w, "glorot"), *body, Norm("norm", w), Relu(), Dense("out", w, outputs, "glorot"))


@dataclass(frozen=True)
class Autoencoder(_Layered):
    """Learns to reproduce benign rows through a narrow middle; what it reproduces badly is an anomaly.

    Attributes:
        hidden: widths of the hidden layers from input to output; the smallest is the code.
    """

    name: ClassVar[str] = "autoencoder"
    unsupervised: ClassVar[bool] = True

    hidden: tuple[int, ...] = (32, 8, 32)

    def __post_init__(self) -> None:
        _check_widths(self.hidden)

    def layers(self, inputs: int, outputs: int) -> tuple[Layer, ...]:
        """A perceptron from the inputs to the inputs."""
        del outputs
        return _perceptron((inputs, *self.hidden, inputs))


MODELS: tuple[type, ...] = (Logistic, Mlp, Residual, Autoencoder)


def layers_of(model: Model, inputs: int, outputs: int) -> tuple[Layer, ...]:
    """The layers of a model that is told in layers.

    Raises:
        ValueError: the model is a PyTorch module of the user's own.
    """
    tell = getattr(model, "layers", None)
    if tell is None:
        raise ValueError(f'model {model.name!r} is not made of layers: train it with [training] engine = "torch"')
    told: tuple[Layer, ...] = tell(inputs, outputs)
    return told


def _perceptron(widths: Sequence[int]) -> tuple[Layer, ...]:
    found: list[Layer] = []
    for number, (a, b) in enumerate(pairwise(widths[:-1]), 1):
        found += [Dense(f"hidden{number}", a, b), Relu()]
    return (*found, Dense("out", widths[-2], widths[-1], "glorot"))


def _check_widths(widths: Sequence[int]) -> None:
    if not widths or not all(isinstance(width, int) and width >= 1 for width in widths):
        raise ValueError(f"widths and blocks are whole numbers of 1 or more, not {list(widths)}")
