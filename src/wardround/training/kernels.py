"""The layers' mathematics on stacks: m models of one kind at once, forward and hand-written backward, without copies.

Parameters and gradients are stacks [m, d]; every kernel holds views into both and workspaces that live as long as the
chunk. ``forward`` and ``backward`` work on the first ``a`` models and ``b`` rows: clients that are done cost nothing.
A ``Network`` belongs to one thread: its workspaces are overwritten by each call.
What it does not do: losses (loss.py), optimisers (descent.py), batches (batches.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from wardround.arrays import F32, Bool
from wardround.params import views
from wardround.training import layers as parts
from wardround.training.layers import Dense, Layer, Norm, Relu, Skip


class Kernel(Protocol):
    """One layer on a stack. ``x`` [a, b, inputs]; answers are workspaces, valid until the next call."""

    def forward(self, x: F32) -> F32: ...

    def backward(self, gy: F32, into: bool) -> F32:
        """Writes the parameters' gradients; the gradient at the input where ``into`` (else anything)."""
        ...


class Workspace:
    """A buffer for [a, b, width] with a <= m, b <= rows; what it gives is always contiguous."""

    def __init__(self, m: int, rows: int, width: int) -> None:
        self._flat: F32 = np.empty(m * rows * width, dtype=np.float32)
        self._width = width
        self._view = self._flat.reshape(m, rows, width)

    def shaped(self, a: int, b: int) -> F32:
        if self._view.shape[:2] != (a, b):
            self._view = self._flat[: a * b * self._width].reshape(a, b, self._width)
        return self._view


class Network:
    """The layers over the stacks ``w`` and ``g`` [m, d]; batches of at most ``rows``. ``g`` None: forward only."""

    def __init__(self, layers: Sequence[Layer], w: F32, g: F32 | None, rows: int) -> None:
        layout = parts.layout(layers)
        self._w = views(layout, w)
        self._g = views(layout, g) if g is not None else self._w
        self._m, self.rows, self._training = len(w), rows, g is not None
        self._kernels = [self._kernel(layer) for layer in layers]

    def forward(self, x: F32) -> F32:
        """Outputs [a, b, outputs] of ``x`` [a, b, inputs], which is left alone."""
        for kernel in self._kernels:
            x = kernel.forward(x)
        return x

    def backward(self, gy: F32, inner: F32 | None = None) -> None:
        """Gradients of all parameters into ``g``, from the gradient ``gy`` [a, b, outputs] at the outputs, and ``inner``
        [a, b, inputs of the last layer], which is added to the gradient there.
        """
        last = len(self._kernels) - 1
        for at in range(last, -1, -1):
            gy = self._kernels[at].backward(gy, into=at > 0)
            if inner is not None and at == last:
                gy += inner

    @property
    def representation(self) -> F32:
        """What entered the last layer, a dense one, in the last ``forward`` [a, b, its inputs]."""
        output = self._kernels[-1]
        assert isinstance(output, _Dense), "models end in a dense layer"
        return output.entered

    def _kernel(self, layer: Layer) -> Kernel:
        if isinstance(layer, Skip):
            return _Skip([self._kernel(inner) for inner in layer.layers])
        if isinstance(layer, Relu):
            return _Relu()
        first, second = ("weight", "bias") if isinstance(layer, Dense) else ("scale", "shift")
        tensors = tuple(source[f"{layer.name}.{part}"] for part in (first, second) for source in (self._w, self._g))
        if isinstance(layer, Dense):
            return _Dense(
                layer, tensors, self._space(layer.outputs), self._space(layer.inputs if self._training else 0)
            )
        return _Norm(layer, tensors, tuple(self._space(layer.width) for _ in range(3 if self._training else 2)))

    def _space(self, width: int) -> Workspace:
        return Workspace(self._m, self.rows, width)


