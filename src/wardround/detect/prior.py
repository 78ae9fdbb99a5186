"""What the federation brings before a site has learnt anything: what is normal for all devices and for each type, a threshold.

It comes in the model's bundle (traffic/normal.py, ``[normal] fit = true``), made of sums over all gateways. A site that has
baselines of its own does not look at it. A row's score is the lower of two: how unusual it is for all devices, and for devices of
its type. A vendor whom no other site has is unusual for its type and not for all (alone, a type's baseline alarmed on up to an
eighth of an unseen ward's benign windows: docs/design/0620); so the threshold of all devices holds for every type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from wardround.arrays import F32, F64
from wardround.detect.baseline import Baseline, of_federation
from wardround.detect.thresholds import PROVISIONAL, Calibration
from wardround.errors import UsageError
from wardround.traffic import normal
from wardround.training.bundle import Bundle


@dataclass(frozen=True, eq=False)
class Prior:
    """``baselines`` by device type, "" for all; ``calibration`` of their scores. None of both: the federation learnt none."""

    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    calibration: Calibration | None = None

    def scores(self, type_: str, x: F32) -> F64:
        """Of raw rows ``x`` [n, f] of devices of ``type_``.

        Raises:
            KeyError: the federation learnt none.
        """
        found, own = self.baselines[""].scores(x), self.baselines.get(type_)
        return found if own is None else np.minimum(found, own.scores(x))


def prior(bundles: Mapping[str, Bundle], rate: float) -> Prior:
    """Of the first bundle that carries one; ``rate``: the baseline's share of the false-alarm budget. A type with fewer than
    ``PROVISIONAL`` counted scores has none of its own: nobody knows their scale.

    Raises:
        UsageError: what it carries is damaged.
    """
    for bundle in bundles.values():
        try:
            found = normal.from_arrays(bundle.arrays)
        except ValueError as error:
            raise UsageError(f"this model's baselines cannot be read: {error}") from error
        if "" in found:
            made = {
                type_: of_federation(spread, counts)
                for type_, (spread, counts) in found.items()
                if not type_ or counts.sum() >= PROVISIONAL
            }
            baselines = {type_: baseline for type_, (baseline, _) in made.items()}
            return Prior(baselines, Calibration(rate, federation=made[""][1]))
    return Prior()
