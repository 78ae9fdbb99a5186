"""Run folders with made-up but plausible numbers, for the report and the comparison."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wardround import events
from wardround.drivers.sinks.jsonlog import JsonLog
from wardround.drivers.sinks.report import write_report

NAMES = ("benign", "ddos", "dos", "mqtt", "recon", "spoofing")


def per_class(confusion: np.ndarray, names: list[str]) -> list[dict[str, Any]]:
    hit, support, said = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    precision, recall = hit / np.maximum(said, 1), hit / np.maximum(support, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    return [
        {"name": n, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for n, p, r, f, s in zip(names, precision, recall, f1, support, strict=True)
    ]


def overall(generator: np.random.Generator, names: list[str], skill: float) -> dict[str, Any]:
    c = len(names)
    support = generator.integers(200, 4000, c)
    mix = skill * np.eye(c) + (1 - skill) * generator.dirichlet(np.full(c, 0.5), c)
    confusion = np.stack([generator.multinomial(n, row / row.sum()) for n, row in zip(support, mix, strict=True)])
    rows = per_class(confusion, names)
    return {
        "rows": int(support.sum()),
        "n_benign": int(support[0]),
        "macro_f1": float(np.mean([row["f1"] for row in rows])),
        "balanced_accuracy": float(np.mean([row["recall"] for row in rows])),
        "accuracy": float(np.trace(confusion) / confusion.sum()),
        "roc_auc": min(0.999, skill + 0.12),
        "pr_auc": min(0.99, skill + 0.05),
        "recall_at_fpr": {
            "0.01": {"recall": skill - 0.1, "verifiable": True},
            "0.001": {"recall": skill - 0.4, "verifiable": False},
        },
        "ece": 0.05 * (1.5 - skill),
        "per_class": rows,
        "confusion": confusion.tolist(),
        "threshold": {"value": 0.61, "asked_fpr": 0.01, "achieved_fpr": 0.0132, "recall": skill - 0.08},
    }


def model(generator: np.random.Generator, names: list[str], clients: list[str], skill: float) -> dict[str, Any]:
    f1 = np.clip(skill + 0.1 * generator.standard_normal(len(clients)) - 0.03, 0, 1)
    rows = [
        {
            "name": n,
            "rows": int(generator.integers(50, 900)),
            "macro_f1": float(f),
            "balanced_accuracy": float(f),
            "accuracy": float(f),
        }
        for n, f in zip(clients, f1, strict=True)
    ]
    worst = float(np.sort(f1)[: max(1, len(f1) // 10)].mean())
    spread = {"macro_f1": {"mean": float(f1.mean()), "std": float(f1.std()), "worst_tenth": worst}}
    return {"overall": overall(generator, names, skill), "clients": rows, "spread": spread}


def rounds_and_curve(generator: np.random.Generator, count: int, invited: int) -> tuple[list[Any], list[Any]]:
    rounds: list[dict[str, Any]] = []
    curve: list[dict[str, Any]] = []
    up = down = 0
    for number in range(1, count + 1):
        if number in {7, 8}:
            rounds.append(
                {"round": number, "failed": "too few clients answered", "invited": invited, "answered": invited // 4}
            )
            continue
        lost = generator.multinomial(generator.binomial(invited, 0.2), [0.5, 0.2, 0.2, 0.1])
        offline, dropped, late, refused = (int(v) for v in lost)
        answered = invited - offline - dropped - late - refused
        loss = 0.35 + 1.4 * np.exp(-number / 12) + 0.02 * generator.standard_normal()
        went = {"bytes_up": answered * 80_000, "bytes_down": invited * 80_000}
        up, down = up + went["bytes_up"], down + went["bytes_down"]
        lost_as = {"offline": offline, "dropped": dropped, "late": late, "refused": refused}
        norm = 2.5 * np.exp(-number / 20)
        rounds.append(
            {
                "round": number,
                "invited": invited,
                "answered": answered,
                **lost_as,
                "loss": loss,
                "update_norm": norm,
                **went,
            }
        )
        f1 = 0.79 - 0.6 * np.exp(-number / 10) + 0.01 * generator.standard_normal()
        point = {"macro_f1": f1, "balanced_accuracy": f1 + 0.02, "roc_auc": min(0.98, f1 + 0.15)}
        test = {key: value - 0.012 for key, value in point.items()} if number % 5 == 0 or number == count else None
        curve.append({"round": number, "validation": point, "test": test, "bytes_up": up, "bytes_down": down})
    return rounds, curve


def metrics(seed: int, clients: int, classes: int, count: int) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    names = (
        list(NAMES[:classes])
        if classes <= len(NAMES)
        else ["benign", *(f"attack-{i:02d}-flood" for i in range(1, classes))]
    )
    who = [f"ward-{i:03d}" for i in range(clients)]
    labels = [
        generator.multinomial(generator.integers(200, 3000), generator.dirichlet(np.full(classes, 0.4))) for _ in who
    ]
    rounds, curve = rounds_and_curve(generator, count, min(clients, 40))
    shares = np.sum(labels, axis=0).tolist()
    return {
        "format": 1,
        "experiment": "demo",
        "about": "Six families of hospital traffic over wards of different device types.",
        "seed": seed,
        "data": {
            "source": "hospital",
            "synthetic": True,
            "rows": 120_000,
            "features": 39,
            "inputs": 57,
            "classes": names,
            "benign": 0,
            "class_counts": {"train": shares, "validation": shares, "test": shares},
            "skew": 0.47,
            "dropped": [["SrcMac", "identifies a device"], ["Timestamp", "predicts the label on its own"]],
            "notes": ["312 exact duplicates are kept on one side of the split."],
        },
        "clients": [
            {"name": n, "train": int(np.sum(x)), "validation": 80, "test": 120, "labels": np.asarray(x).tolist()}
            for n, x in zip(who, labels, strict=True)
        ],
        "model": {"use": "mlp", "parameters": 20_115, "unsupervised": False},
        "rounds": rounds,
        "curve": curve,
        "kept_round": count - 2,
        "models": {
            "federated": model(generator, names, who, 0.78),
            "centralised": model(generator, names, who, 0.81),
            "local": model(generator, names, who, 0.62),
        },
        "bytes": {
            "up": 75_000_000,
            "down": 96_000_000,
            "up_per_client": 75e6 / clients,
            "down_per_client": 96e6 / clients,
        },
    }


TIMING = {
    "stages": {"load": 1.42, "federate": 12.8, "centralised": 5.1, "local": 3.3, "federated": 0.8},
    "first_round_s": 1.61, "client_rounds_per_s": 152.0, "peak_memory_bytes": 412_000_000, "cpu_s": 31.2,
}  # fmt: skip
ENVIRONMENT = {
    "wardround": "0.1.0", "python": "3.11.9", "numpy": "2.4.6", "machine": {"cpu": "2 cores", "memory_bytes": 16_000_000_000},
    "command": "wardround simulate experiments/demo.toml", "data_fingerprint": "5f1c09aa", "threads": None,
}  # fmt: skip

VOID = {"meta", "br", "link", "img", "hr", "input"}


def write_run(folder: Path, values: dict[str, Any], *, rest: bool = True) -> Path:
    """A run folder holding ``values`` as metrics; without ``rest`` nothing else."""
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(values))
    if rest:
        (folder / "timing.json").write_text(json.dumps(TIMING))
        (folder / "environment.json").write_text(json.dumps(ENVIRONMENT))
        text = f'name = "demo"\nseed = {values["seed"]}\n\n[rounds]\ncount = {len(values["rounds"])}\n\n[algorithm]\nuse = "fedavg"\n'
        (folder / "experiment.toml").write_text(text)
        log = JsonLog(folder / "log.jsonl", None)
        log(
            events.RunStarted(
                folder.name, "demo", values["seed"], len(values["clients"]), len(values["rounds"]), 20_115
            )
        )
        log(events.RunDone(folder.name, len(values["rounds"]), 0.75, 22.6))
        log.close()
    return folder


class Checker(HTMLParser):
    """Every element is closed in order; what it saw is kept for the tests."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.labels: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self._note(tag, dict(attrs))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def _note(self, tag: str, attrs: dict[str, str | None]) -> None:
        self.tags.append(tag)
        self.ids += [str(attrs["id"])] if "id" in attrs else []
        self.references += [str(attrs[key]) for key in ("href", "src") if key in attrs]
        self.labels += [str(attrs["aria-label"])] if attrs.get("role") == "img" else []
        if tag == "th":
            assert attrs.get("scope"), "a header cell says what it heads"


