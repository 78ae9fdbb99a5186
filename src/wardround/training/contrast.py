"""Model-contrastive training (MOON, Li et al., CVPR 2021) on stacks: representations near the common model's, off the old ones.

A row's representation is what enters the output layer. The term compares it by cosines with those of two models that stay as
they are: the round's common one (the job's anchor) and the client's of the round before (``Contrast.away``). Each step costs two
more forward passes; the gradient joins the network's where the representation enters the output layer.

Law: the torch engine, which writes the loss down and differentiates it, trains the same weights to rounding.
What it does not do: a projection head of its own (the paper's; the models here are small).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wardround.arrays import F32
from wardround.training.batches import Step
from wardround.training.kernels import Network
from wardround.training.layers import Dense, Layer
from wardround.training.task import Job

EPSILON = 1e-8
"""Least norm of a representation (a row may leave every ReLU at 0), as torch's ``cosine_similarity`` has it."""


class Contrasting:
    """The two models that a chunk's representations are compared with."""

    def __init__(self, layers: Sequence[Layer], jobs: Sequence[Job], rows: int) -> None:
        body_of(layers)
        none = np.zeros_like(jobs[0].start)
        near = np.stack([job.start if job.anchor is None else job.anchor for job in jobs])
        away = np.stack([job.contrast.away if job.contrast else none for job in jobs])
        self._near, self._away = Network(layers, near, None, rows), Network(layers, away, None, rows)
        pull = [job.contrast.weight / job.contrast.temperature if job.contrast else 0.0 for job in jobs]
        heat = [job.contrast.temperature if job.contrast else 1.0 for job in jobs]
        self._pull = np.array(pull, dtype=np.float32)[:, None]
        self._heat = np.array(heat, dtype=np.float32)[:, None]

    @classmethod
    def of(cls, layers: Sequence[Layer], jobs: Sequence[Job], rows: int) -> Contrasting | None:
        """None where no job asks for it."""
        return cls(layers, jobs, rows) if any(job.contrast for job in jobs) else None

    def gradient(self, h: F32, step: Step, pace: float) -> F32:
        """Gradient [a, b, width] of the term at the representations ``h``, times ``pace``."""
        a = len(h)
        near, to_near = _cosines(h, self._seen(self._near, step))
        away, to_away = _cosines(h, self._seen(self._away, step))
        wrong = 1 / (1 + np.exp((near - away) / self._heat[:a]))
        scale = (np.float32(pace) * self._pull[:a] * step.share * wrong).astype(np.float32)
        found: F32 = scale[:, :, None] * (to_away - to_near)
        return found

    @staticmethod
    def _seen(network: Network, step: Step) -> F32:
        network.forward(step.x)
        return network.representation


def body_of(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers that make the representation: all but the last.

    Raises:
        ValueError: the model has no hidden layer, or does not end in a dense one.
    """
    if len(layers) < 2 or not isinstance(layers[-1], Dense):
        raise ValueError("model-contrastive training needs a model with a hidden layer")
    return tuple(layers[:-1])


def _cosines(h: F32, g: F32) -> tuple[F32, F32]:
    """Cosines [a, b] of the rows of ``h`` and ``g`` [a, b, width], and their gradient at ``h``."""
    size = np.maximum(np.sqrt(np.einsum("abf,abf->ab", h, h)), np.float32(EPSILON))
    other = np.maximum(np.sqrt(np.einsum("abf,abf->ab", g, g)), np.float32(EPSILON))
    cosine = np.einsum("abf,abf->ab", h, g) / (size * other)
    gradient = g / (size * other)[:, :, None] - h * (cosine / (size * size))[:, :, None]
    return cosine, gradient
