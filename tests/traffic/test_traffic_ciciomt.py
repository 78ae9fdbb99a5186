"""The 39 features of CICIoMT2024 v2: a plain loop, the published rows' own identities, and a schema shared with the source."""

import os
from itertools import pairwise
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
import pandas as pd
import pytest
from packet_bytes import traffic  # type: ignore[import-not-found]

from wardround.drivers.sources.ciciomt2024 import DROPPED_V2, CicIomt2024
from wardround.traffic import ciciomt
from wardround.traffic import packets as p
from wardround.traffic import windows as w
from wardround.traffic.ciciomt import KEPT, SCHEMA, V2, CicFeatures

SAMPLE = (
    Path(os.environ.get("WARDROUND_DATA", Path(__file__).parents[3] / "shared/data"))
    / "ciciomt2024/v2_39feat/merged_sample.csv.gz"
)


def run(batches: list[p.Packets], extractor: CicFeatures) -> w.Windows:
    state, parts = extractor.init(), []
    for batch in batches:
        state, found = extractor.update(state, batch)
        parts.append(found)
    return w.concat([*parts, extractor.flush(state)[1]])


def everything(batch: p.Packets, n: int) -> np.ndarray[Any, Any]:
    """All 39 columns of a link's full windows."""
    full = len(batch) // n * n
    starts, sizes = np.arange(0, full, n), np.full(full // n, n)
    zeros = np.zeros(full, np.int64)
    cut = ciciomt._Cut(p.take(batch, slice(0, full)), batch.time[:full], zeros, zeros == 0, starts, sizes)
    return ciciomt.everything(cut, cut.gaps(np.array([-1])))


def by_hand(batch: p.Packets, start: int, n: int) -> dict[str, float]:
    """One window of the link by its formulas, packet by packet."""
    rows = range(start, start + n)
    tcp = [i for i in rows if batch.protocol[i] == 6]
    sizes = [int(batch.wire[i]) for i in rows]
    times = [int(batch.time[i]) / 1e9 for i in rows]
    before = int(batch.time[start - 1]) / 1e9 if start else times[0]
    protocols = [int(batch.protocol[i]) for i in rows]

    def share(ports: tuple[int, ...], protocol: int) -> float:
        return float(
            sum(
                batch.protocol[i] == protocol and (batch.source_port[i] in ports or batch.target_port[i] in ports)
                for i in rows
            )
            / n
        )

    return {
        "Protocol Type": max(set(protocols), key=lambda v: (protocols.count(v), v)), "Time_To_Live": sum(int(batch.ttl[i]) for i in rows) / n,
        "Rate": n / (times[-1] - times[0]), "Tot sum": sum(sizes), "Min": min(sizes), "Max": max(sizes), "AVG": sum(sizes) / n, "Std": stdev(sizes),
        "IAT": sum(b - a for a, b in pairwise([before, *times])) / n, "Number": n, "syn_count": sum(int(batch.flags[i]) >> 1 & 1 for i in tcp),
        "ack_flag_number": sum(int(batch.flags[i]) >> 4 & 1 for i in tcp) / n, "HTTPS": share((443,), 6), "DNS": share((53,), 17), "TCP": len(tcp) / n,
        "ARP": sum(batch.ethertype[i] == p.ARP for i in rows) / n, "IPv": sum(batch.ethertype[i] == p.IPV4 for i in rows) / n,
    }  # fmt: skip


@pytest.mark.parametrize("n", [10, 100])
def test_a_link_by_its_formulas(n: int) -> None:
    batch = traffic(1000, seconds=20)
    x = everything(batch, n)
    for window in range(0, 1000 // n, 3):
        for name, value in by_hand(batch, window * n, n).items():
            assert x[window, V2.index(name)] == pytest.approx(value, rel=1e-4, abs=1e-9), name


def test_the_schema_is_that_of_the_published_files() -> None:
    assert CicIomt2024()._schema().id == SCHEMA.id
    assert {*V2} - {*KEPT} == set(DROPPED_V2), "what is left out, and why, is said once"
    assert len(KEPT) == 30


def test_a_link_has_the_same_rows_as_the_loader_would_read() -> None:
    batch = traffic(500, seconds=20)
    found, wanted = run([batch], CicFeatures(100, 0, "link")), everything(batch, 100)
    assert found.devices == ("link",)
    for name in ("Rate", "AVG", "Std", "IAT", "TCP", "psh_flag_number"):
        np.testing.assert_allclose(found.x[:, KEPT.index(name)], wanted[:, V2.index(name)], rtol=1e-5)


@pytest.mark.parametrize(
    "extractor", [CicFeatures(20, 5), CicFeatures(100, 0), CicFeatures(10, 0, "link"), CicFeatures(7, 2, classes=3)]
)
def test_the_cut_into_batches_does_not_matter(extractor: CicFeatures) -> None:
    batch = traffic(900, seed=5, seconds=60)
    whole = run([batch], extractor)
    cut = run([p.take(batch, slice(a, b)) for a, b in pairwise([0, 1, 350, 351, 800, 900])], extractor)
    key = [
        np.lexsort((found.start, np.array([found.name(i) for i in range(len(found))]), found.end))
        for found in (whole, cut)
    ]
    assert [whole.name(i) for i in key[0]] == [cut.name(i) for i in key[1]]
    np.testing.assert_allclose(whole.x[key[0]], cut.x[key[1]], rtol=1e-5)
    np.testing.assert_array_equal(whole.label_counts[key[0]], cut.label_counts[key[1]])
    received = batch.target_mac != p.BROADCAST
    assert whole.facts.packets_out.sum() == len(batch)
    assert whole.facts.packets_in.sum() == (received.sum() if extractor.per == "device" else 0)


def test_nothing_in_the_rows_tells_how_long_a_window_is() -> None:
    assert not {*ciciomt.LENGTH_COLUMNS} & {column.name for column in SCHEMA.columns}


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="packets must be 2 or more"):
        CicFeatures(packets=1)


@pytest.mark.data
@pytest.mark.skipif(not SAMPLE.exists(), reason="needs ../shared/data or WARDROUND_DATA")
def test_the_published_rows_obey_the_formulas_that_ours_obey() -> None:
    official = pd.read_csv(SAMPLE)[list(V2)].replace([np.inf], np.nan).dropna().to_numpy(dtype=np.float64)
    for x, floor in ((official, 0.995), (everything(traffic(5000, seconds=100), 10), 1.0)):
        column = {name: x[:, i] for i, name in enumerate(V2)}
        n = column["Number"]
        holds = {
            "Tot sum = AVG x Number": np.isclose(column["Tot sum"], column["AVG"] * n, rtol=1e-3),
            "Tot size = AVG": np.isclose(column["Tot size"], column["AVG"], rtol=1e-3),
            "Variance = Std squared": np.isclose(column["Variance"], column["Std"] ** 2, rtol=1e-3, atol=1e-3),
            "ack_count = share x Number": np.isclose(column["ack_count"], column["ack_flag_number"] * n, atol=1e-3),
            "IAT covers the window and the gap before it": column["IAT"] * n >= n / column["Rate"] * (1 - 1e-3) - 1e-3,
            "LLC = IPv": np.isclose(column["LLC"], column["IPv"], atol=1e-6),
            "shares are whole packets": np.isclose(np.round(column["TCP"] * n), column["TCP"] * n, atol=1e-2),
        }
        assert {name: ok.mean() >= floor for name, ok in holds.items()} == dict.fromkeys(holds, True), {
            k: v.mean() for k, v in holds.items()
        }
