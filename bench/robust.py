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
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from wardround.aggregate.selection import Bulyan, Krum, MultiKrum
from wardround.aggregate.tolerance import cohort_sizes, hostile_clients, spoilt_distribution
from wardround.arrays import F32
from wardround.attacks.attack import Attack, Target, alike, moments
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
    "iot23": '[data]\nuse = "iot-23"\nlabels = "binary"\ndeduplicate = true\n',
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


@dataclass(frozen=True)
class Absent(Attack):
    """Hostile clients that are as good as not there: they send the honest mean. What being without their data costs."""

    name: ClassVar[str] = "absent"

    def forge(self, honest: F32, own: F32, target: Target, rng: np.random.Generator) -> F32:
        del target, rng
        return alike(moments(honest)[0], len(own))


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
    watch: bool = False  # [trust] watch: liars that group testing finds are invited no more
    keep: float = 0.0  # client momentum

    @property
    def key(self) -> str:
        """The cell's name in the results; what is off is not in it."""
        more = {"watch": self.watch, "keep": self.keep}
        values = [v for name, v in asdict(self).items() if name not in more]
        return "|".join([*map(str, values), *(f"{name}={v}" for name, v in more.items() if v)])


RULES: dict[str, str] = {
    "mean": 'use = "mean"',
    "median": 'use = "median"',
    "trimmed-mean": 'use = "trimmed-mean"\nhostile = {hostile}',
    "krum": 'use = "krum"\nhostile = {hostile}',
    "multi-krum": 'use = "multi-krum"\nhostile = {hostile}',
    "bulyan": 'use = "bulyan"\nhostile = {hostile}',
    "centred-clipping": 'use = "centred-clipping"',
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
        rule = RULES[cell.rule].format(hostile=hostile_rows(cell.rule, clients, cell.cohort, cell.share))
        attack = ATTACKS.get(cell.attack, ATTACKS["none"]).format(share=cell.share)
        more = "[trust]\nwatch = true\n" if cell.watch else ""
        if cell.keep:
            more += f'[algorithm]\nuse = "client-momentum"\nkeep = {cell.keep}\n'
        made = replace(parse(f"{text}[rule]\n{rule}\n[attack]\n{attack}\n{more}", simulated()), seed=cell.seed)
        return replace(made, attack=Absent(cell.share)) if cell.attack == Absent.name else made

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
    "none",
    "free-rider",
    "gaussian",
    "fltrust-adaptive",
    "ipm-aware",
    "label-flip",
    "sign-flip",
    "alie-aware",
    "model-replacement",
    "mimic",
)


HONEST = (11, 12, 13, 14)  # seeds of federations in which nobody lies; nothing was looked at on them


def searches() -> Iterator[Search]:
    """The most telling first: 20 % in cohorts of five, both skews; then other cohorts and shares, then other seeds; between
    them federations in which nobody lies.
    """
    for seed in (2, 3, 1):
        for share in (0.2, 0.1):
            for cohort, alpha in ((5, 0.5), (5, 0.1), (3, 0.5), (3, 0.1)):
                for attack in FOUND:
                    if attack != "none" or share == 0.2:
                        yield Search(attack, share, cohort, alpha, seed)
        if seed == 2:
            for alpha in (0.05, 0.1, 0.5):
                for cohort in (1, 2, 3, 5):
                    for honest in HONEST:
                        yield Search("none", 0.2, cohort, alpha, honest)


def measured(federation: Federation) -> float:
    found = evaluate.overall(federation, federation.server.parameters, federation.server.errors)
    return float(found["macro_f1"]) if np.isfinite(federation.server.parameters).all() else 0.0


SURVIVES: dict[str, Callable[[int], int]] = {  # rows a rule can be set for at most; the others just under half
    "krum": Krum().breakdown,
    "multi-krum": MultiKrum().breakdown,
    "bulyan": Bulyan().breakdown,
}


def hostile_rows(rule: str, clients: int, cohort: int, share: float) -> float:
    """The share of rows a majority rule is set for: the 0.8 quantile of the spoilt rows, at most what it can survive."""
    sizes = cohort_sizes(clients, cohort)
    spoilt = np.cumsum(spoilt_distribution(sizes, hostile_clients(clients, share)))
    most = SURVIVES[rule](len(sizes)) if rule in SURVIVES else (len(sizes) - 1) // 2
    rows = min(int(np.searchsorted(spoilt, 0.8)), most)
    return round(rows / len(sizes), 6)


