# noqa: A005 - a script, not a module
"""Codecs: encode and decode time, and the frontier of accuracy against bytes (issue 8).

    .venv/bin/python bench/codecs.py time [--million 1]
    .venv/bin/python bench/codecs.py frontier [--data DIR] [--seeds 1 2 3] [--alphas 0.5 0.1] [--rounds 300] [--only SCHEME ...]
    .venv/bin/python bench/codecs.py table
    .venv/bin/python bench/codecs.py recount          # bytes of lattice runs under today's contribution
    .venv/bin/python bench/codecs.py merge --other FILE

``time``: seconds per million parameters on one core, beside numpy's copy and zstd, and peak memory. ``frontier``: CICIoMT2024 v2, 19 classes,
50 clients; each client takes 10 steps a round, all 50 or 10 of them; every byte is the length of a real encoding, up and down,
catch-up included. Under a secure sum (``ring``) values are rounded at random to a public grid whose clip follows the share
of cut values (one more count in the sum; Andrew et al., NeurIPS 2021), and ring bits are counted; no cryptography runs.
Results join bench/results/codecs.json; runs that are there already are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from threadpoolctl import threadpool_limits

from wardround.arrays import F64, I64
from wardround.compress.chain import Chain, LinearChain
from wardround.compress.codec import Codec, Memory, Public, flat, round_id
from wardround.compress.explain import titles
from wardround.compress.feedback import ErrorFeedback
from wardround.compress.pack import Zstd
from wardround.compress.projections import CountSketch, LowRank
from wardround.compress.quantise import Float32, Integer, Sign, Ternary
from wardround.compress.rotation import Eden
from wardround.compress.sparsify import SparseTernary, Threshold, TopK
from wardround.compress.supports import Importance, RandomK, SharedTop
from wardround.compress.table import Compress
from wardround.config import Experiment, override, parse
from wardround.drivers.simulation import engines
from wardround.drivers.simulation.environment import machine
from wardround.drivers.simulation.federate import Federation
from wardround.drivers.simulation.secure import Called, Result
from wardround.drivers.strategies import full
from wardround.drivers.world import build, plan
from wardround.events import RoundDone, ignore
from wardround.federation.cohorts import CohortSum
from wardround.federation.messages import Answer
from wardround.federation.server import Server
from wardround.rng import stream
from wardround.secagg import fixedpoint, planner
from wardround.secagg.messages import Contribution
from wardround.secagg.parameters import PRESETS, Lattice
from wardround.traffic.table import Table
from wardround.training import metrics
from wardround.training.task import Rows
from wardround.wire import encode

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "results" / "codecs.json"
EF = ErrorFeedback()
DENSE: tuple[Codec, ...] = ()
DOWN: tuple[Codec, ...] = (TopK(0.1), Integer(8))
MEASURE_EVERY = 10
ROUNDS = 300
STEPS = 10
"""Of local SGD in a round."""
LAST = 5
"""The figure of a run is the mean macro-F1 of this many last measurements."""


@dataclass(frozen=True)
class Scheme:
    """A chain up, a chain down; ``bits``: under the lattice with update values of that many bits, 0: sums are open."""

    up: tuple[Codec, ...]
    down: tuple[Codec, ...] = DENSE
    bits: int = 0


def _masked(share: float, cap: float, bits: int, explore: float = 0.3) -> Scheme:
    """RI under a secure sum; the difference of models lives on the same public support."""
    mask = Importance(share, explore, cap)
    return Scheme((mask,), (replace(mask, weigh=False), Integer(8)), bits)


SCHEMES = {
    "dense": Scheme(DENSE),
    "int8": Scheme((Integer(8, 256),)),
    "int8 zstd": Scheme((Integer(8, 256), Zstd())),
    "int4": Scheme((Integer(4, 256),)),
    "ternary": Scheme((Ternary(),)),
    "sign EF": Scheme((EF, Sign())),
    "eden 1 bit": Scheme((Eden(1),)),
    "top-k 10% EF": Scheme((EF, TopK(0.1))),
    "top-k 3% EF": Scheme((EF, TopK(0.03))),
    "top-k 1% EF": Scheme((EF, TopK(0.01))),
    "top-k 0.3% EF": Scheme((EF, TopK(0.003))),
    "top-k 0.1% EF": Scheme((EF, TopK(0.001))),
    "top-k 10%": Scheme((TopK(0.1),)),
    "top-k 3%": Scheme((TopK(0.03),)),
    "top-k 1%": Scheme((TopK(0.01),)),
    "top-k 0.3%": Scheme((TopK(0.003),)),
    "top-k 0.1%": Scheme((TopK(0.001),)),
    "top-k 3% EF int4": Scheme((EF, TopK(0.03), Integer(4))),
    "top-k 1% EF int4": Scheme((EF, TopK(0.01), Integer(4))),
    "STC 3%": Scheme((EF, SparseTernary(0.03))),
    "STC 1%": Scheme((EF, SparseTernary(0.01))),
    "STC 0.3%": Scheme((EF, SparseTernary(0.003))),
    "STC 1%, down top-k 10% int8": Scheme((EF, SparseTernary(0.01)), DOWN),
    "STC 1%, down STC 3%": Scheme((EF, SparseTernary(0.01)), (SparseTernary(0.03),)),
    "STC 3%, down top-k 10% int8": Scheme((EF, SparseTernary(0.03)), DOWN),
    "top-k 1% DGC 0.5 int4": Scheme((ErrorFeedback(momentum=0.5), TopK(0.01), Integer(4))),
    "threshold 4 EF int4": Scheme((EF, Threshold(4.0, 0.03), Integer(4))),
    "random-k 10%": Scheme((RandomK(0.1),)),
    "random-k 10% EF": Scheme((EF, RandomK(0.1, unbiased=False))),
    "shared-top 5%": Scheme((SharedTop(0.05),)),
    "RI 10% cap 10, int4": Scheme((Importance(0.1), Integer(4))),
    "low-rank 2": Scheme((LowRank(2),)),
    "low-rank 4": Scheme((LowRank(4),)),
    "count-sketch 50%": Scheme((CountSketch(0.5),)),
    "lattice 8 bit": Scheme(DENSE, DENSE, 8),
    "lattice 4 bit": Scheme(DENSE, DENSE, 4),
    "lattice, RI 10% cap 10, 4 bit": _masked(0.1, 10.0, 4),
    "lattice, RI 10% cap 10, 6 bit": _masked(0.1, 10.0, 6),
    "lattice, RI 10% cap 10, 8 bit": _masked(0.1, 10.0, 8),
    "lattice, RI 15% cap 10, 8 bit": _masked(0.15, 10.0, 8),
    "lattice, RI 15% uncut, 8 bit": _masked(0.15, 10.0, 8, 0.67),
    "lattice, RI 15% cap 5, 8 bit": _masked(0.15, 5.0, 8),
    "lattice, RI 5% cap 20, 4 bit": _masked(0.05, 20.0, 4),
    "lattice, RI 5% cap 10, 4 bit": _masked(0.05, 10.0, 4),
    "lattice, RI 4% cap 20, 4 bit": _masked(0.04, 20.0, 4),
    "lattice, random-k 10%, 8 bit": Scheme((RandomK(0.1),), DENSE, 8),
    "lattice, random-k 15%, 8 bit, down top-k 15% int8": Scheme((RandomK(0.15),), (TopK(0.15), Integer(8)), 8),
    "lattice, shared-top 5%, 8 bit": Scheme((SharedTop(0.05),), DENSE, 8),
    "lattice, low-rank 4, 8 bit": Scheme((LowRank(4),), DENSE, 8),
    "lattice, low-rank 4, 8 bit, down top-k 10% int8": Scheme((LowRank(4),), DOWN, 8),
    "lattice, low-rank 4, 8 bit, down int8": Scheme((LowRank(4),), (Integer(8, 256),), 8),
    "lattice, low-rank 4 EF, 8 bit, down int8": Scheme((EF, LowRank(4)), (Integer(8, 256),), 8),
    "lattice, count-sketch 50%, 8 bit": Scheme((CountSketch(0.5),), DENSE, 8),
}
HEADLINES = (
    "dense",
    "STC 1%",
    "STC 1%, down top-k 10% int8",
    "lattice, RI 10% cap 10, 4 bit",
    "lattice, RI 5% cap 20, 4 bit",
)


@dataclass(frozen=True)
class Task:
    """Where a scheme is tried."""

    data: str
    alpha: float
    hidden: str
    seed: int
    invited: int
    rounds: int
    steps: int = STEPS

    @property
    def key(self) -> str:
        where = f"alpha {self.alpha}" if self.data == "ciciomt2024" else "natural"
        long = "" if self.rounds == ROUNDS else f" | {self.rounds} rounds"
        long += "" if self.steps == STEPS else f" | {self.steps} steps"
        return f"{self.data} {where} | {self.invited} clients | hidden {self.hidden} | seed {self.seed}{long}"


def experiment(task: Task, scheme: Scheme) -> Experiment:
    """The experiment file of ``scheme`` in ``task``: what `wardround simulate` would run."""
    file = "ciciomt2024-19class.toml" if task.data == "ciciomt2024" else "iot23-natural.toml"
    clients = 50 if task.data == "ciciomt2024" else 0
    sets = [
        f"model.hidden={task.hidden}",
        f"training={{steps={task.steps}, batch_size=32, learning_rate=0.2, momentum=0.0}}",
        f"rounds={{count={task.rounds}, measure_every={task.rounds}}}",
        "evaluation={centralised=false, local=false, test_every=false}",
        "secagg={use='plain'}",
        "auth={use='none'}",
        "run={workers=1}",
        f"seed={task.seed}",
    ]
    if clients:
        sets.append(f"partition={{use='dirichlet', clients={clients}, alpha={task.alpha}}}")
        sets.append(f"participation={{fraction={task.invited / clients}}}")
    path = ROOT / "experiments" / file
    whole = parse(override(path.read_text(encoding="utf-8"), sets, file), full(), file)
    coded = replace(whole, compress=Compress(up=scheme.up, down=scheme.down))
    return replace(coded, secagg=Lattice(bits=scheme.bits)) if scheme.bits else coded


class IdealSum:
    """In the place of the cryptography: the same fixed point, the same rounding, the same bytes, a plain addition.

    tests/bench/ compares one round with the real one: its sums to the rounding, its bytes to the byte.
    """

    def __init__(self, config: Lattice, clients: int, seed: int) -> None:
        self._config, self._clients, self._seed, self.done = config, clients, seed, 0
        self.bytes_each = 0

    def sum(self, answers: Iterator[tuple[str, Answer]], round_: Called, carry: Any = None) -> Result:
        """As SecureSum.sum, without keys."""
        del round_, carry
        self.done += 1
        rng = stream(self._seed, "ideal", self.done)
        names: list[str] = []
        update, counts = np.zeros(0), np.zeros(0)
        for name, answer in answers:
            way = planner.choose(self._config, self._clients, 0, answer.update.size, answer.counts.size)
            whole = rounded(way, self._config, answer, rng) if answer.update.size else np.zeros(0)
            update = update + whole if names else whole
            counts = counts + answer.counts if names else answer.counts.copy()
            names.append(name)
        self.bytes_each = frame_bytes(way, self._config)
        return Result(tuple(names), (CohortSum(len(names), update, counts),), self.bytes_each * len(names), {}, ())


def rounded(way: planner.Way, config: Lattice, answer: Answer, rng: np.random.Generator) -> F64:
    """The update as the sum will hold it: random rounding to steps in direct mode, dither of the lattice's variance else."""
    assert way.update is not None, "training answers hold an update"
    levels, fine = way.update.levels, 16 if way.suite is None else way.update.r
    steps = fixedpoint.to_steps(answer.update, config.clip, levels, fine) / float(1 << fine)
    if way.suite is None:
        steps = np.floor(steps + rng.random(steps.size))
    else:
        steps = steps + rng.normal(0, way.update.variance**0.5, steps.size)
    return fixedpoint.from_steps(steps, 1, config.clip, levels)


