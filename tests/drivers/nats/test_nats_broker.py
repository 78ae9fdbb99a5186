"""The real broker: what a gateway can and cannot do there, bodies in parts, restarts."""

import asyncio
import os
import re
import shutil
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
import pytest

from wardround.drivers.nats import brokerconfig
from wardround.drivers.nats.broker import PrivateBroker
from wardround.drivers.nats.brokerconfig import Listen
from wardround.drivers.nats.envelope import PART_BYTES, Notice, Part, Presence, answer_parts, digest_of
from wardround.drivers.nats.hub import Hub
from wardround.drivers.nats.keys import KeyFolder, make, new_key
from wardround.drivers.nats.link import Line, LinkError, connect, request
from wardround.drivers.nats.spoke import Spoke
from wardround.drivers.parties.names import token
from wardround.errors import UsageError
from wardround.federation.messages import AskStatistics
from wardround.federation.step import Send
from wardround.wire import decode, encode

pytestmark = pytest.mark.skipif(
    shutil.which("nats-server", path=f"{os.environ['PATH']}:/usr/sbin") is None, reason="needs Debian's nats-server"
)

NAMES = ("ward a", "ward/b", "ward.c")
TOKENS = ["g00000", "g00001", "g00002"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Place:
    """A private broker with keys; ``servers`` for clients."""

    def __init__(self, folder: Path) -> None:
        self.keys = KeyFolder(folder / "keys")
        make(self.keys, NAMES, ["127.0.0.1"])
        self.port = free_port()
        self.servers = [f"tls://127.0.0.1:{self.port}"]
        self.folder = folder
        self.broker = PrivateBroker(Listen("127.0.0.1", self.port, folder / "js"), folder)

    def start(self) -> None:
        self.broker.start(self.keys, self.keys.roster(), TOKENS)

    async def gateway(self, owner: str) -> Line:
        return await connect(self.servers, self.keys, owner, nothing)


async def nothing() -> None:
    return


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("broker"))
    place.start()
    yield place
    place.broker.stop()


def with_hub(place: Place, work: Callable[[Hub], Awaitable[None]], run: str = "run 1") -> None:
    async def go() -> None:
        hub = Hub(run, {name: token(i) for i, name in enumerate(NAMES)}, 0.2)
        await hub.open(place.servers, place.keys)
        try:
            await work(hub)
        finally:
            await hub.close()

    asyncio.run(asyncio.wait_for(go(), 200))


def ask(exchange: int, size: int = 20_000) -> AskStatistics:
    return AskStatistics(exchange, "four" * size)


async def open_spoke(place: Place, owner: str) -> Spoke:
    spoke = Spoke(owner)
    await spoke.open(place.servers, place.keys)
    return spoke


