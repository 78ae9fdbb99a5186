"""The client (gateway) of secure aggregation: one message per round, then nothing.

    state        input              next     answer
    NEW          EpochInvitation    READY    EpochKeys
    READY        EpochInvitation    READY    EpochKeys (a new epoch; the old chains are erased)
    READY        RoundStart         READY    Contribution; key, error and round key are erased
    READY        RoundStart again   READY    the stored Contribution, byte for byte

Laws: one contribution per round id, and round numbers only go up, so no key is used twice; what is sent depends on the
client's own configuration and never on a number the server chose; ``from_bytes(to_bytes())`` goes on exactly there.
What it does not do: prove that its values are in range (docs/threat-model.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wardround.arrays import F32, F64, I32, I64
from wardround.crypto.sampling import centred_binomial, field_elements, subseed
from wardround.crypto.sharing import PRIME, deal
from wardround.errors import LocalProtocolError, RemoteProtocolError
from wardround.secagg import descriptor, direct, epoch, fixedpoint, kahe, keys, privacy, transcript
from wardround.secagg.epoch import Ratchet
from wardround.secagg.messages import Contribution, Descriptor, EpochInvitation, EpochKeys, Roster, RoundStart
from wardround.secagg.parameters import BEACON_ELEMENTS, PRESETS, Dithered, Lattice
from wardround.wire import decode, encode, message

NEW, READY = "new", "ready"
TRANSITIONS = {(NEW, EpochInvitation): READY, (READY, EpochInvitation): READY, (READY, RoundStart): READY}


@dataclass(frozen=True, eq=False)
class Plain:
    """What enters the sum: ``update`` [d] real values, ``counts`` [m]; ``model``, ``codec``: what they belong to."""

    update: F32
    counts: F64
    model: bytes = bytes(32)
    codec: bytes = b""


@message(0x5041)
@dataclass(frozen=True)
class ClientState:
    """What a client keeps. Secret: the chains open this client's shares of rounds to come."""

    state: str
    epoch: int
    offers: bytes
    chains: tuple[Ratchet, ...]
    last: bytes

    def __repr__(self) -> str:
        return f"ClientState({self.state}, epoch={self.epoch})"


