"""One-way flow records to two-way ones.

Laws: no record is in two pairs; every record leaves once, alone or in a pair; what waits is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from wardround.arrays import I64, Array
from wardround.traffic import flows as fl
from wardround.traffic.flows import Flows, blank, take
from wardround.traffic.grouping import mix


@dataclass
class Pairing:
    """One-way records to two-way ones: a record waits ``seconds`` for the one of the other direction.

    The end whose record starts first began; at the same instant the one with the higher port. Records that tell both
    directions pass. At most ``most`` wait; beyond that the oldest go on alone.
    """

    seconds: float = 15.0
    most: int = 1 << 16
    waiting: Flows = field(default_factory=lambda: blank(0))

    def update(self, flows: Flows, now: int) -> Flows:
        """Pairs that are whole and records that waited in vain, at ``now`` (ns)."""
        alone = flows.packets_in == 0
        both = fl.concat([self.waiting, take(flows, alone)])
        ends = [
            mix(a[:, 0], a[:, 1], p.astype(np.uint64))
            for a, p in ((both.source, both.source_port), (both.target, both.target_port))
        ]
        key = mix(np.minimum(*ends), np.maximum(*ends), both.protocol.astype(np.uint64))
        order = np.lexsort((both.start, key))
        key, forward = key[order], (ends[0] < ends[1])[order]
        opposite = (key[1:] == key[:-1]) & (forward[1:] != forward[:-1])
        first = _every_other(opposite)
        pairs = _paired(take(both, order[first]), take(both, order[first + 1]))
        single = np.ones(len(order), np.bool_)
        single[first], single[first + 1] = False, False
        rest = take(both, np.sort(order[single]))
        due = rest.reported < now - int(self.seconds * 1e9)
        if len(rest) - int(due.sum()) > self.most:
            due[: len(rest) - self.most] = True
        self.waiting = take(rest, ~due)
        gone = replace(take(rest, due), reported=np.full(int(due.sum()), now))
        return fl.concat([take(flows, ~alone), replace(pairs, reported=np.full(len(pairs), now)), gone])

    def flush(self, now: int) -> Flows:
        """All that wait."""
        left, self.waiting = self.waiting, blank(0)
        return replace(left, reported=np.full(len(left), now))


def _every_other(opposite: Array) -> I64:
    """Starts of pairs of neighbours, where ``opposite`` says that i and i + 1 fit; no row in two pairs."""
    found, free = [], 0
    for i in np.flatnonzero(opposite).tolist():
        if i >= free:
            found.append(i)
            free = i + 2
    return np.array(found, np.int64)


def _paired(a: Flows, b: Flows) -> Flows:
    """Two directions as one record each; ``a`` starts first."""
    turn = (a.start == b.start) & (b.source_port > a.source_port)
    columns = {}
    for name in fl.COLUMNS:
        first, second = getattr(a, name), getattr(b, name)
        columns[name] = np.where(turn[:, None] if first.ndim == 2 else turn, second, first)
    for received, sent in (("packets_in", "packets_out"), ("bytes_in", "bytes_out")):
        columns[received] = np.where(turn, getattr(a, sent), getattr(b, sent))
    columns["start"], columns["end"] = np.minimum(a.start, b.start), np.maximum(a.end, b.end)
    rejected = (a.state == fl.REJECTED) | (b.state == fl.REJECTED)
    reset = (a.state == fl.RESET) | (b.state == fl.RESET)
    columns["state"] = np.select([rejected, reset], [fl.REJECTED, fl.RESET], fl.ESTABLISHED).astype(np.uint8)
    return Flows(**columns)
