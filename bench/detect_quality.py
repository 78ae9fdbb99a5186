"""Detection figures of issue 6 on CICIoMT2024 v2 with the window-length leak removed: federated quality, thresholds, unknown attacks.

    nice .venv/bin/python bench/detect_quality.py [--data DIR] [--seeds 1 2 3] [--only closed|open]

8 gateways, attack classes dealt by Dirichlet(0.3), benign traffic everywhere, the simulation's own machines. ``closed``: every class is in
training. ``open``: one category of attacks is left out of training, validation and preprocessing, and is looked for. Results are
added to bench/results/detect_quality.json run by run, so a stopped bench goes on where it was.

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

from wardround.arrays import F64, I64
from wardround.config import Experiment, parse
from wardround.detect import baseline as benign_only
from wardround.detect import thresholds
from wardround.drivers.simulation import engines
from wardround.drivers.simulation.environment import machine
from wardround.drivers.simulation.federate import Federation
from wardround.drivers.sources.ciciomt2024 import FAMILY_OF, CicIomt2024
from wardround.drivers.strategies import full
from wardround.drivers.world import World, build, plan
from wardround.events import ignore
from wardround.federation.server import Server
from wardround.rng import stream
from wardround.traffic.split import Split
from wardround.traffic.table import Labels, Table
from wardround.training import metrics

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "results" / "detect_quality.json"
RATE = 0.01
SHARES = {
    "model": 0.375,
    "guard": 0.375,
    "baseline": 0.25,
}  # the shipped budget without its share for volume, which needs packets
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
    outputs = federation.engine().outputs(parameters, federation.prepared().x[index])
    return metrics.attack_scores(outputs, 0), outputs.argmax(1).astype(np.int64)


def at(values: F64, rate: float) -> float:
    """The score that a share ``rate`` of benign ``values`` exceeds, as research/ids.md's table counts."""
    return float(np.quantile(values, 1 - rate, method="higher"))


class Trio:
    """Model, guard and baseline of one world: scores on test and validation rows."""

    def __init__(self, table: Table, world: World, seed: int, rounds: int) -> None:
        began = time.process_time()
        self.federation, outcome = train(experiment("19class", rounds, 0.0, seed), world)
        binary = World(as_binary(table), world.split, world.shares)
        guard, guarded = train(experiment("binary", rounds, 0.5, seed), binary)
        self.test, validation = world.split.test, world.split.validation
        normal = table.x[world.split.train][table.y[world.split.train] == 0]
        learnt = benign_only.learn(normal, seed)
        self.y = table.y[self.test]
        benign = validation[table.y[validation] == 0]
        self.scores: dict[str, F64] = {}
        self.calibration: dict[str, F64] = {}
        for name, f, p in (("model", self.federation, outcome.parameters), ("guard", guard, guarded.parameters)):
            self.scores[name], predicted = scores(f, p, self.test)
            self.calibration[name] = scores(f, p, benign)[0]
            if name == "model":
                self.predicted = predicted
        self.scores["baseline"] = learnt.scores(table.x[self.test])
        self.calibration["baseline"] = learnt.scores(table.x[benign])
        self.seconds = time.process_time() - began

    def alone(self, name: str, rows: Any) -> float:
        """Recall on ``rows`` at exactly RATE on test benign rows."""
        s = self.scores[name]
        return float((s[rows] > at(s[self.y == 0], RATE)).mean())

    def together(self, rows: Any) -> dict[str, float]:
        """The union at shares of the budget: from calibration (as deployed), and with the union's FPR exactly RATE."""
        benign = self.y == 0
        limits = {
            name: thresholds.threshold(thresholds.counts(self.calibration[name]), RATE * share)
            for name, share in SHARES.items()
        }
        low, high = 0.1, 10.0
        for _ in range(30):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self._union_at(middle, benign) <= RATE else (low, middle)
        return {
            "deployed_recall": float(self._over(limits)[rows].mean()),
            "deployed_fpr": float(self._over(limits)[benign].mean()),
            "recall": float(self._over(self._limits(low))[rows].mean()),
            "fpr": float(self._over(self._limits(low))[benign].mean()),
        }

    def _limits(self, times: float) -> dict[str, float]:
        benign = self.y == 0
        return {n: at(self.scores[n][benign], min(0.5, RATE * share * times)) for n, share in SHARES.items()}

    def _union_at(self, times: float, benign: Any) -> float:
        return float(self._over(self._limits(times))[benign].mean())

    def _over(self, limits: dict[str, float]) -> Any:
        return np.any([self.scores[name] > limit for name, limit in limits.items()], axis=0)


def closed(table: Table, seed: int) -> dict[str, Any]:
    """All classes known."""
    world = build(experiment("19class", 100, 0.0, seed), table)
    t = Trio(table, world, seed, 100)
    benign, attack = t.y == 0, t.y != 0
    judged = metrics.classification(metrics.confusion(t.y, t.predicted, len(table.labels.names)))
    found: dict[str, Any] = {
        "macro_f1": judged.macro_f1,
        "n_benign": int(benign.sum()),
        "n_benign_validation": len(t.calibration["model"]),
        "n_attack": int(attack.sum()),
        "cpu_seconds": t.seconds,
        "detectors": {},
    }
    for name in SHARES:
        s = t.scores[name]
        limit = thresholds.threshold(thresholds.counts(t.calibration[name]), RATE)
        found["detectors"][name] = {
            "tpr_at": {
                str(r): float((s[attack] > at(s[benign], r)).mean()) if benign.sum() * r >= 3 else None
                for r in (1e-2, 1e-3, 1e-4)
            },
            "roc_auc": metrics.detection(metrics.exact_counts(s, attack)).roc_auc,
            "asked_fpr": RATE,
            "false_alarms": int((s[benign] > limit).sum()),
            "recall_at_threshold": float((s[attack] > limit).mean()),
            "per_class": {
                name_: float((s[t.y == k] > at(s[benign], RATE)).mean())
                for k, name_ in enumerate(table.labels.names)
                if k and (t.y == k).any()
            },
        }
    found["together"] = t.together(attack)
    return found


def open_(table: Table, seed: int, category: str) -> dict[str, Any]:
    """``category`` unknown to training."""
    world = build(experiment("19class", 60, 0.0, seed), table)
    gone = np.array([table.labels.names.index(n) for n in HELD_OUT[category]])
    t = Trio(table, without(world, gone), seed, 60)
    rows = np.isin(t.y, gone)
    alone = {name: t.alone(name, rows) for name in SHARES}
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
    parser.add_argument("--only", choices=("closed", "open"))
    asked = parser.parse_args()
    table = CicIomt2024(labels="19class").load(asked.data, stream(1, "data"))
    record: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {"closed": {}, "open": {}}
    record |= {"machine": machine(), "commit": commit()}
    for seed in asked.seeds:
        jobs = [("closed", "")] if asked.only != "open" else []
        jobs += [("open", c) for c in HELD_OUT] if asked.only != "closed" else []
        for part, category in jobs:
            place = record[part] if part == "closed" else record[part].setdefault(category, {})
            if str(seed) in place:
                continue
            place[str(seed)] = closed(table, seed) if part == "closed" else open_(table, seed, category)
            OUT.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            print(
                part,
                category,
                seed,
                json.dumps({k: v for k, v in place[str(seed)].items() if k != "detectors"}),
                flush=True,
            )


if __name__ == "__main__":
    main()
