"""The torch engine: one client after the other, by autograd; for any ``torch.nn.Module`` (extra wardround[torch]).

A model of the user's own is a frozen dataclass (entry point ``model.NAME`` in ``wardround.strategies``) with ``name``,
``unsupervised`` and ``module(inputs, outputs) -> torch.nn.Module``; ``module_layout`` and ``module_init`` give its
other two methods. The models of models.py run here too, which is how the stacked engine is checked.
Law: the same batches and, to float32 rounding, the same weights as stacked.py.
What it does not do: modules with buffers that training changes (batch normalisation): they are not parameters, so they
could not be averaged. Dropout draws from torch's own global stream: such runs are not reproducible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.nn import functional

from wardround.arrays import F32
from wardround.params import Layout, flatten, views
from wardround.training.batches import steps, steps_of
from wardround.training.contrast import body_of
from wardround.training.descent import BETAS, EPSILON
from wardround.training.layers import Dense, Layer, Norm, Relu, Skip
from wardround.training.models import Model, layers_of
from wardround.training.stacked import check, idle
from wardround.training.task import Job, LocalTraining, Trained

Tensors: TypeAlias = dict[str, torch.Tensor]
Forward: TypeAlias = Callable[[Tensors, torch.Tensor], torch.Tensor]
_ROWS = 4096


class TorchEngine:
    """Trains ``model`` as ``training`` says, for rows of ``inputs`` features and ``classes`` classes.

    Raises:
        ValueError: the model's module has buffers, or the model gives neither layers nor a module.
    """

    def __init__(self, model: Model, training: LocalTraining, inputs: int, classes: int) -> None:
        self._layout = model.layout(inputs, classes)
        self._forward = _forward(model, inputs, classes)
        told = getattr(model, "layers", None)
        self._layers: tuple[Layer, ...] = told(inputs, classes) if told is not None else ()
        self._training = training
        self._inputs, self._classes, self._unsupervised = inputs, classes, model.unsupervised

    @property
    def chunk(self) -> int:
        """One: there is no stack."""
        return 1

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """Train every job; results in the order of the jobs.

        Raises:
            ValueError: a job's rows, start, correction or class weights do not fit the model.
        """
        for job in jobs:
            check(job, self._layout.size, self._inputs, self._classes)
        return [self._train(job) if len(job.rows) else idle(job) for job in jobs]

    def outputs(self, parameters: F32, x: F32) -> F32:
        """Outputs [n, outputs] of the model with ``parameters`` [d] on prepared rows ``x`` [n, f]."""
        tensors = self._tensors(parameters)
        with torch.no_grad():
            parts = [self._forward(tensors, torch.from_numpy(x[at : at + _ROWS])) for at in range(0, len(x), _ROWS)]
        width = self._inputs if self._unsupervised else self._classes
        return torch.cat(parts).numpy() if parts else np.empty((0, width), dtype=np.float32)

    def _train(self, job: Job) -> Trained:
        tensors = self._tensors(job.start)
        for tensor in tensors.values():
            tensor.requires_grad_()
        optimiser = _optimiser(self._training, list(tensors.values()), job.rate)
        frozen = self._tensors(job.frozen.astype(np.float32)) if job.frozen is not None else {}
        offset = torch.from_numpy(job.offset.copy()) if job.offset is not None and not self._unsupervised else None
        count, losses = steps_of(len(job.rows), self._training), 0.0
        for step in steps([job], [count], self._training.batch_size):
            optimiser.zero_grad()
            x, y, share = (torch.from_numpy(part[0].copy()) for part in (step.x, step.y, step.share))
            z = self._forward(tensors, x)
            loss = self._loss(z if offset is None else z + offset, x, y, share)
            (loss + self._contrast(job, tensors, x, share)).backward()  # type: ignore[no-untyped-call]
            self._adjust(job, tensors, frozen)
            before = {name: tensor.detach().clone() for name, tensor in tensors.items()} if frozen else {}
            optimiser.step()
            with torch.no_grad():  # decay moves frozen parameters too: put them back
                for name, fixed in frozen.items():
                    tensors[name].copy_(torch.where(fixed > 0, before[name], tensors[name]))
            losses += loss.item()
        after = flatten(self._layout, {name: tensor.detach().numpy() for name, tensor in tensors.items()})
        return Trained(job.client, after - job.start, count, losses / count, len(job.rows))

    def _loss(self, z: torch.Tensor, x: torch.Tensor, y: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        if self._unsupervised:
            return ((z - x).square().mean(dim=1) * share).sum()
        return (functional.cross_entropy(z, y, reduction="none") * share).sum()

    def _contrast(self, job: Job, tensors: Tensors, x: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """The model-contrastive term (contrast.py)."""
        if job.contrast is None:
            return torch.zeros(())
        body = body_of(self._layers)
        h = _layers(body, tensors, x)
        with torch.no_grad():
            near = _layers(body, self._tensors(job.start if job.anchor is None else job.anchor), x)
            away = _layers(body, self._tensors(job.contrast.away), x)
        near_by, away_by = (functional.cosine_similarity(h, other, dim=1) for other in (near, away))
        term = functional.softplus((away_by - near_by) / job.contrast.temperature)
        return job.contrast.weight * (share * term).sum()

    def _adjust(self, job: Job, tensors: Tensors, frozen: Tensors) -> None:
        """SCAFFOLD's correction, FedProx's pull, freezing, clipping: in this order, as descent.py has it."""
        start = self._tensors(job.start if job.anchor is None else job.anchor) if job.proximal else {}
        correction = self._tensors(job.correction) if job.correction is not None else {}
        with torch.no_grad():
            for name, tensor in tensors.items():
                gradient = tensor.grad if tensor.grad is not None else torch.zeros_like(tensor)
                if correction:
                    gradient += correction[name]
                if start:
                    gradient += job.proximal * (tensor - start[name])
                if frozen:
                    gradient *= 1 - frozen[name]
                tensor.grad = gradient
        if self._training.clip_norm:
            torch.nn.utils.clip_grad_norm_(list(tensors.values()), self._training.clip_norm)

    def _tensors(self, vector: F32) -> Tensors:
        """Copies, so that training never writes into a job."""
        return {name: torch.from_numpy(part.copy()) for name, part in views(self._layout, vector).items()}


def module_layout(module: torch.nn.Module) -> Layout:
    """The layout of a module's parameters, by their names in it."""
    named = dict(module.named_parameters())
    return Layout(tuple(named), tuple(tuple(tensor.shape) for tensor in named.values()))


