"""How many hostile clients a rule over cohort means survives.

Under secure aggregation a row is the mean of a cohort, and one hostile client spoils its whole cohort. With N clients,
H of them hostile, dealt at random into cohorts of at least s (federation/cohorts.py deals so), the number of spoilt
cohorts is random; a rule that survives t rows holds in the rounds in which at most t are spoilt. For large N the spoilt
share is 1 - (1 - g)^s for a hostile share g, and a majority rule breaks where that crosses one half:
g = 1 - 2^(-1/s), i.e. 50 %, 29.3 %, 20.6 %, 12.9 % for s = 1, 2, 3, 5.

Rules with a root set (rooted.py) do not rest on a majority; for them these numbers say how many rows are clean, not
whether the rule holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from wardround.aggregate.pre import NEED_HOSTILE
from wardround.aggregate.rule import Rule
from wardround.arrays import F64, I64

EXACT_CLIENTS = 1500  # above this the distribution is taken from its mean and variance


@dataclass(frozen=True)
class Outlook:
    """Whether a rule holds for a federation: ``rows`` it sees, rows it ``survives``, hostile clients, rows spoilt on
    average, and the ``probability`` that a round's draw of cohorts spoils no more rows than it survives.
    """

    rows: int
    survives: int
    hostile_clients: int
    expected_spoilt: float
    probability: float


def outlook(rule: Rule, clients: int, size: int, share: float) -> Outlook:
    """The outlook for ``clients`` of which ``share`` is hostile, in cohorts of at least ``size``.

    Raises:
        ValueError: no client, a cohort size below 1, or a share outside [0, 1].
    """
    sizes = cohort_sizes(clients, size)
    hostile = hostile_clients(clients, share)
    survives = rule.tolerates(len(sizes))
    probability = at_most(sizes, hostile, survives)
    return Outlook(len(sizes), survives, hostile, _mean(sizes, hostile), probability)


def fitted(rule: Rule, clients: int, size: int, share: float, quantile: float = 0.95) -> Rule:
    """``rule`` set for as many hostile rows as a round's draw spoils with probability ``quantile``, below one half.

    Rules that are not set for a number of hostile rows stay as they are.
    """
    if not (rule.needs_hostile or any(name in NEED_HOSTILE for name in rule.pre)):
        return rule
    sizes = cohort_sizes(clients, size)
    hostile, most = hostile_clients(clients, share), max(rule.breakdown(len(sizes)), 0)
    rows = next((j for j in range(most) if at_most(sizes, hostile, j) >= quantile), most)
    return replace(rule, hostile=round(rows / len(sizes), 4))


def tolerated_share(rule: Rule, clients: int, size: int, least: float) -> float:
    """The largest share of hostile clients against which ``rule`` holds with probability ``least``; whole clients."""
    hostile = 0
    while hostile < clients and outlook(rule, clients, size, (hostile + 1) / clients).probability >= least:
        hostile += 1
    return hostile / clients


def clean_majority(clients: int, size: int, share: float) -> float:
    """Probability that more than half of the cohorts hold no hostile client.

    Raises:
        ValueError: as ``outlook``.
    """
    sizes = cohort_sizes(clients, size)
    return at_most(sizes, hostile_clients(clients, share), (len(sizes) - 1) // 2)


def majority_bound(size: int) -> float:
    """The hostile share at which, for many clients, half of the cohorts of ``size`` are spoilt: 1 - 2^(-1/size)."""
    return float(1.0 - 2.0 ** (-1.0 / size))


def hostile_clients(clients: int, share: float) -> int:
    """Number of hostile clients, rounded up.

    Raises:
        ValueError: the share lies outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the hostile share lies in [0, 1], not {share}")
    return math.ceil(share * clients - 1e-9)


