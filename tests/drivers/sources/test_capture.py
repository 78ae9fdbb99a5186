"""A site's own captures and logs as training rows: labels of both forms, mixed windows, and a federation of two schemas."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "traffic"))
sys.path.insert(0, str(Path(__file__).parents[2] / "federation"))
from federation_pair import make_plan  # type: ignore[import-not-found]
from packet_bytes import MACS, ethernet, ipv4, pcap, tcp, udp  # type: ignore[import-not-found]

from wardround.drivers.sources.capture import Capture
from wardround.errors import DataError, RemoteProtocolError, UsageError
from wardround.federation.client import Client, ClientState
from wardround.federation.messages import AskStatistics
from wardround.rng import stream
from wardround.traffic import packets as p
from wardround.traffic.ciciomt import SCHEMA
from wardround.traffic.scaling import Quantile
from wardround.traffic.table import Table

RNG = stream(1, "test")


def ward(folder: Path, name: str, labels: str | None, n: int = 400) -> Path:
    """A capture of 40 s: a device publishes ten times a second; from 20 s on another one sends SYNs between."""
    frames = []
    for i in range(n):
        frames.append(ethernet(ipv4(tcp(b"\x30\x05abcde", flags=p.ACK | p.PSH))))
        attack = ethernet(ipv4(tcp(flags=p.SYN, source=i + 1000, target=i), source=0x0A000003), source=MACS[2])
        frames.append(attack if i >= n // 2 else ethernet(ipv4(udp(b"x" * (i % 90)))))
    path = folder / name
    path.write_bytes(pcap(frames, step=50_000))
    if labels is not None:
        path.with_name(path.name + ".labels.csv").write_text(labels)
    return path


def runs(n: int = 400) -> str:
    return "first,count,label,incident\n" + "".join(f"{2 * i + 1},1,TCP_IP-DoS-SYN,7\n" for i in range(n // 2, n))


INTERVALS = f"start,end,device,label\n1700000020,1700000040,{p.mac_text(MACS[2])},TCP_IP-DoS-SYN\n"


def loaded(folder: Path, **settings: object) -> Table:
    return Capture(**settings).load(folder, RNG)  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [runs(), INTERVALS])
def test_packets_and_intervals_label_the_same_windows(tmp_path: Path, labels: str) -> None:
    ward(tmp_path, "a.pcap", labels)
    table = loaded(tmp_path, labels="19class", clients="device")
    assert table.schema.name == "pkt-v1/5s"
    names = np.array(table.groups)[table.group]
    attack = table.y > 0
    assert set(names[attack]) == {f"a.pcap/{p.mac_text(mac)}" for mac in MACS[1:]}, "the attacker and its victim"
    assert {table.labels.names[code] for code in table.y} == {"Benign", "TCP_IP-DoS-SYN"}
    assert table.time is not None
    assert (table.time[attack] > 1_700_000_020).all()
    assert (~attack)[names == f"a.pcap/{p.mac_text(MACS[0])}"].all(), "the publisher only suffers from others"


def test_windows_of_mixed_nature_are_left_out_and_counted(tmp_path: Path) -> None:
    ward(tmp_path, "a.pcap", INTERVALS)
    strict = loaded(tmp_path, share=0.9)
    assert any("window(s) of mixed nature left out" in note for note in strict.notes)
    assert len(strict) < len(loaded(tmp_path))


def test_a_capture_without_labels_is_benign_and_says_so(tmp_path: Path) -> None:
    ward(tmp_path, "a.pcap", None)
    table = loaded(tmp_path)
    assert (table.y == 0).all()
    assert table.notes == ("a.pcap: no label file: all of it is taken for benign",)


@pytest.mark.parametrize(
    ("schema", "name"), [("flow-v1", "flow-v1/10s"), ("ciciomt2024-v2", SCHEMA.name), ("pkt-v1", "pkt-v1/5s")]
)
def test_every_schema_scales_in_a_federation(tmp_path: Path, schema: str, name: str) -> None:
    """The map fitted from two gateways' sums equals that of their rows together, and leaves finite inputs."""
    ward(tmp_path, "a.pcap", INTERVALS)
    ward(tmp_path, "b.pcap", runs(200), 200)
    table = loaded(tmp_path, schema=schema)
    assert table.schema.name == name
    assert table.groups == ("a.pcap", "b.pcap")
    scaling = Quantile(bins=256)
    parts = [scaling.statistics(table.schema, table.x[table.group == g]) for g in (0, 1)]
    pooled = scaling.statistics(table.schema, table.x)
    np.testing.assert_array_equal(parts[0] + parts[1], pooled)
    prepared = scaling.fit(table.schema, pooled).apply(table.x)
    assert np.isfinite(prepared).all()
    assert prepared.shape[1] > 10