DEFAULT = {
    1: ("rooted-mean", 300),
    2: ("rooted-mean", 300),
    3: ("fltrust", 1000),
    5: ("fltrust", 1000),
    8: ("fltrust", 1000),
}
OTHERS = ("mean", "nnm+trimmed-mean", "dnc", "geometric-median", "norm-clipping", "zeno", "fltrust", "rooted-mean")
MORE = ("median", "trimmed-mean", "krum", "multi-krum", "bulyan", "centred-clipping")
WORST = ("none", "ipm-aware", "alie-aware", "fltrust-adaptive", "sign-flip", "model-replacement")
MILD = tuple(attack for attack in ATTACKS if attack not in WORST)
BASE_CELL = Cell("ciciomt2024", 0.5, 0.2, 1, "mean", "none", 1)


def defaults(base: Cell, cohorts: Sequence[int], attacks: Sequence[str]) -> Iterator[Cell]:
    """The default rule of each cohort size under ``attacks``."""
    for cohort in cohorts:
        rule, root = DEFAULT[cohort]
        for attack in attacks:
            yield replace(base, cohort=cohort, rule=rule, root=root, attack=attack)


def cells(stage: str) -> Iterator[Cell]:
    """The cells of a stage, the most telling first."""
    return iter(STAGES[stage]())


def first() -> Iterator[Cell]:
    """One seed, both cohort sizes, every attack on the default; what it is measured against. The rules were tuned on this seed."""
    yield BASE_CELL
    yield from defaults(BASE_CELL, (1, 5), tuple(ATTACKS))


def seeds() -> Iterator[Cell]:
    """The same on two seeds that nothing was tuned on; cohorts of five with and without trust."""
    for seed in (2, 3):
        yield replace(BASE_CELL, seed=seed)
    for seed in (2, 3, 1):
        yield from defaults(replace(BASE_CELL, seed=seed, watch=True), (5,), tuple(ATTACKS))
    for seed in (2, 3):
        yield from defaults(replace(BASE_CELL, seed=seed), (1, 5), tuple(ATTACKS))


def rules() -> Iterator[Cell]:
    """The other rules, under the attacks that hurt most."""
    for cohort, root in ((1, 300), (5, 1000)):
        for attack in WORST:
            for rule in OTHERS:
                yield replace(BASE_CELL, seed=2, cohort=cohort, rule=rule, root=root, attack=attack)


def curve() -> Iterator[Cell]:
    """Shares of hostile clients and cohort sizes, the default rule of each."""
    base = replace(BASE_CELL, seed=2)
    for attacks in (WORST, MILD):
        for share in (0.2, 0.3, 0.1):
            yield from defaults(replace(base, share=share), (1, 2, 3, 5, 8), attacks)
            yield from defaults(replace(base, share=share, watch=True), (3, 8), attacks if attacks is WORST else ())


def deployed() -> Iterator[Cell]:
    """The curve of what ships, every attack, three seeds: the default rule and trust, which comes unasked."""
    for seed in (2, 3, 1):
        base = replace(BASE_CELL, seed=seed)
        yield base
        for share in (0.2, 0.3, 0.1):
            yield replace(base, share=share, attack=Absent.name)
            yield from defaults(replace(base, share=share, watch=True), (1, 5, 2, 3, 8), tuple(ATTACKS))


def cube(seed: int = 2) -> Iterator[Cell]:
    """Every attack on every rule, share and cohort size: one seed, the most telling first. Nobody attacks: once where a rule is
    not set for a share.
    """
    base = replace(BASE_CELL, seed=seed)
    order = [(share, cohort) for cohorts in ((1, 5), (2, 3, 8)) for share in (0.2, 0.3, 0.1) for cohort in cohorts]
    for attacks in (WORST, MILD):
        for share, cohort in order:
            for rule in (*OTHERS, *MORE):
                for attack in attacks:
                    if attack != "none" or share == 0.2 or "{hostile}" in RULES[rule]:
                        root = 300 if cohort <= 2 else 1000
                        yield replace(base, share=share, cohort=cohort, rule=rule, root=root, attack=attack)


def spread() -> Iterator[Cell]:
    """The two other seeds: every attack on every rule at 20 % hostile, in cohorts of five and in rows of one."""
    for cohort in (5, 1):
        for seed in (3, 1):
            yield from (cell for cell in cube(seed) if (cell.share, cell.cohort) == (0.2, cohort))


