"""Layer 1's handshake over a Grid: who claims to be a peer proves it, or is not let in.

    Invitation -> M1   KnockReply(M2) -> M3   (or a retry -> M1 once more)

Two messages per claim where all is well, those of all claims side by side; two claims to one peer one after the other, and the
first that holds is taken. A peer whose session ended, or who failed to answer, proves itself again before it is asked again.
"""

from __future__ import annotations

from collections.abc import Iterable

from wardround.drivers.flower import frames
from wardround.drivers.flower.exchange import Out, Talk
from wardround.drivers.parties.secured import Invitation, KnockReply, ServerGuard
from wardround.errors import RemoteProtocolError
from wardround.events import Emit, Note
from wardround.wire import decode, encode

LEGS = 5  # M1, three retries at most, M3
AGAIN_S = 10.0  # a claim that did not hold is heard again after so long, after the next failure twice as long
LONGEST_S = 3600.0


class Door:
    """Lets in who can prove it to ``guard``."""

    def __init__(self, guard: ServerGuard, talk: Talk, emit: Emit) -> None:
        self._guard, self._talk, self._emit = guard, talk, emit
        self._proved: dict[str, int] = {}
        self._again: dict[tuple[str, int], tuple[float, float]] = {}  # failed claims: when heard again, the pause

    def doubt(self, peers: Iterable[str]) -> None:
        """They did not answer as they should: they prove themselves again."""
        for peer in peers:
            self._proved.pop(peer, None)

    def let_in(self, claims: dict[str, list[int]]) -> dict[str, int]:
        """peer -> the node that proved to be it; ``claims``: peer -> nodes that say so."""
        live = self._guard.end.live
        self._proved = {p: n for p, n in self._proved.items() if n in claims.get(p, ()) and live(p)}
        now = self._talk.clock.ticks()
        # a node that is gone for longer than its pause is forgotten: what is remembered stays as small as what is claimed
        self._again = {c: when for c, when in self._again.items() if c[1] in claims.get(c[0], ()) or now < when[0]}
        open_ = {p: self._due(p, nodes) for p, nodes in claims.items() if p not in self._proved}
        for wave in range(max(map(len, open_.values()), default=0)):
            asked = {p: nodes[wave] for p, nodes in open_.items() if wave < len(nodes) and p not in self._proved}
            self._prove(asked)
        return dict(self._proved)

    def _due(self, peer: str, nodes: list[int]) -> list[int]:
        """The nodes whose claim is to be heard now."""
        if not self._guard.end.allowed(peer):
            return []
        now = self._talk.clock.ticks()
        return [n for n in nodes if (peer, n) not in self._again or now >= self._again[peer, n][0]]

    def _failed(self, peer: str, node: int) -> None:
        """Its next chance comes later each time: one that never answers may not hold up every exchange."""
        pause = min(LONGEST_S, 2 * self._again[peer, node][1] if (peer, node) in self._again else AGAIN_S)
        self._again[peer, node] = self._talk.clock.ticks() + pause, pause

    def _prove(self, asked: dict[str, int]) -> None:
        said: dict[str, Invitation | KnockReply] = dict.fromkeys(asked, self._guard.invite())
        for _ in range(LEGS):
            out = [
                Out(p, asked[p], frames.KNOCK, frames.request(frames.Request("", encode(word), p)))
                for p, word in said.items()
            ]
            replies, said = self._talk.exchange("knock", out), {}
            for each in out:
                try:
                    knock = decode(frames.read_reply(replies.get(each.key)), frames.Knock)
                except RemoteProtocolError as error:
                    self._emit(Note("node.refused", f"node {each.node} is not taken for {each.key}: {error}"))
                    self._failed(each.key, each.node)
                    continue
                word, stands = self._guard.knock(each.key, knock.data)
                if stands:
                    self._proved[each.key] = each.node
                    self._again.pop((each.key, each.node), None)
                elif word.data and not word.refused:
                    said[each.key] = word
                else:
                    self._failed(each.key, each.node)
            if not said:
                return
