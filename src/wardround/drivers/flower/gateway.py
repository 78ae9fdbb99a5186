"""One message at a gateway: the client's machine out of its bytes, the answer, the machine into its bytes.

Flower starts a process for each message and stops it after the reply, so nothing else lives longer than one call.
What goes wrong is told to the server in one sentence (a refusal); the sentence never holds a row.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from flwr.app import Context, Message
from threadpoolctl import threadpool_limits

from wardround.drivers.flower import frames
from wardround.drivers.flower.memory import Memory
from wardround.drivers.flower.settings import NodeSettings, RunSettings, read_experiment, read_settings
from wardround.drivers.flower.site import Site, site
from wardround.errors import RemoteProtocolError, WardroundError
from wardround.federation.client import Client, ClientState
from wardround.federation.messages import ASKS, Ask, Reply
from wardround.training.task import Job
from wardround.wire import decode, encode

NODE_CONFIG = "the SuperNode's --node-config"
RUN_CONFIG = "the run's configuration ([tool.flwr.app.config])"


def handle(path: Path, message: Message, context: Context) -> Message:
    """The reply of this node to ``message``; ``path`` is the app's experiment."""
    try:
        run, body = frames.read_request(message.content)
        node = read_settings(NodeSettings, context.node_config, NODE_CONFIG)
        if message.metadata.message_type == frames.HELLO:
            decode(body, frames.Hello)
            return _reply(encode(frames.Greeting(node.partition_id)), message)
        ask = cast("Ask", decode(body, *ASKS))
        if message.metadata.message_type != frames.kind(ask):
            raise RemoteProtocolError(f"{type(ask).__name__} came as {message.metadata.message_type}")
        settings = read_settings(RunSettings, context.run_config, RUN_CONFIG)
        experiment = read_experiment(path, settings)
        memory = Memory(context.state, node.state, node.partition_id)
        with threadpool_limits(limits=1, user_api="blas"):  # several nodes may share a machine
            place = site(experiment, settings, node)
            client = _client(place, experiment.seed, node.partition_id, memory.load(run))
            answer = _answer(place, client, ask)
        memory.save(run, client.to_bytes())  # before the reply: an answer given once is given again, never made anew
        return _reply(encode(answer), message)
    except WardroundError as error:
        return Message(frames.refusal(str(error)), reply_to=message)


def _reply(body: bytes, message: Message) -> Message:
    return Message(frames.reply(body), reply_to=message)


def _client(place: Site, seed: int, index: int, saved: bytes | None) -> Client:
    if saved is None:
        return Client(place.plan, seed, ClientState(index))
    return Client.from_bytes(place.plan, seed, saved)


def _answer(place: Site, client: Client, ask: Ask) -> Reply:
    """Raises RemoteProtocolError where parameters do not fit the model that both sides agreed on."""
    try:
        answer = client.receive(ask, place.rows, place.engine)
        while isinstance(answer, Job):  # a personal strategy trains more than once a round
            answer = client.trained(place.engine.train([answer])[0])
    except ValueError as error:
        raise RemoteProtocolError(str(error)) from error
    return answer
