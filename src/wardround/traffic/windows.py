"""Windows: feature rows of devices over stretches of time, and how extractors make them from batches.

An extractor is a value with settings; its state is passed in and returned:

    state = extractor.init()
    for batch in batches:
        state, windows = extractor.update(state, batch)
    state, windows = extractor.flush(state)

``update`` takes over the state it is given (arrays inside are written in place): go on with the one it returns.
A window is closed when time has passed its end: by packets' own times in ``update``, by the clock in ``tick`` (a live
gateway calls it when nothing arrives). So the rows of a capture do not depend on how it was cut into batches.

Laws: rows do not depend on the cut into batches; ``concat`` of parts equals the whole; x is finite or NaN (missing).
What it does not do: scale (scaling.py), score (detect/).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from wardround.arrays import F32, I32, I64, U8, U16, U64
from wardround.traffic.table import Schema


@dataclass(frozen=True, eq=False)
class Facts:
    """Plain counts of each window [n], for rules and for people: exact but for distinct counts, which are estimates
    within a few percent (linear counting).

    Attributes:
        packets_out, packets_in: packets (of flows: as the sensor says) sent and received by the device.
        bytes_out, bytes_in: bytes on the wire.
        connections_out, connections_in: TCP connections begun (SYN without ACK; flows: TCP flows), by whom.
        unanswered: of ``connections_out``, SYNs beyond the SYN-ACKs received (flows: attempts without answer).
        peers_out, peers_in: distinct addresses the device sent to, was sent to from.
        ports_out, ports_in: distinct ports (TCP and UDP) the device sent to, was sent to on; answers from servers'
            ports are not counted.
        icmp_out, icmp_in, udp_out, udp_in: packets.
        arp_out, arp_in: ARP packets (broadcasts count for their sender).
        resets_out, resets_in: TCP packets with RST.
    """

    packets_out: I64
    packets_in: I64
    bytes_out: I64
    bytes_in: I64
    connections_out: I64
    connections_in: I64
    unanswered: I64
    peers_out: I64
    peers_in: I64
    ports_out: I64
    ports_in: I64
    icmp_out: I64
    icmp_in: I64
    udp_out: I64
    udp_in: I64
    arp_out: I64
    arp_in: I64
    resets_out: I64
    resets_in: I64


@dataclass(frozen=True, eq=False)
class Claims:
    """What ARP packets said, in order of time: "``mac`` has ``address``"; [m], address [m, 2]. Repeats of a claim within
    one batch are told once. Probes (sender address 0) claim nothing.
    """

    time: I64
    address: U64
    mac: U64

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, eq=False)
class Windows:
    """n closed windows, in order of their ends.

    Attributes:
        schema: of ``x``; its id goes with every update and every model.
        devices: names of devices: the MAC as ``aa:bb:cc:dd:ee:ff``, or the address where the source has no MAC.
        device: [n] number in ``devices``.
        start, end: [n] nanoseconds since 1970.
        x: [n, f] raw rows of ``schema``.
        facts: counts for rules.
        address: [n, 2] an address the device used, 0 where it used none.
        peer, port, protocol: [n, 2], [n], [n] the other end that most packets of the window were exchanged with.
        own_port: [n] the device's own port in that exchange, 0 without ports.
        claims: ARP bindings seen since the last batch of windows (not one per window).
        label_counts: [n, classes] labelled packets of each class (of flows: their packets), where labels were given;
            else [n, 0].
    """

    schema: Schema
    devices: tuple[str, ...]
    device: I32
    start: I64
    end: I64
    x: F32
    facts: Facts
    address: U64
    peer: U64
    port: U16
    own_port: U16
    protocol: U8
    claims: Claims
    label_counts: I64

    def __len__(self) -> int:
        return len(self.device)

    def name(self, row: int) -> str:
        """The device of ``row``."""
        return self.devices[int(self.device[row])]


Batch = TypeVar("Batch", contravariant=True)
State = TypeVar("State")


class Extractor(Protocol[Batch, State]):
    """Batches (``Packets`` or ``Flows``) -> windows of one schema."""

    @property
    def schema(self) -> Schema: ...

    def init(self) -> State:
        """The state before the first packet."""
        ...

    def update(self, state: State, batch: Batch) -> tuple[State, Windows]:
        """Take in ``batch``; the windows that its times close."""
        ...

    def tick(self, state: State, now: int) -> tuple[State, Windows]:
        """The windows that the clock closes: those that ended before ``now`` (nanoseconds since 1970)."""
        ...

    def flush(self, state: State) -> tuple[State, Windows]:
        """All open windows, as they stand: the capture is over."""
        ...


FACTS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(Facts))


def facts(n: int, **columns: Any) -> Facts:
    """Facts of ``n`` windows: ``columns`` as given, all others zero."""
    return Facts(**{name: np.asarray(columns.get(name, np.zeros(n)), dtype=np.int64) for name in FACTS})


def no_claims() -> Claims:
    """No ARP packet seen."""
    return Claims(np.empty(0, np.int64), np.empty((0, 2), np.uint64), np.empty(0, np.uint64))


def none(schema: Schema, classes: int = 0) -> Windows:
    """No windows."""
    return Windows(
        schema=schema,
        devices=(),
        device=np.empty(0, np.int32),
        start=np.empty(0, np.int64),
        end=np.empty(0, np.int64),
        x=np.empty((0, len(schema.columns)), np.float32),
        facts=facts(0),
        address=np.empty((0, 2), np.uint64),
        peer=np.empty((0, 2), np.uint64),
        port=np.empty(0, np.uint16),
        own_port=np.empty(0, np.uint16),
        protocol=np.empty(0, np.uint8),
        claims=no_claims(),
        label_counts=np.empty((0, classes), np.int64),
    )


def concat(parts: Sequence[Windows]) -> Windows:
    """All windows of ``parts``, devices under common numbers.

    Raises:
        ValueError: nothing to join, or the schemas differ.
    """
    if not parts:
        raise ValueError("no windows to join")
    if any(part.schema.id != parts[0].schema.id for part in parts):
        raise ValueError(f"windows of schemas {sorted({part.schema.name for part in parts})} cannot be joined")
    names = tuple(dict.fromkeys(name for part in parts for name in part.devices))
    number = {name: i for i, name in enumerate(names)}
    device = [np.array([number[name] for name in part.devices], np.int32)[part.device] for part in parts if len(part)]

    def joined(column: str) -> Any:
        return np.concatenate([getattr(part, column) for part in parts])

    return Windows(
        schema=parts[0].schema,
        devices=names,
        device=np.concatenate(device) if device else np.empty(0, np.int32),
        **{
            c: joined(c)
            for c in ("start", "end", "x", "address", "peer", "port", "own_port", "protocol", "label_counts")
        },
        facts=Facts(**{name: np.concatenate([getattr(part.facts, name) for part in parts]) for name in FACTS}),
        claims=Claims(
            **{c: np.concatenate([getattr(part.claims, c) for part in parts]) for c in ("time", "address", "mac")}
        ),
    )
