"""What server and clients agree on before the first message: the same plan on both sides, none of it secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from wardround.aggregate.optimise import ServerOptimiser
from wardround.aggregate.rules import Rule
from wardround.arrays import F32, F64
from wardround.federation.algorithms import Algorithm
from wardround.params import Layout
from wardround.traffic.preprocess import Preprocessor
from wardround.traffic.scaling import Scaling
from wardround.traffic.table import Labels, Schema
from wardround.training.models import Model
from wardround.training.task import LocalTraining


@dataclass(frozen=True)
class Schedule:
    """The course of the federation, as ``[rounds]`` says it (config.Rounds)."""

    rounds: int
    measure_every: int
    keep: Literal["last", "best"]
    cohort_size: int
    retries: int


@dataclass(frozen=True)
class Plan:
    """Everything fixed for a federation.

    ``weighting`` and ``weight_cap`` are the server's policy for clients' weights; a client's weight is a whole number of
    at most ``weight_cap``, so that no client can claim more.
    """

    schema: Schema
    labels: Labels
    scaling: Scaling
    model: Model
    training: LocalTraining
    algorithm: Algorithm
    rule: Rule
    optimiser: ServerOptimiser
    schedule: Schedule
    weighting: Literal["rows", "sqrt", "uniform"]
    weight_cap: int

    @property
    def classes(self) -> int:
        return len(self.labels.names)

    def weight(self, rows: int) -> int:
        """A client's weight: 0 without rows."""
        if rows == 0:
            return 0
        if self.weighting == "uniform":
            return 1
        return min(self.weight_cap, rows if self.weighting == "rows" else max(1, round(rows**0.5)))

    @property
    def heaviest(self) -> int:
        """The largest weight there is: updates are scaled by weight / heaviest, so none leaves [-1, 1] times its block."""
        return 1 if self.weighting == "uniform" else self.weight_cap


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the federation's summed statistics say: the same for everyone who knows the sum.

    ``layout`` of the model for the inputs found; ``class_weights`` [classes] or None; ``prior`` [classes]: label shares.
    """

    preprocessor: Preprocessor
    layout: Layout
    class_weights: F32 | None
    prior: F64


def prepare(plan: Plan, totals: F64) -> Prepared:
    """Read the summed statistics (scaling statistics, then label counts [classes]).

    Raises:
        ValueError: the totals do not fit the schema.
    """
    counts = totals[-plan.classes :]
    preprocessor = plan.scaling.fit(plan.schema, totals[: -plan.classes])
    inputs = len(preprocessor.names)
    layout = plan.model.layout(inputs, plan.classes)
    return Prepared(preprocessor, layout, class_weights(plan, counts), counts / max(counts.sum(), 1.0))


def class_weights(plan: Plan, counts: F64) -> F32 | None:
    """Loss weight of each class from the federation's label counts [classes]; None where all weigh the same."""
    if plan.training.class_weighting == "none":
        return None
    present = counts > 0
    balanced = np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1.0)), 0.0)
    weights = np.sqrt(balanced) if plan.training.class_weighting == "sqrt" else balanced
    return weights.astype(np.float32)