def cohort_sizes(clients: int, size: int) -> list[int]:
    """Sizes of the cohorts of at least ``size`` into which ``clients`` are dealt; size 0 makes one cohort of all.

    Raises:
        ValueError: no client, or a negative size.
    """
    if clients < 1 or size < 0:
        raise ValueError(f"{clients} clients cannot be dealt into cohorts of {size}")
    count = max(1, clients // size) if size else 1
    small, larger = divmod(clients, count)
    return [small + 1] * larger + [small] * (count - larger)


def at_most(sizes: list[int], hostile: int, spoilt: int) -> float:
    """Probability that at most ``spoilt`` cohorts hold one of ``hostile`` randomly dealt clients."""
    clients = sum(sizes)
    if spoilt >= min(len(sizes), hostile):
        return 1.0
    if max(sizes) == 1:
        return 0.0  # every hostile client spoils a row of its own, and there are more than ``spoilt``
    if clients <= EXACT_CLIENTS:
        return float(min(spoilt_distribution(sizes, hostile)[: spoilt + 1].sum(), 1.0))
    deviation = math.sqrt(max(_variance(sizes, hostile), 1e-12))
    return 0.5 * math.erfc(-(spoilt + 0.5 - _mean(sizes, hostile)) / deviation / math.sqrt(2.0))


def spoilt_distribution(sizes: list[int], hostile: int) -> F64:
    """Probability [len(sizes) + 1] that exactly j cohorts are spoilt.

    The cohorts are dealt one after the other; given how many hostile clients went before, the number in the next is
    hypergeometric. All terms are positive: nothing cancels.
    """
    table = np.zeros((len(sizes) + 1, hostile + 1))  # [spoilt so far, hostile clients dealt so far]
    table[0, 0] = 1.0
    waiting, left = np.arange(hostile, -1, -1), sum(sizes)
    for size in sizes:
        following = table * _hypergeometric(left, waiting, size, 0)
        for found in range(1, min(size, hostile) + 1):
            chance = _hypergeometric(left, waiting, size, found)
            following[1:, found:] += table[:-1, :-found] * chance[:-found]
        table, left = following, left - size
    out: F64 = table[:, hostile]
    return out


def _hypergeometric(clients: int, hostile: I64, drawn: int, found: int) -> F64:
    """Probability of ``found`` hostile clients among ``drawn`` of ``clients``, for each number of ``hostile`` ones."""
    possible = (found <= hostile) & (drawn - found <= clients - hostile) & (hostile <= clients)
    count = np.where(possible, hostile, found)  # where impossible, any number that has a logarithm
    log = _log_factorials(EXACT_CLIENTS) if clients <= EXACT_CLIENTS else _log_factorials(clients)
    chance = (
        (log[count] - log[found] - log[count - found])
        + (
            log[np.maximum(clients - count, 0)]
            - log[drawn - found]
            - log[np.maximum(clients - count - drawn + found, 0)]
        )
        - (log[clients] - log[drawn] - log[clients - drawn])
    )
    return np.where(possible, np.exp(np.where(possible, chance, 0.0)), 0.0)


@cache
def _log_factorials(most: int) -> F64:
    """Natural logarithms of n! for n = 0..most."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])


def _clean(clients: int, hostile: int, members: int) -> float:
    """Probability that ``members`` chosen places hold no hostile client."""
    return float(_hypergeometric(clients, np.array([hostile]), members, 0)[0])


def _mean(sizes: list[int], hostile: int) -> float:
    clients = sum(sizes)
    return sum(1.0 - _clean(clients, hostile, size) for size in sizes)


def _variance(sizes: list[int], hostile: int) -> float:
    """Variance of the number of spoilt (equally: clean) cohorts, over the at most two sizes that there are."""
    clients = sum(sizes)
    counts = {size: sizes.count(size) for size in set(sizes)}
    clean = {size: _clean(clients, hostile, size) for size in counts}
    expected = sum(counts[s] * clean[s] for s in counts)
    pairs = sum(counts[a] * (counts[b] - (a == b)) * _clean(clients, hostile, a + b) for a in counts for b in counts)
    return pairs + expected - expected**2
