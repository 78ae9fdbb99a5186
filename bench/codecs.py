# noqa: A005 - a script, not a module
"""Codecs: encode and decode time, and the frontier of accuracy against bytes (issue 8).

    .venv/bin/python bench/codecs.py time [--million 1]
    .venv/bin/python bench/codecs.py frontier [--data DIR] [--seeds 1 2 3] [--alphas 0.5 0.1] [--rounds 300] [--only SCHEME ...]
    .venv/bin/python bench/codecs.py table

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
import time
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from threadpoolctl import threadpool_limits

from wardround.arrays import F32, I64
from wardround.compress.budget import Ring
from wardround.compress.chain import Chain, Coding, LinearChain, LinearCoding
from wardround.compress.codec import Codec, Memory, Public, flat, round_id
from wardround.compress.downlink import Announced, Ledger, Track, advance, follow, update_for
from wardround.compress.explain import titles
from wardround.compress.feedback import ErrorFeedback
from wardround.compress.pack import Zstd
from wardround.compress.projections import CountSketch, LowRank
from wardround.compress.quantise import Float32, Integer, Sign, Ternary
from wardround.compress.rotation import Eden
from wardround.compress.sparsify import SparseTernary, Threshold, TopK
from wardround.compress.supports import Importance, RandomK, SharedTop
from wardround.config import override, parse
from wardround.drivers.simulation.environment import machine
from wardround.drivers.strategies import full
from wardround.drivers.world import PreparedTable, build, plan
from wardround.federation import pipeline
from wardround.federation.plan import prepare
from wardround.params import Layout
from wardround.rng import stream
from wardround.training import metrics
from wardround.training.stacked import StackedEngine
from wardround.training.task import Job, Rows

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "results" / "codecs.json"
EF = ErrorFeedback()
DENSE: tuple[Codec, ...] = ()
MEASURE_EVERY = 10
LAST = 5
"""The figure of a run is the mean macro-F1 of this many last measurements."""


@dataclass(frozen=True)
class Scheme:
    """A chain up, a chain down; ``ring_bits``: under a secure sum with values of that many bits, 0: sent openly."""

    up: tuple[Codec, ...]
    down: tuple[Codec, ...] = DENSE
    ring_bits: int = 0


def _masked(share: float, cap: float, bits: int) -> Scheme:
    """RI under a secure sum; the difference of models lives on the same public support."""
    return Scheme((Importance(share, cap=cap),), (Importance(share, cap=cap, weigh=False), Integer(8)), bits)


SCHEMES = {
    "dense": Scheme(DENSE),
    "int8": Scheme((Integer(8, 256),)),
    "int8 zstd": Scheme((Integer(8, 256), Zstd())),
    "int4": Scheme((Integer(4, 256),)),
    "int4 EF": Scheme((EF, Integer(4, 256, stochastic=False))),
    "ternary": Scheme((Ternary(),)),
    "sign EF": Scheme((EF, Sign())),
    "eden 1 bit": Scheme((Eden(1),)),
    "eden 2 bit": Scheme((Eden(2),)),
    "top-k 10% EF": Scheme((EF, TopK(0.1))),
    "top-k 1% EF": Scheme((EF, TopK(0.01))),
    "top-k 1% without EF": Scheme((TopK(0.01),)),
    "top-k 3% EF int4": Scheme((EF, TopK(0.03), Integer(4))),
    "top-k 1% EF int4": Scheme((EF, TopK(0.01), Integer(4))),
    "top-k 0.3% EF int4": Scheme((EF, TopK(0.003), Integer(4))),
    "STC 3%": Scheme((EF, SparseTernary(0.03))),
    "STC 1%": Scheme((EF, SparseTernary(0.01))),
    "STC 0.3%": Scheme((EF, SparseTernary(0.003))),
    "STC 1%, down top-k 5% int8": Scheme((EF, SparseTernary(0.01)), (TopK(0.05), Integer(8))),
    "STC 1%, down STC 3%": Scheme((EF, SparseTernary(0.01)), (SparseTernary(0.03),)),
    "STC 1.25%, down top-k 10% int8": Scheme((EF, SparseTernary(0.0125)), (TopK(0.1), Integer(8))),
    "top-k 1% DGC 0.5 int4": Scheme((ErrorFeedback(momentum=0.5), TopK(0.01), Integer(4))),
    "threshold 4 EF int4": Scheme((EF, Threshold(4.0, 0.03), Integer(4))),
    "random-k 10%": Scheme((RandomK(0.1),)),
    "random-k 10% EF": Scheme((EF, RandomK(0.1, unbiased=False))),
    "shared-top 5% ring 4 bit": Scheme((SharedTop(0.05),), DENSE, 4),
    "RI 10% cap 10, int4 openly": Scheme((Importance(0.1), Integer(4))),
    "RI 10% cap 10, ring 4 bit": _masked(0.1, 10.0, 4),
    "RI 5% cap 20, ring 4 bit": _masked(0.05, 20.0, 4),
    "RI 5% cap 20, ring 3 bit": _masked(0.05, 20.0, 3),
    "low-rank 2": Scheme((LowRank(2),)),
    "low-rank 4": Scheme((LowRank(4),)),
    "count-sketch 50%": Scheme((CountSketch(0.5),)),
}


@dataclass(frozen=True, eq=False)
class Hospital:
    """The task: clients' rows, test rows, engine, first model."""

    clients: list[Rows]
    test: Rows
    engine: StackedEngine
    layout: Layout
    start: F32
    classes: int

    def macro_f1(self, model: F32) -> float:
        predicted: I64 = self.engine.outputs(model, self.test.x).argmax(axis=1)
        return metrics.classification(metrics.confusion(self.test.y, predicted, self.classes)).macro_f1