def test_gateways_of_two_schemas_are_not_averaged(tmp_path: Path) -> None:
    ward(tmp_path, "a.pcap", INTERVALS)
    tables = [loaded(tmp_path, schema=schema) for schema in ("pkt-v1", "flow-v1", "ciciomt2024-v2")]
    tables.append(loaded(tmp_path, seconds=10))
    assert len({table.schema.id for table in tables}) == 4
    plans = [replace(make_plan(), schema=table.schema) for table in tables]
    for mine in plans:
        for theirs in plans:
            if mine is theirs:
                continue
            client = Client(mine, 1, ClientState(0))
            with pytest.raises(RemoteProtocolError, match="schema"):
                client.receive(AskStatistics(1, theirs.schema.id), None, None)  # type: ignore[arg-type]


def test_max_rows_keeps_a_sample_of_each_class(tmp_path: Path) -> None:
    ward(tmp_path, "a.pcap", INTERVALS)
    table = loaded(tmp_path, max_rows=3)
    assert np.bincount(table.y).tolist() == [3, 3]


def test_logs_fill_flow_v1(tmp_path: Path) -> None:
    event = {
        "timestamp": "2023-11-14T22:13:30.000000+0000", "event_type": "flow", "src_ip": "10.0.0.5", "src_port": 4000, "dest_ip": "10.0.0.9", "dest_port": 80, "proto": "TCP",
        "flow": {"pkts_toserver": 3, "pkts_toclient": 2, "bytes_toserver": 300, "bytes_toclient": 200, "start": "2023-11-14T22:13:21.000000+0000", "end": "2023-11-14T22:13:22.000000+0000"},
    }  # fmt: skip
    (tmp_path / "eve.json").write_text(json.dumps(event) + "\n")
    (tmp_path / "eve.json.labels.csv").write_text(
        "start,end,device,label\n1700000000,1700000002,10.0.0.9,Recon-Port_Scan\n"
    )
    fields = [
        "ts",
        "id.orig_h",
        "id.orig_p",
        "id.resp_h",
        "id.resp_p",
        "proto",
        "orig_pkts",
        "resp_pkts",
        "conn_state",
        "label",
    ]
    rows = [
        "1700000000.5 10.0.0.5 1 10.0.0.6 80 tcp 1 0 S0 Malicious",
        "1700000100.5 10.0.0.5 1 10.0.0.6 80 tcp 1 1 SF Benign",
    ]
    (tmp_path / "conn.log.labeled").write_text(
        "\n".join(["\t".join(["#fields", *fields]), *("\t".join(row.split()) for row in rows)])
    )
    table = loaded(tmp_path, schema="flow-v1", packets=1)
    assert sorted(zip(np.array(table.groups)[table.group].tolist(), table.y.tolist(), strict=True)) == [
        *[("conn.log.labeled", 0)] * 2, *[("conn.log.labeled", 1)] * 2, *[("eve.json", 1)] * 2,
    ]  # fmt: skip
    with pytest.raises(UsageError, match='set schema = "flow-v1"'):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a label file begins with"), ("a,b\n", "not 'a,b'"), ("first,count,label\n1,x,Benign\n", r":2: first and count must be whole"), ("first,count,label\n1,1,nonsense\n", "column 'label': 'nonsense' is not a class"),
        ("first,count,label\n5,2,Benign\n6,1,Benign\n", ":3: packet 6 was named before"), ("start,end,device,label\n1,2,10.0.0.300,Benign\n", ":2: needs start,end,device,label"), ("start,end,device,label\n1,2\n", ":2: needs"),
    ],
)  # fmt: skip
def test_a_bad_label_file_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    ward(tmp_path, "a.pcap", text, 5)
    with pytest.raises(DataError, match=said):
        loaded(tmp_path, labels="19class")


def test_a_bad_folder_or_setting_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no captures here"):
        loaded(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        loaded(tmp_path / "x")
    (tmp_path / "a.pcap").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"a\.pcap: not a pcap or pcapng file"):
        loaded(tmp_path)
    (tmp_path / "a.pcap").write_bytes(pcap([]))
    with pytest.raises(DataError, match="not one window"):
        loaded(tmp_path)
    with pytest.raises(ValueError, match="share"):
        Capture(share=0)
