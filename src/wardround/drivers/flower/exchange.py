"""One exchange over a Grid: push, look for replies at our own interval, stop at the deadline.

Replies are found by the id of the message they answer: an error reply of the SuperLink itself names node 1 as its source, so
the source cannot be used. Flower's ``send_and_receive`` looks every 3 s only, so it is not used either.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

# Flower compares a message's age by two machines' clocks: a site's clock may be off by so much before its replies are dropped
SKEW_S = 300.0
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Clock:
    """``now``: the wall clock, for the log; ``ticks``: one that never jumps; both in seconds."""

    now: Callable[[], float]
    ticks: Callable[[], float]
    sleep: Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Out(Generic[K]):
    """One message: ``key`` is what its reply is asked for by, ``kind`` Flower's message type."""

    key: K
    node: int
    kind: str
    content: RecordDict


@dataclass(frozen=True)
class Talk:
    """Exchanges over ``grid`` that wait ``deadline_s`` and look for replies every ``poll_s``."""

    grid: Grid
    clock: Clock
    deadline_s: float
    poll_s: float

    def exchange(
        self, group: str, out: Sequence[Out[K]], gone: Callable[[], Collection[K]] = frozenset
    ) -> dict[K, Message]:
        """key -> its reply, for those that replied (with an error, too) before the deadline. Nobody waits for keys in ``gone``.

        A message lives little longer than the exchange: a node that comes back later does not work on it in vain.
        """
        waiting: dict[str, K] = {}
        replies: dict[K, Message] = {}
        end = self.clock.ticks() + self.deadline_s
        for each in out:
            message = Message(each.content, each.node, each.kind, ttl=self.deadline_s + SKEW_S, group_id=group)
            # one by one: a message that the SuperLink refuses (an empty list, or None) takes no other with it
            for message_id in self.grid.push_messages([message]):
                if message_id:
                    waiting[message_id] = each.key
        while waiting:
            for reply in self.grid.pull_messages(list(waiting)):
                message_id = reply.metadata.reply_to_message_id
                if message_id in waiting:
                    replies[waiting.pop(message_id)] = reply
            if not set(waiting.values()) - set(gone()) or self.clock.ticks() >= end:
                break
            self.clock.sleep(self.poll_s)
        return replies
