"""A gateway's own rows: the share that the partition deals it (the lab), or all of its own data folder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wardround.arrays import F32, I64
from wardround.drivers.nats.deployment import Federation
from wardround.drivers.world import build
from wardround.errors import UsageError
from wardround.federation.plan import Prepared
from wardround.rng import stream
from wardround.traffic.table import Table
from wardround.training.task import Rows


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one part as the schema has them: x [n, f], y [n]."""

    x: F32
    y: I64


class OwnRows:
    """What the client machine may see (federation.client.LocalData); prepared rows are made once per statistics."""

    def __init__(self, train: Part, validation: Part) -> None:
        self._parts = {"train": train, "validation": validation}
        self._prepared: dict[str, Rows] = {}
        self._for: Prepared | None = None

    @property
    def preparation(self) -> Prepared | None:
        """The federation's statistics that rows were prepared with last."""
        return self._for

    def raw(self) -> tuple[F32, I64]:
        train = self._parts["train"]
        return train.x, train.y

    def prepared(self, part: str, prepared: Prepared) -> Rows:
        if self._for is not prepared:
            self._for, self._prepared = prepared, {}
        if part not in self._prepared:
            rows = self._parts[part]
            self._prepared[part] = Rows(prepared.preprocessor.apply(rows.x), rows.y)
        return self._prepared[part]


def own_rows(federation: Federation, table: Table, name: str) -> OwnRows:
    """The rows of the gateway ``name``.

    Raises:
        UsageError: the partition deals nothing to ``name``.
    """
    if federation.gateway.own_data:
        split = federation.split.assign(table, stream(federation.seed, "split"))
        return _cut(table, split.train, split.validation)
    world = build(federation, table)
    share = next((s for s in world.shares if s.name == name), None)
    if share is None:
        raise UsageError(
            f"[partition] deals no rows to {name!r}: set [gateway] own_data = true where gateways have their own data"
        )
    return _cut(table, share.train, share.validation)


def _cut(table: Table, train: I64, validation: I64) -> OwnRows:
    # copies: what is kept is this gateway's rows, not the table they were cut from
    def part(index: I64) -> Part:
        return Part(np.ascontiguousarray(table.x[index]), np.ascontiguousarray(table.y[index]))

    return OwnRows(part(train), part(validation))
