"""From what is wanted (clients, precision, cohorts, committee) to numbers on the wire, and the rules of size.

Two segments travel in one contribution, both under one key s of degree n:

    update   real values, *dithered* (mode A): value -> [0, levels] quantiser steps; dropping r low bits of the lattice
             mask is the rounding. width L = k - r = bits of the sum, nothing more
    counts   whole numbers, *exact* (mode B): value cut into ``digits`` of ``digit_bits``, ``slots`` digits packed in one
             coefficient in base N (2^digit_bits - 1) + 1, nu noise bits below them

Tail bounds are sub-Gaussian: |sum of N errors| <= sqrt(2 N v (ln 2m + 40 ln 2)) for all of m = 2^20 coefficients except
with probability 2^-40; v = 32 + 4^r/12 is the variance of CBD(64) plus that of dropping r bits.

Law: every reader derives the same numbers from the same wishes; a client compares them with those of the descriptor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

from wardround.crypto.noise import WIDEST
from wardround.crypto.sampling import CBD_VARIANCE
from wardround.crypto.sharing import LARGEST, Sharing
from wardround.errors import ConfigError
from wardround.secagg.noise import Noise
from wardround.secagg.suites import FAILURE_BITS, FAILURE_COEFFICIENTS, Suite, suite_for
from wardround.wire import message

BEACON_ELEMENTS = 16  # 256 bits
MAX_CLIENTS = 10_000
_WIDEST = 62  # a coefficient stays in a signed 64-bit word


@message(0x5001)
@dataclass(frozen=True)
class Dithered:
    """Mode A: modulus 2^k, r dropped bits, values in [0, levels] steps; decodes sums of up to ``clients``; ``noise``: what each
    client adds for differential privacy.
    """

    k: int
    r: int
    levels: int
    clients: int
    noise: Noise | None = None

    @property
    def width(self) -> int:
        return self.k - self.r

    @property
    def margin(self) -> int:
        """Steps that the sum's error does not leave, except with probability 2^-40."""
        return math.ceil(_tail(self.clients * self.variance))

    @property
    def variance(self) -> float:
        """Variance of one client's error in steps^2: 1/12 of the rounding, 32/4^r of the lattice error, at most 1/4 of 4^-r of
        the rounding to the grid, and the noise.
        """
        noise = 0.0 if self.noise is None else (self.noise.spread * self.levels) ** 2
        return 1 / 12 + (CBD_VARIANCE + 0.25) / float(4**self.r) + noise