def frame_bytes(way: planner.Way, config: Lattice) -> int:
    """What the message of a contribution adds: names, lengths, round."""
    members = PRESETS[config.committee].members
    empty = Contribution(bytes(32), "client-000", b"", b"", (b"",) * members, b"", (b"",) * members, b"")
    return len(encode(empty)) + way.client_bytes


def run(table: Table, task: Task, name: str, scheme: Scheme) -> dict[str, Any]:
    """The curve of one run through the round's real machines: macro-F1 against bytes per client that took part."""
    asked = experiment(task, scheme)
    world, agreed = build(asked, table), plan(asked, table)
    began, curve, up, down, turns = time.process_time(), [], 0, 0, 0
    with ThreadPoolExecutor(1) as pool:
        server = Server.new(agreed, asked.participation, world.names, asked.seed)
        maker = engines.maker(asked.model, asked.training, agreed.classes)
        federation = Federation(asked, world, agreed, server, maker, ignore, pool, 1)
        if isinstance(asked.secagg, Lattice):
            ideal: Any = IdealSum(asked.secagg, task.invited, task.seed)
            federation.secure = ideal
        test: Rows | None = None
        for happened in federation.run():
            for event in happened:
                if not isinstance(event, RoundDone):
                    continue
                first = event.round == 1  # the first model and the statistics go to everybody, codec or not
                up, down, turns = up + event.bytes_up, down + event.bytes_down * (not first), turns + event.answered
                if event.round % MEASURE_EVERY == 0:
                    if test is None:
                        index = np.sort(stream(task.seed, "test").permutation(world.split.test)[:10_000])
                        test = federation.prepared().rows(index)
                    curve.append([event.round, up / turns, down / turns, macro_f1(federation, test)])
    figure = {
        "macro_f1": float(np.mean([point[3] for point in curve[-LAST:]])),
        "up_bytes": curve[-1][1],
        "down_bytes": curve[-1][2],
    }
    d = int(federation.server.parameters.size)
    chains = {"up": titles(scheme.up), "down": titles(scheme.down), "bits": scheme.bits}
    return (
        asdict(task)
        | {"scheme": name, "d": d}
        | chains
        | {"figure": figure, "curve": curve, "cpu_s": time.process_time() - began, "commit": commit()}
    )


