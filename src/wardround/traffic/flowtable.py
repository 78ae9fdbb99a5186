"""Packets to flow records: a flow table that lives by packet time.

A flow is all packets between two ends (address, port) over one protocol, until nothing came for ``idle`` seconds, or
a new TCP connection begins on the same ends (a SYN after anything but a SYN), or a new minute begins: long flows are
reported minute by minute, so that what is read from them does not wait for their end. A record is reported ``idle``
seconds after its last packet, whatever closed it.

Laws: records do not depend on the cut into batches; packets and bytes of all records add up to those of the packets.
Memory is bounded: at most ``most`` flows are open and as many wait to be reported; beyond that they are reported early.
What it does not do: reassemble, or follow sequence numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from wardround.arrays import I64, U64, Bool
from wardround.traffic.clock import SECOND, stretches
from wardround.traffic.flows import Flows, blank, concat, state_of, take
from wardround.traffic.grouping import distinct, mix
from wardround.traffic.packets import ACK, ICMP, ICMPV6, SYN, TCP, Packets
from wardround.traffic.packets import take as take_packets
from wardround.traffic.services import SERVICE_OF_PORT

MINUTE = 60 * SECOND
_OPEN_LIMIT = 1 << 16
_PIECE = 1 << 16


@dataclass(eq=False)
class Open:
    """Flows under way: records as they stand (``reported`` not yet set), and per record: ``key`` of the two ends;
    ``flags_out``, ``flags_in``: all TCP flags so far; ``syn``: whether the last packet was a mere SYN.
    """

    flows: Flows
    key: U64
    flags_out: I64
    flags_in: I64
    syn: Bool

    def __len__(self) -> int:
        return len(self.key)


@dataclass
class TableState:
    """The open flows, those that are over but not yet reported, and the clock."""

    open: Open
    over: list[Flows] = field(default_factory=list)
    now: int | None = None


@dataclass(frozen=True)
class FlowTable:
    """``idle`` seconds of silence end a flow; at most ``most`` are open at once."""

    idle: float = 10.0
    most: int = _OPEN_LIMIT

    def init(self) -> TableState:
        return TableState(_none())

    def update(self, state: TableState, packets: Packets) -> tuple[TableState, Flows]:
        """Take in ``packets``; the records that their times make due."""
        found: list[Flows] = []
        for start in range(0, len(packets), _PIECE):
            part = take_packets(packets, slice(start, start + _PIECE)) if len(packets) > _PIECE else packets
            for where, time, back in stretches(part.time, state.now):
                if back:
                    found.append(self.flush(state)[1])
                if len(time):
                    stretch = take_packets(part, where) if where != slice(0, len(part)) else part
                    self._take_in(state, stretch, time)
                    state.now = int(time[-1])
                    found += [self._due(state), self._excess(state)]
        return state, concat(found)

    def tick(self, state: TableState, now: int) -> tuple[TableState, Flows]:
        """The records due at the clock's ``now``, if it is ahead of the packets."""
        state.now = max(now, state.now or now)
        return state, self._due(state)

    def flush(self, state: TableState) -> tuple[TableState, Flows]:
        """All flows as they stand."""
        found = _reported([*state.over, _finished(state.open)], self._idle)
        state.open, state.over, state.now = _none(), [], None
        return state, found

    @property
    def _idle(self) -> int:
        return int(self.idle * SECOND)

    def _take_in(self, state: TableState, packets: Packets, time: I64) -> None:
        fresh, first = _instances(packets, time, self._idle)
        # what is open comes first; then the pieces of this batch, in order of time
        both = _joined(state.open, fresh)
        number, _ = distinct(both.key)
        order = np.argsort(number, kind="stable")
        same = np.zeros(len(order), np.bool_)
        same[1:] = number[order[1:]] == number[order[:-1]]
        before, after = order[:-1], order[1:]
        gap = both.flows.start[after] - both.flows.end[before]
        begins = np.concatenate([np.zeros(len(state.open), np.bool_), first])
        again = begins[after] & ~both.syn[before]
        minute = both.flows.start[after] // MINUTE != both.flows.start[before] // MINUTE
        same[1:] &= (gap <= self._idle) & ~again & ~minute
        starts = np.flatnonzero(~same)
        merged = _merged(both, order, starts)
        last = (
            np.concatenate([number[order[starts[1:]]] != number[order[starts[:-1]]], [True]])
            if len(starts)
            else same[:0]
        )
        state.over.append(_finished(_some(merged, ~last)))
        state.open = _some(merged, last)

    def _excess(self, state: TableState) -> Flows:
        """Flows beyond the table's room, reported now: first those that are over, then those quiet for longest."""
        assert state.now is not None
        over = concat(state.over)
        early = [over] if len(over) > self.most else []
        state.over = [] if early else [over]
        if len(state.open) > self.most:
            quiet = np.argsort(state.open.flows.end, kind="stable")
            excess = len(quiet) - self.most
            early.append(_finished(_some(state.open, quiet[:excess])))
            state.open = _some(state.open, np.sort(quiet[excess:]))
        flows = concat(early)
        return replace(flows, reported=np.full(len(flows), state.now), layer2=True)

    def _due(self, state: TableState) -> Flows:
        assert state.now is not None
        due = state.open.flows.end < state.now - self._idle
        over = concat([*state.over, _finished(_some(state.open, due))])
        state.open = _some(state.open, ~due)
        ready = over.end < state.now - self._idle
        state.over = [take(over, ~ready)] if not ready.all() else []
        return _reported([take(over, ready)], self._idle)