@message(0x5002)
@dataclass(frozen=True)
class Exact:
    """Mode B: modulus 2^k, r dropped bits, nu noise bits; ``slots`` digits of ``digit_bits`` per coefficient."""

    k: int
    r: int
    nu: int
    slots: int
    digits: int
    digit_bits: int
    clients: int

    @property
    def width(self) -> int:
        return self.k - self.r

    @property
    def base(self) -> int:
        return self.clients * ((1 << self.digit_bits) - 1) + 1

    @property
    def noise_bound(self) -> int:
        """What the sum of all errors does not exceed, except with probability 2^-40."""
        return math.ceil(_tail(self.clients * (CBD_VARIANCE + (4**self.r / 12 if self.r else 0.0))))

    @property
    def bits_per_value(self) -> float:
        return self.width * self.digits / self.slots

    def coefficients(self, values: int) -> int:
        return -(-values * self.digits // self.slots)


@message(0x5003)
@dataclass(frozen=True)
class Committee:
    """C ``members``, sharing threshold t, ``pack`` = ell, ``quorum`` = Q, at most ``corrupt`` = c of them hostile.

    Raises:
        ValueError: the rules of size are broken; the text says what would fit.
    """

    members: int
    threshold: int
    pack: int
    quorum: int
    corrupt: int

    def __post_init__(self) -> None:
        c, need = self.corrupt, self.threshold + self.pack
        least = (self.members + c) // 2 + 1
        if c < 0 or not self.threshold >= 1:
            raise ValueError("a committee tolerates 0 or more hostile members and shares with a threshold of 1 or more")
        if self.threshold < c:
            raise ValueError(f"threshold t = {self.threshold} is below the {c} hostile members: t = {c} would fit")
        if not least <= self.quorum <= self.members:
            raise ValueError(
                f"quorum Q = {self.quorum} of C = {self.members} with c = {c}: "
                f"Q must be above (C + c)/2, so {least} to {self.members}"
            )
        if self.threshold + 1 > self.quorum - c:
            raise ValueError(
                f"t + 1 = {self.threshold + 1} honest members must stand behind a beacon, Q - c = {self.quorum - c} do"
            )
        if self.pack < 1 or need > self.quorum:
            raise ValueError(
                f"t + ell = {need} shares open, but only Q = {self.quorum} are certain: "
                f"ell = {self.quorum - self.threshold} would fit"
            )

    @property
    def offline(self) -> int:
        """Members that may be away."""
        return self.members - self.quorum

    @property
    def correctable(self) -> int:
        """Wrong sum-shares corrected when all members answer."""
        return (self.members - self.threshold - self.pack) // 2

    def sharing(self, n: int) -> Sharing:
        """How a key of degree n is shared (packed), and the beacon elements (one per polynomial of degree t)."""
        return Sharing(self.members, self.threshold, self.pack, n, BEACON_ELEMENTS)


PRESETS: dict[str, Committee] = {
    "small": Committee(4, 1, 2, 3, 1),
    "consortium": Committee(5, 1, 2, 4, 1),
    "standard": Committee(9, 2, 3, 6, 2),
    "large": Committee(20, 6, 6, 14, 6),
    "client-drawn": Committee(50, 16, 16, 34, 16),
}


@dataclass(frozen=True)
class Lattice:
    """Lattice-based secure aggregation: the server learns sums over cohorts and nothing else about an answer.

    Attributes:
        bits: precision b of an update value: 2^b - 1 steps between -clip and +clip.
        clip: largest magnitude of an update value; the client cuts what is larger.
        count_bits: width of a count (exact segment): counts are whole multiples of 2^-count_fraction within
            +-2^(count_bits - count_fraction - 1).
        count_fraction: binary places of a count.
        committee: a preset (``small`` 4 members, ``consortium`` 5, ``standard`` 9, ``large`` 20, ``client-drawn`` 50).
        members: who is on it: names of gateways, or of other parties (a registrar, a regulator) that run a member each; empty:
            one gateway each of different sites (federation/committee.py). In a simulation a named gateway's member shares its
            weather; a committee that is drawn, and other parties, are always there.
        minimum: fewest clients whose sum may be opened (u_min); no member opens less, whatever the server says.
        sharing: what the committee gets shares of: the ``keys`` of ciphertexts, the ``values`` themselves (short vectors), or the
            cheaper of both for each exchange (``auto``); ``wardround explain secagg`` says which and why.
    """

    name: ClassVar[str] = "lattice"

    bits: int = 8
    clip: float = 1.0
    count_bits: int = 40
    count_fraction: int = 8
    committee: str = "consortium"
    minimum: int = 4
    members: tuple[str, ...] = ()
    sharing: Literal["auto", "keys", "values"] = "auto"

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16:
            raise ValueError(f"bits must be 2 to 16, not {self.bits}")
        if not 0 < self.clip < math.inf:
            raise ValueError(f"clip must be a positive number, not {self.clip}")
        if not 2 <= self.count_bits <= 52 or not 0 <= self.count_fraction < self.count_bits:
            raise ValueError(
                f"count_bits must be 2 to 52 with fewer binary places, not {self.count_bits} and {self.count_fraction}"
            )
        if self.committee not in PRESETS:
            raise ValueError(f"committee {self.committee!r} is not one of {', '.join(PRESETS)}")
        wanted = PRESETS[self.committee].members
        if self.members and (len(self.members) != wanted or len(set(self.members)) != wanted):
            raise ValueError(
                f"committee {self.committee!r} has {wanted} different members, members names {len(set(self.members))}"
            )
        if self.minimum < 2:
            raise ValueError(
                f"minimum must be 2 or more, not {self.minimum}: the sum of one client is that client's update"
            )

    def noise(self, values: int, smallest: int) -> Noise | None:
        """What each client adds to ``values`` values where sets of ``smallest`` clients may be opened (privacy.py): nothing."""
        del values, smallest
        return None


@dataclass(frozen=True)
class Fit:
    """What was found for a configuration: segments (None: not sent), ring degree and the row that covers both moduli."""

    n: int
    suite: Suite
    update: Dithered | None
    counts: Exact | None
    largest: int


def largest_opened(clients: int, cohort: int) -> int:
    """The most clients whose sum is opened together: all of them (cohort 0), else below two cohort sizes."""
    return clients if cohort == 0 else min(clients, 2 * cohort - 1)


def fit(
    config: Lattice, clients: int, cohort: int, *, update: bool = True, counts: bool = True, noise: Noise | None = None
) -> Fit:
    """The smallest numbers on the wire for up to ``clients`` uploads in cohorts of at least ``cohort`` (0: one sum).

    Raises:
        ConfigError: nothing on the list fits; the text says what would.
    """
    check_sizes(config, clients, cohort)
    largest = largest_opened(clients, cohort)
    for n in (1024, 2048):
        dithered = choose_dithered(n, largest, config.bits, noise) if update else None
        exact = choose_exact(n, largest, config.count_bits) if counts else None
        if (update and dithered is None) or (counts and exact is None):
            continue
        suite = suite_for(n, max(part.k for part in (dithered, exact) if part is not None))
        if suite is not None:
            return Fit(n, suite, dithered, exact, largest)
    fitting = [b for b in range(2, config.bits) if choose_dithered(2048, largest, b, noise)]
    hint = f"bits = {fitting[-1]} would fit" if fitting else "smaller cohorts would fit"
    raise ConfigError(
        f"[secagg] no lattice suite sums {largest} clients at bits = {config.bits}, count_bits = {config.count_bits}: {hint}"
    )


def check_sizes(config: Lattice, clients: int, cohort: int) -> None:
    """The rules between clients, cohorts and minimum.

    Raises:
        ConfigError: a rule is broken; the text names the key and a value that would fit.
    """
    if not config.minimum <= clients <= MAX_CLIENTS:
        raise ConfigError(
            f"[secagg] {clients} clients a round: {config.minimum} (minimum) to {MAX_CLIENTS} can be summed securely"
        )
    if cohort and cohort < config.minimum:
        raise ConfigError(
            f"[secagg] minimum = {config.minimum} but cohorts of {cohort} would be opened: "
            f"cohort_size = {config.minimum} or more, or 0 for one sum"
        )
    if cohort > clients:
        raise ConfigError(
            f"[secagg] cohorts of {cohort} cannot be dealt from {clients} clients: cohort_size = {clients} or less would fit"
        )


@cache
def choose_dithered(n: int, clients: int, bits: int, noise: Noise | None = None) -> Dithered | None:
    """Bits of plain modular masking; the tail margin is bought with under 2 % of the levels, else with as many bits as it takes
    (without noise: one).

    r = 6 leaves the rounding dominant (variance 0.091 steps^2); smaller r only where the modulus forces it.
    """
    full = (1 << bits) - 1
    for r in range(6, 1, -1):
        if noise is not None and noise.spread * full * (1 << r) > WIDEST:
            continue  # the noise is wide: a coarser grid will do
        margin = Dithered(r, r, full, clients, noise).margin
        width = (clients * full).bit_length()
        levels = min(full, ((1 << width) - 1 - 2 * margin) // clients)
        if levels < 0.98 * full:
            width, levels = (clients * full + 2 * margin).bit_length(), full
        if suite_for(n, width + r) is not None and clients * levels + 2 * margin < 1 << width:
            return Dithered(width + r, r, levels, clients, noise)
    return None


@cache
def choose_exact(n: int, clients: int, bits: int) -> Exact | None:
    """The fewest bits per value over digits, slots and dropped bits; ties go to the smaller modulus."""
    best: Exact | None = None
    for digits in range(1, 9):
        digit_bits = -(-bits // digits)
        for slots in range(1, 9):
            for r in range(9):
                found = _exact(n, clients, (r, slots, digits, digit_bits))
                if found and (best is None or (found.bits_per_value, found.k) < (best.bits_per_value, best.k)):
                    best = found
    return best


def key_sum_fits(clients: int) -> bool:
    """Whether a sum of honest keys stays within the sharing field: 64 N <= p/2 surely, else by 2^-40 tails."""
    return _tail(clients * CBD_VARIANCE) < LARGEST


def _exact(n: int, clients: int, shape: tuple[int, int, int, int]) -> Exact | None:
    r, slots, digits, digit_bits = shape
    nu = max(0, math.ceil(math.log2(_tail(clients * (CBD_VARIANCE + (4**r / 12 if r else 0.0)))) + 1 - r))
    base = clients * ((1 << digit_bits) - 1) + 1
    width = (base**slots - 1).bit_length() + nu
    if suite_for(n, width + r) is None or width + r > _WIDEST:
        return None
    return Exact(width + r, r, nu, slots, digits, digit_bits, clients)


def _tail(variance: float) -> float:
    return math.sqrt(2 * variance * (math.log(2 * FAILURE_COEFFICIENTS) + FAILURE_BITS * math.log(2)))
