"""Figures of issue 9: hospitals that differ, three numbers per client, and the loss of each layer one by one.

    .venv/bin/python bench/personal.py [--data DIR] [--only NAME] [--seeds 1 2 3]

Every case is a shipped experiment with some keys changed; every figure comes from a run's metrics.json. ``own`` is the client's
model on its own test rows and on everybody's, ``common`` the common model on the same. *Local-only* is ``ditto`` without pull: as
many steps as the client takes in the federation, from the same start. Results join bench/results/personal.json after each run; runs
that are there are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.config import override
from wardround.drivers.simulation.environment import machine
from wardround.drivers.simulation.run import Options, start_run
from wardround.events import ignore

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "results" / "personal.json"
BARE = ("evaluation.local=false", "evaluation.centralised=false", "evaluation.test_every=false", "run.workers=1")
PLAIN = ("secagg={use='plain'}", "auth={use='none'}")
SKEWED = "ciciomt2024-skewed"
NO_MOMENTUM = ("server.momentum=0.0", "rounds.weighting='rows'")
SGD = ("training.momentum=0.0", "training.learning_rate=0.2", *NO_MOMENTUM)
SPLITS = {
    "Dirichlet 1": ("partition.alpha=1.0",),
    "Dirichlet 0.5": ("partition.alpha=0.5",),
    "Dirichlet 0.1": (),
    "Dirichlet 0.05": ("partition.alpha=0.05",),
    "2-class shards": ("partition={use='shards', clients=50, classes_per_client=2}",),
    "attack families": ("partition={use='family', clients_per_family=4}",),
    "quantity 1:1000": ("partition={use='quantity', clients=50}",),
}
NONE = ("prior={use='none'}",)
STRATEGIES = {
    "FedAvg": (*NO_MOMENTUM, *NONE),
    "FedProx 0.1": ("algorithm={use='fedprox', mu=0.1}", *NO_MOMENTUM, *NONE),
    "FedAvg + prior": NO_MOMENTUM,
    "ours: stable common model + prior": (),
    "ours, floor 0.05": ("prior.floor=0.05",),
    "ours, window prior": ("prior={use='window', every=512}",),
    "local-only": ("personal={use='ditto', pull=0.0}", *NONE),
    "finetune": ("personal={use='finetune'}", *NONE),
    "finetune biases": ("personal={use='finetune', tensors=['*.bias']}", *NONE),
    "fedper": ("personal={use='fedper'}", *NONE),
    "fedrep": ("personal={use='fedrep'}", *NONE),
    "ditto 1": ("personal={use='ditto', pull=1.0}", *NONE),
    "apfl": ("personal={use='apfl'}", *NONE),
    "ours + apfl": ("personal={use='apfl'}",),
    "TERM": ("algorithm={use='term'}",),
    "AFL": ("algorithm={use='afl'}",),
    "q-FFL": ("algorithm={use='qffl'}",),
    "SCAFFOLD, bounded": ("algorithm={use='scaffold'}", *SGD),
    "SCAFFOLD, as in the paper": ("algorithm={use='scaffold', most=0.0}", *SGD),
    "FedNova": ("algorithm={use='fednova'}", *NO_MOMENTUM),
    "FedDyn, bounded": ("algorithm={use='feddyn'}", *NO_MOMENTUM),
    "FedAdam": ("server={use='adam', learning_rate=0.01}",),
    "logit adjustment 0.5": ("training.logit_adjustment=0.5",),
    "MOON over FedAvg": ("algorithm={use='moon'}", *NO_MOMENTUM),
    "MOON over ours": ("algorithm={use='moon'}",),
    "IFCA, 3 models": ("algorithm={use='ifca', clusters=3}", *NONE),
    "soft clusters, 3 models": ("algorithm={use='soft', clusters=3}", *NONE),
    "federated histograms, 4 models": ("algorithm={use='histograms', clusters=4}", *NONE),
}
LATTICE = ("secagg={use='lattice'}", "auth={use='none'}")
AUTH = ("secagg={use='plain'}", "auth={use='x-wing'}")
COHORTS = ("rounds.cohort_size=10", "rule={use='norm-clipping'}")
CODEC = (
    "compress.up=[{use='importance', share=0.1, cap=3.0}]",
    "compress.down=[{use='top-k', share=0.1}, {use='int', bits=8}]",
)
LAYERS = {
    "FedAvg, nothing else": (*PLAIN, *NO_MOMENTUM, *NONE),
    "stable common model": (*PLAIN, *NONE),
    "+ prior correction": PLAIN,
    "+ lattice sum": LATTICE,
    "+ authentication (without the lattice)": AUTH,
    "+ cohorts of 10, clipped norms (without the lattice)": (*PLAIN, *COHORTS),
    "+ codec, both ways (without the lattice)": (*PLAIN, *CODEC),
    "all at once": ("secagg={use='lattice'}", "auth={use='x-wing'}", *COHORTS, *CODEC),
}
HOSPITAL = (
    "data={use='hospital', wards=12, devices_per_ward=6, labels='6class'}",
    "split={use='temporal', per_group=true, test=0.25, validation=0.15}",
    "normal={fit=false}",
)
LIMITS = ("types={even=true}",)
SITE = "CTU-Malware-Capture-34-1"
SITES = (
    *("CTU-Honeypot-Capture-4-1", "CTU-Honeypot-Capture-5-1", "CTU-Honeypot-Capture-7-1", "CTU-Malware-Capture-8-1"),
    *(
        "CTU-Malware-Capture-20-1",
        "CTU-Malware-Capture-21-1",
        "CTU-Malware-Capture-42-1",
        "CTU-Malware-Capture-44-1",
        SITE,
    ),
)
DRIFT = ("algorithm={use='scaffold'}", "training.momentum=0.0")
WORDS = ("training.unknown_words='attack'",)
UNLABELLED = {
    "prior none": NONE,
    "prior window": ("prior={use='window'}",),
    "prior calm": ("prior={use='calm', most=0.03}",),
    "unknown words": (*NONE, *WORDS),
    "SCAFFOLD": (*NONE, *DRIFT),
    "SCAFFOLD + unknown words": (*NONE, *DRIFT, *WORDS),
    "SCAFFOLD + unknown words, prior calm": ("prior={use='calm', most=0.03}", *DRIFT, *WORDS),
}
"""What a site without labels can have. SCAFFOLD was chosen among 27 settings of training on the other eight sites, seeds 11 and 12
(docs/design/0905), which no figure here uses.
"""
LATE = {
    "finetune": ("personal={use='finetune'}",),
    "ditto": ("personal={use='ditto'}",),
    "SCAFFOLD + unknown words, finetune": ("personal={use='finetune'}", *DRIFT, *WORDS),
}
NEWCOMER = ("rounds.count=30", "split={use='stratified', test=0.5, validation=0.1}", f"evaluation.late=['{SITE}']")


@dataclass(frozen=True)
class Case:
    """A shipped experiment with some keys changed, in one of the tables."""

    table: str
    name: str
    experiment: str
    sets: tuple[str, ...]


def cases() -> list[Case]:
    """The most telling first: a run that is cut short has them."""
    found = [Case("layers", name, SKEWED, ("rounds.count=100", *sets)) for name, sets in LAYERS.items()]
    for split in ("Dirichlet 0.1", "2-class shards"):
        found += [Case(split, name, SKEWED, (*PLAIN, *SPLITS[split], *sets)) for name, sets in STRATEGIES.items()]
    main = ("FedAvg", "FedProx 0.1", "ours: stable common model + prior", "local-only")
    for split, sets in SPLITS.items():
        found += [Case("splits", f"{split}: {name}", SKEWED, (*PLAIN, *sets, *STRATEGIES[name])) for name in main]
    for name, more in UNLABELLED.items():
        left = f"split={{use='groups', leave_out=['{SITE}']}}"
        found.append(
            Case(
                "IoT-23",
                f"without 34-1, no labels there, {name}",
                "iot23-natural",
                (*PLAIN, "rounds.count=30", left, *more),
            )
        )
    for name, more in LATE.items():
        found.append(Case("IoT-23", f"34-1 joins late, {name}", "iot23-natural", (*PLAIN, *NEWCOMER, *more)))
    natural = {
        "FedAvg": NONE,
        "ours: stable common model + prior": (
            "rounds.weighting='sqrt'",
            "server={use='sgd', momentum=0.8}",
            "prior={use='client'}",
        ),
        "finetune": ("personal={use='finetune'}", *NONE),
        "MOON": ("algorithm={use='moon'}", *NONE),
        "IFCA, 3 models": ("algorithm={use='ifca', clusters=3}", *NONE),
        "soft clusters, 3 models": ("algorithm={use='soft', clusters=3}", *NONE),
        "histograms of labels, 3 models": ("algorithm={use='histograms', clusters=3}", *NONE),
        "histograms of inputs, 3 models": ("algorithm={use='histograms', clusters=3, of='inputs', size=256}", *NONE),
    }
    found += [
        Case("IoT-23 sites", name, "iot23-natural", (*PLAIN, "rounds.count=30", *sets))
        for name, sets in natural.items()
    ]
    for site in SITES:
        for name, more in UNLABELLED.items():
            left = f"split={{use='groups', leave_out=['{site}']}}"
            sets = (*PLAIN, "rounds.count=30", left, *more)
            found.append(Case("IoT-23 left out", f"{site.removeprefix('CTU-')}, {name}", "iot23-natural", sets))
    for labels in ("19class", "6class"):
        sets = (*PLAIN, "rounds.count=1", "evaluation.centralised=true", f"data.labels='{labels}'")
        found.append(Case("centralised", labels, SKEWED, sets))
    gaps = "gaps={clients=0.3, columns=0.3}"
    columns = {
        "no gateway lacks any": (),
        "3 of 10 gateways lack 30 % of the columns": (gaps,),
        "the same without mask bits": (gaps, "scaling={use='quantile', missing_bits=false}"),
        "all gateways lack 30 % each": ("gaps={clients=1.0, columns=0.3}",),
    }
    found += [
        Case("columns", name, SKEWED, (*PLAIN, *SPLITS["Dirichlet 0.5"], *sets)) for name, sets in columns.items()
    ]
    typed = {
        "common model": (),
        "finetune": ("personal={use='finetune'}",),
        "typed heads": ("personal={use='typed'}",),
        "typed biases": ("personal={use='typed', tensors=['*.bias']}",),
        "heads shared by type": ("algorithm={use='type-heads', clusters=8}",),
        "TERM": ("algorithm={use='term'}",),
    }
    typed |= {"limits by type": LIMITS, "typed biases, limits by type": (*typed["typed biases"], *LIMITS)}
    found += [Case("device types", name, "demo", (*PLAIN, *HOSPITAL, *sets)) for name, sets in typed.items()]
    late = "evaluation.late_clients=0.2"
    found += [
        Case("late", name, SKEWED, (*PLAIN, late, *STRATEGIES[name]))
        for name in ("ours: stable common model + prior", "finetune", "ditto 1", "fedper")
    ]
    found.append(Case("WUSTL", "FedAvg", "wustl-ehms", PLAIN))
    found.append(
        Case(
            "WUSTL",
            "stable common model",
            "wustl-ehms",
            (*PLAIN, "rounds.weighting='sqrt'", "server={use='sgd', momentum=0.8}"),
        )
    )
    for clients in (8, 200):
        more = (f"partition.clients={clients}",)
        found += [
            Case("sizes", f"{clients} clients: {name}", SKEWED, (*PLAIN, *more, *STRATEGIES[name]))
            for name in main[::2]
        ]
    for split in ("Dirichlet 0.5", "Dirichlet 0.1", "2-class shards"):
        sets = ("data.labels='6class'", *SPLITS[split])
        found += [
            Case("6 classes", f"{split}: {name}", SKEWED, (*PLAIN, *sets, *STRATEGIES[name])) for name in main[::2]
        ]
    return found


def run(case: Case, seed: int, data: Path) -> dict[str, Any]:
    """The figures of one seed."""
    path = ROOT / "experiments" / f"{case.experiment}.toml"
    text = override(path.read_text(encoding="utf-8"), [*BARE, *case.sets], path.name)
    began = time.process_time()
    with tempfile.TemporaryDirectory(prefix="wardround-bench-") as runs:
        metrics = start_run(text, path.name, Options(data, Path(runs), seed, "bench/personal.py"), ignore).json(
            "metrics.json"
        )
    personal, overall = metrics["personal"], metrics["models"]["federated"]["overall"]
    positive = overall["per_class"][1] if len(overall["per_class"]) == 2 else None
    return {
        "cpu_s": time.process_time() - began,
        "global_macro_f1": overall["macro_f1"],
        "attack_f1": positive["f1"] if positive else None,
        "roc_auc": overall["roc_auc"],
        "common": personal["common"],
        "own": personal["own"],
        "late": personal["late"],
        "unlabelled": personal["unlabelled"],
        "device_types": personal["device_types"],
        "centralised_macro_f1": (metrics["models"]["centralised"] or {}).get("overall", {}).get("macro_f1"),
        "bytes_up_per_client": metrics["bytes"]["up_per_client"],
        "bytes_down_per_client": metrics["bytes"]["down_per_client"],
        "rounds_to_95": _rounds_to(metrics, 0.95),
    }


def _rounds_to(metrics: dict[str, Any], share: float) -> int | None:
    """The first measured round whose validation macro-F1 reaches ``share`` of the last one's."""
    curve = [
        (p["round"], p["validation"]["macro_f1"])
        for p in metrics["curve"]
        if p["validation"] and p["validation"]["macro_f1"]
    ]
    return next((round_ for round_, score in curve if score >= share * curve[-1][1]), None) if curve else None


