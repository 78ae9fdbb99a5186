"""Which service a port stands for: a small fixed vocabulary, the same for packets and for sensors' flow records."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from wardround.arrays import U8

PORTS: Mapping[str, tuple[int, ...]] = {
    "dns": (53,),
    "dhcp": (67, 68, 546, 547),
    "ntp": (123,),
    "discovery": (137, 138, 1900, 5353, 5355),
    "http": (80, 8000, 8080),
    "https": (443, 8443),
    "shell": (22, 23, 3389),
    "file": (20, 21, 69, 139, 445, 2049),
    "mqtt": (1883, 8883),
    "hl7": (2575,),
    "dicom": (104, 2762, 11112),
    "coap": (5683, 5684),
    "modbus": (502, 802),
}
SERVICES: tuple[str, ...] = ("other", *PORTS)


def _table() -> U8:
    table = np.zeros(65536, np.uint8)
    for code, ports in enumerate(PORTS.values(), 1):
        table[list(ports)] = code
    return table


SERVICE_OF_PORT: U8 = _table()
"""The code of ``SERVICES`` of each port, [65536]."""
