"""Shared supports: the coordinates of a round, drawn by everyone alike from the round's identity and public data.

    random-k      k coordinates, uniform; every client the same
    shared-top    the k that changed most in announced models, some of them drawn at random to look elsewhere
    importance    each coordinate with a probability that follows how much it has changed (RI)

Because each client recomputes the support, a server cannot single out a coordinate, and no byte says which they are.
``importance`` is importance sampling (Wangni et al., NeurIPS 2018; Alain et al. 2015) with one draw for all clients:
p_j = min(1, k ((1 - u) w_j / sum w + u / d)), systematic sampling (Madow 1949) gives exactly k of them, and the server
weighs by 1 / p_j, so the result is unbiased where ``cap`` is 0. No client keeps anything: error feedback around a shared
support hurts under partial participation (0.68 against 0.75 macro-F1 in our study), since a residual goes stale.

The sizes w_j live in 256 logarithmic steps and all of p_j is computed from counts of steps, integers and correctly rounded
operations: two machines never disagree on a support (a sum over different supports is garbage).

Laws: exactly k ascending coordinates; the same public data give the same support; ``backward(forward(v))`` is v on average
(random-k with ``unbiased``, importance without ``cap``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from wardround.arrays import F32, F64, I64, U8
from wardround.compress.codec import LinearMap, Public, checked_share, kept, public_words
from wardround.params import Layout

UNSEEN = 128
"""The level of a coordinate nobody has seen move: size 1, the mean of those that did."""
_UNIT = 1 << 30
"""Probabilities are whole multiples of 1 / 2^30."""
# 2^(i / 16) for i = 0..15, written out because a library's power function may differ in the last bit between machines
_SIXTEENTHS = (
    1.0, 1.0442737824274138, 1.0905077326652577, 1.1387886347566916, 1.189207115002721, 1.241857812073484,
    1.2968395546510096, 1.3542555469368927, 1.4142135623730951, 1.4768261459394993, 1.5422108254079407, 1.6104903319492543,
    1.681792830507429, 1.7562521603732995, 1.8340080864093424, 1.9152065613971474,
)  # fmt: skip
SIZES: F64 = np.array([math.ldexp(_SIXTEENTHS[2 * (i % 8)], i // 8 - 16) for i in range(256)])
"""Size of each level: 2^((level - 128) / 8)."""
_EDGES: F64 = np.array([math.ldexp(_SIXTEENTHS[2 * (i % 8) + 1], i // 8 - 16) for i in range(255)])


@dataclass(frozen=True, eq=False)
class Support:
    """The linear map that keeps ``positions`` [k] of ``inputs`` values; the server weighs them by ``weights`` [k]."""

    inputs: int
    positions: I64
    weights: F32

    @property
    def outputs(self) -> int:
        return len(self.positions)

    def forward(self, v: F32) -> F32:
        return v[..., self.positions]

    def backward(self, z: F32) -> F32:
        out = np.zeros((*z.shape[:-1], self.inputs), dtype=np.float32)
        out[..., self.positions] = z * self.weights
        return out


class Stateless:
    """A linear codec that learns nothing."""

    def init(self, layout: Layout) -> Public | None:
        """No public state."""
        del layout
        return None

    def learn(self, public: Public, applied: LinearMap, difference: F32) -> Public:
        """Nothing."""
        del applied, difference
        return public


@dataclass(frozen=True)
class RandomK(Stateless):
    """The same random share of the coordinates for all clients of a round; no state.

    Attributes:
        share: of the coordinates, in (0, 1].
        unbiased: the server multiplies by 1 / share, so the mean is right; false: as sent (for error feedback).
    """

    name: ClassVar[str] = "random-k"
    linear: ClassVar[Literal[True]] = True
    share: float = 0.1
    unbiased: bool = True

    def __post_init__(self) -> None:
        checked_share(self.share)

    @property
    def biased(self) -> bool:
        return not self.unbiased

    @property
    def shrinks(self) -> bool:
        return not self.unbiased

    def outputs(self, layout: Layout, turn: int = 0) -> int:
        del turn
        return kept(self.share, layout.size)

    def plan(self, public: Public, round_id: bytes, layout: Layout) -> Support:
        del public
        n = layout.size
        k = kept(self.share, n)
        positions = np.sort(_order(round_id, self.name, n)[:k])
        weight = n / k if self.unbiased else 1.0
        return Support(n, positions, np.full(k, weight, dtype=np.float32))


class _Learns:
    """A linear codec that follows the size of each coordinate's changes."""

    decay: float

    def init(self, layout: Layout) -> Public | None:
        """All coordinates unseen: one byte each."""
        return Public(levels=np.full(layout.size, UNSEEN, dtype=np.uint8))

    def learn(self, public: Public, applied: LinearMap, difference: F32) -> Public:
        """Sizes after the model moved by ``difference`` [n]: those in the support, or that moved, follow it."""
        if not isinstance(applied, Support):
            raise TypeError("a support learns from its own map")
        weights = np.ones(applied.inputs)
        weights[applied.positions] = applied.weights
        moved = difference != 0
        moved[applied.positions] = True
        return Public(
            follow(public.levels, moved, np.abs(difference, dtype=np.float64) / weights, self.decay),
            public.factor,
            public.turn + 1,
        )


