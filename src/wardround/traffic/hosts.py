"""Open and closed windows of devices: sums of packets kept from batch to batch until a window is over.

``HostState`` holds one open window (the newest) as sums by device number; older windows of a batch close at once.
Memory is bounded: ``capacity`` devices, and at most ``MOST_MARKS`` distinct things (peers, ports) in the open window;
beyond that distinct counts stop growing.
What it does not do: features (pkt.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from wardround.arrays import F64, I64, U8, U16, U64, Bool
from wardround.traffic import conversations
from wardround.traffic.clock import STEP, stretches
from wardround.traffic.conversations import LARGEST_BATCH, Groups, Layout, Placed, unique_marks
from wardround.traffic.devices import NONE, Registry, device_keys
from wardround.traffic.packets import MAPPED, Packets, take
from wardround.traffic.windows import Claims

MOST_MARKS = 1 << 20
_MARKS_BEFORE_TIDYING = 1 << 16


@dataclass(frozen=True, eq=False)
class Closed:
    """g closed windows, ascending by window, then by the device's key.

    ``counts`` [g, 4]: distinct peers out, peers in, ports out, ports in.
    """

    window: I64
    device: I64
    sums: F64
    counts: I64
    address: U64
    peer: U64
    port: U16
    own_port: U16
    protocol: U8

    def __len__(self) -> int:
        return len(self.window)


@dataclass
class HostState:
    """What is known from packets so far. ``window``: the open one (None: nothing seen yet); ``now``: the clock."""

    layout: Layout
    length: int
    devices: Registry = field(default_factory=Registry)
    window: int | None = None
    now: int | None = None
    sums: F64 = field(init=False)
    busy: I64 = field(init=False)
    last_out: I64 = field(init=False)
    last_in: I64 = field(init=False)
    most: I64 = field(init=False)
    peer: U64 = field(init=False)
    port: U16 = field(init=False)
    own_port: U16 = field(init=False)
    protocol: U8 = field(init=False)
    marks: list[U64] = field(default_factory=list)
    owners: list[I64] = field(default_factory=list)
    marked: int = 0
    tidied: int = 0

    def __post_init__(self) -> None:
        n = self.devices.capacity
        self.sums = np.zeros((n, self.layout.width))
        self.busy = np.zeros(n, np.int64)
        self.last_out, self.last_in = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
        self.most, self.peer = np.zeros(n, np.int64), np.zeros((n, 2), np.uint64)
        self.port, self.own_port, self.protocol = np.zeros(n, np.uint16), np.zeros(n, np.uint16), np.zeros(n, np.uint8)


def take_in(state: HostState, packets: Packets) -> list[Closed]:
    """The windows that ``packets`` close."""
    closed: list[Closed] = []
    for start in range(0, len(packets), LARGEST_BATCH):
        part = take(packets, slice(start, start + LARGEST_BATCH)) if len(packets) > LARGEST_BATCH else packets
        for where, time, back in stretches(part.time, state.now):
            if back:
                closed += close(state)
                state.now = None
                state.last_out[:], state.last_in[:] = -1, -1
            if len(time):
                stretch = part if where == slice(0, len(part)) else take(part, where)
                closed += _stretch(state, stretch, time)
    return closed


def close(state: HostState) -> list[Closed]:
    """The open window as it stands."""
    if state.window is None:
        return []
    device = np.flatnonzero(state.busy)
    window = np.full(len(device), state.window, np.int64)
    owners = np.concatenate([np.empty(0, np.int64), *state.owners])
    marks = np.concatenate([np.empty(0, np.uint64), *state.marks])
    _, owners = unique_marks(marks, owners)
    device = device[np.argsort(state.devices.keys[device], kind="stable")]  # numbers depend on how batches were cut
    key = window * state.devices.capacity + device
    closed = Closed(
        window,
        device,
        state.sums[device],
        distinct_counts(key, owners),
        state.devices.address[device],
        state.peer[device],
        state.port[device],
        state.own_port[device],
        state.protocol[device],
    )
    state.sums[device] = 0
    state.busy[device] = 0
    state.most[device] = 0
    state.window, state.marks, state.owners, state.marked, state.tidied = None, [], [], 0, 0
    return [closed] if len(closed) else []


def claims(packets: Packets) -> Claims:
    """What the ARP packets of a batch claim, each claim once."""
    some = np.flatnonzero(
        (packets.arp > 0) & (packets.source[:, 1] & np.uint64(0xFFFFFFFF) != 0) & (packets.arp_mac != 0)
    )
    pairs = np.column_stack([packets.source[some, 1] & np.uint64(0xFFFFFFFF), packets.arp_mac[some]])
    _, first = np.unique(pairs, axis=0, return_index=True)
    rows = some[np.sort(first)]
    return Claims(packets.time[rows], packets.source[rows] | np.array([0, MAPPED], np.uint64), packets.arp_mac[rows])


def _stretch(state: HostState, packets: Packets, time: I64) -> list[Closed]:
    window = time // state.length
    devices, stale = state.devices, int(time[0]) - 10 * STEP
    closed = close(state) if state.window is not None and window[0] > state.window else []
    source_keys, target_keys = device_keys(packets)
    source = devices.numbers(source_keys, packets.source, stale)
    target = devices.numbers(target_keys, packets.target, stale)
    fresh = devices.fresh()
    state.last_out[fresh], state.last_in[fresh] = -1, -1
    devices.seen[source] = time
    devices.seen[target] = time
    placed = Placed(
        packets, time, window, state.length, source, target, state.last_out, state.last_in, devices.capacity
    )
    groups = conversations.sums(placed, state.layout)
    state.now, old, newest = int(time[-1]), state.window, int(window[-1])
    of = groups.key // devices.capacity
    if old is not None:
        _keep(state, groups, of == old, old)
        if old < newest:
            closed += close(state)
    closed += _at_once(state, groups, (of < newest) & (of != (-1 if old is None else old)))
    if old != newest:
        state.window = newest
        _keep(state, groups, of == newest, newest)
    return closed


def _keep(state: HostState, groups: Groups, chosen: Bool, window: int) -> None:
    """Add the groups ``chosen`` [g], those of ``window``, to the open one."""
    key = groups.key[chosen]
    if not len(key):
        return
    device = key % state.devices.capacity
    state.sums[device] += groups.sums[chosen]
    state.busy[device] = 1
    better = groups.most[chosen] > state.most[device]
    at, rows = device[better], np.flatnonzero(chosen)[better]
    state.most[at], state.peer[at] = groups.most[rows], groups.peer[rows]
    state.port[at], state.own_port[at] = groups.port[rows], groups.own_port[rows]
    state.protocol[at] = groups.protocol[rows]
    _remember(state, device, groups.address[chosen])
    mine = groups.owners // (4 * state.devices.capacity) == window
    if mine.any() and state.marked < MOST_MARKS:
        state.marks.append(groups.marks[mine])
        state.owners.append(groups.owners[mine])
        state.marked += int(mine.sum())
    if state.marked > max(2 * state.tidied, _MARKS_BEFORE_TIDYING):
        marks, owners = unique_marks(np.concatenate(state.marks), np.concatenate(state.owners))
        state.marks, state.owners, state.marked, state.tidied = [marks], [owners], len(marks), len(marks)


def _at_once(state: HostState, groups: Groups, chosen: Bool) -> list[Closed]:
    """The groups ``chosen`` [g] are whole windows already."""
    if not chosen.any():
        return []
    capacity = state.devices.capacity
    rows = np.flatnonzero(chosen)
    key = groups.key[rows]
    rows = rows[np.lexsort((state.devices.keys[key % capacity], key // capacity))]
    key = groups.key[rows]
    device = key % capacity
    _remember(state, device, groups.address[rows])
    return [
        Closed(
            key // capacity,
            device,
            groups.sums[rows],
            distinct_counts(key, groups.owners),
            state.devices.address[device],
            groups.peer[rows],
            groups.port[rows],
            groups.own_port[rows],
            groups.protocol[rows],
        )
    ]


def _remember(state: HostState, device: I64, address: U64) -> None:
    speaks = address.any(1) & (device != NONE)
    state.devices.address[device[speaks]] = address[speaks]


def distinct_counts(key: I64, owners: I64) -> I64:
    """Distinct things of each group, [g, 4], from the owners (key x 4 + kind) of unique marks."""
    if not len(key):
        return np.zeros((0, 4), np.int64)
    order = np.argsort(key)
    place = order[np.minimum(np.searchsorted(key, owners >> 2, sorter=order), len(key) - 1)]
    mine = key[place] == owners >> 2
    found = np.bincount(place[mine] * 4 + (owners[mine] & 3), minlength=4 * len(key))
    return found.reshape(len(key), 4).astype(np.int64)
