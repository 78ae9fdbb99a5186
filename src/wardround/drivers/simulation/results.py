"""metrics.json and the model bundle of a finished run.

Law: metrics.json depends on experiment, seed and data alone (no times, no paths), so it is equal to the bit however
often the run was stopped and resumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wardround import events
from wardround.arrays import I64
from wardround.drivers.simulation.federate import Federation
from wardround.drivers.simulation.harm import harm
from wardround.drivers.sinks.jsonlog import read
from wardround.drivers.store.result import packed
from wardround.drivers.store.rundir import RunDir
from wardround.events import Event
from wardround.federation import forecast
from wardround.federation.clusters import models_of
from wardround.traffic.partition import label_histograms, label_skew
from wardround.training import bundle

FORMAT = 1
BASELINES = ("centralised", "local", "root")


def metrics(federation: Federation, run: RunDir, models: Mapping[str, Any]) -> dict[str, Any]:
    """The content of metrics.json; ``models`` are the results of the stages."""
    experiment, traffic = federation.experiment, federation.traffic
    clients = max(len(federation.world.shares), 1)
    federated = dict(models["federated"])
    return {
        "format": FORMAT,
        "experiment": experiment.name,
        "about": experiment.about,
        "seed": experiment.seed,
        "data": _data(federation),
        "clients": _clients(federation),
        "model": {
            "use": experiment.model.name,
            "parameters": int(federation.server.parameters.size),
            "unsupervised": experiment.model.unsupervised,
        },
        "rounds": _rounds(run),
        "curve": _curve(run),
        "privacy": _privacy(federation),
        "kept_round": federated.pop("kept_round"),
        "personal": models["personal"] or None,
        "models": {"federated": federated, **{name: models[name] or None for name in BASELINES}},
        "attack": harm(federation),
        "bytes": {
            "up": traffic.up,
            "down": traffic.down,
            "up_per_client": traffic.up / clients,
            "down_per_client": traffic.down / clients,
            **_dense(federation),
        },
    }


def _privacy(federation: Federation) -> dict[str, Any] | None:
    """What was spent; None where nothing was promised."""
    account, done = federation.account, federation.server.round
    if account is None:
        return None
    return {
        "mechanism": account.privacy.mechanism,
        "epsilon": account.epsilon(done),
        "delta": account.privacy.delta,
        "budget": account.privacy.epsilon,
        "multiplier": account.multiplier,
        "rounds": done,
        "covers": "updates",
    }


def rounds(run: RunDir) -> Iterator[Event]:
    """The log's events."""
    return read(run.log)


def write_bundle(federation: Federation, run: RunDir, found: Mapping[str, Any]) -> None:
    """The kept model as safetensors and as ONNX, each with its preprocessing and labels."""
    plan, prepared = federation.plan, federation.server.prepared
    assert prepared is not None, "a finished federation knows its statistics"
    threshold = found["models"]["federated"]["overall"]["threshold"]
    notes = {"experiment": federation.experiment.name, "seed": str(federation.experiment.seed), "run": run.id}
    contents = packed(plan, prepared, federation.server.outcome(), threshold["value"] if threshold else None, notes)
    run.write("model/model.safetensors", bundle.to_safetensors(contents))
    run.write("model/model.onnx", bundle.to_onnx(contents))


def _data(federation: Federation) -> dict[str, Any]:
    table, world, plan = federation.world.table, federation.world, federation.plan
    source = federation.experiment.data
    prepared = federation.prepared()
    return {
        "source": source.name,
        "synthetic": not getattr(source, "needs_folder", True),
        "rows": len(table),
        "features": len(table.schema.columns),
        "inputs": prepared.x.shape[1],
        "classes": list(plan.labels.names),
        "benign": plan.labels.benign,
        "class_counts": {part: _counts(table.y[getattr(world.split, part)], plan.classes) for part in PARTS},
        "skew": label_skew(label_histograms(table, world.shares)),
        "dropped": [[d.column, d.reason] for d in table.dropped],
        "notes": list(table.notes),
    }


def _dense(federation: Federation) -> dict[str, int]:
    """With codecs: bytes of one client's messages of a round, had whole float32 vectors been sent in the open, and of the
    statistics that its first one brings.
    """
    prepared = federation.server.prepared
    if prepared is None or prepared.coder is None:
        return {}
    up, down = forecast.dense(federation.plan, prepared.layout.size * models_of(federation.plan.algorithm))
    return {"dense_up": up, "dense_down": down, "dense_setup": 8 * federation.plan.statistics}


PARTS = ("train", "validation", "test")


def _clients(federation: Federation) -> list[dict[str, Any]]:
    y, classes = federation.world.table.y, federation.plan.classes
    return [
        {"name": s.name, **{part: len(getattr(s, part)) for part in PARTS}, "labels": _counts(y[s.train], classes)}
        for s in federation.world.shares
    ]


def _counts(y: I64, classes: int) -> list[int]:
    return [int(n) for n in np.bincount(y, minlength=classes)]


def _rounds(run: RunDir) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for event in rounds(run):
        if isinstance(event, events.RoundDone):
            record = events.to_record(event)
            kept = {key: value for key, value in record.items() if key not in ("event", "seconds")}
            found.append({**kept, "loss": _finite(event.loss), "update_norm": _finite(event.update_norm)})
        elif isinstance(event, events.RoundFailed):
            found.append(
                {"round": event.round, "failed": event.reason, "invited": event.invited, "answered": event.answered},
            )
    return found


def _curve(run: RunDir) -> list[dict[str, Any]]:
    """One point per measured round, with the bytes moved until then."""
    points: dict[int, dict[str, Any]] = {}
    up = down = 0
    for event in rounds(run):
        if isinstance(event, events.RoundDone):
            up, down = up + event.bytes_up, down + event.bytes_down
        elif isinstance(event, events.Measured):
            point = points.setdefault(
                event.round,
                {"round": event.round, "validation": None, "test": None, "bytes_up": up, "bytes_down": down},
            )
            point[event.part] = {
                key: _finite(getattr(event, key)) for key in ("macro_f1", "balanced_accuracy", "roc_auc")
            }
    return list(points.values())


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
