"""The section of docs/results.md about codecs, and its picture, from bench/results/codecs.json."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

Run = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "codecs-frontier.png"
STEPS = 10
DENSE, OPEN = "dense", "STC 1%, down top-k 10% int8"
SECURE = "lattice, RI 10% cap 10, 4 bit"
LARGE = "lattice, RI 5% cap 20, 4 bit"


def section(found: Run) -> str:
    """Tables of every case, targets, times, notes."""
    runs = list(found["frontier"].values())
    about = found["machine"]
    lines = [
        "## Codecs: accuracy against bytes\n",
        f"{about['processor']}, {about['cores']} cores, {found['date']}. Every run goes through the round's real machines (`bench/codecs.py frontier`): messages are encoded, their bytes are "
        "whole messages of the round, counts and frames included, per client and round it took part in; the first round's model is left out of *down*. 10 SGD steps of batch 32 a round; macro-F1 "
        "is the mean of the last five measurements on 10,000 test rows. Under the lattice the cryptography is replaced by its arithmetic, byte for byte the size of the real message "
        "(key shares, commitments and proofs included; a test compares both). *98 %*: bytes up that a client has sent when the run first reaches 98 % of dense's macro-F1, and how many times "
        "fewer that is. One seed where the column says so: differences of half a point are noise there.\n",
        "![macro-F1 against bytes up](pictures/codecs-frontier.png)\n",
    ]
    for case in sorted({_where(run) for run in runs}, key=str):
        lines += _table(case, [run for run in runs if _where(run) == case])
    lines += [
        "### Against the targets\n",
        "| target | measured | met |",
        "|---|---|---|",
        *_targets(runs),
        "",
        NOTES,
        "",
    ]
    return "\n".join([*lines, *_times(found.get("timing", {}))])


def memory(found: Run) -> str:
    """A gateway's memory."""
    about, mb = found["machine"], 1e6
    lines = [
        "### A gateway's memory\n",
        f"{about['processor']}, {about['cores']} cores, {found['date']}; `bench/gateway_memory.py`. One process with one client's machine (open sums), {found['rows']:,} rows asked of the generated hospital, "
        "largest resident set (VmHWM): when all is imported, with the rows, and after set-up, three rounds of training and a measurement. *State* is what is stored before each answer. Broker "
        "connection and keys are not in it.\n",
        "| parameters | chain | imported, MB | with rows, MB | largest, MB | of it training and codecs, MB | state, kB |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in found["cases"]:
        grown = case["peak_bytes"] - case["loaded_bytes"]
        lines.append(
            f"| {case['parameters']:,} | {case['chain']} | {case['imported_bytes'] / mb:.0f} | {case['loaded_bytes'] / mb:.0f} | "
            f"{case['peak_bytes'] / mb:.0f} | {grown / mb:.1f} | {case['state_bytes'] / 1000:,.0f} |"
        )
    return "\n".join([*lines, ""])


def draw(found: Run, path: Path = PICTURE) -> None:
    """Macro-F1 against bytes up of one message, all schemes of the small model, and the curves of the headlines."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    runs = list(found["frontier"].values())
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), width_ratios=(1.15, 1))
    case = max((c for c in {_where(r) for r in runs} if c[0] == "ciciomt2024"), key=lambda c: len(_schemes(runs, c)))
    here = [run for run in runs if _where(run) == case]
    labels: list[tuple[str, float, float]] = []
    for name in _schemes(runs, case):
        pairs = [(r, base) for r in here if r["scheme"] == name and (base := _dense_of(r, here)) is not None]
        if not pairs:
            continue
        x, y = mean(_up(run) for run, _ in pairs), mean(100 * (_f1(run) - _f1(base)) for run, base in pairs)
        secure = name.startswith("lattice")
        left.scatter(
            x, max(y, -12), marker="s" if secure else "o", color="#d55e00" if secure else "#0072b2", s=26, zorder=3
        )
        below = "" if y >= -12 else f" ({y:.0f})"
        labels.append((name.replace("lattice, ", "").replace("lattice ", "") + below, x, max(y, -12)))
    left.axhline(0, color="#888888", linewidth=0.8, linestyle="--")
    left.set_ylim(min(-4.0, left.get_ylim()[0] - 0.6), 3)
    left.margins(x=0.12)
    left.set_xscale("log")
    left.set_xlabel("bytes up, one message (squares: under the lattice, shares and proofs included)")
    left.set_ylabel("points of macro-F1 above dense, same seeds")
    left.set_title(_title(case).replace("; ", "\n"), fontsize=9, loc="left")
    long = max((c for c in {_where(r) for r in runs} if c[1] == 0.1 and c[2] == 50), key=lambda c: c[4])
    for name, color in ((DENSE, "#888888"), (OPEN, "#0072b2"), (SECURE, "#d55e00")):
        for run in (r for r in runs if _where(r) == long and r["scheme"] == name):
            up = [point[0] * (point[1] + point[2]) for point in run["curve"]]
            right.plot(
                up,
                [point[3] for point in run["curve"]],
                color=color,
                linewidth=1.1,
                label=name if run["seed"] == 1 else "_",
            )
    right.set_xscale("log")
    right.set_xlabel("bytes up and down so far, one client")
    right.set_title(_title(long).replace("; ", "\n"), fontsize=9, loc="left")
    right.legend(fontsize=8, loc="lower right")
    for panel in (left, right):
        panel.grid(alpha=0.3)
    figure.tight_layout()
    _label(figure, left, labels)
    figure.savefig(path, dpi=110)


def _label(figure: Any, panel: Any, labels: list[tuple[str, float, float]]) -> None:
    """Names beside their points, each at the nearest of some places where it covers no other name."""
    renderer, taken = figure.canvas.get_renderer(), list[Any]()
    for text, x, y in sorted(labels, key=lambda each: (-each[2], each[1])):
        for step in (0, -1, 1, -2, 2, -3, 3, -4, 4, -5, 5, -6, 6):
            for aside, align in ((4, "left"), (-4, "right")):
                note = panel.annotate(
                    text, (x, y), (aside, 2 + 7 * step), textcoords="offset points", fontsize=6.5, ha=align, va="center"
                )
                box = note.get_window_extent(renderer)
                inside = panel.bbox.x0 < box.x0 and box.x1 < panel.bbox.x1
                if inside and not any(box.overlaps(other) for other in taken):
                    break
                note.remove()
            else:
                continue
            taken.append(box)
            break


_SIZES = {"[64, 32]": "5,000", "[512, 160]": "103,000"}
"""About: a seed's preprocessing decides how many inputs there are."""


def _where(run: Run) -> tuple[Any, ...]:
    return run["data"], run["alpha"], run["invited"], run["hidden"], run["rounds"], run.get("steps", STEPS)


def _title(case: tuple[Any, ...]) -> str:
    data, alpha, invited, hidden, rounds, steps = case
    where = (
        f"CICIoMT2024 19-class, 50 clients, Dirichlet {alpha}"
        if data == "ciciomt2024"
        else "IoT-23, nine natural clients"
    )
    return f"{where}; {invited} clients a round, {_SIZES[hidden]} parameters, {rounds} rounds" + (
        f" of {steps} steps" if steps != STEPS else ""
    )


def _schemes(runs: list[Run], case: tuple[Any, ...]) -> list[str]:
    return sorted({run["scheme"] for run in runs if _where(run) == case})


def _f1(run: Run) -> float:
    return float(run["figure"]["macro_f1"])


def _up(run: Run) -> float:
    return float(run["figure"]["up_bytes"])


def _dense_of(run: Run, runs: list[Run]) -> Run | None:
    return next(
        (r for r in runs if r["scheme"] == DENSE and r["seed"] == run["seed"] and _where(r) == _where(run)), None
    )


def _table(case: tuple[Any, ...], runs: list[Run]) -> list[str]:
    lines = [
        f"### {_title(case)}\n",
        "| scheme | seeds | macro-F1 | below dense, points | bytes up | fewer | bytes down | bytes up to 98 % | fewer |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows = []
    for name in {run["scheme"] for run in runs}:
        mine = [run for run in runs if run["scheme"] == name]
        pairs = [(run, base) for run in mine if (base := _dense_of(run, runs)) is not None]
        up = mean(_up(run) for run in mine)
        if not pairs:
            continue
        lost = [100 * (_f1(base) - _f1(run)) for run, base in pairs]
        saved = mean(1 - _up(run) / _up(base) for run, base in pairs)
        down = mean(run["figure"]["down_bytes"] for run in mine)
        spread = f" ({min(lost):+.2f} to {max(lost):+.2f})" if len(lost) > 1 else ""
        f1 = mean(_f1(r) for r in mine)
        reach, times = _to_98(pairs)
        rows.append(
            (
                up,
                f"| {name} | {len(mine)} | {f1:.3f} | {mean(lost):+.2f}{spread} | {up:,.0f} | {saved:.2%} | {down:,.0f} | {reach} | {times} |",
            )
        )
    return [*lines, *(row for _, row in sorted(rows, reverse=True)), ""]


def _to_98(pairs: list[tuple[Run, Run]]) -> tuple[str, str]:
    spent, times = [], []
    for run, base in pairs:
        mine, theirs = (_spent(each, 0.98 * _f1(base)) for each in (run, base))
        if mine is None or theirs is None:
            return "not reached", "–"
        spent.append(mine)
        times.append(theirs / mine)
    return f"{mean(spent) / 1000:,.1f} kB", f"{mean(times):,.1f}x"


def _spent(run: Run, wanted: float) -> float | None:
    return next((point[0] * point[1] for point in run["curve"] if point[3] >= wanted), None)


def _targets(runs: list[Run]) -> list[str]:
    small = [r for r in runs if r["data"] == "ciciomt2024" and r["invited"] == 50 and r["d"] < 10_000]
    long = [r for r in small if r["rounds"] == max(s["rounds"] for s in small)]
    large = [r for r in runs if r["d"] > 50_000]
    skewed = {alpha: [r for r in long if r["alpha"] == alpha] for alpha in (0.5, 0.1)}
    asked = "at most 0.5 points"
    return [
        *(
            _target(f"open sum, Dirichlet {a}: 99.6 % fewer bytes up, {asked}", OPEN, rs, 0.996)
            for a, rs in skewed.items()
        ),
        *(
            _target(f"lattice, 5,000 parameters, Dirichlet {a}: 80 % fewer, {asked}", SECURE, rs, 0.80)
            for a, rs in skewed.items()
        ),
        _target(f"lattice, 103,000 parameters: 97 % fewer, {asked}", LARGE, large, 0.97),
    ]


def _target(what: str, name: str, runs: list[Run], least: float) -> str:
    pairs = [(run, base) for run in runs if run["scheme"] == name and (base := _dense_of(run, runs)) is not None]
    if not pairs:
        return f"| {what} | not run | **no** |"
    each = [100 * (_f1(base) - _f1(run)) for run, base in pairs]
    lost, spread = mean(each), f" ({min(each):+.2f} to {max(each):+.2f})" if len(each) > 1 else ""
    saved = mean(1 - _up(run) / _up(base) for run, base in pairs)
    down = mean(1 - run["figure"]["down_bytes"] / base["figure"]["down_bytes"] for run, base in pairs)
    met = "yes" if saved >= least and lost <= 0.5 else "**no**"
    if met == "yes" and max(each) > 0.5:
        met = "on the mean, **not on every seed**"
    return f"| {what} | {name}: {saved:.2%} fewer up, {down:.1%} fewer down, {lost:+.2f}{spread} points below dense, {len(pairs)} seed{'s' * (len(pairs) > 1)} | {met} |"


def _times(timing: Run) -> list[str]:
    if not timing:
        return []
    lines = [
        f"### Time and memory, {timing['parameters']:,} parameters, one core\n",
        "| chain | plan, ms | encode, ms | decode, ms | bytes | most memory to encode, MB | to decode, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in timing["rows"].items():
        ms = [f"{1000 * row[key]:.1f}" if key in row else "" for key in ("plan_s", "encode_s", "decode_s")]
        mb = [f"{row[key] / 1e6:.1f}" if key in row else "" for key in ("encode_peak_bytes", "decode_peak_bytes")]
        lines.append(
            f"| {name} | {' | '.join(ms)} | {row.get('bytes', 4 * timing['parameters']):,} | {' | '.join(mb)} |"
        )
    return [
        *lines,
        "",
        "Best of three calls, processor time.",
        "",
    ]


NOTES = """* **The one target that is missed: 5,000 parameters at Dirichlet 0.1 under the lattice.** Over three seeds the shared support costs 0.63 points (one seed gains 1.2, one loses 2.0). Tried there: 15 % of the coordinates
  instead of 10 (+0.61, +0.41 to +0.94, still 80.9 % fewer); 5 % with larger weights (+0.78); 8 bits instead of 4, which cost the same in direct mode (no change: it is the coordinates left out, not the rounding); on the worst seed
  alone, weights that are never cut (2.2 points lost), weights cut at 5 (1.0), uniform random coordinates (2.5), low rank 4 with error feedback (1.2). 0.1 points are within what three seeds can tell; nothing tried was better.
* **The frontier's breadth.** IoT-23: every scheme, three seeds. CICIoMT2024: what the targets rest on with three seeds and 300 rounds; the whole list with one seed and 150 rounds. Dense is measured over the same rounds in each table. The 103,000-parameter
  model ran for 60 rounds. With few seeds, half a point is noise, and a run above dense is no gain.
* **Bytes of runs under the lattice** that were made before seeded shares ([0806](design/0806-seeded-shares.md)) are counted anew from the planner, which alone decides them (`bench/codecs.py recount`; the JSON keeps the old number). Seeded shares are why 5 % of 103,000 parameters
  fit now (97.2 %; 97.0 % before). *Down* is without the 8 bytes by which each ask has grown since ([0807](design/0807-feedback-is-settled.md)).
* **Several rounds' work per upload** (30 steps in each of 100 rounds, the same local work): at Dirichlet 0.5 a third of the bytes for the same macro-F1, under the lattice too; at Dirichlet 0.1 clients drift, dense loses 2 points by it.
* **Partial participation.** With 10 of 50 clients a round STC 1 % loses 1.5 points; 3 % loses none at 99.2 % fewer bytes.
* Error feedback around a low-rank map is worth 6 points at Dirichlet 0.1; a sparse way down starves its bases (they are learned from announced differences).
* A message of 78 bytes is an update of 61; the rest is its frame and counts. What a transport adds (layer 1's record, 40 bytes; NATS) is in neither column.
* **Set-up outweighs rounds.** The summed statistics for preprocessing were 240 kB per client each way; with `[compress]` they travel packed (about 2 kB up in the open, 3 kB down), and are left out of these figures.
  Under the lattice the client's statistics still go up whole.
* Tried and left out: coding positions in the order of public importance saves 8 % of a sparse message (37 % of a client's top coordinates lie in the public top tenth), not worth d bytes of public state.
* Under the lattice short vectors are shared themselves (direct mode); there the committee's elements per value are nearly all of the message, so fewer coordinates pay and fewer bits do not."""


def main() -> None:
    draw(json.loads((ROOT / "bench" / "results" / "codecs.json").read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
