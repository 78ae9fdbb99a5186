"""What is hashed and signed in a round: one function per digest, so that nobody can build it in two ways.

Every digest is SHA3-256 (of the ciphertexts: SHA-256) over a label (crypto/labels.py) and length-prefixed parts: no two inputs
give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from wardround.secagg import labels
from wardround.secagg.messages import Contribution, Descriptor, EpochOffer, Roster, SharePacket
from wardround.wire import encode


def digest(label: bytes, *parts: bytes) -> bytes:
    """SHA3-256 of the label and the parts, each with its length in front."""
    return _hashed(hashlib.sha3_256(), label, *parts)


def round_id(descriptor: Descriptor) -> bytes:
    return digest(labels.SECAGG_ROUND, encode(descriptor))


def public_seed(round_id: bytes, segment: bytes) -> bytes:
    """Seed of the public polynomials of a segment: a hash of the round id, nothing up the server's sleeve."""
    return digest(labels.SECAGG_PUBLIC, round_id, segment)


def roster_digest(roster: Roster) -> bytes:
    return digest(labels.SECAGG_ROSTER, roster.hash)


def offer_digest(epoch: int, member: int, public: bytes) -> bytes:
    """What a member signs when it offers an epoch key."""
    return digest(labels.SECAGG_OFFER, _number(epoch), _number(member), public)


def offers_digest(offers: Sequence[EpochOffer]) -> bytes:
    """The committee's keys of an epoch, as the descriptor names them."""
    return digest(labels.SECAGG_OFFERS, *(offer_digest(o.epoch, o.member, o.public) for o in offers))


def keys_digest(epoch: int, client: str, digests: Sequence[bytes]) -> bytes:
    """What a client signs over its encapsulations, given the digest of each."""
    return digest(labels.SECAGG_KEYS, _number(epoch), client.encode(), *digests)


def encapsulation_digest(encapsulation: bytes) -> bytes:
    return digest(labels.SECAGG_ENCAPSULATION, encapsulation)


def ciphertexts_digest(update: bytes, counts: bytes) -> bytes:
    """H(c): both segments of a contribution. SHA-256, which processors have an instruction for: this is the one long input."""
    return _hashed(hashlib.sha256(), labels.SECAGG_CIPHERTEXT, update, counts)


def context(round_id: bytes, client: str, ciphertexts: bytes) -> bytes:
    """Ctx = H(id, i, H(c)): what the sharing of a key is bound to."""
    return digest(labels.SECAGG_CONTEXT, round_id, client.encode(), ciphertexts)


def leaf(context: bytes, commitments: Sequence[bytes], low_degree: bytes) -> bytes:
    """All of a contribution a member can see; the AEAD of every share is bound to it."""
    return digest(labels.SECAGG_LEAF, context, low_degree, *commitments)


def set_digest(round_id: bytes, leaves: Mapping[str, bytes]) -> bytes:
    """What members vote for: the clients of the set and their contributions."""
    parts = [part for client in sorted(leaves) for part in (client.encode(), leaves[client])]
    return digest(labels.SECAGG_SET, round_id, *parts)


def checked_digest(round_id: bytes, batch: int, refused: Sequence[str]) -> bytes:
    return digest(labels.SECAGG_CHECKED, round_id, _number(batch), *(client.encode() for client in refused))


def beacon_digest(set_digest: bytes, share: bytes) -> bytes:
    return digest(labels.SECAGG_BEACON, set_digest, share)


def partition_digest(set_digest: bytes, beacon: bytes, cohorts: Sequence[Sequence[str]]) -> bytes:
    """The second vote: the beacon and the cohorts it deals."""
    rows = [digest(labels.SECAGG_PARTITION, *(client.encode() for client in cohort)) for cohort in cohorts]
    return digest(labels.SECAGG_PARTITION, set_digest, beacon, *rows)


def sums_digest(opened: bytes, sums: Sequence[bytes]) -> bytes:
    """What a member signs over its sum-shares; ``opened`` is the digest whose certificate it saw."""
    return digest(labels.SECAGG_SUMS, opened, *sums)


def packet(contribution: Contribution, member: int) -> SharePacket:
    """The part of a contribution for member ``member`` (1..C)."""
    return SharePacket(
        contribution.client,
        ciphertexts_digest(contribution.update, contribution.counts),
        contribution.commitments,
        contribution.low_degree,
        contribution.sealed[member - 1],
    )


def _hashed(state: Any, *parts: bytes) -> bytes:
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    value: bytes = state.digest()
    return value


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)
