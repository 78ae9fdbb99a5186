"""Which way a round's vectors are summed: the cheapest of those that keep layer 2's promise, the same for everybody.

    keys     the lattice: ciphertexts of every value, and a shared key of n = 1024 or 2048 coefficients    (kahe.py)
    values   direct mode: the quantised values are shared themselves, and nothing else is sent             (direct.py)

Both promise: up to c hostile members together with the server learn sums over certified sets and nothing else. The way is a
function of ``[secagg]`` and of the descriptor's free fields, so each party finds it for itself and refuses any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from wardround.crypto.aead import TAG_BYTES
from wardround.crypto.packing import packed_bytes
from wardround.crypto.sharing import DIGEST_BYTES
from wardround.errors import ConfigError
from wardround.secagg import direct
from wardround.secagg.parameters import PRESETS, Committee, Dithered, Exact, Lattice, check_sizes, fit, largest_opened
from wardround.secagg.suites import Suite


@dataclass(frozen=True)
class Way:
    """One way with its numbers on the wire; ``suite`` is None in direct mode."""

    name: Literal["keys", "values"]
    n: int
    suite: Suite | None
    update: Dithered | None
    counts: Exact | None
    largest: int
    update_bytes: int
    counts_bytes: int
    fixed_bytes: int

    @property
    def client_bytes(self) -> int:
        """Bytes of a contribution, its message's frame left out."""
        return self.update_bytes + self.counts_bytes + self.fixed_bytes


@cache
def ways(config: Lattice, clients: int, cohort: int, values: int, counts: int) -> tuple[Way, ...]:
    """Every way that ``config`` allows for ``values`` update values and ``counts`` counts, cheapest first.

    Raises:
        ConfigError: none fits, or a rule of size is broken; the text says what would fit.
    """
    check_sizes(config, clients, cohort)
    noisy = config.noise(values, max(config.minimum, cohort)) is not None  # the noise needs the lattice's fine grid
    shared = None if noisy or config.sharing == "keys" else _values(config, clients, cohort, values, counts)
    try:
        lattice = _keys(config, clients, cohort, values, counts) if config.sharing != "values" else None
    except ConfigError:
        if shared is None:
            raise
        lattice = None
    found = [way for way in (lattice, shared) if way is not None]
    if not found:
        largest = largest_opened(clients, cohort)
        raise ConfigError(
            f'[secagg] sharing = "values" cannot sum {largest} clients at bits = {config.bits}: '
            f'fewer bits, smaller cohorts, or sharing = "auto" would fit'
        )
    return tuple(sorted(found, key=lambda way: way.client_bytes))


def choose(config: Lattice, clients: int, cohort: int, values: int, counts: int) -> Way:
    """The cheapest way.

    Raises:
        ConfigError: as ``ways``.
    """
    return ways(config, clients, cohort, values, counts)[0]


def fixed_bytes(committee: Committee, n: int) -> int:
    """Bytes of a contribution besides its ciphertexts: shares, tags, commitments, low-degree proof."""
    sharing = committee.sharing(n)
    letters = sum(sharing.letter_bytes(member) for member in range(1, committee.members + 1))
    return letters + committee.members * (TAG_BYTES + DIGEST_BYTES) + sharing.proof_bytes


def why(found: tuple[Way, ...]) -> str:
    """What decided between ``found``, in a sentence."""
    best = found[0]
    if len(found) == 1:
        return f"sharing {best.name}: the only way that fits this configuration"
    other = found[1]
    reason = {
        "values": "so few values cost less shared one by one than a key and its ciphertexts",
        "keys": "for so many values one shared key costs less than sharing each of them",
    }[best.name]
    return f"sharing {best.name} takes {best.client_bytes} bytes, sharing {other.name} {other.client_bytes}: {reason}"


def _keys(config: Lattice, clients: int, cohort: int, values: int, counts: int) -> Way:
    noise = config.noise(values, max(config.minimum, cohort))
    fitted = fit(config, clients, cohort, update=values > 0, counts=counts > 0, noise=noise)
    update, exact = fitted.update, fitted.counts
    return Way(
        "keys",
        fitted.n,
        fitted.suite,
        update,
        exact,
        fitted.largest,
        packed_bytes(values, update.width) if update else 0,
        packed_bytes(exact.coefficients(counts), exact.width) if exact else 0,
        fixed_bytes(PRESETS[config.committee], fitted.n),
    )


def _values(config: Lattice, clients: int, cohort: int, values: int, counts: int) -> Way | None:
    largest = largest_opened(clients, cohort)
    update = direct.choose_update(largest, config.bits) if values else None
    exact = direct.choose_counts(largest, config.count_bits) if counts else None
    if (values and update is None) or (counts and exact is None) or not values + counts:
        return None
    n = direct.Plain(update, exact, values, counts).elements
    return Way("values", n, None, update, exact, largest, 0, 0, fixed_bytes(PRESETS[config.committee], n))
