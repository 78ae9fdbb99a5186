"""What an attack achieved, on test rows that no machine of the federation has seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from wardround.arrays import F32
from wardround.attacks.poisoning import ModelReplacement
from wardround.drivers.simulation.federate import Federation
from wardround.federation import measure


def harm(federation: Federation) -> dict[str, Any] | None:
    """Who attacked, and how well a backdoor works (metrics.json, ``attack``); None where nobody attacks."""
    attackers, attack = federation.attackers, federation.experiment.attack
    if attackers is None:
        return None
    kept = federation.server.outcome().parameters
    return {"use": attack.name, "hostile": list(attackers.names), "backdoor_success": backdoor(federation, kept)}


def backdoor(federation: Federation, parameters: F32) -> float | None:
    """Share of the test rows of other classes that get the adversary's label once they carry its trigger.

    None for attacks without a trigger. A model nobody attacked has such a share too: compare with it.
    """
    attack = federation.experiment.attack
    return triggered(federation, parameters, attack) if isinstance(attack, ModelReplacement) else None


def triggered(federation: Federation, parameters: F32, attack: ModelReplacement) -> float | None:
    """``backdoor`` for any attack with a trigger, whoever attacked."""
    rows = federation.prepared().rows(federation.world.split.test)
    others = rows.x[rows.y != attack.target]
    if not len(others):
        return None
    said = measure.predicted(federation.engine().outputs(parameters, attack.triggered(others)))
    return float(np.mean(said == attack.target))
