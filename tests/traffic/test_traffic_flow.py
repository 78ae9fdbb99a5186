"""flow-v1: against a loop over records, any cut into batches, what a reporter cannot tell, and the minute behind a step."""

from collections import defaultdict
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_bytes import traffic  # type: ignore[import-not-found]

from wardround.traffic import flows as fl
from wardround.traffic import packets as p
from wardround.traffic import windows as w
from wardround.traffic.flow import COLUMNS, FlowFeatures
from wardround.traffic.flow_of_packets import FlowsOfPackets

SECOND = 10**9
BASE = 1_700_000_040 * SECOND
NAMES = [column.name for column in COLUMNS]


def records(n: int = 400, seed: int = 1, seconds: float = 200, **more: Any) -> fl.Flows:
    rng = np.random.default_rng(seed)
    reported = np.sort(rng.integers(0, int(seconds * 1e9), n)) + BASE
    source, target = rng.integers(1, 6, (2, n))
    columns: dict[str, Any] = {
        "reported": reported,
        "start": reported - rng.integers(0, 12 * SECOND, n),
        "end": reported - 10,
        "source": np.column_stack([np.zeros(n), p.MAPPED | 0x0A000000 | source]),
        "target": np.column_stack([np.zeros(n), p.MAPPED | np.where(target > 3, 0x0A000000, 0x08080800) | target]),
        "source_port": rng.integers(40000, 40010, n),
        "target_port": rng.choice([80, 443, 1883, 0], n),
        "protocol": rng.choice([6, 17, 1], n),
        "service": rng.integers(0, 3, n),
        "packets_out": rng.integers(1, 50, n),
        "packets_in": rng.integers(0, 50, n),
        "bytes_out": rng.integers(60, 5000, n),
        "bytes_in": rng.integers(0, 5000, n),
        "state": rng.integers(0, len(fl.STATES), n),
        "label": rng.integers(-1, 2, n),
    }
    return fl.blank(n, **(columns | more))


def run(batches: list[fl.Flows], extractor: FlowFeatures = FlowFeatures(classes=2)) -> w.Windows:
    state, parts = extractor.init(), []
    for batch in batches:
        state, found = extractor.update(state, batch)
        parts.append(found)
    return w.concat([*parts, extractor.flush(state)[1]])


def by_hand(f: fl.Flows, device: str, start: int, seconds: int = 10) -> dict[str, float]:
    row: dict[str, float] = defaultdict(float)
    sets: dict[str, set[Any]] = defaultdict(set)
    for i in range(len(f)):
        if not start <= f.reported[i] < start + seconds * SECOND:
            continue
        for side, own, other in (("out", f.source[i], f.target[i]), ("in", f.target[i], f.source[i])):
            if (int(own[0]), int(own[1])) != (0, p.MAPPED | int.from_bytes(map(int, device.split(".")), "big")):
                continue
            row[f"flows {side}"] += 1
            row[f"failed {side}"] += f.state[i] in (fl.ATTEMPT, fl.REJECTED)
            row[f"resets {side}"] += f.state[i] == fl.RESET
            row[f"bytes sent {side}"] += (f.bytes_out if side == "out" else f.bytes_in)[i]
            row[f"packets received {side}"] += (f.packets_in if side == "out" else f.packets_out)[i]
            sets[f"peers {side}"].add(other.tobytes())
            if f.target_port[i]:
                sets[f"ports {side}"].add((f.protocol[i], f.target_port[i]))
    return row | {name: len(sets[name]) for name in ("peers out", "peers in", "ports out", "ports in")}


def test_rows_equal_a_plain_loop() -> None:
    f = records()
    found = run([f])
    assert {found.name(i) for i in range(len(found))} == {f"10.0.0.{i}" for i in range(1, 6)}, (
        "only home addresses are devices"
    )
    for i in range(0, len(found), 6):
        row = by_hand(f, found.name(i), int(found.start[i]))
        long = by_hand(f, found.name(i), int(found.end[i]) - 60 * SECOND, 60)
        for name in row:
            assert found.x[i, NAMES.index(name)] == row[name], name
        for name in ("flows", "failed", "bytes sent", "peers", "ports"):
            for side in ("out", "in"):
                assert found.x[i, NAMES.index(f"{name} 60 s {side}")] == long[f"{name} {side}"], (name, side)
        assert found.facts.connections_out[i] <= row["flows out"]
    assert found.label_counts.sum() > 0


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 300), max_size=4), st.floats(0.5, 2000))
def test_the_cut_into_batches_does_not_matter(seed: int, cuts: list[int], seconds: float) -> None:
    f = records(300, seed, seconds)
    whole, cut = run([f]), run([fl.take(f, slice(a, b)) for a, b in pairwise([0, *sorted(cuts), 300])])
    assert [whole.name(i) for i in range(len(whole))] == [cut.name(i) for i in range(len(cut))]
    np.testing.assert_allclose(whole.x, cut.x, rtol=1e-5)
    np.testing.assert_array_equal(whole.label_counts, cut.label_counts)


def test_a_reporter_without_arp_leaves_it_missing() -> None:
    found = run([records()])
    assert np.isnan(found.x[:, NAMES.index("arp")]).all()
    seen = run([fl.blank(0, layer2=True), records()])
    assert (seen.x[:, NAMES.index("arp")] == 0).all()


def test_new_peers_are_told_after_ten_minutes() -> None:
    early = records(500, seconds=700)
    stranger = records(
        1, reported=[BASE + 800 * SECOND], target=[[0, p.MAPPED | 0x01010101]], source=[[0, p.MAPPED | 0x0A000001]]
    )
    again = records(
        1, reported=[BASE + 900 * SECOND], target=[[0, p.MAPPED | 0x01010101]], source=[[0, p.MAPPED | 0x0A000001]]
    )
    column = run([early, stranger, again]).x[:, NAMES.index("new peers")]
    assert np.isnan(column[0])
    assert column[-2:].tolist() == [1, 0]


def test_devices_with_macs_are_named_by_them() -> None:
    found = run([records(20, source_mac=np.full(20, 2), target_mac=np.full(20, 4))])
    assert {found.name(i) for i in range(len(found))} == {"00:00:00:00:00:02", "00:00:00:00:00:04"}


def test_flows_of_packets_are_the_same_for_any_cut() -> None:
    batch = traffic(2000, seconds=150)
    results = []
    for edges in ([0, 2000], [0, 3, 700, 701, 2000]):
        extractor = FlowsOfPackets()
        state, parts = extractor.init(), []
        for a, b in pairwise(edges):
            state, found = extractor.update(state, p.take(batch, slice(a, b)))
            parts.append(found)
        results.append(w.concat([*parts, extractor.flush(state)[1]]))
    np.testing.assert_allclose(results[0].x, results[1].x, rtol=1e-5)
    assert results[0].schema.id == FlowFeatures().schema.id
    assert len(results[0].claims) > 0


def test_the_clock_closes_steps() -> None:
    extractor = FlowFeatures()
    state, _ = extractor.update(extractor.init(), records(5, seconds=1))
    assert len(extractor.tick(state, BASE + 10 * SECOND)[1]) == 0
    assert len(extractor.tick(state, BASE + 12 * SECOND)[1]) > 0


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="divides 60"):
        FlowFeatures(step=7)
    with pytest.raises(ValueError, match="does not appear"):
        FlowFeatures(home=("nonsense",))
