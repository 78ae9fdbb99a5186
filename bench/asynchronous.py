"""Asynchronous rounds (FedBuff) against synchronous ones, in virtual time: gateways of very different speed.

The same clients, model and training in all; three in ten clients are eight times slower. A synchronous server waits for all of them, or cuts
them off at four typical training times; FedBuff makes a model from every K that are ready. The unit of time is a typical training
time. Test macro-F1 is read every unit; sums are plain, so that only the course of rounds differs.

Run: nice python bench/asynchronous.py --data ../shared/data [--seeds 1,2,3] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from wardround.config import Experiment, override, parse
from wardround.drivers.simulation import engines, evaluate
from wardround.drivers.simulation.buffered import BufferedFederation
from wardround.drivers.simulation.environment import machine
from wardround.drivers.simulation.federate import Federation
from wardround.drivers.strategies import full
from wardround.drivers.world import build, plan
from wardround.events import RoundDone, ignore
from wardround.federation.buffered import server_for
from wardround.federation.server import Phase
from wardround.rng import stream

ROOT = Path(__file__).resolve().parent.parent
TIME = 120.0  # typical training times
WAY = {
    "synchronous, waits for all": ("weather.deadline=1000.0",),
    "synchronous, cuts off at 4": ("weather.deadline=4.0",),
    "FedBuff, K = 5": ("asynchronous.buffer=5",),
    "FedBuff, K = 10": ("asynchronous.buffer=10",),
}
COMMON = (
    "secagg.use=plain",
    "auth.use=none",
    "weather.stragglers=0.3",
    "weather.slowdown=8.0",
    "rounds.count=100000",
    "rounds.measure_every=100000",
    "evaluation.centralised=false",
    "evaluation.local=false",
)
CASES = {
    "ciciomt2024-6class": (),
    "ciciomt2024-6class, each client few classes": ("partition.alpha=0.1",),
}


def course(experiment: Experiment, table: Any, limit: float) -> dict[str, Any]:
    """One federation until virtual time ``limit``: (time, macro-F1) once per unit, models made, client trainings."""
    agreed, world = plan(experiment, table), build(experiment, table)
    server = server_for(agreed).new(agreed, experiment.participation, world.names, experiment.seed)
    maker = engines.maker(experiment.model, experiment.training, agreed.classes)
    kind = BufferedFederation if agreed.asynchronous.buffer else Federation
    clock, due, curve, trained = 0.0, 1.0, list[tuple[float, float]](), 0
    began = time.process_time()
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(1) as pool:
        federation = kind(experiment, world, agreed, server, maker, ignore, pool, 1)
        for happened in federation.run():
            done = [event for event in happened if isinstance(event, RoundDone)]
            if not done:
                continue
            trained += done[0].answered
            clock = federation.clock if isinstance(federation, BufferedFederation) else clock + lasts(federation)
            if clock >= limit:
                break
            if clock >= due and federation.server.phase is Phase.TRAINING:
                score = evaluate.overall(federation, federation.server.parameters, federation.server.errors)
                curve.append((round(clock, 2), round(float(score["macro_f1"]), 4)))
                due = clock + 1.0
    return {
        "curve": curve,
        "models": federation.server.round,
        "trainings": trained,
        "cpu_s": round(time.process_time() - began, 1),
    }


def lasts(federation: Federation) -> float:
    """How long the synchronous round that was just made lasted: until the last answer, or the deadline."""
    e = federation.experiment
    times = e.weather.times(len(federation.world.shares), e.seed, federation.server.round)
    return float(min(times.max(), e.weather.deadline))


def reached(curve: list[tuple[float, float]], score: float) -> float | None:
    """When the running mean of three readings first stands at ``score``."""
    for at in range(2, len(curve)):
        if sum(value for _, value in curve[at - 2 : at + 1]) / 3 >= score:
            return curve[at][0]
    return None


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=os.environ.get("WARDROUND_DATA"))
    options.add_argument("--seeds", default="1,2,3")
    options.add_argument("--quick", action="store_true", help="a tenth of the time, no result file")
    asked = options.parse_args()
    out = ROOT / "bench" / "results" / "asynchronous.json"
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() and not asked.quick else {"cases": {}}
    for case, sets in CASES.items():
        text = (ROOT / "experiments" / f"{case.split(',')[0]}.toml").read_text(encoding="utf-8")
        table = None
        for seed in asked.seeds.split(","):
            for way, own in WAY.items():
                place = found["cases"].setdefault(case, {}).setdefault(way, {})
                if seed in place and not asked.quick:
                    continue
                whole = override(text, [*COMMON, *sets, *own, f"seed={seed}"], case)
                experiment = parse(whole, full(), case)
                if table is None or table[0] != seed:
                    table = seed, experiment.data.load(asked.data, stream(experiment.seed, "data"))
                place[seed] = course(experiment, table[1], TIME / 10 if asked.quick else TIME)
                print(
                    case, way, seed, place[seed]["models"], place[seed]["curve"][-1:], place[seed]["cpu_s"], flush=True
                )
                if not asked.quick:
                    save(out, found)


def save(out: Path, found: dict[str, Any]) -> None:
    """Everything so far, with the time to the score that waiting for all ends with (times 0.95 and 1)."""
    found["reached"] = {}
    for case, ways in found["cases"].items():
        for seed, calm in ways.get("synchronous, waits for all", {}).items():
            last = [value for _, value in calm["curve"][-3:]]
            goal = sum(last) / max(len(last), 1)
            for way, seeds in ways.items():
                if seed in seeds:
                    to = {str(share): reached(seeds[seed]["curve"], share * goal) for share in (0.95, 1.0)}
                    found["reached"].setdefault(case, {}).setdefault(way, {})[seed] = to
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    found |= {
        "what": "asynchronous rounds in virtual time",
        "time": TIME,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "machine": machine(),
    }
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
