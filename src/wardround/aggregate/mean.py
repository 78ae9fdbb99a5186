"""Means: of the rows as they are, or of rows cut to a norm.

    mean          sum_i w_i x_i, w from the server's policy (FedAvg: McMahan et al., AISTATS 2017)
    uniform-mean  1/m sum_i x_i
    norm-clipping sum_i w_i x_i min(1, C / |x_i|)  (Sun et al., "Can You Really Backdoor Federated Learning?", 2019)

None survives a hostile row in the sense of ``tolerates``; norm clipping bounds what one row can move: w_i C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardround.aggregate.pre import shrunk
from wardround.aggregate.rule import Decision, Rule, Votes


@dataclass(frozen=True)
class Mean(Rule):
    """The mean weighted by the server's policy: FedAvg.

    One hostile row moves it anywhere; nothing is faster.
    """

    name: ClassVar[str] = "mean"

    def breakdown(self, rows: int) -> int:
        del rows
        return 0

    def decide(self, votes: Votes) -> Decision:
        return Decision(votes.weights)


@dataclass(frozen=True)
class UniformMean(Mean):
    """The mean in which every row counts the same, whatever the policy's weights."""

    name: ClassVar[str] = "uniform-mean"

    def decide(self, votes: Votes) -> Decision:
        return Decision(np.full(votes.stack.count, 1.0 / votes.stack.count))


@dataclass(frozen=True)
class NormClipping(Mean):
    """The policy-weighted mean of rows cut to a norm.

    A hostile row is not found, but moves the mean by at most its weight times that norm.

    Attributes:
        clip_norm: the norm C; 0 takes the median norm of the round's rows, which a hostile minority cannot lift over
            the honest ones.
    """

    name: ClassVar[str] = "norm-clipping"
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.clip_norm >= 0:
            raise ValueError(f"clip_norm must be 0 or more, not {self.clip_norm}")

    def decide(self, votes: Votes) -> Decision:
        stack = votes.stack
        norms = stack.norms()
        limit = self.clip_norm or float(np.median(norms))
        factors = np.minimum(1.0, limit / np.maximum(norms, np.finfo(float).tiny))
        facts = {"clip_norm": limit, "clipped": float(np.count_nonzero(factors < 1.0))}
        if stack.mix is None:  # the origin's weight adds nothing to the sum: spare the Gram matrix and the mix
            return Decision(votes.weights * factors, facts=facts)
        return Decision(votes.weights @ shrunk(stack, factors).coordinates, over_points=True, facts=facts)
