"""Cost of secure aggregation: primitives by vector length beside their peers, then whole rounds by number of clients.

    python bench/secagg.py [--values 2000 20000 100000 1000000] [--clients 10 100 1000] [--repeats 7] [--peers DIR] [--prototype DIR]

Times are the best and the median of repeats, in ms; bytes are those of the encoded messages. Peers (Flower's SecAgg+,
TenSEAL's CKKS) run as subprocesses in their own environments DIR/flower and DIR/tenseal (bench/secagg_peer_*.py), the reference
prototype of PROTOCOLS.md in this one's; where one is absent the result says so. Writes bench/results/secagg.json; what an empty
``--values`` or ``--clients`` leaves out is kept as it stands there, with its date.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cryptography
import numpy as np

from wardround.crypto.packing import unpack
from wardround.crypto.ring import expand
from wardround.crypto.sampling import centred_binomial, subseed
from wardround.rng import stream
from wardround.secagg import kahe, pairwise
from wardround.secagg.client import Plain
from wardround.secagg.descriptor import segments
from wardround.secagg.explain import explain
from wardround.secagg.fixedpoint import to_steps
from wardround.secagg.in_memory import Absences, Ledger, Parties, lattice_sum
from wardround.secagg.messages import ShareBatch
from wardround.secagg.opening import Vault
from wardround.secagg.parameters import Lattice
from wardround.wire import encode

SEED = bytes(range(32))
RESULTS = Path(__file__).parent / "results" / "secagg.json"


def timed(work: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Best and median of ``repeats`` in ms, after one warm-up."""
    work()
    spent = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        spent.append(1e3 * (time.perf_counter() - begun))
    return {"best_ms": round(min(spent), 4), "median_ms": round(statistics.median(spent), 4)}


