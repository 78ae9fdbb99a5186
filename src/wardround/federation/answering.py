"""What runs at the far end of a transport: bytes of a question in, bytes of the answer out, state as bytes between.

    PlainGateway   Ask -> Answer               SecureGateway  SecureAsk -> SecureAnswer
    Member         (secure_member.py)          AskOffer, AskMember -> EpochOffer, MemberAnswer

A driver calls ``answer``, stores ``to_bytes``, sends; a question answered before gets the same bytes. After an error the
machine may have gone on in memory: the driver takes it from its store again.
"""

from __future__ import annotations

from typing import Protocol, cast

from wardround.errors import RemoteProtocolError
from wardround.federation.client import Client, LocalData
from wardround.federation.messages import ASKS, Ask
from wardround.federation.secure_client import SecureClient
from wardround.federation.secure_messages import SecureAsk
from wardround.training.task import Engine, Job
from wardround.wire import decode, encode


class Answering(Protocol):
    """The far end of one peer."""

    def answer(self, body: bytes) -> bytes:
        """The encoded answer; trains where that is asked for.

        Raises:
            RemoteProtocolError: the message is not allowed or does not fit; nothing is to be sent.
        """
        ...

    def to_bytes(self) -> bytes:
        """What must be stored before the answer is sent."""
        ...


class PlainGateway:
    """A gateway whose answer the server sees."""

    def __init__(self, client: Client, rows: LocalData, engine: Engine) -> None:
        self._client, self._rows, self._engine = client, rows, engine

    def to_bytes(self) -> bytes:
        return self._client.to_bytes()

    def answer(self, body: bytes) -> bytes:
        ask = cast("Ask", decode(body, *ASKS))
        try:
            found = self._client.receive(ask, self._rows, self._engine)
            while isinstance(found, Job):  # a personal strategy trains more than once a round
                found = self._client.trained(self._engine.train([found])[0])
        except ValueError as error:  # parameters that do not fit the model that both sides agreed on
            raise RemoteProtocolError(str(error)) from error
        return encode(found)


class SecureGateway:
    """A gateway of which only a protected contribution leaves."""

    def __init__(self, client: SecureClient, rows: LocalData, engine: Engine) -> None:
        self._client, self._rows, self._engine = client, rows, engine

    def to_bytes(self) -> bytes:
        return self._client.to_bytes()

    def answer(self, body: bytes) -> bytes:
        asked = decode(body, SecureAsk)
        try:
            found = self._client.receive(asked, self._rows, self._engine)
            while isinstance(found, Job):  # a personal strategy trains more than once a round
                found = self._client.trained(self._engine.train([found])[0])
        except ValueError as error:
            raise RemoteProtocolError(str(error)) from error
        return encode(found)
