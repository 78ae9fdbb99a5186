"""All parties of a small round on one table; every message passes through a hook that may change or drop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest

from wardround.crypto.sampling import subseed
from wardround.errors import ProtocolError
from wardround.rng import stream
from wardround.secagg.client import Plain
from wardround.secagg.in_memory import Parties
from wardround.secagg.parameters import Lattice
from wardround.secagg.server import Server
from wardround.secagg.server_state import Opened

ENTROPY = bytes(range(32))
Sharing = Literal["auto", "keys", "values"]
Hook = Callable[[int, Any], Any]  # (member, message) -> message, or None to drop it


@dataclass
class Table:
    """``question`` sees what goes to members, ``answer`` what comes back; ``refusals`` collects what was refused."""

    parties: Parties
    cohort: int
    sizes: tuple[int, int] = (40, 5)
    question: Hook = lambda _, message: message
    answer: Hook = lambda _, message: message
    refusals: list[tuple[int, str]] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.start = self.parties.start(len(self.parties.clients), self.cohort, self.sizes)
        self.server = Server(self.start, tuple(self.parties.clients), self.parties.roster, ENTROPY)
        self.server.begin(self.now)

    def plain(self, name: str) -> Plain:
        rng = stream(5, "client", name)
        return Plain(rng.uniform(-1, 1, self.sizes[0]).astype(np.float32), rng.integers(-900, 900, self.sizes[1]) / 4.0)

    def contribution(self, name: str, start: Any = None) -> Any:
        return self.parties.clients[name].contribute(
            start or self.start, self.plain(name), subseed(ENTROPY, name.encode())
        )

    def upload(self, names: Any = None, change: Any = lambda c: c) -> None:
        for name in names or self.parties.clients:
            self.deliver(self.server.contribution(change(self.contribution(name)), self.now).send)

    def deliver(self, sends: Any) -> None:
        queue = list(sends)
        while queue:
            send = queue.pop(0)
            for j in send.members:
                queue += self.to_member(j, send.message)

    def to_member(self, j: int, message: Any) -> list[Any]:
        message = self.question(j, message)
        if message is None:
            return []
        try:
            reply = self.parties.members[j].receive(message)
        except ProtocolError as error:
            self.refusals.append((j, str(error)))
            return []
        reply = self.answer(j, reply)
        return [] if reply is None else list(self.server.answer(reply, self.now).send)

    def expire(self) -> None:
        self.now += 1000.0
        self.deliver(self.server.expire(self.now).send)

    def finish(self) -> Opened:
        while self.server.result is None:
            self.expire()
        return self.server.result

    def check(self, opened: Opened) -> None:
        """Every opened sum is the sum of its clients' values, and no client is in two."""
        mode: Any = self.start.descriptor.update
        seen = [client for row in opened.cohorts for client in row.clients]
        assert len(seen) == len(set(seen))
        for row in opened.cohorts:
            assert row.plausible
            assert np.array_equal(row.counts, sum(self.plain(client).counts for client in row.clients))
            wanted = sum(self.plain(client).update.astype(float) for client in row.clients)
            steps = np.abs(row.update - wanted) * mode.levels / 2
            direct = self.start.descriptor.suite == 0  # rounding moves each client's value by less than a step
            assert steps.max() < (len(row.clients) if direct else mode.margin)


def make_parties(
    clients: int = 6, committee: str = "consortium", minimum: int = 3, sharing: Sharing = "keys"
) -> Parties:
    config = Lattice(committee=committee, minimum=minimum, sharing=sharing)
    return Parties([f"gw-{i:02d}" for i in range(clients)], config, bytes(32))


@pytest.fixture
def table() -> Callable[..., Table]:
    def lay(
        clients: int = 6, cohort: int = 0, committee: str = "consortium", sharing: Sharing = "keys", **more: Any
    ) -> Table:
        return Table(make_parties(clients, committee, sharing=sharing), cohort, **more)

    return lay
