"""A client's own model, which may have tensors of its own for each type of device: every row is scored with its device's.

Law: without typed parameters it is the one model; rows are scored independently of each other.
What it does not do: tune (tuning.py), tell which device a row is of (traffic/table.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from wardround.arrays import F32, I32
from wardround.training.task import Engine


@dataclass(frozen=True, eq=False)
class Own:
    """``parameters`` [d] for all rows but those of the device types in ``typed``, which have their own [d]."""

    parameters: F32
    typed: Mapping[int, F32] = field(default_factory=dict)

    def outputs(self, engine: Engine, x: F32, types: I32) -> F32:
        """Outputs [n, outputs] on prepared rows ``x`` [n, f] of devices of ``types`` [n]."""
        if not self.typed:
            return engine.outputs(self.parameters, x)
        groups = {code: np.flatnonzero(types == code) for code in np.unique(types).tolist()}
        parts = [engine.outputs(self.typed.get(code, self.parameters), x[at]) for code, at in groups.items()]
        if not parts:
            return engine.outputs(self.parameters, x)
        found = np.empty((len(x), parts[0].shape[1]), dtype=np.float32)
        for at, part in zip(groups.values(), parts, strict=True):
            found[at] = part
        return found
