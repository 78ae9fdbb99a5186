"""The whole path on one screen: what leaves a gateway and what the server makes of the sums.

    client   rows -> statistics ------------------------------> counts            (set-up, once)
             types of device -> gateways that have them -------------> counts      (with [types]: set-up)
             benign rows -> moments --------------------------------> counts      (with [normal]: set-up and when measured)
             rows -> local training -> algorithm block -> x weight -> update      (every round)
             validation rows -> model -> confusion, score histograms -> counts    (when measured; with [types] of each type)
    server   cohort sums -> cohort means -> gate -> rule -> algorithm -> server optimiser -> model

Nothing else composes stations. One vector crosses the wall per exchange: update (real values) and counts (whole
numbers, the weight first). Codecs (coding.py) stand at the end of ``contribute``, the lattice (secagg/) between it and the sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from wardround.aggregate.optimise import OptimiserState
from wardround.aggregate.rules import Combined as Mixed
from wardround.aggregate.rules import Context, RuleState
from wardround.arrays import F32, F64, I32, I64, Bool
from wardround.compress.chain import LinearCoding
from wardround.compress.codec import Memory
from wardround.federation import algorithms, clusters, coding, measure, reach
from wardround.federation.algorithms import EMPTY
from wardround.federation.coding import Sender
from wardround.federation.cohorts import CohortSum, means
from wardround.federation.messages import Answer, AskErrors, AskMeasures, AskTraining, Reply
from wardround.federation.plan import Plan, Prepared
from wardround.federation.reach import Part
from wardround.traffic import normal
from wardround.traffic.scaling import label_counts
from wardround.training import limits
from wardround.training.task import Engine, Rows, Trained
from wardround.wire import message

NONE = np.zeros(0)
LOSS_CAP = 1000.0  # keeps the summed loss a bounded whole number


@dataclass(frozen=True, eq=False)
class Beside:
    """What is measured beside the model's quality: ``distances`` of normal rows (``distances_of``), and the ``kind`` [n] of the
    validation rows with the types that are ``asked`` for, where types have limits.
    """

    distances: F64 = field(default_factory=lambda: NONE)
    kind: I32 | None = None
    asked: Bool = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))


ALONE = Beside()


def statistics(plan: Plan, exchange: int, x: F32, y: I64, kind: I32 | None = None) -> Answer:
    """Client, set-up: 1, sums over the training rows, label counts; the server sees only the federation's total.
    ``kind`` [n]: types of device, where a baseline of normal rows or limits of types are learnt.
    """
    counts, moments, holds = label_counts(y, plan.classes), np.zeros(0), np.zeros(0)
    types = np.full(len(y), -1, np.int32) if kind is None else kind
    if plan.normal.fit:
        own = normal.benign_of(y, plan.labels.benign)
        moments = normal.statistics(x[own], types[own], len(plan.kinds))
    if plan.holders:
        holds = limits.holds(types, y, len(plan.kinds), plan.labels.benign)
    sums: list[F64] = [np.ones(1), plan.scaling.statistics(plan.schema, x), holds, moments, counts]
    return Answer(exchange, EMPTY, np.concatenate(sums))


@dataclass(frozen=True, eq=False)
class Kept:
    """What a client keeps between rounds: the algorithm's ``memory`` and the codecs' error ``feedback``."""

    memory: F32
    feedback: tuple[Memory, ...] = ()


def contribute(
    plan: Plan, heaviest: int, ask: AskTraining, trained: Trained, kept: Kept, *, sender: Sender | None = None
) -> tuple[Reply, Kept]:
    """Client, every round: (what enters the sum, what it keeps); for its counts see ``count_training``.

    A client whose training diverged weighs nothing: one NaN in a protected sum would cost its whole cohort the round.
    """
    block, memory = plan.algorithm.block(trained, plan.training, kept.memory, ask.broadcast)
    memory = algorithms.kept(plan.algorithm, memory, ask.parameters, trained.delta)
    parts = plan.algorithm.parts(trained.delta.size * clusters.models_of(plan.algorithm))
    weight = plan.weight(trained.rows, heaviest)
    if plan.privacy.on:
        return _private(ask, parts, block if weight else np.zeros_like(block)), Kept(memory, kept.feedback)
    if not weight or not (np.isfinite(block).all() and np.isfinite(trained.loss)):
        return _nothing(ask.exchange, parts, sender), kept
    update = (block * np.float32(weight / heaviest)).astype(np.float32)
    said = [weight, round(1000 * min(trained.loss, LOSS_CAP) * weight), trained.steps]
    if sender is None:
        counts = np.array([*said, 1.0, *reach.exponents(parts, update)], dtype=np.float64)
        return Answer(ask.exchange, reach.shrink(parts, update, ask.reach), counts), Kept(memory, kept.feedback)
    if isinstance(sender.coding, LinearCoding):
        z, feedback = coding.send(parts, update, sender)
        parts = coding.numbers(parts, sender.coding)
        counts = np.array([*said, 1.0, *reach.cut(parts, z, ask.reach)], dtype=np.float64)
        return Answer(ask.exchange, reach.shrink(parts, z, ask.reach), counts), Kept(memory, feedback)
    code, feedback = coding.encode_block(parts, update, sender)
    return coding.pack(ask.exchange, said, code), Kept(memory, feedback)


def _private(ask: AskTraining, parts: Sequence[Part], block: F32) -> Answer:
    """Client, private federation: the update (layer 2 clips it and adds noise), and counts that say nothing about the client."""
    update = block if np.isfinite(block).all() else np.zeros_like(block)
    return Answer(
        ask.exchange, reach.shrink(parts, update, ask.reach), np.array([1.0, 0.0, 0.0, 1.0, *[0.0] * len(parts)])
    )


def _nothing(exchange: int, parts: Sequence[Part], sender: Sender | None) -> Reply:
    if sender is not None and not isinstance(sender.coding, LinearCoding):
        return coding.pack(exchange, [0], b"")
    if sender is not None and isinstance(sender.coding, LinearCoding):
        parts = coding.numbers(parts, sender.coding)
    return Answer(exchange, np.zeros(sum(p.size for p in parts), dtype=np.float32), np.zeros(count_training(parts)))


def count_training(parts: Sequence[Part]) -> int:
    """Length of a training answer's counts: weight, loss x weight in thousandths, steps, 1, and per part an exponent
    (with codecs: how many values were cut).
    """
    return 4 + len(parts)


def errors(plan: Plan, ask: AskErrors, engine: Engine, rows: Rows) -> Answer:
    """Client, autoencoders: count, sum and sum of squares of the error per input, over benign validation rows."""
    benign = only(rows, plan.labels.benign) if plan.labels.benign is not None else rows
    return Answer(ask.exchange, EMPTY, measure.error_moments(engine.outputs(ask.parameters, benign.x), benign.x))


def measures(plan: Plan, ask: AskMeasures, engine: Engine, rows: Rows, beside: Beside = ALONE) -> Answer:
    """Client, when measured: ``beside``, then confusion counts and score histograms of the validation rows."""
    outputs, margins = engine.outputs(ask.parameters, rows.x), NONE
    if plan.margins and beside.kind is not None:
        margins = limits.counted(outputs, rows.y, beside.kind, plan.labels.benign or 0, beside.asked)
    said = [beside.distances, margins, measure.counts(plan, outputs, rows, ask.errors)]
    return Answer(ask.exchange, EMPTY, np.concatenate(said))


def distances_of(plan: Plan, prepared: Prepared, x: F32, y: I64, kind: I32) -> F64:
    """Client: its normal validation rows by distance from the federation's normal; raw ``x`` [n, f]."""
    own = normal.benign_of(y, plan.labels.benign)
    return normal.counted(prepared.normal, x[own], kind[own])


