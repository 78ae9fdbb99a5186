"""Which chain a budget of bytes buys: the first of a fixed list that fits, for each class of link.

Without a secure sum every class of client takes the first chain of ``OPEN`` whose longest message fits its budget per round:
the order is fixed by hand from an earlier study, dense first, and not fitted to our runs (docs/reference/codecs.md).
Under a secure sum one support serves the whole
round, so all classes share one linear chain, bought by the fastest class; a slower client takes part every second, third, ...
round, so that its *mean* bytes a round fit. A client is never asked for fewer coordinates than the others: their
sums would be of different things.

    ring bits    b + ceil(log2 n): values of b bits, summed over n clients, without overflow

Laws: the chosen chain's longest message fits; a larger budget never buys a later chain of the list; the plan is a function
of its arguments. What it does not do: count the lattice's key shares and signatures (secagg/explain.py does).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wardround.compress.chain import Chain, LinearChain
from wardround.compress.codec import Codec, LinearCodec
from wardround.compress.feedback import ErrorFeedback
from wardround.compress.pack import Zstd
from wardround.compress.quantise import Float32, Integer
from wardround.compress.rotation import Eden
from wardround.compress.sparsify import SparseTernary, TopK
from wardround.compress.supports import Importance
from wardround.params import Layout

OPEN: tuple[tuple[Codec, ...], ...] = (
    (Float32(),),
    (Integer(8, 256), Zstd()),
    (Eden(4),),
    (Eden(2),),
    (Eden(1),),
    (ErrorFeedback(), TopK(0.05), Integer(4)),
    (ErrorFeedback(), TopK(0.03), Integer(4)),
    (ErrorFeedback(), SparseTernary(0.03)),
    (ErrorFeedback(), SparseTernary(0.02)),
    (ErrorFeedback(), SparseTernary(0.0125)),
    (ErrorFeedback(), SparseTernary(0.01)),
    (ErrorFeedback(), SparseTernary(0.005)),
    (ErrorFeedback(), SparseTernary(0.003)),
)
"""Chains for servers that may see updates, best first."""
SECURE: tuple[tuple[LinearCodec, ...], ...] = (
    (),
    (Importance(0.5, cap=10.0),),
    (Importance(0.2, cap=10.0),),
    (Importance(0.1, cap=10.0),),
    (Importance(0.05, cap=20.0),),
    (Importance(0.03, cap=20.0),),
)
"""Chains for a secure sum, best first."""
_LONGEST_WAIT = 64
"""A client that could take part in fewer rounds than one in this many is better left out."""


@dataclass(frozen=True)
class Bought:
    """A class's chain, the most bytes of one message, and how often it takes part: in one round of ``every``."""

    codecs: tuple[Codec, ...]
    message_bytes: int
    every: int
    why: str


@dataclass(frozen=True)
class Ring:
    """How a secure sum codes a number: ``bits`` of value, room for ``clients`` summands, ``overhead_bytes`` per message."""

    bits: int
    clients: int
    overhead_bytes: int = 0

    def size(self, values: int) -> int:
        """Bytes for ``values`` numbers."""
        return self.overhead_bytes + -(-values * (self.bits + math.ceil(math.log2(max(2, self.clients)))) // 8)


def plan_open(layout: Layout, budgets: Mapping[str, int]) -> dict[str, Bought]:
    """For each class of link the chain that its ``budgets`` of bytes a round buys; the server sees each update.

    Raises:
        ValueError: a budget is too small for any chain even once in 64 rounds; the text says what would do.
    """
    chains = [(codecs, Chain.of(codecs).size(layout).most) for codecs in OPEN]
    return {name: _buy(name, budget, chains, "its own chain") for name, budget in budgets.items()}


def plan_secure(layout: Layout, budgets: Mapping[str, int], ring: Ring) -> dict[str, Bought]:
    """One linear chain for all classes, bought by the largest budget among those that every class can send at least once in
    64 rounds; slower classes take part less often.

    Raises:
        ValueError: as ``plan_open``.
    """
    chains = [
        (codecs, ring.size(max(LinearChain(codecs).outputs(layout, turn) for turn in (0, 1)))) for codecs in SECURE
    ]
    least = min(budgets.values()) * _LONGEST_WAIT  # a chain that some class could never send is no chain for the cohort
    open_to_all = [pair for pair in chains if pair[1] <= least] or chains[-1:]
    fastest = max(budgets, key=lambda name: budgets[name])
    shared = _buy(fastest, budgets[fastest], open_to_all, "the cohort's chain")
    only = [(shared.codecs, shared.message_bytes)]
    return {name: _buy(name, budget, only, "the cohort's chain") for name, budget in budgets.items()}


def _buy(name: str, budget: int, chains: Sequence[tuple[tuple[Codec, ...], int]], what: str) -> Bought:
    for codecs, size in chains:
        if size <= budget:
            return Bought(codecs, size, 1, f"{name}: {what} takes at most {size} of {budget} bytes a round")
    codecs, size = chains[-1]
    every = -(-size // budget) if budget > 0 else _LONGEST_WAIT + 1
    if every > _LONGEST_WAIT:
        raise ValueError(
            f"{budget} bytes a round for {name!r} are too few: the smallest chain needs {-(-size // _LONGEST_WAIT)}"
        )
    return Bought(
        codecs,
        size,
        every,
        f"{name}: {what} takes {size} bytes, so it takes part in one round of {every} ({budget} a round)",
    )
