"""One end of a line, towards something that listens where the broker was and never finishes its greeting."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from wardround.drivers.nats.keys import KeyFolder, make
from wardround.drivers.nats.link import Line, LinkError, connect

TRY_S = 0.1
PATIENCE_S = 30.0


class Greeter:
    """A broker as far as its greeting; ``healthy``: it answers PINGs as well, once ``may`` is set. Counts connections, those
    that ended, and PINGs.
    """

    def __init__(self, keys: KeyFolder, tls: bool) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(keys.certificate, keys.private)
        self.tls, self.healthy = tls, True
        self.may = asyncio.Event()
        self.may.set()
        self.came = self.went = self.pinged = 0
        self.open: list[asyncio.StreamWriter] = []

    async def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        self.open.append(writer)
        with suppress(OSError):
            if self.healthy or self.tls:
                info = {
                    "server_id": "X",
                    "max_payload": 1 << 20,
                    "tls_required": True,
                    "nonce": "n",
                    "auth_required": True,
                }
                writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
                await writer.start_tls(self.context)
            while line := await reader.readline():
                if line.startswith(b"PING") and self.healthy:
                    self.pinged += 1
                    await self.may.wait()
                    writer.write(b"PONG\r\n")
        self.went += 1
        writer.transport.abort()

    def drop(self) -> None:
        """From now on nobody hears more than silence."""
        self.healthy = False
        for writer in self.open:
            writer.transport.abort()


async def nothing() -> None:
    return


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE_S / 0.02)):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it does not happen")


def with_line(folder: Path, tls: bool, work: Callable[[Line, Greeter], Awaitable[None]]) -> None:
    keys = KeyFolder(folder / "keys")
    make(keys, ["ward"], ["127.0.0.1"])
    greeter = Greeter(keys, tls)

    async def go() -> None:
        server = await asyncio.start_server(greeter.greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        line = await connect([f"tls://127.0.0.1:{port}"], keys, "g00000", nothing)
        line.options.update(connect_timeout=TRY_S, reconnect_time_wait=0.01)
        async with asyncio.timeout(4 * PATIENCE_S):
            await work(line, greeter)
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=PATIENCE_S)
        assert not asyncio.all_tasks() - {asyncio.current_task()}, "a task outlives the line"

    asyncio.run(go())


@pytest.mark.parametrize("tls", [False, True], ids=["before TLS", "inside TLS"])
def test_a_try_that_failed_leaves_no_socket(tmp_path: Path, tls: bool) -> None:
    async def work(line: Line, greeter: Greeter) -> None:
        greeter.drop()
        await until(lambda: greeter.came >= 6)
        await until(lambda: greeter.came - greeter.went <= 1)
        await line.close()
        await until(lambda: greeter.came == greeter.went)

    with_line(tmp_path, tls, work)


@pytest.mark.parametrize("tls", [False, True], ids=["before TLS", "inside TLS"])
def test_a_line_closed_in_the_middle_of_a_try_stays_closed(tmp_path: Path, tls: bool) -> None:
    async def work(line: Line, greeter: Greeter) -> None:
        greeter.drop()
        await until(lambda: greeter.came >= 3)
        await line.close()
        tried = greeter.came
        await until(lambda: greeter.came == greeter.went)
        await asyncio.sleep(5 * TRY_S)
        assert greeter.came <= tried + 1  # one that was on its way

    with_line(tmp_path, tls, work)


def test_a_reconnection_that_swallows_its_cancellation_is_cancelled_again(tmp_path: Path) -> None:
    """nats-py takes a cancellation that comes as a try times out for the time-out."""

    async def work(line: Line, greeter: Greeter) -> None:
        greeter.drop()
        await until(lambda: greeter.came >= 3)
        task: Any = line._reconnection_task
        line._reconnection_task = None  # as if close had cancelled it, in vain
        await line.close()
        await asyncio.wait({task}, timeout=PATIENCE_S)
        assert task.done()
        assert not line.is_connected

    with_line(tmp_path, False, work)


@pytest.mark.parametrize("tls", [False, True], ids=["before TLS", "inside TLS"])
def test_a_first_connection_that_fails_leaves_no_socket(
    tmp_path: Path, tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wardround.drivers.nats.link.CONNECT_S", TRY_S)
    keys = KeyFolder(tmp_path / "keys")
    make(keys, ["ward"], ["127.0.0.1"])
    greeter = Greeter(keys, tls)
    greeter.healthy = False

    async def go() -> None:
        server = await asyncio.start_server(greeter.greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(LinkError):
            await connect([f"tls://127.0.0.1:{port}"], keys, "g00000", nothing)
        await until(lambda: greeter.came == greeter.went == 1)
        server.close()

    asyncio.run(go())


def test_a_try_that_ends_well_after_the_line_was_closed_is_undone(tmp_path: Path) -> None:
    async def work(line: Line, greeter: Greeter) -> None:
        line.options["connect_timeout"] = PATIENCE_S
        greeter.may.clear()
        greeter.drop()
        greeter.healthy = True
        before = greeter.pinged
        await until(lambda: greeter.pinged > before)  # a try has come as far as its last question
        task: Any = line._reconnection_task
        line._reconnection_task = None  # as if close had cancelled it, in vain
        closing = asyncio.ensure_future(line.close())
        await until(lambda: line._ends)
        greeter.may.set()
        await closing
        await asyncio.wait({task}, timeout=PATIENCE_S)
        assert task.done()
        assert not line.is_connected
        assert line.is_closed

    with_line(tmp_path, True, work)
