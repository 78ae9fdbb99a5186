"""One client-side optimiser step on stacks: gradient -> correction, proximal pull, clipping -> SGD or AdamW.

Order and formulas are PyTorch's: FedProx's term is part of the gradient (Li et al. 2020), the norm is clipped after it
(``clip_grad_norm_``), L2 decay and momentum are ``torch.optim.SGD``'s, AdamW (Loshchilov and Hutter 2019) has PyTorch's
default betas and epsilon. State lives for one round. Everything works in place on the first ``a`` rows of [m, d].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wardround.arrays import F32
from wardround.training.task import Job, LocalTraining

BETAS = (0.9, 0.999)
EPSILON = 1e-8
CLIP_EPSILON = 1e-6
"""Added to the norm before dividing, as ``clip_grad_norm_`` does."""


class Descent:
    """The optimisers of a chunk of clients: weights ``w`` and gradients ``g`` [m, d] are updated in place."""

    def __init__(self, training: LocalTraining, jobs: Sequence[Job], w: F32, g: F32) -> None:
        self._training, self._w, self._g = training, w, g
        self._step = 0
        self._proximal = np.array([[job.proximal] for job in jobs], dtype=np.float32)
        self._anchor: F32 | None = None
        if self._proximal.any():
            self._anchor = np.stack([job.start if job.anchor is None else job.anchor for job in jobs])
        self._correction: F32 | None = None
        if any(job.correction is not None for job in jobs):
            zero = np.zeros(w.shape[1], dtype=np.float32)
            self._correction = np.stack([zero if job.correction is None else job.correction for job in jobs])
        # a frozen parameter's gradient is 0 from the first step on, so no momentum moves it; decay is masked with it
        self._free: F32 | None = None
        if any(job.frozen is not None for job in jobs):
            every = np.ones(w.shape[1], dtype=np.float32)
            self._free = np.stack([every if job.frozen is None else ~job.frozen for job in jobs]).astype(np.float32)
        rates = np.array([[job.rate] for job in jobs], dtype=np.float32)
        self._rates = None if (rates == 1).all() else rates
        adam = training.optimiser == "adamw"
        self._first = np.zeros_like(w) if adam or training.momentum else None
        self._second = np.zeros_like(w) if adam else None
        t = training
        self._plain = not (adam or t.momentum or t.weight_decay or t.clip_norm) and (
            self._anchor is None and self._correction is None and self._free is None and self._rates is None
        )

    @property
    def pace(self) -> float:
        """What the loss should multiply its gradient with: plain SGD's step is then one addition."""
        return -self._training.learning_rate if self._plain else 1.0

    def step(self, a: int) -> None:
        """Move the first ``a`` clients' weights by their gradients."""
        w, g = self._w[:a], self._g[:a]
        if self._plain:
            w += g
            return
        self._step += 1
        if self._correction is not None:
            g += self._correction[:a]
        if self._anchor is not None:
            g += self._proximal[:a] * (w - self._anchor[:a])
        if self._free is not None:
            g *= self._free[:a]
        if self._training.clip_norm:
            norm = np.sqrt(np.einsum("md,md->m", g, g))
            g *= np.minimum(1, self._training.clip_norm / (norm + np.float32(CLIP_EPSILON))).astype(np.float32)[:, None]
        if self._second is not None:
            self._adamw(g, w, a)
        else:
            self._sgd(g, w, a)
        # g is the step now: what leaves the weights
        if self._free is not None:
            g *= self._free[:a]
        if self._rates is not None:
            g *= self._rates[:a]
        w -= g

    def _sgd(self, g: F32, w: F32, a: int) -> None:
        """``g`` becomes the step."""
        t = self._training
        if t.weight_decay:
            g += np.float32(t.weight_decay) * w
        if self._first is not None:
            velocity = self._first[:a]
            velocity *= np.float32(t.momentum)
            velocity += g
            np.multiply(velocity, np.float32(t.learning_rate), out=g)
        else:
            g *= np.float32(t.learning_rate)

    def _adamw(self, g: F32, w: F32, a: int) -> None:
        """``g`` becomes the step."""
        assert self._first is not None  # both moments exist together
        assert self._second is not None
        first, second, t = self._first[:a], self._second[:a], self._training
        (b1, b2), rate = BETAS, t.learning_rate
        first *= np.float32(b1)
        first += np.float32(1 - b1) * g
        second *= np.float32(b2)
        g *= g
        g *= np.float32(1 - b2)
        second += g
        np.sqrt(second, out=g)
        g *= np.float32(1 / (1 - b2**self._step) ** 0.5)
        g += np.float32(EPSILON)
        np.divide(first, g, out=g)
        g *= np.float32(rate / (1 - b1**self._step))
        if t.weight_decay:
            g += np.float32(rate * t.weight_decay) * w
