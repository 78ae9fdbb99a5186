"""The pages of docs/results.md on secure aggregation and differential privacy (write_results.py puts them in)."""

from __future__ import annotations

import statistics
from typing import Any


def costs(found: dict[str, Any]) -> str:
    """Layer 2 (bench/secagg.py): what a client, the server and a member spend beside the peers; whole rounds."""
    machine, rounds = found["machine"], found["rounds"]
    lines = [
        "## Secure aggregation (layer 2)\n",
        f"{machine['cpu']}, {machine['cores']} cores, numpy {found['versions']['numpy']}, {found['date']}, load {machine['load'][0]:.1f}, commit {found.get('commit', '?')}: "
        f"N = 100, 8 bit, committee of 5; best of {found['repeats']} repeats in ms (medians: `bench/results/secagg.json`). *All it does*: encryption, shares, seals, checks of the round's descriptor, "
        "encoding; a gateway alone also expands the round's public polynomials once (next column). Flower's SecAgg+: its own stage functions with k = 50, the masked vector and, in "
        "brackets, with the key pairs and shares that it makes every round.\n",
        "| values | client: all it does | public polynomials | of it quantise + encrypt | bytes | server add | decrypt once | member per client | float32 `tobytes`, bytes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for values, row in found["lattice"].items():
        floor = found["float32"][values]
        lines.append(
            f"| {int(values):,} | {_best(row, 'client_whole')} | {_best(row, 'public_polynomials')} | {_best(row, 'client_protect')} | {row['client_bytes']:,} | {_best(row, 'server_add')} "
            f"| {_best(row, 'decrypt')} | {_best(row, 'member_per_client')} | {_best(floor, 'tobytes')}, {floor['bytes']:,} |"
        )
    lines += [
        "",
        "| values | prototype: encrypt | its shares + seals | its server add | its decrypt | Flower k = 10 | Flower k = 50 | its bytes | TenSEAL CKKS | its bytes | pairwise, 42 neighbours: masks | its bytes |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for values in found["lattice"]:
        proto, tenseal = _peer(found.get("prototype", {}), values), _peer(found["tenseal"], values)
        ten, fifty = _peer(found["flower"], values, "10"), _peer(found["flower"], values, "50")
        pairwise = found["pairwise"][values]["42"]
        shares = f"{proto['shares']['best_ms'] + proto['sealing']['best_ms']:.2f}" if proto else "–"
        lines.append(
            f"| {int(values):,} | {_best(proto, 'client_protect')} | {shares} | {_best(proto, 'server_add')} | {_best(proto, 'decrypt')} "
            f"| {_best(ten, 'client_masking')} ({_best(ten, 'client_whole')}) | {_best(fifty, 'client_masking')} ({_best(fifty, 'client_whole')}) | {_grouped(fifty, 'vector_bytes')} "
            f"| {_best(tenseal, 'client_encrypt')} | {_grouped(tenseal, 'client_bytes')} | {_best(pairwise, 'client_masking')} | {pairwise['input_bytes']:,} |"
        )
    lines += ["", _ratios(found), "", _beside_prototype(found), ""]
    if rounds:
        about = found.get("rounds_about") or {}
        when = (
            f"{about['date']}, commit {about['commit']}, load {about['machine']['load'][0]:.1f}"
            if about
            else found["date"]
        )
        keys = [key for key in rounds[0] if not isinstance(rounds[0][key], dict | list)]
        lines += [f"Whole rounds of the real machines in one process, 20,000 values ({when}):", ""]
        lines += ["| " + " | ".join(key.replace("_", " ") for key in keys) + " |", "|" + "---|" * len(keys)]
        lines += ["| " + " | ".join(_cell(row.get(key)) for key in keys) + " |" for row in rounds]
        lines += ["", _growth(rounds)]
    return "\n".join([*lines, ""])


def _growth(rounds: list[dict[str, Any]]) -> str:
    """How a role's cost grows with the clients, between the two largest rounds without dropouts and cohorts."""
    full = sorted((r for r in rounds if not r["dropped"] and not r["cohort"]), key=lambda r: int(r["clients"]))
    if len(full) < 2:
        return ""
    less, more = full[-2:]
    times = more["clients"] / less["clients"]
    parts = [
        f"{label} {more[key] / less[key]:.1f} times"
        for label, key in (
            ("a client's time", "client_ms_each"),
            ("its bytes", "client_bytes_each"),
            ("a member's time", "member_ms_each"),
            ("its bytes", "member_bytes_each"),
            ("the server's time", "server_ms"),
            ("its bytes", "server_bytes"),
            ("the process's memory", "peak_memory_mib_of_process"),
        )
    ]
    return f"From {less['clients']:,} to {more['clients']:,} clients ({times:.0f} times as many, no dropouts, one sum): {', '.join(parts)}."


def _ratios(found: dict[str, Any]) -> str:
    """What the targets ask for at 100,000 values."""
    ours = found["lattice"]["100000"]
    flower, tenseal = _peer(found["flower"], "100000", "50"), _peer(found["tenseal"], "100000")
    if not flower or not tenseal:
        return "A peer is absent, so the targets were not checked."
    whole, protect = ours["client_whole"]["best_ms"], ours["client_protect"]["best_ms"]

    def said(ratio: float, target: float) -> str:
        return f"{ratio:.1f} (target {target:.0f}: {'met' if ratio >= target else '**missed**'})"

    return (
        f"At 100,000 values. Time, all of a client's work beside all of a client's work: Flower {said(flower['client_whole']['best_ms'] / whole, 40)}, TenSEAL (which shares no key) "
        f"{said(tenseal['client_encrypt']['best_ms'] / whole, 40)}. Protecting the vector alone: Flower's masked vector over our quantised and encrypted one "
        f"{flower['client_masking']['best_ms'] / protect:.1f}, TenSEAL {tenseal['client_encrypt']['best_ms'] / protect:.1f}; Flower's masked vector over all that our client does "
        f"{flower['client_masking']['best_ms'] / whole:.1f}. Bytes: Flower {said((flower['vector_bytes'] + flower.get('other_bytes_up', 0)) / ours['client_bytes'], 4)}, "
        f"TenSEAL {said(tenseal['client_bytes'] / ours['client_bytes'], 12)}."
    )


def _beside_prototype(found: dict[str, Any]) -> str:
    """Ours over the prototype's, run by run."""
    if not isinstance(found.get("prototype"), dict) or "client_protect" not in _peer(found["prototype"], "100000"):
        return "The prototype was not run beside it."
    parts = []
    for name, label in (("client_protect", "encryption"), ("server_add", "server add"), ("decrypt", "decryption")):
        ratios = [
            found["lattice"][values][name]["best_ms"] / max(found["prototype"][values][name]["best_ms"], 1e-9)
            for values in found["lattice"]
        ]
        parts.append(f"{label} {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    sizes = ", ".join(f"{int(values):,}" for values in found["lattice"])
    return f"Our time over the prototype's in the same run, at {sizes} values (at most 1 is the target): {'; '.join(parts)}."


def exact(found: dict[str, Any]) -> str:
    """Random rounds and sums (bench/secagg_exact.py)."""
    rounds, sums, about = found["rounds"], found["sums"], found["about"]
    count = sums["sums"]
    mean, variance = sums["z"] / count, sums["z2"] / count
    lines = [
        "### Exactness\n",
        f"`bench/secagg_exact.py`, {about['date']}, commit {about['commit']}. **{rounds['done']:,} random rounds** of the real machines ({', '.join(about['settings'])}), clients and members vanishing at random: "
        f"{rounds['opened']:,} opened ({rounds['cohorts']:,} cohorts, {rounds['clients']:,} contributions), {rounds['refused']:,} refused to open; opened or refused against the rule: {rounds['unexpected']}. "
        f"Of {rounds['sums']:,} sums of counts **{rounds['wrong_counts']} were wrong**; values of updates out of the mode's bound: {rounds['updates_out_of_bound']}; wrong sets: {rounds['wrong_clients']}.\n",
        f"**{sums['done']:,} sums of encryptions** (2 to 199 clients, 4 to 12 bits): of {count:,} exact sums {sums['wrong']} were wrong; dithered errors in units of the formula's deviation "
        f"sqrt(N (1/12 + (32 + 1/6)/4^r)): mean {mean:+.4f}, variance {variance:.4f} (expected 0 and 1, standard errors {count**-0.5:.4f} and {(2 / count) ** 0.5:.4f}), "
        f"beyond the margin {sums['beyond_margin']}.\n",
        "All clients send one vector of 20,000 values, 8 bit; standard deviation of the sum's error in steps:\n",
        "| clients | r | formula | an offset per client | rounding to the nearest at all |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['clients']:,} | {row['r']} | {row['formula']} | {row['an offset per client']['deviation']} | {row['to the nearest']['deviation']} |"
        for row in found["same"]
    ]
    return "\n".join([*lines, ""])


def models(found: dict[str, Any]) -> str:
    """Plain and lattice sums, model by model (bench/secagg_models.py)."""
    about = found["about"]
    lines = [
        "### The same result, model by model\n",
        f"`bench/secagg_models.py`, commit {about['commit']}: {about['what']} Test macro-F1 of the federated model (the autoencoder: ROC AUC) in points, lattice at b = 8 minus plain.\n",
        "| model | plain | lattice minus plain, by seed | mean |",
        "|---|---|---|---|",
    ]
    for model in dict.fromkeys(row["model"] for row in found["rows"]):
        rows = [row for row in found["rows"] if row["model"] == model]
        apart = [100 * (row["lattice"] - row["plain"]) for row in rows]
        lines.append(
            f"| {model} | {100 * statistics.mean(row['plain'] for row in rows):.2f} | {', '.join(f'{value:+.2f}' for value in apart)} | {statistics.mean(apart):+.2f} |"
        )
    worst = max(abs(100 * (row["lattice"] - row["plain"])) for row in found["rows"])
    lines += [
        "",
        f"The largest difference is {worst:.2f} points (target 0.2: {'met' if worst <= 0.2 else '**missed**'}).",
    ]
    return "\n".join([*lines, ""])


def _best(row: dict[str, Any], key: str) -> str:
    if key not in row:
        return "–"
    value = row[key]["best_ms"]
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}" if value < 20 else f"{value:.0f}"


def _peer(found: Any, *path: str) -> dict[str, Any]:
    for key in path:
        found = found.get(key, {}) if isinstance(found, dict) else {}
    return dict(found)


def _grouped(row: dict[str, Any], key: str) -> str:
    return f"{row[key]:,}" if key in row else "–"


def _cell(value: Any) -> str:
    return f"{value:,.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


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
    old = first["error_std_steps"] > 2 * first["error_std_formula"]
    lines += [
        "",
        f"All clients send the same vector: with all of them in the sum its error's standard deviation is {first['error_std_steps']:.1f} steps, the formula gives {first['error_std_formula']:.1f}. "
        + (
            "This round was measured before values were rounded by an offset of each client's own (Exactness, above). "
            if old
            else ""
        )
        + "The process holds the keys of all clients; the server adds ciphertexts as members accept them.",
    ]
    if len(rows) < 3:
        lines.append(f"Only {len(rows)} of the three rounds (0, 15, 30 % vanished) ended in time.")
    return "\n".join([*lines, ""])


def privacy(found: dict[str, Any]) -> str:
    """What differential privacy costs, from bench/privacy.py."""
    rows = found["rows"]
    first = rows[0]
    commits = sorted({row.get("commit", found["about"]["commit"]) for row in rows})
    lines = [
        "## Differential privacy\n",
        f"CICIoMT2024 v2, six classes, {first['clients']} gateways (Dirichlet 0.5), {first['rounds']} rounds, every gateway weighs the same, updates shortened to norm {first['norm']:g}, sets of at least "
        f"{first['minimum']}, 10 % of a set may add no noise; delta 1e-5, for all updates of one gateway over the whole training "
        f"([what is covered](howto/differential-privacy.md)). Test macro-F1 (`bench/privacy.py`, commits {', '.join(commits)}):\n",
        "| noise | epsilon | noise multiplier | macro-F1 | seeds |",
        "|---|---|---|---|---|",
    ]
    kinds = sorted(
        {(row["mechanism"], row["epsilon"]) for row in rows}, key=lambda kind: (kind[0] != "none", kind[0], -kind[1])
    )
    counts = []
    for mechanism, epsilon in kinds:
        chosen = [row for row in rows if (row["mechanism"], row["epsilon"]) == (mechanism, epsilon)]
        scores = [row["macro_f1"] for row in chosen]
        spread = f" ± {statistics.stdev(scores):.3f}" if len(scores) > 1 else ""
        score, seeds = f"{statistics.mean(scores):.3f}{spread}", ", ".join(str(row["seed"]) for row in chosen)
        counts.append(len(chosen))
        if mechanism == "none":
            lines.append(f"| none, no shortening | – | – | {score} | {seeds} |")
        else:
            noise = "discrete Gaussian" if mechanism == "gaussian" else "Skellam"
            lines.append(f"| {noise} | {epsilon:g} | {chosen[0]['privacy']['multiplier']} | {score} | {seeds} |")
    if min(counts) < 3:
        lines += ["", "Three seeds each were planned; the rows that ended in time are here."]
    lines += [
        "",
        "With fewer gateways the noise on the mean grows in proportion: with 20 of them it would be five times as large.",
    ]
    return "\n".join([*lines, ""])