def check(page: str) -> Checker:
    """One valid page whose ids are unique and whose references stay inside it; no script, no address."""
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    assert all(r.startswith(("#", "data:image/png;base64,")) for r in checker.references)
    assert {r[1:] for r in checker.references if r.startswith("#")} <= set(checker.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(checker.ids)
    assert not {"script", "link", "iframe", "object", "img"} & set(checker.tags)
    assert not re.search(r"https?:|@import|url\((?!#)", page)
    return checker


@pytest.fixture(name="metrics")
def metrics_fixture() -> Callable[..., dict[str, Any]]:
    """``metrics(seed, clients, classes, rounds)``: the content of a metrics.json."""
    return metrics


@pytest.fixture(name="write_run")
def write_run_fixture() -> Callable[..., Path]:
    return write_run


@pytest.fixture(name="checked")
def checked_fixture() -> Callable[[str], Checker]:
    return check


@pytest.fixture(name="minimal")
def minimal_fixture() -> dict[str, Any]:
    """What a run without clients, rounds and measures would leave: every list empty, every number null."""
    data: dict[str, Any] = {
        "source": None,
        "synthetic": False,
        "classes": [],
        "class_counts": {},
        "dropped": [],
        "notes": [],
    }
    values: dict[str, Any] = {"format": 1, "experiment": "x", "about": "", "seed": 0, "data": data, "kept_round": None}
    return {**values, "clients": [], "rounds": [], "curve": [], "bytes": {}, "model": {}, "models": {}}


@pytest.fixture(scope="session")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything in it and its report; not to be changed."""
    folder = write_run(tmp_path_factory.mktemp("runs") / "20260101-demo-s7", metrics(7, 12, 6, 40))
    write_report(folder)
    return folder
