"""What the server holds of a round's contributions, and how cohort sums come out of them.

With one sum, a contribution whose shares every member found good is added at once and its ciphertext dropped, so memory
does not grow with the number of clients; with cohorts, dealt only after the last upload, ciphertexts are kept till then.
Law: what is opened for a cohort is exactly the sum of its clients' ciphertexts, each once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wardround.arrays import F64, I64, U64
from wardround.crypto.aead import TAG_BYTES
from wardround.crypto.sharing import DIGEST_BYTES, PRIME
from wardround.errors import RemoteProtocolError
from wardround.secagg import direct, fixedpoint, kahe, transcript
from wardround.secagg.descriptor import plain, segments
from wardround.secagg.messages import Contribution, Descriptor, SharePacket
from wardround.wire import message

Verifier = Callable[[Contribution], bool]


@dataclass(frozen=True, eq=False)
class CohortSum:
    """The opened sum of a cohort: ``update`` [d], ``counts`` [m].

    ``plausible`` is false where the sum cannot come from honest clients (a coefficient far off its grid, or a value out of
    range): some client's key does not fit its ciphertext, or its values leave their range. Which one is not known.
    """

    clients: tuple[str, ...]
    update: F64
    counts: F64
    plausible: bool


@message(0x5060)
@dataclass(frozen=True, eq=False)
class Kept:
    """A contribution; its ciphertexts are empty once they were added."""

    contribution: Contribution
    ciphertexts: bytes
    folded: bool


class Vault:
    """The contributions of one round."""

    def __init__(self, descriptor: Descriptor, identity: bytes) -> None:
        self.identity, self._descriptor = identity, descriptor
        self._segments, self._plain = segments(descriptor, identity), plain(descriptor)
        self._sharing = descriptor.committee.sharing(descriptor.n)
        self._kept: dict[str, Kept] = {}
        self._sums: tuple[U64, ...] = self._empty()

    def __contains__(self, client: str) -> bool:
        return client in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def clients(self) -> tuple[str, ...]:
        return tuple(self._kept)

    def accept(self, contribution: Contribution) -> bool:
        """Hold a contribution; False: this very one is held already.

        Raises:
            RemoteProtocolError: of another round, of the wrong size, or not the first of its client.
        """
        if contribution.round != self.identity:
            raise RemoteProtocolError(f"{contribution.client}: contribution to another round")
        self._check_sizes(contribution)
        ciphertexts = transcript.ciphertexts_digest(contribution.update, contribution.counts)
        held = self._kept.get(contribution.client)
        if held is not None:
            if held.ciphertexts != ciphertexts or held.contribution.low_degree != contribution.low_degree:
                raise RemoteProtocolError(f"{contribution.client}: a second, different contribution")
            return False
        self._kept[contribution.client] = Kept(contribution, ciphertexts, folded=False)
        return True

    def leaf(self, client: str) -> bytes:
        kept = self._kept[client]
        bound = transcript.context(self.identity, client, kept.ciphertexts)
        return transcript.leaf(bound, kept.contribution.commitments, kept.contribution.low_degree)

    def packet(self, client: str, member: int) -> SharePacket:
        """The part of a contribution for member ``member`` (1..C)."""
        kept = self._kept[client]
        contribution = kept.contribution
        return SharePacket(
            client, kept.ciphertexts, contribution.commitments, contribution.low_degree, contribution.sealed[member - 1]
        )

    def fold(self, client: str) -> None:
        """Add a contribution to the one sum and drop its ciphertexts."""
        kept = self._kept[client]
        if not kept.folded:
            self._add(self._sums, kept.contribution)
            self._kept[client] = Kept(replace(kept.contribution, update=b"", counts=b""), kept.ciphertexts, folded=True)

    def open(self, cohorts: Sequence[tuple[str, ...]], keys: Sequence[I64]) -> tuple[CohortSum, ...]:
        """The cohorts' sums, given the sum of keys [n] of each."""
        return tuple(self._open(cohort, key) for cohort, key in zip(cohorts, keys, strict=True))

    def keep(self) -> tuple[tuple[Kept, ...], tuple[U64, ...]]:
        """What ``resume`` needs."""
        return tuple(self._kept.values()), self._sums

    def resume(self, kept: tuple[Kept, ...], sums: tuple[U64, ...]) -> None:
        self._kept, self._sums = {item.contribution.client: item for item in kept}, sums

    def _open(self, cohort: tuple[str, ...], key: I64) -> CohortSum:
        # folding happens only for clients of the one opened set, so a folded sum is this cohort's
        sums = self._sums if any(self._kept[client].folded for client in cohort) else self._empty()
        for client in cohort:
            if not self._kept[client].folded:
                self._add(sums, self._kept[client].contribution)
        return self._decrypt(cohort, key, dict(zip(("update", "counts"), self._named(sums), strict=True)))

    def _decrypt(self, cohort: tuple[str, ...], key: I64, sums: Mapping[str, U64 | None]) -> CohortSum:
        if self._plain is not None:
            return self._read(cohort, key, self._plain)
        described, (update, exact), clients = self._descriptor, self._segments, len(cohort)
        values, counts, plausible = np.zeros(0), np.zeros(0), True
        if update is not None and described.update is not None:
            mode = described.update
            steps = kahe.decrypt_steps(update, _present(sums["update"]), key, clients)
            plausible = bool((steps >= -mode.margin).all() and (steps <= clients * mode.levels + mode.margin).all())
            values = fixedpoint.from_steps(steps, clients, described.clip, mode.levels)
        if exact is not None and described.counts is not None:
            whole, residual = kahe.decrypt_counts(exact, _present(sums["counts"]), key)
            plausible = plausible and residual <= described.counts.noise_bound
            counts = fixedpoint.from_counts(whole, clients, described.count_bits, described.count_fraction)
        return CohortSum(cohort, values, counts, plausible)

    def _read(self, cohort: tuple[str, ...], opened: I64, shared: direct.Plain) -> CohortSum:
        """Direct mode: what was opened is the sum itself."""
        described, clients = self._descriptor, len(cohort)
        steps, whole, plausible = direct.read(shared, opened % PRIME, clients)
        values, counts = np.zeros(0), np.zeros(0)
        if shared.update is not None:
            values = fixedpoint.from_steps(steps, clients, described.clip, shared.update.levels)
        if shared.counts is not None:
            counts = fixedpoint.from_counts(whole, clients, described.count_bits, described.count_fraction)
        return CohortSum(cohort, values, counts, plausible)

    def _named(self, sums: tuple[U64, ...]) -> tuple[U64 | None, U64 | None]:
        remaining = list(sums)
        update, counts = (remaining.pop(0) if segment is not None else None for segment in self._segments)
        return update, counts

    def _empty(self) -> tuple[U64, ...]:
        return tuple(kahe.start(segment) for segment in self._segments if segment is not None)

    def _add(self, sums: tuple[U64, ...], contribution: Contribution) -> None:
        present = [segment for segment in self._segments if segment is not None]
        parts = [part for part in (contribution.update, contribution.counts) if part]
        for segment, total, part in zip(present, sums, parts, strict=True):
            kahe.add(segment, total, part)

    def _check_sizes(self, contribution: Contribution) -> None:
        expected = tuple(0 if segment is None else segment.wire_bytes for segment in self._segments)
        committee, sharing = self._descriptor.committee.members, self._sharing
        sealed = [sharing.letter_bytes(member) + TAG_BYTES for member in range(1, committee + 1)]
        if (
            (len(contribution.update), len(contribution.counts)) != expected
            or [len(item) for item in contribution.sealed] != sealed
            or [len(item) for item in contribution.commitments] != [DIGEST_BYTES] * committee
            or len(contribution.low_degree) != self._sharing.proof_bytes
        ):
            raise RemoteProtocolError(f"{contribution.client}: a part of the contribution has the wrong size")
        for segment, part in zip(self._segments, (contribution.update, contribution.counts), strict=True):
            if segment is not None:  # refuses set padding bits now, while the sender can still be named
                kahe.check_padding(segment, part)


def _present(total: U64 | None) -> U64:
    if total is None:
        raise RemoteProtocolError("a segment is missing")
    return total
