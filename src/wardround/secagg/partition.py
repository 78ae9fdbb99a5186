"""Cohorts dealt after all uploads, from a beacon nobody controls.

Every client shares 16 random field elements beside its key; their sum over the certified set is uniform as long as one
client is honest, unknown to everybody until Q members have signed the set, and fixed from then on (t + 1 honest shares
determine it). So an adversary cannot place a victim among its own clients, and there is one partition per round.
Post-hoc groups for robust rules: Velicheti et al., SHARE (arXiv 2110.02940).

Laws: every client of the set is in exactly one cohort; cohorts have at least ``size`` and below 2 ``size`` clients
(one cohort where the set is smaller than twice ``size`` or ``size`` is 0); equal on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from wardround.secagg import labels


def deal(clients: Sequence[str], size: int, beacon: bytes) -> tuple[tuple[str, ...], ...]:
    """The cohorts of ``clients``, each in ascending order, by a Fisher-Yates shuffle of SHAKE-256(beacon)."""
    order = sorted(clients)
    count = max(1, len(order) // size) if size else 1
    if count == 1:
        return (tuple(order),)
    draws = hashlib.shake_256(labels.SECAGG_PARTITION + beacon).digest(16 * len(order))
    for i in range(len(order) - 1, 0, -1):
        # 128 bits reduced mod i + 1 < 2^14: the bias is below 2^-114
        j = int.from_bytes(draws[16 * i : 16 * i + 16], "little") % (i + 1)
        order[i], order[j] = order[j], order[i]
    return tuple(tuple(sorted(order[i::count])) for i in range(count))
