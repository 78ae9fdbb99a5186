"""The secure sum in the simulated round: all clients, committee and server of layer 2 in memory, the real machines.

What the round's server gets is what the committee opened: sums over cohorts, and who is in them. It never holds an answer.
All keys come from the experiment's seed, so a run repeats to the bit; an epoch is agreed anew every ``EPOCH_SUMS`` sums, and
a resumed run takes up in the middle of one (round keys are a function of the number of the sum).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wardround.drivers.simulation.liars import Liars
from wardround.errors import RoundError
from wardround.events import Event, Note
from wardround.federation.cohorts import CohortSum
from wardround.federation.messages import Answer
from wardround.federation.secure_server import implausible
from wardround.secagg.choice import PairwiseSum
from wardround.secagg.client import Plain
from wardround.secagg.in_memory import Absences, Carry, Ledger, Parties
from wardround.secagg.parameters import Lattice
from wardround.secagg.summation import Order, Use, secure_sum

EPOCH_SUMS = 64


@dataclass(frozen=True, eq=False)
class Result:
    """What was opened: ``peers`` in any of the ``sums``, and the bytes that clients sent; the clients ``named`` and left out,
    with reasons; and the members of ``spoilt`` cohorts, whose sums cannot be of honest clients.
    """

    peers: tuple[str, ...]
    sums: tuple[CohortSum, ...]
    bytes_up: int
    named: Mapping[str, str]
    spoilt: tuple[tuple[str, ...], ...]

    @property
    def events(self) -> tuple[Event, ...]:
        """What a live server would note (federation/secure_server.py)."""
        return (
            *(Note("secagg.client", f"{client} was left out: {why}") for client, why in self.named.items()),
            *(Note("secagg.implausible", implausible(members)) for members in self.spoilt),
        )


@dataclass(frozen=True)
class Called:
    """An exchange: who is ``invited``, who of them answers, the least size of a ``cohort`` (0: one sum), who is ``off`` and who
    ``vanished`` in the middle; whether hostile clients are at work in it.
    """

    invited: tuple[str, ...]
    answering: frozenset[str]
    cohort: int
    off: frozenset[str] = frozenset()
    vanished: frozenset[str] = frozenset()
    attacked: bool = False


class SecureSum:
    """Layer 2 for the clients ``names``; ``done`` sums were opened or given up so far."""

    def __init__(
        self, choice: Lattice | PairwiseSum, names: Sequence[str], seed: int, liars: Liars | None = None
    ) -> None:
        self._use: Use = "pairwise" if isinstance(choice, PairwiseSum) else "lattice"
        self._config = choice.quantiser() if isinstance(choice, PairwiseSum) else choice
        self._names = tuple(names)
        self._secret = hashlib.sha256(b"wardround simulated secagg" + seed.to_bytes(16, "big")).digest()
        self._parties: Parties | None = None
        self._liars = liars
        self.done = 0

    def resume(self, done: int) -> None:
        """Go on after ``done`` sums."""
        self.done = done
        self._parties = None

    def sum(self, answers: Iterator[tuple[str, Answer]], round_: Called, carry: Carry | None = None) -> Result:
        """Add up the ``answers``, taken in one by one: none is kept longer than its client's turn takes.

        ``carry`` takes each client's message to the server, or loses it (layer 1).

        Raises:
            RoundError: too few were invited or answer, or the committee did not open the sum.
        """
        least = self._config.minimum
        if len(round_.answering) < least:
            raise RoundError(f"{len(round_.answering)} clients answer, no sum of fewer than {least} is ever opened")
        parties = self._epoch()
        number, self.done = self.done, self.done + 1
        parties.number = number % EPOCH_SUMS
        queue = _Queue(answers)
        absences = Absences(frozenset(round_.invited) - round_.answering, self._silent(round_))
        order = Order(round_.invited, min(round_.cohort, len(round_.invited)), queue.sizes, absences=absences)
        entropy = hashlib.sha256(self._secret + number.to_bytes(8, "big")).digest()
        ledger = Ledger(measure_bytes=True)
        if self._liars is not None:
            carry = self._liars.carrying(parties, number, round_.attacked, carry)
        opened = secure_sum(self._use, parties, order, queue.plain, entropy, ledger=ledger, carry=carry)
        rows = [row for row in opened if row.plausible]
        spoilt = tuple(row.clients for row in opened if not row.plausible)
        sums = tuple(CohortSum(len(row.clients), row.update, row.counts) for row in rows)
        peers = tuple(peer for row in rows for peer in row.clients)
        return Result(peers, sums, ledger.sent_bytes.get("client", 0), ledger.named, spoilt)

    def _silent(self, round_: Called) -> dict[int, str]:
        """Members and the step from which they are silent: one that the file names shares its gateway's weather, off for
        the whole exchange or vanishing in the middle; other parties, and a committee that is drawn, are always there.
        """
        found: dict[int, str] = {}
        for number, holder in enumerate(self._config.members, start=1):
            if holder in round_.off:
                found[number] = "checking"
            elif holder in round_.vanished:
                found[number] = "voting"
        return found

    def _epoch(self) -> Parties:
        epoch = self.done // EPOCH_SUMS + 1
        if self._parties is None:
            kinds = {} if self._liars is None else self._liars.kinds
            self._parties = Parties(self._names, self._config, self._secret, kinds=kinds)
        if self._parties.epoch != epoch:
            self._parties.new_epoch(epoch)
        return self._parties


class _Queue:
    """Answers by name, taken from the stream when they are asked for; those that come earlier wait."""

    def __init__(self, answers: Iterator[tuple[str, Answer]]) -> None:
        first, answer = next(answers)
        self._rest, self._waiting = answers, {first: answer}
        self.sizes = (answer.update.size, answer.counts.size)

    def plain(self, client: str) -> Plain:
        while client not in self._waiting:
            name, answer = next(self._rest)
            self._waiting[name] = answer
        found = self._waiting.pop(client)
        return Plain(found.update, np.asarray(found.counts, dtype=np.float64))
