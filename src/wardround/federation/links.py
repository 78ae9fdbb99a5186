"""Which class of link each peer is in: by its name, or by how fast its link was measured to be.

``[compress] class_clients`` puts names in a class for good. With ``class_speeds`` the other peers move between classes: a peer
whose link is slower than a class's speed is in that class, the slowest of those that fit.

    measured   a message of ``size`` bytes that the server counted took ``claimed`` seconds on the way, says the gateway, and
               ``waited`` seconds passed between ask and answer, says the server's clock. Used: size / min(claimed, waited), so
               nobody is slower than the server saw; ``claimed`` can make a link look fast only, and that ends with
    missed     two exchanges in a row without an answer put a peer one class down for 64 rounds at least, whatever it claims
    forgotten  after 64 rounds without a measurement a peer in a slow class is tried one class up

The speed is a moving average of logarithms (a quarter new). A peer moves up only when it is 1.25 times as fast as its class.
Classes move in ``choose`` alone, which the server calls between exchanges: all within one exchange hold one class.
Law: the classes are a function of the sequence of calls; ``kept`` restores them. What it does not do: measure (drivers).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from wardround.compress.table import DEFAULT, Compress
from wardround.wire import message

LEAST_BYTES = 1024
"""Shorter messages measure the delay of a link and not its speed."""
NEW = 0.25
BACK = 1.25
MISSES = 2
FRESH_ROUNDS = 64
FASTEST = 1e9


@message(0x4302)
@dataclass(frozen=True)
class Link:
    """A peer's link: class ``chosen`` (0: none of them), bytes per second (0: not known), rounds since the last measurement,
    exchanges missed in a row, rounds for which it is ``held`` from moving up.
    """

    chosen: int = 0
    speed: float = 0.0
    age: int = 0
    missed: int = 0
    held: int = 0


@dataclass(frozen=True)
class Moved:
    """A peer changed its class."""

    peer: str
    before: str
    after: str
    speed: float
    why: str

    @property
    def text(self) -> str:
        speed = f"{self.speed:,.0f} bytes/s" if self.speed else "speed not known"
        return f"{self.peer}: {self.before} -> {self.after} ({self.why}; {speed})"


class Links:
    """The links of ``peers``; ``kept`` as stored, in their order."""

    def __init__(self, peers: Sequence[str], kept: Sequence[Link], compress: Compress) -> None:
        self._names = (DEFAULT, *compress.classes)
        self._speeds = (math.inf, *compress.class_speeds)
        self._named = {peer: found for peer in peers if (found := named(peer, compress)) is not None}
        self._links = dict(zip(peers, kept or [Link()] * len(peers), strict=True))
        self._measures = bool(compress.class_speeds)

    def keep(self) -> tuple[Link, ...]:
        """To be stored; nothing where no class is chosen by speed, or nothing is known."""
        found = tuple(self._links.values())
        return found if any(link != Link() for link in found) else ()

    def of(self, peer: str) -> int:
        """The number of the peer's class, counted from 1; 0: none."""
        return self._named.get(peer, self._links.get(peer, _NOWHERE).chosen)

    def measured(self, peer: str, size: int, claimed: float, waited: float) -> None:
        """A message of ``size`` bytes was on the way; short ones, and seconds that are none, say nothing."""
        if peer not in self._links or not self._moves(peer) or size < LEAST_BYTES:
            return
        if not (math.isfinite(claimed) and claimed >= 0 and math.isfinite(waited) and waited > 0):
            return
        now = min(FASTEST, size / max(min(claimed, waited), size / FASTEST))
        link = self._links[peer]
        speed = math.exp((1 - NEW) * math.log(link.speed) + NEW * math.log(now)) if link.speed else now
        self._links[peer] = replace(link, speed=speed, age=0)

    def answered(self, peer: str) -> None:
        """The peer has answered an exchange."""
        if peer in self._links and self._links[peer].missed:
            self._links[peer] = replace(self._links[peer], missed=0)

    def missed(self, peers: Iterable[str]) -> None:
        """These were asked and did not answer in time."""
        for peer in peers:
            if peer in self._links and self._moves(peer):
                self._links[peer] = replace(self._links[peer], missed=self._links[peer].missed + 1)

    def choose(self) -> list[Moved]:
        """Once a round, while no exchange is open: who changes class."""
        return [moved for peer in self._links if self._moves(peer) and (moved := self._choose(peer)) is not None]

    def _moves(self, peer: str) -> bool:
        return self._measures and peer not in self._named

    def _choose(self, peer: str) -> Moved | None:
        known = self._links[peer]
        link = replace(known, age=known.age + 1, held=max(0, known.held - 1))
        chosen, why = self._fitting(link), "measured"
        if link.missed >= MISSES:
            chosen, why = self._slower(link.chosen), f"{link.missed} exchanges without an answer"
            link = replace(link, missed=0, held=FRESH_ROUNDS, age=0)
        elif link.chosen and link.age >= FRESH_ROUNDS:
            chosen, why = self._faster(link.chosen), f"not measured for {link.age} rounds"
            link = replace(link, speed=0.0, age=0)
        self._links[peer] = replace(link, chosen=chosen)
        if chosen == link.chosen:
            return None
        return Moved(peer, self._names[link.chosen], self._names[chosen], link.speed, why)

    def _fitting(self, link: Link) -> int:
        """The class of the speed as it is known; up only where it is well above what the present class is for."""
        if not link.speed:
            return link.chosen
        wanted = min(
            (number for number, limit in enumerate(self._speeds) if link.speed < limit), key=self._speeds.__getitem__
        )
        up = self._speeds[wanted] > self._speeds[link.chosen]
        stays = link.held or link.speed < BACK * self._speeds[link.chosen]
        return link.chosen if up and stays else wanted

    def _slower(self, chosen: int) -> int:
        below = [n for n, limit in enumerate(self._speeds) if limit < self._speeds[chosen]]
        return max(below, key=self._speeds.__getitem__, default=chosen)

    def _faster(self, chosen: int) -> int:
        above = [n for n, limit in enumerate(self._speeds) if limit > self._speeds[chosen]]
        return min(above, key=self._speeds.__getitem__, default=chosen)


_NOWHERE = Link()


def named(peer: str, compress: Compress) -> int | None:
    """The number of the first class whose pattern fits ``peer``, counted from 1; None: none does."""
    for number, pattern in enumerate(compress.class_clients, 1):
        if pattern and fnmatchcase(peer, pattern):
            return number
    return None
