"""The coordinator's end of the broker: the port (port.py) over three streams.

    WR_ASKS      one notice per gateway, the last; a gateway that was away for 50 rounds finds one
    WR_BODIES    the parts of the open turn's messages; each body once, however many gateways it goes to
    WR_ANSWERS   parts of answers, until the coordinator has stored what it made of them (``settle`` deletes them)

Replies come live, and after a restart or a reconnect once more from the stream; who repeats is told apart by the machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import PubAck, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from wardround.drivers.nats.brokerconfig import ANSWERS, ASKS, BODIES
from wardround.drivers.nats.envelope import Assembly, Notice, Part, Presence, digest_of, split
from wardround.drivers.nats.keys import KeyFolder
from wardround.drivers.nats.link import Line, LinkError, connect, while_up
from wardround.drivers.nats.port import Reply
from wardround.drivers.parties.names import COORDINATOR
from wardround.drivers.parties.secured import ServerGuard
from wardround.drivers.store.state import DiskError
from wardround.errors import RemoteProtocolError
from wardround.federation.step import Send
from wardround.wire import decode, encode

SILENT_BEATS = 3
FIRST_TURNS = 16  # of a run: set-up, whatever the sum
UNREAD_BYTES = (
    1 << 30
)  # answers waiting to be read in memory; beyond, the broker keeps them and they are asked for again
STREAMS = {
    ASKS: StreamConfig(name=ASKS, subjects=["wr.ask.*"], max_msgs_per_subject=1, allow_direct=True),
    BODIES: StreamConfig(name=BODIES, subjects=["wr.body.*.*"], max_msgs_per_subject=1, allow_direct=True),
    ANSWERS: StreamConfig(name=ANSWERS, subjects=["wr.answer.*"], allow_direct=True),
}


@dataclass(frozen=True)
class Holding:
    """``replicas`` of each stream; ``turns``: bodies of so many turns stay, for gateways that are slow to fetch them."""

    replicas: int = 1
    turns: int = 1


@dataclass
class Peer:
    """What is known of one gateway."""

    name: str
    token: str
    seen: float = float("-inf")
    last: Presence | None = None
    answer: Assembly = field(default_factory=Assembly)


class Hub:
    """The NATS port of one run; ``peers``: token by name, gateways and committee members."""

    def __init__(
        self,
        run: str,
        peers: Mapping[str, str],
        heartbeat_s: float,
        holding: Holding = Holding(),
        guard: ServerGuard | None = None,
    ) -> None:
        self._run, self._holding = run, holding
        self._silent_s = SILENT_BEATS * heartbeat_s
        self._peers = {name: Peer(name, its) for name, its in peers.items()}
        self._by_token = {peer.token: peer for peer in self._peers.values()}
        self._replies: asyncio.Queue[Reply] = asyncio.Queue()
        self._sent: dict[bytes, int] = {}  # bodies of the open turn: digest -> parts
        self._older: list[set[bytes]] = []  # bodies of turns before: digests
        self._turn = -1
        self._first = 0  # where the open turn's bodies begin in their stream
        self._tidying: set[asyncio.Task[None]] = set()
        self._guard = guard
        self._due: dict[str, bytes] = {}  # each peer's body of the open turn: told again where it authenticates anew
        self._claims: dict[str, tuple[int, float]] = {}
        self._connection: Line | None = None
        self.refused = 0

    async def open(self, servers: list[str], keys: KeyFolder) -> None:
        """Connect, make the streams, take up answers that wait.

        Raises:
            UsageError: a key is missing or refused. LinkError: no broker, or JetStream is off.
        """
        self._connection = await connect(servers, keys, COORDINATOR, self._back)
        try:
            await self._make_streams()
            await self._connection.subscribe("wr.here.*", cb=self._on_here)
            await self._connection.subscribe("wr.knock.*", cb=self._on_knock)
            await self._connection.subscribe("wr.answer.*", cb=self._on_answer, pending_bytes_limit=UNREAD_BYTES)
            await self._connection.flush()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise LinkError(f"the broker does not serve JetStream as it should: {error}") from error
        await self._catch_up()

    async def close(self) -> None:
        if self._tidying:
            await asyncio.wait(self._tidying, timeout=1.0)
        if self._connection is not None:
            await self._connection.close()

    async def send(self, turn: int, sends: Sequence[Send[Any]]) -> int:
        """Store the bodies, then a notice for each peer.

        Raises:
            LinkError: the broker did not store all of it; sending again is safe.
        """
        total = 0
        if not self.connected():
            raise LinkError("the broker is away")
        try:
            fresh = turn != self._turn
            gone = self._forgotten(turn) if fresh else None
            if fresh:
                self._turn, self._sent, self._due, self._first = turn, {}, {}, 0
            for each in sends:
                total += await self._carry(turn, encode(each.message), each.peers)
            if fresh:
                self._later(self._forget(gone))
        except (nats.errors.Error, OSError, TimeoutError, DiskError, LinkError) as error:
            self._sent.clear()  # what the broker has is not known: store the bodies again
            raise LinkError(f"sending failed: {type(error).__name__}: {error}") from error
        return total

    async def reply(self, within: float) -> Reply | None:
        if not self._replies.empty():
            return self._replies.get_nowait()
        try:
            return await asyncio.wait_for(self._replies.get(), within)
        except TimeoutError:
            return None

    async def settle(self) -> None:
        """Delete all answers, while the next turn begins: one that is deleted too early was delivered before, and is asked
        for again should this process die just then.

        Raises:
            LinkError: the broker is away; they will come once more, and be refused as late.
        """
        if not self.connected():
            raise LinkError("the broker is away")
        try:
            if self._guard is not None:
                self._guard.settle()
        except DiskError as error:
            raise LinkError(f"sessions cannot be stored: {error}") from error
        self._later(self._js.purge_stream(ANSWERS))

    def present(self) -> frozenset[str]:
        """Peers that gave a sign of life lately, are not leaving, and may take part."""
        limit, guard = time.monotonic() - self._silent_s, self._guard
        here = [p.name for p in self._peers.values() if p.seen > limit and not (p.last and p.last.leaving)]
        return frozenset(name for name in here if guard is None or guard.may(name))

    def barred(self) -> frozenset[str]:
        """Peers that were cut off since the exchange opened: their answers would be refused."""
        return self._guard.barred if self._guard else frozenset()

    def claims(self) -> Mapping[str, tuple[int, float]]:
        found, self._claims = self._claims, {}
        return found

    def connected(self) -> bool:
        return self._connection is not None and self._connection.is_connected

    def roll(self) -> list[dict[str, object]]:
        """Every gateway for `wardround status`: name, here, seconds since its last sign, turn, busy, version."""
        now, here = time.monotonic(), self.present()
        return [
            {
                "name": p.name,
                "token": p.token,
                "here": p.name in here,
                "silent_s": round(now - p.seen, 1) if p.last else None,
                "turn": p.last.turn if p.last else None,
                "busy": p.last.busy if p.last else None,
                "version": p.last.version if p.last else None,
            }
            for p in self._peers.values()
        ]

    @property
    def _js(self) -> JetStreamContext:
        if self._connection is None:
            raise LinkError("not connected")
        return self._connection.jetstream()

    async def _back(self) -> None:
        """After a reconnect: the broker may have lost its disk, and its streams with it."""
        with suppress(nats.errors.Error, OSError, TimeoutError, LinkError):
            await self._make_streams()
        await self._catch_up()

    async def _make_streams(self) -> None:
        for config in STREAMS.values():
            await self._make(replace(config, num_replicas=self._holding.replicas))

    async def _make(self, config: StreamConfig) -> None:
        """Make a stream, or give one that is there already its number of copies."""
        try:
            await self._js.add_stream(config)
        except BadRequestError as refused:
            try:
                await self._js.update_stream(config)
            except NotFoundError:  # it was not the number of copies: a cluster that is not whole yet, no room
                raise refused from None

    def _forgotten(self, turn: int) -> set[bytes] | None:
        """Bodies that nobody fetches any more when ``turn`` begins; None: those of every turn before it."""
        if turn < FIRST_TURNS or self._holding.turns == 1:
            return None
        self._older.append(set(self._sent))
        return self._older.pop(0) - set().union(*self._older) if len(self._older) >= self._holding.turns else set()

    async def _forget(self, gone: set[bytes] | None) -> None:
        """Delete them, and nothing that the open turn has stored."""
        if gone is None and self._first > 1:  # before 1 there is nothing, and nats-server 2.9 takes 1 for "all"
            await self._js.purge_stream(BODIES, seq=self._first)
        for digest in (gone or set()) - set(self._sent):
            await self._js.purge_stream(BODIES, subject=f"wr.body.{digest.hex()[:32]}.*")

    async def _carry(self, turn: int, body: bytes, peers: Sequence[str]) -> int:
        """Store one body and tell ``peers`` of it; bytes sent. Who has no live session is invited first and told then."""
        if self._guard is None:
            notice = await self._store_body(turn, body)
            told = [(f"wr.ask.{self._peers[peer].token}", encode(notice)) for peer in peers]
        else:
            sealed = self._guard.body(turn, body)
            records = [(peer, self._guard.record(peer, sealed)) for peer in peers]
            self._due |= dict.fromkeys(peers, body)
            self._guard.store()
            body, notice = sealed.data, await self._store_body(turn, sealed.data)
            told = [
                (f"wr.ask.{self._peers[peer].token}", encode(replace(notice, record=record)))
                for peer, record in records
                if record is not None
            ]
            for peer, record in records:
                if record is None:
                    await self._invite(self._peers[peer])
        await self._gather(told)
        return sum(len(body) + len(data) for _, data in told)

    async def _store_body(self, turn: int, body: bytes) -> Notice:
        """Store a body unless this turn stored it already; returns its notice."""
        digest, pieces = digest_of(body), split(body)
        notice = Notice(self._run, turn, digest, len(pieces))
        if digest not in self._sent or not await self._holds(notice):
            stored = await self._gather([(f"wr.body.{notice.body}.{i}", piece) for i, piece in enumerate(pieces)])
            self._first = self._first or min(ack.seq for ack in stored)
            self._sent[digest] = len(pieces)
        return notice

    async def _holds(self, notice: Notice) -> bool:
        """Does the broker still hold the body? (Its disk may have been lost since.)"""
        try:
            await self._js.get_last_msg(BODIES, f"wr.body.{notice.body}.{notice.parts - 1}", direct=True)
        except NotFoundError:
            return False
        return True

    async def _gather(self, messages: Sequence[tuple[str, bytes]]) -> list[PubAck]:
        """Publish all and wait until JetStream has stored each."""
        js, connection = self._js, self._connection

        async def all_of_them() -> list[PubAck]:
            return await asyncio.gather(*[js.publish(subject, data) for subject, data in messages])

        return await while_up(connection, all_of_them()) if connection else []

    def _later(self, work: Coroutine[Any, Any, object]) -> None:
        """Tidy up while gateways work: nothing depends on it."""

        async def quietly() -> None:
            with suppress(nats.errors.Error, OSError, TimeoutError, LinkError):
                await work

        task = asyncio.get_running_loop().create_task(quietly())
        self._tidying.add(task)
        task.add_done_callback(self._tidying.discard)

    async def _catch_up(self) -> None:
        """Read the answers that the stream holds: those that came while nobody listened."""
        try:
            state = (await self._js.stream_info(ANSWERS)).state
            for seq in range(max(state.first_seq, 1), state.last_seq + 1):
                try:
                    message = await self._js.get_msg(ANSWERS, seq, direct=True)
                except NotFoundError:
                    continue
                self._take(message.subject or "", message.data or b"")
        except (nats.errors.Error, OSError, TimeoutError, LinkError):
            return  # away again: the next reconnect tries again, and gateways are asked again in any case

    async def _on_here(self, message: Msg) -> None:
        peer = self._by_token.get(message.subject.rpartition(".")[2])
        if peer is None:
            return
        try:
            peer.last = decode(message.data, Presence)
        except RemoteProtocolError:
            self.refused += 1
            return
        peer.seen = time.monotonic()
        if peer.last.run == self._run and peer.last.sent_ms >= 0:
            self._claims[peer.name] = peer.last.turn, peer.last.sent_ms / 1000
        await self._invite(peer)

    async def _invite(self, peer: Peer) -> None:
        """Invite a peer to authenticate where it must."""
        if self._guard is None or self._connection is None:
            return
        invitation = self._guard.invitation(peer.name, peer.last.session if peer.last else b"")
        if invitation is not None:
            with suppress(nats.errors.Error):
                await self._connection.publish(f"wr.invite.{peer.token}", encode(invitation))

    async def _on_knock(self, message: Msg) -> None:
        peer = self._by_token.get(message.subject.rpartition(".")[2])
        if peer is None or self._guard is None:
            return
        peer.seen = time.monotonic()
        try:
            reply, stands = self._guard.knock(peer.name, message.data)
            await message.respond(encode(reply))
            if stands and peer.name in self._due:
                await self._carry(self._turn, self._due[peer.name], [peer.name])
        except (nats.errors.Error, OSError, TimeoutError, LinkError, DiskError):
            return  # away again: the coordinator repeats what stays unanswered

    async def _on_answer(self, message: Msg) -> None:
        self._take(message.subject, message.data)

    def _take(self, subject: str, data: bytes) -> None:
        peer = self._by_token.get(subject.rpartition(".")[2])
        if peer is None:
            return
        try:
            part = decode(data, Part)
            body = peer.answer.add(part) if part.run == self._run else None
            if body is not None and self._guard is not None:
                body = self._guard.opened(peer.name, part.turn, body)
        except RemoteProtocolError:
            self.refused += 1
            return
        peer.seen = time.monotonic()
        if body is not None:
            self._replies.put_nowait(Reply(peer.name, part.turn, body))