@dataclass(frozen=True)
class SharedTop(_Learns):
    """The coordinates that have changed most in the announced models, the same for all clients; biased.

    Attributes:
        share: of the coordinates, in (0, 1].
        explore: part of the share drawn at random among the others, so that no coordinate is forgotten.
        decay: how much of the known size stays when a coordinate is seen again.
    """

    name: ClassVar[str] = "shared-top"
    linear: ClassVar[Literal[True]] = True
    share: float = 0.05
    explore: float = 0.3
    decay: float = 0.7

    def __post_init__(self) -> None:
        checked_share(self.share)
        _check_shares(explore=self.explore, decay=self.decay)

    @property
    def biased(self) -> bool:
        return True

    @property
    def shrinks(self) -> bool:
        return True

    def outputs(self, layout: Layout, turn: int = 0) -> int:
        del turn
        return kept(self.share, layout.size)

    def plan(self, public: Public, round_id: bytes, layout: Layout) -> Support:
        n, k = layout.size, kept(self.share, layout.size)
        order = _order(round_id, self.name, n)
        by_size = order[np.argsort(-public.levels[order].astype(np.int64), kind="stable")]
        top = by_size[: k - round(self.explore * k)]
        rest = order[~np.isin(order, top)][: k - len(top)]
        return Support(n, np.sort(np.concatenate([top, rest])), np.ones(k, dtype=np.float32))


@dataclass(frozen=True)
class Importance(_Learns):
    """Coordinates drawn with a probability that follows their past changes; the same draw for all, no client state (RI).

    Attributes:
        share: of the coordinates, in (0, 1].
        explore: part of the probability that is the same for all coordinates.
        cap: largest weight a drawn coordinate gets; 0: the true 1 / probability (unbiased, but noisy).
        decay: how much of the known size stays when a coordinate is seen again.
        weigh: false sends the coordinates as they are, for the downlink or under error feedback.
    """

    name: ClassVar[str] = "importance"
    linear: ClassVar[Literal[True]] = True
    share: float = 0.1
    explore: float = 0.3
    cap: float = 10.0
    decay: float = 0.7
    weigh: bool = True

    def __post_init__(self) -> None:
        checked_share(self.share)
        _check_shares(explore=self.explore, decay=self.decay)
        if self.explore == 0:
            raise ValueError("explore must be above 0: a coordinate that is never drawn is never learned")
        if not (self.cap == 0 or 1 <= self.cap < math.inf):
            raise ValueError(f"cap must be 0 (none) or at least 1, not {self.cap}")

    @property
    def biased(self) -> bool:
        return self.cap > 0 or not self.weigh

    @property
    def shrinks(self) -> bool:
        return not self.weigh

    def outputs(self, layout: Layout, turn: int = 0) -> int:
        del turn
        return kept(self.share, layout.size)

    def plan(self, public: Public, round_id: bytes, layout: Layout) -> Support:
        n, k = layout.size, kept(self.share, layout.size)
        chances = probabilities(public.levels, k, self.explore)
        positions = draw(chances[public.levels], k, round_id)
        odds = _UNIT / chances[public.levels[positions]]
        weights = np.minimum(odds, self.cap or math.inf) if self.weigh else np.ones(k)
        return Support(n, positions, weights.astype(np.float32))


def probabilities(levels: U8, k: int, explore: float) -> I64:
    """Probability of being drawn for each of the 256 levels, in units of 2^-30, so that ``k`` are drawn on average."""
    counts = np.bincount(levels, minlength=256)
    n = len(levels)
    total = math.fsum(counts * SIZES)
    shape = (1 - explore) * SIZES / total + explore / n
    p = np.minimum(1.0, k * shape)
    for _ in range(len(SIZES)):  # each pass caps at least one level more, or none is left to cap
        full = p >= 1.0
        left = math.fsum((counts * shape)[~full])
        if left == 0.0:
            break
        p = np.where(full, 1.0, np.minimum(1.0, shape * ((k - int(counts[full].sum())) / left)))
        if (p >= 1.0).sum() == full.sum():
            break
    chances: I64 = np.clip(np.rint(p * _UNIT), 1, _UNIT).astype(np.int64)
    return chances


def draw(chances: I64, k: int, round_id: bytes) -> I64:
    """Exactly ``k`` ascending positions, each with its own chance [n] of 2^-30 (systematic sampling in a random order)."""
    n = len(chances)
    order = _order(round_id, "importance", n)
    chance = chances[order]
    # rounding leaves at most half a unit per coordinate: spread as one unit each, which no statistic can see
    while short := k * _UNIT - int(chance.sum()):
        room = np.flatnonzero((chance < _UNIT) if short > 0 else (chance > 1))
        chance[room[: abs(short)]] += 1 if short > 0 else -1
    offset = int(public_words(round_id, "importance offset", 1)[0]) % _UNIT
    ends = np.cumsum(chance) + offset
    drawn = (ends // _UNIT) > ((ends - chance) // _UNIT)
    positions: I64 = np.sort(order[drawn])
    return positions


def follow(levels: U8, moved: np.ndarray[tuple[int], np.dtype[np.bool_]], sizes: F64, decay: float) -> U8:
    """Levels [n] after the coordinates ``moved`` showed ``sizes`` [n]; sizes are taken relative to their mean."""
    seen = np.flatnonzero(moved)
    mean = math.fsum(sizes[seen]) / max(len(seen), 1)  # fsum: the one correct result, in whatever order it is added
    if mean == 0.0:
        return levels
    new = levels.copy()
    new[seen] = np.searchsorted(_EDGES, decay * SIZES[levels[seen]] + (1 - decay) * (sizes[seen] / mean))
    return new


def _order(round_id: bytes, label: str, n: int) -> I64:
    """A public random order of ``n`` positions."""
    order: I64 = np.argsort(public_words(round_id, label, n), kind="stable")
    return order


def _check_shares(**shares: float) -> None:
    for key, share in shares.items():
        if not 0 <= share < 1:
            raise ValueError(f"{key} must lie in [0, 1), not {share}")
