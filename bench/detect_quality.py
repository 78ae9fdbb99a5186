"""Detection figures of issue 6 on CICIoMT2024 v2 with the window-length leak removed: federated quality, thresholds, unknown attacks.

    nice .venv/bin/python bench/detect_quality.py [--data DIR] [--seeds 1 2 3] [--only closed|open|normal] [--category NAME ...]

8 gateways, attack classes dealt by Dirichlet(0.3), benign traffic everywhere, the simulation's own machines. ``closed``: every class is in
training. ``normal``: benign-only detectors, federated, pooled and each gateway's own. ``open``: one category of attacks is left out of
training, validation and preprocessing, and is looked for, beside trees trained on the same pooled rows. Results are added to
bench/results/detect_quality.json run by run, so a stopped bench goes on where it was.

All detectors together: each score becomes a conformal p-value by the federation's benign counts (beyond the third row from the top by
an exponential tail), and a row's score is the sum of squares of -log p; beside it the least p (Tippett) and the product (Fisher). The squares
were chosen on seed 1: the product asks all detectors to agree, the least p one alone to be sure.

Every model scores rows of the test part only; thresholds come from the summed histograms of validation rows, as in a deployed
federation. Rates are pooled over seeds with a 95 % Wilson interval; nothing is quoted below 3 / n benign decisions.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from wardround.arrays import F64, I64
from wardround.config import Experiment, parse
from wardround.detect import baseline as benign_only
from wardround.detect import thresholds
from wardround.detect.measures import tpr_at
from wardround.drivers.simulation import engines
from wardround.drivers.simulation.environment import machine
from wardround.drivers.simulation.federate import Federation
from wardround.drivers.sources.ciciomt2024 import FAMILY_OF, CicIomt2024
from wardround.drivers.strategies import full
from wardround.drivers.world import World, build, plan
from wardround.events import ignore
from wardround.federation.plan import prepare
from wardround.federation.server import Server
from wardround.rng import stream
from wardround.traffic import normal
from wardround.traffic.split import Split
from wardround.traffic.table import Labels, Table
from wardround.training import metrics
from wardround.training.models import Autoencoder

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "results" / "detect_quality.json"
RATE = 0.01
SHARES = {
    "model": 0.375,
    "guard": 0.375,
    "normal": 0.25,
}  # the shipped budget without volume's share, which needs packets
ROC = tuple(np.geomspace(0.003, 0.3, 25).round(5).tolist())
EXPERIMENT = """
name = "detect"
[data]
use = "ciciomt2024"
labels = "{labels}"
[split]
use = "stratified"
test = 0.3
validation = 0.25
[partition]
use = "dirichlet"
clients = 8
alpha = 0.3
benign = "everywhere"
[model]
use = "mlp"
hidden = [64, 32]
[secagg]
use = "plain"
[algorithm]
use = "fedprox"
mu = 0.01
[training]
epochs = 2
batch_size = 32
learning_rate = {rate}
momentum = 0.9
exposure = {exposure}
[normal]
fit = true
[rounds]
count = {rounds}
measure_every = {rounds}
[run]
workers = 1
"""
HELD_OUT = {
    "UDP flood": ("TCP_IP-DDoS-UDP", "TCP_IP-DoS-UDP"),
    "TCP flood": ("TCP_IP-DDoS-TCP", "TCP_IP-DoS-TCP"),
    "ARP spoofing": ("ARP_Spoofing",),
    "MQTT malformed": ("MQTT-Malformed_Data",),
    "MQTT floods": tuple(n for n in FAMILY_OF if n.startswith("MQTT-D")),
    "Recon": tuple(n for n in FAMILY_OF if n.startswith("Recon")),
    "SYN flood": ("TCP_IP-DDoS-SYN", "TCP_IP-DoS-SYN"),
    "ICMP flood": ("TCP_IP-DDoS-ICMP", "TCP_IP-DoS-ICMP"),
}


def experiment(labels: str, rounds: int, exposure: float, seed: int) -> Experiment:
    text = EXPERIMENT.format(labels=labels, rounds=rounds, exposure=exposure, rate=0.05)
    return replace(parse(text, full(), "bench/detect_quality.py"), seed=seed)


def as_binary(table: Table) -> Table:
    return replace(table, y=(table.y != table.labels.benign).astype(np.int64), labels=Labels(("Benign", "Attack"), 0))


def train(e: Experiment, world: World) -> tuple[Federation, Any]:
    """The federation run to its end, and its outcome."""
    agreed = plan(e, world.table)
    server = Server.new(agreed, e.participation, world.names, e.seed)
    with ThreadPoolExecutor(1) as pool:
        maker = engines.maker(e.model, e.training, agreed.classes)
        federation = Federation(e, world, agreed, server, maker, ignore, pool, 1)
        for _ in federation.run():
            pass
        federation.prepared()
    return federation, federation.server.outcome()


def without(world: World, gone: I64) -> World:
    """The world whose training and validation rows know nothing of the classes ``gone``."""
    known = ~np.isin(world.table.y, gone)

    def keep(index: I64) -> I64:
        return index[known[index]]

    split = Split(keep(world.split.train), keep(world.split.validation), world.split.test)
    shares = tuple(replace(s, train=keep(s.train), validation=keep(s.validation)) for s in world.shares)
    return World(world.table, split, shares)


def scores(federation: Federation, parameters: Any, index: I64) -> tuple[F64, I64]:
    """Attack score and most likely class [n] of rows ``index``."""
    outputs = federation.engine().outputs(parameters, federation.prepared().rows(index).x)
    return metrics.attack_scores(outputs, 0), outputs.argmax(1).astype(np.int64)


def at(values: F64, rate: float) -> float:
    """The score that a share ``rate`` of benign ``values`` exceeds, as research/ids.md's table counts."""
    return float(np.quantile(values, 1 - rate, method="higher"))


