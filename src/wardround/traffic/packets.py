"""Packets as columns: what one vectorised decoder makes of frames, whatever capture they come from.

A batch of n packets is one ``Packets``: a frozen set of numpy columns of length n, in the order of capture. No
payload is kept: the decoder looks at the first bytes of a payload, names the application message (``MESSAGES``), and
forgets them. Addresses are 128 bits for both IP versions (IPv4 as ::ffff:a.b.c.d, RFC 4291 section 2.5.5.2).

Laws: ``take(p, all) == p``; ``concat([p]) == p``; ``len(empty()) == 0``.
What it does not do: decode frames (decode.py), read captures (drivers/sources), make features (pkt.py, flow.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from wardround.arrays import I16, I32, I64, U8, U16, U64

IPV4, IPV6, ARP, VLAN, QINQ = 0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8
ICMP, IGMP, TCP, UDP, ICMPV6 = 1, 2, 6, 17, 58
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
BROADCAST = (1 << 48) - 1
MAPPED = 0xFFFF << 32
"""Lower half of an IPv4-mapped address, without the IPv4 address."""

MESSAGES: tuple[str, ...] = (
    "",
    *(
        f"mqtt {kind}"
        for kind in ("connect", "connack", "publish", "subscribe", "ping", "disconnect", "other", "unframed")
    ),
    *(f"hl7 {kind}" for kind in ("message", "ack", "unframed")),
    *(f"dicom {kind}" for kind in ("associate", "data", "release", "abort", "unframed")),
    *(f"coap {kind}" for kind in ("request", "response", "empty", "unframed")),
    *(f"modbus {kind}" for kind in ("read", "write", "other", "exception", "unframed")),
)
"""Application messages by their code in ``Packets.message``; 0 is none that the decoder knows. The first message of a
segment is named; ``unframed`` is a segment to or from a server's port that does not begin as the protocol says, which
may also be the continuation of a long message."""
MESSAGE: Mapping[str, int] = {name: code for code, name in enumerate(MESSAGES)}


@dataclass(frozen=True, eq=False)
class Packets:
    """A batch of n packets; every column has shape [n], ``source`` and ``target`` [n, 2].

    Attributes:
        time: nanoseconds since 1970, as captured (not necessarily increasing).
        wire: bytes of the frame on the wire, link header included.
        captured: bytes of the frame that were captured; the rest was cut off.
        ethertype: of the layer-3 header, behind all VLAN tags (``IPV4``, ``IPV6``, ``ARP`` ...); 0 where unknown.
        vlan: the outer VLAN id, -1 without a tag.
        source_mac, target_mac: 48 bits; 0 where the link has none (raw IP; SLL has no target).
        version: 4 or 6 for IP, 0 for all else.
        source, target: addresses as (upper, lower) 64 bits; for ARP the sender's and the target's; 0 for all else.
        protocol: the IP protocol behind IPv6's extension headers (0 without IP).
        fragment: 0 whole, 1 first fragment, 2 a later one (which has no ports).
        source_port, target_port: of TCP, UDP (and SCTP); 0 without.
        flags: TCP's eight flag bits (``FIN`` .. ``CWR``), 0 without TCP.
        icmp: type << 8 | code of ICMP and ICMPv6, 0 without (or an echo reply: look at ``protocol``).
        ttl: time to live or hop limit, 0 without IP.
        header: bytes of the layer-4 header (TCP's by its offset, UDP 8), 0 for all else.
        payload: bytes above layer 4 (above IP without ports), by the IP header's length, so padding is not counted.
        message: code of ``MESSAGES``.
        arp: ARP's operation (1 request, 2 reply), 0 without ARP.
        arp_mac: the hardware address that the ARP sender claims, 0 without ARP.
        label: class code where a label file says one, -1 else.
    """

    time: I64
    wire: I32
    captured: I32
    ethertype: U16
    vlan: I16
    source_mac: U64
    target_mac: U64
    version: U8
    source: U64
    target: U64
    protocol: U8
    fragment: U8
    source_port: U16
    target_port: U16
    flags: U8
    icmp: U16
    ttl: U8
    header: U8
    payload: I32
    message: U8
    arp: U8
    arp_mac: U64
    label: I16

    def __len__(self) -> int:
        return len(self.time)


DTYPES: Mapping[str, DTypeLike] = {
    **dict.fromkeys(("version", "protocol", "fragment", "flags", "ttl", "header", "message", "arp"), np.uint8),
    **dict.fromkeys(("ethertype", "source_port", "target_port", "icmp"), np.uint16),
    **dict.fromkeys(("source_mac", "target_mac", "source", "target", "arp_mac"), np.uint64),
    **dict.fromkeys(("wire", "captured", "payload"), np.int32),
    **dict.fromkeys(("vlan", "label"), np.int16),
    "time": np.int64,
}
COLUMNS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(Packets))


def blank(n: int, **columns: Any) -> Packets:
    """A batch of ``n`` packets: ``columns`` as given (cast to the column's type), all others zero, ``vlan`` and
    ``label`` -1, ``captured`` as ``wire``.

    Raises:
        ValueError: a column has another length.
    """
    found: dict[str, Any] = {}
    for name in COLUMNS:
        shape = (n, 2) if name in ("source", "target") else (n,)
        given = columns.get(name, columns.get("wire") if name == "captured" else None)
        if given is None:
            found[name] = np.full(shape, -1 if name in ("vlan", "label") else 0, dtype=DTYPES[name])
            continue
        found[name] = np.ascontiguousarray(given, dtype=DTYPES[name])
        if found[name].shape != shape:
            raise ValueError(f"column {name} has shape {found[name].shape}, not {shape}")
    return Packets(**found)


def empty() -> Packets:
    """No packets."""
    return blank(0)


def take(packets: Packets, index: Any) -> Packets:
    """The packets ``index`` (numbers, a mask or a slice), in that order."""
    return Packets(**{name: getattr(packets, name)[index] for name in COLUMNS})


def concat(batches: Sequence[Packets]) -> Packets:
    """All packets of ``batches``, one after the other."""
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return empty()
    return Packets(**{name: np.concatenate([getattr(batch, name) for batch in batches]) for name in COLUMNS})


def mac_text(mac: int) -> str:
    """``mac`` (48 bits) as ``aa:bb:cc:dd:ee:ff``."""
    return ":".join(f"{(mac >> shift) & 255:02x}" for shift in range(40, -8, -8))


def address_text(upper: int, lower: int) -> str:
    """An address as text: IPv4 in dotted form, IPv6 as RFC 5952 has it."""
    if upper == 0 and lower >> 32 == 0xFFFF:
        return ".".join(str((lower >> shift) & 255) for shift in (24, 16, 8, 0))
    return str(IPv6Address((upper << 64) | lower))