class Client:
    """One client's machine. ``session`` names the federation; ``roster`` comes from the registrar."""

    def __init__(self, name: str, signer: keys.Signer, roster: Roster, config: Lattice, session: bytes) -> None:
        self.name, self._signer, self._roster, self._config, self._session = name, signer, roster, config, session
        self._roster_digest = transcript.roster_digest(roster)
        self._kept = ClientState(NEW, -1, b"", (), b"")
        if len(roster.members) != PRESETS[config.committee].members:
            wanted = PRESETS[config.committee].members
            raise LocalProtocolError(f"the roster names {len(roster.members)} committee members, not {wanted}")

    def to_bytes(self) -> bytes:
        """The state, to be kept as a secret."""
        return encode(self._kept)

    def restore(self, data: bytes) -> None:
        """Go on from ``to_bytes``.

        Raises:
            DecodeError: not a client's state.
        """
        self._kept = decode(data, ClientState)

    def join(self, invitation: EpochInvitation, entropy: keys.Entropy) -> EpochKeys:
        """Agree on keys with every member for a new epoch; ``entropy(n)`` gives n fresh secret bytes.

        Raises:
            RemoteProtocolError: the offers are not the committee's, or the epoch is not newer than the last one.
        """
        self._allowed(EpochInvitation)
        number = epoch.check_offers(invitation.offers, self._roster.members)
        if number <= self._kept.epoch:
            raise RemoteProtocolError(f"epoch {number} is not newer than {self._kept.epoch}: keys are agreed once")
        answer, chains = epoch.encapsulate(invitation.offers, self.name, self._signer, entropy)
        self._kept = ClientState(READY, number, transcript.offers_digest(invitation.offers), chains, b"")
        return answer

    def contribute(self, start: RoundStart, plain: Plain, entropy: bytes) -> Contribution:
        """The one message for this round; ``entropy``: 32 fresh secret bytes.

        Raises:
            RemoteProtocolError: the descriptor is not what this client's configuration and data give, or its round
                number was used.
            DataError: a value cannot be sent (not a number, or a count out of range).
        """
        self._allowed(RoundStart)
        wish = descriptor.Wish(self._session, self._kept.epoch, 0, 0, 0, 0, 0, self._kept.offers, self._roster_digest)
        identity = descriptor.check(self._config, start, self._roster.server, wish)
        stored = self._stored(identity)
        if stored is not None:
            return stored
        self._matches(start, plain)
        contribution, chains = self._protect(start, identity, plain, entropy)
        self._kept = replace(self._kept, chains=chains, last=encode(contribution))
        return contribution

    def _allowed(self, kind: type) -> None:
        if (self._kept.state, kind) not in TRANSITIONS:
            raise LocalProtocolError(f"client {self.name}: {kind.__name__} is not expected in state {self._kept.state}")

    def _stored(self, identity: bytes) -> Contribution | None:
        if not self._kept.last:
            return None
        last = decode(self._kept.last, Contribution)
        return last if last.round == identity else None

    def _matches(self, start: RoundStart, plain: Plain) -> None:
        described = start.descriptor
        if (described.update_values, described.counts_values) != (plain.update.size, plain.counts.size):
            raise RemoteProtocolError(
                f"the round sums {described.update_values} + {described.counts_values} values, "
                f"this client has {plain.update.size} + {plain.counts.size}"
            )
        if described.model != plain.model or described.codec != plain.codec:
            raise RemoteProtocolError("the round is about another model or codec than the one this client trained")
        if described.number >= self._kept.chains[0].position + epoch.SKIP:
            raise RemoteProtocolError(f"round number {described.number} lies more than {epoch.SKIP} ahead")
        if described.number < self._kept.chains[0].position:
            raise RemoteProtocolError(f"round number {described.number} was used: its key is gone")

    def _protect(
        self, start: RoundStart, identity: bytes, plain: Plain, entropy: bytes
    ) -> tuple[Contribution, tuple[Ratchet, ...]]:
        described = start.descriptor
        shared = descriptor.plain(described)
        if shared is None:
            key = centred_binomial(subseed(entropy, b"key"), described.n).astype(np.int64)
            update, counts = self._encrypt(start, identity, plain, (key, entropy))
        else:
            whole = fixedpoint.to_counts(plain.counts, described.count_bits, described.count_fraction)
            key, update, counts = direct.share(shared, plain.update, whole, described.clip, entropy), b"", b""
        bound = transcript.context(identity, self.name, transcript.ciphertexts_digest(update, counts))
        beacon = field_elements(subseed(entropy, b"beacon"), BEACON_ELEMENTS, PRIME)
        dealing = deal(
            described.committee.sharing(described.n), np.concatenate([key, beacon]), bound, subseed(entropy, b"shares")
        )
        leaf = transcript.leaf(bound, dealing.commitments, dealing.proof)
        sealed, chains = [], []
        for member, (chain, letter) in enumerate(zip(self._kept.chains, dealing.letters, strict=True), start=1):
            round_key, chain = chain.take(described.number, identity)
            sealed.append(keys.seal_once(round_key, letter, leaf + bytes([member])))
            chains.append(chain)
        key.fill(0)  # best effort: CPython may have copied it
        return Contribution(
            identity, self.name, update, counts, dealing.commitments, dealing.proof, tuple(sealed), b""
        ), tuple(chains)

    @staticmethod
    def _steps(described: Descriptor, mode: Dithered, values: F32, entropy: bytes) -> I32 | I64:
        """The update on its grid, rounded by an offset of this client's own: its error is zero on average and does not add up
        with that of others who send the same. Where the round is differentially private: shortened, rounded to the nearest
        and with this client's noise.
        """
        noise, grid = mode.noise, mode.levels << mode.r
        if noise is None:
            offset = int.from_bytes(subseed(entropy, b"rounding")[:2], "little")
            return fixedpoint.to_steps(values, described.clip, mode.levels, mode.r, offset)
        steps = fixedpoint.to_steps(privacy.shorten(values, noise.norm), described.clip, mode.levels, mode.r)
        return steps + privacy.draw(noise, subseed(entropy, b"privacy"), values.size, grid)

    def _encrypt(
        self, start: RoundStart, identity: bytes, plain: Plain, secret: tuple[np.ndarray, bytes]
    ) -> tuple[bytes, bytes]:
        described, (key, entropy) = start.descriptor, secret
        segment, exact = descriptor.segments(described, identity)
        update = counts = b""
        if segment is not None and described.update is not None:
            steps = self._steps(described, described.update, plain.update, entropy)
            update = kahe.encrypt(segment, steps, key, subseed(entropy, b"update error"))
        if exact is not None:
            whole = fixedpoint.to_counts(plain.counts, described.count_bits, described.count_fraction)
            counts = kahe.encrypt(exact, whole, key, subseed(entropy, b"counts error"))
        return update, counts
