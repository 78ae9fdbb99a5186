"""Who holds which version of the announced model, whose answers entered it, and who is due in a round: the server's memory
of its peers' links.

A peer's class of link is links.py's business. A class whose chain costs more than its budget takes part in one round of
``every``, each peer in its own turn: under a secure sum all must send the same coordinates, so a slow link sends less often and
never less.
What it does not do: choose chains (compress/budget.py), write differences (compress/downlink.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wardround.compress.downlink import Announced
from wardround.compress.table import Compress
from wardround.federation.coding import Coder
from wardround.federation.links import Link, Links

UNKNOWN = -1
PATIENCE = 3
"""A peer that let this many exchanges pass without an answer may have lost its state: it gets a snapshot."""


class Reached:
    """What the server knows of its ``peers``; ``versions``, ``settled`` and ``links`` as stored, in the peers' order."""

    def __init__(
        self,
        peers: Sequence[str],
        stored: tuple[Sequence[int], Sequence[int], Sequence[Link]],
        compress: Compress,
    ) -> None:
        versions, settled, links = stored
        known = versions or [UNKNOWN] * len(peers)
        self._versions = dict(zip(peers, known, strict=True))
        self._settled = dict(zip(peers, settled or [0] * len(peers), strict=True))
        self.links = Links(peers, links, compress)
        self._turn = {peer: number for number, peer in enumerate(peers)}
        self._missed: dict[str, int] = {}

    def versions(self) -> tuple[int, ...]:
        """To be stored; nothing where no peer holds any."""
        found = tuple(self._versions.values())
        return found if any(version != UNKNOWN for version in found) else ()

    def settled(self) -> tuple[int, ...]:
        """To be stored; nothing where no answer needed to settle."""
        found = tuple(self._settled.values())
        return found if any(found) else ()

    def settled_of(self, peer: str) -> int:
        """The exchange whose answer of ``peer`` entered the model last; 0: none known."""
        return self._settled[peer]

    def settle(self, peers: Iterable[str], exchange: int) -> None:
        """The answers of these to ``exchange`` have entered the model."""
        for peer in peers:
            self._settled[peer] = exchange

    def link(self, peer: str) -> int:
        """The peer's class: 0 where no class names it."""
        return self.links.of(peer)

    def holds(self, peer: str, held: Announced | None) -> None:
        """The peer has answered, so it has followed to the newest version."""
        self._missed.pop(peer, None)
        self.links.answered(peer)
        if held is not None:
            self._versions[peer] = held.version

    def missed(self, peers: Iterable[str]) -> tuple[str, ...]:
        """These did not answer; returns those that may have lost their state."""
        lost, peers = [], tuple(peers)
        self.links.missed(peers)
        for peer in peers:
            self._missed[peer] = self._missed.get(peer, 0) + 1
            if self._missed[peer] >= PATIENCE:
                self._versions[peer] = UNKNOWN
                lost.append(peer)
        return tuple(lost)

    def forget(self, peers: Iterable[str]) -> None:
        """These may hold nothing any more."""
        for peer in peers:
            self._versions[peer] = UNKNOWN

    def groups(self, peers: Sequence[str]) -> list[tuple[tuple[int | None, int, int], tuple[str, ...]]]:
        """((version or None, class, settled), peers): who gets the same message, in the order of the peers."""
        found: dict[tuple[int | None, int, int], list[str]] = {}
        for peer in peers:
            version = self._versions[peer]
            key = (None if version == UNKNOWN else version, self.link(peer), self._settled[peer])
            found.setdefault(key, []).append(peer)
        return [(key, tuple(same)) for key, same in found.items()]

    def due(self, reachable: Sequence[str], round_: int, coder: Coder | None, minimum: int) -> tuple[str, ...]:
        """Those of ``reachable`` whose turn it is; all of them where fewer than ``minimum`` would be left."""
        if coder is None:
            return tuple(reachable)
        here = tuple(p for p in reachable if (round_ + self._turn[p]) % coder.links[self.link(p)].every == 0)
        return here if len(here) >= minimum else tuple(reachable)
