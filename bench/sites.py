"""Leave-one-site-out: what a federation's detector is worth at a site that it never saw, before and after the site calibrates.

    .venv/bin/python bench/sites.py [--data DIR] [--only lab|iot23] [--seeds 1 2 3]

Each site in turn is kept out of training, validation and preprocessing, and is the test. ``lab``: nine generated wards
(experiments/demo.toml, plain sums, 30 rounds); ``iot23``: the captures of IoT-23 that have benign and malicious flows. The oldest third
of the site's benign rows is what it calibrates on; rates are measured on the rest. Thresholds are asked for 1 % false alarms. Results
are added to bench/results/sites.json site by site, so a stopped bench goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from detect_quality import train  # type: ignore[import-not-found]
from wardround.arrays import F32, F64, I32, I64, Bool
from wardround.config import Experiment, override, parse
from wardround.detect import baseline, prior, thresholds
from wardround.detect.measures import Rate, tpr_at
from wardround.detect.thresholds import Calibration
from wardround.drivers.simulation import alarms, evaluate
from wardround.drivers.simulation.environment import machine
from wardround.drivers.simulation.federate import Federation
from wardround.drivers.strategies import full
from wardround.drivers.world import build
from wardround.federation import measure
from wardround.federation.plan import prepare
from wardround.rng import stream
from wardround.traffic.normal import from_arrays, to_arrays
from wardround.traffic.split import Groups
from wardround.traffic.table import Table
from wardround.training import metrics
from wardround.training.bundle import Bundle
from wardround.training.models import Logistic

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "results" / "sites.json"
RATE = 0.01
SETS = ("secagg={use='plain'}", "run.workers=1", "rounds.count=30", "rounds.measure_every=30", "normal.fit=true")
FILES = {"lab": "demo.toml", "iot23": "iot23-natural.toml"}
FEWEST = {"benign": 300, "attack": 50}
"""Rows that a site must have to be left out: a third of the benign ones calibrates."""


def settings(part: str, seed: int) -> Experiment:
    sets = [*SETS, *(("weather={}", "participation={minimum=2}") if part == "iot23" else ())]
    text = (ROOT / "experiments" / FILES[part]).read_text(encoding="utf-8")
    return replace(parse(override(text, sets, part), full(), part), seed=seed)


def left_out(part: str, table: Table, site: str, seed: int) -> dict[str, Any]:
    """The site as a test of what the others learnt."""
    began = time.process_time()
    e = replace(settings(part, seed), split=Groups((site,), validation=0.15))
    federation, _ = train(e, build(e, table))
    test = federation.world.split.test
    found = alarms.of_federation(federation)
    model = evaluate.kept(federation)
    judged = evaluate.judge(federation, model, federation.prepared().rows(test))
    confusion = metrics.classification(metrics.confusion(judged.y, judged.predicted, federation.plan.classes))
    attack = measure.attacks(federation.plan, judged.y)
    calm, rest = oldest_third(table, test, attack)
    counts = measure.benign_scores(federation.server.outcome().measures)
    assert counts is not None
    fixed = Calibration(RATE, federation=counts)
    own = fixed.with_site(judged.score[calm])
    return {
        "macro_f1": confusion.macro_f1,
        "roc_auc": metrics.detection(metrics.exact_counts(judged.score, attack)).roc_auc,
        "alarms": {**found, "drift": {**found["drift"], "inputs": found["drift"]["inputs"][:5]}},
        "calm": len(calm),
        "own": own.own,
        "federations_threshold": at_limit(judged.score[rest], attack[rest], fixed.value),
        "sites_threshold": at_limit(judged.score[rest], attack[rest], own.value),
        "normal": normals(federation, table, test, (calm, rest, attack)),
        "cpu_s": round(time.process_time() - began, 1),
    }


def oldest_third(table: Table, test: I64, attack: Bool) -> tuple[I64, I64]:
    """Places in ``test``: the oldest third of benign rows, and all rows after it in time, or of attacks."""
    age = np.arange(len(test)) if table.time is None else np.argsort(np.argsort(table.time[test], kind="stable"))
    benign = np.flatnonzero(~attack)
    calm = benign[np.argsort(age[benign])][: len(benign) // 3]
    return np.sort(calm), np.setdiff1d(np.arange(len(test)), calm)


def at_limit(score: F64, attack: Bool, limit: float) -> dict[str, Any]:
    return {
        "false": int((score[~attack] > limit).sum()),
        "benign": int((~attack).sum()),
        "found": int((score[attack] > limit).sum()),
        "attacks": int(attack.sum()),
    }


def normals(federation: Federation, table: Table, test: I64, parts: tuple[I64, I64, Bool]) -> dict[str, Any]:
    """Benign-only baselines at the site: the federation's for all devices, by type and the lower of both, and the site's own from its calm rows."""
    calm, rest, attack = parts
    x, kind = table.x[test], table.types_of(test)
    prepared, outcome = prepare(federation.plan, federation.server.outcome().totals), federation.server.outcome()
    arrays = to_arrays(prepared.normal, federation.plan.kinds, outcome.measures[: federation.plan.distances])
    known = prior.prior({"model": carrying(arrays)}, RATE)
    shared = known.calibration
    assert shared is not None
    general, typed, limits = by_type(known, arrays, table.device_types, x, kind)
    own = baseline.learn(x[calm[: 2 * len(calm) // 3]], federation.experiment.seed)
    scores = own.scores(x)
    threshold = thresholds.threshold(thresholds.counts(scores[calm[2 * len(calm) // 3 :]]), RATE)
    return {
        "federation, all devices": judged(general, shared.value, rest, attack),
        "federation, by type": judged(typed - limits, 0.0, rest, attack),
        "federation, lower of both": judged(np.minimum(general, typed), shared.value, rest, attack),
        "site's own": judged(scores, threshold, rest, attack),
    }


def by_type(
    known: prior.Prior, arrays: dict[str, F32], types: tuple[str, ...], x: F32, kind: I32
) -> tuple[F64, F64, F64]:
    """Scores [n] for all devices, for the row's type where the federation knows it, and that type's threshold [n]."""
    general = known.baselines[""].scores(x)
    counts = {name: baseline.of_federation(spread, n)[1] for name, (spread, n) in from_arrays(arrays).items()}
    scores, limits = general.copy(), np.full(len(x), thresholds.threshold(counts[""], RATE))
    for code, name in enumerate(types):
        rows = kind == code
        if rows.any() and name in known.baselines:
            scores[rows], limits[rows] = known.baselines[name].scores(x[rows]), thresholds.threshold(counts[name], RATE)
    return general, scores, limits


def judged(scores: F64, limit: float, rest: I64, attack: Bool) -> dict[str, Any]:
    """At its own threshold, and at exactly 1 %."""
    at = tpr_at(scores[rest], attack[rest], (RATE,))[0].recall
    exact = None if at is None else [at.hits, at.n]
    return {**at_limit(scores[rest], attack[rest], limit), "at_1e-2": exact}


def carrying(arrays: dict[str, F32]) -> Bundle:
    """A bundle for its arrays' sake."""
    return Bundle(Logistic(), np.zeros(4, np.float32), 1, ("a", "b"), 0, "", {}, arrays=arrays)


def sites_of(table: Table) -> list[str]:
    """Sites with enough rows of both kinds."""
    found = []
    for number, name in enumerate(table.groups):
        y = table.y[table.group == number]
        if (y == 0).sum() >= FEWEST["benign"] and (y != 0).sum() >= FEWEST["attack"]:
            found.append(name)
    return found


def text(row: dict[str, Any]) -> str:
    return f"{Rate(row['false'], row['benign']).text}, found {row['found']} of {row['attacks']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    shared = ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("WARDROUND_DATA", shared)))
    parser.add_argument("--only", choices=tuple(FILES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    asked = parser.parse_args()
    record: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {}
    at = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    for seed in asked.seeds:
        for part in FILES if asked.only is None else (asked.only,):
            table = settings(part, seed).data.load(asked.data, stream(seed, "data"))
            places = record.setdefault(part, {}).setdefault(str(seed), {})
            for site in sites_of(table):
                if site not in places:
                    places[site] = left_out(part, table, site, seed)
                    record |= {"machine": machine(), "commit": at.stdout.strip()}
                    OUT.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
                    print(
                        part, seed, site, text(places[site]["federations_threshold"]), places[site]["cpu_s"], flush=True
                    )


if __name__ == "__main__":
    main()
