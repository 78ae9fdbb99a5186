"""A committee member's machine as a driver runs it: layer 2's decryptor, and the last answer kept to be said again.

    AskOffer -> EpochOffer          AskMember -> (offers, contacts) -> MemberAnswer

Laws: a message answered before is answered with the same bytes; one vote per round id survives a restart, for the driver keeps
``to_bytes`` *before* it sends; ``from_bytes(to_bytes())`` goes on exactly there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from wardround.errors import LocalProtocolError, RemoteProtocolError
from wardround.federation.secure_messages import AskMember, AskOffer, MemberAnswer
from wardround.secagg import keys
from wardround.secagg.decryptor import Decryptor
from wardround.wire import decode, encode, message

SEED_BYTES = 32


@message(0x5207)
@dataclass(frozen=True)
class MemberState:
    """``decryptor``: layer 2's machine (secret); ``digest``, ``answer``: the message answered last."""

    decryptor: bytes
    digest: bytes
    answer: bytes

    def __repr__(self) -> str:
        return "MemberState()"


class Member:
    """One member; ``entropy(n)`` gives n fresh secret bytes."""

    def __init__(self, decryptor: Decryptor, entropy: keys.Entropy) -> None:
        self._decryptor, self._entropy = decryptor, entropy
        self._digest, self._answer = b"", b""

    def to_bytes(self) -> bytes:
        """What must be stored, as a secret, before an answer is sent."""
        return encode(MemberState(self._decryptor.to_bytes(), self._digest, self._answer))

    def restore(self, data: bytes) -> None:
        """Go on from ``to_bytes``.

        Raises:
            DecodeError: not a member's state.
        """
        kept = decode(data, MemberState)
        self._decryptor.restore(kept.decryptor)
        self._digest, self._answer = kept.digest, kept.answer

    def answer(self, body: bytes) -> bytes:
        """The encoded answer to an encoded message of the server.

        Raises:
            RemoteProtocolError: the message is not allowed, or refused for what it says.
        """
        digest = hashlib.sha3_256(body).digest()
        if digest != self._digest:
            asked: AskOffer | AskMember = decode(body, AskOffer, AskMember)  # type: ignore[assignment]
            try:
                found = self._offer(asked) if isinstance(asked, AskOffer) else self._question(asked)
            except (
                LocalProtocolError
            ) as error:  # the decryptor guards its own order of calls; the order came from the server
                raise RemoteProtocolError(str(error)) from error
            self._digest, self._answer = digest, found
        return self._answer

    def _offer(self, asked: AskOffer) -> bytes:
        return encode(self._decryptor.offer(asked.epoch, self._entropy(SEED_BYTES)))

    def _question(self, asked: AskMember) -> bytes:
        if asked.invitation is not None:
            self._decryptor.committee(asked.invitation)
        checked = None if asked.contacts is None else self._decryptor.meet(asked.contacts)
        return encode(MemberAnswer(checked, self._decryptor.receive_bytes(asked.question)))
