"""What a report says in words and tables, from a run's measures: pure, no files, no figures.

Nothing is rounded up to sound better: a recall at a false-positive rate that too few benign rows can support is
marked, a missing model is called missing, synthetic data is named in the first line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wardround.drivers.sinks.numerals import DASH, count, duration, fixed, known, percent, size
from wardround.drivers.sinks.runfiles import MODELS, RunFiles, series

TITLES = {"federated": "Federated", "centralised": "Centralised", "local": "Local-only"}
STAGES = {
    "load": "load the data",
    "federate": "federated training",
    "federated": "measure the federated model",
    "personal": "measure what each client gets",
    "centralised": "centralised model",
    "local": "local-only models",
}
CLIENT_ROWS = 100  # clients in the table; the rest are counted


@dataclass(frozen=True)
class Figure:
    """One of the big numbers at the top."""

    title: str
    value: str
    note: str
    kind: str


@dataclass(frozen=True)
class Cell:
    """A cell of the confusion matrix: count, share of its row, and how strongly to colour it."""

    count: str
    share: str
    strength: float


def score(run: RunFiles, model: str, *keys: str) -> float | None:
    """A number of ``overall``; None where it is missing or null."""
    value = series([run.overall(model) or {}], *keys)[0]
    return value if math.isfinite(value) else None


def warning(run: RunFiles) -> str | None:
    """The first line, where the data is not real."""
    if not run.part("data").get("synthetic"):
        return None
    return (
        "Synthetic data: the traffic was generated, not captured. "
        "These numbers show that the system works; they say nothing about detection in a real hospital."
    )


def headline(run: RunFiles) -> str:
    """The result in one sentence."""
    f1 = score(run, "federated", "macro_f1")
    rounds, clients = len(run.rows("rounds")), len(run.rows("clients"))
    start = f"After {count(rounds)} rounds over {count(clients)} clients"
    if f1 is None:
        return f"{start} the federated model could not be measured on the test rows."
    rows = count(score(run, "federated", "rows"))
    parts = [f"{start} the federated model reaches macro-F1 {fixed(f1)} on {rows} test rows"]
    comparisons = [text for name in MODELS[1:] if (text := _against(run, name, f1))]
    if comparisons:
        parts.append(", " + " and ".join(comparisons))
    return "".join(parts) + "."


def caveats(run: RunFiles) -> list[str]:
    """What one must know to read the headline rightly."""
    said = ["One run with one seed: the spread over seeds is not in this page (wardround compare shows it)."]
    failed = sum(1 for row in run.rows("rounds") if row.get("failed") is not None)
    if failed:
        said.append(f"{failed} of {len(run.rows('rounds'))} rounds failed: too few clients answered.")
    said += [f"There is no {name} model to compare with." for name in MODELS[1:] if run.overall(name) is None]
    absent = [row["name"] for row in (run.overall("federated") or {}).get("per_class") or () if row.get("support") == 0]
    if absent:
        said.append(f"No test row is of class {', '.join(map(str, absent))}: nothing here tells how well it is found.")
    if run.part("model").get("unsupervised"):
        said.append("The model was trained without labels: it tells unusual from usual, not one attack from another.")
    return said


def big(run: RunFiles) -> list[Figure]:
    """The large numbers: three models' macro-F1 and the recall at 1 % false positives."""
    notes = {
        "federated": "no row left its client",
        "centralised": "all traffic pooled, as a bound",
        "local": "each client alone, mean",
    }
    figures = [
        Figure(f"{TITLES[name]} macro-F1", fixed(score(run, name, "macro_f1")), notes[name], name)
        if run.overall(name)
        else Figure(f"{TITLES[name]} macro-F1", DASH, "not made in this run", name)
        for name in MODELS
    ]
    found, verifiable = _recall(run, "federated", "0.01")
    benign = count(score(run, "federated", "n_benign"))
    support = {True: "of attacks found", False: f"not verifiable with {benign} benign test rows", None: "not measured"}
    return [*figures, Figure("Recall at 1 % false alarms", percent(found), support[verifiable], "recall")]


