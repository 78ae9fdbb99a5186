"""Contributions to a secure sum that are not what they should be: what layer 2 must name and leave out.

    size        a part cut short: the server refuses it at once
    share       one committee member's sealed share damaged: that member names the client
    proof       the proof that the shares fit together damaged: every member names the client
    ciphertext  an update enciphered under another key than the shares hold. Each piece is well formed, so nobody can name
                the client; the opened sum lies far off its grid, its whole cohort is left out, and group testing finds
                whose cohorts keep failing (federation/trust.py)
    any         one of these, drawn anew for each client and round

Laws (tests/attacks, tests/drivers): a round with such contributions opens the sums of the cohorts without them, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from wardround.attacks.attack import Attack
from wardround.crypto.sampling import subseed
from wardround.secagg.client import Client, Plain
from wardround.secagg.messages import Contribution, RoundStart

Part = Literal["any", "size", "share", "proof", "ciphertext"]
PARTS: tuple[Part, ...] = ("size", "share", "proof", "ciphertext")


@dataclass(frozen=True)
class Malformed(Attack):
    """Hostile clients send broken ciphertexts, shares and proofs; needs ``[secagg] use = "lattice"``.

    Attributes:
        part: what is broken: ``size``, ``share``, ``proof``, ``ciphertext``, or ``any`` of them.
    """

    name: ClassVar[str] = "malformed"
    trains: ClassVar[bool] = True
    part: Part = "any"

    def broken(self, rng: np.random.Generator) -> Part:
        """What a client breaks this time."""
        return self.part if self.part != "any" else PARTS[int(rng.integers(len(PARTS)))]


class OtherKey(Client):
    """A client of layer 2 whose ciphertexts are under another key than the one it shares out, while ``lies`` is set."""

    lies = False

    def _encrypt(
        self, start: RoundStart, identity: bytes, plain: Plain, secret: tuple[np.ndarray, bytes]
    ) -> tuple[bytes, bytes]:
        key, entropy = secret
        if self.lies:
            key = np.roll(key, 1) + 1
            entropy = subseed(entropy, b"another")
        return super()._encrypt(start, identity, plain, (key, entropy))


def damaged(contribution: Contribution, part: Part, rng: np.random.Generator) -> Contribution:
    """The contribution with that ``part`` broken; what ``ciphertext`` breaks is broken before the shares are dealt."""
    if part == "size":
        return replace(contribution, low_degree=contribution.low_degree[:-1])
    if part == "proof":
        return replace(contribution, low_degree=flipped(contribution.low_degree, rng))
    if part == "share":
        sealed = list(contribution.sealed)
        member = int(rng.integers(len(sealed)))
        sealed[member] = flipped(sealed[member], rng)
        return replace(contribution, sealed=tuple(sealed))
    return contribution


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """``data`` with one bit the other way round."""
    out = bytearray(data)
    at = int(rng.integers(len(out)))
    out[at] ^= 1 << int(rng.integers(8))
    return bytes(out)
