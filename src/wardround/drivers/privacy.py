"""The accountant of a private federation: how much noise a budget takes, and what is spent after so many rounds.

Renyi differential privacy, composed over rounds and turned into (epsilon, delta) by Google's ``dp_accounting`` (the extra
``wardround[privacy]``). Each round opens disjoint sets, so a client is in one of its sums. With z = deviation / sensitivity:

    discrete Gaussian   rdp(a) = a / 2 z^2                                        Canonne, Kamath, Steinke, NeurIPS 2020
    Skellam             rdp(a) = a / 2 z^2 + min(((2 a - 1) D2^2 + 6 D1) / 4 m^2, 3 D1 / 2 m)
                                                                                  Agarwal, Kairouz, Liu, NeurIPS 2021

for whole orders a > 1, with m = (z D2)^2 the variance and D2, D1 the Euclidean and the absolute sensitivity in grid units. For
d values of at most s each D2 = sqrt(d) s and D1 <= d s, and the second term falls with d: the accountant takes d = 1. No gain
is claimed for sampling clients: the server samples them.
What it does not do: watch anything. All rounds count, those that were given up too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from wardround.config import Experiment
from wardround.errors import ConfigError, UsageError
from wardround.events import Event, Note, RoundDone, RoundFailed
from wardround.federation.privacy import Privacy
from wardround.secagg.parameters import Lattice
from wardround.secagg.privacy import SPREAD

ORDERS = (*range(2, 65), *range(68, 257, 4), 320, 512, 1024)
FINEST = 1e-3  # of a multiplier
LEAST, LARGEST = 0.1, 100.0


@dataclass(frozen=True)
class Account:
    """A private federation's terms: ``rounds`` it may train of those ``wished``, with ``multiplier``."""

    privacy: Privacy
    bits: int
    multiplier: float
    rounds: int
    wished: int

    def epsilon(self, rounds: int) -> float:
        """Spent after ``rounds``."""
        return _epsilon(self._rdp, self.privacy.delta, rounds)

    @cached_property
    def _rdp(self) -> list[float]:
        return _rdp(self.privacy.mechanism, self.multiplier, self.bits)


def spent(account: Account | None, events: Sequence[Event]) -> tuple[Event, ...]:
    """What to log after an exchange: the privacy spent, where a training round was among its ``events``."""
    rounds = [event.round for event in events if isinstance(event, RoundDone | RoundFailed)]
    if account is None or not rounds:
        return ()
    budget, last = account.privacy, rounds[-1]
    text = f"round {last}: epsilon {account.epsilon(last):.3f} of {budget.epsilon:g} spent, delta {budget.delta:g}"
    if last < account.rounds:
        return (Note("privacy.spent", text),)
    over = f"the budget does not last for another round: training stops at round {last} of {account.wished}"
    return (Note("privacy.spent", text), *((Note("privacy.over", over),) if last < account.wished else ()))


def settle(experiment: Experiment) -> Account | None:
    """The account of ``experiment``; None where it is not private.

    Raises:
        UsageError: dp_accounting is not installed.
        ConfigError: the budget does not last for one round.
    """
    privacy, wanted = experiment.privacy, experiment.rounds.count
    if not privacy.on or not isinstance(experiment.secagg, Lattice):
        return None
    bits = experiment.secagg.bits
    multiplier = privacy.multiplier or _smallest(
        lambda z: _epsilon(_rdp(privacy.mechanism, z, bits), privacy.delta, wanted) <= privacy.epsilon
    )
    account = Account(privacy, bits, multiplier, wanted, wanted)
    if account.epsilon(wanted) <= privacy.epsilon:
        return account
    if account.epsilon(1) > privacy.epsilon:
        raise ConfigError(
            f"[privacy] one round with multiplier = {multiplier} spends epsilon = {account.epsilon(1):.2f}, the budget is "
            f"{privacy.epsilon}: raise multiplier, or set 0 to have it set from the budget"
        )
    low, high = 1, wanted  # epsilon grows with the rounds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if account.epsilon(middle) <= privacy.epsilon else (low, middle)
    return replace(account, rounds=low)


def _smallest(enough: Callable[[float], bool]) -> float:
    """The smallest multiplier, in steps of FINEST, that is ``enough``."""
    low, high = round(LEAST / FINEST) - 1, round(LARGEST / FINEST)
    if not enough(high * FINEST):
        raise ConfigError("[privacy] no noise is enough for this budget: raise epsilon or delta, or train fewer rounds")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle * FINEST) else (middle, high)
    return round(high * FINEST, 3)


def _rdp(mechanism: str, z: float, bits: int) -> list[float]:
    if mechanism == "gaussian":
        return [order / (2 * z**2) for order in ORDERS]
    s = 0.98 * ((1 << bits) - 1) * 4 / 2 / SPREAD  # one value on the coarsest grid; more values only make it longer
    return [skellam_rdp(order, (z * s) ** 2, s, s) for order in ORDERS]


def skellam_rdp(order: int, variance: float, euclidean: float, absolute: float) -> float:
    """The Skellam mechanism's Renyi divergence of ``order`` (whole, above 1), at most; sensitivities of whole-number vectors."""
    further = ((2 * order - 1) * euclidean**2 + 6 * absolute) / (4 * variance**2)
    return order * euclidean**2 / (2 * variance) + min(further, 3 * absolute / (2 * variance))


def _epsilon(rdp: list[float], delta: float, rounds: int) -> float:
    try:
        from dp_accounting.rdp.rdp_privacy_accountant import compute_epsilon
    except ImportError as error:
        raise UsageError('[privacy] needs the accountant: pip install "wardround[privacy]"') from error
    if rounds == 0:
        return 0.0
    found, _ = compute_epsilon(ORDERS, [rounds * each for each in rdp], delta)
    return float(found)