def skew() -> Iterator[Cell]:
    """Clients that differ more."""
    for share, seeds_ in ((0.2, (2, 3, 1)), (0.3, (2,))):
        for seed in seeds_:
            base = replace(BASE_CELL, alpha=0.1, seed=seed, share=share)
            yield replace(base, attack="none")
            yield replace(base, attack=Absent.name)
            yield from defaults(replace(base, watch=True), (1, 5), tuple(ATTACKS))


def iot23() -> Iterator[Cell]:
    """Other data."""
    for seed in (2, 3, 1):
        base = replace(BASE_CELL, data="iot23", seed=seed)
        yield base
        for attacks in (WORST, MILD):
            yield from defaults(replace(base, watch=True), (1, 5), attacks)


def momentum() -> Iterator[Cell]:
    """Client momentum with each rule."""
    for attack in ("ipm-aware", "none", "alie-aware", "sign-flip"):
        for rule, cohort, root in (
            ("nnm+trimmed-mean", 1, 300),
            ("geometric-median", 1, 300),
            ("dnc", 1, 300),
            ("rooted-mean", 1, 300),
            ("fltrust", 5, 1000),
        ):
            for keep in (0.0, 0.8):
                yield replace(BASE_CELL, seed=2, cohort=cohort, rule=rule, root=root, attack=attack, keep=keep)


STAGES: dict[str, Callable[[], Iterator[Cell]]] = {
    "defaults": first,
    "seeds": seeds,
    "rules": rules,
    "deployed": deployed,
    "cube": cube,
    "spread": spread,
    "curve": curve,
    "skew": skew,
    "iot23": iot23,
    "momentum": momentum,
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, default=os.environ.get("WARDROUND_DATA"))
    arguments.add_argument("--stage", nargs="+", default=list(STAGES))
    arguments.add_argument("--minutes", type=float, default=60.0)
    arguments.add_argument(
        "--part", type=int, nargs=2, default=(0, 1), metavar=("K", "OF"), help="one of OF processes, from 0"
    )
    arguments.add_argument("--search", action="store_true", help="identification instead of the tables")
    given = arguments.parse_args()
    bench, until = Bench(Path(given.data) if given.data else None), time.monotonic() + 60 * given.minutes
    part, parts = given.part
    if given.search:
        for asked in islice(searches(), part, None, parts):
            if not known("searches", asked.key) and time.monotonic() < until:
                result = add("searches", asked.key, search(bench, asked))
                told = {k: result[k] for k in ("caught", "hostile", "rounds_to_90", "false_quarantined")}
                print(asked.key, told, flush=True)
        return
    for root in (300, 1000):
        if not known("root_only", str(root)):
            add("root_only", str(root), root_only(bench, root, 1))
    for stage in given.stage:
        for cell in islice(cells(stage), part, None, parts):
            if not known("cells", cell.key) and time.monotonic() < until:
                result = add("cells", cell.key, bench.run(cell))
                scores = f"F1 {result['macro_f1']:.3f} backdoor {result['backdoor']:.3f}"
                print(f"{cell.key:70s} {scores} {result['cpu_s']:.1f} s", flush=True)


def load() -> dict[str, Any]:
    if OUT.exists():
        return dict(json.loads(OUT.read_text(encoding="utf-8")))
    return {"machine": machine(), "rounds": ROUNDS, "cells": {}}


def known(part: str, key: str) -> bool:
    return key in load().get(part, {})


def add(part: str, key: str, result: Any) -> Any:
    """Put one result into the file, which other processes may be writing too."""
    with OUT.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = load()
        found.setdefault(part, {})[key] = result
        temporary = OUT.with_suffix(".tmp")
        temporary.write_text(_lines(found), encoding="utf-8")
        temporary.replace(OUT)
    return result


def _lines(found: dict[str, Any]) -> str:
    """JSON with one result per line: what a run adds is then one line of the diff."""
    parts = []
    for name, part in sorted(found.items()):
        if isinstance(part, dict):
            each = ",\n".join(f" {json.dumps(key)}: {json.dumps(part[key], sort_keys=True)}" for key in sorted(part))
            parts.append(f"{json.dumps(name)}: {{\n{each}\n}}")
        else:
            parts.append(f"{json.dumps(name)}: {json.dumps(part)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
