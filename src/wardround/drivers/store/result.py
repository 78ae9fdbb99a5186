"""The federation's result as files: the kept model as a bundle, and what is known of it from sums."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

from wardround.drivers.store.rundir import to_json, write_atomic
from wardround.federation import measure
from wardround.federation.plan import Plan, Prepared, prepare, served, type_limits
from wardround.federation.server_state import Outcome
from wardround.traffic.normal import to_arrays
from wardround.training import bundle, limits


def packed(
    plan: Plan, prepared: Prepared, outcome: Outcome, threshold: float | None, notes: dict[str, str]
) -> bundle.Bundle:
    """The kept model with all that a detector needs beside it: preprocessing, labels, what is normal."""
    model, parameters = served(plan, prepared, outcome.parameters)
    return bundle.Bundle(
        model=model,
        parameters=parameters,
        inputs=len(prepared.preprocessor.names),
        labels=plan.labels.names,
        benign=plan.labels.benign,
        schema=plan.schema.id,
        preprocessing=prepared.preprocessor.to_record(),
        threshold=threshold,
        typical=outcome.errors[1:] / max(outcome.errors[0], 1.0) if outcome.errors.size else None,
        benign_scores=measure.benign_scores(outcome.measures),
        arrays={
            **(to_arrays(prepared.normal, plan.kinds, outcome.measures[: plan.distances]) if plan.normal.fit else {}),
            **limits.to_arrays(type_limits(plan, outcome.measures), plan.kinds),
        },
        notes=notes,
    )


def write_result(folder: Path, plan: Plan, outcome: Outcome, about: dict[str, str], target_fpr: float) -> float:
    """Write model.safetensors and result.json; returns the validation macro-F1 (NaN: never measured)."""
    prepared = prepare(plan, outcome.totals)
    measured = bool(outcome.measures.size)
    read = measure.read(plan, outcome.measures) if measured else measure.Reading(math.nan, math.nan, math.nan)
    threshold = measure.threshold(outcome.measures, target_fpr) if measured else math.inf
    contents = packed(plan, prepared, outcome, threshold if math.isfinite(threshold) else None, about)
    write_atomic(folder / "model.safetensors", bundle.to_safetensors(contents))
    found = {name: value for name, value in asdict(read).items() if math.isfinite(value)}
    write_atomic(
        folder / "result.json",
        to_json({**about, "round": outcome.round, "validation": found, "threshold": contents.threshold}),
    )
    return float(read.macro_f1)
