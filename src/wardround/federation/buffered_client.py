"""The gateway's machine in asynchronous rounds: it trains ahead, keeps what it would send, and sends it when asked to.

    IDLE --AskAhead--> TRAINING --trained--> IDLE   (keeps the answer, says that it is ready)
    IDLE --AskKept--> IDLE                          (sends what it kept, weighed by its age)
    everything else as in client.py

Law: the state on the disk before "ready" is said holds what was kept, so a gateway that dies in between neither trains twice
nor sends anything else.
"""

from __future__ import annotations

from dataclasses import dataclass

from wardround.errors import LocalProtocolError, RemoteProtocolError
from wardround.federation.buffered import contribution, ready
from wardround.federation.client import Client, ClientState, LocalData
from wardround.federation.messages import Answer, Ask, AskAhead, AskKept, Reply
from wardround.federation.plan import Plan, Prepared
from wardround.training.task import Engine, Job, Trained
from wardround.wire import decode, encode, message


@message(0x4E24)
@dataclass(frozen=True, eq=False)
class KeptState:
    """What survives a restart: the synchronous machine, and what was kept of the training that ``exchange`` asked for."""

    inner: ClientState
    exchange: int = 0
    round: int = 0
    kept: Answer | None = None


class BufferedClient(Client):
    """One gateway's part in asynchronous rounds."""

    def __init__(self, plan: Plan, seed: int, state: ClientState, prepared: Prepared | None = None) -> None:
        super().__init__(plan, seed, state, prepared)
        self._kept: Answer | None = None
        self._exchange = self._for_round = 0
        self._training: AskAhead | None = None

    def to_bytes(self) -> bytes:
        return encode(KeptState(self.state, self._exchange, self._for_round, self._kept))

    @classmethod
    def from_bytes(cls, plan: Plan, seed: int, data: bytes) -> BufferedClient:
        """The machine as ``to_bytes`` left it.

        Raises:
            DecodeError: the bytes are no such state.
        """
        saved = decode(data, KeptState)
        client = cls(plan, seed, saved.inner)
        client._kept, client._exchange, client._for_round = saved.kept, saved.exchange, saved.round
        return client

    def receive(self, ask: Ask, data: LocalData, engine: Engine | None) -> Reply | Job:
        """The answer to ``ask``, or the training job; see Client.receive.

        Raises:
            RemoteProtocolError: as there, or nothing was kept for this ask.
        """
        if isinstance(ask, AskKept):
            return self._contribute(ask)
        if not isinstance(ask, AskAhead):
            self._training = None
            return super().receive(ask, data, engine)
        if ask.exchange == self._exchange:
            return ready(ask.exchange)
        if ask.exchange != ask.training.exchange or ask.schema != ask.training.schema:
            raise RemoteProtocolError(f"exchange {ask.exchange} asks to train for exchange {ask.training.exchange}")
        found = super().receive(ask.training, data, engine)
        self._training = ask
        return found if isinstance(found, Job) else self._keep(found)

    def trained(self, result: Trained) -> Reply | Job:
        found = super().trained(result)
        return found if isinstance(found, Job) or self._training is None else self._keep(found)

    def _keep(self, answer: Reply) -> Answer:
        asked, self._training = self._training, None
        if asked is None or not isinstance(answer, Answer):
            raise LocalProtocolError("nothing was asked to be kept, or it is coded (config refuses codecs here)")
        self._kept, self._exchange, self._for_round = answer, asked.exchange, asked.training.round
        return ready(asked.exchange)

    def _contribute(self, ask: AskKept) -> Reply:
        if ask.schema != self._plan.schema.id:
            raise RemoteProtocolError(f"the server's schema {ask.schema[:12]} is not this gateway's")
        last = self.state.last
        if ask.exchange == self.state.answered and last is not None:
            return last
        if ask.exchange <= self.state.answered:
            raise RemoteProtocolError(f"exchange {ask.exchange} is over; {self.state.answered} was answered already")
        size = self._prepared.layout.size if self._prepared is not None else 0
        parts = self._plan.algorithm.parts(size)
        if self._kept is None or ask.reach.shape != (len(parts) if self._plan.protected else 0,):
            raise RemoteProtocolError(f"exchange {ask.exchange} asks for something that was not kept here")
        weight = self._plan.asynchronous.weight(ask.round - self._for_round)
        return self._answer(contribution(parts, self._kept, weight, ask))


def client_for(plan: Plan) -> type[Client]:
    """The gateway's machine that ``plan`` asks for."""
    return BufferedClient if plan.asynchronous.buffer else Client
