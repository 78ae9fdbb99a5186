"""``wardround explain secagg``: what a configuration costs and promises, in rows and in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wardround.secagg import direct
from wardround.secagg.parameters import PRESETS, Committee, Dithered, Exact, Lattice, choose_dithered
from wardround.secagg.planner import Way, fixed_bytes, ways, why
from wardround.secagg.suites import SUITES


@dataclass(frozen=True)
class Explained:
    """One configuration: sizes in bytes, security in bits of the worst-hint estimate."""

    clients: int
    cohort: int
    largest_opened: int
    n: int
    k: int
    bits_per_update: float
    bits_per_count: float
    update_bytes: int
    counts_bytes: int
    fixed_bytes: int
    float32_bytes: int
    error_std_steps: float
    classical: float
    quantum: float
    matzov: float
    members: int
    offline_members: int
    hostile_members: int
    correctable_shares: int
    dropped_clients: int
    why: str = ""

    @property
    def client_bytes(self) -> int:
        return self.update_bytes + self.counts_bytes + self.fixed_bytes


def explain(config: Lattice, clients: int, cohort: int, values: int, counts: int = 0) -> Explained:
    """The facts of ``config`` for up to ``clients`` uploads of ``values`` update values and ``counts`` counts.

    Raises:
        ConfigError: nothing fits, or a rule of size is broken.
    """
    found = ways(config, clients, cohort, values, counts)
    way, committee = found[0], PRESETS[config.committee]
    update, exact, ringless = way.update, way.counts, way.suite is None
    steps = 0.0 if update is None else _variance(way, update)
    return Explained(
        clients=clients,
        cohort=cohort,
        largest_opened=way.largest,
        n=way.n,
        k=0 if ringless else max(part.k for part in (update, exact) if part is not None),
        bits_per_update=_bits(way, committee, update) if update else 0.0,
        bits_per_count=_bits(way, committee, exact) if exact else 0.0,
        update_bytes=way.update_bytes,
        counts_bytes=way.counts_bytes,
        fixed_bytes=way.fixed_bytes,
        float32_bytes=4 * (values + counts),
        error_std_steps=(way.largest * steps) ** 0.5,
        classical=way.suite.classical if way.suite else math.inf,
        quantum=way.suite.quantum if way.suite else math.inf,
        matzov=way.suite.matzov if way.suite else math.inf,
        members=committee.members,
        offline_members=committee.offline,
        hostile_members=committee.corrupt,
        correctable_shares=committee.correctable,
        dropped_clients=clients - max(config.minimum, cohort),
        why=why(found),
    )


def _variance(way: Way, update: Dithered) -> float:
    """Of one client's error in steps^2: random rounding's worst in direct mode."""
    return update.variance if way.suite else 0.25


def _bits(way: Way, committee: Committee, part: Dithered | Exact) -> float:
    """Bits on the wire per value; in direct mode over the shares of all members."""
    if way.suite is not None:
        return part.width if isinstance(part, Dithered) else part.bits_per_value
    slots = direct.slots(part.clients * part.levels + 1) if isinstance(part, Dithered) else part.slots / part.digits
    return 16 * committee.members / committee.pack / slots


def text(facts: Explained) -> str:
    """The facts in plain words, one per line."""
    opened = "one sum over all" if facts.cohort == 0 else f"cohorts of {facts.cohort} to {facts.largest_opened}"
    value_bytes = f"{facts.update_bytes} + {facts.counts_bytes} bytes"
    estimate = f"{facts.classical:.0f} / {facts.quantum:.0f} bits core-SVP classical / quantum, {facts.matzov:.0f} under MATZOV"
    hostile = facts.hostile_members
    corrected = f"{facts.correctable_shares} wrong answers are corrected and named when all answer"
    ringless = math.isinf(facts.classical)
    if ringless:
        carried = f"{facts.n} field elements are shared, no ciphertext is sent; {facts.bits_per_update:g} bits per update value"
        error = f"at most {facts.error_std_steps:.2f} quantiser steps"
        ring = (
            f"no ring: any {hostile} shares say nothing whatever is computed; what seals them is the epoch's hybrid KEM"
        )
        beyond = f"{hostile + 1} or more hostile members need no server to break the privacy of that round"
    else:
        carried = f"{facts.bits_per_update:g} bits per update value, {facts.bits_per_count:g} per count: {value_bytes}"
        error = f"{facts.error_std_steps:.2f} quantiser steps"
        ring = f"ring n = {facts.n}, q = 2^{facts.k}: at least {estimate}, after the worst hint (estimates, not proofs)"
        beyond = "more break the privacy of that round"
    lines = (
        f"up to {facts.clients} clients, {opened}; nothing smaller is ever opened",
        facts.why,
        carried,
        f"{facts.fixed_bytes} bytes of shares and proofs",
        f"{facts.client_bytes} bytes per client and round (plain float32: {facts.float32_bytes})",
        f"error of an opened sum: standard deviation {error}, unbiased; counts are exact",
        ring,
        f"clients may vanish at any moment: the round stands while {facts.clients - facts.dropped_clients} uploads are good",
        f"committee of {facts.members}: {facts.offline_members} may be away; {corrected}",
        f"{hostile} hostile members together with the server learn nothing; {beyond}",
    )
    return "\n".join(lines)


def suite_rows() -> list[dict[str, str]]:
    """The suite table, as the documents print it."""
    return [
        {
            "suite": f"{row.number:#06x}",
            "n": str(row.n),
            "q up to": f"2^{row.k}",
            "classical": f"{row.classical:.0f}",
            "quantum": f"{row.quantum:.0f}",
            "MATZOV": f"{row.matzov:.0f}",
            "failure": f"2^-{row.failure_bits}",
            "source": row.source,
        }
        for row in SUITES
    ]


def dithered_rows(counts: tuple[int, ...] = (8, 16, 32, 64, 100, 256, 1000, 10_000)) -> list[dict[str, str]]:
    """Bits per value of the dithered mode by clients summed together and precision."""
    rows = []
    for clients in counts:
        row = {"clients": f"{clients:,}"}
        for bits in (6, 8, 10, 12):
            mode, n = choose_dithered(1024, clients, bits), 1024
            if mode is None:
                mode, n = choose_dithered(2048, clients, bits), 2048
            row[f"b = {bits}"] = "-" if mode is None else f"{mode.width} (n {n}, k {mode.k}, r {mode.r})"
        rows.append(row)
    return rows


def preset_rows() -> list[dict[str, str]]:
    """Committee presets and what a contribution carries for them at n = 1024 and 2048."""
    return [
        {
            "preset": name,
            "C": str(c.members),
            "t": str(c.threshold),
            "ell": str(c.pack),
            "opens with": str(c.threshold + c.pack),
            "Q": str(c.quorum),
            "c": str(c.corrupt),
            "away": str(c.offline),
            "bytes n = 1024": str(fixed_bytes(c, 1024)),
            "bytes n = 2048": str(fixed_bytes(c, 2048)),
        }
        for name, c in PRESETS.items()
    ]


def markdown(rows: list[dict[str, str]]) -> str:
    """Rows as a Markdown table."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([row[name] for name in head] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
