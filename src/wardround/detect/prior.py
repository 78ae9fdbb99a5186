"""What the federation brings before a site has learnt anything: baselines of normal traffic with their thresholds, by type.

They come in the model's bundle (traffic/normal.py, ``[normal] fit = true``), made of sums over all gateways. A site that has
baselines of its own does not look at them. A type whose scores were counted fewer than ``PROVISIONAL`` times has the baseline of
all devices: its threshold would say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wardround.detect.baseline import Baseline, of_federation
from wardround.detect.thresholds import PROVISIONAL, Calibration
from wardround.errors import UsageError
from wardround.traffic import normal
from wardround.training.bundle import Bundle


@dataclass(frozen=True, eq=False)
class Prior:
    """``baselines`` and ``calibrations`` by device type; "" for all. Both empty: the federation learnt none."""

    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)

    def calibration(self, type_: str) -> Calibration | None:
        """The one that belongs to the baseline of ``type_``, or of all devices."""
        return self.calibrations.get(type_) or self.calibrations.get("")


def prior(bundles: Mapping[str, Bundle], rate: float) -> Prior:
    """Of the first bundle that carries any; ``rate``: the baseline's share of the false-alarm budget.

    Raises:
        UsageError: what it carries is damaged.
    """
    for bundle in bundles.values():
        try:
            found = normal.from_arrays(bundle.arrays)
        except ValueError as error:
            raise UsageError(f"this model's baselines cannot be read: {error}") from error
        if found:
            made = {
                type_: of_federation(spread, counts)
                for type_, (spread, counts) in found.items()
                if not type_ or counts.sum() >= PROVISIONAL
            }
            return Prior(
                {type_: baseline for type_, (baseline, _) in made.items()},
                {type_: Calibration(rate, federation=counts) for type_, (_, counts) in made.items()},
            )
    return Prior()