@pytest.mark.parametrize("size", [10, 20_000, 3 * PART_BYTES // 4 + 7])
def test_an_ask_reaches_its_gateways_and_their_answers_come_back(place: Place, size: int) -> None:
    async def work(hub: Hub) -> None:
        spokes = [await open_spoke(place, t) for t in TOKENS[:2]]
        message = ask(3, size)
        assert await hub.send(3, [Send(NAMES[:2], message)]) > 2 * 4 * size
        for spoke in spokes:
            notice = await asyncio.wait_for(spoke.notice(), 40)
            while notice.turn != 3 or notice.run != "run 1":
                notice = await asyncio.wait_for(spoke.notice(), 40)
            body = await spoke.body(notice)
            assert body == encode(message)
            await spoke.answer(notice.run, 3, body)
        got = [await hub.reply(40), await hub.reply(40)]
        assert {r.peer for r in got if r} == set(NAMES[:2])
        assert all(r is not None and r.turn == 3 and r.body == encode(message) for r in got)
        await hub.settle()
        assert await hub.reply(0.05) is None
        for spoke in spokes:
            await spoke.close()

    with_hub(place, work)


def test_a_gateway_that_was_away_finds_one_notice_the_last(place: Place) -> None:
    async def work(hub: Hub) -> None:
        for exchange in range(100, 150):
            await hub.send(exchange, [Send(NAMES[2:], ask(exchange, 50))])
        spoke = await open_spoke(place, TOKENS[2])
        notice = await asyncio.wait_for(spoke.notice(), 40)
        assert notice.turn == 149
        body = await spoke.body(notice)
        assert body is not None
        assert decode(body, AskStatistics).exchange == 149
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(spoke.notice(), 0.2)
        await spoke.close()

    with_hub(place, work)


def test_answers_sent_while_no_coordinator_runs_wait_for_the_next(place: Place) -> None:
    async def work(hub: Hub) -> None:
        await hub.settle()

    async def then(hub: Hub) -> None:
        reply = await hub.reply(40)
        assert reply is not None
        assert (reply.peer, reply.turn, reply.body) == (NAMES[0], 9, b"late " * 300_000)
        await hub.settle()

    async def alone() -> None:
        spoke = await open_spoke(place, TOKENS[0])
        await spoke.answer("run 1", 9, b"late " * 300_000)
        await spoke.answer("another run", 9, b"not ours")
        await spoke.close()

    with_hub(place, work)
    asyncio.run(alone())
    with_hub(place, then)


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it does not happen")


def test_presence_comes_and_goes(place: Place) -> None:
    async def work(hub: Hub) -> None:
        spoke = await open_spoke(place, TOKENS[0])
        sign = Presence("0", "run 1", 4, False, False)
        await spoke.here(sign)
        await until(lambda: hub.present() == {NAMES[0]} and [r["here"] for r in hub.roll()] == [True, False, False])
        await until(lambda: hub.present() == frozenset())
        await spoke.here(sign)
        await spoke.here(Presence("0", "run 1", 4, False, True))
        await asyncio.sleep(0.1)
        assert hub.present() == frozenset()
        await spoke.close()

    with_hub(place, work)


def test_a_sign_of_life_says_how_long_the_last_answer_was_on_the_way(place: Place) -> None:
    async def work(hub: Hub) -> None:
        spoke = await open_spoke(place, TOKENS[0])
        sign = Presence("0", "run 1", 4, False, False)
        await spoke.here(replace(sign, sent_ms=spoke.sent_ms))  # nothing was sent
        await until(lambda: bool(hub.present()))
        assert hub.claims() == {}
        await spoke.answer("run 1", 4, b"x" * 2_000_000)
        assert spoke.sent_ms >= 0
        await spoke.here(replace(sign, sent_ms=spoke.sent_ms))
        await spoke.here(replace(sign, run="run 2", turn=9, sent_ms=5))
        await until(lambda: bool(hub._claims))
        assert hub.claims() == {NAMES[0]: (4, spoke.sent_ms / 1000)}
        assert hub.claims() == {}
        assert (await hub.reply(40)) is not None
        await hub.settle()  # the next test shares this broker
        assert await hub.reply(0.05) is None
        await spoke.close()

    with_hub(place, work)


def test_a_gateway_neither_reads_nor_writes_anothers_messages(place: Place) -> None:
    """Names that another gateway's messages have in the coordinator's account mean nothing in this one."""
    wanted = ["wr.ask.g00001", "wr.answer.g00001", "wr.here.g00001", "wr.ask.*", "wr.>", ">", "_INBOX.>", "$JS.>"]

    async def work(hub: Hub) -> None:
        spy, victim = await place.gateway(TOKENS[0]), await open_spoke(place, TOKENS[1])
        heard: list[str] = []

        async def hear(message: Any) -> None:
            heard.append(message.subject)

        for subject in wanted:
            await spy.subscribe(subject, cb=hear)
        await spy.flush()
        await hub.send(201, [Send(NAMES[1:2], ask(201, 10))])
        notice = await asyncio.wait_for(victim.notice(), 40)
        while notice.turn != 201:
            notice = await asyncio.wait_for(victim.notice(), 40)
        await victim.body(notice)
        await victim.answer("run 1", 201, b"secret")
        reply = await hub.reply(40)
        while reply is not None and reply.turn != 201:  # of the test before: nobody settled them
            reply = await hub.reply(40)
        assert reply is not None
        assert reply.body == b"secret"
        await spy.flush()
        assert heard == []
        forged = encode(answer_parts("run 1", 201, b"forged")[0])
        for subject in ("wr.answer.g00001", "wr.ask.g00001", "answer.g00001"):
            await spy.publish(subject, forged)
        # an answer of the broker's, aimed at another's subject: a permission would not have stopped this one
        await spy.publish("answer", forged, reply="wr.ask.g00001")
        await spy.publish(f"body.{notice.body}.0", b"", reply="wr.answer.g00001")
        await spy.flush()
        found = await hub.reply(40)
        assert found is not None, "what is published to its own name arrives"
        assert found.peer == NAMES[0]
        assert await hub.reply(0.3) is None
        fresh = await open_spoke(place, TOKENS[1])
        assert (await asyncio.wait_for(fresh.notice(), 40)).turn == 201
        await asyncio.gather(spy.close(), victim.close(), fresh.close())

    with_hub(place, work)


@pytest.mark.parametrize(
    "subject",
    [
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.DELETE.WR_ASKS",
        "$JS.API.STREAM.PURGE.WR_ANSWERS",
        "$JS.API.STREAM.CREATE.MINE",
        "$JS.API.DIRECT.GET.WR_ANSWERS",
        "$JS.API.DIRECT.GET.WR_ASKS.wr.ask.g00001",
        "$JS.API.CONSUMER.CREATE.WR_ASKS",
        "$SYS.REQ.SERVER.PING",
    ],
)
def test_a_gateway_has_no_hand_on_the_streams(place: Place, subject: str) -> None:
    async def work(hub: Hub) -> None:
        del hub
        spy = await place.gateway(TOKENS[0])
        try:
            message = await request(spy, subject, b"{}", within=0.5)
        except LinkError:
            return
        finally:
            await spy.close()
        assert b"JetStream not enabled for account" in message.data

    with_hub(place, work)


def test_an_unknown_key_and_an_unknown_authority_are_refused(place: Place, tmp_path: Path) -> None:
    stranger = KeyFolder(tmp_path / "keys")
    make(stranger, NAMES, ["127.0.0.1"])

    async def other_authority() -> None:
        with pytest.raises((LinkError, TimeoutError)):  # the gateway does not even send its name
            await asyncio.wait_for(connect(place.servers, stranger, TOKENS[0], nothing), 3)

    async def other_key() -> None:
        shutil.copy(place.keys.authority, stranger.authority)
        with pytest.raises(UsageError, match="refuses the key"):
            await connect(place.servers, stranger, TOKENS[0], nothing)

    async def plain() -> None:
        with pytest.raises((nats.errors.Error, ssl.SSLError, OSError)):
            await nats.connect(f"nats://127.0.0.1:{place.port}", allow_reconnect=False, connect_timeout=2)

    asyncio.run(other_authority())
    asyncio.run(other_key())
    asyncio.run(plain())


def test_both_ends_outlive_a_broker_that_is_killed_and_started_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.start()

    async def work(hub: Hub) -> None:
        spoke = await open_spoke(place, TOKENS[0])
        await hub.send(1, [Send(NAMES[:1], ask(1))])
        first = await asyncio.wait_for(spoke.notice(), 40)
        os.kill(place.broker.pid, signal.SIGKILL)
        with pytest.raises(LinkError):
            await asyncio.wait_for(hub.send(2, [Send(NAMES[:1], ask(2))]), 20)
        place.start()
        for _ in range(100):
            try:
                await hub.send(2, [Send(NAMES[:1], ask(2))])
                break
            except LinkError:
                await asyncio.sleep(0.1)
        notice = first
        while notice.turn == 1:
            notice = await asyncio.wait_for(spoke.notice(), 20)
        body = await spoke.body(notice)
        assert body == encode(ask(2))
        await spoke.answer("run 1", 2, b"here I am")
        reply = await hub.reply(40)
        assert reply is not None
        assert reply.body == b"here I am"
        await spoke.close()

    try:
        with_hub(place, work)
    finally:
        place.broker.stop()


def test_a_taken_port_and_a_broker_that_does_not_start_are_said(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wardround.drivers.nats.broker.STOP_S", 0.2)
    second = PrivateBroker(Listen("127.0.0.1", place.port, tmp_path / "js"), tmp_path)
    with pytest.raises(UsageError, match="listens on"):
        second.start(place.keys, place.keys.roster(), TOKENS)
    broken = PrivateBroker(Listen("127.0.0.1", free_port(), tmp_path / "js"), tmp_path)
    with pytest.raises(UsageError, match="does not come up"):
        broken.start(KeyFolder(tmp_path / "none"), place.keys.roster(), TOKENS)


def test_the_accounts_block_names_no_gateway_twice(place: Place) -> None:
    text = brokerconfig.accounts({**place.keys.roster(), "g00003": new_key()[1]}, [*TOKENS, "g00003"])
    assert text.count("wr.answer.g00003") == 2  # the export, the import
    assert text.count("{") == text.count("}")
    # a seed is a word that begins with SU; a public key may hold these letters anywhere but there
    assert re.search(r"\bSU[A-Z2-7]{20}", new_key()[0]), "the pattern knows a seed"
    assert not re.search(r"\bSU[A-Z2-7]{20}", text)
    assert "seed" not in text


def test_a_damaged_body_is_refused(place: Place) -> None:
    from wardround.errors import RemoteProtocolError

    async def work(hub: Hub) -> None:
        spoke = await open_spoke(place, TOKENS[0])
        await hub.send(301, [Send(NAMES[:1], ask(301, 10))])
        notice = await asyncio.wait_for(spoke.notice(), 40)
        while notice.turn != 301:
            notice = await asyncio.wait_for(spoke.notice(), 40)
        lie = Notice(notice.run, 301, notice.digest[:16] + digest_of(b"x")[16:], 1)  # same name, other digest
        with pytest.raises(RemoteProtocolError, match="not the one its notice names"):
            await spoke.body(lie)
        gone = Notice(notice.run, 301, digest_of(b"gone"), 1)
        assert await spoke.body(gone) is None
        await spoke.close()

    with_hub(place, work)


def test_parts_carry_their_place() -> None:
    with pytest.raises(ValueError, match="part 2 of 2"):
        Part("r", 1, b"d" * 32, 2, 2, b"")


def test_who_waits_for_a_broker_that_dies_is_told_at_once(tmp_path: Path) -> None:
    """Not after the time-out: a killed coordinator takes its broker along, and gateways should not sleep through its return."""
    place = Place(tmp_path)
    place.start()

    async def go() -> None:
        line = await place.gateway(TOKENS[0])
        os.kill(place.broker.pid, signal.SIGSTOP)  # it takes the question and never answers
        asked = asyncio.ensure_future(request(line, "last", within=3600.0))
        await asyncio.sleep(0)
        os.kill(place.broker.pid, signal.SIGKILL)
        with pytest.raises(LinkError, match="the broker went away"):
            await asked
        await line.close()

    try:
        asyncio.run(asyncio.wait_for(go(), 60))
    finally:
        place.broker.stop()
