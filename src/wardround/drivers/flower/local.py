"""A Grid in one process: unmodified Flower apps without SuperLink, SuperNodes or Ray, for tests and for trying things out.

It implements the public ABC ``flwr.serverapp.Grid``, so that Flower's own strategies run on it too. Each message is
delivered when it is pushed, in the caller's thread; an app that raises gives the error reply that a SuperNode would give.
It does not do: time to live, heartbeats, parallel clients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run

from wardround.drivers.flower import internals

SERVER_NODE = 1
FIRST_NODE = 10
APP_RAISED = 2  # ErrorCode.CLIENT_APP_RAISED_EXCEPTION of flwr 1.41

Config = Mapping[str, bool | float | int | str]


class LocalGrid(Grid):
    """Nodes ``FIRST_NODE``, ``FIRST_NODE + 1``, ... all run ``app``; ``nodes`` are their node configurations."""

    def __init__(
        self, app: ClientApp, nodes: Sequence[Config], run_config: Config | None = None, run_id: int = 1
    ) -> None:
        internals.identify(run_id, SERVER_NODE)
        self._app, self._run = app, internals.empty_run(run_id)
        self.contexts = {
            number: Context(run_id, number, dict(node), RecordDict(), dict(run_config or {}))
            for number, node in enumerate(nodes, FIRST_NODE)
        }
        self._replies: dict[str, Message] = {}
        self._pushed = 0

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(each) for each in list(message_ids) if each in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        del timeout  # every reply is there when the last message is pushed
        return self.pull_messages(self.push_messages(messages))

    def deliver(self, message: Message) -> Message | None:
        """The reply of the node to ``message``; None: none ever comes. Tests override this to lose and to damage."""
        context = self.contexts.get(message.metadata.dst_node_id)
        if context is None:
            return None
        try:
            return self._app(internals.delivered(message), context)
        except Exception as error:  # noqa: BLE001 - a SuperNode answers for whatever its app raises
            return Message(Error(APP_RAISED, f"{type(error)}:<'{error}'>"), reply_to=message)

    def _push(self, message: Message) -> str:
        self._pushed += 1
        message_id = f"message-{self._pushed}"
        internals.number(message, message_id)
        reply = self.deliver(message)
        if reply is not None:
            self._replies[message_id] = reply
        return message_id


def run_local(server: ServerApp, grid: LocalGrid, run_config: Config | None = None) -> None:
    """Run ``server`` over ``grid``, as `flwr run` would over a SuperLink; errors of the app are raised."""
    server(grid, Context(grid.run.run_id, SERVER_NODE, {}, RecordDict(), dict(run_config or {})))
