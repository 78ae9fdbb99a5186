"""What an experiment will send, before anything runs: `wardround explain compress FILE`.

Every line is a whole message of the round as it stands on the wire (wire.py), frames, counts, key shares and proofs included, for
one client and one round it takes part in. Not included: what a transport adds (layer 1's record: 40 bytes; NATS, Flower).
Law: what a round then sends lies between ``least`` and ``most`` (tests/federation).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wardround.compress.budget import Bought
from wardround.compress.chain import Chain, LinearChain
from wardround.compress.codec import Codec, Size
from wardround.compress.downlink import Differences
from wardround.compress.explain import titles
from wardround.federation import coding, pipeline
from wardround.federation.algorithms import EMPTY
from wardround.federation.clusters import models_of
from wardround.federation.coding import Coder
from wardround.federation.messages import Answer, AskTraining
from wardround.federation.plan import Plan, Prepared
from wardround.secagg import planner
from wardround.secagg.messages import Contribution
from wardround.secagg.parameters import PRESETS, Lattice
from wardround.wire import encode

LONGEST_NAME = 16
"""Letters of a client's name that a contribution is reckoned with."""


@dataclass(frozen=True)
class Line:
    """One message: ``saved`` against its dense form in the open (None: nothing to compare), ``why`` in words."""

    what: str
    size: Size
    saved: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Sums:
    """How answers are added: ``lattice`` (None: in the open), over ``clients`` in cohorts of ``cohort``."""

    lattice: Lattice | None
    clients: int
    cohort: int


def lines(plan: Plan, prepared: Prepared, sums: Sums) -> list[Line]:
    """Up and down, dense and as configured.

    Raises:
        ConfigError: no secure sum fits.
    """
    layout = prepared.layout.times(models_of(plan.algorithm))
    d = layout.size
    dense_up, dense_down = _dense_up(plan, d), _dense_down(plan, d)
    found = [Line(f"up, dense: {d} values of float32", Size.exactly(dense_up))]
    if sums.lattice is not None:
        found.append(_secure("up, dense", plan, d, sums, dense_up))
    coder = prepared.coder
    if coder is not None:
        names = ("", *plan.compress.classes)
        for name, bought in zip(names, coder.links, strict=True):
            line = _up(plan, bought, prepared, sums, dense_up)
            found.append(replace(line, what=line.what.replace("up:", f"up ({name}):", 1) if name else line.what))
    found.append(Line("down, dense", Size.exactly(dense_down)))
    if coder is not None:
        chain = coder.track.down
        frame = _dense_down(plan, d) - 4 * d + _DIFFERENCES
        snapshot = _snapshot(coder, plan, d)
        size = chain.size(layout) + Size.exactly(frame)
        if size.most - frame >= 4 * d:  # nothing is saved: the whole model is sent instead
            size = Size.exactly(snapshot)
        found.append(Line(f"down: {titles(_codecs(plan, coder))}", size, _saved(size, dense_down)))
        found.append(Line("down, to who comes or comes back after long: a snapshot", Size.exactly(snapshot)))
    return found


def dense(plan: Plan, d: int) -> tuple[int, int]:
    """Bytes of the messages (up, down) that hold all ``d`` values as float32."""
    return _dense_up(plan, d), _dense_down(plan, d)


def text(found: list[Line]) -> str:
    """The lines as a table, what was chosen and why below it."""
    head = ("message of one client and round", "least B", "expected B", "most B", "saved")
    rows = [head, *(_cells(line) for line in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    table = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([*table, "", *(f"{line.what}: {line.why}" for line in found if line.why)]).rstrip()


_DIFFERENCES = len(encode(Differences(0, (b"",))))


def _cells(line: Line) -> tuple[str, ...]:
    size = line.size
    saved = "" if line.saved is None else f"{line.saved:.2%}"
    return (line.what, f"{size.least:,}", f"{size.expected:,}", f"{size.most:,}", saved)


def _codecs(plan: Plan, coder: Coder) -> tuple[Codec, ...]:
    return plan.compress.downlink(coder.track.layout, plan.ring)


def _dense_up(plan: Plan, d: int) -> int:
    parts = plan.algorithm.parts(d)
    block = np.zeros(sum(part.size for part in parts), dtype=np.float32)
    return len(encode(Answer(1, block, np.zeros(pipeline.count_training(parts)))))


def _dense_down(plan: Plan, d: int) -> int:
    parameters = np.zeros(d, dtype=np.float32)
    reached = np.zeros(len(plan.algorithm.parts(d)) if plan.protected else 0, dtype=np.float32)
    broadcast = plan.algorithm.broadcast(EMPTY, d)
    return len(encode(AskTraining(1, 1, plan.schema.id, parameters, broadcast, reached, None)))


def _snapshot(coder: Coder, plan: Plan, d: int) -> int:
    held = coder.start(np.zeros(d, dtype=np.float32)).announced
    return _dense_down(plan, d) - 4 * d + len(encode(held))


def _up(plan: Plan, bought: Bought, prepared: Prepared, sums: Sums, dense: int) -> Line:
    layout, what = prepared.layout.times(models_of(plan.algorithm)), f"up: {titles(bought.codecs)}"
    parts = plan.algorithm.parts(layout.size)
    coded, raw = (sum(p.size == layout.size for p in parts), sum(p.size for p in parts if p.size != layout.size))
    if sums.lattice is not None:
        chain = LinearChain.of(bought.codecs)
        values = coded * max(chain.outputs(layout, turn) for turn in (0, 1)) + raw
        line = _secure(what, plan, values, sums, dense)
        return Line(line.what, line.size, line.saved, "; ".join(filter(None, (line.why, _turns(bought.every)))))
    code = Chain.of(bought.codecs).size(layout)
    heaviest, extra = prepared.heaviest, 4 * raw + (5 * coded if len(parts) > 1 else 0)
    least = len(encode(coding.pack(1, [1, 0, 0], b"")))
    usual = len(encode(coding.pack(2 * plan.schedule.rounds, [heaviest, 1000 * heaviest, 100], b"")))
    most = len(encode(coding.pack(2**62, [heaviest, round(1000 * pipeline.LOSS_CAP) * heaviest, 2**31], b"")))
    size = Size(least + coded * code.least, usual + coded * code.expected + extra, most + coded * code.most + extra)
    return Line(what, size, _saved(size, dense), _turns(bought.every))


def _secure(what: str, plan: Plan, values: int, sums: Sums, dense: int) -> Line:
    assert sums.lattice is not None, "a secure sum"
    counts = pipeline.count_training(plan.algorithm.parts(values))
    found = planner.ways(sums.lattice, sums.clients, sums.cohort, values, counts)
    way, members = found[0], PRESETS[sums.lattice.committee].members
    empty = Contribution(bytes(32), "x" * LONGEST_NAME, b"", b"", (b"",) * members, b"", (b"",) * members, b"")
    size = Size.exactly(len(encode(empty)) + way.client_bytes)
    shares = f"{way.fixed_bytes} bytes of shares, tags, commitments and proof" + (
        f", {way.update_bytes} of update, {way.counts_bytes} of counts" if way.suite else " are all there is"
    )
    title = f"{what}; in a secure sum of {way.largest} at {sums.lattice.bits} bits"
    return Line(title, size, _saved(size, dense), f"{shares}; {planner.why(found)}")


def _turns(every: int) -> str:
    return "" if every == 1 else f"takes part in one round of {every}"


def _saved(size: Size, dense: int) -> float:
    return 1 - size.expected / dense
