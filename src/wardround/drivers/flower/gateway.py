"""One message at a node: the part's machine out of its bytes, the answer, the machine into its bytes.

Flower starts a process for each message and stops it after the reply, so nothing else lives longer than one call.
What goes wrong is told to the server in one sentence (a refusal); the sentence never holds a row or a key.
"""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context, Message
from threadpoolctl import threadpool_limits

from wardround.config import Experiment
from wardround.drivers.flower import frames
from wardround.drivers.flower.memory import Memory
from wardround.drivers.flower.part import Node
from wardround.drivers.flower.settings import (
    NodeSettings,
    RunSettings,
    careful,
    read_experiment,
    read_node,
    read_settings,
)
from wardround.drivers.flower.site import site
from wardround.drivers.parties.machines import Seated, gateway
from wardround.errors import WardroundError
from wardround.wire import decode, encode

NODE_CONFIG = "the SuperNode's --node-config"
RUN_CONFIG = "the run's configuration ([tool.flwr.app.config])"


def handle(path: Path, message: Message, context: Context) -> Message:
    """The reply of this node to ``message``; ``path`` is the app's experiment."""
    try:
        asked = frames.read_request(message.content)
        node = read_node(context.node_config, NODE_CONFIG)
        if message.metadata.message_type == frames.HELLO:
            decode(asked.body, frames.Hello)
            return Message(frames.reply(encode(frames.Greeting(node.partition_id, node.member))), reply_to=message)
        run = read_settings(RunSettings, context.run_config, RUN_CONFIG)
        experiment = read_experiment(path, run)
        with threadpool_limits(limits=1, user_api="blas"):  # several nodes may share a machine
            if careful(experiment):
                knock = message.metadata.message_type == frames.KNOCK
                answer = Node(experiment, run, node).answer(asked, knock)
            else:
                answer = _open(experiment, run, node, (asked, context))
        return Message(frames.reply(answer), reply_to=message)
    except WardroundError as error:
        return Message(frames.refusal(str(error)), reply_to=message)


def _open(experiment: Experiment, run: RunSettings, node: NodeSettings, told: tuple[frames.Request, Context]) -> bytes:
    """The answer where no key is in play: the machine lies in the Context, and in the site's file where it names a folder."""
    asked, context = told
    memory = Memory(context.state, node.state, node.partition_id)
    who = Seated(node.partition_id, asked.peer, None)
    machine = gateway(site(experiment, run, node), experiment.seed, who, asked.run, memory.load(asked.run))
    answer = machine.answer(asked.body)
    memory.save(asked.run, machine.to_bytes())  # before the reply: an answer given once is given again, never made anew
    return answer
