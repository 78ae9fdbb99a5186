"""Figures of issue 7: macro-F1 and backdoor success for every attack and rule, with rows of one client and of cohorts.

    .venv/bin/python bench/robust.py [--data DIR] [--stage NAME ...] [--minutes 30]

Each cell is one simulated federation: the machines of the product, plain sums over cohorts (the lattice opens the same
means), uniform weights, ten steps of local training. Attackers are those of drivers/simulation/attackers.py: drawn by the
seed, omniscient, rule-aware ones re-optimised every round against the deployed rule and cohort size. A cell's macro-F1 is
the mean over three measurements on the test rows (the last round, and ten and twenty before it).

Resumable: a cell that stands in bench/results/robust.json is not run again. docs/results.md is printed from that file.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wardround.aggregate.tolerance import cohort_sizes, hostile_clients, spoilt_distribution
from wardround.attacks.poisoning import ModelReplacement
from wardround.config import Experiment, parse
from wardround.drivers.simulation import baselines, engines, evaluate, harm
from wardround.drivers.simulation.attackers import Attackers
from wardround.drivers.simulation.environment import machine
from wardround.drivers.simulation.federate import Federation
from wardround.drivers.simulation.strategies import simulated
from wardround.drivers.world import PreparedTable, World, build, plan
from wardround.events import TrustMoved, ignore
from wardround.federation.server import Server
from wardround.federation.trust import Watch
from wardround.rng import stream
from wardround.traffic.table import Table

OUT = Path(os.environ.get("WARDROUND_RESULTS", Path(__file__).resolve().parent / "results")) / "robust.json"
ROUNDS, TAIL = 100, (0, 10, 20)
DATA = {
    "ciciomt2024": '[data]\nuse = "ciciomt2024"\nlabels = "19class"\n',
    "iot23": '[data]\nuse = "iot23"\n',
}
BASE = """
name = "robust"
{data}
[split]
use = "stratified"
test = 0.2
validation = 0.05
[partition]
use = "dirichlet"
clients = {clients}
alpha = {alpha}
[model]
use = "mlp"
hidden = [64, 32]
[training]
steps = 10
batch_size = 32
learning_rate = 0.2
[rounds]
count = {rounds}
measure_every = {rounds}
weighting = "uniform"
cohort_size = {cohort}
[root]
size = {root}
[secagg]
use = "plain"
[auth]
use = "none"
"""
PROBE = ModelReplacement()  # its trigger measures what an unattacked model does with it


@dataclass(frozen=True)
class Cell:
    """One federation: ``share`` of the clients hostile, rows of ``cohort`` clients, ``rule`` of RULES, ``attack`` of ATTACKS."""

    data: str
    alpha: float
    share: float
    cohort: int
    rule: str
    attack: str
    seed: int
    root: int = 300

    @property
    def key(self) -> str:
        return "|".join(str(v) for v in asdict(self).values())


RULES: dict[str, str] = {
    "mean": 'use = "mean"',
    "nnm+trimmed-mean": 'use = "trimmed-mean"\npre = ["nnm"]\nhostile = {hostile}',
    "dnc": 'use = "dnc"\nhostile = {hostile}',
    "geometric-median": 'use = "geometric-median"',
    "norm-clipping": 'use = "norm-clipping"',
    "fltrust": 'use = "fltrust"',
    "rooted-mean": 'use = "rooted-mean"',
    "zeno": 'use = "zeno"\nhostile = {hostile}',
}
ATTACKS: dict[str, str] = {
    "none": 'use = "none"',
    **{
        name: f'use = "{name}"\nfraction = {{share}}'
        for name in (
            "label-flip",
            "sign-flip",
            "gaussian",
            "alie",
            "ipm",
            "min-max",
            "min-sum",
            "mimic",
            "free-rider",
            "alie-aware",
            "ipm-aware",
            "fltrust-adaptive",
            "model-replacement",
        )
    },
}


class Bench:
    """Worlds are loaded once; set-up (statistics, prepared rows) is shared by all cells of a world."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._tables: dict[str, Table] = {}
        self._worlds: dict[tuple[Any, ...], tuple[World, bytes, PreparedTable]] = {}

    def experiment(self, cell: Cell, clients: int = 50, rounds: int = ROUNDS) -> Experiment:
        text = BASE.format(
            data=DATA[cell.data],
            clients=clients,
            alpha=cell.alpha,
            rounds=rounds,
            cohort=cell.cohort,
            root=cell.root,
        )
        rule = RULES[cell.rule].format(hostile=hostile_rows(clients, cell.cohort, cell.share))
        attack = ATTACKS[cell.attack].format(share=cell.share)
        return replace(parse(f"{text}[rule]\n{rule}\n[attack]\n{attack}\n", simulated()), seed=cell.seed)

    def federation(self, experiment: Experiment, pool: ThreadPoolExecutor) -> Federation:
        world, state, prepared = self._world(experiment)
        agreed = plan(experiment, world.table)
        server = Server.from_bytes(agreed, experiment.participation, world.names, experiment.seed, state)
        maker = engines.maker(experiment.model, experiment.training, agreed.classes)
        attack = experiment.attack
        attackers = None if attack.name == "none" else Attackers(attack, world.names, agreed, experiment.seed)
        made = Federation(experiment, world, agreed, server, maker, ignore, pool, 1, attackers=attackers)
        made._prepared = prepared
        return made

    def _world(self, e: Experiment) -> tuple[World, bytes, PreparedTable]:
        key = (e.data, e.partition, e.root, e.seed)
        if key not in self._worlds:
            self._worlds.clear()
            if e.data.name not in self._tables:
                folder = self._folder if getattr(e.data, "needs_folder", True) else None
                self._tables[e.data.name] = e.data.load(folder, stream(1, "data"))
            table = self._tables[e.data.name]
            world, agreed = build(e, table), plan(e, table)
            server = Server.new(agreed, e.participation, world.names, e.seed)
            with ThreadPoolExecutor(1) as pool:
                maker = engines.maker(e.model, e.training, agreed.classes)
                first = Federation(e, world, agreed, server, maker, ignore, pool, 1)
                next(first.run())
                self._worlds[key] = (world, first.server.to_bytes(), first.prepared())
        return self._worlds[key]

    def run(self, cell: Cell, rounds: int = ROUNDS) -> dict[str, Any]:
        experiment = self.experiment(cell, rounds=rounds)
        began = time.process_time()
        with ThreadPoolExecutor(1) as pool:
            federation = self.federation(experiment, pool)
            scores: list[float] = []
            for _ in federation.run():
                if rounds - federation.server.round in TAIL:
                    scores.append(measured(federation))
                if federation.server.round == rounds or not np.isfinite(federation.server.parameters).all():
                    break
            success = harm.triggered(federation, federation.server.parameters, PROBE)
        f1 = float(np.mean(scores)) if len(scores) == len(TAIL) else 0.0
        return {**asdict(cell), "macro_f1": f1, "backdoor": success, "cpu_s": time.process_time() - began}


