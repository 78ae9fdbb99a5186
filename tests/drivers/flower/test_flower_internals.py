"""The contract with flwr: the names that internals.py uses, and Flower's own apps and strategies on the in-process Grid."""

import logging
from typing import Any

import numpy as np
import pytest

flwr = pytest.importorskip("flwr", reason='needs pip install "wardround[flower]"')  # before what needs it

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.serverapp import Grid, ServerApp  # noqa: E402
from flwr.serverapp.strategy import FedAvg  # noqa: E402
from flwr.supercore.task_identity import TaskIdentity  # noqa: E402

from wardround.drivers.flower import internals  # noqa: E402
from wardround.drivers.flower.local import SERVER_NODE, LocalGrid, run_local  # noqa: E402


def echo() -> ClientApp:
    app = ClientApp()

    @app.query("echo")
    def answer(message: Message, context: Context) -> Message:
        message.content.config_records["record"]["seen"] = context.node_id
        context.state["count"] = ConfigRecord({"n": 1})
        return Message(message.content, reply_to=message)

    @app.query("fails")
    def fails(message: Message, context: Context) -> Message:
        raise ZeroDivisionError("no")

    return app


def test_the_version_is_the_one_the_names_were_taken_from() -> None:
    assert flwr.__version__ == "1.41.0"


def test_messages_are_stamped_and_numbered() -> None:
    internals.identify(77, 5)
    message = Message(RecordDict(), 12, "query.echo")
    assert (message.metadata.run_id, message.metadata.src_node_id) == (77, 5)
    assert TaskIdentity.task_id == 1
    internals.number(message, "m-1")
    reply = Message(RecordDict(), reply_to=message)
    assert reply.metadata.reply_to_message_id == "m-1"
    assert internals.empty_run(77).run_id == 77


def test_what_is_delivered_shares_nothing() -> None:
    internals.identify(1, 1)
    message = Message(RecordDict({"record": ConfigRecord({"a": 1})}), 12, "query.echo")
    copy = internals.delivered(message)
    copy.content.config_records["record"]["a"] = 2
    copy.metadata.ttl = 1.0
    assert message.content.config_records["record"]["a"] == 1
    assert message.metadata.ttl != 1.0


def test_the_grid_delivers_and_answers_for_apps_that_raise() -> None:
    grid = LocalGrid(echo(), [{}, {}])
    nodes = list(grid.get_node_ids())
    assert [node.node_id for node in grid.get_nodes()] == nodes == [10, 11]
    content = RecordDict({"record": ConfigRecord({"a": 1})})
    out = [Message(content, node, "query.echo") for node in nodes] + [
        Message(content, 10, "query.fails"),
        Message(content, 99, "query.echo"),
    ]
    ids = list(grid.push_messages(out))
    replies = {reply.metadata.reply_to_message_id: reply for reply in grid.pull_messages(ids)}
    assert list(replies) == ids[:3]  # nobody answers for a node that is not there
    assert [replies[each].content.config_records["record"]["seen"] for each in ids[:2]] == nodes
    assert replies[ids[2]].error.code == 2
    assert "ZeroDivisionError" in str(replies[ids[2]].error.reason)
    assert list(grid.pull_messages(ids)) == []
    assert "seen" not in content.config_records["record"]
    assert "count" in grid.contexts[10].state


def test_the_public_abc_has_no_more_methods_than_we_implement() -> None:
    assert Grid.__abstractmethods__ <= set(vars(LocalGrid))
    grid = LocalGrid(echo(), [{}])
    grid.set_run(internals.empty_run(9))
    assert grid.run.run_id == 9
    assert grid.create_message(RecordDict(), "query.echo", 10, "1", 5.0).metadata.ttl == 5.0


def test_flowers_own_fedavg_runs_on_it(caplog: pytest.LogCaptureFixture) -> None:
    """Node n moves the model by n and has weight n: Flower's FedAvg must come out at the weighted mean, round after round."""
    caplog.set_level(logging.ERROR, "flwr")
    app = ClientApp()

    def weight(context: Context) -> float:
        return float(context.node_config["partition-id"]) + 1.0

    @app.train()
    def train(message: Message, context: Context) -> Message:
        moved = [
            array + np.float32(weight(context)) for array in message.content.array_records["arrays"].to_numpy_ndarrays()
        ]
        metrics = MetricRecord({"num-examples": weight(context)})
        return Message(RecordDict({"arrays": ArrayRecord(moved), "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        first = message.content.array_records["arrays"].to_numpy_ndarrays()[0]
        metrics = MetricRecord({"num-examples": 1.0, "first": float(first[0])})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    found: dict[str, Any] = {}
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        start = ArrayRecord([np.zeros(3, dtype=np.float32)])
        found["result"] = FedAvg(min_available_nodes=3).start(grid=grid, initial_arrays=start, num_rounds=2)

    run_local(server, LocalGrid(app, [{"partition-id": n} for n in range(3)]))
    step = (1 * 1 + 2 * 2 + 3 * 3) / 6
    assert found["result"].arrays.to_numpy_ndarrays()[0] == pytest.approx([2 * step] * 3, rel=1e-6)
    assert found["result"].evaluate_metrics_clientapp[2]["first"] == pytest.approx(2 * step, rel=1e-6)
    assert SERVER_NODE == 1
