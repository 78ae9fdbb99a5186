"""What an adversary is: it may poison its clients' rows before training, and forge their updates afterwards.

For evaluation only; nothing but the simulation reaches this room. Adversaries are omniscient (the worst case of the
literature): they see every honest update of the round and can try out the deployed rule before they send. What they do
not see is the round's own draw of cohorts, which is made after the last upload.

Not here, and why: wrong signatures, replays and forged sessions are layer 1's business; they are refused there, with tests
of their own, and never reach a rule. Malformed ciphertexts and shares (malformed.py) are layer 2's, and show that it holds.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardround.aggregate.rule import ALONE, START, Context, Rule, RuleState
from wardround.aggregate.tolerance import cohort_sizes
from wardround.arrays import F32, F64
from wardround.training.task import Rows


@dataclass(frozen=True, eq=False)
class Target:
    """The deployed aggregation as the adversary can try it: rule, cohort size, and what the server knows beside the rows.

    ``draws``: deals of cohorts an adversary averages over, because it cannot know the real one.
    """

    rule: Rule
    cohort_size: int = 1
    context: Context = ALONE
    state: RuleState = START
    draws: int = 3

    def outcomes(self, honest: F32, forged: F32, rng: np.random.Generator) -> list[F32]:
        """The combined vectors [d] for ``honest`` [h, d] and ``forged`` [f, d] updates of equal weight, one per deal."""
        rows = np.concatenate([honest, forged])
        sizes = cohort_sizes(len(rows), self.cohort_size)
        deals = self.draws if max(sizes) > 1 and len(sizes) > 1 else 1
        return [self._combine(self._means(rows, sizes, rng)) for _ in range(deals)]

    def _means(self, rows: F32, sizes: list[int], rng: np.random.Generator) -> tuple[F32, F64]:
        if max(sizes) == 1:
            return rows, np.ones(len(rows))
        cohorts = np.split(rng.permutation(len(rows)), np.cumsum(sizes)[:-1])
        means: F32 = np.stack([rows[members].mean(axis=0) for members in cohorts])
        return means, np.array(sizes, dtype=np.float64)

    def _combine(self, cohort: tuple[F32, F64]) -> F32:
        return self.rule.combine(*cohort, self.context, self.state).vector


@dataclass(frozen=True)
class Attack:
    """An honest client: the adversary that does nothing. Attacks override one or both hooks; neither changes its input.

    Attributes:
        fraction: share of the clients that are hostile, rounded up; which ones follows from the seed.
        start: the first round in which they attack; before it they behave.
        claim: hostile clients claim the largest weight the server's policy allows.
    """

    name: ClassVar[str] = "none"
    trains: ClassVar[bool] = (
        False  # what is sent comes from the client's own training (and momentum), not from others' updates
    )
    fraction: float = 0.2
    start: int = 1
    claim: bool = False

    def __init_subclass__(cls) -> None:
        """Every attack's docstring explains the shared keys too."""
        super().__init_subclass__()
        own = inspect.cleandoc(cls.__doc__ or "")
        shared = inspect.cleandoc(Attack.__doc__ or "").partition("Attributes:\n")[2]
        cls.__doc__ = f"{own}\n{shared}" if "Attributes:\n" in own else f"{own}\n\nAttributes:\n{shared}"

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise ValueError(f"fraction is a share of the clients in [0, 1), not {self.fraction}")
        if self.start < 1:
            raise ValueError(f"start is a round, 1 or later, not {self.start}")

    def poison_rows(self, rows: Rows, classes: int, rng: np.random.Generator) -> Rows:
        """The rows a hostile client trains on, from its own; labels are codes below ``classes``."""
        del classes, rng
        return rows

    def forge(self, honest: F32, own: F32, target: Target, rng: np.random.Generator) -> F32:
        """What the hostile clients send [f, d], from the ``honest`` updates [h, d] and those they trained, ``own`` [f, d].

        Raises:
            ValueError: there is no honest update where the attack needs one.
        """
        del honest, target, rng
        return own


def moments(honest: F32) -> tuple[F64, F64]:
    """(mean [d], standard deviation [d]) of the honest updates.

    Raises:
        ValueError: there is none.
    """
    if not len(honest):
        raise ValueError("an omniscient attack is made from the honest updates of the round, and there is none")
    return honest.mean(axis=0, dtype=np.float64), honest.std(axis=0, dtype=np.float64)


def alike(vector: F64, count: int) -> F32:
    """``count`` copies [count, d] of one vector [d]: colluding clients."""
    return np.tile(vector.astype(np.float32), (count, 1))
