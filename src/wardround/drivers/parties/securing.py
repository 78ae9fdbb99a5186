"""The secure sum's machines as processes make them: from the federation file and the key folder.

Everybody derives the federation's name for a run (the layer's ``session``) from the file and the run's id: a process whose
file differs in anything but ``[broker]`` and ``[gateway]`` refuses the rounds of the others, and they its.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wardround.config import Experiment
from wardround.drivers.parties import signing
from wardround.drivers.parties.names import COORDINATOR, Seat, seats, token
from wardround.drivers.world import protection
from wardround.errors import LocalProtocolError
from wardround.federation.client import Client
from wardround.federation.secure_client import SecureClient, SecureClientState
from wardround.federation.secure_member import Member
from wardround.federation.secure_server import Secured, SecureDesk
from wardround.federation.secure_state import Committee, SecureState
from wardround.federation.server import Server
from wardround.secagg import client as layer2
from wardround.secagg import labels
from wardround.secagg.decryptor import Decryptor
from wardround.secagg.parameters import PRESETS, Lattice
from wardround.secagg.transcript import digest
from wardround.wire import decode


@dataclass(frozen=True, eq=False)
class Securing:
    """What the parties of one federation's secure sum share."""

    agreed: str
    names: tuple[str, ...]
    keys: Path
    config: Lattice
    seats: tuple[Seat, ...]
    passphrase: str = field(default="", repr=False)

    @classmethod
    def of(
        cls, experiment: Experiment, agreed: str, names: Sequence[str], keys: Path, passphrase: str = ""
    ) -> Securing | None:
        """None where the file asks for plain sums. ``agreed``: the digest of what all parties must have alike.

        Raises:
            ConfigError: the committee cannot be drawn.
        """
        choice = protection(experiment)
        if not isinstance(choice, Lattice):
            return None
        return cls(agreed, tuple(names), keys, choice, seats(experiment, names), passphrase)

    def committee(self) -> Committee:
        """Who is on it, with everybody's verification keys.

        Raises:
            UsageError: a key is missing.
        """
        roster = signing.roster(self.keys, self.names, self.seats)
        return Committee(tuple(seat.peer for seat in self.seats), roster, PRESETS[self.config.committee])

    def desk(self, server: Server, run: str, kept: SecureState | None) -> SecureDesk:
        """The coordinator's desk for ``run``."""
        signer = signing.signer(self.keys, COORDINATOR, COORDINATOR, self.passphrase)
        secured = Secured(self.config, self._session(run), self.committee(), signer, os.urandom)
        made = SecureDesk(server, self.names, secured)
        if kept is not None:
            made.restore(kept)
        return made

    def gateway(self, name: str, client: Client, run: str, kept: SecureClientState | None) -> SecureClient:
        """The machine of gateway ``name`` for ``run`` around the round's ``client``."""
        owner = token(self.names.index(name))
        signer, roster = signing.signer(self.keys, name, owner, self.passphrase), self.committee().roster
        protector = layer2.Client(name, signer, roster, self.config, self._session(run))
        made = SecureClient(client, protector, os.urandom)
        if kept is not None:
            made.restore(kept)
        return made

    def member(self, seat: Seat, run: str, saved: bytes | None) -> Member:
        """The machine of the committee's ``seat`` for ``run``."""
        if seat not in self.seats:
            raise LocalProtocolError(f"{seat.peer} is not on the committee")
        signer, roster = signing.signer(self.keys, seat.peer, seat.token, self.passphrase), self.committee().roster
        decryptor = Decryptor(seat.number, signer, roster, self.config, self._session(run))
        made = Member(decryptor, os.urandom)
        if saved is not None:
            made.restore(saved)
        return made

    def seats_of(self, name: str) -> tuple[Seat, ...]:
        return tuple(seat for seat in self.seats if seat.holder == name)

    def _session(self, run: str) -> bytes:
        return digest(labels.SECAGG_SESSION, self.agreed.encode(), run.encode())


def kept_server(saved: bytes) -> SecureState:
    """The desk's stored state; the round's machine is in its ``server``."""
    return decode(saved, SecureState)