class _Dense:
    def __init__(self, layer: Dense, tensors: tuple[F32, ...], y: Workspace, gx: Workspace) -> None:
        del layer
        self._w, self._gw, bias, gb = tensors
        self._wt = self._w.transpose(0, 2, 1)
        self._bias, self._gb = bias[:, None, :], gb[:, None, :]
        self._y, self._gx = y, gx

    @property
    def entered(self) -> F32:
        """The input of the last ``forward``."""
        return self._x

    def forward(self, x: F32) -> F32:
        a, b, _ = x.shape
        self._x = x
        y = self._y.shaped(a, b)
        np.matmul(x, self._w[:a], out=y)
        y += self._bias[:a]
        return y

    def backward(self, gy: F32, into: bool) -> F32:
        a, b, _ = gy.shape
        np.matmul(self._x.transpose(0, 2, 1), gy, out=self._gw[:a])
        # a product with ones is three times as fast as add.reduce over the middle axis
        np.matmul(np.ones((1, 1, b), dtype=np.float32), gy, out=self._gb[:a])
        if not into:
            return gy
        gx = self._gx.shaped(a, b)
        np.matmul(gy, self._wt[:a], out=gx)
        return gx


class _Relu:
    """In place on the layer before it, whose backward needs its input only."""

    def __init__(self) -> None:
        self._mask: Bool | None = None

    def forward(self, x: F32) -> F32:
        np.maximum(x, np.float32(0), out=x)
        self._y = x
        return x

    def backward(self, gy: F32, into: bool) -> F32:
        del into
        if self._mask is None or self._mask.shape != gy.shape:
            self._mask = np.empty(gy.shape, dtype=np.bool_)
        np.greater(self._y, np.float32(0), out=self._mask)
        gy *= self._mask
        return gy


class _Norm:
    def __init__(self, layer: Norm, tensors: tuple[F32, ...], spaces: tuple[Workspace, ...]) -> None:
        self._width, self._epsilon = np.float32(layer.width), np.float32(layer.epsilon)
        scale, gs, shift, gb = tensors
        self._scale, self._shift, self._gs, self._gb = scale[:, None, :], shift[:, None, :], gs, gb
        self._spaces = spaces

    def forward(self, x: F32) -> F32:
        a, b, _ = x.shape
        unit, y = self._spaces[0].shaped(a, b), self._spaces[1].shaped(a, b)
        np.subtract(x, x.mean(axis=2, keepdims=True), out=unit)
        np.multiply(unit, unit, out=y)
        self._inverse = 1 / np.sqrt(y.mean(axis=2, keepdims=True) + self._epsilon)
        unit *= self._inverse
        self._unit = unit
        np.multiply(unit, self._scale[:a], out=y)
        y += self._shift[:a]
        return y

    def backward(self, gy: F32, into: bool) -> F32:
        a, b, _ = gy.shape
        gx, unit = self._spaces[2].shaped(a, b), self._unit
        np.multiply(gy, unit, out=gx)
        np.sum(gx, axis=1, out=self._gs[:a])
        np.sum(gy, axis=1, out=self._gb[:a])
        if not into:
            return gy
        # with h = gy * scale: gx = (h - mean(h) - unit * mean(h * unit)) / std, means over the features
        np.multiply(gy, self._scale[:a], out=gx)
        along = np.einsum("abf,abf->ab", gx, unit)[:, :, None] / self._width
        gx -= gx.mean(axis=2, keepdims=True)
        unit *= along
        gx -= unit
        gx *= self._inverse
        return gx


class _Skip:
    def __init__(self, inner: list[Kernel]) -> None:
        self._inner = inner

    def forward(self, x: F32) -> F32:
        y = x
        for kernel in self._inner:
            y = kernel.forward(y)
        y += x
        return y

    def backward(self, gy: F32, into: bool) -> F32:
        del into  # the inner layers give it in any case
        gx = gy
        for kernel in reversed(self._inner):
            gx = kernel.backward(gx, into=True)
        gx += gy
        return gx
