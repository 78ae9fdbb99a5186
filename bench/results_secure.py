"""The pages of docs/results.md on rounds of 10,000 clients and on differential privacy (write_results.py puts them in)."""

from __future__ import annotations

import math
import statistics
from typing import Any


def large(found: dict[str, Any]) -> str:
    """Whole rounds with very many clients, from bench/secagg_large.py."""
    rows, load = found["rounds"], found["machine"]["load"][0]
    lines = [
        "### Rounds of 10,000 clients\n",
        f"All parties in one process, CPU time on {found['machine']['cores']} cores under load {load:.0f} (a busy machine: read orders of magnitude), {found['date']}, "
        f"commit {found['commit']}; keys of the epoch for everybody {found['epoch_setup_cpu_s']:.0f} s once; one round each (`bench/secagg_large.py`).\n",
        "| clients | vanished before upload | in the sum | bits per value | client ms | client bytes | member s | member bytes sent | server s | process MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['clients']:,} | {row['dropped']:.0%} | {row['opened_clients']:,} | {row['bits_per_value']} | {row['client_ms_each']:.1f} | {row['client_bytes_each']:,} "
        f"| {row['member_s_each']:.1f} | {row['member_bytes_each']:,} | {row['server_s']:.1f} | {row['peak_memory_mib_of_process']:,} |"
        for row in rows
    ]
    first = rows[0]
    per_client = first["error_std_steps"] / first["opened_clients"]
    lines += [
        "",
        f"Here all clients send the same vector, so their rounding to the grid of 2^-r steps adds up instead of averaging out: the sum is off by {first['error_std_steps']:.0f} steps "
        f"({per_client:.3f} per client) where independent values would give {first['error_std_formula']:.0f}. The process holds the keys of all clients; the server adds ciphertexts as members accept them.",
    ]
    if len(rows) < 3:
        lines.append(f"Only {len(rows)} of the three rounds (0, 15, 30 % vanished) ended in time.")
    return "\n".join([*lines, ""])


def privacy(found: dict[str, Any]) -> str:
    """What differential privacy costs, from bench/privacy.py."""
    rows = found["rows"]
    first = rows[0]
    seeds = sorted({row["seed"] for row in rows})
    lines = [
        "## Differential privacy\n",
        f"CICIoMT2024 v2, six classes, {first['clients']} gateways (Dirichlet 0.5), {first['rounds']} rounds, every gateway weighs the same, updates shortened to norm {first['norm']:g}, sets of at least "
        f"{first['minimum']}, 10 % of a set may add no noise; discrete Gaussian, delta 1e-5, for all updates of one gateway over the whole training "
        f"([what is covered](howto/differential-privacy.md)). Test macro-F1 (`bench/privacy.py`, commit {found['about']['commit']}):\n",
        "| epsilon | noise multiplier | macro-F1 | seeds |",
        "|---|---|---|---|",
    ]
    for epsilon in sorted({row["epsilon"] for row in rows}, key=lambda e: -e if e else -math.inf):
        chosen = [row for row in rows if row["epsilon"] == epsilon]
        scores = [row["macro_f1"] for row in chosen]
        spread = f" ± {statistics.stdev(scores):.3f}" if len(scores) > 1 else ""
        multiplier = chosen[0]["privacy"]["multiplier"] if chosen[0]["privacy"] else None
        lines.append(
            f"| {epsilon:g} | {multiplier} | {statistics.mean(scores):.3f}{spread} | {len(scores)} |"
            if multiplier
            else f"| no noise, no clipping | – | {statistics.mean(scores):.3f}{spread} | {len(scores)} |"
        )
    if len(seeds) < 3 or len({len([r for r in rows if r["epsilon"] == e]) for e in {r["epsilon"] for r in rows}}) > 1:
        lines += ["", "Three seeds each were planned; the rows that ended in time are here."]
    lines += [
        "",
        "With fewer gateways the noise on the mean grows in proportion: with 20 of them it would be five times as large.",
    ]
    return "\n".join([*lines, ""])