def _instances(p: Packets, time: I64, idle: int) -> tuple[Open, Bool]:
    """The pieces of flows in a stretch, by time of their first packet, and which of them begin with a mere SYN."""
    bare = (p.version == 0) & (p.arp == 0)  # no address: the MACs are the ends
    ends = [
        mix(address[:, 0], address[:, 1], port.astype(np.uint64) << np.uint64(48) | np.where(bare, mac, np.uint64(0)))
        for address, port, mac in ((p.source, p.source_port, p.source_mac), (p.target, p.target_port, p.target_mac))
    ]
    about = p.protocol.astype(np.uint64) | p.ethertype.astype(np.uint64) << np.uint64(8)
    key = mix(np.minimum(*ends), np.maximum(*ends), about)
    number, _ = distinct(key)
    order = np.argsort(number, kind="stable")
    number, time = number[order], time[order]
    tcp = p.protocol == TCP
    syn = (tcp & ((p.flags & (SYN | ACK)) == SYN))[order]
    cut = np.ones(len(order), np.bool_)
    cut[1:] = (number[1:] != number[:-1]) | (time[1:] - time[:-1] > idle) | (syn[1:] & ~syn[:-1])
    cut[1:] |= time[1:] // MINUTE != time[:-1] // MINUTE
    starts = np.flatnonzero(cut)
    head = order[starts]
    last = np.concatenate([starts[1:], [len(order)]]) - 1
    forward = ends[0][order] == ends[0][head][np.cumsum(cut) - 1]
    out = _oriented(p, order, head, starts)
    wire, flags = p.wire[order].astype(np.int64), np.where(tcp, p.flags, 0)[order].astype(np.int64)
    sums: dict[str, Any] = {
        "packets_out": np.add.reduceat(forward.astype(np.int64), starts),
        "packets_in": np.add.reduceat((~forward).astype(np.int64), starts),
        "bytes_out": np.add.reduceat(np.where(forward, wire, 0), starts),
        "bytes_in": np.add.reduceat(np.where(forward, 0, wire), starts),
    }
    flows = replace(out, start=time[starts], end=time[last], **sums)
    flags_out = np.bitwise_or.reduceat(np.where(forward, flags, 0), starts)
    flags_in = np.bitwise_or.reduceat(np.where(forward, 0, flags), starts)
    found = Open(flows, key[head], flags_out, flags_in, syn[last])
    found = _turned(found, _answers(p, head) & (ends[0][head] != ends[1][head]))
    by_time = np.argsort(flows.start, kind="stable")
    return _some(found, by_time), syn[starts][by_time]


def _oriented(p: Packets, order: I64, head: I64, starts: I64) -> Flows:
    """Records with the ends of each piece's first packet."""
    columns = {name: getattr(p, name)[head] for name in ("source_mac", "target_mac", "source", "target", "source_port")}
    service = np.maximum(SERVICE_OF_PORT[p.source_port[head]], SERVICE_OF_PORT[p.target_port[head]])
    label = np.maximum.reduceat(p.label[order].astype(np.int64), starts)
    more: dict[str, Any] = {"target_port": p.target_port[head], "protocol": p.protocol[head], "service": service}
    return blank(len(head), layer2=True, label=label, **columns, **more)


