"""Who is who in a deployed federation: gateways, the committee's seats, and what each is called in files and subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wardround.auth.choice import NoAuth
from wardround.config import Experiment
from wardround.errors import ConfigError
from wardround.federation.committee import members
from wardround.secagg.parameters import Lattice

COORDINATOR = "coordinator"
SEAT = " (committee)"  # what tells a member of the committee from the gateway of the same name


def token(index: int) -> str:
    """How a gateway is called in subjects and files: names may hold spaces, dots and slashes."""
    return f"g{index:05d}"


@dataclass(frozen=True)
class Seat:
    """A place on the committee: its ``number`` from 1, who holds it, and what it is called at the broker."""

    number: int
    holder: str

    @property
    def peer(self) -> str:
        return f"{self.holder}{SEAT}"

    @property
    def token(self) -> str:
        return f"m{self.number:05d}"


def seats(experiment: Experiment, names: Sequence[str]) -> tuple[Seat, ...]:
    """The committee of the secure sum; empty under plain sums.

    Raises:
        ConfigError: it cannot be drawn from the gateways ``names``.
    """
    if not isinstance(experiment.secagg, Lattice):
        return ()
    drawn = members(experiment.secagg, names, experiment.seed)
    found = tuple(Seat(number, holder) for number, holder in enumerate(drawn, start=1))
    taken = [seat.peer for seat in found if seat.peer in names]
    if taken:
        raise ConfigError(f"a gateway is named {taken[0]!r}, as the committee member of that name: rename it")
    return found


def peers(experiment: Experiment, names: Sequence[str]) -> dict[str, str]:
    """Everybody but the coordinator: token by name, gateways first."""
    found = {name: token(i) for i, name in enumerate(names)}
    return found | {seat.peer: seat.token for seat in seats(experiment, names)}


def parts(experiment: Experiment, names: Sequence[str], who: str) -> dict[str, str]:
    """Token by name of what ``who`` is: a gateway, a seat on the committee, or both; empty: nobody has that name."""
    found = {who: token(list(names).index(who))} if who in names else {}
    return found | {seat.peer: seat.token for seat in seats(experiment, names) if seat.holder == who}


def signs(experiment: Experiment) -> bool:
    """Whether every answer is signed too."""
    return not isinstance(experiment.auth, NoAuth) and experiment.auth.signed_update
