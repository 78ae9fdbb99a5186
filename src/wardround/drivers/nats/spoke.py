"""A gateway's end of the broker: seven names in an account of its own (brokerconfig.py), outbound connections only."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace

import nats
from nats.aio.msg import Msg

from wardround.drivers.nats.envelope import Notice, Presence, answer_parts, join
from wardround.drivers.nats.keys import KeyFolder
from wardround.drivers.nats.link import Line, LinkError, connect, found, request, stored
from wardround.drivers.parties.secured import DeviceGuard, Invitation, KnockReply
from wardround.drivers.store.state import DiskError
from wardround.errors import RemoteProtocolError
from wardround.wire import decode, encode

WINDOW = 4  # parts of a body that are under way at a time
CATCH_UP_S = (0.05, 0.2, 0.5)
TRIPS = 16
"""So many of the last round trips are remembered; the shortest is the link's delay."""


class Spoke:
    """The gateway ``owner``'s connection. The newest notice is what counts: an older one is never worth handling."""

    def __init__(self, owner: str, guard: DeviceGuard | None = None) -> None:
        self._owner, self._guard = owner, guard
        self._knocking = asyncio.Lock()
        self._connection: Line | None = None
        self._newest: Notice | None = None
        self._news = asyncio.Event()
        self._back = asyncio.Event()
        self._catching_up: asyncio.Task[None] | None = None
        self.refused = 0
        self._trips: deque[float] = deque(maxlen=TRIPS)  # what a round trip took lately
        self.sent_ms = -1  # how long the last answer was on the way

    async def open(self, servers: list[str], keys: KeyFolder) -> None:
        """Connect and take up the last notice.

        Raises:
            UsageError: a key is missing or refused. LinkError: the broker does not answer.
        """
        self._connection = await connect(servers, keys, self._owner, self._on_back)
        await self._connection.subscribe("ask", cb=self._on_ask)
        await self._connection.subscribe("invite", cb=self._on_invite)
        await self._connection.flush()
        await self._catch_up()

    async def close(self) -> None:
        if self._catching_up is not None:
            self._catching_up.cancel()
        if self._connection is not None:
            await self._connection.close()

    def connected(self) -> bool:
        return self._connection is not None and self._connection.is_connected

    async def notice(self) -> Notice:
        """The newest notice, as soon as there is one that was not handed out."""
        while self._newest is None:
            self._news.clear()
            await self._news.wait()
        notice, self._newest = self._newest, None
        return notice

    async def rest(self, seconds: float) -> None:
        """Wait before another try; less where the connection comes back before."""
        self._back.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._back.wait(), seconds)

    def superseded(self, notice: Notice) -> bool:
        """Is there a newer notice of another turn or run?"""
        newest = self._newest
        return newest is not None and (newest.run, newest.turn) != (notice.run, notice.turn)

    def drop_repeat(self, notice: Notice) -> None:
        """Forget a repetition of ``notice`` that came while it was being handled."""
        if self._newest == notice:
            self._newest = None

    async def body(self, notice: Notice) -> bytes | None:
        """The ask's encoded message, or None where the broker holds it no longer (its turn is over).

        Raises:
            LinkError: the broker is away. RemoteProtocolError: what it holds is not what the notice names, or not sealed for
                this gateway.
        """
        pieces: list[bytes] = []
        for first in range(0, notice.parts, WINDOW):
            numbers = range(first, min(first + WINDOW, notice.parts))
            for piece in await asyncio.gather(*[self._piece(notice, i) for i in numbers]):
                if piece is None:
                    return None
                pieces.append(piece)
        data = join(pieces, notice.digest)
        return data if self._guard is None else self._guard.open(notice.record, data)

    async def _piece(self, notice: Notice, number: int) -> bytes | None:
        """A part of the body; asked for again for a moment, because in a cluster a copy may not have caught up yet."""
        for wait in CATCH_UP_S:
            piece = found(await request(self._nats, f"body.{notice.body}.{number}"))
            if piece is not None or self.superseded(notice):
                return piece
            await asyncio.sleep(wait)
        return None

    async def answer(self, run: str, turn: int, body: bytes) -> None:
        """Send an answer; it is stored when this returns.

        Raises:
            LinkError, DiskError: it may not be stored; sending again is safe.
            RemoteProtocolError: the session changed since the ask was opened; it comes again.
        """
        if self._guard is not None:
            body = self._guard.seal(body)
        parts = answer_parts(run, turn, body)
        began = time.monotonic()
        for part in parts:
            stored(await request(self._nats, "answer", encode(part)))
        delay = len(parts) * min(self._trips, default=0.0)
        self.sent_ms = round(1000 * max(0.0, time.monotonic() - began - delay))

    async def here(self, presence: Presence) -> None:
        """Give a sign of life; where the broker is away nobody misses it."""
        if self._connection is None or not self._connection.is_connected:
            return
        if self._guard is not None:
            presence = replace(presence, session=self._guard.session)
        try:
            await self._connection.publish("here", encode(presence))
            began = time.monotonic()
            await self._connection.flush(2)
            self._trips.append(time.monotonic() - began)
        except (nats.errors.Error, OSError, TimeoutError):
            return

    @property
    def _nats(self) -> Line:
        if self._connection is None:
            raise LinkError("not connected")
        return self._connection

    async def _on_ask(self, message: Msg) -> None:
        self._take(message.data)

    async def _on_invite(self, message: Msg) -> None:
        """Authenticate: M1, M2, M3. What goes wrong ends this handshake; the next sign of life brings another invitation."""
        if self._guard is None or self._knocking.locked():
            return
        async with self._knocking:
            try:
                sent = self._guard.invited(decode(message.data, Invitation))
                while sent:
                    reply = decode((await request(self._nats, "knock", sent)).data, KnockReply)
                    if not reply.data and not reply.refused:
                        return
                    sent = self._guard.replied(reply)
            except (LinkError, DiskError, RemoteProtocolError) as error:
                self._guard.failed(error)

    async def _on_back(self) -> None:
        self._back.set()
        self._catching_up = asyncio.get_running_loop().create_task(self._catch_up())

    async def _catch_up(self) -> None:
        """Ask for the last notice: one message, however long this gateway was away."""
        try:
            last = found(await request(self._nats, "last"))
        except LinkError:
            return  # the coordinator repeats what stays unanswered
        if last is not None:
            self._take(last)

    def _take(self, data: bytes) -> None:
        try:
            self._newest = decode(data, Notice)
        except RemoteProtocolError:
            self.refused += 1
            return
        self._news.set()
