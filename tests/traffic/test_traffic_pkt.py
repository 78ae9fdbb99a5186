"""pkt-v1: the vectorised sums against a plain loop, the cut into batches, and the bounds on memory."""

import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_bytes import traffic  # type: ignore[import-not-found]

from wardround.traffic import packets as p
from wardround.traffic import windows as w
from wardround.traffic.hosts import HostState
from wardround.traffic.pkt import COLUMNS, PacketFeatures

SECOND = 10**9
NAMES = [column.name for column in COLUMNS]


def run(batches: list[p.Packets], extractor: PacketFeatures = PacketFeatures(classes=3)) -> w.Windows:
    state, parts = extractor.init(), []
    for batch in batches:
        state, found = extractor.update(state, batch)
        parts.append(found)
    return w.concat([*parts, extractor.flush(state)[1]])


def by_hand(batch: p.Packets, seconds: int = 5) -> dict[tuple[str, int], dict[str, Any]]:
    """The same windows by a loop over packets, for the columns that are easily said in words."""
    rows: dict[tuple[str, int], dict[str, Any]] = defaultdict(lambda: defaultdict(float))
    sets: dict[tuple[str, int], dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
    last: dict[tuple[str, str], int] = {}
    gaps: dict[tuple[str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for i in range(len(batch)):
        window = int(batch.time[i]) // (seconds * SECOND)
        tcp = batch.protocol[i] == p.TCP
        flags = int(batch.flags[i])
        source, target = batch.source[i].tobytes(), batch.target[i].tobytes()
        asked = (
            int(batch.target_port[i])
            if (tcp and not flags & (p.ACK | p.RST))
            or (batch.protocol[i] == p.UDP and batch.target_port[i] <= batch.source_port[i])
            else 0
        )
        for side, mac, peer in (("out", int(batch.source_mac[i]), target), ("in", int(batch.target_mac[i]), source)):
            if mac == p.BROADCAST:
                continue
            key = (p.mac_text(mac), window)
            row = rows[key]
            row[f"packets {side}"] += 1
            row[f"bytes {side}"] += int(batch.wire[i])
            row[f"payload {side}"] += int(batch.payload[i])
            row[f"syn {side}"] += tcp and flags & p.SYN > 0 and not flags & p.ACK
            row[f"rst {side}"] += tcp and flags & p.RST > 0
            row[f"odd {side}"] += tcp and flags == 0
            row[f"arp {side}"] += batch.ethertype[i] == p.ARP
            row[f"echo {side}"] += batch.protocol[i] == p.ICMP and batch.icmp[i] >> 8 == 8
            row[f"second {side} {int(batch.time[i]) // SECOND}"] += 1
            if batch.message[i]:
                row[p.MESSAGES[batch.message[i]]] += 1
            if batch.label[i] >= 0:
                row[f"label {batch.label[i]}"] += 1
            sets[key][f"peers {side}"].add(peer)
            if asked:
                sets[key][f"ports {side}"].add((int(batch.protocol[i]), asked))
            if (key[0], side) in last:
                gaps[key][side].append((int(batch.time[i]) - last[key[0], side]) / SECOND)
            last[key[0], side] = int(batch.time[i])
    for key, row in rows.items():
        for side in ("out", "in"):
            for name in ("peers", "ports"):
                row[f"{name} {side}"] = len(sets[key][f"{name} {side}"])
            row[f"peak second {side}"] = max((v for k, v in row.items() if k.startswith(f"second {side}")), default=0)
            row[f"mean size {side}"] = (
                row[f"bytes {side}"] / row[f"packets {side}"] if row[f"packets {side}"] else np.nan
            )
            found = np.array(gaps[key][side])
            row[f"gap log {side}"] = np.log1p(found * 1e6).mean() if len(found) else np.nan
            row[f"gap variation {side}"] = found.std() / found.mean() if len(found) else np.nan
    return rows


def test_sums_equal_a_plain_loop() -> None:
    batch = traffic(4000, seconds=23)
    found, wanted = run([batch]), by_hand(batch)
    assert {(found.name(i), int(found.start[i]) // (5 * SECOND)) for i in range(len(found))} == set(wanted)
    assert np.all(np.diff(found.end) >= 0)
    for i in range(len(found)):
        row = wanted[found.name(i), int(found.start[i]) // (5 * SECOND)]
        for name in NAMES:
            if name in row or name in p.MESSAGES:
                got = float(found.x[i, NAMES.index(name)])
                assert got == pytest.approx(row.get(name, 0), rel=2e-4, nan_ok=True), (name, i)
        assert found.facts.peers_out[i] == row["peers out"]
        assert found.facts.ports_in[i] == row["ports in"]
        assert found.facts.connections_out[i] == row["syn out"]
        assert found.label_counts[i].tolist() == [row.get(f"label {code}", 0) for code in range(3)]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 600), max_size=5), st.floats(0.5, 400))
def test_the_cut_into_batches_does_not_matter(seed: int, cuts: list[int], seconds: float) -> None:
    batch = traffic(600, seed, seconds)
    edges = [0, *sorted(cuts), 600]
    parts = [p.take(batch, slice(a, b)) for a, b in itertools.pairwise(edges)]
    whole, cut = run([batch]), run(parts)
    assert [whole.name(i) for i in range(len(whole))] == [cut.name(i) for i in range(len(cut))]
    np.testing.assert_array_equal(whole.start, cut.start)
    np.testing.assert_allclose(whole.x, cut.x, rtol=1e-5, atol=1e-6)
    for name in w.FACTS:
        np.testing.assert_array_equal(getattr(whole.facts, name), getattr(cut.facts, name))


def test_a_flood_of_forged_sources_names_its_victim() -> None:
    n = 5000
    sources = np.column_stack([np.zeros(n), p.MAPPED + np.arange(n)]).astype(np.uint64)
    batch = p.blank(
        n, time=np.arange(n) * 10**5, wire=np.full(n, 60), source_mac=np.full(n, 2), target_mac=np.full(n, 4), ethertype=np.full(n, p.IPV4),
        version=np.full(n, 4), source=sources, target=np.tile([0, p.MAPPED | 9], (n, 1)), protocol=np.full(n, p.TCP),
        source_port=np.full(n, 999), target_port=np.full(n, 80), flags=np.full(n, p.SYN),
    )  # fmt: skip
    found = run([batch])
    victim = next(i for i in range(len(found)) if found.name(i) == "00:00:00:00:00:04")
    assert found.facts.connections_in[victim] == n
    assert found.facts.peers_in[victim] == n
    assert found.x[victim, NAMES.index("unanswered in")] == n
    assert (found.port[victim], found.own_port[victim], found.protocol[victim]) == (999, 80, p.TCP)


def test_windows_close_by_packet_time_and_by_the_clock() -> None:
    extractor = PacketFeatures()
    state, found = extractor.update(extractor.init(), p.take(traffic(100, seconds=2), slice(None)))
    start = 1_700_000_000 * SECOND
    assert len(found) == 0
    state, found = extractor.tick(state, start + 5 * SECOND)
    assert len(found) == 0, "a second of grace for packets that come late"
    state, found = extractor.tick(state, start + 7 * SECOND)
    assert set(found.end.tolist()) == {start + 5 * SECOND}
    assert len(extractor.flush(state)[1]) == 0


def test_a_clock_that_jumps_starts_again_and_small_steps_back_are_now() -> None:
    base = 1_700_000_000 * SECOND
    times = base + np.array([0, 9, 7, 4_000_000, 4_000_001, 12, 13]) * SECOND
    batch = p.blank(7, time=times, wire=np.full(7, 60), source_mac=np.full(7, 2), target_mac=np.full(7, p.BROADCAST))
    found = run([batch])
    assert ((found.start - base) // SECOND).tolist() == [0, 5, 4_000_000, 10]
    assert found.facts.packets_out.tolist() == [1, 2, 2, 2]


def test_forged_macs_cannot_fill_the_memory() -> None:
    n = 20_000
    macs = np.random.default_rng(3).integers(1, 1 << 38, n, dtype=np.uint64) << np.uint64(1) | np.uint64(1 << 41)
    batch = p.blank(
        n, time=np.arange(n) * 1000, wire=np.full(n, 60), source_mac=macs, target_mac=np.full(n, p.BROADCAST)
    )
    found = run([batch])
    assert len(found) == 4095
    assert found.facts.packets_out.sum() == n
    assert found.facts.packets_out[[found.name(i) == "other" for i in range(len(found))]].sum() == n - 4094


def test_devices_that_left_make_room() -> None:
    extractor = PacketFeatures()
    state: HostState = extractor.init()
    rng = np.random.default_rng(4)
    for hour in range(4):
        macs = rng.integers(1, 1 << 38, 3000, dtype=np.uint64) << np.uint64(1) | np.uint64(1 << 41)
        batch = p.blank(
            3000,
            time=np.full(3000, hour * 3600 * SECOND),
            wire=np.full(3000, 60),
            source_mac=macs,
            target_mac=np.full(3000, 2),
        )
        state, found = extractor.update(state, batch)
        state, more = extractor.flush(state)
        rows = w.concat([found, more])
        assert "other" not in [rows.name(i) for i in range(len(rows))]


def test_links_without_macs_name_devices_by_address() -> None:
    batch = p.blank(
        3, time=[1, 2, 3], wire=[60] * 3, version=[4, 4, 6], protocol=[17] * 3, ethertype=[p.IPV4, p.IPV4, p.IPV6],
        source=[[0, p.MAPPED | 0x0A000001], [0, p.MAPPED | 0x0A000002], [0xFE80 << 48, 7]],
        target=[[0, p.MAPPED | 0x0A000002], [0, p.MAPPED | 0xE00000FB], [0xFF02 << 48, 1]],
    )  # fmt: skip
    found = run([batch])
    assert sorted(found.name(i) for i in range(len(found))) == ["10.0.0.1", "10.0.0.2", "fe80::7"]


def test_arp_claims_are_told() -> None:
    batch = traffic(500)
    _, found = PacketFeatures().update(PacketFeatures().init(), batch)
    seen = {(int(a), int(m)) for a, m, op in zip(batch.source[:, 1], batch.arp_mac, batch.arp, strict=True) if op}
    assert {(int(a), int(m)) for a, m in zip(found.claims.address[:, 1], found.claims.mac, strict=True)} <= {
        (p.MAPPED | a & 0xFFFFFFFF, m) for a, m in seen
    }
    assert len(found.claims) > 3


def test_the_schema_tells_the_length_of_the_window() -> None:
    assert PacketFeatures(5).schema.id != PacketFeatures(10).schema.id
    assert PacketFeatures(5).schema.id == PacketFeatures(5, classes=2).schema.id
    with pytest.raises(ValueError, match="seconds"):
        PacketFeatures(0)
