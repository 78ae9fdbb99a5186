"""All strategies a simulation can name: those of every driver, and the attacks, which only a simulation may reach."""

from __future__ import annotations

from wardround.attacks.adversaries import ATTACKS
from wardround.catalogue import Catalogue
from wardround.drivers.strategies import full

SIMULATED: dict[str, type] = {attack.name: attack for attack in ATTACKS if attack.name != "none"}


def simulated() -> Catalogue:
    """The catalogue of ``wardround simulate``.

    Raises:
        UsageError: an installed third party's strategy is broken or clashes.
    """
    return full().extended("attack", SIMULATED)
