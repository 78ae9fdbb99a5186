"""Configurations, the exchange's clock, a site's memory: what is wrong is said in one sentence."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr", reason='needs pip install "wardround[flower]"')  # before what needs it

from flower_federation import TINY, Virtual  # type: ignore[import-not-found]
from flwr.app import ConfigRecord, Message, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from wardround.drivers.flower import frames  # noqa: E402
from wardround.drivers.flower.exchange import Out, Talk  # noqa: E402
from wardround.drivers.flower.keep import Saved  # noqa: E402
from wardround.drivers.flower.local import LocalGrid  # noqa: E402
from wardround.drivers.flower.memory import Kept, Memory  # noqa: E402
from wardround.drivers.flower.settings import NodeSettings, RunSettings, load, read_experiment, read_node, read_settings  # noqa: E402
from wardround.drivers.flower.site import site  # noqa: E402
from wardround.errors import ConfigError, DecodeError, RemoteProtocolError, UsageError  # noqa: E402
from wardround.wire import decode, encode  # noqa: E402


def test_settings_take_hyphens_whole_numbers_and_leave_others_keys() -> None:
    read = read_settings(
        RunSettings, {"wait-for": 2, "deadline-s": 5, "somebody-elses": True, "gateways": "a, b,"}, "run"
    )
    assert read == RunSettings(wait_for=2, deadline_s=5.0, gateways="a, b,")
    assert read.names == ("a", "b")


@pytest.mark.parametrize(
    ("cls", "config", "says"),
    [
        (NodeSettings, {}, r'node: partition-id is missing; for example --node-config "partition-id=0"'),
        (NodeSettings, {"partition-id": "0"}, "partition-id should be int, not '0'"),
        (NodeSettings, {"partition-id": True}, "partition-id should be int, not True"),
        (RunSettings, {"poll-s": 0.0}, "poll-s must be above 0"),
        (RunSettings, {"wait-for": -1}, "wait-for must be 0 or more"),
        (RunSettings, {"state": 3}, "state should be str"),
    ],
)
def test_wrong_settings(cls: Any, config: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_node(config, "node") if cls is NodeSettings else read_settings(cls, config, "node")


def test_an_experiment_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_experiment(tmp_path / "none.toml", RunSettings())


def test_a_source_that_reads_files_wants_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "experiment.toml"
    file.write_text(
        TINY.replace('use = "hospital"\nwards = 4\ndevices_per_ward = 3\nwindows_per_device = 40', 'use = "iot-23"'),
        encoding="utf-8",
    )
    file.write_text(file.read_text().replace('labels = "6class"', 'labels = "binary"'), encoding="utf-8")
    experiment = read_experiment(file, RunSettings())
    with pytest.raises(UsageError, match="name their folder with HERE"):
        load(experiment, "", "HERE")


@pytest.mark.parametrize("gateways", ["", "a,b,c,d"])
@pytest.mark.parametrize("index", [-1, 4])
def test_there_is_no_such_client(tmp_path: Path, index: int, gateways: str) -> None:
    file = tmp_path / "experiment.toml"
    file.write_text(TINY, encoding="utf-8")
    run = RunSettings(gateways=gateways)
    with pytest.raises(UsageError, match="there are clients 0 to 3"):
        site(read_experiment(file, run), run, NodeSettings(index))


def test_memory_is_of_one_run_and_the_file_outlives_the_context(tmp_path: Path) -> None:
    state = RecordDict()
    Memory(state, "", 3).save("one", b"machine")
    assert Memory(state, "", 3).load("one") == b"machine"
    assert Memory(state, "", 3).load("two") is None
    assert Memory(RecordDict(), "", 3).load("one") is None
    Memory(state, str(tmp_path / "site"), 3).save("two", b"newer")
    assert Memory(RecordDict(), str(tmp_path / "site"), 3).load("two") == b"newer"
    assert Memory(RecordDict(), str(tmp_path / "site"), 4).load("two") is None


def test_memory_on_a_bad_disk(tmp_path: Path) -> None:
    (tmp_path / "client-00000.bin").write_bytes(b"torn")
    with pytest.raises(UsageError, match="cannot be used"):
        Memory(RecordDict(), str(tmp_path), 0).load("one")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be written"):
        Memory(RecordDict(), str(tmp_path / "file"), 0).save("one", b"")


def test_requests_that_are_none() -> None:
    for content in (RecordDict(), RecordDict({"wardround": ConfigRecord({"run": 1, "body": b""})})):
        with pytest.raises(DecodeError):
            frames.read_request(content)
    asked = frames.Request("r", b"x", "ward", b"sealed")
    assert frames.read_request(frames.request(asked)) == asked
    with pytest.raises(RemoteProtocolError, match="no reply"):
        frames.read_reply(None)


class Slow(LocalGrid):
    """Replies can be pulled when the clock has reached ``due[node]``; messages to node 12 are not taken."""

    def __init__(self, virtual: Any, due: dict[int, float]) -> None:
        super().__init__(ClientApp(), [{}, {}, {}])
        self.virtual, self.due, self.pulls = virtual, due, 0

    def push_messages(self, messages: Any) -> Any:
        messages = list(messages)
        return [] if messages[0].metadata.dst_node_id == 12 else super().push_messages(messages)

    def deliver(self, message: Message) -> Message | None:
        return Message(frames.reply(b""), reply_to=message)

    def pull_messages(self, message_ids: Any) -> Any:
        self.pulls += 1
        ready = [m for m in message_ids if self.virtual.at >= self.due[self.number_of[m]]]
        return super().pull_messages(ready)

    @property
    def number_of(self) -> dict[str, int]:
        return {each: reply.metadata.src_node_id for each, reply in self._replies.items()}


def test_an_exchange_ends_with_the_last_reply_or_at_the_deadline() -> None:
    out = [Out(node, node, "train", frames.request(frames.Request("r", b""))) for node in (10, 11, 12)]
    virtual = Virtual()
    talk = Talk(Slow(virtual, {10: 1.0, 11: 3.0}), virtual.clock, 9.0, 0.5)
    assert sorted(talk.exchange("1", out)) == [10, 11]
    assert virtual.at == 3.0
    virtual = Virtual()
    grid = Slow(virtual, {10: 1.0, 11: 30.0})
    assert sorted(Talk(grid, virtual.clock, 9.0, 0.5).exchange("1", out)) == [10]
    assert virtual.at == 9.0
    assert grid.pulls == 19
    assert Talk(grid, virtual.clock, 9.0, 0.5).exchange("1", []) == {}


VALUES = st.one_of(st.integers(-9, 9), st.text(max_size=9), st.binary(max_size=9), st.booleans())


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["run", "peer", "record", "body", "refused", "more"]), VALUES))
def test_any_record_is_a_request_or_one_error(values: dict[str, Any]) -> None:
    content = RecordDict({"wardround": ConfigRecord(values)})
    try:
        asked = frames.read_request(content)
    except DecodeError:
        return
    assert (asked.run, asked.body, asked.peer, asked.record) == tuple(
        values[key] for key in ("run", "body", "peer", "record")
    )


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from([frames.Hello, frames.Greeting, frames.Knock, Kept, Saved]))
def test_any_bytes_are_a_message_or_one_error(data: bytes, kind: type[Any]) -> None:
    for tried in (data, encode(frames.Greeting(1, "x"))[: len(data)], encode(frames.Knock(b"m1")) + data):
        try:
            assert encode(decode(tried, kind)) == tried
        except DecodeError:
            continue
