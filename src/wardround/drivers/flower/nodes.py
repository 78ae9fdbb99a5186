"""Which node is whom: Flower numbers nodes at random, the federation numbers its clients, and a committee has members.

A node that is not known yet is asked once (``query.hello``). What it answers is its own claim, as everything in Flower's
open-source engine is (design/0310): without layer 1 a peer claimed by two nodes is left out, since nobody can say which is right.
With layer 1 who claims must prove it (door.py), and the one that can is taken.
"""

from __future__ import annotations

from collections.abc import Callable

from wardround.drivers.flower import frames
from wardround.drivers.flower.door import Door
from wardround.drivers.flower.exchange import Out, Talk
from wardround.errors import RemoteProtocolError
from wardround.events import Emit, Note
from wardround.wire import decode, encode


class Nodes:
    """The nodes that are there, by the peer they are. ``peers``: everybody's name in order; ``parts``: what a greeting claims."""

    def __init__(
        self,
        peers: tuple[str, ...],
        parts: Callable[[frames.Greeting], tuple[str, ...]],
        talk: Talk,
        emit: Emit,
        door: Door | None = None,
    ) -> None:
        self._peers, self._parts, self._talk, self._emit, self._door = peers, parts, talk, emit, door
        self._met: dict[int, tuple[str, ...]] = {}
        self._refused: set[int] = set()
        self._twice: set[str] = set()

    def here(self) -> tuple[dict[str, int], frozenset[str]]:
        """(peer -> node in the peers' order, the peers met for the first time or on another node)."""
        ids = set(self._talk.grid.get_node_ids())
        self._met = {node: its for node, its in self._met.items() if node in ids}
        self._refused &= ids  # one that went away and comes back may have been mended
        strangers = sorted(ids - self._met.keys() - self._refused)
        fresh = self._greet(strangers) if strangers else frozenset()
        found = self._single() if self._door is None else self._door.let_in(self._claims())
        return {peer: found[peer] for peer in self._peers if peer in found}, fresh

    def _greet(self, strangers: list[int]) -> frozenset[str]:
        content = frames.request(frames.Request("", encode(frames.Hello())))
        replies = self._talk.exchange("hello", [Out(node, node, frames.HELLO, content) for node in strangers])
        fresh: set[str] = set()
        for node in strangers:
            if node not in replies:
                continue  # silent: it is asked again when it is still there next time
            try:
                its = self._parts(decode(frames.read_reply(replies[node]), frames.Greeting))
            except RemoteProtocolError as error:
                self._refused.add(node)
                self._emit(Note("node.refused", f"node {node}: {error}"))
            else:
                self._met[node] = its
                fresh |= set(its)
        return frozenset(fresh)

    def _claims(self) -> dict[str, list[int]]:
        claims: dict[str, list[int]] = {}
        for node, its in sorted(self._met.items()):
            for peer in its:
                claims.setdefault(peer, []).append(node)
        return claims

    def _single(self) -> dict[str, int]:
        claims = self._claims()
        twice = {peer for peer, nodes in claims.items() if len(nodes) > 1}
        for peer in sorted(twice - self._twice):
            self._emit(Note("node.twice", f"{peer} is left out: nodes {claims[peer]} have the same partition-id"))
        self._twice = twice
        return {peer: nodes[0] for peer, nodes in claims.items() if peer not in twice}