def macro_f1(federation: Federation, test: Rows) -> float:
    outputs = federation.engine().outputs(federation.server.parameters, test.x)
    predicted: I64 = outputs.argmax(axis=1)
    return metrics.classification(metrics.confusion(test.y, predicted, federation.plan.classes)).macro_f1


def frontier(options: argparse.Namespace) -> None:
    """Whatever of the asked runs is not in the results yet, dense first, until ``--minutes`` of processor time are spent."""
    results, began = _results(options.out), time.process_time()
    tables: dict[tuple[str, int], Table] = {}
    for seed in options.seeds:
        for alpha in options.alphas:
            for invited in options.participation:
                task = Task(options.task, alpha, options.hidden, seed, invited, options.rounds, options.steps)
                for name, scheme in SCHEMES.items():
                    key = f"{name} | {task.key}"
                    if (options.only and name not in options.only) or key in results["frontier"]:
                        continue
                    if time.process_time() - began > 60 * options.minutes:
                        print("the time is spent: run again for the rest")
                        return
                    if (task.data, seed) not in tables:
                        source = experiment(task, scheme).data
                        tables[task.data, seed] = source.load(options.data, stream(seed, "data"))
                    results["frontier"][key] = run(tables[task.data, seed], task, name, scheme)
                    _write(results, options.out)
                    print(key, results["frontier"][key]["figure"], flush=True)


