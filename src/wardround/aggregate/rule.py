"""What a robust rule is: rows in, one vector out, with the weights and facts that explain it.

    gate (gate.py) -> pre-aggregations (pre.py) -> the rule's own decision -> Combined

A rule is a frozen dataclass whose fields are the keys of ``[rule]``. It holds no state: what a rule remembers from one
round to the next goes in and comes out as ``RuleState``. Laws (tests/laws/test_aggregate_rules.py):
the order of the rows does not matter; equal rows give that row; a refused row is as if absent; up to ``tolerates(m)``
hostile rows of any length keep the result near the honest rows; inputs are never changed.

Client weights come from the server's policy, never from a client's word. Rules that count heads (``tolerates`` is a
number of rows) ignore them; the class docstring says which use them.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from wardround.aggregate import pre
from wardround.aggregate.gate import NORM_CEILING, Gated, Refusal, gate
from wardround.aggregate.points import Points, Stack
from wardround.arrays import F32, F64
from wardround.errors import RoundError
from wardround.wire import message

NO_VECTOR: F32 = np.zeros(0, dtype=np.float32)


@message(0x4102)
@dataclass(frozen=True, eq=False)
class RuleState:
    """What a rule remembers between rounds: ``centre``, the last combined vector [d]; empty before the first round."""

    centre: F32 = field(default_factory=lambda: NO_VECTOR)


@dataclass(frozen=True, eq=False)
class Context:
    """What the server knows beside the rows.

    ``root`` [d]: its own update, trained from the same model on its root set (public data or the lab, never patients');
    ``loss``: loss of the current model plus a change [d] on that root set; ``rng``: the round's stream for rules and
    pre-aggregations that draw (their names say so), unknown to clients before they have answered.
    """

    root: F32 | None = None
    loss: Callable[[F32], float] | None = None
    rng: np.random.Generator | None = None


@dataclass(frozen=True, eq=False)
class Combined:
    """A rule's result.

    ``vector`` [d]; ``weights`` [m]: what each given row weighs in it (refused rows 0), None for rules that decide per
    coordinate; ``state`` for the next round; ``facts`` for log and report; ``refused`` by the gate.
    """

    vector: F32
    weights: F64 | None
    state: RuleState
    facts: Mapping[str, float]
    refused: tuple[Refusal, ...]


@dataclass(frozen=True, eq=False)
class Decision:
    """A rule's own part: ``weights`` [k] over the rows of the stack it was given, or over all points [p].

    ``over_points`` says which; a ``vector`` [d] stands instead where the result is no such combination.
    """

    weights: F64 | None = None
    vector: F32 | None = None
    over_points: bool = False
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Votes:
    """What a rule decides on: the stack of k rows and their policy ``weights`` [k], which sum to 1.

    ``hostile`` is the number of rows it must survive, ``context`` what else the server knows.
    """

    stack: Stack
    weights: F64
    hostile: int
    context: Context


START = RuleState()
ALONE = Context()


@dataclass(frozen=True)
class Rule(ABC):
    """A robust rule. Subclasses decide; gate, pre-aggregation and the weighted sum are the same for all.

    Attributes:
        pre: pre-aggregations, applied in the order given: any of ``nnm``, ``bucketing``, ``arc``.
        hostile: share of the rows that is assumed hostile; the rule and its pre-aggregations are set for it.
        norm_limit: rows longer than this are refused; 0 for no limit of your own.
        bucket_size: rows that ``bucketing`` averages into one.
    """

    name: ClassVar[str]
    needs_hostile: ClassVar[bool] = True  # whether the rule itself is set for ``hostile`` rows
    remembers: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()  # fields of Context it cannot do without
    pre: tuple[str, ...] = ()
    hostile: float = 0.2
    norm_limit: float = 0.0
    bucket_size: int = 2

    def __init_subclass__(cls) -> None:
        """Every rule's docstring explains the shared keys too: ``wardround explain`` prints it beside all keys."""
        super().__init_subclass__()
        own = inspect.cleandoc(cls.__doc__ or "")
        shared = inspect.cleandoc(Rule.__doc__ or "").partition("Attributes:\n")[2]
        cls.__doc__ = f"{own}\n{shared}" if "Attributes:\n" in own else f"{own}\n\nAttributes:\n{shared}"

    def __post_init__(self) -> None:
        if not 0 <= self.hostile < 1:
            raise ValueError(f"hostile is a share of the rows in [0, 1), not {self.hostile}")
        if not self.norm_limit >= 0:
            raise ValueError(f"norm_limit must be 0 or more, not {self.norm_limit}")
        if self.bucket_size < 1:
            raise ValueError(f"bucket_size must be 1 or more, not {self.bucket_size}")
        pre.check(self.pre)

    @abstractmethod
    def breakdown(self, rows: int) -> int:
        """Largest number of hostile rows among ``rows`` that the rule can be set for."""

    @abstractmethod
    def decide(self, votes: Votes) -> Decision:
        """The rule's own part."""

    def points(self, gated: Gated, context: Context, state: RuleState) -> Points:
        """The rows and the vectors the rule measures them against."""
        del context, state
        return Points(gated.rows, gated.norms)

    def tolerates(self, rows: int) -> int:
        """Number of hostile rows among ``rows`` that the rule survives as it is set."""
        most = self.breakdown(pre.remaining(self.pre, rows, self.bucket_size))
        bound = self.needs_hostile or any(name in pre.NEED_HOSTILE for name in self.pre)
        return min(self.assumed(rows), most) if bound else most

    def assumed(self, rows: int) -> int:
        """Hostile rows among ``rows`` by the setting ``hostile``."""
        return math.ceil(self.hostile * rows - 1e-9)

    def combine(
        self,
        rows: F32,
        weights: F64,
        context: Context = ALONE,
        state: RuleState = START,
    ) -> Combined:
        """Combine ``rows`` [m, d] of policy ``weights`` [m].

        Raises:
            RoundError: the gate lets no row through.
            ValueError: weights do not fit the rows, or the rule needs something ``context`` does not hold.
        """
        gated = gate(rows, weights, self.norm_limit or NORM_CEILING)
        if not len(gated.rows):
            named = "; ".join(f"row {r.row}: {r.reason}" for r in gated.refused[:3])
            raise RoundError(f"none of {gated.given} rows can be combined ({named or 'all have weight 0'})")
        for name in self.needs:
            if getattr(context, name) is None:
                raise ValueError(f"rule {self.name} cannot decide without the server's {name} (Context.{name})")
        votes = self._votes(gated, context, state)
        decision = self.decide(votes)
        vector, effective = _applied(decision, votes.stack)
        kept = state if not self.remembers else RuleState(vector)
        facts = {"rows": float(gated.given), "hostile_assumed": float(votes.hostile), **decision.facts}
        return Combined(vector, None if effective is None else gated.spread(effective), kept, facts, gated.refused)

    def _votes(self, gated: Gated, context: Context, state: RuleState) -> Votes:
        stack = Stack(self.points(gated, context, state))
        weights = gated.weights / gated.weights.sum()
        assumed = self.assumed(stack.count)
        for name in self.pre:
            stack, weights = pre.PRE[name](pre.Mixing(stack, weights, assumed, self.bucket_size, context.rng))
        return Votes(stack, weights, min(assumed, self.breakdown(stack.count)), context)


def _applied(decision: Decision, stack: Stack) -> tuple[F32, F64 | None]:
    """(the combined vector [d], weights over the raw rows [m] or None)."""
    if decision.vector is not None:
        return decision.vector, None
    assert decision.weights is not None, "a decision holds a vector or weights"
    over_points = decision.weights if decision.over_points else stack.over_points(decision.weights)
    return stack.points.vector(over_points), over_points[: stack.origin]
