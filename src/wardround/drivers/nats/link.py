"""What both ends share: a connection that never gives up, and JetStream's answers read with care."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import nats
from nats.aio.client import Client as Connection
from nats.aio.client import Srv
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport

from wardround.drivers.nats.keys import KeyFolder
from wardround.errors import UsageError

logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it remarks on every TLS connection that ends
RECONNECT_S = 0.2
CONNECT_S = 2.0
ANSWER_S = 5.0
CLOSE_S = 10.0
Callback = Callable[[], Awaitable[None]]
T = TypeVar("T")


class LinkError(Exception):
    """The broker is away or did not do what was asked: worth trying again."""


class Line(Connection):
    """A connection that says when it was lost (who waits for an answer over it need not wait for the time-out), that leaves no
    socket behind, and that is closed soon, whatever state the line is in.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost = asyncio.Event()
        self._ends = False

    async def was_lost(self) -> None:
        self.lost.set()
        self.lost = asyncio.Event()

    async def close(self) -> None:
        """Close, within CLOSE_S: the end of a TLS session waits for a peer that may be gone (asyncio gives it half a minute)."""
        self._ends = True
        closing = asyncio.ensure_future(super().close())
        done, _ = await asyncio.wait({closing}, timeout=CLOSE_S)
        self._abandon()
        if done:
            closing.result()
        else:
            closing.cancel()

    async def _connect_to_server(self, s: Srv) -> None:
        """One try. nats-py 2.16 overwrites the connection of the try before, and a broker that accepts and then says nothing
        would cost a socket per try: that one is dropped first. A reconnection under way may swallow the cancellation by which
        it is closed (nats-py takes it for a time-out), try for ever and keep the process from ending: it is cancelled again.
        """
        self._abandon()
        if self._ends:
            raise asyncio.CancelledError
        await super()._connect_to_server(s)

    async def _process_connect_init(self) -> None:
        """The greeting. A try that ends after the line was closed is undone: nats-py 2.16 would call itself connected, and begins
        tasks that nobody ends any more.
        """
        await super()._process_connect_init()
        if not self._ends:
            return
        for task in (self._reading_task, self._ping_interval_task, self._flusher_task):
            if task is not None:
                task.cancel()
        self._abandon()
        self._status = Connection.CLOSED
        raise asyncio.CancelledError

    def _abandon(self) -> None:
        """Drop what is connected, without the farewell of TLS. Dropping what is closed already does nothing."""
        if isinstance(self._transport, TcpTransport):
            for writer in (self._transport._io_writer, self._transport._bare_io_writer):
                if writer is not None:
                    writer.transport.abort()


async def connect(servers: list[str], keys: KeyFolder, owner: str, on_back: Callback) -> Line:
    """A connection as ``owner`` that reconnects for ever; ``on_back`` runs after each reconnect.

    Raises:
        UsageError: a key is missing, or the broker refuses it.
        LinkError: no broker answers yet.
    """
    connection = Line()
    options: dict[str, Any] = {
        "servers": servers,
        "nkeys_seed_str": keys.seed(owner),
        "tls": keys.client_tls(),
        "name": owner,
        "reconnect_time_wait": RECONNECT_S,
        "max_reconnect_attempts": -1,
        "connect_timeout": CONNECT_S,
        "reconnected_cb": on_back,
        "disconnected_cb": connection.was_lost,
        "error_cb": _quiet,
        "ping_interval": 10,
        "max_outstanding_pings": 2,
    }
    try:
        await connection.connect(**{**options, "max_reconnect_attempts": -1, "allow_reconnect": False})
    except (nats.errors.Error, OSError, TimeoutError) as error:
        await connection.close()
        if "authorization" in str(error).lower():
            raise UsageError(
                f"the broker refuses the key of {owner}: its public key is not in the roster; see wardround keys"
            ) from error
        raise LinkError(str(error)) from error
    except asyncio.CancelledError:  # something that is no broker listens there, and says nothing
        await connection.close()
        raise
    connection.options["allow_reconnect"] = True  # only the first connection may fail: its reason should be seen
    return connection


async def request(connection: Line, subject: str, data: bytes = b"", within: float = ANSWER_S) -> Msg:
    """One request, one answer.

    Raises:
        LinkError: no answer.
    """
    if not connection.is_connected:
        raise LinkError(f"{subject}: the broker is away")
    try:
        return await while_up(connection, connection.request(subject, data, timeout=within))
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise LinkError(f"{subject}: {type(error).__name__}") from error


async def while_up(connection: Line, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives; its answer is not waited for once the connection that it was asked over is gone.

    Raises:
        LinkError: the broker went away meanwhile.
    """
    asked, lost = asyncio.ensure_future(work), asyncio.ensure_future(connection.lost.wait())
    try:
        await asyncio.wait({asked, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            raise LinkError("the broker went away")
        return asked.result()
    finally:
        for each in (asked, lost):
            each.cancel()


def found(message: Msg) -> bytes | None:
    """The content of a direct-get answer, None where the stream holds nothing there.

    Raises:
        LinkError: the broker reports a fault.
    """
    status = (message.headers or {}).get("Status")
    if status == "404":
        return None
    if status is not None:
        raise LinkError(f"the broker answers {status}")
    return message.data


def stored(message: Msg) -> None:
    """Check JetStream's word that a message is stored.

    Raises:
        LinkError: it is not.
    """
    try:
        word = json.loads(message.data)
    except ValueError as error:
        raise LinkError("the broker's word is not JSON") from error
    if "error" in word or "seq" not in word:
        raise LinkError(f"not stored: {word.get('error', word)}")


async def _quiet(error: Exception) -> None:
    """Faults of the connection show as LinkError where something was asked, and as absence from the roll."""
    del error
