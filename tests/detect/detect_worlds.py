"""Small worlds for the detector: a schema, rows of normal traffic and attacks, a trained bundle, windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from wardround.arrays import F32, I64
from wardround.detect.findings import Finding, Flow
from wardround.traffic import windows as w
from wardround.traffic.scaling import Quantile
from wardround.traffic.table import Column, Schema
from wardround.traffic.windows import Windows
from wardround.training.bundle import Bundle
from wardround.training.models import Mlp
from wardround.training.stacked import StackedEngine
from wardround.training.task import Job, LocalTraining, Rows

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
SCHEMA = Schema(
    "small-v1",
    (
        Column("rate", unit="packets/s"),
        Column("syn_flag_number", "flag"),
        Column("mean size", unit="B"),
        Column("protocol", "category", ("tcp", "udp")),
    ),
)
LABELS = ("Benign", "TCP_IP-DDoS-SYN", "Recon-Port_Scan")


def rows(n: int, seed: int = 0) -> tuple[F32, I64]:
    """Rows and labels: normal traffic, fast SYNs, slow small probes; one missing value now and then."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    rate = np.where(y == 1, rng.lognormal(7, 0.5, n), rng.lognormal(1.5, 0.6, n))
    syn = np.where(y == 0, rng.uniform(0.01, 0.08, n), rng.uniform(0.6, 1.0, n))
    size = np.where(y == 2, rng.normal(60, 2, n), rng.normal(300, 80, n))
    x = np.stack([rate, syn, size, rng.integers(0, 2, n)], axis=1).astype(np.float32)
    x[rng.random(n) < 0.02, 2] = np.nan
    return x, y.astype(np.int64)


def bundle_of(model: Any = None, seed: int = 1) -> Bundle:
    """A bundle trained on ``rows``."""
    x, y = rows(1500, seed)
    scaling = Quantile(bins=256)
    p = scaling.fit(SCHEMA, scaling.statistics(SCHEMA, x))
    kind = model or Mlp((16, 8))
    inputs = len(p.names)
    engine = StackedEngine(kind, LocalTraining(epochs=15, batch_size=64, learning_rate=0.1, momentum=0.9), inputs, 3)
    start = kind.init(inputs, 3, np.random.default_rng(seed))
    (done,) = engine.train([Job(0, Rows(p.apply(x), y), np.random.default_rng(seed), start)])
    return Bundle(kind, start + done.delta, inputs, LABELS, 0, SCHEMA.id, p.to_record(), threshold=2.0)


def windows_of(x: F32, devices: list[str], first: int = START, seconds: float = 5.0, **facts: Any) -> Windows:
    """One window after the other, row i of device ``devices[i]``; facts by name, [n] each."""
    n = len(x)
    names = tuple(dict.fromkeys(devices))
    number = np.array([names.index(d) for d in devices], dtype=np.int32)
    turn = np.array([devices[:i].count(d) for i, d in enumerate(devices)], dtype=np.int64)
    step = int(seconds * SECOND)
    start = first + turn * step
    order = np.argsort(start, kind="stable")
    address = np.zeros((n, 2), np.uint64)
    address[:, 1] = (0xFFFF << 32) | (10 << 24) | (number.astype(np.uint64) + np.uint64(1))
    return Windows(
        schema=SCHEMA,
        devices=names,
        device=number[order],
        start=start[order],
        end=start[order] + step,
        x=x[order],
        facts=w.facts(n, **{k: np.asarray(v)[order] for k, v in facts.items()}),
        address=address[order],
        peer=np.zeros((n, 2), np.uint64),
        port=np.zeros(n, np.uint16),
        own_port=np.zeros(n, np.uint16),
        protocol=np.full(n, 6, np.uint8),
        claims=w.no_claims(),
        label_counts=np.empty((n, 0), np.int64),
    )


def finding(at_s: float = 5.0, device: str = "pump", family: str = "flood", **more: Any) -> Finding:
    """A finding of the five seconds before ``at_s``."""
    end = START + int(at_s * SECOND)
    usual: dict[str, Any] = {
        "detector": "model",
        "label": "TCP_IP-DDoS-SYN" if family == "flood" else "",
        "score": 3.0,
        "threshold": 1.0,
        "p_value": 0.01,
        "weight": 1,
        "flow": Flow(),
    }
    return Finding(start=end - 5 * SECOND, end=end, device=device, family=family, **{**usual, **more})
