"""Who is on the committee: the members the file names, or one gateway each of different sites.

Committee members must not all belong to one house, so at most one is drawn per *site*: the part of a gateway's name before
the first ``/``, or the whole name where there is none. The draw is a function of names and seed, which the file fixes and
everybody has: the server has no say in it. It is not secret; who can choose names or seed chooses members
(docs/threat-model.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from wardround.errors import ConfigError
from wardround.secagg.parameters import PRESETS, Lattice


def site(name: str) -> str:
    """The house a gateway belongs to."""
    return name.partition("/")[0]


def members(choice: Lattice, gateways: Sequence[str], seed: int) -> tuple[str, ...]:
    """The members' names, number 1 first: gateways, or other parties that the file names.

    Raises:
        ConfigError: there are fewer sites than members.
    """
    if choice.members:
        return choice.members
    wanted = PRESETS[choice.committee].members
    first: dict[str, str] = {}
    for name in sorted(gateways, key=lambda name: _lot(seed, name)):
        first.setdefault(site(name), name)
    if len(first) < wanted:
        fitting = [name for name, shape in PRESETS.items() if shape.members <= len(first)]
        other = f'committee = "{fitting[-1]}" would fit, or ' if fitting else ""
        raise ConfigError(
            f"[secagg] committee {choice.committee!r} draws {wanted} members from different sites, the gateways belong to "
            f"{len(first)}: {other}name the members, other parties (a registrar, a regulator) among them: "
            f"[secagg] members = [...]"
        )
    chosen = sorted(first, key=lambda house: _lot(seed, house))[:wanted]
    return tuple(first[house] for house in chosen)


def _lot(seed: int, name: str) -> bytes:
    return hashlib.sha256(b"wardround committee" + seed.to_bytes(16, "big") + name.encode()).digest()
