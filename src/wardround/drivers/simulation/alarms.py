"""What the federated model's alarms would be like on test rows: rates with their uncertainty, by type and by site; drift.

    tpr_at    recall where 1 %, 0.1 % and 0.01 % of benign rows alarm, with the number of benign rows; None where they are too few
    groups    at the threshold that the federation's summed counts gave: false alarms and attacks found, of all test rows, of each
              type of device and of each site, with 95 % intervals, never below 3 / n; the benign scores' stability index
    drift     stability index of each model input on test rows against the federation's training rows

Detection delay and incidents per device-day need time and devices: the lab's trial has them (trial.py).
Law: ``false`` and ``found`` of the types, and of the sites, add up to those of all rows where every row has a type, or a site.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from wardround import events
from wardround.arrays import I64, Bool
from wardround.detect import drift, thresholds
from wardround.detect.measures import Rate, tpr_at
from wardround.drivers.simulation.evaluate import Judge, judge, kept
from wardround.drivers.simulation.federate import Federation
from wardround.federation import measure

ENOUGH = 200
"""Benign rows below which a stability index of twenty bins is noise."""
MOST = 200
"""Sites that are listed, those with the most benign rows."""
ROWS = 50_000
"""Rows on which inputs are compared."""


def of_federation(federation: Federation) -> dict[str, Any]:
    """metrics.json, ``alarms`` of the kept federated model on all test rows."""
    model = kept(federation)
    found = judge(federation, model, federation.prepared().rows(federation.world.split.test))
    attack = measure.attacks(federation.plan, found.y)
    rates = [
        {
            "rate": at.asked,
            "benign": at.benign,
            "recall": None if at.recall is None else at.recall.value,
            "interval": None if at.recall is None else list(at.recall.interval),
        }
        for at in tpr_at(found.score, attack)
    ]
    listed = [] if not np.isfinite(model.threshold) else list(_groups(federation, found, attack, model.threshold))
    return {"tpr_at": rates, "groups": listed, "drift": _drift(federation)}


def told(found: dict[str, Any]) -> Iterator[events.Event]:
    """The groups as events."""
    for row in found["groups"]:
        psi = np.nan if row["psi"] is None else row["psi"]
        yield events.AlarmsCounted(
            row["group"], row["name"], row["benign"], row["false"], row["attacks"], row["found"], psi
        )


def _groups(federation: Federation, found: Judge, attack: Bool, limit: float) -> Iterator[dict[str, Any]]:
    table, test = federation.world.table, federation.world.split.test
    outcome = federation.server.outcome()
    usual = measure.benign_scores(outcome.measures)

    def one(group: str, name: str, rows: Bool) -> dict[str, Any]:
        benign, attacks = rows & ~attack, rows & attack
        false = Rate(int((found.score[benign] > limit).sum()), int(benign.sum()))
        hit = Rate(int((found.score[attacks] > limit).sum()), int(attacks.sum()))
        psi = None
        if usual is not None and false.n >= ENOUGH:
            psi = drift.score_psi(thresholds.counts(found.score[benign]), usual)
        return {
            "group": group,
            "name": name,
            "benign": false.n,
            "false": false.hits,
            "fpr": false.value if false.n else None,
            "fpr_interval": list(false.interval),
            "attacks": hit.n,
            "found": hit.hits,
            "recall": hit.hits / hit.n if hit.n else None,
            "recall_interval": list(hit.interval),
            "psi": psi,
        }

    yield one("all", "all test rows", np.ones(len(test), dtype=np.bool_))
    types = table.types_of(test)
    for code, name in enumerate(table.device_types):
        if (types == code).any():
            yield one("type", name, types == code)
    for name, rows in _sites(federation, test):
        yield one("site", name, rows)


def _sites(federation: Federation, test: I64) -> list[tuple[str, Bool]]:
    """Natural clients of the test rows where the data has some, else the clients that rows were dealt to."""
    table, world = federation.world.table, federation.world
    site = table.group[test] if table.groups else np.full(len(test), -1)
    names = table.groups
    if not table.groups:
        names = world.names
        for number, share in enumerate(world.shares):
            site[np.searchsorted(test, share.test)] = number
    sizes = np.bincount(site[site >= 0], minlength=len(names))
    chosen = np.sort(np.argsort(-sizes, kind="stable")[:MOST])
    return [(names[k], site == k) for k in chosen if sizes[k]]


def _drift(federation: Federation) -> dict[str, Any]:
    """Of the scaled inputs, largest first."""
    split, prepared = federation.world.split, federation.prepared()
    p = prepared.prepared.preprocessor
    scaled = len(p.columns)
    seen, usual = drift.Drift(p.names[:scaled]), drift.Drift(p.names[:scaled])
    for counted, index in ((seen, split.test), (usual, split.train)):
        counted.observe(prepared.rows(index[:: max(1, len(index) // ROWS)]).x[:, :scaled])
    found = seen.against(usual.counts)
    return {
        "large": sum(value >= drift.LARGE for value in found.values()),
        "inputs": [[name, round(value, 4)] for name, value in found.items()],
    }
