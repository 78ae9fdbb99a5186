"""Rules that trust a small root set at the server: public data or the lab's own traffic, never patients'.

    fltrust  trust_i = max(0, cos(x_i, g)); sum_i trust_i x_i |g| / |x_i| / sum_i trust_i, g the server's own update
             (Cao, Fang, Liu, Gong, "FLTrust", NDSS 2021, Algorithm 2)
    rooted-mean  the mean of the rows that do not go against g, cos(x_i, g) > c, each cut to a length and divided by how
             many rows are like it: weight_i = 1 / sum_j max(0, cos(x_i, x_j))^p over the rows kept (after Fung, Yoon,
             Beschastnikh, "The Limitations of Federated Learning in Sybil Settings", RAID 2020: colluders are more alike than
             honest clients with different data)
    zeno     the mean of the rows with the k - f highest scores loss(w) - loss(w + x_i) - rho |x_i|^2
             (Xie, Koyejo, Gupta, "Zeno", ICML 2019, definition 2)

Neither needs an honest majority; what they need is a root set that covers every class: under IPM, 6 of 19 classes
missing cost .70 -> .42 macro-F1 (issue 7). FLTrust is unmoved by how long a hostile row is and never goes against g.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardround.aggregate.gate import Gated
from wardround.aggregate.points import Points
from wardround.aggregate.rule import Context, Decision, Rule, RuleState, Votes
from wardround.arrays import F64

TINY = np.finfo(np.float64).tiny
NOTHING = 1e-9  # rows shorter than this part of the root's update say nothing


@dataclass(frozen=True)
class FLTrust(Rule):
    """Rows weighted by how well they agree with the server's own update, cut or stretched to its length.

    The default for cohorts of three clients and more, where most cohorts hold a liar. Policy weights are ignored.
    """

    name: ClassVar[str] = "fltrust"
    needs_hostile: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("root",)

    def breakdown(self, rows: int) -> int:
        return max(rows - 1, 0)

    def points(self, gated: Gated, context: Context, state: RuleState) -> Points:
        """The rows and the server's own update.

        Raises:
            ValueError: that update is of another model or not finite.
        """
        del state
        root = context.root
        assert root is not None, "combine() has checked what the rule needs"
        if root.shape != gated.rows.shape[1:] or not np.isfinite(root).all():
            raise ValueError(
                f"the server's own update has shape {root.shape} or is not finite; rows have {gated.rows.shape[1:]}"
            )
        return Points(gated.rows, gated.norms, (root,))

    def decide(self, votes: Votes) -> Decision:
        """Where no row agrees with the root at all, the root's own update is the result."""
        stack = votes.stack
        root = stack.points.extra[0]
        length = float(np.linalg.norm(root.astype(np.float64)))
        least = max(NOTHING * length, TINY)
        norms = np.maximum(stack.norms(), least)
        trust = np.maximum(stack.along(root) / norms / max(length, TINY), 0.0)
        # a row without length has no direction: stretched to the root's length it would be noise
        trust[norms <= least] = 0.0
        weights = np.zeros(stack.points.count)
        if trust.sum() > 0:
            weights = stack.over_points(trust / trust.sum() * (length / norms))
        else:
            weights[-1] = 1.0
        facts = {"trusted": float(np.count_nonzero(trust)), "trust": float(trust.mean())}
        return Decision(weights, over_points=True, facts=facts)


@dataclass(frozen=True)
class RootedMean(FLTrust):
    """The mean of the rows that do not go against the server's own update, cut to a length; like rows share one weight.

    The default for rows of one or two clients where the server has a root set. Unlike ``fltrust`` it leaves honest rows their
    lengths and equal weights, and many copies of one row count little more than one. Policy weights are ignored.

    Attributes:
        cosine: rows whose cosine with the server's own update is at most this are left out. Below 0: late in training that
            update is mostly noise, and honest rows of other data stand across it.
        reach: no row is longer than so many times the server's own update, nor than the median row kept.
        least: rows shorter than this many times the server's own update are stretched to it: rows that cancel inside
            their cohort cannot slow the model down.
        likeness: the power p; 0 lets every row weigh the same.
    """

    name: ClassVar[str] = "rooted-mean"
    cosine: float = -0.2
    reach: float = 2.0
    least: float = 0.0
    likeness: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -1 <= self.cosine < 1:
            raise ValueError(f"cosine must be at least -1 and below 1, not {self.cosine}")
        if not self.reach > self.least >= 0:
            raise ValueError(f"reach must be above least, and least 0 or more, not {self.reach} and {self.least}")
        if not self.likeness >= 0:
            raise ValueError(f"likeness must be 0 or more, not {self.likeness}")

    def decide(self, votes: Votes) -> Decision:
        """Where no row agrees with the root at all, the root's own update is the result."""
        stack = votes.stack
        root = stack.points.extra[0]
        length = max(float(np.linalg.norm(root.astype(np.float64))), TINY)
        norms = np.maximum(stack.norms(), TINY)
        agree = stack.along(root) / norms / length > self.cosine
        kept = np.flatnonzero(agree & (norms > NOTHING * length))  # a row without length has no direction
        if not len(kept):
            return Decision(_only(stack.points.count), over_points=True, facts={"kept": 0.0})
        limit = min(self.reach * length, max(float(np.median(norms[kept])), self.least * length))
        lengths = np.clip(norms[kept], self.least * length, limit)
        weights = np.zeros(stack.count)
        alone = 1.0 / crowd(stack.products()[np.ix_(kept, kept)], norms[kept], self.likeness)
        weights[kept] = alone / alone.sum() * lengths / norms[kept]
        facts = {"kept": float(len(kept)), "alike": float(len(kept) / alone.sum())}
        return Decision(stack.over_points(weights), over_points=True, facts=facts)


def crowd(products: F64, norms: F64, power: float) -> F64:
    """How many rows are like each row [k], itself included: sum_j max(0, cos_ij)^power."""
    if not power:
        return np.full(len(norms), float(len(norms)))
    alike = np.clip(products / np.outer(norms, norms), 0.0, 1.0) ** power
    np.fill_diagonal(alike, 1.0)
    out: F64 = alike.sum(axis=1)
    return out


def _only(points: int) -> F64:
    """The weights that give the last point, the root's own update."""
    weights = np.zeros(points)
    weights[-1] = 1.0
    return weights


@dataclass(frozen=True)
class Zeno(Rule):
    """The mean of the rows that lower the root set's loss most.

    Costs one evaluation of the root set per row. Policy weights are ignored.

    Attributes:
        penalty: rho, what a row pays for its squared norm.
    """

    name: ClassVar[str] = "zeno"
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    penalty: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.penalty >= 0:
            raise ValueError(f"penalty must be 0 or more, not {self.penalty}")

    def breakdown(self, rows: int) -> int:
        return max(rows - 1, 0)

    def decide(self, votes: Votes) -> Decision:
        stack, loss = votes.stack, votes.context.loss
        assert loss is not None, "combine() has checked what the rule needs"
        k = stack.count
        start = loss(np.zeros(stack.points.rows.shape[1], dtype=np.float32))
        gains = np.array([start - loss(stack.row(at)) for at in range(k)])
        scores = np.where(np.isfinite(gains), gains - self.penalty * stack.norms() ** 2, -np.inf)
        chosen = np.argsort(-scores, kind="stable")[: k - votes.hostile]
        weights = np.zeros(k)
        weights[chosen] = 1.0 / len(chosen)
        return Decision(weights, facts={"selected": float(len(chosen)), "worst_score_kept": float(scores[chosen[-1]])})
