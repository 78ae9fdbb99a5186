"""The whole path on one screen: what leaves a gateway and what the server makes of the sums.

    client   rows -> statistics ------------------------------> counts            (set-up, once)
             rows -> local training -> algorithm block -> x weight -> update      (every round)
             validation rows -> model -> confusion, score histograms -> counts    (when measured)
    server   cohort sums -> cohort means -> gate -> rule -> algorithm -> server optimiser -> model

Nothing else composes stations. One vector crosses the wall per exchange: update (real values) and counts (whole
numbers, the weight first). Codecs (compress/) and the lattice (secagg/) will stand between ``contribute`` and the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wardround.aggregate.optimise import OptimiserState
from wardround.aggregate.rules import Context, RuleState
from wardround.arrays import F32, I64
from wardround.federation import measure, reach
from wardround.federation.algorithms import EMPTY
from wardround.federation.cohorts import CohortSum, means
from wardround.federation.messages import Answer, AskErrors, AskMeasures, AskTraining
from wardround.federation.plan import Plan
from wardround.federation.reach import Part
from wardround.traffic.scaling import label_counts
from wardround.training.task import Engine, Rows, Trained
from wardround.wire import message

LOSS_CAP = 1000.0  # keeps the summed loss a bounded whole number


def statistics(plan: Plan, exchange: int, x: F32, y: I64) -> Answer:
    """Client, set-up: 1, sums over the training rows, label counts; the server sees only the federation's total."""
    counts = label_counts(y, plan.classes)
    return Answer(exchange, EMPTY, np.concatenate([[1.0], plan.scaling.statistics(plan.schema, x), counts]))


def contribute(plan: Plan, heaviest: int, ask: AskTraining, trained: Trained, memory: F32) -> tuple[Answer, F32]:
    """Client, every round: (what enters the sum, new memory); for its counts see ``count_training``.

    A client whose training diverged weighs nothing: one NaN in a protected sum would cost its whole cohort the round.
    """
    block, kept = plan.algorithm.block(trained, plan.training, memory, ask.broadcast)
    parts = plan.algorithm.parts(ask.parameters.size)
    weight = plan.weight(trained.rows, heaviest)
    if not weight or not (np.isfinite(block).all() and np.isfinite(trained.loss)):
        return Answer(ask.exchange, np.zeros_like(block), np.zeros(count_training(parts))), memory
    update = (block * np.float32(weight / heaviest)).astype(np.float32)
    loss = round(1000 * min(trained.loss, LOSS_CAP) * weight)
    counts = np.array([weight, loss, trained.steps, 1.0, *reach.exponents(parts, update)], dtype=np.float64)
    return Answer(ask.exchange, reach.shrink(parts, update, ask.reach), counts), kept


def count_training(parts: Sequence[Part]) -> int:
    """Length of a training answer's counts: weight, loss x weight in thousandths, steps, 1, an exponent per part."""
    return 4 + len(parts)


def errors(plan: Plan, ask: AskErrors, engine: Engine, rows: Rows) -> Answer:
    """Client, autoencoders: count, sum and sum of squares of the error per input, over benign validation rows."""
    benign = only(rows, plan.labels.benign) if plan.labels.benign is not None else rows
    return Answer(ask.exchange, EMPTY, measure.error_moments(engine.outputs(ask.parameters, benign.x), benign.x))


def measures(plan: Plan, ask: AskMeasures, engine: Engine, rows: Rows) -> Answer:
    """Client, when measured: confusion counts and score histograms of the validation rows."""
    outputs = engine.outputs(ask.parameters, rows.x)
    return Answer(ask.exchange, EMPTY, measure.counts(plan, outputs, rows, ask.errors))


@dataclass(frozen=True, eq=False)
class Moment:
    """This round: ``share`` of all clients answered; the ``heaviest`` weight there is; ``context``: what the server
    knows beside the rows (the rule's own stream, its root set).
    """

    share: float
    heaviest: int
    context: Context


@message(0x4670)
@dataclass(frozen=True, eq=False)
class Carried:
    """What the server carries from round to round beside the model: optimiser, rule and algorithm; the reach."""

    optimiser: OptimiserState
    rule: RuleState
    algorithm: F32
    reach: F32


@dataclass(frozen=True, eq=False)
class Combined:
    """The server's result of one round: the new model [d], what it carries on, and facts for the log."""

    parameters: F32
    carried: Carried
    loss: float
    update_norm: float
    refused: int


def combine(plan: Plan, sums: list[CohortSum], parameters: F32, carried: Carried, moment: Moment) -> Combined:
    """Server, every round: cohort sums -> the next model.

    Raises:
        RoundError: no cohort's mean can be used.
    """
    parts = plan.algorithm.parts(parameters.size)
    whole = [replace(row, update=reach.spread(parts, row.update, carried.reach)) for row in sums]
    rows, weights = means(whole, moment.heaviest)
    mean = plan.rule.combine(rows, weights, moment.context, carried.rule)
    delta, algorithm = plan.algorithm.delta(mean.vector, carried.algorithm, parameters.size, moment.share)
    moved, optimiser = plan.optimiser.apply(carried.optimiser, parameters, delta)
    total = np.sum([row.counts for row in sums], axis=0)
    following = reach.following(total[4:], total[3]) if plan.protected else carried.reach
    return Combined(
        parameters=moved,
        carried=Carried(optimiser, mean.state, algorithm, following),
        loss=float(total[1] / 1000 / max(total[0], 1.0)),
        update_norm=float(np.linalg.norm(delta)),
        refused=len(mean.refused),
    )


def only(rows: Rows, label: int) -> Rows:
    """The rows of one class."""
    chosen = rows.y == label
    return Rows(rows.x[chosen], rows.y[chosen])
