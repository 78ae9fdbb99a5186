"""``flow-v1`` from packets: for sites with packets in a federation of flow sensors.

Laws: rows do not depend on the cut of the packets into batches (but for ``peer`` and ``port``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from wardround.traffic import hosts, windows
from wardround.traffic.flow import FlowFeatures, FlowState
from wardround.traffic.flowtable import FlowTable, TableState
from wardround.traffic.packets import Packets
from wardround.traffic.table import Schema
from wardround.traffic.windows import Windows


@dataclass(frozen=True)
class FlowsOfPackets:
    """A flow table, then the features of its records."""

    features: FlowFeatures = FlowFeatures()
    table: FlowTable = FlowTable()

    @property
    def schema(self) -> Schema:
        return self.features.schema

    def init(self) -> tuple[TableState, FlowState]:
        return self.table.init(), self.features.init()

    def update(
        self, state: tuple[TableState, FlowState], batch: Packets
    ) -> tuple[tuple[TableState, FlowState], Windows]:
        table, flows = self.table.update(state[0], batch)
        features, found = self.features.update(state[1], flows)
        return (table, features), replace(found, claims=hosts.claims(batch))

    def tick(self, state: tuple[TableState, FlowState], now: int) -> tuple[tuple[TableState, FlowState], Windows]:
        table, flows = self.table.tick(state[0], now)
        features, found = self.features.update(state[1], flows)
        features, late = self.features.tick(features, now)
        return (table, features), windows.concat([found, late])

    def flush(self, state: tuple[TableState, FlowState]) -> tuple[tuple[TableState, FlowState], Windows]:
        table, flows = self.table.flush(state[0])
        features, found = self.features.update(state[1], flows)
        features, last = self.features.flush(features)
        return (table, features), windows.concat([found, last])
