"""Sections of docs/results.md about the transport: many gateways, Flower's engine, asynchronous rounds (write_results.py prints them)."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any


def targets(found: dict[str, Any]) -> list[str]:
    """Issue 3's targets against this run and against one of the same day while other work kept both cores busy."""
    runs = [found, *([found["loaded"]] if "loaded" in found else [])]
    heads = [f"load {run['load_average'][0]:.1f}, {run['machine']['processor']}, {run['date'][:16]}" for run in runs]
    lines = [f"| target (median) | {' | '.join(heads)} |", "|---|---|---|"]
    for what, read in TARGETS.items():
        lines.append(f"| {what} | {' | '.join(read(run) for run in runs)} |")
    ten = found["gateways"]["10"]["exchange_80kB"]
    both = ten["cpu_ms"] + ten["broker_cpu_ms"]
    notes = [
        f"All eleven ends and the broker together spend {both:.0f} ms of processor on one exchange with 10 gateways."
    ]
    if len(runs) > 1:
        notes.append("The second column is older code at a load of over 20, to show what a busy machine makes of it.")
    if found["processes"]["resume_after_kill_9"]["median_ms"] > 2000:
        notes.append(
            "A killed coordinator takes its private broker along. Gateways waited out a time-out of 5 s for an answer of that broker; since then they notice that it is gone, and the "
            "rest of the time is the start of a Python process."
        )
    lines += ["", " ".join(notes)]
    return lines


def _limit(value: float, limit: float, unit: str, digits: int = 1) -> str:
    return f"{value:.{digits}f} {unit}, {'met' if value <= limit else '**missed**'}"


TARGETS: dict[str, Callable[[dict[str, Any]], str]] = {
    "one exchange of 80 kB with 10 gateways in 20 ms": lambda run: _limit(
        run["gateways"]["10"]["exchange_80kB"]["median_ms"], 20, "ms"
    ),
    "a whole plain round with 10 gateways in 100 ms": lambda run: _limit(
        run["gateways"]["10"]["round_80kB_with_checkpoints"]["median_ms"], 100, "ms"
    ),
    "a killed gateway is back in 2 s": lambda run: _limit(
        run["processes"]["rejoin_after_kill_9"]["median_ms"] / 1000, 2, "s", 2
    ),
    "a killed coordinator goes on in 2 s": lambda run: _limit(
        run["processes"]["resume_after_kill_9"]["median_ms"] / 1000, 2, "s", 2
    ),
    "an idle gateway in 100 MB": lambda run: _limit(run["processes"]["gateway_waiting_mb"], 100, "MB", 0),
}


def many(found: dict[str, Any], machine: str) -> str:
    """One broker, up to a thousand connections."""
    lines = [
        "## Many gateways on one broker\n",
        f"{machine} {found['what']}. Load {found['load_average'][0]:.1f} (other work on the same two cores): read the processor time, which load does not "
        "change; wall time is what this busy machine took. The coordinator's end is a process of its own. Repeat with `bench/transport_many.py`.\n",
        "| gateways | connected in | exchange, median wall | coordinator CPU / MB | broker CPU / MB | load process CPU / MB | broker's file |",
        "|---|---|---|---|---|---|---|",
    ]
    good = {int(size): row for size, row in found["sizes"].items() if "failed" not in row}
    for size, row in sorted(good.items()):
        used = " | ".join(
            f"{row[f'{who}_cpu_ms']:.0f} ms / {row[f'{who}_mb']:.0f}" for who in ("server", "broker", "load")
        )
        wall = row["exchange"]["median_ms"]
        lines.append(f"| {size:,} | {row['connected_s']:.0f} s | {wall:,.0f} ms | {used} | {row['config_kb']:.0f} kB |")
    lines += [
        f"| {int(size):,} | failed: {row['failed']} | | | | | |"
        for size, row in found["sizes"].items()
        if "failed" in row
    ]
    if len(good) > 1:
        lines += ["", *_growth(good)]
    return "\n".join([*lines, ""])


def _growth(good: dict[int, dict[str, Any]]) -> list[str]:
    least, most = min(good), max(good)
    lines = []
    for who, name in (("server", "The coordinator"), ("broker", "The broker"), ("load", "The load process")):
        few, lots = good[least][f"{who}_cpu_ms"] / least, good[most][f"{who}_cpu_ms"] / most
        lines.append(
            f"{name}: {few:.2f} ms of processor per gateway and exchange at {least:,} gateways, {lots:.2f} ms at {most:,}."
        )
    lines.append(
        "Why it is not a straight line, and what 100,000 need: [record 0303](design/0303-many-gateways-on-paper.md)."
    )
    return [" ".join(lines), ""]


ENGINES = {"nats": "wardround over NATS", "nvflare": "NVFLARE", "flower": "Flower"}