TIMED: tuple[tuple[Codec, ...], ...] = (
    (Float32(),),
    (Integer(8),),
    (Integer(4),),
    (Ternary(),),
    (Sign(),),
    (Eden(1),),
    (EF, TopK(0.01), Integer(4)),
    (EF, SparseTernary(0.01)),
    (RandomK(0.1),),
    (Importance(0.1),),
    (SharedTop(0.05),),
    (CountSketch(0.5),),
    (Integer(8), Zstd()),
)


def timing(options: argparse.Namespace) -> None:
    n = round(options.million * 1e6)
    update = (stream(1, "timing").standard_t(3, n) * 1e-3).astype(np.float32)
    raw = update.tobytes()
    rows = {
        "numpy copy": {"encode_s": _best(update.copy) / options.million},
        "zstd level 3 of float32": {
            "encode_s": _best(lambda: zstandard.ZstdCompressor(level=3).compress(raw)) / options.million,
            "bytes": len(zstandard.ZstdCompressor(level=3).compress(raw)),
        },
    }
    for codecs in TIMED:
        chain = Chain.of(codecs)
        public: Public = chain.init(flat(n))
        coding = chain.plan(public, round_id(b"bench", 1), flat(n))
        data, _ = coding.encode(update, Memory(), stream(1, "codec"))
        plans = _best(lambda: chain.plan(public, round_id(b"bench", 1), flat(n)))  # noqa: B023 - called at once
        encodes = _best(lambda: coding.encode(update, Memory(), stream(1, "codec")))  # noqa: B023
        decodes = _best(lambda: coding.decode(data))  # noqa: B023
        rows[titles(codecs)] = {
            "plan_s": plans / options.million,
            "encode_s": encodes / options.million,
            "decode_s": decodes / options.million,
            "bytes": len(data),
            "encode_peak_bytes": _peak(lambda: coding.encode(update, Memory(), stream(1, "codec"))),  # noqa: B023
            "decode_peak_bytes": _peak(lambda: coding.decode(data)),  # noqa: B023
        }
        print(titles(codecs), rows[titles(codecs)], flush=True)
    results = _results(options.out)
    results["timing"] = {"parameters": n, "seed": 1, "rows": rows}
    _write(results, options.out)


