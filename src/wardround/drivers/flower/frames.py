"""The round's messages inside Flower's: wire.py's bytes in one ConfigRecord; nothing of Flower's codecs touches a number.

    query.hello         Hello                    -> Greeting     who is this node?
    query.knock         Invitation, KnockReply   -> Knock        layer 1's handshake (drivers/parties/secured.py)
    query.statistics    AskStatistics            -> Answer
    train               AskTraining              -> Answer
    query.errors        AskErrors                -> Answer
    query.measures      AskMeasures              -> Answer
    query.committee     AskOffer, AskMember      -> EpochOffer, MemberAnswer

A request is {"run": name of the federation's run, "peer": whom at the node it is for, "record": layer 1's word on the body,
"body": bytes}; a reply is {"body": bytes} or {"refused": text}. Under layer 1 bodies are sealed, under layer 2 an ask is
inside a SecureAsk; the message's type then says the same to Flower as without.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict

from wardround.errors import DecodeError, RemoteProtocolError
from wardround.federation.messages import ASKS, AskErrors, AskMeasures, AskStatistics, AskTraining
from wardround.federation.secure_messages import AskMember, AskOffer, SecureAsk
from wardround.wire import decode, message

RECORD = "wardround"
HELLO, KNOCK = "query.hello", "query.knock"
TYPES: dict[type, str] = {
    AskStatistics: "query.statistics",
    AskTraining: "train",
    AskErrors: "query.errors",
    AskMeasures: "query.measures",
    AskOffer: "query.committee",
    AskMember: "query.committee",
}
LONGEST_TEXT = 300  # of what a node says went wrong there


@message(0x4F01)
@dataclass(frozen=True)
class Hello:
    """Who are you?"""


@message(0x4F02)
@dataclass(frozen=True)
class Greeting:
    """``index`` is the node's ``partition-id``: its place in the list of clients; -1: it is none of them. ``member``: the
    name of a party of the committee that is no client.
    """

    index: int
    member: str = ""


@message(0x4F04)
@dataclass(frozen=True)
class Knock:
    """M1 or M3 of the handshake."""

    data: bytes


@dataclass(frozen=True)
class Request:
    """``peer``: who at the node is asked (a client, a committee member); ``record``: empty without layer 1."""

    run: str
    body: bytes = field(repr=False)
    peer: str = ""
    record: bytes = b""


def kind(asked: Any) -> str:
    """Flower's message type of what a machine asks.

    Raises:
        DecodeError: a SecureAsk around something else than an ask.
    """
    return TYPES[type(decode(asked.ask, *ASKS) if isinstance(asked, SecureAsk) else asked)]


def request(asked: Request) -> RecordDict:
    record = ConfigRecord({"run": asked.run, "peer": asked.peer})
    record["body"], record["record"] = asked.body, asked.record
    return RecordDict({RECORD: record})


def reply(body: bytes) -> RecordDict:
    return RecordDict({RECORD: ConfigRecord({"body": body})})


def refusal(why: str) -> RecordDict:
    return RecordDict({RECORD: ConfigRecord({"refused": why})})


def read_request(content: RecordDict) -> Request:
    """The request in a message's content.

    Raises:
        DecodeError: not a request.
    """
    record = _record(content)
    run, body, peer, sealed = (record.get(key) for key in ("run", "body", "peer", "record"))
    if isinstance(run, str) and isinstance(body, bytes) and isinstance(peer, str) and isinstance(sealed, bytes):
        return Request(run, body, peer, sealed)
    raise DecodeError(f"a request holds run and peer (text), body and record (bytes), not {sorted(record)}")


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
