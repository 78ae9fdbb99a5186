"""Epoch keys: one encapsulation per client, member and epoch; then a one-way ratchet (docs/design/0205).

A KEM ciphertext per member and round would be most of a small contribution. So a member offers a fresh hybrid key
(X-Wing: ML-KEM-768 + X25519) once per epoch, signed; a client encapsulates to each member once and signs the lot; every round
uses the next key of the chain, which is then erased: who seizes a machine later cannot open earlier rounds.

    k_0 = KDF(shared secret; epoch, client, member)   round key = HMAC(k_r, seal, round id)   k_{r+1} = HMAC(k_r, next)

Laws: both ends derive the same key for the same round number, however many rounds either missed (up to SKIP);
a number is used once and never again. What it does not do: heal inside an epoch (the next epoch does).
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from wardround.errors import AuthError, LocalProtocolError, RemoteProtocolError
from wardround.secagg import keys, labels
from wardround.secagg.messages import EpochContact, EpochKeys, EpochOffer
from wardround.secagg.transcript import digest, encapsulation_digest, keys_digest, offer_digest
from wardround.wire import message

SKIP = 4096  # rounds a client may miss in an epoch


@message(0x5040)
@dataclass(frozen=True)
class Ratchet:
    """The pairwise key chain, standing before round ``position``."""

    position: int
    key: bytes = field(repr=False)

    def __repr__(self) -> str:
        return f"Ratchet(position={self.position})"

    def take(self, number: int, round_id: bytes) -> tuple[bytes, Ratchet]:
        """(key of round ``number``, the chain behind it).

        Raises:
            LocalProtocolError: the number was used or passed already, or lies more than SKIP ahead.
        """
        if not self.position <= number < self.position + SKIP:
            raise LocalProtocolError(
                f"round {number} has no key: the chain stands at {self.position} and never goes back"
            )
        key = self.key
        for _ in range(number - self.position):
            key = hmac.digest(key, labels.SECAGG_NEXT, "sha256")
        taken = hmac.digest(key, labels.SECAGG_SEAL + round_id, "sha256")
        return taken, Ratchet(number + 1, hmac.digest(key, labels.SECAGG_NEXT, "sha256"))


def check_offers(offers: Sequence[EpochOffer], members: Sequence[bytes]) -> int:
    """The epoch of a complete list of offers, member 1 first.

    Raises:
        RemoteProtocolError: a member is missing, out of order or from another epoch.
        AuthError: an offer is not signed by its member.
    """
    if [offer.member for offer in offers] != list(range(1, len(members) + 1)) or len(
        {offer.epoch for offer in offers}
    ) != 1:
        raise RemoteProtocolError(f"an epoch needs one offer of each of the {len(members)} members, in order")
    for offer, key in zip(offers, members, strict=True):
        keys.verify(key, offer_digest(offer.epoch, offer.member, offer.public), offer.signature)
    return offers[0].epoch


def encapsulate(
    offers: Sequence[EpochOffer], client: str, signer: keys.Signer, entropy: keys.Entropy
) -> tuple[EpochKeys, tuple[Ratchet, ...]]:
    """A client's keys for the epoch of checked ``offers``: the message for the server and its own chains."""
    chains, encapsulations = [], []
    for offer in offers:
        secret, ciphertext = keys.encapsulate(offer.public, entropy)
        encapsulations.append(ciphertext)
        chains.append(Ratchet(0, root(secret, offer, client, ciphertext)))
    epoch, digests = offers[0].epoch, tuple(encapsulation_digest(c) for c in encapsulations)
    signature = signer.sign(keys_digest(epoch, client, digests))
    return EpochKeys(epoch, client, tuple(encapsulations), signature), tuple(chains)


def contact(agreed: EpochKeys, member: int) -> EpochContact:
    """The part of a client's message for member ``member`` (1..C)."""
    digests = tuple(encapsulation_digest(c) for c in agreed.encapsulations)
    return EpochContact(agreed.client, digests, agreed.encapsulations[member - 1], agreed.signature)


def accept(offer: EpochOffer, secret: keys.KemKey, met: EpochContact, client_key: bytes) -> Ratchet:
    """Member: the chain shared with a client.

    Raises:
        AuthError: the client did not sign this encapsulation for this member and epoch.
    """
    if (
        not 1 <= offer.member <= len(met.digests)
        or encapsulation_digest(met.encapsulation) != met.digests[offer.member - 1]
    ):
        raise AuthError("the encapsulation is not the one the client signed")
    keys.verify(client_key, keys_digest(offer.epoch, met.client, met.digests), met.signature)
    return Ratchet(0, root(secret.decapsulate(met.encapsulation), offer, met.client, met.encapsulation))


def root(shared: bytes, offer: EpochOffer, client: str, encapsulation: bytes) -> bytes:
    """k_0, bound to epoch, member, its key, client and ciphertext."""
    bound = digest(
        labels.SECAGG_ROOT, offer_digest(offer.epoch, offer.member, offer.public), client.encode(), encapsulation
    )
    return hmac.digest(shared, bound, "sha256")
