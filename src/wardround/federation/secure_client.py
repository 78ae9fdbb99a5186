"""A gateway's machine under the secure sum: the round's client, and layer 2's client that protects what it answers.

    SecureAsk  -> (training) -> SecureAnswer: keys where the server invites to an epoch, and the one contribution

Laws: what leaves is a protected contribution, never an ``Answer``; a round asked for again is answered with the same bytes;
``from_bytes(to_bytes())`` goes on exactly there. The driver keeps ``to_bytes`` *before* it sends.
What it does not do: decide who is on the committee (the roster does).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from wardround.errors import DataError, LocalProtocolError, RemoteProtocolError
from wardround.federation.algorithms import EMPTY
from wardround.federation.client import Client, LocalData
from wardround.federation.messages import ASKS, Answer, Ask, AskAhead, AskKept, AskStatistics, Reply
from wardround.federation.secure_messages import SecureAnswer, SecureAsk, about
from wardround.secagg import client as layer2
from wardround.secagg import keys, transcript
from wardround.secagg.messages import EpochInvitation, EpochKeys
from wardround.training.task import Engine, Job, Trained
from wardround.wire import decode, encode, message

SEED_BYTES = 32


@message(0x5206)
@dataclass(frozen=True)
class SecureClientState:
    """``client``: the round's machine; ``protector``: layer 2's; ``offers``, ``keys``: of the last epoch."""

    client: bytes = field(repr=False)
    protector: bytes = field(repr=False)
    offers: bytes = field(repr=False)
    keys: bytes = field(repr=False)

    def __repr__(self) -> str:
        return "SecureClientState()"


class SecureClient:
    """``entropy(n)`` gives n fresh secret bytes."""

    def __init__(self, client: Client, protector: layer2.Client, entropy: keys.Entropy) -> None:
        self._client, self._protector, self._entropy = client, protector, entropy
        self._offers, self._keys = b"", b""
        self._asked: tuple[SecureAsk, Ask] | None = None

    def to_bytes(self) -> bytes:
        """What must be stored, as a secret, before an answer is sent."""
        return encode(SecureClientState(self._client.to_bytes(), self._protector.to_bytes(), self._offers, self._keys))

    def restore(self, kept: SecureClientState) -> None:
        """Go on from ``to_bytes``; the round's machine was made from ``kept.client``."""
        self._protector.restore(kept.protector)
        self._offers, self._keys = kept.offers, kept.keys

    def receive(self, asked: SecureAsk, data: LocalData, engine: Engine | None) -> SecureAnswer | Job:
        """The answer, or the training job whose result ``trained`` turns into the answer.

        Raises:
            RemoteProtocolError: the ask or the round is not what this gateway's own configuration gives; nothing is sent.
        """
        ask = cast("Ask", decode(asked.ask, *ASKS))
        found = self._client.receive(ask, data, engine)
        self._asked = asked, ask
        return found if isinstance(found, Job) else self._protect(found)

    def trained(self, result: Trained) -> SecureAnswer | Job:
        """The answer that carries ``result`` of the job given out last, or the round's next leg.

        Raises:
            RemoteProtocolError: as ``receive``.
        """
        found = self._client.trained(result)
        return found if isinstance(found, Job) else self._protect(found)

    def _protect(self, answer: Reply) -> SecureAnswer:
        if self._asked is None:
            raise LocalProtocolError("an answer without a question")
        if not isinstance(answer, Answer):
            raise LocalProtocolError("a coded answer does not add up: the plan of a secure sum has linear codecs only")
        (asked, ask), self._asked = self._asked, None
        agreed = self._join(asked.invitation) if asked.invitation is not None else None
        plain = layer2.Plain(answer.update, answer.counts, self._about(ask), self._client.codec)
        try:
            contribution = self._protector.contribute(asked.start, plain, self._entropy(SEED_BYTES))
        except (DataError, LocalProtocolError) as error:  # values that do not fit; a round before any epoch
            raise RemoteProtocolError(f"no contribution to this round: {error}") from error
        return SecureAnswer(agreed, contribution)

    def _about(self, ask: Ask) -> bytes:
        state = self._client.state
        sent = EMPTY if isinstance(ask, AskStatistics | AskAhead | AskKept) else ask.parameters
        return about(ask, sent if state.held is None else state.held.model, state.totals)

    def _join(self, invitation: EpochInvitation) -> EpochKeys:
        """Keys for a new epoch; for the one joined already the same bytes again."""
        offers = transcript.offers_digest(invitation.offers)
        if offers != self._offers:
            self._keys = encode(self._protector.join(invitation, self._entropy))
            self._offers = offers
        return decode(self._keys, EpochKeys)
