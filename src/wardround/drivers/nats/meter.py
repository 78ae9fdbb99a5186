"""Two halves of a measurement of a link: what the coordinator saw of an answer, and what the gateway says of its way.

The coordinator counts bytes and knows how long after the ask the answer came, training included; the gateway knows how long the
answer was on the way and says so in its next sign of life. Either half may come first; they belong together by the turn. What is
made of both is the machine's business (federation/links.py), which trusts a gateway only within what was seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wardround.drivers.nats.port import Reply
from wardround.federation.server import Server


@dataclass(frozen=True)
class Seen:
    """An answer of ``turn``: its bytes, seconds since the ask."""

    turn: int
    size: int
    waited: float


class Meter:
    """Hands complete measurements to ``server``, each once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._seen: dict[str, Seen] = {}
        self._claims: dict[str, tuple[int, float]] = {}

    def answered(self, reply: Reply, waited: float) -> None:
        """The coordinator took this reply ``waited`` seconds after it had asked."""
        self._seen[reply.peer] = Seen(reply.turn, len(reply.body), waited)
        self._match(reply.peer)

    def claimed(self, claims: Mapping[str, tuple[int, float]]) -> None:
        """What gateways said since the last time: {peer: (turn, seconds)}."""
        for peer, claim in claims.items():
            self._claims[peer] = claim
            self._match(peer)

    def _match(self, peer: str) -> None:
        seen, claim = self._seen.get(peer), self._claims.get(peer)
        if seen is not None and claim is not None and claim[0] == seen.turn:
            del self._seen[peer], self._claims[peer]
            self._server.measured(peer, seen.size, claim[1], seen.waited)
