"""The suite table: which rings the lattice scheme may use, as data.

A row allows every modulus up to 2^k at its ring degree n (a smaller modulus is only harder). The estimates are bits of
the lattice-estimator (commit 27a581b, 2026-06-06) for the instance that is left of one client's ciphertext after the
*worst* hint the published sums can give (secret and error of standard deviation 2.83 instead of 5.66, unlimited
samples; docs/protocol/secagg.md, section What the sums leak): core-SVP classical and quantum (ADPS16, primal uSVP) and
the least of uSVP, BDD and dual-hybrid under MATZOV. For comparison ML-KEM-512 has 118 / 107 / about 140.

Largest moduli: k <= 25 at n = 1024 and k <= 49 at n = 2048 lie inside the quantum-128 column of the homomorphic
encryption standard and above ML-KEM-512 on core-SVP even after the worst hint. A client refuses a suite that is not
in this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from wardround.errors import RemoteProtocolError

FAILURE_BITS = 40
FAILURE_COEFFICIENTS = 1 << 20


@dataclass(frozen=True)
class Suite:
    """One row. ``failure_bits`` = f: a sum of 2^20 coefficients decodes wrongly with probability at most 2^-f."""

    number: int
    n: int
    k: int
    classical: float
    quantum: float
    matzov: float
    failure_bits: int
    source: str


def _row(n: int, k: int, bits: tuple[float, float, float]) -> Suite:
    return Suite(
        (n // 1024 << 8) | k, n, k, *bits, FAILURE_BITS, f"lattice-estimator 27a581b, hint-worst n={n} logq={k}"
    )


SUITES: tuple[Suite, ...] = (
    _row(1024, 18, (195.6, 177.6, 215.5)),
    _row(1024, 20, (169.4, 153.7, 190.8)),
    _row(1024, 21, (158.3, 143.6, 180.4)),
    _row(1024, 22, (148.3, 134.6, 171.0)),
    _row(1024, 23, (139.0, 126.1, 162.5)),
    _row(1024, 24, (130.8, 118.7, 154.8)),
    _row(1024, 25, (123.2, 111.8, 147.8)),
    _row(2048, 41, (152.7, 138.6, 177.6)),
    _row(2048, 45, (134.0, 121.6, 159.8)),
    _row(2048, 46, (129.9, 117.9, 155.9)),
    _row(2048, 47, (125.9, 114.2, 152.2)),
    _row(2048, 48, (122.1, 110.8, 148.6)),
    _row(2048, 49, (118.6, 107.6, 145.2)),
)


@cache
def suite_for(n: int, k: int) -> Suite | None:
    """The strongest row that allows modulus 2^k at degree n; None: no row does."""
    rows = [row for row in SUITES if row.n == n and row.k >= k]
    return min(rows, key=lambda row: row.k) if rows else None


def suite(number: int) -> Suite:
    """The row with this number.

    Raises:
        RemoteProtocolError: not on the list.
    """
    for row in SUITES:
        if row.number == number:
            return row
    raise RemoteProtocolError(f"suite {number:#06x} is not on this program's list of lattice suites")
