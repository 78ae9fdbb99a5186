"""Thousands of random rounds of secure aggregation with random dropouts: counts exact, the dithered error beside its formula.

    python bench/secagg_exact.py [--rounds 3000] [--seconds 600] [--encryptions 1500]

Three parts, each resumed where the last call stopped, into bench/results/secagg_exact.json:

    rounds     whole rounds of the real machines (signatures, shares, votes, beacon): 3 to 12 clients of 16, random sizes, cohorts,
               committees and modes; any clients and up to the committee's limit of members vanish (or one more: nothing may open).
               Counts must be the survivors' sums to the last digit; updates within the bound of the mode
    sums       encryption alone, with many clients: random N, b, values; exact mode equal, dithered error / formula
    same       all clients send one vector: the error that a rounding common to all would multiply by N
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from wardround.crypto.sampling import centred_binomial, subseed
from wardround.errors import RoundError
from wardround.rng import stream
from wardround.secagg import fixedpoint, kahe
from wardround.secagg.client import Plain
from wardround.secagg.in_memory import Absences, Parties, lattice_sum
from wardround.secagg.parameters import Lattice, choose_dithered, choose_exact

OUT = Path(__file__).parent / "results" / "secagg_exact.json"
SEED = bytes(range(32))
SETTINGS = (
    ("consortium", "keys"),
    ("consortium", "values"),
    ("small", "keys"),
    ("standard", "keys"),
    ("standard", "auto"),
)
STATES = ("checking", "voting", "beacon", "partition", "opening")


class Wards:
    """Parties per committee and mode, made once."""

    def __init__(self) -> None:
        self.made: dict[int, Parties] = {}

    def of(self, which: int) -> Parties:
        if which not in self.made:
            committee, sharing = SETTINGS[which]
            config = Lattice(minimum=3, committee=committee, sharing=sharing, bits=(8, 6, 10, 8, 12)[which])  # type: ignore[arg-type]
            self.made[which] = Parties([f"c{i:02d}" for i in range(16)], config, subseed(SEED, bytes([which])))
        return self.made[which]


def one_round(wards: Wards, number: int) -> dict[str, Any]:
    """A random round; what it should have done is decided without looking at what it did."""
    rng = stream(number, "exact rounds")
    parties = wards.of(int(rng.integers(len(SETTINGS))))
    committee, names = len(parties.members), list(parties.clients)
    invited = sorted(rng.choice(names, int(rng.integers(6, 17)), replace=False).tolist())
    cohort = int(rng.choice([0, 3, 4, 5]))
    gone = frozenset(name for name in invited if rng.random() < rng.choice([0.0, 0.15, 0.3, 0.6]))
    away = {}
    if rng.random() < 0.4:
        from wardround.secagg.parameters import PRESETS

        limit = PRESETS[parties.config.committee].offline
        for member in rng.choice(np.arange(1, committee + 1), int(rng.integers(1, limit + 2)), replace=False).tolist():
            away[int(member)] = STATES[int(rng.integers(len(STATES)))]
        beyond = len(away) > limit
    else:
        beyond = False
    update, counts = int(rng.integers(1, 60)), int(rng.integers(1, 12))
    plains = {
        name: Plain(rng.uniform(-1, 1, update).astype(np.float32), rng.integers(-10_000, 10_000, counts) / 8.0)
        for name in invited
    }
    start = parties.start(len(invited), cohort, (update, counts))
    left = [name for name in invited if name not in gone]
    enough = len(left) >= max(3, cohort)
    seed = subseed(SEED, b"round" + number.to_bytes(8, "big"))
    try:
        opened = lattice_sum(parties, start, plains.__getitem__, seed, invited=invited, absences=Absences(gone, away))
    except RoundError:
        return {"opened": 0, "refused": 1, "unexpected": int(enough and not beyond)}
    row = {
        "opened": 1,
        "refused": 0,
        "unexpected": int(not enough),
        "cohorts": len(opened.cohorts),
        "clients": len(left),
    }
    wrong, far, sums = 0, 0, 0
    mode = start.descriptor.update
    assert mode is not None
    for part in opened.cohorts:
        right = sum(plains[name].counts for name in part.clients)
        wanted = sum(plains[name].update.astype(float) for name in part.clients)
        bound = (mode.margin if start.descriptor.suite else len(part.clients)) * 2 / mode.levels
        wrong += int((part.counts != right).sum())
        far += int((np.abs(part.update - wanted) > bound + 1e-9).sum()) + int(not part.plausible)
        sums += part.counts.size
    covered = sorted(name for part in opened.cohorts for name in part.clients)
    return {
        **row,
        "sums": sums,
        "wrong_counts": wrong,
        "updates_out_of_bound": far,
        "wrong_clients": int(covered != left),
    }


def one_sum(number: int) -> dict[str, Any]:
    """Random clients under encryption alone."""
    rng = stream(number, "exact sums")
    clients, bits, values = int(rng.integers(2, 200)), int(rng.integers(4, 13)), int(rng.integers(1, 1200))
    n = 1024
    dithered: Any = choose_dithered(n, clients, bits)
    exact: Any = choose_exact(n, clients, bits) or choose_exact(2048, clients, bits)
    wide = n if choose_exact(n, clients, bits) else 2048
    update, counts = kahe.Segment(dithered, n, values, SEED), kahe.Segment(exact, wide, values, SEED)
    totals, sums = (kahe.start(update), kahe.start(counts)), (np.zeros(n, np.int64), np.zeros(wide, np.int64))
    right, real = np.zeros(values, np.uint64), np.zeros(values)
    for client in range(clients):
        seed = subseed(SEED, number.to_bytes(8, "big") + client.to_bytes(4, "big"))
        plain = rng.integers(0, 1 << bits, values, dtype=np.uint64)
        x = rng.uniform(-1, 1, values).astype(np.float32)
        offset = int.from_bytes(subseed(seed, b"offset")[:2], "little")
        for segment, total, whole, key_sum, label in (
            (update, totals[0], fixedpoint.to_steps(x, 1.0, dithered.levels, dithered.r, offset), sums[0], b"u"),
            (counts, totals[1], plain, sums[1], b"c"),
        ):
            key = centred_binomial(subseed(seed, b"key" + label), segment.n).astype(np.int64)
            kahe.add(segment, total, kahe.encrypt(segment, whole, key, subseed(seed, b"error" + label)))
            key_sum += key
        right += plain
        real += (x.astype(float) + 1) * dithered.levels / 2
    found, _ = kahe.decrypt_counts(counts, totals[1], sums[1])
    error = kahe.decrypt_steps(update, totals[0], sums[0], clients) - real
    scaled = error / math.sqrt(clients * (1 / 12 + (32 + 1 / 6) / 4**dithered.r))
    return {
        "sums": values,
        "wrong": int((found != right).sum()),
        "beyond_margin": int((np.abs(error) > dithered.margin).sum()),
        "z": float(scaled.sum()),
        "z2": float((scaled**2).sum()),
        "z4": float((scaled**4).sum()),
    }


def same(clients: int, bits: int, values: int = 20_000) -> dict[str, Any]:
    """``clients`` send one vector."""
    mode: Any = choose_dithered(1024, clients, bits)
    segment = kahe.Segment(mode, 1024, values, SEED)
    x = stream(1, "same").uniform(-1, 1, values).astype(np.float32)
    real = clients * (x.astype(float) + 1) * mode.levels / 2
    deviations = {}
    for rounding in ("an offset per client", "to the nearest"):
        total, key_sum = kahe.start(segment), np.zeros(1024, np.int64)
        for client in range(clients):
            seed = subseed(SEED, b"same" + client.to_bytes(4, "big"))
            offset = int.from_bytes(seed[:2], "little") if rounding == "an offset per client" else fixedpoint.HALF
            steps = fixedpoint.to_steps(x, 1.0, mode.levels, mode.r, offset)
            key = centred_binomial(subseed(seed, b"key"), 1024).astype(np.int64)
            kahe.add(segment, total, kahe.encrypt(segment, steps, key, subseed(seed, b"error")))
            key_sum += key
        error = kahe.decrypt_steps(segment, total, key_sum, clients) - real
        deviations[rounding] = {"mean": round(float(error.mean()), 2), "deviation": round(float(error.std()), 2)}
    formula = math.sqrt(clients * (1 / 12 + (32 + 1 / 6) / 4**mode.r))
    return {"clients": clients, "bits": bits, "r": mode.r, "values": values, "formula": round(formula, 2), **deviations}


def add(total: dict[str, Any], row: dict[str, Any]) -> None:
    for key, value in row.items():
        total[key] = total.get(key, 0) + value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--encryptions", type=int, default=1500)
    parser.add_argument("--seconds", type=float, default=1e9, help="CPU seconds of this call")
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    report: dict[str, Any] = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    for part in ("rounds", "sums"):
        report.setdefault(part, {"done": 0})
    report.setdefault("same", [])
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    ).stdout.strip()  # noqa: S607
    report["about"] = {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "seed": SEED.hex(),
        "settings": [" ".join(setting) for setting in SETTINGS],
    }

    def save() -> None:
        chosen.out.write_text(json.dumps(report, indent=1) + "\n")

    wards = Wards()
    while report["rounds"]["done"] < chosen.rounds and time.process_time() < chosen.seconds:
        add(report["rounds"], {**one_round(wards, report["rounds"]["done"]), "done": 1})
        if report["rounds"]["done"] % 50 == 0:
            save()
    while report["sums"]["done"] < chosen.encryptions and time.process_time() < chosen.seconds:
        add(report["sums"], {**one_sum(report["sums"]["done"]), "done": 1})
    for clients, bits in ((100, 8), (1000, 8), (10_000, 8)):
        if time.process_time() < chosen.seconds and not any(row["clients"] == clients for row in report["same"]):
            report["same"].append(same(clients, bits))
            save()
    save()
    print(json.dumps({key: report[key] for key in ("rounds", "sums", "same")}, indent=1))


if __name__ == "__main__":
    main()