def module_init(module: torch.nn.Module, rng: np.random.Generator) -> F32:
    """Starting parameters [d] from ``rng``: PyTorch's rule for its linear layers, uniform within 1 / sqrt(inputs) for
    tensors of two or more axes, and the module's own values for the rest (norms, biases).
    """
    found = {}
    for name, tensor in module.named_parameters():
        values = tensor.detach().numpy()
        reach = float(np.prod(values.shape[1:])) ** -0.5
        found[name] = rng.uniform(-reach, reach, values.shape).astype(np.float32) if values.ndim > 1 else values
    return flatten(module_layout(module), found)


def _forward(model: Model, inputs: int, classes: int) -> Forward:
    build = getattr(model, "module", None)
    if build is None:
        layers = layers_of(model, inputs, classes)
        return lambda tensors, x: _layers(layers, tensors, x)
    module: torch.nn.Module = build(inputs, classes)
    kept = [name for name, _ in module.named_buffers()]
    if kept:
        raise ValueError(f"model {model.name!r} has buffers {kept}: they cannot be averaged; use layer normalisation")
    return lambda tensors, x: torch.func.functional_call(module, tensors, (x,))


def _layers(layers: Sequence[Layer], tensors: Tensors, x: torch.Tensor) -> torch.Tensor:
    for layer in layers:
        x = x + _layers(layer.layers, tensors, x) if isinstance(layer, Skip) else _layer(layer, tensors, x)
    return x


def _layer(layer: Dense | Relu | Norm, tensors: Tensors, x: torch.Tensor) -> torch.Tensor:
    if isinstance(layer, Dense):
        return torch.addmm(tensors[f"{layer.name}.bias"], x, tensors[f"{layer.name}.weight"])
    if isinstance(layer, Norm):
        scale, shift = tensors[f"{layer.name}.scale"], tensors[f"{layer.name}.shift"]
        return functional.layer_norm(x, (layer.width,), scale, shift, layer.epsilon)
    return torch.relu(x)


def _optimiser(training: LocalTraining, tensors: list[torch.Tensor], rate: float) -> torch.optim.Optimizer:
    common: dict[str, Any] = {"lr": rate * training.learning_rate, "weight_decay": training.weight_decay}
    if training.optimiser == "adamw":
        return torch.optim.AdamW(tensors, betas=BETAS, eps=EPSILON, **common)
    return torch.optim.SGD(tensors, momentum=training.momentum, **common)
