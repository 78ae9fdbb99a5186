"""A KEM that records its encapsulations, or plays recorded ones back: for vectors only.

pyca offers no derandomised encapsulation, so a vector holds the (secret, ciphertext) pairs that were drawn; everything else of
the handshake is a function of seeds and entropy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wardround.auth.suites import Suite
from wardround.crypto.kem import Entropy, Kem, KemKey, Recipient

Pair = tuple[bytes, bytes]


class ReplayKem:
    """``tape`` grows while recording and is consumed while playing."""

    def __init__(self, kem: Kem, tape: list[Pair], record: bool) -> None:
        self._kem, self.tape, self._record = kem, tape, record

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kem, name)

    def key(self, seed: bytes) -> KemKey:
        return self._kem.key(seed)

    def load(self, public: bytes) -> Recipient:
        return ReplayRecipient(self, self._kem.load(public))

    def pair(self, recipient: Recipient, entropy: Entropy) -> Pair:
        if self._record:
            self.tape.append(recipient.encapsulate(entropy))
            return self.tape[-1]
        return self.tape.pop(0)


class ReplayRecipient:
    def __init__(self, kem: ReplayKem, real: Recipient) -> None:
        self._kem, self._real, self.data = kem, real, real.data

    def encapsulate(self, entropy: Entropy) -> Pair:
        return self._kem.pair(self._real, entropy)


def with_tape(suite: Suite, tape: list[Pair], record: bool) -> Suite:
    """The suite over a recording or playing KEM."""
    kem: Any = ReplayKem(suite.kem, tape, record)
    return replace(suite, kem=kem)


class Tape:
    """Entropy as a list of what was asked for."""

    def __init__(self, values: list[bytes]) -> None:
        self._values = list(values)

    def __call__(self, size: int) -> bytes:
        value = self._values.pop(0)
        assert len(value) == size, f"the vector holds {len(value)} bytes of entropy where {size} are asked for"
        return value
