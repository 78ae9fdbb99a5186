"""Whom a window's packets were exchanged with, and which way."""

from __future__ import annotations

from wardround.detect.findings import Flow
from wardround.traffic.packets import address_text
from wardround.traffic.windows import Windows


def flow(windows: Windows, row: int, sends: bool) -> Flow:
    """The window's main exchange."""
    a, b = windows.address[row].tolist(), windows.peer[row].tolist()
    return Flow(
        address=address_text(*a) if any(a) else "",
        peer=address_text(*b) if any(b) else "",
        port=int(windows.port[row]),
        protocol=int(windows.protocol[row]),
        outward=sends,
        own_port=int(windows.own_port[row]),
    )


def outward(windows: Windows, row: int) -> bool:
    """Does the device of this window send more than it gets? Connections begun count triple, resets are answers."""
    f = windows.facts
    sent = int(f.packets_out[row]) + 2 * int(f.connections_out[row]) - int(f.resets_out[row])
    got = int(f.packets_in[row]) + 2 * int(f.connections_in[row]) - int(f.resets_in[row])
    return sent > got
