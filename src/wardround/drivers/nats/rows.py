"""A gateway's own rows: the share that the partition deals it (the lab), or all of its own data folder."""

from __future__ import annotations

from wardround.drivers.nats.deployment import Federation
from wardround.drivers.site import OwnRows, cut
from wardround.drivers.world import build
from wardround.errors import UsageError
from wardround.rng import stream
from wardround.traffic.table import Table


def own_rows(federation: Federation, table: Table, name: str) -> OwnRows:
    """The rows of the gateway ``name``.

    Raises:
        UsageError: the partition deals nothing to ``name``.
    """
    if federation.gateway.own_data:
        split = federation.split.assign(table, stream(federation.seed, "split"))
        return cut(table, split.train, split.validation)
    world = build(federation, table)
    share = next((s for s in world.shares if s.name == name), None)
    if share is None:
        raise UsageError(
            f"[partition] deals no rows to {name!r}: set [gateway] own_data = true where gateways have their own data"
        )
    return cut(world.table, share.train, share.validation)