def lattice(values: int, repeats: int) -> dict[str, Any]:
    """One client, one server and one member at N = 100, b = 8, preset consortium."""
    parties = Parties([f"c{i}" for i in range(max(repeats, 4) + 2)], Lattice(), SEED)
    start = parties.start(100, 0, (values, 0))
    plain = Plain(stream(1, "bench").uniform(-1, 1, values).astype(np.float32), np.zeros(0))
    clients, sent = iter(parties.clients.values()), []
    whole = timed(lambda: sent.append(next(clients).contribute(start, plain, SEED)), repeats)  # public polynomials kept
    vault = Vault(start.descriptor, sent[0].round)
    segment: Any = segments(start.descriptor, sent[0].round)[0]
    mode: Any = segment.mode
    key = centred_binomial(SEED, segment.n).astype(np.int64)
    total = kahe.start(segment)
    batches = []
    for contribution in sent:
        vault.accept(contribution)
        batches.append(ShareBatch(start, 0, (vault.packet(contribution.client, 1),)))
    waiting = iter(batches)
    return {
        "client_whole": whole,
        "public_polynomials": timed(
            lambda: expand.__wrapped__(segment.ring, segment.seed, -(-values // segment.n)), repeats
        ),
        "client_protect": timed(
            lambda: kahe.encrypt(segment, to_steps(plain.update, 1.0, mode.levels, mode.r), key, SEED), repeats
        ),
        "client_bytes": len(encode(sent[0])),
        "ciphertext_bytes": len(sent[0].update),
        "server_add": timed(lambda: kahe.add(segment, total, sent[0].update), repeats),
        "decrypt": timed(lambda: kahe.decrypt_steps(segment, total, key, 100), repeats),
        "member_per_client": timed(lambda: parties.members[1].receive(next(waiting)), repeats),
        "facts": {"bits_per_value": mode.width, "n": segment.n, "k": mode.k},
    }


def masks(values: int, neighbours: int, repeats: int) -> dict[str, Any]:
    """The pairwise baseline: what one of 100 clients spends on its masks, and its masked input."""
    names = [f"c{i:03d}" for i in range(100)]
    plan = pairwise.agree(b"bench", names, neighbours, (values, 0), Lattice())
    client = pairwise.PairwiseClient("c000", plan, os.urandom)
    client.held = dict.fromkeys(plan.around("c000"), (b"", b""))
    client.pairs = {name: os.urandom(32) for name in client.held}
    vector = stream(1, "bench").uniform(-1, 1, values).astype(np.float32)
    spent = timed(lambda: client.masked(vector, np.zeros(0)), repeats)
    masked = client.masked(vector, np.zeros(0))
    return {"client_masking": spent, "input_bytes": len(encode(masked)), "server_add": timed(
        lambda: unpack(masked.update, values, plan.widths[0]), repeats
    )}  # fmt: skip


def whole_round(clients: int, values: int, dropped: float, cohort: int) -> dict[str, Any]:
    """One round of the real machines in this process; times are CPU time, there is one thread."""
    names = [f"c{i:05d}" for i in range(clients)]
    begun = time.process_time()
    parties = Parties(names, Lattice(), SEED)
    setup = time.process_time() - begun
    rng = stream(2, "bench", clients)
    gone = frozenset(rng.choice(names, int(clients * dropped), replace=False).tolist())
    vector = rng.uniform(-1, 1, values).astype(np.float32)
    ledger = Ledger(measure_bytes=True, clock=time.process_time)
    begun = time.process_time()
    opened = lattice_sum(
        parties,
        parties.start(clients, cohort, (values, 0)),
        lambda _: Plain(vector, np.zeros(0)),
        subseed(SEED, b"round"),
        absences=Absences(gone),
        ledger=ledger,
    )
    survivors, members = clients - len(gone), len(parties.members)
    return {
        "clients": clients,
        "values": values,
        "dropped": dropped,
        "cohort": cohort,
        "opened_clients": sum(len(row.clients) for row in opened.cohorts),
        "epoch_setup_s": round(setup, 3),
        "round_s": round(time.process_time() - begun, 3),
        "client_ms_each": round(1e3 * ledger.spent_s["client"] / survivors, 4),
        "client_bytes_each": ledger.sent_bytes["client"] // survivors,
        "member_ms_each": round(1e3 * ledger.spent_s["member"] / members, 2),
        "member_bytes_each": ledger.sent_bytes["member"] // members,
        "server_ms": round(1e3 * ledger.spent_s["server"], 2),
        "server_bytes": ledger.sent_bytes["server"],
        "peak_memory_mib_of_process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def peer(name: str, folder: Path, arguments: list[str]) -> Any:
    """The JSON a peer prints, or why there is none."""
    python = folder / name / "bin" / "python"
    if not python.exists():
        return f"not run: {python} is absent (see bench/secagg_peer_{name}.py)"
    script = Path(__file__).parent / f"secagg_peer_{name}.py"
    done = subprocess.run([python, script, *arguments], capture_output=True, text=True, check=False)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else f"failed: {done.stderr[-400:]}"


def prototype(folder: Path, arguments: list[str]) -> Any:
    """The reference prototype in ``folder``, or why there is none."""
    if not (folder / "lsa").exists():
        return f"not run: {folder}/lsa is absent"
    script = Path(__file__).parent / "secagg_peer_prototype.py"
    done = subprocess.run(
        [sys.executable, script, *arguments],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else f"failed: {done.stderr[-400:]}"


def here() -> dict[str, Any]:
    """When, where and from which code."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    ).stdout.strip()  # noqa: S607
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "machine": {
            "cpu": cpu.partition(":")[2].strip() or platform.machine(),
            "cores": os.cpu_count(),
            "load": os.getloadavg(),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--values", type=int, nargs="*", default=[2000, 20_000, 100_000, 1_000_000])
    parser.add_argument("--clients", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peers", type=Path, default=Path("/tmp/peers"))
    parser.add_argument("--prototype", type=Path, default=Path("../shared/research/secagg_prototype"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    sizes = [str(v) for v in chosen.values]
    kept = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    report: dict[str, Any] = {
        **here(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "cryptography": cryptography.__version__,
        },
        "seed": SEED.hex(),
        "repeats": chosen.repeats,
        "lattice": {},
        "pairwise": {},
        "float32": {},
        "rounds": [row for row in kept.get("rounds", []) if row["clients"] not in chosen.clients],
        "rounds_about": here() if chosen.clients else kept.get("rounds_about", {}),
    }
    if not chosen.values:  # whole rounds alone: the rest stands as it was measured
        report |= {key: value for key, value in kept.items() if key not in ("rounds", "rounds_about")}
    for values in chosen.values:
        report["lattice"][values] = lattice(values, chosen.repeats)
        report["pairwise"][values] = {k: masks(values, k, chosen.repeats) for k in (16, 42)}
        vector = np.zeros(values, np.float32)
        report["float32"][values] = {"tobytes": timed(vector.tobytes, chosen.repeats), "bytes": 4 * values}
        report["lattice"][values]["explained_bytes"] = explain(Lattice(), 100, 0, values).client_bytes
    if chosen.values:
        report["prototype"] = prototype(chosen.prototype, [*sizes, "--repeats", str(chosen.repeats)])
        report["flower"] = peer("flower", chosen.peers, [*sizes, "--repeats", str(chosen.repeats)])
        report["tenseal"] = peer("tenseal", chosen.peers, [*sizes, "--repeats", str(chosen.repeats)])
    for clients in chosen.clients:
        for dropped in (0.0, 0.15, 0.3):
            for cohort in (0, 8):
                if clients * (1 - dropped) < max(cohort, 4):
                    continue  # too few are left for this cohort: nothing would be opened, as it should be
                report["rounds"].append(whole_round(clients, 20_000, dropped, cohort))
                print(report["rounds"][-1], flush=True)
    report["rounds"].sort(key=lambda row: (row["clients"], row["cohort"], row["dropped"]))
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(report, indent=1) + "\n")
    print(chosen.out)


if __name__ == "__main__":
    main()
