"""The secure sum in the simulated round: all clients, committee and server of layer 2 in memory, the real machines.

What the round's server gets is what the committee opened: sums over cohorts, and who is in them. It never holds an answer.
All keys come from the experiment's seed, so a run repeats to the bit; an epoch is agreed anew every ``EPOCH_SUMS`` sums, and
a resumed run takes up in the middle of one (round keys are a function of the number of the sum).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wardround.errors import RoundError
from wardround.federation.cohorts import CohortSum
from wardround.federation.messages import Answer
from wardround.secagg.client import Plain
from wardround.secagg.in_memory import Absences, Ledger, Parties, lattice_sum
from wardround.secagg.parameters import Lattice

EPOCH_SUMS = 64


@dataclass(frozen=True, eq=False)
class Result:
    """What was opened: ``peers`` in any of the ``sums``, and the bytes that clients sent."""

    peers: tuple[str, ...]
    sums: tuple[CohortSum, ...]
    bytes_up: int


class SecureSum:
    """Layer 2 for the clients ``names``; ``done`` sums were opened or given up so far."""

    def __init__(self, config: Lattice, names: Sequence[str], seed: int) -> None:
        self._config, self._names = config, tuple(names)
        self._secret = hashlib.sha256(b"wardround simulated secagg" + seed.to_bytes(16, "big")).digest()
        self._parties: Parties | None = None
        self.done = 0

    def resume(self, done: int) -> None:
        """Go on after ``done`` sums."""
        self.done = done
        self._parties = None

    def sum(self, answers: Iterator[tuple[str, Answer]], invited: tuple[str, ...], cohort: int) -> Result:
        """Add up the ``answers`` of some of the ``invited``, in cohorts of at least ``cohort`` (0: one sum).

        Raises:
            RoundError: too few were invited or answer, or the committee did not open the sum.
        """
        least = self._config.minimum
        if len(invited) < least:
            raise RoundError(f"{len(invited)} clients are invited, no sum of fewer than {least} is ever opened")
        parties = self._epoch()
        number, self.done = self.done, self.done + 1
        parties.number = number % EPOCH_SUMS
        waiting = _Queue(answers)
        if len(waiting.peers) < least:
            raise RoundError(f"{len(waiting.peers)} clients answer, no sum of fewer than {least} is ever opened")
        start = parties.start(len(invited), min(cohort, len(invited)), waiting.sizes)
        ledger = Ledger(measure_bytes=True)
        entropy = hashlib.sha256(self._secret + number.to_bytes(8, "big")).digest()
        absent = Absences(frozenset(invited) - waiting.peers)
        opened = lattice_sum(parties, start, waiting.plain, entropy, invited=invited, absences=absent, ledger=ledger)
        sums = tuple(CohortSum(len(row.clients), row.update, row.counts) for row in opened.cohorts if row.plausible)
        peers = tuple(peer for row in opened.cohorts if row.plausible for peer in row.clients)
        return Result(peers, sums, ledger.sent_bytes.get("client", 0))

    def _epoch(self) -> Parties:
        epoch = self.done // EPOCH_SUMS + 1
        if self._parties is None:
            self._parties = Parties(self._names, self._config, self._secret)
        if self._parties.epoch != epoch:
            self._parties.new_epoch(epoch)
        return self._parties


class _Queue:
    """Answers by name. They are all taken in at once: layer 2 asks for clients in its own order."""

    def __init__(self, answers: Iterator[tuple[str, Answer]]) -> None:
        self._answers = dict(answers)
        self.peers = frozenset(self._answers)

    @property
    def sizes(self) -> tuple[int, int]:
        """Values of the two segments."""
        answer = next(iter(self._answers.values()))
        return answer.update.size, answer.counts.size

    def plain(self, client: str) -> Plain:
        answer = self._answers.pop(client)
        return Plain(answer.update, np.asarray(answer.counts, dtype=np.float64))
