"""Rules that look for a centre: geometric median and centred clipping.

    geometric-median   argmin_v sum_i w_i |x_i - v|, by smoothed Weiszfeld steps (RFA: Pillutla, Kakade, Harchaoui,
                       "Robust Aggregation for Federated Learning", IEEE TSP 2022, Algorithm 2)
    centred-clipping   v <- v + mean_i (x_i - v) min(1, C / |x_i - v|) from last round's result (Karimireddy, He, Jaggi,
                       "Learning from History for Byzantine Robust Optimization", ICML 2021, Algorithm 2)

Both survive f < k/2. All steps happen on weights over the points: thirty cost what one costs, one Gram matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardround.aggregate.gate import Gated
from wardround.aggregate.points import Points
from wardround.aggregate.rule import Context, Decision, Rule, RuleState, Votes
from wardround.arrays import F64

SETTLED = 1e-7  # change of the weights, summed by how far their rows lie, below which Weiszfeld has arrived


@dataclass(frozen=True)
class GeometricMedian(Rule):
    """The point with the smallest sum of distances to the rows.

    Attributes:
        iterations: most Weiszfeld steps.
        smoothing: distances below this share of the median distance of the row in the middle to the others count as that: keeps
            a step finite near a row.
        weighted: weigh rows by the server's policy, as RFA does; ``tolerates`` then holds for weight, not for heads.
    """

    name: ClassVar[str] = "geometric-median"
    needs_hostile: ClassVar[bool] = False
    iterations: int = 100
    smoothing: float = 1e-6
    weighted: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1:
            raise ValueError(f"iterations must be 1 or more, not {self.iterations}")
        if not 0 < self.smoothing < 1:
            raise ValueError(f"smoothing must lie between 0 and 1, not {self.smoothing}")

    def breakdown(self, rows: int) -> int:
        return (rows - 1) // 2

    def decide(self, votes: Votes) -> Decision:
        k = votes.stack.count
        distances, ones = votes.stack.distances(), np.ones(k)
        given = votes.weights if self.weighted else np.full(k, 1.0 / k)
        # the spread of the rows about the middle one: no row of a minority, however long, stretches it
        reach = np.partition(distances, k // 2, axis=1)[:, k // 2]
        near = int(np.argmin(reach))
        spread = max(math.sqrt(reach[near]), 1e-150)  # all rows equal: any number will do
        floor, far = self.smoothing * spread, np.maximum(np.sqrt(distances[near]) / spread, 1.0)
        weights, change, steps = given, np.inf, 0
        while change >= SETTLED and steps < self.iterations:
            pull = given / _reach(distances, weights, floor)
            last, weights = weights, pull / pull.dot(ones)
            change, steps = float(np.abs(weights - last).dot(far)), steps + 1
        return Decision(weights, facts={"iterations": float(steps)})


def _reach(distances: F64, weights: F64, floor: float) -> F64:
    """Distance [k] of each row to the rows' mean of these ``weights``, at least ``floor``; ``distances`` [k, k] are squared."""
    towards = distances @ weights
    out: F64 = np.sqrt(np.maximum(towards - 0.5 * towards.dot(weights), floor**2))
    return out


@dataclass(frozen=True)
class CentredClipping(Rule):
    """The last result, moved by the mean of the rows' clipped distances from it.

    What hostile rows add up to over time is bounded by the clipping norm. Policy weights are ignored.

    Attributes:
        clip_norm: the norm C; 0 takes the median distance to the current centre, afresh at every step.
        iterations: clipping steps per round.
    """

    name: ClassVar[str] = "centred-clipping"
    needs_hostile: ClassVar[bool] = False
    remembers: ClassVar[bool] = True
    clip_norm: float = 0.0
    iterations: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.clip_norm >= 0:
            raise ValueError(f"clip_norm must be 0 or more, not {self.clip_norm}")
        if self.iterations < 1:
            raise ValueError(f"iterations must be 1 or more, not {self.iterations}")

    def breakdown(self, rows: int) -> int:
        return (rows - 1) // 2

    def points(self, gated: Gated, context: Context, state: RuleState) -> Points:
        """The rows and, from the second round on, last round's result.

        Raises:
            ValueError: the state is of another model.
        """
        del context
        if state.centre.size not in (0, gated.rows.shape[1]):
            raise ValueError(
                f"the rule remembers a centre of {state.centre.size} values, rows have {gated.rows.shape[1]}"
            )
        return Points(gated.rows, gated.norms, (state.centre,) if state.centre.size else ())

    def decide(self, votes: Votes) -> Decision:
        stack = votes.stack
        gram, mix = stack.points.gram, stack.coordinates
        towards_rows = mix @ gram
        own = np.einsum("kp,kp->k", towards_rows, mix)
        centre = np.zeros(stack.points.count)
        centre[-1] = 1.0  # last round's result, or the origin where there is none
        limit, clipped = 0.0, 0
        for _ in range(self.iterations):
            reach = np.sqrt(np.maximum(own - 2 * (towards_rows @ centre) + centre @ gram @ centre, 0.0))
            limit = self.clip_norm or middle(reach)
            factors = np.minimum(1.0, limit / np.maximum(reach, np.finfo(float).tiny)) / stack.count
            centre = centre * (1.0 - factors.sum()) + factors @ mix
            clipped = int(np.count_nonzero(reach > limit))
        return Decision(centre, over_points=True, facts={"clip_norm": limit, "clipped": float(clipped)})


def middle(values: F64) -> float:
    """The median; numpy's own takes longer than a whole step on few values."""
    ordered, k = np.sort(values), len(values)
    return float(ordered[(k - 1) // 2] + ordered[k // 2]) / 2
