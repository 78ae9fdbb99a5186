"""Packets to flow records: against a loop over packets, any cut into batches, and the cases that tools get wrong."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packet_bytes import traffic  # type: ignore[import-not-found]

from wardround.traffic import flows as fl
from wardround.traffic import packets as p
from wardround.traffic.flowtable import FlowTable

SECOND = 10**9
BASE = 1_700_000_040 * SECOND  # a whole minute


def run(batches: list[p.Packets], table: FlowTable = FlowTable()) -> fl.Flows:
    state, found = table.init(), []
    for batch in batches:
        state, part = table.update(state, batch)
        found.append(part)
    return fl.concat([*found, table.flush(state)[1]])


def tcp(*packets: tuple[float, int, int, int], client: int = 40000, server: int = 1883) -> p.Packets:
    """(second, direction 0 from the client or 1, flags, bytes) each."""
    n = len(packets)
    back = np.array([d for _, d, _, _ in packets], bool)
    ends = np.array([[0, p.MAPPED | 0x0A000001], [0, p.MAPPED | 0x0A000002]], np.uint64)
    return p.blank(
        n, time=[BASE + round(t * SECOND) for t, *_ in packets], wire=[b for *_, b in packets], ethertype=[p.IPV4] * n, version=[4] * n,
        protocol=[p.TCP] * n, source=ends[back.astype(int)], target=ends[1 - back], source_mac=np.where(back, 4, 2), target_mac=np.where(back, 2, 4),
        source_port=np.where(back, server, client), target_port=np.where(back, client, server), flags=[f for _, _, f, _ in packets],
    )  # fmt: skip


def handshake(start: float) -> list[tuple[float, int, int, int]]:
    return [(start, 0, p.SYN, 60), (start + 0.1, 1, p.SYN | p.ACK, 60), (start + 0.2, 0, p.ACK, 54)]


def goodbye(start: float) -> list[tuple[float, int, int, int]]:
    return [(start, 0, p.FIN | p.ACK, 54), (start + 0.1, 1, p.FIN | p.ACK, 54), (start + 0.2, 0, p.ACK, 54)]


def as_rows(found: fl.Flows) -> list[tuple[object, ...]]:
    return sorted(tuple(np.ravel(getattr(found, name)[i]).tolist() for name in fl.COLUMNS) for i in range(len(found)))


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 400), max_size=5), st.floats(0.5, 300))
@example(126, [23], 1.0)  # both ends the same address
@example(458823857, [147, 183, 211, 348], 0.5)  # and the same port
def test_the_cut_into_batches_does_not_matter(seed: int, cuts: list[int], seconds: float) -> None:
    batch = traffic(400, seed, seconds)
    edges = [0, *sorted(cuts), 400]
    cut = run([p.take(batch, slice(a, b)) for a, b in pairwise(edges)])
    assert as_rows(run([batch])) == as_rows(cut)
    assert np.all(np.diff(cut.reported) >= 0), "records come in the order of their clock"


def test_nothing_is_lost_or_counted_twice() -> None:
    batch = traffic(3000, seconds=200)
    found = run([batch])
    assert found.packets_out.sum() + found.packets_in.sum() == 3000
    assert found.bytes_out.sum() + found.bytes_in.sum() == batch.wire.sum()
    assert np.all(found.packets_out + found.packets_in > 0)
    assert np.all(found.end >= found.start)


def test_a_connection_is_one_record_and_the_next_on_the_same_ports_another() -> None:
    found = run([tcp(*handshake(0), *goodbye(1), *handshake(2), *goodbye(3))])
    assert found.state.tolist() == [fl.CLOSED, fl.CLOSED]
    assert found.packets_out.tolist() == [4, 4]
    assert found.source_port.tolist() == [40000, 40000]
    assert found.service.tolist() == [found.service[0]] * 2
    assert found.source_mac.tolist() == [2, 2]


def test_a_repeated_syn_is_the_same_attempt() -> None:
    found = run([tcp((0, 0, p.SYN, 60), (1, 0, p.SYN, 60), (3, 0, p.SYN, 60))])
    assert (found.state.tolist(), found.packets_out.tolist()) == ([fl.ATTEMPT], [3])


def test_a_refusal_and_a_reset_differ() -> None:
    refused = run([tcp((0, 0, p.SYN, 60), (0.1, 1, p.RST | p.ACK, 54))])
    reset = run([tcp(*handshake(0), (1, 1, p.RST, 54))])
    assert (refused.state.tolist(), reset.state.tolist()) == ([fl.REJECTED], [fl.RESET])


def test_a_flow_seen_from_its_answer_on_is_turned() -> None:
    found = run([tcp((0, 1, p.ACK | p.PSH, 200), (0.1, 0, p.ACK, 54))])
    assert (found.source_port.tolist(), found.bytes_out.tolist(), found.bytes_in.tolist()) == ([40000], [54], [200])


def test_long_flows_are_reported_every_minute() -> None:
    found = run([tcp(*handshake(0), *((float(t), 0, p.ACK | p.PSH, 100) for t in range(5, 150, 5)))])
    assert [(int(t) - BASE) // SECOND for t in found.start] == [0, 60, 120]
    assert set(found.state.tolist()) <= {fl.ESTABLISHED, fl.OTHER}


def test_records_wait_for_packet_time_or_the_clock() -> None:
    table = FlowTable()
    state, found = table.update(table.init(), tcp((0, 0, p.SYN, 60)))
    assert len(found) == 0
    state, found = table.update(state, tcp((9, 0, p.SYN, 60), client=41000))
    assert len(found) == 0
    state, found = table.tick(state, BASE + 11 * SECOND)
    assert found.reported.tolist() == [BASE + 10 * SECOND]


def test_a_flood_cannot_fill_the_table() -> None:
    n = 3000
    sources = np.column_stack([np.zeros(n), p.MAPPED + np.arange(n)]).astype(np.uint64)
    batch = p.blank(
        n,
        time=BASE + np.arange(n),
        wire=np.full(n, 60),
        version=np.full(n, 4),
        source=sources,
        protocol=np.full(n, p.UDP),
    )
    table = FlowTable(most=100)
    state, early = table.update(table.init(), batch)
    assert len(state.open) == 100
    assert sum(map(len, state.over)) == 0
    assert (early.reported == BASE + n - 1).all(), "they are reported at once"
    assert len(early) + len(table.flush(state)[1]) == n


def test_arp_and_frames_without_addresses_are_flows_too() -> None:
    found = run([traffic(200)])
    arp = found.protocol == 0
    assert arp.any()
    assert found.layer2


@pytest.mark.parametrize("columns", [{"state": [1, 2]}, {"source": [[1, 2]] * 2}])
def test_a_column_of_another_length_is_refused(columns: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="has shape"):
        fl.blank(3, **columns)