def side_by_side(run: RunFiles) -> list[tuple[str, list[str]]]:
    """(measure, value per model) for the three models."""

    def row(title: str, *keys: str, digits: int = 3) -> tuple[str, list[str]]:
        return title, [fixed(score(run, name, *keys), digits) for name in MODELS]

    table = [
        row("macro-F1", "macro_f1"),
        row("balanced accuracy", "balanced_accuracy"),
        row("accuracy", "accuracy"),
        row("ROC-AUC, attack against benign", "roc_auc"),
        row("PR-AUC, attack against benign", "pr_auc"),
    ]
    for rate, title in (("0.01", "recall at 1 % false positives"), ("0.001", "recall at 0.1 % false positives")):
        table.append((title, [_marked(run, name, rate) for name in MODELS]))
    table.append(("benign test rows", [count(score(run, name, "n_benign")) for name in MODELS]))
    table.append(row("calibration error (ECE, lower is better)", "ece"))
    return table


def unverifiable(run: RunFiles) -> bool:
    """Whether the table has a recall that the benign test rows cannot support."""
    return any("*" in value or value == "not verifiable" for _, values in side_by_side(run) for value in values)


def is_hint(run: RunFiles, model: str, rate: str) -> bool:
    """Whether the recall at this false-positive rate is there, but rests on too few benign test rows."""
    value, verifiable = _recall(run, model, rate)
    return known(value) and verifiable is False


def spreads(run: RunFiles) -> list[tuple[str, list[str]]]:
    """(statistic, value per model) of macro-F1 over the clients' own test rows."""
    titles = {"mean": "mean over clients", "std": "standard deviation", "worst_tenth": "mean of the worst tenth"}
    models = run.part("models")

    def value(name: str, key: str) -> str:
        return fixed(series([models.get(name) or {}], "spread", "macro_f1", key)[0])

    return [(title, [value(name, key) for name in MODELS]) for key, title in titles.items()]


def thresholds(run: RunFiles) -> list[tuple[str, list[str]]]:
    """(model, value, asked, achieved, recall) for every model that has an alert threshold."""
    rows = []
    for name in MODELS:
        if (run.overall(name) or {}).get("threshold"):
            at = [score(run, name, "threshold", key) for key in ("value", "asked_fpr", "achieved_fpr", "recall")]
            rows.append((TITLES[name], [fixed(at[0], 4), percent(at[1], 2), percent(at[2], 2), percent(at[3])]))
    return rows


def confusion(run: RunFiles) -> list[tuple[str, list[Cell], str]]:
    """(true class, cells, rows of that class) of the federated model."""
    matrix: Sequence[Sequence[float]] = (run.overall("federated") or {}).get("confusion") or ()
    table = []
    for name, row in zip(run.classes, matrix, strict=False):
        total = sum(row)
        shares = [number / total if total else 0.0 for number in row]
        cells = [Cell(count(n), percent(s, 1), round(s, 3)) for n, s in zip(row, shares, strict=True)]
        table.append((name, cells, count(total)))
    return table


def clients(run: RunFiles) -> tuple[list[list[str]], int]:
    """Rows of the table of clients, worst served first, and how many more there are."""
    federated = {row.get("name"): row for row in run.clients_of("federated")}
    local = {row.get("name"): row for row in run.clients_of("local")}

    def f1(models: Mapping[Any, Mapping[str, Any]], name: Any) -> float:
        return series([models.get(name) or {}], "macro_f1")[0]

    def rank(row: Mapping[str, Any]) -> float:
        value = f1(federated, row.get("name"))
        return value if math.isfinite(value) else math.inf

    order = sorted(run.rows("clients"), key=rank)
    table = []
    for row in order[:CLIENT_ROWS]:
        name = row.get("name")
        scores = [fixed(f1(federated, name)), fixed(f1(local, name))]
        parts = [count(row.get(part)) for part in ("train", "validation", "test")]
        table.append([str(name), *parts, *scores])
    return table, max(0, len(order) - CLIENT_ROWS)


def stages(run: RunFiles) -> list[tuple[str, str, float]]:
    """(stage, time, share of the longest) in the order they ran."""
    times = {str(name): value for name, value in (run.timing.get("stages") or {}).items() if known(value)}
    longest = max(times.values(), default=0.0)
    return [
        (STAGES.get(name, name), duration(value), value / longest if longest else 0.0) for name, value in times.items()
    ]


