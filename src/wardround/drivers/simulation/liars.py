"""Hostile clients at the door of the secure sum: what they send in place of a well-formed contribution.

The update that such a client trained is honest or not (attackers.py); here it is about the message around it. A contribution
is broken after its client made it and before layer 1 signs it, so it arrives as a real one would.
"""

from __future__ import annotations

from dataclasses import dataclass

from wardround.attacks.malformed import Malformed, OtherKey, damaged
from wardround.config import Experiment
from wardround.drivers.simulation.attackers import Attackers
from wardround.errors import ConfigError
from wardround.rng import stream
from wardround.secagg.client import Client
from wardround.secagg.in_memory import Carry, Parties
from wardround.secagg.messages import Contribution
from wardround.secagg.parameters import Lattice
from wardround.wire import decode, encode


@dataclass(frozen=True)
class Liars:
    """The clients ``names`` that send malformed contributions as ``attack`` says; drawn by ``seed``."""

    attack: Malformed
    names: tuple[str, ...]
    seed: int

    @property
    def kinds(self) -> dict[str, type[Client]]:
        """The machines that layer 2 must be given for them."""
        return dict.fromkeys(self.names, OtherKey)

    def carrying(self, parties: Parties, number: int, at_work: bool, carry: Carry | None) -> Carry:
        """The way to the server in secure sum ``number``: ``carry``, or none, with the liars' contributions broken before it."""
        drawn = {name: stream(self.seed, "malformed", number, at) for at, name in enumerate(self.names)}
        parts = {name: self.attack.broken(rng) for name, rng in drawn.items()}
        for name, part in parts.items():
            client = parties.clients[name]
            assert isinstance(client, OtherKey), "Parties was given kinds"
            client.lies = at_work and part == "ciphertext"

        def carried(name: str, payload: bytes) -> bytes | None:
            if at_work and name in parts:
                made = decode(payload, Contribution)
                direct = (
                    not made.update and not made.counts
                )  # short vectors are shared themselves: no ciphertext to break
                part = "share" if direct and parts[name] == "ciphertext" else parts[name]
                payload = encode(damaged(made, part, drawn[name]))
            return payload if carry is None else carry(name, payload)

        return carried


def liars(experiment: Experiment, attackers: Attackers | None) -> Liars | None:
    """Who breaks its contributions to the secure sum; None where nobody does.

    Raises:
        ConfigError: somebody does, and there is no lattice sum to break.
    """
    attack = experiment.attack
    if attackers is None or not isinstance(attack, Malformed):
        return None
    if not isinstance(experiment.secagg, Lattice):
        raise ConfigError('[attack] malformed breaks contributions to the lattice sum: set [secagg] use = "lattice"')
    return Liars(attack, attackers.names, experiment.seed)