def engines(found: dict[str, Any], machine: str) -> str:
    """The same exchange and round on NATS, NVFLARE and Flower's SuperLink, in one run."""
    versions = found["versions"]
    lines = [
        "## The same exchange on other engines\n",
        f"{machine} {found['what']}, one engine after the other in one run, load {found['load_average'][0]:.1f} at its start; lines that were added since carry their own load. *Exchange*: a message to every gateway and its "
        "answer. *Round*: with the sum, and what the engine keeps: ours stores both ends' state before it speaks, NVFLARE's FedAvg saves the model, Flower's FedAvg saves nothing. NATS and NVFLARE "
        f"run with TLS, Flower {versions['flower']} without; NVFLARE {versions['nvflare']} as it comes, where clients ask for work every 2 s, and *tuned*, every 0.01 s. Ours: all gateways in one load "
        "process; the others: processes as they start them, whose proportional memory is given. First exchanges are left out. Repeat with `bench/transport_engines.py`.\n",
        "| engine | gateways | exchange, median | best | round, median | best | of | memory of all processes | load after it |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for engine, rows in found["engines"].items():
        for size, row in rows.items():
            if "failed" in row:
                lines.append(
                    f"| {ENGINES[engine]} | {size} | failed: {row['failed'].splitlines()[-1]} | | | | | | {row['load']} |"
                )
                continue
            lines.append(_engine(ENGINES[engine], size, row, ""))
            if "tuned_exchange" in row:
                lines.append(_engine(f"{ENGINES[engine]}, tuned", size, row, "tuned_"))
    return "\n".join([*lines, "", *_engine_notes(found["engines"]), ""])


def _engine(name: str, size: str, row: dict[str, Any], how: str) -> str:
    cells = [f"{row[how + what][key]:,.1f} ms" for what in ("exchange", "round") for key in ("median_ms", "best_ms")]
    memory = f"{row['memory_mb']:,} MB" if "memory_mb" in row else ""
    return f"| {name} | {size} | {' | '.join(cells)} | {row[how + 'exchange']['n']} | {memory} | {row['load']} |"


def _engine_notes(rows: dict[str, Any]) -> list[str]:
    """What follows from the table: how many times slower, and what fifty SuperNodes would need."""
    notes, ours = [], rows.get("nats", {}).get("10")
    for engine, how in (("nvflare", ""), ("nvflare", "tuned_"), ("flower", "")):
        theirs = rows.get(engine, {}).get("10", {})
        if ours and how + "round" in theirs:
            times = theirs[how + "round"]["median_ms"] / ours["round"]["median_ms"]
            notes.append(
                f"{ENGINES[engine]}{', tuned' if how else ''}: a round with 10 gateways takes {times:,.0f} times ours."
            )
    known = sorted((int(size), row["memory_mb"]) for size, row in rows.get("flower", {}).items() if "memory_mb" in row)
    if len(known) > 1 and known[-1][0] < 50:
        (few, least), (many, most) = known[0], known[-1]
        each = (most - least) / (many - few)
        notes.append(
            f"Flower with 50 SuperNodes was not run: by these lines one costs {each:,.0f} MB at the peak, fifty some {(least + (50 - few) * each) / 1000:.0f} GB, on a machine of "
            "24 GB, and each message starts a Python process at its node, on two cores."
        )
    return [" ".join(notes)]


def asynchronous(found: dict[str, Any], machine: str) -> str:
    """FedBuff against synchronous rounds in virtual time."""
    lines = [
        "## Asynchronous rounds\n",
        f"{machine} Virtual time, in typical training times; three clients in ten are eight times slower, {found['time']:.0f} units in all, seeds "
        f"{', '.join(sorted({seed for ways in found['cases'].values() for seeds in ways.values() for seed in seeds}))}. The goal is the test macro-F1 "
        "with which the federation that waits for everybody ends. Mean ± standard deviation over seeds; *never*: seeds that did not get there. Repeat with "
        "`bench/asynchronous.py`.\n",
        "| case | rounds | time to 95 % of the goal | time to the goal | macro-F1 at the end | models | client trainings |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, ways in found["cases"].items():
        for way, seeds in ways.items():
            to = found["reached"].get(case, {}).get(way, {})
            ends = [statistics.fmean(value for _, value in seed["curve"][-3:]) for seed in seeds.values()]
            counts = [
                f"{statistics.fmean(seed[key] for seed in seeds.values()):,.0f}" for key in ("models", "trainings")
            ]
            lines.append(
                f"| {case} | {way} | {_times(to, '0.95')} | {_times(to, '1.0')} | {_spread(ends, 3)} | {' | '.join(counts)} |"
            )
    return "\n".join([*lines, "", *_asynchronous_notes(found), ""])


def _asynchronous_notes(found: dict[str, Any]) -> list[str]:
    """What the table says, from its own numbers."""
    notes = []
    for case, ways in found["reached"].items():
        times = {way: [seed["0.95"] for seed in seeds.values()] for way, seeds in ways.items()}
        whole = {way: statistics.fmean(each) for way, each in times.items() if all(each)}
        rivals = [way for way in whole if way.startswith("synchronous")]
        for way, own in whole.items():
            if way.startswith("FedBuff") and len(rivals) == 2:
                all_, cut = (whole[rival] / own for rival in rivals)
                notes.append(
                    f"*{case}*: {way} is at 95 % of the goal {all_:.1f} times earlier than waiting for everybody and {cut:.1f} times "
                    "earlier than cutting off."
                )
    notes.append(
        "The price is more training (the fast clients never rest) and more noise: with a small buffer each model follows few clients, and where each client has "
        "few classes the fast ones pull the model to theirs, so the end can be worse than the synchronous one. A larger buffer helps there."
    )
    return [" ".join(notes)]


def _times(to: dict[str, dict[str, float | None]], share: str) -> str:
    values = [seed[share] for seed in to.values()]
    there = [value for value in values if value is not None]
    missing = f"never: {len(values) - len(there)} of {len(values)}" if len(there) < len(values) else ""
    return ", ".join(part for part in (_spread(there, 1) if there else "", missing) if part)


def _spread(values: list[float], digits: int) -> str:
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"