def recount(options: argparse.Namespace) -> None:
    """Bytes up of runs under the lattice anew from the planner, which alone decides them: for when a contribution's form changes.

    Only codecs whose number of values follows from the number of parameters. Runs whose bytes change say so.
    """
    results = _results(options.out)
    for key, run in results["frontier"].items():
        scheme = SCHEMES.get(run["scheme"])
        if scheme is None or not scheme.bits or any(not isinstance(codec, Importance) for codec in scheme.up):
            continue
        chain = LinearChain.of(scheme.up)
        values, counts = chain.outputs(flat(run["d"])), 5
        config = Lattice(bits=scheme.bits)
        way = planner.choose(config, run["invited"], 0, values, counts)
        now = frame_bytes(way, config)
        if now != run["figure"]["up_bytes"]:
            run["recounted"] = {"up_bytes_when_run": run["figure"]["up_bytes"], "for": "seeded shares (0806)"}
            run["figure"]["up_bytes"] = float(now)
            for point in run["curve"]:
                point[1] = float(now)
            print(key, run["recounted"]["up_bytes_when_run"], "->", now)
    _write(results, options.out)


def merge(options: argparse.Namespace) -> None:
    """Take up the runs of another results file that are not here yet."""
    results = _results(options.out)
    other = json.loads(options.other.read_text())
    results["frontier"] |= {key: run for key, run in other["frontier"].items() if key not in results["frontier"]}
    _write(results, options.out)


def table(options: argparse.Namespace) -> None:
    """The frontier as Markdown: macro-F1 against dense of the same seed, bytes per client and round it takes part in."""
    runs = list(_results(options.out)["frontier"].values())
    dense = {_case(run): run["figure"]["macro_f1"] for run in runs if run["scheme"] == "dense"}
    groups: dict[tuple[float, int, int, str], list[dict[str, Any]]] = {}
    for run in runs:
        if _case(run) in dense:
            groups.setdefault((run["alpha"], run["invited"], run["d"], run["scheme"]), []).append(run)
    print(
        "| alpha | clients a round | d | scheme | seeds | macro-F1 | less than dense, points | bytes up | saved up | bytes down |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (alpha, invited, d, scheme), found in sorted(groups.items(), key=lambda item: (*item[0][:3], -_up(item[1]))):
        f1 = [run["figure"]["macro_f1"] for run in found]
        lost = [100 * (dense[_case(run)] - run["figure"]["macro_f1"]) for run in found]
        down = np.mean([run["figure"]["down_bytes"] for run in found])
        row = (
            alpha,
            invited,
            d,
            scheme,
            len(found),
            f"{np.mean(f1):.3f}",
            f"{np.mean(lost):+.2f} ({min(lost):+.2f} to {max(lost):+.2f})",
        )
        print(
            "|",
            " | ".join(map(str, (*row, f"{_up(found):,.0f}", f"{1 - _up(found) / (4 * d):.2%}", f"{down:,.0f}"))),
            "|",
        )


def _case(run: dict[str, Any]) -> tuple[Any, ...]:
    return run["alpha"], run["seed"], run["invited"], run["d"], run["rounds"]


def _up(runs: list[dict[str, Any]]) -> float:
    return float(np.mean([run["figure"]["up_bytes"] for run in runs]))


def _peak(work: Any) -> int:
    """Most bytes allocated at once while it works, beside its input."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def _best(work: Any, times: int = 3) -> float:
    """Least processor time of some calls."""
    found = []
    for _ in range(times):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def commit() -> str:
    """The code that runs."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def _results(out: Path) -> dict[str, Any]:
    fresh: dict[str, Any] = {"frontier": {}, "timing": {}}
    return fresh | (json.loads(out.read_text()) if out.exists() else {})


def _write(results: dict[str, Any], out: Path) -> None:
    results |= {
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
        "numpy": np.__version__,
        "zstandard": zstandard.__version__,
    }
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("time", "frontier", "table", "recount", "merge"))
    parser.add_argument("--other", type=Path, help="merge: the other results")
    folder = Path(os.environ.get("WARDROUND_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=folder)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.5, 0.1])
    parser.add_argument("--participation", type=int, nargs="+", default=[50, 10], help="clients a round")
    parser.add_argument("--hidden", default="[64, 32]")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--steps", type=int, default=STEPS, help="of local SGD in a round")
    parser.add_argument("--task", default="ciciomt2024", choices=("ciciomt2024", "iot-23"))
    parser.add_argument("--minutes", type=float, default=1e9, help="processor time after which no further run begins")
    parser.add_argument("--only", nargs="+", default=[], choices=SCHEMES, metavar="SCHEME")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--million", type=float, default=1.0)
    options = parser.parse_args()
    with threadpool_limits(limits=1):
        doings = {"time": timing, "frontier": frontier, "table": table, "recount": recount, "merge": merge}
        doings[options.what](options)


if __name__ == "__main__":
    main()
