"""The server's root set: a few labelled rows that no client holds, for rules that trust it (FLTrust, Zeno).

Rows are taken from the training part before any of it is dealt, so they are of the same traffic and nobody's: in a
simulation they stand for public data or the lab's own traffic, never for patients'.

Laws: root rows are training rows that leave the split; without a root set the split is untouched; the same generator
state takes the same rows. What it does not do: train on them (federation/root.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wardround.arrays import I64
from wardround.errors import ConfigError
from wardround.traffic.split import Split
from wardround.traffic.table import Table

NOTHING: I64 = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class RootSet:
    """The server's own rows, held apart before clients get theirs: the table ``[root]``.

    Attributes:
        size: rows in all; 0 for no root set.
        per_class: at least so many of every class that has them; the rest is drawn as the classes come.
        without: names of classes of which the server has no row (you accept that the rule is blind to them).
        seed: which rows, beside the experiment's seed.
        steps: optimiser steps of the server's own update; 0 trains as ``[training]`` says. Rules cut rows to its length,
            so it should take about as many steps as a client.
        batch_size: rows of a step; 0 takes all root rows in every step, which keeps the server's direction free of noise.
    """

    size: int = 0
    per_class: int = 10
    without: tuple[str, ...] = ()
    seed: int = 0
    steps: int = 0
    batch_size: int = 0

    def __post_init__(self) -> None:
        for name in ("size", "per_class", "seed", "steps", "batch_size"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")


def hold_apart(wanted: RootSet, table: Table, split: Split, rng: np.random.Generator) -> tuple[Split, I64]:
    """(the split without the root rows, the root rows' numbers in the table, ascending).

    Raises:
        ConfigError: a class in ``without`` does not exist, or ``size`` cannot cover every class that has training rows.
    """
    if not wanted.size:
        return split, NOTHING
    names = table.labels.names
    unknown = [name for name in wanted.without if name not in names]
    if unknown:
        raise ConfigError(f"[root] without names {unknown[0]!r}; the classes are {', '.join(names)}")
    y = table.y[split.train]
    classes = [k for k in np.unique(y).tolist() if names[k] not in wanted.without]
    if wanted.size < len(classes) or wanted.size > len(y) // 2:
        raise ConfigError(
            f"[root] size = {wanted.size}: it must cover {len(classes)} classes and leave half of {len(y)} training rows"
        )
    root = split.train[_draw(wanted, y, classes, rng)]
    rest = np.setdiff1d(split.train, root, assume_unique=True)
    return replace(split, train=rest), np.sort(root)


def missing(table: Table, rows: I64, split: Split) -> tuple[str, ...]:
    """Names of the classes with training rows of which the root set has none."""
    lacking = np.setdiff1d(np.unique(table.y[split.train]), np.unique(table.y[rows]))
    return tuple(table.labels.names[k] for k in lacking.tolist())


def _draw(wanted: RootSet, y: I64, classes: list[int], rng: np.random.Generator) -> I64:
    """Places among ``y``: first every class's due, at most half of what it has, then any."""
    order = rng.permutation(len(y))
    order = order[np.isin(y[order], classes)]
    due = max(1, min(wanted.per_class, wanted.size // len(classes)))
    first = [order[y[order] == k] for k in classes]
    covered = np.concatenate([places[: max(1, min(due, len(places) // 2))] for places in first])
    rest = order[~np.isin(order, covered)][: wanted.size - len(covered)]
    return np.concatenate([covered, rest])