@dataclass(frozen=True, eq=False)
class Moment:
    """This round: ``share`` of all clients answered; the ``heaviest`` weight there is; ``context``: what the server
    knows beside the rows (the rule's own stream, its root set); ``coding``: the shared support of a secure sum with codecs;
    ``support``: that of the default chain where sums are open, and rows arrive decoded.
    """

    share: float
    heaviest: int
    context: Context
    coding: LinearCoding | None = None
    support: LinearCoding | None = None


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
    """The server's result of one round: the new model [d], what it carries on, facts for the log, and the ``rows`` [m, k]
    with the rule's result and the ``reference`` [k] they are held against (the server's own update as it looks on the round's
    support; without one the result), for trust and for people.
    """

    parameters: F32
    carried: Carried
    loss: float
    update_norm: float
    rows: F32
    mean: Mixed
    reference: F32


def combine(plan: Plan, sums: list[CohortSum], parameters: F32, carried: Carried, moment: Moment) -> Combined:
    """Server, every round: cohort sums -> the next model.

    Raises:
        RoundError: no cohort's mean can be used.
    """
    parts = plan.algorithm.parts(parameters.size)
    sent = parts if moment.coding is None else coding.numbers(parts, moment.coding)
    whole = [replace(row, update=reach.spread(sent, row.update, carried.reach)) for row in sums]
    rows, weights = means(whole, moment.heaviest)
    if moment.coding is not None:
        rows = coding.spread(parts, rows, moment.coding)
    context, support = moment.context, moment.coding or moment.support
    if support is not None and context.root is not None:
        context = replace(context, root=coding.through(parts, context.root, support))
    mean = plan.rule.combine(rows, weights, context, carried.rule)
    delta, algorithm = plan.algorithm.delta(mean.vector, carried.algorithm, parameters.size, moment.share)
    moved, optimiser = plan.optimiser.apply(carried.optimiser, parameters, delta)
    total = np.sum([row.counts for row in sums], axis=0)
    following = carried.reach
    if moment.coding is not None:
        following = reach.held(sent, reach.steered(sent, total[4:], total[3], carried.reach))
    elif plan.protected and not plan.privacy.on:
        following = reach.held(sent, reach.following(total[4:], total[3]))
    return Combined(
        parameters=moved,
        carried=Carried(optimiser, mean.state, algorithm, following),
        loss=math.nan if plan.privacy.on else float(total[1] / 1000 / max(total[0], 1.0)),
        update_norm=float(np.linalg.norm(delta)),
        rows=rows,
        mean=mean,
        reference=mean.vector if context.root is None else context.root,
    )


def only(rows: Rows, label: int) -> Rows:
    """The rows of one class."""
    chosen = rows.y == label
    return Rows(rows.x[chosen], rows.y[chosen])
