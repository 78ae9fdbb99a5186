"""The hostile clients of a simulated federation: who they are, what they train on, what they send.

The adversary controls a share of the clients, drawn by the experiment's seed. Its clients poison their rows before they
train; then all of them, knowing every honest update of the round, the rule, the cohort size and the server's root update,
forge what they send. Everything after that (algorithm, weight, codec, secure sum) is what honest clients do: so an attack
travels through the lattice like any update. What they do not know is how the cohorts of the round will be dealt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from wardround.aggregate.rules import Context, RuleState
from wardround.arrays import F32, I32, I64
from wardround.attacks.attack import Attack, Target
from wardround.drivers.world import ClientRows
from wardround.federation.algorithms import EMPTY
from wardround.federation.momentum import made, sent
from wardround.federation.plan import Plan, Prepared
from wardround.rng import stream
from wardround.training.task import Rows, Trained


@dataclass(frozen=True, eq=False)
class Seen:
    """What the adversary sees beside the updates: what the server knows (``context``), and the clients' algorithm memories by
    number.
    """

    context: Context
    memories: Mapping[int, F32] = field(default_factory=dict)


class Attackers:
    """The adversary of a federation of ``names``; ``rounds`` it sits out at first are ``attack.start`` - 1."""

    def __init__(self, attack: Attack, names: Sequence[str], plan: Plan, seed: int) -> None:
        self._attack, self._plan, self._seed = attack, plan, seed
        count = min(math.ceil(attack.fraction * len(names) - 1e-9), len(names))
        chosen = stream(seed, "hostile").permutation(len(names))[:count]
        self.hostile = frozenset(int(i) for i in chosen)
        self.names = tuple(names[i] for i in sorted(self.hostile))

    def at_work(self, round_: int) -> bool:
        """Does anybody attack in this round?"""
        return bool(self.hostile) and round_ >= self._attack.start

    def rows(self, index: int, rows: Rows, round_: int) -> Rows:
        """The rows client ``index`` trains on."""
        if index not in self.hostile or not self.at_work(round_) or not len(rows):
            return rows
        rng = stream(self._seed, "poison", index, round_)
        return self._attack.poison_rows(rows, self._plan.classes, rng)

    def forge(self, trained: Mapping[int, Trained], seen: Seen, state: RuleState, round_: int) -> dict[int, Trained]:
        """What every client of the round hands in: ``trained`` with the hostile clients' results replaced.

        Under client momentum the adversary sees and forges what is sent: a client that lies has no use for its own history,
        unless its lie is what it trained.
        """
        algorithm, memories, context = self._plan.algorithm, seen.memories, seen.context
        mine = [i for i in trained if i in self.hostile]
        honest = [
            sent(algorithm, t.delta, memories.get(i, EMPTY))
            for i, t in trained.items()
            if i not in self.hostile and t.steps
        ]
        if not mine or not honest:
            return dict(trained)
        rng = stream(self._seed, "forge", round_)
        size = self._plan.schedule.cohort_size or len(trained)
        target = Target(self._plan.rule, size, replace(context, rng=rng), state)
        lies = self._attack.forge(_stack(honest), _stack([trained[i].delta for i in mine]), target, rng)
        forged = {i: self._lied(trained[i], lie) for i, lie in zip(mine, lies, strict=True)}
        if not self._attack.trains:
            forged = {i: replace(f, delta=made(algorithm, f.delta, memories.get(i, EMPTY))) for i, f in forged.items()}
        return {**trained, **forged}

    def _lied(self, result: Trained, update: F32) -> Trained:
        """A result with the forged update; with ``claim`` it also says it holds more rows than anybody."""
        rows = 10**9 if self._attack.claim else result.rows
        return replace(result, delta=np.asarray(update, dtype=np.float32), rows=rows, steps=max(result.steps, 1))


def _stack(updates: Sequence[F32]) -> F32:
    rows: F32 = np.stack(updates).astype(np.float32)
    return rows


class HostileRows:
    """What a hostile client sees of its own rows (federation.client.LocalData): poisoned where it trains."""

    def __init__(self, rows: ClientRows, attackers: Attackers, index: int, round_: int) -> None:
        self._rows, self._attackers, self._index, self._round = rows, attackers, index, round_

    def raw(self) -> tuple[F32, I64]:
        return self._rows.raw()

    def typed(self, part: str) -> tuple[F32, I64, I32]:
        return self._rows.typed(part)

    def prepared(self, part: str, prepared: Prepared) -> Rows:
        rows = self._rows.prepared(part, prepared)
        return self._attackers.rows(self._index, rows, self._round) if part == "train" else rows