MEMBERS = ("model", "guard", "normal")


class Trio:
    """Model, guard and benign-only baseline of one world, all federated: scores on test and benign validation rows."""

    def __init__(self, table: Table, world: World, seed: int, rounds: int) -> None:
        began = time.process_time()
        self.federation, outcome = train(experiment("19class", rounds, 0.0, seed), world)
        binary = World(as_binary(table), world.split, world.shares)
        guard, guarded = train(experiment("binary", rounds, 0.5, seed), binary)
        self.test, validation = world.split.test, world.split.validation
        self.y = table.y[self.test]
        benign = validation[table.y[validation] == 0]
        self.scores: dict[str, F64] = {}
        self.calibration: dict[str, F64] = {}
        for name, f, p in (("model", self.federation, outcome.parameters), ("guard", guard, guarded.parameters)):
            self.scores[name], predicted = scores(f, p, self.test)
            self.calibration[name] = thresholds.counts(scores(f, p, benign)[0])
            if name == "model":
                self.predicted = predicted
        learnt, self.calibration["normal"] = federated_normal(self.federation)
        self.scores["normal"] = learnt.scores(table.x[self.test])
        self.seconds = time.process_time() - began

    def alone(self, name: str, rows: Any) -> float:
        """Recall on ``rows`` at exactly RATE on test benign rows."""
        s = self.scores[name]
        return float((s[rows] > at(s[self.y == 0], RATE)).mean())

    def together(self, rows: Any) -> dict[str, float]:
        """At shares of the budget with thresholds from counts (as deployed), and by p-values at exactly RATE."""
        benign = self.y == 0
        over = np.any(
            [self.scores[n] > thresholds.threshold(self.calibration[n], RATE * SHARES[n]) for n in MEMBERS], axis=0
        )
        found = {"deployed_recall": float(over[rows].mean()), "deployed_fpr": float(over[benign].mean())}
        surprise = np.stack([unlikely(self.calibration[n], self.scores[n]) for n in MEMBERS])
        joints = {"least_p": surprise.max(0), "product_p": surprise.sum(0), "squares_p": np.square(surprise).sum(0)}
        for name, joint in joints.items():
            limit = at(joint[benign], RATE)
            found |= {name: float((joint[rows] > limit).mean()), f"{name}_fpr": float((joint[benign] > limit).mean())}
        return found


def unlikely(benign: F64, values: F64) -> F64:
    """-log p of scores [n] by counts of benign scores [bins]: conformal, and beyond the top 3 % by their exponential tail."""
    start = thresholds.threshold(benign, thresholds.TAIL)
    middles = (np.arange(benign.size) + 0.5) * (
        (thresholds.BINS.hi - thresholds.BINS.lo) / benign.size
    ) + thresholds.BINS.lo
    beyond = middles > start
    scale = max(float((benign[beyond] * (middles[beyond] - start)).sum() / max(benign[beyond].sum(), 1.0)), 0.02)
    tail = -np.log(thresholds.TAIL) + (values - start) / scale
    found: F64 = np.where(values > start, tail, -np.log(thresholds.p_value(benign, values)))
    return found


def federated_normal(federation: Federation) -> tuple[benign_only.Baseline, F64]:
    """What the federation's sums say is normal, and its benign validation scores counted."""
    outcome, agreed = federation.server.outcome(), federation.plan
    spread = prepare(agreed, outcome.totals).normal[0]
    assert spread is not None
    return benign_only.of_federation(spread, outcome.measures[: agreed.distances][: normal.BINS])


def trees(table: Table, world: World, seed: int) -> F64:
    """Attack log odds of test rows by boosted trees on the pooled training rows: what the prototype's table calls XGB."""
    model = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=31, early_stopping=False, random_state=seed)
    model.fit(table.x[world.split.train], table.y[world.split.train] > 0)
    found: F64 = model.decision_function(table.x[world.split.test])
    return found


def closed(table: Table, seed: int) -> dict[str, Any]:
    """All classes known."""
    world = build(experiment("19class", 100, 0.0, seed), table)
    t = Trio(table, world, seed, 100)
    benign, attack = t.y == 0, t.y != 0
    judged = metrics.classification(metrics.confusion(t.y, t.predicted, len(table.labels.names)))
    found: dict[str, Any] = {
        "macro_f1": judged.macro_f1,
        "n_benign": int(benign.sum()),
        "n_benign_validation": int(t.calibration["model"].sum()),
        "n_attack": int(attack.sum()),
        "cpu_seconds": t.seconds,
        "detectors": {name: judged_alone(t.scores[name], t.y, t.calibration[name], table) for name in MEMBERS},
    }
    return found | {"together": t.together(attack)}


