"""One call for a sum, whatever protects it: ``lattice``, ``pairwise`` or nothing (``plain``). For simulations.

    lattice    the real machines, cohorts dealt after the upload                        (in_memory.py)
    pairwise   the benchmark baseline; cohorts must be dealt before, by the same seed    (pairwise.py)
    plain      float64 sums in the clear, cohorts as pairwise

Law: the three open sums over the same clients: those of ``invited`` that are not in ``gone``. Lattice and pairwise stay
within the quantiser's error of plain; counts are equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from wardround.crypto.sampling import subseed
from wardround.errors import RoundError
from wardround.secagg import pairwise, partition
from wardround.secagg.in_memory import Absences, Carry, Ledger, Parties, Source, entropy_of, lattice_sum
from wardround.secagg.opening import CohortSum
from wardround.secagg.pairwise import MaskedInput, Pairwise, PairwiseClient, PairwiseServer
from wardround.secagg.parameters import Lattice
from wardround.wire import decode, encode

Use = Literal["lattice", "pairwise", "plain"]
MOST_NEIGHBOURS = 42  # 20 % hostile and 20 % vanished of 100 clients: 2^-40 privacy (docs/protocol/secagg.md)


@dataclass(frozen=True)
class Order:
    """What is to be summed: ``invited`` clients, ``cohort`` size (0: one sum), ``sizes`` = (update values, counts).

    ``model``, ``codec``: digests bound into the round. ``absences``: who vanishes when.
    """

    invited: tuple[str, ...]
    cohort: int
    sizes: tuple[int, int]
    model: bytes = bytes(32)
    codec: bytes = b""
    absences: Absences = field(default_factory=Absences)


def secure_sum(
    use: Use,
    parties: Parties,
    order: Order,
    source: Source,
    entropy: bytes,
    *,
    ledger: Ledger | None = None,
    carry: Carry | None = None,
) -> tuple[CohortSum, ...]:
    """The cohort sums of one exchange. ``entropy``: 32 bytes, fresh; ``source(name)`` gives a client's values in its turn.

    Raises:
        RoundError: too few clients or members were left; nothing was opened.
        ConfigError: no suite fits the order.
    """
    if use == "lattice":
        start = parties.start(len(order.invited), order.cohort, order.sizes, order.model, order.codec)
        opened = lattice_sum(
            parties, start, source, entropy, invited=order.invited, absences=order.absences, ledger=ledger, carry=carry
        )
        return opened.cohorts
    if use == "plain":
        left = [name for name in order.invited if name not in order.absences.clients]
        needed = max(parties.config.minimum, order.cohort)
        if len(left) < needed:
            raise RoundError(f"{len(left)} contributions, {needed} are needed")
        return plain_sum(partition.deal(left, order.cohort, entropy), source)
    return tuple(
        _pairwise(parties.config, cohort, order, source, subseed(entropy, b"cohort %d" % number), way=(ledger, carry))
        for number, cohort in enumerate(partition.deal(order.invited, order.cohort, entropy))
    )


def plain_sum(cohorts: Iterable[tuple[str, ...]], source: Source) -> tuple[CohortSum, ...]:
    """The sums of given cohorts without any protection."""
    rows = []
    for cohort in cohorts:
        plains = [source(name) for name in cohort]
        update = sum((p.update.astype(float) for p in plains[1:]), start=plains[0].update.astype(float))
        counts = sum((p.counts for p in plains[1:]), start=plains[0].counts)
        rows.append(CohortSum(tuple(cohort), update, counts, plausible=True))
    return tuple(rows)


def pairwise_sum(
    plan: Pairwise,
    source: Source,
    seed: bytes,
    gone: frozenset[str] = frozenset(),
    *,
    ledger: Ledger | None = None,
    carry: Carry | None = None,
) -> CohortSum:
    """One round of the pairwise baseline over all clients of ``plan``; ``gone`` vanish before they send their input.

    Raises:
        RoundError: too few neighbours of some client were left.
    """
    ledger, server = ledger or Ledger(), PairwiseServer(plan)
    clients = {
        name: ledger.timed("client", PairwiseClient, name, plan, entropy_of(subseed(seed, name.encode())))
        for name in plan.clients
    }
    public = {name: ledger.timed("client", client.advertise) for name, client in clients.items()}
    for name, client in clients.items():
        ledger.sent("client", public[name])
        ledger.sent("server", public[name], plan.neighbours)
        letters = ledger.timed("client", client.share, public)
        for letter in letters:
            ledger.sent("client", letter)
            ledger.sent("server", letter)
        server.relay(letters)
    alive = {name: client for name, client in clients.items() if name not in gone}
    for name, client in list(alive.items()):
        plain = source(name)
        ledger.timed("client", client.receive, server.letters(name))
        masked = ledger.timed("client", client.masked, plain.update, plain.counts)
        ledger.sent("client", masked)
        arrived = carry(name, encode(masked)) if carry else encode(masked)
        if arrived is None:
            del alive[name]
        else:
            ledger.timed("server", server.add, decode(arrived, MaskedInput))
    answers = []
    for name, client in alive.items():
        request = server.request(name)
        answers.append(ledger.timed("client", client.unmask, request))
        ledger.sent("server", request)
        ledger.sent("client", answers[-1])
    update, counts = ledger.timed("server", server.finish, answers)
    return CohortSum(tuple(sorted(alive)), update, counts, plausible=True)


def neighbours_of(clients: int) -> int:
    """The even number of neighbours for a ring of ``clients``: all others in small rings, MOST_NEIGHBOURS in large ones."""
    return max(2, min(MOST_NEIGHBOURS, (clients - 1) // 2 * 2))


def _pairwise(
    config: Lattice,
    cohort: Sequence[str],
    order: Order,
    source: Source,
    seed: bytes,
    *,
    way: tuple[Ledger | None, Carry | None],
) -> CohortSum:
    plan = pairwise.agree(seed, cohort, neighbours_of(len(cohort)), order.sizes, config)
    return pairwise_sum(plan, source, seed, order.absences.clients, ledger=way[0], carry=way[1])
