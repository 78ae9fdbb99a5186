"""The two baselines that stand beside every federated result: all rows in one place, and every client alone.

Both train the same model on the same split with the federation's preprocessing. The centralised one is trained by AdamW
for its own number of epochs (it is an upper baseline and must not be handicapped by the federated settings); the
local ones train as the clients do, for as many steps as a client takes in the whole federation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wardround import events
from wardround.arrays import F32, F64, I64
from wardround.drivers.simulation import engines
from wardround.drivers.simulation.evaluate import Scored, clients, judge, summary
from wardround.drivers.simulation.federate import Federation
from wardround.events import Emit
from wardround.federation import measure
from wardround.federation.pipeline import only
from wardround.rng import stream
from wardround.training.task import Engine, Job, LocalTraining, Rows

SLICES = 10  # progress is shown and Ctrl-C is heard so many times in the local baseline


def centralised(federation: Federation, emit: Emit) -> dict[str, Any]:
    """Train on all training rows at once; result as metrics.json, M."""
    wanted, world = federation.experiment.evaluation, federation.world
    training = replace(
        federation.plan.training,
        epochs=wanted.centralised_epochs,
        steps=0,
        optimiser="adamw",
        batch_size=wanted.centralised_batch,
        learning_rate=wanted.centralised_learning_rate,
        momentum=0.0,
    )
    emit(events.StageStarted("centralised", "centralised baseline", 1))
    rows = _trainable(federation, federation.prepared().rows(world.split.train))
    parameters = _train(federation, training, [(0, rows)])[0]
    emit(events.StageProgress("centralised", 1, 1))
    validation = federation.prepared().rows(world.split.validation)
    model = _scored(federation, parameters, validation)
    test = federation.prepared().rows(world.split.test)
    found = summary(federation.plan, judge(federation, model, test), model, wanted.target_fpr)
    return {"overall": found, **clients(federation, [model] * len(world.shares))}


def local(federation: Federation, emit: Emit) -> dict[str, Any]:
    """Every client alone: overall is the mean over clients on all test rows, ``clients`` are on their own test rows."""
    world, plan = federation.world, federation.plan
    rounds = plan.schedule.rounds
    training = replace(plan.training, epochs=plan.training.epochs * rounds, steps=plan.training.steps * rounds)
    emit(events.StageStarted("local", "local-only baseline", len(world.shares)))
    models: list[Scored] = []
    size = max(1, min(_engine(federation, training).chunk, -(-len(world.shares) // SLICES)))
    for at in range(0, len(world.shares), size):
        shares = world.shares[at : at + size]
        rows = [(at + i, _trainable(federation, federation.prepared().rows(s.train))) for i, s in enumerate(shares)]
        trained = _train(federation, training, rows)
        models += [
            _scored(federation, w, federation.prepared().rows(s.validation))
            for w, s in zip(trained, shares, strict=True)
        ]
        emit(events.StageProgress("local", len(models), len(world.shares)))
    test = federation.prepared().rows(world.split.test)
    asked = federation.experiment.evaluation.target_fpr
    each = [summary(plan, judge(federation, model, test), model, asked) for model in models]
    return {"overall": _mean(each), **clients(federation, models)}


def rooted(federation: Federation) -> dict[str, Any]:
    """The server alone, on its root rows, for as many steps as a client takes: what the clients must beat."""
    world, plan = federation.world, federation.plan
    rounds, own = plan.schedule.rounds, plan.training
    training = replace(own, epochs=own.epochs * rounds, steps=own.steps * rounds)
    rows = _trainable(federation, federation.prepared().rows(world.root))
    parameters = _train(federation, training, [(0, rows)])[0]
    model = _scored(federation, parameters, federation.prepared().rows(world.split.validation))
    test = federation.prepared().rows(world.split.test)
    asked = federation.experiment.evaluation.target_fpr
    return {"rows": len(rows), "overall": summary(plan, judge(federation, model, test), model, asked)}


def _train(federation: Federation, training: LocalTraining, clients_rows: Sequence[tuple[int, Rows]]) -> list[F32]:
    prepared, seed = federation.server.prepared, federation.experiment.seed
    assert prepared is not None, "baselines come after set-up"
    inputs, classes = len(prepared.preprocessor.names), federation.plan.classes
    start = federation.plan.model.init(inputs, classes, stream(seed, "init"))
    jobs = [
        Job(number, rows, stream(seed, "baseline", number), start, class_weights=prepared.class_weights)
        for number, rows in clients_rows
    ]
    engine = _engine(federation, training)
    size = engine.chunk
    chunks = [jobs[at : at + size] for at in range(0, len(jobs), size)]
    return [start + result.delta for done in federation.pool.map(engine.train, chunks) for result in done]


def _engine(federation: Federation, training: LocalTraining) -> Engine:
    plan = federation.plan
    return engines.maker(plan.model, training, plan.classes)(federation.prepared().x.shape[1])


def _trainable(federation: Federation, rows: Rows) -> Rows:
    plan = federation.plan
    return only(rows, plan.labels.benign) if plan.model.unsupervised and plan.labels.benign is not None else rows


def _scored(federation: Federation, parameters: F32, validation: Rows) -> Scored:
    """The model with threshold and error moments from the rows its owner has."""
    plan, engine = federation.plan, federation.engine()
    errors = np.zeros(0)
    if plan.model.unsupervised:
        benign = _trainable(federation, validation)
        errors = measure.error_moments(engine.outputs(parameters, benign.x), benign.x)
    counts = measure.counts(plan, engine.outputs(parameters, validation.x), validation, errors)
    threshold = measure.threshold(counts, federation.experiment.evaluation.target_fpr)
    return Scored(parameters, errors, threshold)


def _mean(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean of every number over clients; confusion counts and class supports are added up, flags must hold for all."""
    first = each[0]
    result: dict[str, Any] = {}
    for key, value in first.items():
        values = [one[key] for one in each]
        if key in ("rows", "n_benign", "name", "support"):
            result[key] = value
        elif key == "confusion":
            result[key] = _added(values)
        elif isinstance(value, bool):
            result[key] = all(values)
        elif isinstance(value, list):
            result[key] = [_mean([v[k] for v in values]) for k in range(len(value))]
        elif any(isinstance(v, dict) for v in values):
            present = [v for v in values if v is not None]
            result[key] = _mean(present)
        else:
            numbers = [v for v in values if v is not None]
            result[key] = float(np.mean(numbers)) if numbers else None
    return result


def _added(confusions: Sequence[list[list[int]]]) -> list[list[int]]:
    total: I64 | F64 = np.sum([np.array(c) for c in confusions], axis=0)
    return [[int(v) for v in row] for row in total]