def _answers(p: Packets, head: I64) -> Bool:
    """Whether a piece's first packet is an answer (SYN+ACK, or from the lower port), so that its target began."""
    tcp = p.protocol[head] == TCP
    both = (p.flags[head] & (SYN | ACK)) == SYN | ACK
    alone = (p.flags[head] & SYN) > 0
    icmp = (p.protocol[head] == ICMP) | (p.protocol[head] == ICMPV6)
    from_server = (p.source_port[head] < p.target_port[head]) & ~icmp
    found: Bool = np.where(tcp, both | (~alone & from_server), from_server)
    return found


_SWAPPED = (
    ("source_mac", "target_mac"),
    ("source", "target"),
    ("source_port", "target_port"),
    ("packets_out", "packets_in"),
    ("bytes_out", "bytes_in"),
)


def _turned(o: Open, turn: Bool) -> Open:
    """The same flows, with the two ends of those in ``turn`` changed over."""
    columns: dict[str, Any] = {}
    for a, b in _SWAPPED:
        first, second = getattr(o.flows, a), getattr(o.flows, b)
        mask = turn[:, None] if first.ndim == 2 else turn
        columns[a], columns[b] = np.where(mask, second, first), np.where(mask, first, second)
    flags_out, flags_in = np.where(turn, o.flags_in, o.flags_out), np.where(turn, o.flags_out, o.flags_in)
    return Open(replace(o.flows, **columns), o.key, flags_out, flags_in, o.syn)


def _merged(both: Open, order: I64, starts: I64) -> Open:
    """Runs of pieces in ``order`` that begin at ``starts``, each as one flow with the ends of its first piece."""
    if not len(starts):
        return _none()
    sorted_ = _some(both, order)
    head, ends = starts, np.concatenate([starts[1:], [len(order)]]) - 1
    if len(head) == len(order):
        return sorted_
    f = sorted_.flows
    run = np.repeat(np.arange(len(starts)), np.diff(np.concatenate([starts, [len(order)]])))
    turn = (f.source != f.source[head][run]).any(1) | (f.source_port != f.source_port[head][run])
    bare = ~(f.source.any(1) | f.target.any(1))  # only then are the MACs the ends
    turn |= bare & (f.source_mac != f.source_mac[head][run])
    sorted_ = _turned(sorted_, turn)
    f = sorted_.flows
    added: dict[str, Any] = {name: np.add.reduceat(getattr(f, name), starts) for pair in _SWAPPED[3:] for name in pair}
    first = take(f, head)
    label = np.maximum.reduceat(f.label, starts)
    flows = replace(first, end=f.end[ends], label=label, **added)
    flags_out = np.bitwise_or.reduceat(sorted_.flags_out, starts)
    flags_in = np.bitwise_or.reduceat(sorted_.flags_in, starts)
    return Open(flows, sorted_.key[head], flags_out, flags_in, sorted_.syn[ends])


def _finished(o: Open) -> Flows:
    """Records with their states."""
    state = state_of(o.flows.protocol, o.flags_out, o.flags_in, o.flows.packets_in)
    return replace(o.flows, state=state)


def _reported(parts: list[Flows], idle: int) -> Flows:
    flows = concat(parts)
    found = replace(flows, reported=flows.end + idle, layer2=True)
    return take(found, np.lexsort((found.start, found.end)))


def _none() -> Open:
    zero = np.zeros(0, np.int64)
    return Open(blank(0, layer2=True), np.zeros(0, np.uint64), zero, zero, np.zeros(0, np.bool_))


def _some(o: Open, index: Any) -> Open:
    return Open(take(o.flows, index), o.key[index], o.flags_out[index], o.flags_in[index], o.syn[index])


def _joined(a: Open, b: Open) -> Open:
    columns = (np.concatenate([getattr(a, name), getattr(b, name)]) for name in ("key", "flags_out", "flags_in", "syn"))
    return Open(concat([a.flows, b.flows]), *columns)
