"""The layers that light models are made of, as plain descriptions: shapes, starting weights, nothing that computes.

Every engine reads the same description: kernels.py (numpy stacks), torch_engine.py (autograd), onnx_graph.py (export).
Laws: ``layout(layers).size`` is the sum of the layers' parameters; ``init`` depends on the layers and the stream alone.
What it does not do: know which layers make a good model (models.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from wardround.arrays import F32
from wardround.params import Layout, flatten


@dataclass(frozen=True)
class Dense:
    """y = x W + b with W [inputs, outputs], b [outputs].

    ``start``: ``he`` draws W from N(0, 2 / inputs) (He et al. 2015, for layers before a ReLU), ``glorot`` from
    N(0, 2 / (inputs + outputs)) (Glorot and Bengio 2010); biases start at 0.
    """

    name: str
    inputs: int
    outputs: int
    start: Literal["he", "glorot"] = "he"


@dataclass(frozen=True)
class Relu:
    """y = max(x, 0). Never the first or last layer of a model or of a ``Skip``: engines work in place."""


@dataclass(frozen=True)
class Norm:
    """Layer normalisation over the features of each row (Ba et al. 2016) with scale and shift [width]."""

    name: str
    width: int
    epsilon: float = 1e-5


@dataclass(frozen=True)
class Skip:
    """y = x + layers(x) (He et al. 2016)."""

    layers: tuple[Dense | Relu | Norm, ...]


Layer: TypeAlias = Dense | Relu | Norm | Skip


def flat(layers: Sequence[Layer]) -> Iterator[Dense | Relu | Norm]:
    """The layers with those inside a ``Skip`` unfolded, in order."""
    for layer in layers:
        if isinstance(layer, Skip):
            yield from layer.layers
        else:
            yield layer


def layout(layers: Sequence[Layer]) -> Layout:
    """Where each layer's parameters lie: W then b of a dense layer, scale then shift of a norm.

    Raises:
        ValueError: a ``Relu`` stands first or last in the model or in a ``Skip``, or two layers share a name.
    """
    for group in (layers, *(layer.layers for layer in layers if isinstance(layer, Skip))):
        if not group or isinstance(group[0], Relu) or isinstance(group[-1], Relu):
            raise ValueError("a model and a skip need layers, and neither the first nor the last may be a Relu")
    tensors: dict[str, tuple[int, ...]] = {}
    for layer in flat(layers):
        for name, shape in _tensors(layer):
            if name in tensors:
                raise ValueError(f"two layers have a tensor named {name!r}")
            tensors[name] = shape
    return Layout(tuple(tensors), tuple(tensors.values()))


def init(layers: Sequence[Layer], rng: np.random.Generator) -> F32:
    """Starting parameters [d] drawn from ``rng``."""
    tensors: dict[str, F32] = {}
    for layer in flat(layers):
        if isinstance(layer, Dense):
            fan = layer.inputs if layer.start == "he" else layer.inputs + layer.outputs
            drawn = rng.standard_normal((layer.inputs, layer.outputs), dtype=np.float32)
            tensors[f"{layer.name}.weight"] = drawn * np.float32((2.0 / fan) ** 0.5)
            tensors[f"{layer.name}.bias"] = np.zeros(layer.outputs, dtype=np.float32)
        elif isinstance(layer, Norm):
            tensors[f"{layer.name}.scale"] = np.ones(layer.width, dtype=np.float32)
            tensors[f"{layer.name}.shift"] = np.zeros(layer.width, dtype=np.float32)
    return flatten(layout(layers), tensors)


def _tensors(layer: Dense | Relu | Norm) -> tuple[tuple[str, tuple[int, ...]], ...]:
    if isinstance(layer, Dense):
        return (f"{layer.name}.weight", (layer.inputs, layer.outputs)), (f"{layer.name}.bias", (layer.outputs,))
    if isinstance(layer, Norm):
        return (f"{layer.name}.scale", (layer.width,)), (f"{layer.name}.shift", (layer.width,))
    return ()