def root_only(bench: Bench, root: int, seed: int) -> float:
    """Macro-F1 of the server alone on its root rows, for as many steps as a client takes."""
    experiment = bench.experiment(Cell("ciciomt2024", 0.5, 0.2, 5, "fltrust", "none", seed, root))
    with ThreadPoolExecutor(1) as pool:
        return float(baselines.rooted(bench.federation(experiment, pool))["overall"]["macro_f1"])


@dataclass(frozen=True)
class Search:
    """A federation of 100 that is watched: who is quarantined when."""

    attack: str
    share: float
    cohort: int
    alpha: float
    seed: int

    @property
    def key(self) -> str:
        return "|".join(str(v) for v in asdict(self).values())


SEARCH_ROUNDS = 40


def search(bench: Bench, asked: Search) -> dict[str, Any]:
    """Rounds until 90 % of the hostile clients are quarantined, honest ones that ever were, and macro-F1 at the end."""
    cell = Cell("ciciomt2024", asked.alpha, asked.share, asked.cohort, "fltrust", asked.attack, asked.seed, 1000)
    e = replace(bench.experiment(cell, clients=100, rounds=SEARCH_ROUNDS), trust=Watch(watch=True))
    began = time.process_time()
    with ThreadPoolExecutor(1) as pool:
        federation = bench.federation(e, pool)
        hostile = set(federation.attackers.names) if federation.attackers else set()
        caught: dict[str, int] = {}
        doubted: set[str] = set()
        for happened in federation.run():
            for event in happened:
                if isinstance(event, TrustMoved) and event.after == "quarantined":
                    caught[event.peer] = event.round
                if isinstance(event, TrustMoved) and event.after == "probation":
                    doubted.add(event.peer)
            if federation.server.round == SEARCH_ROUNDS:
                break
        f1 = measured(federation)
    rounds = sorted(caught[peer] for peer in hostile & caught.keys())
    needed = -(-9 * len(hostile) // 10)
    return {
        **asdict(asked),
        "hostile": len(hostile),
        "caught": len(rounds),
        "rounds_to_90": rounds[needed - 1] if hostile and len(rounds) >= needed else None,
        "false_quarantined": len(caught.keys() - hostile),
        "false_probation": len(doubted - hostile),
        "macro_f1": f1,
        "cpu_s": time.process_time() - began,
    }


FOUND = (
    "ipm-aware",
    "sign-flip",
    "label-flip",
    "alie-aware",
    "none",
    "fltrust-adaptive",
    "gaussian",
    "free-rider",
    "model-replacement",
    "mimic",
)


def searches() -> Iterator[Search]:
    """The most telling first."""
    for alpha in (0.5, 0.1):
        for cohort in (5, 3):
            for share in (0.2, 0.1):
                for attack in FOUND[:5] if (alpha, cohort, share) != (0.5, 5, 0.2) else FOUND:
                    if attack != "none" or share == 0.2:
                        yield Search(attack, share, cohort, alpha, 1)
    for seed in (2, 3):
        for alpha in (0.5, 0.1):
            for attack in FOUND[:5]:
                yield Search(attack, 0.2, 5, alpha, seed)


def measured(federation: Federation) -> float:
    found = evaluate.overall(federation, federation.server.parameters, federation.server.errors)
    return float(found["macro_f1"]) if np.isfinite(federation.server.parameters).all() else 0.0


def hostile_rows(clients: int, cohort: int, share: float) -> float:
    """The share of rows a majority rule is set for: the 0.8 quantile of the spoilt rows, at most just under half."""
    sizes = cohort_sizes(clients, cohort)
    spoilt = np.cumsum(spoilt_distribution(sizes, hostile_clients(clients, share)))
    rows = min(int(np.searchsorted(spoilt, 0.8)), (len(sizes) - 1) // 2)
    return round(rows / len(sizes), 6)


DEFAULT = {
    1: ("rooted-mean", 300),
    2: ("rooted-mean", 300),
    3: ("fltrust", 1000),
    5: ("fltrust", 1000),
    8: ("fltrust", 1000),
}
PEERS = ("mean", "nnm+trimmed-mean", "dnc", "geometric-median", "fltrust", "norm-clipping")


def cells(stage: str) -> Iterator[Cell]:
    """The cells of a stage."""
    base = Cell("ciciomt2024", 0.5, 0.2, 1, "mean", "none", 1)
    if stage == "defaults":  # one seed, both cohort sizes, every attack on the default; what it is measured against
        yield base
        for cohort in (1, 5):
            rule, root = DEFAULT[cohort]
            for attack in ATTACKS:
                yield replace(base, cohort=cohort, rule=rule, root=root, attack=attack)
    elif stage == "rules":  # the other rules
        for cohort in (1, 5):
            for rule in PEERS:
                root = 1000 if cohort == 5 else 300
                for attack in ("ipm-aware", "alie-aware", "model-replacement", "none", "fltrust-adaptive", *ATTACKS):
                    yield replace(base, cohort=cohort, rule=rule, root=root, attack=attack)
    elif stage == "seeds":  # the defaults with three seeds
        for seed in (2, 3):
            yield replace(base, seed=seed)
            for cohort in (1, 5):
                rule, root = DEFAULT[cohort]
                for attack in ATTACKS:
                    yield replace(base, cohort=cohort, rule=rule, root=root, attack=attack, seed=seed)
    elif stage == "curve":  # other shares, cohort sizes and skews, under the attacks that hurt most
        for alpha, share, cohort in CURVE:
            rule, root = DEFAULT[cohort]
            for attack in WORST:
                yield replace(base, alpha=alpha, share=share, cohort=cohort, rule=rule, root=root, attack=attack)
        yield replace(base, alpha=0.1)
    elif stage == "iot23":
        iot = replace(base, data="iot23")
        yield iot
        for cohort in (1, 5):
            rule, root = DEFAULT[cohort]
            for attack in WORST:
                yield replace(iot, cohort=cohort, rule=rule, root=root, attack=attack)


WORST = ("none", "ipm-aware", "alie-aware", "fltrust-adaptive", "model-replacement")
CURVE = (
    *((0.5, share, cohort) for share in (0.1, 0.3) for cohort in (1, 5)),
    *((0.5, 0.2, cohort) for cohort in (2, 3, 8)),
    *((0.1, 0.2, cohort) for cohort in (1, 5)),
)
STAGES = ("defaults", "rules", "seeds", "curve", "iot23")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, default=os.environ.get("WARDROUND_DATA"))
    arguments.add_argument("--stage", nargs="+", default=list(STAGES))
    arguments.add_argument("--minutes", type=float, default=60.0)
    arguments.add_argument("--search", action="store_true", help="identification instead of the tables")
    given = arguments.parse_args()
    bench, until = Bench(Path(given.data) if given.data else None), time.monotonic() + 60 * given.minutes
    if given.search:
        for asked in searches():
            found = load()
            if asked.key not in found.setdefault("searches", {}) and time.monotonic() < until:
                found["searches"][asked.key] = result = search(bench, asked)
                save(found)
                print(
                    asked.key,
                    {k: result[k] for k in ("caught", "hostile", "rounds_to_90", "false_quarantined")},
                    flush=True,
                )
        return
    for root in (300, 1000):
        found = load()
        if str(root) not in found.setdefault("root_only", {}):
            found["root_only"][str(root)] = root_only(bench, root, 1)
            save(found)
    for stage in given.stage:
        for cell in cells(stage):
            found = load()
            if cell.key in found["cells"] or time.monotonic() > until:
                continue
            result = bench.run(cell)
            found["cells"][cell.key] = result
            save(found)
            print(
                f"{cell.key:70s} F1 {result['macro_f1']:.3f} backdoor {result['backdoor']:.3f} {result['cpu_s']:.1f} s",
                flush=True,
            )


def load() -> dict[str, Any]:
    if OUT.exists():
        return dict(json.loads(OUT.read_text(encoding="utf-8")))
    return {"machine": machine(), "rounds": ROUNDS, "cells": {}}


def save(found: dict[str, Any]) -> None:
    temporary = OUT.with_suffix(".tmp")
    temporary.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(OUT)


if __name__ == "__main__":
    main()
