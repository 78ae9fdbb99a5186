"""A process that was told to stop stops, whatever a library waits for."""

import asyncio
import subprocess
import sys

import pytest
from nats.aio.client import Client

from wardround.drivers.nats import link
from wardround.drivers.nats.ending import LATE, Ending

STUCK = """
import threading
from wardround.drivers.nats.ending import Ending
with Ending(0.3) as ending:
    ending.begin()
    ending.begin()
    threading.Event().wait()
"""


def test_who_does_not_end_is_ended() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], timeout=200, check=False)
    assert done.returncode == LATE


def test_an_end_in_time_calls_it_off() -> None:
    with Ending(3600.0) as ending:
        assert not ending._timer.is_alive(), "nothing runs before it is told to stop"
        ending.begin()
        assert ending._timer.is_alive()
    ending._timer.join(60)
    assert not ending._timer.is_alive()


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_line_is_closed_though_the_broker_never_says_goodbye(monkeypatch: pytest.MonkeyPatch, stubborn: bool) -> None:
    never = []

    async def close(self: Client) -> None:
        never.append(self)
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not stubborn or len(never) > 1:
                    raise
                never.append(self)

    monkeypatch.setattr(Client, "close", close)
    monkeypatch.setattr(link, "CLOSE_S", 0.01)

    async def go() -> None:
        await link.Line().close()

    asyncio.run(asyncio.wait_for(go(), 60))
    assert never


def test_what_goes_wrong_while_closing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def close(self: Client) -> None:
        raise ConnectionResetError("the line broke")

    monkeypatch.setattr(Client, "close", close)

    async def go() -> None:
        await link.Line().close()

    with pytest.raises(ConnectionResetError):
        asyncio.run(go())
