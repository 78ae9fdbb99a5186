"""Batches of contributions and what the members said about them; who is left out, and which member is not believed.

Laws: a client that a member refuses is left out; a member that *alone* refuses more than a quarter of all clients (and
more than one) is set aside instead, as long as a quorum is left: one hostile member cannot empty a round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from wardround.errors import RemoteProtocolError
from wardround.secagg.messages import Refusal


@dataclass(eq=False)
class Verdicts:
    """``batches``: names per batch; ``judged``: (member, batch) -> the clients it refuses."""

    batches: list[tuple[str, ...]] = field(default_factory=list)
    judged: dict[tuple[int, int], tuple[Refusal, ...]] = field(default_factory=dict)

    def note(self, member: int, batch: int, refused: tuple[Refusal, ...]) -> None:
        """Keep a verdict.

        Raises:
            RemoteProtocolError: it is about clients that were not asked about.
        """
        if not 0 <= batch < len(self.batches) or not {r.client for r in refused} <= set(self.batches[batch]):
            raise RemoteProtocolError("a verdict on clients that were not asked about")
        self.judged[member, batch] = refused

    def missing(self, member: int) -> tuple[int, ...]:
        """Batches the member has not judged."""
        return tuple(number for number in range(len(self.batches)) if (member, number) not in self.judged)

    def unanimous(self, batch: int, members: int) -> bool:
        """Whether all of members 1..``members`` found every share of the batch good."""
        return all(self.judged.get((member, batch)) == () for member in range(1, members + 1))

    def sort_out(self, active: Sequence[int], quorum: int) -> tuple[dict[str, str], dict[int, str]]:
        """(clients left out, members set aside), each with the reason."""
        named: dict[str, dict[int, str]] = {}
        for (member, _), refused in self.judged.items():
            for refusal in refused:
                named.setdefault(refusal.client, {})[member] = refusal.reason
        total, aside = sum(len(batch) for batch in self.batches), dict[int, str]()
        for member in active:
            alone = [client for client, reasons in named.items() if set(reasons) == {member}]
            if len(alone) > max(1, total // 4) and len(active) - len(aside) > quorum:
                aside[member] = f"alone refuses {len(alone)} of {total} clients"
                for client in alone:
                    del named[client]
        return {client: next(iter(reasons.values())) for client, reasons in named.items()}, aside
