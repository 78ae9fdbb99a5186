"""Which node is which client: Flower numbers nodes at random, the federation numbers its clients.

A node that is not known yet is asked once (``query.hello``). What it answers is its own claim, as everything in Flower's
open-source engine is (design/0310): a client claimed by two nodes is left out, since nobody can say which is right.
"""

from __future__ import annotations

from wardround.drivers.flower import frames
from wardround.drivers.flower.exchange import Talk
from wardround.errors import RemoteProtocolError
from wardround.events import Emit, Note
from wardround.wire import decode, encode


class Nodes:
    """The nodes that are there, by the client they are."""

    def __init__(self, names: tuple[str, ...], talk: Talk, emit: Emit) -> None:
        self._names, self._talk, self._emit = names, talk, emit
        self._met: dict[int, str] = {}
        self._refused: set[int] = set()
        self._twice: set[str] = set()

    def here(self) -> tuple[dict[str, int], frozenset[str]]:
        """(client -> node in the clients' order, the clients met for the first time or on another node)."""
        ids = set(self._talk.grid.get_node_ids())
        self._met = {node: name for node, name in self._met.items() if node in ids}
        self._refused &= ids  # one that went away and comes back may have been mended
        strangers = sorted(ids - self._met.keys() - self._refused)
        fresh = self._greet(strangers) if strangers else frozenset()
        return self._single(), fresh

    def _greet(self, strangers: list[int]) -> frozenset[str]:
        content = frames.request("", encode(frames.Hello()))
        replies = self._talk.exchange(frames.HELLO, "hello", [(node, content) for node in strangers])
        fresh = set()
        for node in strangers:
            if node not in replies:
                continue  # silent: it is asked again when it is still there next time
            try:
                name = self._name(decode(frames.read_reply(replies[node]), frames.Greeting).index)
            except RemoteProtocolError as error:
                self._refused.add(node)
                self._emit(Note("node.refused", f"node {node}: {error}"))
            else:
                self._met[node] = name
                fresh.add(name)
        return frozenset(fresh)

    def _name(self, index: int) -> str:
        if not 0 <= index < len(self._names):
            raise RemoteProtocolError(f"its partition-id is {index}, there are clients 0 to {len(self._names) - 1}")
        return self._names[index]

    def _single(self) -> dict[str, int]:
        nodes: dict[str, list[int]] = {}
        for node, name in self._met.items():
            nodes.setdefault(name, []).append(node)
        twice = {name for name, claimed in nodes.items() if len(claimed) > 1}
        for name in sorted(twice - self._twice):
            self._emit(
                Note("node.twice", f"{name} is left out: nodes {sorted(nodes[name])} have the same partition-id")
            )
        self._twice = twice
        return {name: nodes[name][0] for name in self._names if name in nodes and name not in twice}