def judged_alone(s: F64, y: I64, counts: F64, table: Table) -> dict[str, Any]:
    """One detector: recall at rates, and what its threshold from ``counts`` does."""
    benign, attack = y == 0, y != 0
    limit = thresholds.threshold(counts, RATE)
    return {
        "tpr_at": {str(a.asked): None if a.recall is None else [a.recall.hits, a.recall.n] for a in tpr_at(s, attack)},
        "roc": [float((s[attack] > at(s[benign], r)).mean()) for r in ROC],
        "roc_auc": metrics.detection(metrics.exact_counts(s, attack)).roc_auc,
        "asked_fpr": RATE,
        "false_alarms": int((s[benign] > limit).sum()),
        "recall_at_threshold": float((s[attack] > limit).mean()),
        "per_class": {
            name: float((s[y == k] > at(s[benign], RATE)).mean())
            for k, name in enumerate(table.labels.names)
            if k and (y == k).any()
        },
    }


def benign_alone(table: Table, seed: int) -> dict[str, Any]:
    """Benign-only detectors beside each other: of sums, as a model in the round, pooled, and each gateway's own."""
    world = build(experiment("19class", 1, 0.0, seed), table)
    binary = World(as_binary(table), world.split, world.shares)
    test, validation = world.split.test, world.split.validation
    y, benign = table.y[test], validation[table.y[validation] == 0]
    found: dict[str, Any] = {"n_benign": int((y == 0).sum())}
    summed, _ = train(replace(experiment("19class", 1, 0.0, seed)), world)
    learnt, counts = federated_normal(summed)
    found["federated, of sums"] = judged_alone(learnt.scores(table.x[test]), y, counts, table)
    auto, outcome = train(autoencoder(seed), binary)
    typical = outcome.errors[1:] / max(outcome.errors[0], 1.0)

    def errors(index: I64) -> F64:
        x = auto.prepared().rows(index).x
        return metrics.anomaly_scores(auto.engine().outputs(outcome.parameters, x), x, typical)

    found["federated autoencoder"] = judged_alone(errors(test), y, thresholds.counts(errors(benign)), table)
    pooled = benign_only.learn(table.x[world.split.train][table.y[world.split.train] == 0], seed)
    both = [pooled.scores(table.x[index]) for index in (test, benign)]
    found["pooled ensemble"] = judged_alone(both[0], y, thresholds.counts(both[1]), table)
    own = []
    for share in world.shares:
        mine = benign_only.learn(table.x[share.train][table.y[share.train] == 0], seed)
        calm = share.validation[table.y[share.validation] == 0]
        own.append(judged_alone(mine.scores(table.x[test]), y, thresholds.counts(mine.scores(table.x[calm])), table))
    found["each gateway's own ensemble"] = own
    return found


def autoencoder(seed: int) -> Experiment:
    e = experiment("binary", 60, 0.0, seed)
    local = replace(e.training, optimiser="adamw", learning_rate=0.003, momentum=0.0)
    return replace(e, model=Autoencoder((24, 8, 24)), training=local)


def open_(table: Table, seed: int, category: str) -> dict[str, Any]:
    """``category`` unknown to training."""
    world = build(experiment("19class", 60, 0.0, seed), table)
    gone = np.array([table.labels.names.index(n) for n in HELD_OUT[category]])
    world = without(world, gone)
    t = Trio(table, world, seed, 60)
    rows = np.isin(t.y, gone)
    t.scores["trees"] = trees(table, world, seed)
    alone = {name: t.alone(name, rows) for name in (*MEMBERS, "trees")}
    return {"rows": int(rows.sum()), "alone": alone, **t.together(rows), "cpu_seconds": t.seconds}


def commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    shared = ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("WARDROUND_DATA", shared)))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", choices=("closed", "open", "normal"))
    parser.add_argument("--category", nargs="+", default=list(HELD_OUT))
    asked = parser.parse_args()
    table = CicIomt2024(labels="19class").load(asked.data, stream(1, "data"))
    record: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {}
    for seed in asked.seeds:
        jobs = [(part, "") for part in ("closed", "normal") if asked.only in (None, part)]
        jobs += [("open", c) for c in asked.category] if asked.only in (None, "open") else []
        for part, category in jobs:
            place = record.setdefault(part, {})
            place = place.setdefault(category, {}) if category else place
            if str(seed) in place:
                continue
            place[str(seed)] = RUNS[part](table, seed, *([category] if category else []))
            record |= {"machine": machine(), "commit": commit(), "roc_rates": list(ROC)}
            OUT.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            print(part, category, seed, "done", flush=True)


RUNS: dict[str, Any] = {"closed": closed, "normal": benign_alone, "open": open_}

if __name__ == "__main__":
    main()
