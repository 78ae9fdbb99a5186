"""The round's messages inside Flower's: wire.py's bytes in one ConfigRecord; nothing of Flower's codecs touches a number.

    query.hello         Hello            -> Greeting     which client is this node?
    query.statistics    AskStatistics    -> Answer
    train               AskTraining      -> Answer
    query.errors        AskErrors        -> Answer
    query.measures      AskMeasures      -> Answer

A request is {"run": name of the federation's run, "body": bytes}; a reply is {"body": bytes} or {"refused": text}.
"""

from __future__ import annotations

from dataclasses import dataclass

from flwr.app import ConfigRecord, Message, RecordDict

from wardround.errors import DecodeError, RemoteProtocolError
from wardround.federation.messages import Ask, AskErrors, AskMeasures, AskStatistics, AskTraining
from wardround.wire import message

RECORD = "wardround"
HELLO = "query.hello"
TYPES: dict[type, str] = {
    AskStatistics: "query.statistics",
    AskTraining: "train",
    AskErrors: "query.errors",
    AskMeasures: "query.measures",
}
LONGEST_TEXT = 300  # of what a node says went wrong there


@message(0x4F01)
@dataclass(frozen=True)
class Hello:
    """Which client are you?"""


@message(0x4F02)
@dataclass(frozen=True)
class Greeting:
    """``index`` is the node's ``partition-id``: its place in the list of clients."""

    index: int


def kind(ask: Ask) -> str:
    """Flower's message type of ``ask``."""
    return TYPES[type(ask)]


def request(run: str, body: bytes) -> RecordDict:
    return RecordDict({RECORD: ConfigRecord({"run": run, "body": body})})


def reply(body: bytes) -> RecordDict:
    return RecordDict({RECORD: ConfigRecord({"body": body})})


def refusal(why: str) -> RecordDict:
    return RecordDict({RECORD: ConfigRecord({"refused": why})})


def read_request(content: RecordDict) -> tuple[str, bytes]:
    """(run, body).

    Raises:
        DecodeError: not a request.
    """
    record = _record(content)
    run, body = record.get("run"), record.get("body")
    if not isinstance(run, str) or not isinstance(body, bytes):
        raise DecodeError(f"a request holds run (text) and body (bytes), not {sorted(record)}")
    return run, body


def read_reply(got: Message | None) -> bytes:
    """The body of a node's reply; ``got`` is None where none came.

    Raises:
        RemoteProtocolError: no reply, an error, a refusal, or something else; the text says which.
    """
    if got is None:
        raise RemoteProtocolError("no reply before the deadline")
    if got.has_error():
        raise RemoteProtocolError(f"Flower reports error {got.error.code}: {(got.error.reason or '')[:LONGEST_TEXT]}")
    record = _record(got.content)
    if isinstance(why := record.get("refused"), str):
        raise RemoteProtocolError(f"refused: {why[:LONGEST_TEXT]}")
    body = record.get("body")
    if not isinstance(body, bytes):
        raise DecodeError(f"a reply holds body (bytes), not {sorted(record)}")
    return body


def _record(content: RecordDict) -> ConfigRecord:
    record = content.get(RECORD)
    if not isinstance(record, ConfigRecord):
        raise DecodeError(f"the message has no ConfigRecord named {RECORD!r}")
    return record
