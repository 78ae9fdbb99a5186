"""Community ID v1: one text for one flow, whichever sensor saw it, so that an alert joins Suricata's and Zeek's records.

Specification: github.com/corelight/community-id-spec, version 1: "1:" + base64(SHA-1(seed | addresses | protocol | 0 | ports)),
the smaller endpoint first; ICMP types stand for ports and are paired with their answers.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import struct

_PORTS = (6, 17, 132)
_ICMP = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17, 10: 9, 9: 10}
_ICMP6 = {
    128: 129,
    129: 128,
    133: 134,
    134: 133,
    135: 136,
    136: 135,
    130: 131,
    131: 130,
    139: 140,
    140: 139,
    144: 145,
    145: 144,
}


def community_id(source: str, target: str, protocol: int, ports: tuple[int, int] = (0, 0), seed: int = 0) -> str | None:
    """The id of a flow; ``ports`` are type and code for ICMP. None where an address is not one (layer 2 has no flow).

    Raises:
        ValueError: a port, the protocol or the seed is out of range.
    """
    if not all(0 <= port < 65536 for port in ports) or not 0 <= protocol < 256 or not 0 <= seed < 65536:
        raise ValueError(f"ports {ports}, protocol {protocol} or seed {seed} is out of range")
    try:
        a, b = ipaddress.ip_address(source).packed, ipaddress.ip_address(target).packed
    except ValueError:
        return None
    first, second = ports
    one_way = False
    if protocol in {1, 58}:
        answers = _ICMP if protocol == 1 else _ICMP6
        one_way, second = first not in answers, answers.get(first, second)
    if not one_way and (a, first) > (b, second):
        a, b, first, second = b, a, second, first
    data = struct.pack("!H", seed) + a + b + bytes([protocol, 0])
    if protocol in {*_PORTS, 1, 58}:
        data += struct.pack("!HH", first, second)
    return "1:" + base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