def main() -> None:
    """Run what is missing, the first seed of every case first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("WARDROUND_DATA", ROOT.parent / "shared" / "data"))
    )
    parser.add_argument("--only", nargs="+", default=[""], help="parts of TABLE/NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    asked = parser.parse_args()
    found = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {"machine": machine(), "cases": {}}
    wanted = [case for case in cases() if any(part in f"{case.table}/{case.name}" for part in asked.only)]
    for seed in asked.seeds:
        for case in wanted:
            entry = found["cases"].setdefault(
                f"{case.table}/{case.name}",
                {"table": case.table, "name": case.name, "experiment": case.experiment, "sets": case.sets, "seeds": {}},
            )
            if list(entry["sets"]) != list(case.sets):
                entry.update(sets=case.sets, seeds={})
            if str(seed) in entry["seeds"]:
                continue
            entry["seeds"][str(seed)] = one = _twin(found, case, seed) or run(case, seed, asked.data)
            OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(f"{case.table}/{case.name} seed {seed}: {_line(one)}", flush=True)


def _twin(found: dict[str, Any], case: Case, seed: int) -> dict[str, Any] | None:
    """The same run under another table's name, where it is there: settings and seed say all."""
    for other in found["cases"].values():
        same = (other["experiment"], list(other["sets"])) == (case.experiment, list(case.sets))
        if same and str(seed) in other["seeds"]:
            one: dict[str, Any] = other["seeds"][str(seed)]
            return one
    return None


def _line(one: dict[str, Any]) -> str:
    """What the run says on one line; a site left out whole has no client of its own to score."""
    said = f"global {one['global_macro_f1']:.3f}, {one['cpu_s']:.0f} s"
    if not one["own"]:
        return f"{said}, unlabelled {one['unlabelled']['macro_f1']:.3f}"
    own = {key: one["own"][key]["mean"] for key in ("accuracy", "macro_f1_present", "everybody_macro_f1")}
    worst = one["own"]["macro_f1_present"]["worst_tenth"]
    return f"{said}, own {own['accuracy']:.3f} / {own['macro_f1_present']:.3f}, worst {worst:.3f}, everybody {own['everybody_macro_f1']:.3f}"


if __name__ == "__main__":
    main()