def hospital(data: Path, alpha: float, seed: int, hidden: str) -> Hospital:
    """CICIoMT2024 v2 dealt to 50 clients, prepared from summed statistics."""
    path = ROOT / "experiments" / "ciciomt2024-19class.toml"
    sets = [
        f"partition={{use='dirichlet', clients=50, alpha={alpha}}}",
        f"model.hidden={hidden}",
        "training={steps=10, batch_size=32, learning_rate=0.2, momentum=0.0}",
        f"seed={seed}",
    ]
    experiment = parse(override(path.read_text(encoding="utf-8"), sets, path.name), full(), path.name)
    table = experiment.data.load(data, stream(seed, "data"))
    world, agreed = build(experiment, table), plan(experiment, table)
    answers = [pipeline.statistics(agreed, 1, table.x[s.train], table.y[s.train]) for s in world.shares]
    prepared = prepare(agreed, np.sum([answer.counts for answer in answers], axis=0))
    rows, inputs = PreparedTable(world, prepared), len(prepared.preprocessor.names)
    start = agreed.model.init(inputs, agreed.classes, stream(seed, "model"))
    engine = StackedEngine(agreed.model, agreed.training, inputs, agreed.classes)
    test = rows.rows(np.sort(stream(seed, "test").permutation(world.split.test)[:10_000]))
    clients = [rows.rows(share.train) for share in world.shares]
    return Hospital(clients, test, engine, prepared.layout, start, agreed.classes)


