"""Speed and memory of the detector, issue 6: rows per second of one core, one row's latency, memory of a watching process.

    .venv/bin/python bench/detect_speed.py

CPU time (process_time), best of repeats; numpy (ours), ONNX Runtime on our export, and the model alone on prepared inputs are timed by
turns in one run, so that load on the machine cancels. Memory is the kernel's peak of a whole `wardround watch` process on generated
packets, with model, guard and baselines in service. Writes bench/results/detect_speed.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from wardround.detect import explain
from wardround.detect.baseline import learn
from wardround.detect.scorer import Scorer
from wardround.drivers.simulation.environment import machine
from wardround.drivers.sources.lab import recording
from wardround.drivers.sources.lab.frames import pcap_header, pcap_records
from wardround.traffic.pkt import PacketFeatures
from wardround.traffic.scaling import Quantile
from wardround.traffic.table import Column, Schema
from wardround.training.bundle import Bundle, to_onnx, to_safetensors
from wardround.training.models import Mlp

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "results" / "detect_speed.json"
BATCHES = (1, 32, 256, 4096)
LABELS = ("Benign", *(f"attack {k}" for k in range(1, 19)))


def bundle(schema: Schema, seed: int = 0, labels: tuple[str, ...] = LABELS) -> tuple[Bundle, Any]:
    """A 64-32 perceptron with quantile scaling, untrained: speed does not depend on the weights; and rows of its schema."""
    rng = np.random.default_rng(seed)
    x = rng.lognormal(0, 3, (5000, len(schema.columns))).astype(np.float32)
    for index, column in enumerate(schema.columns):
        if column.kind == "category":
            x[:, index] = rng.integers(0, len(column.vocabulary), len(x))
    scaling = Quantile()
    p = scaling.fit(schema, scaling.statistics(schema, x))
    kind = Mlp((64, 32))
    start = kind.init(len(p.names), len(labels), rng)
    return Bundle(kind, start, len(p.names), labels, 0, schema.id, p.to_record(), threshold=25.0), x


def best(calls: dict[str, Callable[[], Any]], repeats: int, times: int) -> dict[str, float]:
    """CPU seconds per call, best of ``repeats``, taken by turns."""
    found = dict.fromkeys(calls, float("inf"))
    for _ in range(repeats):
        for name, call in calls.items():
            began = time.process_time()
            for _ in range(times):
                call()
            found[name] = min(found[name], (time.process_time() - began) / times)
    return found


def scoring() -> dict[str, Any]:
    """30 columns as in CICIoMT2024 v2 (one of them a category), 19 classes."""
    schema = Schema(
        "v2-like", (*(Column(f"c{i}") for i in range(29)), Column("protocol", "category", ("0", "1", "2", "6", "17")))
    )
    made, x = bundle(schema)
    scorer = Scorer(made)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(to_onnx(made), options)
    found = {}
    for n in BATCHES:
        rows = x[:n]
        prepared = np.ones((min(n, 256), made.inputs + 1), np.float32)
        prepared[:, :-1] = scorer.prepare(rows)[: len(prepared)]
        calls: dict[str, Callable[[], Any]] = {
            "numpy": partial(scorer.scores, rows),
            "onnxruntime": partial(session.run, ["attack_score"], {"rows": rows}),
        }
        if n <= 256:
            calls["numpy, prepared inputs"] = partial(scorer.score_prepared, prepared)
        seconds = best(calls, 15, max(3, 4000 // n))
        found[str(n)] = {name: {"us_per_call": s * 1e6, "rows_per_s": n / s} for name, s in seconds.items()}
    normal = learn(x[:1000], 1)
    gradients = explain.Gradients(scorer)
    other = best(
        {"baseline, 256 rows": lambda: normal.scores(x[:256]), "explanation": lambda: gradients.columns(x[0], x[1])},
        7,
        40,
    )
    return {"scoring": found, "other_us": {name: s * 1e6 for name, s in other.items()}}


def memory() -> dict[str, Any]:
    """Peak resident memory and CPU of `wardround watch` on a ward's capture."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        rec = recording.record(recording.Plan(wards=2, unseen=1), 0, 1)
        capture = place / "ward.pcap"
        capture.write_bytes(pcap_header() + b"".join([pcap_records(rec.frames, rec.payloads)]))
        schema = PacketFeatures().schema
        for name, labels in (("model", LABELS), ("guard", ("Benign", "Attack"))):
            (place / f"{name}.safetensors").write_bytes(to_safetensors(bundle(schema, 1, labels)[0]))
        site = place / "site"
        script = "from wardround.cli.main import main; main()"
        command = [sys.executable, "-c", script]
        watch = ["watch", "--pcap", str(capture), "--site", str(site), "-q"]
        models = ["--model", str(place / "model.safetensors"), "--guard", str(place / "guard.safetensors")]
        _measured([*command, *watch])
        subprocess.run([*command, "calibrate", "--site", str(site), "--days", "0"], check=True, capture_output=True)
        peak, cpu, steady = _measured([*command, *watch, *models])
        bare, _, _ = _measured([*command, "watch", "--help"])
        packets = len(rec.frames)
    return {
        "peak_mb": peak,
        "watching_mb": steady,
        "interpreter_and_imports_mb": bare,
        "cpu_s": cpu,
        "packets": packets,
    }


STARTER = """
import json, os, subprocess, sys, time
p, seen = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL), []
while True:
    pid, status, usage = os.wait4(p.pid, os.WNOHANG)
    if pid:
        break
    seen.append(int(open(f"/proc/{p.pid}/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20)
    time.sleep(0.05)
late = sorted(seen[len(seen) // 2 : -1]) or [0]
print(json.dumps([status, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime, late[len(late) // 2]]))
"""


def _measured(command: list[str]) -> tuple[float, float, float]:
    """Peak MB, CPU seconds, and the median MB of its second half of life, of a process started by a small one: the kernel counts a parent's pages until the exec."""
    done = subprocess.run([sys.executable, "-c", STARTER, *command], capture_output=True, text=True, check=True)
    status, peak, cpu, last = json.loads(done.stdout.splitlines()[-1])
    if status:
        raise SystemExit(f"{command} ended with {status}: {done.stderr}")
    return peak, cpu, last


def main() -> None:
    record = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), **scoring(), "memory": memory()}
    OUT.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps({k: record[k] for k in ("scoring", "other_us", "memory")}, indent=1))


if __name__ == "__main__":
    main()
