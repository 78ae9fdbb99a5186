"""Flow records as columns: what own packets, Suricata, Zeek and NetFlow can all say about a conversation.

``source`` is the end that began, as far as the reporter knows. A batch is in order of ``reported``, the time at which the
reporter could know the record; that is the clock of everything made from flows.
Laws: ``take(f, all) == f``; ``concat([f]) == f``.
What it does not do: read logs (drivers/sources), make features (flow.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from wardround.arrays import I64, U8, U16, U64, Array
from wardround.traffic.packets import ACK, FIN, RST, SYN, TCP
from wardround.traffic.windows import Claims, no_claims

STATES: tuple[str, ...] = ("other", "attempt", "rejected", "established", "closed", "reset")
"""attempt: asked, never answered; rejected: answered by a refusal; established: both sides spoke; closed: and TCP ended in
order; reset: and TCP was torn down; other: anything else."""
OTHER, ATTEMPT, REJECTED, ESTABLISHED, CLOSED, RESET = range(len(STATES))


@dataclass(frozen=True, eq=False)
class Flows:
    """n flow records; every column [n], addresses [n, 2] as in ``Packets``.

    Attributes:
        reported, start, end: nanoseconds since 1970; ``reported`` is when the record was (or could be) written.
        source_mac, target_mac: 0 where the reporter does not tell.
        source, target, source_port, target_port, protocol: the two ends; protocol 0 is ARP.
        service: code of ``services.SERVICES``.
        packets_out, packets_in, bytes_out, bytes_in: sent by the source, by the target; 0 where not told.
        state: code of ``STATES``.
        label: class code where labels are given, -1 else.
        layer2: whether this reporter sees ARP at all.
        claims: what ARP said, where the reporter tells.
    """

    reported: I64
    start: I64
    end: I64
    source_mac: U64
    target_mac: U64
    source: U64
    target: U64
    source_port: U16
    target_port: U16
    protocol: U8
    service: U8
    packets_out: I64
    packets_in: I64
    bytes_out: I64
    bytes_in: I64
    state: U8
    label: I64
    layer2: bool = False
    claims: Claims = dataclasses.field(default_factory=no_claims)

    def __len__(self) -> int:
        return len(self.reported)


COLUMNS: tuple[str, ...] = tuple(
    field.name for field in dataclasses.fields(Flows) if field.name not in ("layer2", "claims")
)
DTYPES: Mapping[str, DTypeLike] = {
    **dict.fromkeys(COLUMNS, np.int64),
    **dict.fromkeys(("source_mac", "target_mac", "source", "target"), np.uint64),
    **dict.fromkeys(("source_port", "target_port"), np.uint16),
    **dict.fromkeys(("protocol", "service", "state"), np.uint8),
}


def blank(n: int, layer2: bool = False, **columns: Any) -> Flows:
    """A batch of ``n`` records: ``columns`` as given, all others zero, ``label`` -1.

    Raises:
        ValueError: a column has another length.
    """
    found: dict[str, Any] = {}
    for name in COLUMNS:
        shape = (n, 2) if name in ("source", "target") else (n,)
        fill = -1 if name == "label" else 0
        given = columns.get(name)
        column = (
            np.full(shape, fill, DTYPES[name])
            if given is None
            else np.asarray(given, DTYPES[name]).reshape(-1, *shape[1:])
        )
        if column.shape != shape:
            raise ValueError(f"column {name} has shape {column.shape}, not {shape}")
        found[name] = column
    return Flows(**found, layer2=layer2)


def take(flows: Flows, index: Any) -> Flows:
    """The records ``index`` (numbers, a mask or a slice), in that order."""
    return Flows(**{name: getattr(flows, name)[index] for name in COLUMNS}, layer2=flows.layer2)


def concat(batches: Sequence[Flows]) -> Flows:
    """All records of ``batches``, one after the other; ``layer2`` if any reporter sees it."""
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return blank(0)
    joined: dict[str, Any] = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in COLUMNS}
    claims = {
        name: np.concatenate([getattr(batch.claims, name) for batch in batches]) for name in ("time", "address", "mac")
    }
    return Flows(**joined, layer2=any(batch.layer2 for batch in batches), claims=Claims(**claims))


def state_of(protocol: Array, flags_out: Array, flags_in: Array, packets_in: Array) -> U8:
    """Codes of ``STATES`` [n] from all flags that each end sent (0 where not told) and the answers."""
    tcp, both = protocol == TCP, packets_in > 0
    reset = ((flags_out | flags_in) & RST) > 0
    refused = (flags_in & RST > 0) & (flags_in & SYN == 0) & (flags_out & ACK == 0)
    ended = (flags_out & FIN > 0) & (flags_in & FIN > 0)
    asked = np.where(tcp & (flags_out > 0), flags_out & SYN > 0, True)
    kinds = [tcp & refused, ~both & asked, tcp & reset, tcp & ended, both]
    return np.select(kinds, [REJECTED, ATTEMPT, RESET, CLOSED, ESTABLISHED], OTHER).astype(np.uint8)
