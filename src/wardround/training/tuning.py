"""Local tuning after the last round: clients train on alone and keep the epoch that their validation rows like best.

Many clients at once, as the engines have it. A client without validation rows keeps the model it came with: nothing
would tell it when to stop (overfitting to a few rows is what personal models die of).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wardround.arrays import F32, F64
from wardround.params import Layout
from wardround.training.personal import Finetune, chosen
from wardround.training.task import Engine, Job, Rows


@dataclass(frozen=True, eq=False)
class Pupil:
    """A client to be tuned: ``job`` names its rows, start and random stream; ``validation`` its rows to stop by."""

    job: Job
    validation: Rows


def tune(personal: Finetune, engine: Engine, pupils: Sequence[Pupil], layout: Layout) -> list[F32]:
    """Tuned parameters [d] of each pupil; ``engine`` trains one epoch per call (LocalTraining(epochs=1, steps=0))."""
    free = chosen(layout, personal.tensors)
    frozen = None if free.all() else ~free
    now = [pupil.job.start for pupil in pupils]
    best = list(now)
    losses = [loss(engine, w, pupil.validation) for w, pupil in zip(now, pupils, strict=True)]
    waited = [0] * len(pupils)
    active = [i for i, pupil in enumerate(pupils) if len(pupil.validation) and len(pupil.job.rows)]
    for _ in range(personal.epochs):
        if not active:
            break
        jobs = [replace(pupils[i].job, start=now[i], frozen=frozen) for i in active]
        for i, trained in zip(active, engine.train(jobs), strict=True):
            now[i] = now[i] + trained.delta
            found = loss(engine, now[i], pupils[i].validation)
            better = np.isfinite(found) and found < losses[i]
            waited[i] = 0 if better else waited[i] + 1
            if better:
                losses[i], best[i] = found, now[i]
        active = [i for i in active if waited[i] < personal.patience]
    return best


def loss(engine: Engine, parameters: F32, rows: Rows) -> float:
    """Mean cross-entropy of a classifier on ``rows``; infinite without rows."""
    return float(row_losses(engine, parameters, rows).mean()) if len(rows) else float("inf")


def row_losses(engine: Engine, parameters: F32, rows: Rows) -> F64:
    """Cross-entropy [n] of a classifier on each row."""
    logits = engine.outputs(parameters, rows.x).astype(np.float64)
    top = logits.max(1)
    total = top + np.log(np.exp(logits - top[:, None]).sum(1)) - logits[np.arange(len(rows)), rows.y]
    found: F64 = total
    return found