@dataclass
class Federation:
    """One scheme's run, in the order of a round: announce, train, encode, add, step."""

    task: Hospital
    scheme: Scheme
    seed: int
    track: Track = field(init=False)
    bytes_up: int = 0
    bytes_down: int = 0
    clip: float = 0.0

    def __post_init__(self) -> None:
        up = LinearChain.of(self.scheme.up) if self.scheme.ring_bits else Chain.of(self.scheme.up)
        self.track = Track(b"bench %d" % self.seed, self.task.layout, up, Chain.of(self.scheme.down))
        self.parameters = self.task.start.copy()
        self.ledger = Ledger(self.track.start(self.task.start))
        self.held: list[Announced] = [self.ledger.announced] * len(self.task.clients)
        self.memories = [Memory()] * len(self.task.clients)

    def round(self, number: int, chosen: list[int]) -> None:
        cache: dict[int, tuple[int, Announced]] = {}
        for c in chosen:
            version = self.held[c].version
            if version not in cache:  # clients that hold the same version get, and make of it, the same
                message = update_for(self.ledger, version)
                cache[version] = (len(message), follow(self.track, self.held[c], message))
            size, self.held[c] = cache[version]
            self.bytes_down += size if number > 1 else 0
        held = self.ledger.announced
        jobs = [Job(c, self.task.clients[c], stream(self.seed, "batches", c, number), held.model) for c in chosen]
        at = range(0, len(jobs), self.task.engine.chunk)
        deltas = [t.delta for i in at for t in self.task.engine.train(jobs[i : i + self.task.engine.chunk])]
        mean = self._mean(self.track.coding(held), deltas, chosen, number)
        self.parameters = self.parameters + mean
        self.ledger = advance(self.track, self.ledger, self.parameters, stream(self.seed, "down", number))

    def _mean(self, coding: Coding | LinearCoding, deltas: list[F32], chosen: list[int], number: int) -> F32:
        if isinstance(coding, LinearCoding):
            return self._ring_mean(coding, deltas, chosen, number)
        total = np.zeros(self.task.layout.size)
        for c, delta in zip(chosen, deltas, strict=True):
            data, self.memories[c] = coding.encode(delta, self.memories[c], stream(self.seed, "codec", c, number))
            self.bytes_up += len(data)
            total += coding.decode(data)
        return (total / len(chosen)).astype(np.float32)

    def _ring_mean(self, coding: LinearCoding, deltas: list[F32], chosen: list[int], number: int) -> F32:
        z = coding.forward(np.stack(deltas)).astype(np.float64)
        top = (1 << (self.scheme.ring_bits - 1)) - 1
        self.clip = self.clip or float(np.abs(z).max())
        unit = np.clip(z / self.clip, -1, 1) * top
        floor = np.floor(unit)
        whole = floor + (stream(self.seed, "ring", number).random(unit.shape) < unit - floor)
        mean = whole.sum(axis=0) * (self.clip / top / len(chosen))
        self.clip *= float(np.exp(0.2 * np.sign((np.abs(z) > self.clip).mean() - 0.005)))
        ring = Ring(self.scheme.ring_bits, len(chosen), overhead_bytes=4)  # the count of cut values
        self.bytes_up += ring.size(z.shape[1]) * len(chosen)
        return coding.backward(mean.astype(np.float32))


def frontier(options: argparse.Namespace) -> None:
    results = _results(options.out)
    for seed in options.seeds:
        for alpha in options.alphas:
            tasks: dict[str, Hospital] = {}
            for name, scheme in SCHEMES.items():
                for share in options.participation:
                    key = f"{name} | alpha {alpha} | {share:g} of 50 clients | hidden {options.hidden} | seed {seed}"
                    if (options.only and name not in options.only) or key in results["frontier"]:
                        continue
                    if "task" not in tasks:
                        tasks["task"] = hospital(options.data, alpha, seed, options.hidden)
                    results["frontier"][key] = run(
                        tasks["task"], name, scheme, options.rounds, (alpha, seed, int(share))
                    )
                    _write(results, options.out)
                    print(key, results["frontier"][key]["figure"], flush=True)


def run(task: Hospital, name: str, scheme: Scheme, rounds: int, where: tuple[float, int, int]) -> dict[str, Any]:
    """The curve of one run: macro-F1 against bytes per client that took part, up and down."""
    alpha, seed, invited = where
    began = time.process_time()
    federation = Federation(task, scheme, seed)
    curve = []
    for number in range(1, rounds + 1):
        chosen = sorted(stream(seed, "invite", number).choice(len(task.clients), invited, replace=False).tolist())
        federation.round(number, chosen)
        if number % MEASURE_EVERY == 0:
            turns = number * invited
            f1 = task.macro_f1(federation.parameters)
            curve.append([number, federation.bytes_up / turns, federation.bytes_down / turns, f1])
    figure = {
        "macro_f1": float(np.mean([point[3] for point in curve[-LAST:]])),
        "up_bytes": curve[-1][1],
        "down_bytes": curve[-1][2],
    }
    about = {"scheme": name, "alpha": alpha, "seed": seed, "invited": invited, "rounds": rounds, "d": task.layout.size}
    chains = {"up": titles(scheme.up), "down": titles(scheme.down), "ring_bits": scheme.ring_bits}
    return about | chains | {"figure": figure, "curve": curve, "cpu_s": time.process_time() - began}


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
    parser.add_argument("what", choices=("time", "frontier", "table"))
    folder = Path(os.environ.get("WARDROUND_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=folder)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.5, 0.1])
    parser.add_argument("--participation", type=int, nargs="+", default=[50, 10], help="clients a round")
    parser.add_argument("--hidden", default="[64, 32]")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--only", nargs="+", default=[], choices=SCHEMES, metavar="SCHEME")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--million", type=float, default=1.0)
    options = parser.parse_args()
    with threadpool_limits(limits=1):
        {"time": timing, "frontier": frontier, "table": table}[options.what](options)


if __name__ == "__main__":
    main()