def costs(run: RunFiles) -> list[tuple[str, str]]:
    """(what, how much): bytes, time, memory."""
    traffic, timing = run.part("bytes"), run.timing
    return [
        ("bytes up, all clients", size(traffic.get("up"))),
        ("bytes down, all clients", size(traffic.get("down"))),
        ("bytes up, a client on average", size(traffic.get("up_per_client"))),
        ("bytes down, a client on average", size(traffic.get("down_per_client"))),
        ("time to the end of the first round", duration(timing.get("first_round_s"))),
        ("client rounds per second", count(timing.get("client_rounds_per_s"))),
        ("processor time", duration(timing.get("cpu_s"))),
        ("peak memory", size(timing.get("peak_memory_bytes"))),
        *_privacy(run),
    ]


def _privacy(run: RunFiles) -> list[tuple[str, str]]:
    """The differential privacy spent, where the run had a budget."""
    spent = run.part("privacy")
    if not spent:
        return []
    amount = f"epsilon {fixed(spent.get('epsilon'))} of {fixed(spent.get('budget'))} at delta {spent.get('delta')}"
    text = f"{amount}, {spent.get('mechanism')} noise"
    return [("differential privacy of updates, spent", text)]


def about_data(run: RunFiles) -> list[tuple[str, str]]:
    """(what, how much) of the data and the model."""
    data, model = run.part("data"), run.part("model")
    kind = "synthetic" if data.get("synthetic") else "captured traffic"
    return [
        ("source", f"{data.get('source', DASH)} ({kind})"),
        ("rows", count(data.get("rows"))),
        ("features; inputs of the model after encoding", f"{count(data.get('features'))}; {count(data.get('inputs'))}"),
        ("label skew between clients (0: alike, 1: disjoint)", fixed(data.get("skew"), 2)),
        ("model", f"{model.get('use', DASH)}, {count(model.get('parameters'))} parameters"),
        ("kept model", f"after round {run.metrics.get('kept_round', DASH)}"),
    ]


def environment(run: RunFiles) -> list[tuple[str, str]]:
    """environment.json as dotted names and values."""
    return _flat(run.environment, "")


def _against(run: RunFiles, name: str, f1: float) -> str | None:
    other = score(run, name, "macro_f1")
    if other is None:
        return None
    points = 100 * (f1 - other)
    what = "the centralised model" if name == "centralised" else "clients that train alone"
    if abs(points) < 0.05:
        return f"level with {what} ({fixed(other)})"
    return f"{abs(points):.1f} points {'above' if points > 0 else 'below'} {what} ({fixed(other)})"


def _recall(run: RunFiles, name: str, rate: str) -> tuple[float | None, bool | None]:
    """The recall, if known, and whether the benign test rows suffice for it (None: it was not measured)."""
    found = ((run.overall(name) or {}).get("recall_at_fpr") or {}).get(rate)
    return (found.get("recall"), bool(found.get("verifiable"))) if found else (None, None)


def _marked(run: RunFiles, name: str, rate: str) -> str:
    value, verifiable = _recall(run, name, rate)
    if value is None and verifiable is False:
        return "not verifiable"
    return percent(value) + (" *" if is_hint(run, name, rate) else "")


def _flat(table: Mapping[str, Any], before: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{before}{key}.")
        else:
            rows.append((f"{before}{key}", DASH if value is None else str(value)))
    return rows


def trial_rows(run: RunFiles) -> list[tuple[str, str, str, str]]:
    """Each attack of the trial: name, events per second, seconds it lasted, delay of the first incident about it."""
    return [
        (
            str(row["name"]),
            fixed(row["events_per_s"], 1),
            f"{fixed(row['end_s'] - row['start_s'], 0)} s",
            "not found" if row["delay_s"] is None else f"{fixed(row['delay_s'], 1)} s",
        )
        for row in run.trial.get("attacks", ())
    ]


def trial_text(run: RunFiles) -> str:
    """The trial in words."""
    trial = run.trial
    names = {row["name"] for row in trial["oddities"]}
    odd = sum(each["explained_by"] in names for each in trial["incidents"])
    nothing = sum(not each["explained_by"] for each in trial["incidents"])
    return (
        f"{trial['found']} of {len(trial['attacks'])} attacks led to an incident while they lasted or within a minute after. "
        f"{trial['false_incidents']} incidents had no attack behind them in {fixed(trial['device_days'], 2)} device-days; "
        f"they were told {odd} times in one of the {len(trial['oddities'])} harmless oddities played in, far more than a "
        f"real day has, and {nothing} times where nothing happened. "
        f"The detector learned normal traffic from {trial['calm_windows']:,} windows of the ward's calm day; its false-alarm "
        f"budget was {100 * trial['budget']:g} % of windows for all detectors together. Generated traffic, not captured."
    )
