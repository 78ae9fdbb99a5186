"""The stacked engine: a chunk of clients trains as one stack of matrices, in numpy, without PyTorch.

Every batched product runs over [clients, rows, features], so Python and numpy's call costs are paid once per chunk and
step instead of once per client and step. The chunk is sized to keep weights and gradients in the cache. Clients are
sorted by their number of steps: those that are done leave the stack from its end.

Laws (tests/laws/test_training_stacked_laws.py): a client's result is what it would get alone, to float32 rounding, and
equal to the bit for equal chunks. The weights are PyTorch's on the same batches within 1e-6 after one round, except
where a value before a ReLU lies within rounding of 0 and the two engines take its two sides.
The engine holds no state between calls: workspaces belong to the call, so threads may share one engine.
What it does not do: pin BLAS to one thread (the driver does, by threadpoolctl), train modules of the user's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wardround.arrays import F32, F64
from wardround.training import layers as parts
from wardround.training.batches import Step, steps, steps_of
from wardround.training.contrast import Contrasting
from wardround.training.descent import Descent
from wardround.training.kernels import Network
from wardround.training.loss import cross_entropy, squared_error
from wardround.training.models import Model, layers_of
from wardround.training.task import Job, LocalTraining, Trained

_CHUNK_BYTES = 5 * 2**18
"""Weights of a chunk; with the gradients twice that, which streams from the shared cache while the products run."""
_LARGEST_CHUNK = 64
_ROWS = 4096
"""Rows that ``outputs`` takes at a time."""


class StackedEngine:
    """Trains ``model`` as ``training`` says, for rows of ``inputs`` features and ``classes`` classes.

    Raises:
        ValueError: the model is not made of layers.
    """

    def __init__(self, model: Model, training: LocalTraining, inputs: int, classes: int) -> None:
        self._layers = layers_of(model, inputs, classes)
        self._training = training
        self._inputs, self._classes, self._unsupervised = inputs, classes, model.unsupervised
        self._d = parts.layout(self._layers).size

    @property
    def chunk(self) -> int:
        """Jobs per chunk that keep the stack in the cache."""
        return max(1, min(_LARGEST_CHUNK, _CHUNK_BYTES // (4 * self._d)))

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """Train every job; results in the order of the jobs.

        Raises:
            ValueError: a job's rows, start, correction or class weights do not fit the model.
        """
        for job in jobs:
            check(job, self._d, self._inputs, self._classes)
        counts = [steps_of(len(job.rows), self._training) for job in jobs]
        order = sorted((i for i in range(len(jobs)) if counts[i]), key=lambda i: -counts[i])
        results = [idle(job) for job in jobs]
        if order:
            trained = self._train([jobs[i] for i in order], [counts[i] for i in order])
            for i, result in zip(order, trained, strict=True):
                results[i] = result
        return results

    def outputs(self, parameters: F32, x: F32) -> F32:
        """Outputs [n, outputs] of the model with ``parameters`` [d] on prepared rows ``x`` [n, f].

        Raises:
            ValueError: ``parameters`` or ``x`` do not fit the model.
        """
        if parameters.shape != (self._d,) or x.ndim != 2 or x.shape[1] != self._inputs:
            raise ValueError(
                f"parameters {parameters.shape} and rows {x.shape} do not fit d = {self._d}, f = {self._inputs}"
            )
        network = Network(self._layers, parameters[None], None, min(_ROWS, max(1, len(x))))
        found = np.empty((len(x), self._inputs if self._unsupervised else self._classes), dtype=np.float32)
        with np.errstate(all="ignore"):  # a diverged model's outputs are not finite, and the caller sees it
            for at in range(0, len(x), _ROWS):
                found[at : at + _ROWS] = network.forward(x[None, at : at + _ROWS])[0]
        return found

    def _train(self, jobs: list[Job], counts: list[int]) -> list[Trained]:
        """Jobs sorted by ``counts``, all positive."""
        m = len(jobs)
        w, g = _stack(m, self._d), _stack(m, self._d)
        for i, job in enumerate(jobs):
            w[i] = job.start
        network = Network(self._layers, w, g, min(self._training.batch_size, max(len(job.rows) for job in jobs)))
        descent = Descent(self._training, jobs, w, g)
        plain = self._unsupervised or all(job.offset is None for job in jobs)
        offsets = None if plain else _offsets(jobs, self._classes)
        contrasting = Contrasting.of(self._layers, jobs, network.rows)
        losses = np.zeros(m)
        with np.errstate(all="ignore"):  # a client may diverge; the round's gate says so
            for step in steps(jobs, counts, self._training.batch_size):
                self._step(network, descent, step, (losses, offsets, contrasting))
            return [
                Trained(job.client, w[i] - job.start, counts[i], float(losses[i] / counts[i]), len(job.rows))
                for i, job in enumerate(jobs)
            ]

    def _step(
        self, network: Network, descent: Descent, step: Step, loss: tuple[F64, F32 | None, Contrasting | None]
    ) -> None:
        """``loss``: what adds up [m], the logits' offsets [m, 1, classes] or None, the term on representations or None."""
        a, (losses, offsets, contrasting) = len(step.x), loss
        z = network.forward(step.x)
        inner = contrasting.gradient(network.representation, step, descent.pace) if contrasting else None
        if offsets is not None:
            z += offsets[:a]
        if self._unsupervised:
            losses[:a] += squared_error(z, step.x, step.share, descent.pace)
        else:
            losses[:a] += cross_entropy(z, step.y, step.share, descent.pace)
        network.backward(z, inner)
        descent.step(a)


def check(job: Job, d: int, inputs: int, classes: int) -> None:
    """Does the job fit a model of ``d`` parameters?

    Raises:
        ValueError: it does not; the text says what and where.
    """
    rows, who = job.rows, f"client {job.client}"
    if rows.x.shape != (len(rows.y), inputs):
        raise ValueError(f"{who}: rows {rows.x.shape} and labels {rows.y.shape} for a model of {inputs} inputs")
    if len(rows.y) and not 0 <= rows.y.min() <= rows.y.max() < classes:
        raise ValueError(f"{who}: labels from {rows.y.min()} to {rows.y.max()} for {classes} classes")
    for name, vector, length in (
        ("start", job.start, d),
        ("correction", job.correction, d),
        ("class weights", job.class_weights, classes),
        ("anchor", job.anchor, d),
        ("frozen", job.frozen, d),
        ("offset", job.offset, classes),
        ("contrast", job.contrast.away if job.contrast else None, d),
    ):
        if vector is not None and vector.shape != (length,):
            raise ValueError(f"{who}: {name} of shape {vector.shape}, the model needs ({length},)")


def _offsets(jobs: Sequence[Job], classes: int) -> F32:
    """[m, 1, classes]; 0 for jobs without."""
    none = np.zeros(classes, dtype=np.float32)
    return np.stack([none if job.offset is None else job.offset for job in jobs])[:, None, :]


def idle(job: Job) -> Trained:
    """The result of a client without rows: it stays where it is."""
    return Trained(job.client, np.zeros_like(job.start), 0, 0.0, len(job.rows))


def _stack(m: int, d: int) -> F32:
    """An uninitialised [m, d] whose rows start on cache lines."""
    padded = -(-d // 16) * 16
    return np.empty((m, padded), dtype=np.float32)[:, :d]
