"""What the server learns from its own root set in a round: an update beside the clients', and a loss to try theirs on.

Sans-IO: the driver gives the raw root rows; ``context`` is computed when the rule asks for it. The
update is made as a client's: the same model, local training and loss weights, batches from a stream of its own.
What it does not do: choose the rows (traffic/root.py) or judge anything (aggregate/rooted.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from wardround.aggregate.rule import Context
from wardround.arrays import F32, F64, I64
from wardround.federation.algorithms import EMPTY
from wardround.federation.plan import Plan, Prepared
from wardround.rng import stream
from wardround.traffic.root import RootSet
from wardround.training.models import Model
from wardround.training.stacked import StackedEngine
from wardround.training.task import Engine, Job, LocalTraining, Rows


def training_of(training: LocalTraining, root: RootSet, rows: int) -> LocalTraining:
    """The server's local training in a round: the clients' with the root set's own batches and number of steps."""
    typical = training.steps or training.epochs * max(1, round(rows / training.batch_size))
    return replace(training, steps=root.steps or typical, batch_size=root.batch_size or max(rows, 1))


def stacked(model: Model, training: LocalTraining, inputs: int, classes: int) -> Engine:
    """The engine of a server: numpy alone."""
    return StackedEngine(model, training, inputs, classes)


@dataclass(frozen=True, eq=False)
class RootRows:
    """The server's root rows as they are (``x`` [n, f] raw, ``y`` [n]), what is ``wanted`` of them, and what makes an engine."""

    wanted: RootSet
    x: F32
    y: I64
    engine: Callable[[Model, LocalTraining, int, int], Engine] = stacked

    def view(self, plan: Plan, prepared: Prepared, seed: int) -> RootView:
        """The rows prepared as clients prepare theirs, once the federation's statistics are known."""
        rows = Rows(prepared.preprocessor.apply(self.x), self.y)
        if plan.model.unsupervised and plan.labels.benign is not None:
            chosen = rows.y == plan.labels.benign
            rows = Rows(rows.x[chosen], rows.y[chosen])
        training = training_of(plan.training, self.wanted, len(rows))
        engine = self.engine(plan.model, training, rows.x.shape[1], plan.classes)
        return RootView(plan, prepared, rows, engine, seed)


@dataclass(frozen=True, eq=False)
class RootView:
    """The server's root ``rows`` (prepared; benign ones alone for an autoencoder) and the ``engine`` that trains on them."""

    plan: Plan
    prepared: Prepared
    rows: Rows
    engine: Engine
    seed: int

    def update(self, parameters: F32, round_: int, broadcast: F32 = EMPTY) -> F32:
        """The server's own update [k] of the model ``parameters`` [d]: what a client with these rows would send."""
        correction = self.plan.algorithm.correct(EMPTY, broadcast)
        job = Job(
            client=0,
            rows=self.rows,
            batches=stream(self.seed, "root batches", round_),
            start=parameters,
            proximal=correction.proximal,
            correction=correction.gradient,
            class_weights=self.prepared.class_weights,
        )
        trained = self.engine.train([job])[0]
        block, _ = self.plan.algorithm.block(trained, self.plan.training, EMPTY, broadcast)
        return np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)

    def loss(self, parameters: F32) -> float:
        """Mean loss of a model [d] on the root rows: cross-entropy, or squared error of an autoencoder."""
        outputs = self.engine.outputs(parameters, self.rows.x).astype(np.float64)
        if self.plan.model.unsupervised:
            return float(np.square(outputs - self.rows.x).mean())
        return float(cross_entropy(outputs, self.rows.y.astype(np.int64)).mean())

    def context(self, parameters: F32, round_: int, broadcast: F32, rng: np.random.Generator) -> Context:
        """What the rule may ask the server in this round; the update is trained only for rules that need it."""
        root = self.update(parameters, round_, broadcast) if "root" in self.plan.rule.needs else None
        return Context(root=root, loss=lambda change: self.loss(parameters + change), rng=rng)


def cross_entropy(logits: F64, y: I64) -> F64:
    """-log p(y) [n] of each row, infinite where the model is not finite."""
    with np.errstate(all="ignore"):
        top = logits.max(axis=1, keepdims=True)
        log = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
        lost: F64 = log - logits[np.arange(len(y)), y]
    return np.where(np.isfinite(lost), lost, np.inf)
