"""Model parameters <-> one flat float32 vector.

Laws: ``flatten(layout, views(layout, v)) == v``; a layout's ``size`` is the sum of its tensors' sizes.
What it does not do: it knows no model; models say their layout (training/models.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wardround.arrays import F32


@dataclass(frozen=True)
class Layout:
    """Where each named tensor lies in the flat vector, in this order and without gaps."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        return tuple(math.prod(shape) for shape in self.shapes)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        starts, at = [], 0
        for size in self.sizes:
            starts.append(at)
            at += size
        return tuple(starts)

    @cached_property
    def size(self) -> int:
        """Number of parameters d."""
        return sum(self.sizes)

    def times(self, count: int) -> Layout:
        """``count`` such models one after the other; the layout itself for one."""
        if count == 1:
            return self
        names = tuple(f"{number}/{name}" for number in range(1, count + 1) for name in self.names)
        return Layout(names, self.shapes * count)


def views(layout: Layout, vector: F32) -> dict[str, F32]:
    """Named views into ``vector`` [d], or into a stack [m, d] with the leading axis kept.

    Raises:
        ValueError: the last axis of ``vector`` is not ``layout.size``.
    """
    if vector.shape[-1] != layout.size:
        raise ValueError(f"the vector holds {vector.shape[-1]} values, the layout {layout.size}")
    lead = vector.shape[:-1]
    return {
        name: vector[..., at : at + size].reshape(*lead, *shape)
        for name, shape, at, size in zip(layout.names, layout.shapes, layout.offsets, layout.sizes, strict=True)
    }


def flatten(layout: Layout, tensors: Mapping[str, F32]) -> F32:
    """The flat vector [d] of ``tensors``.

    Raises:
        ValueError: a tensor is missing, unknown, or of another shape.
    """
    if set(tensors) != set(layout.names):
        raise ValueError(f"tensors {sorted(set(tensors) ^ set(layout.names))} are missing or unknown")
    parts = []
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        tensor = np.asarray(tensors[name], dtype=np.float32)
        if tensor.shape != shape:
            raise ValueError(f"tensor {name} has shape {tensor.shape}, the layout says {shape}")
        parts.append(tensor.ravel())
    return np.concatenate(parts)
