"""The names of flwr 1.41 that are not public and that an in-process Grid cannot do without; nobody else may use one.

``Message`` asks the process who it is (TaskIdentity), a SuperLink numbers messages by setting a private attribute, and a
Grid must say which run it is. tests/drivers/flower/test_flower_internals.py is the contract: it fails when a new version of
flwr moves one of these.
"""

from __future__ import annotations

from copy import deepcopy

from flwr.app import Message
from flwr.app.message import make_message
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity


def identify(run_id: int, node_id: int) -> None:
    """Tell this process which run and node it is; messages are stamped with both. Process-wide, as flwr has it."""
    TaskIdentity.task_id = 1
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id


def number(message: Message, message_id: str) -> None:
    """Give ``message`` the id that replies to it name."""
    message.metadata.__dict__["_message_id"] = message_id


def delivered(message: Message) -> Message:
    """A copy of ``message`` that shares nothing with it: what the other end of a wire would see."""
    return make_message(metadata=deepcopy(message.metadata), content=deepcopy(message.content))


def empty_run(run_id: int) -> Run:
    """A run of which only the number is known."""
    return Run.create_empty(run_id)
