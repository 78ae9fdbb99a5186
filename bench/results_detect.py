"""The detector's sections of docs/results.md, printed from bench/results/detect_*.json (called by write_results.py)."""

from __future__ import annotations

import statistics
from typing import Any

from wardround.detect.measures import Rate

TABLE = {  # research/ids.md 3.2: recall at 1 % FPR of the left-out category
    "UDP flood": (1.0, 0.01, 0.01, 0.01),
    "TCP flood": (1.0, 0.98, 0.00, 0.01),
    "ARP spoofing": (0.37, 0.22, 0.12, 0.19),
    "MQTT malformed": (0.63, 0.45, 0.04, 0.11),
    "MQTT floods": (0.77, 0.44, 0.22, 0.36),
    "Recon": (0.85, 0.85, 0.82, 0.85),
    "SYN flood": (1.0, 1.0, 0.97, 0.99),
    "ICMP flood": (1.0, 0.99, 1.0, 1.0),
}
NAMED = ("UDP flood", "TCP flood", "ARP spoofing", "MQTT malformed")


def quality(found: dict[str, Any]) -> str:
    """Closed and open world on CICIoMT2024 v2."""
    closed = [found["closed"][s] for s in sorted(found["closed"])]
    benign = sum(c["n_benign"] for c in closed)
    lines = [
        "## Detection on CICIoMT2024 v2, the window-length leak removed\n",
        "8 gateways, attack classes dealt by Dirichlet(0.3), benign traffic everywhere, 30 columns; three seeds. `model` is the federated 19-class "
        "perceptron (64-32), `guard` a federated two-class one trained with `exposure = 0.5`, `baseline` the benign-only ensemble (learnt here from the pooled benign "
        "training rows, as the prototype's autoencoder was). Thresholds come from summed histograms of benign validation rows "
        f"({closed[0]['n_benign_validation']} a seed).\n",
        f"19-class macro-F1 of the federated model: {_spread([c['macro_f1'] for c in closed])} (asked: .74; prototype: centralised .777, FedProx .737, FedAvg .708, local .422).\n",
        "| detector | TPR at 1 % FPR | at 0.1 % | asked FPR | achieved FPR, pooled over seeds | recall there |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("model", "guard", "baseline"):
        each = [c["detectors"][name] for c in closed]
        alarms = Rate(sum(e["false_alarms"] for e in each), benign)
        finer = [e["tpr_at"]["0.001"] for e in each]
        fine = (
            _spread(finer)
            if all(v is not None for v in finer)
            else f"not verifiable with {closed[0]['n_benign']} benign rows"
        )
        lines.append(
            f"| {name} | {_spread([e['tpr_at']['0.01'] for e in each])} | {fine} | 1 % | {alarms.text} | "
            f"{_spread([e['recall_at_threshold'] for e in each])} |"
        )
    both = [c["together"] for c in closed]
    lines += [
        f"| all three, 1 % shared | {_spread([b['recall'] for b in both])} | | 1 % | {_spread([100 * b['deployed_fpr'] for b in both], 2)} % (mean over seeds) | "
        f"{_spread([b['deployed_recall'] for b in both])} |",
        "",
        CLOSED,
        "### Attacks nobody has labelled: one category left out of training, recall on it at 1 % FPR\n",
        "| left out | all three together | guard | baseline | model | with thresholds as deployed (FPR) | research/ids.md 3.2: XGB / MLP / AE / max-rank |",
        "|---|---|---|---|---|---|---|",
    ]
    for category, theirs in TABLE.items():
        if category not in found["open"]:
            continue
        rows = list(found["open"][category].values())
        union = [r["recall"] for r in rows]
        alone = [f"{statistics.mean(r['alone'][n] for r in rows):.2f}" for n in ("guard", "baseline", "model")]
        deployed = f"{statistics.mean(r['deployed_recall'] for r in rows):.2f} ({100 * statistics.mean(r['deployed_fpr'] for r in rows):.1f} %)"
        mark = "**" if category in NAMED else ""
        lines.append(
            f"| {mark}{category}{mark} | {_spread(union)} | {' | '.join(alone)} | {deployed} | {' / '.join(f'{v:.2f}' for v in theirs)} |"
        )
    machine, commit = found["machine"], found.get("commit", "")
    return "\n".join([*lines, "", OPEN, f"*{machine['processor']}, {machine['cores']} cores; code of {commit}.*\n"])


CLOSED = """The model's and the guard's achieved rates are within 20 % of the asked one; **the baseline's is a third too high**, though 1 % lies in its
interval: with 871 validation rows nine decide a threshold. The union spends less than its budget because detectors alarm on the same rows. Rates of 0.1 % and below cannot be verified with so few benign rows and
are not quoted.
"""
OPEN = """Bold rows are the four the issue asks for. Against the best of each row in the prototype's table: ARP spoofing is found far more often, MQTT malformed by a hair and not in every seed, TCP floods
as often (all), **UDP floods a thousandth less often than XGBoost (which finds all)**; every other cell of those four rows is beaten. MQTT floods stay behind XGBoost (.77). What does it: exposure (rows made of benign ones
that the detector learns to call attacks) closes the perceptron's blind spots, UDP .01 to 1.00; the rules for ARP bindings and volume, which need packets, do not enter these figures.
"""


def speed(found: dict[str, Any]) -> str:
    """Rows per second and memory."""
    lines = [
        "## Speed and memory of the detector\n",
        "Raw feature rows (30 columns, quantile scaling) to attack score with a 64-32 perceptron of 19 classes, one core, CPU time, best of repeats taken by turns.\n",
        "| rows at once | ours, raw rows | ours, prepared inputs (as the prototype timed it) | ONNX Runtime on our export, raw rows |",
        "|---|---|---|---|",
    ]
    for n, each in sorted(found["scoring"].items(), key=lambda item: int(item[0])):
        cells = [_pace(each.get(name), int(n)) for name in ("numpy", "numpy, prepared inputs", "onnxruntime")]
        lines.append(f"| {n} | {' | '.join(cells)} |")
    memory, other = found["memory"], found["other_us"]
    peak, watching = memory["peak_mb"], memory["watching_mb"]
    return "\n".join(
        [
            *lines,
            "",
            f"An explanation (integrated gradients, 64 steps) takes {other['explanation']:.0f} µs, the benign-only ensemble of three seeds {other['baseline, 256 rows'] / 256:.1f} µs a row. "
            f"A whole `wardround watch` process with model, guard and baselines on {memory['packets']:,} packets: {watching:.0f} MB resident while it watches, {peak:.0f} MB at its peak "
            f"(asked: 80), of which {memory['interpreter_and_imports_mb']:.0f} MB are the interpreter and the command line's imports; no PyTorch. "
            "The asked 2 million rows a second in batches of 256 is met with preprocessing included; **15 µs for one row is met for prepared inputs and missed for raw rows** "
            "(some thirty numpy calls of half a microsecond each).\n",
            f"*{found['machine']['processor']}, {found['machine']['cores']} cores shared with other work.*\n",
        ]
    )


def _pace(each: dict[str, float] | None, rows: int) -> str:
    if each is None:
        return ""
    return f"{each['us_per_call']:.1f} µs" if rows == 1 else f"{each['rows_per_s'] / 1e6:.2f} M/s"


def _spread(values: list[float], digits: int = 3) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}"
