"""Every data set in its owner's layout: rows, classes, clients, dropped columns and notes."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from sources_in_layout import (  # type: ignore[import-not-found]
    ZEEK,
    cic_merged,
    cic_v1,
    cic_v2,
    edge,
    iot23_csv,
    nbaiot_kaggle,
    nbaiot_rows,
    nbaiot_uci,
    pack,
    table,
    ton,
    ton_network,
    wustl,
    xiomt_files,
    zeek,
)

from wardround.drivers.sources import iot23, nbaiot
from wardround.drivers.sources.ciciomt2024 import CLASSES, CicIomt2024
from wardround.drivers.sources.edge_iiotset import EdgeIiotset
from wardround.drivers.sources.iot23 import Iot23
from wardround.drivers.sources.listed import SOURCES
from wardround.drivers.sources.nbaiot import NBaIot
from wardround.drivers.sources.ton_iot import TonIot
from wardround.drivers.sources.wustl_ehms import WustlEhms
from wardround.drivers.sources.xiomt import XIomt
from wardround.errors import DataError, UsageError
from wardround.traffic.table import Table


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def counts(table: Table) -> dict[str, int]:
    return dict(Counter(table.labels.names[code] for code in table.y))


def column(table: Table, name: str) -> np.ndarray:
    return table.x[:, [c.name for c in table.schema.columns].index(name)]


def test_every_source_documents_each_of_its_fields() -> None:
    for name, source in SOURCES.items():
        assert source.name == name  # type: ignore[attr-defined]
        for field in fields(source):
            assert f"{field.name}:" in (source.__doc__ or ""), (name, field.name)


def test_ciciomt2024_v2_file_per_class(tmp_path: Path) -> None:
    cic_v2(tmp_path)
    cic_v1(tmp_path / "old")  # the other release in the same folder is not mixed in
    read = CicIomt2024().load(tmp_path, rng())
    assert counts(read) == {"Benign": 4, "DDoS": 4, "DoS": 4, "Recon": 4, "Spoofing": 4, "MQTT": 4}
    assert len(read.schema.columns) == 30
    assert {d.column for d in read.dropped} == {
        *("Number", "Tot sum", "Tot size", "LLC", "Variance"),
        *("ack_count", "syn_count", "fin_count", "rst_count"),
    }
    assert read.labels.benign == 0
    assert read.labels.names == ("Benign", "DDoS", "DoS", "Recon", "MQTT", "Spoofing")
    assert np.unique(column(read, "Protocol Type")).tolist() == [0, 3, 4]  # codes of 0, 6 and 17
    assert counts(CicIomt2024(part="train").load(tmp_path, rng())) == {"DDoS": 4, "MQTT": 4, "Spoofing": 4}


def test_ciciomt2024_merged_sample(tmp_path: Path) -> None:
    cic_merged(tmp_path)
    read = CicIomt2024(labels="19class").load(tmp_path, rng())
    assert counts(read) == {"Benign": 3, "TCP_IP-DoS-ICMP": 3, "MQTT-Malformed_Data": 3}
    assert len(CLASSES) == 19
    assert np.isnan(column(read, "Rate")).sum() == 1
    assert "Rate: 1 infinite value(s) read as missing" in read.notes
    assert counts(CicIomt2024(labels="binary").load(tmp_path, rng())) == {"Benign": 3, "Attack": 6}


def test_ciciomt2024_keep_is_loud_and_changes_the_schema(tmp_path: Path) -> None:
    cic_merged(tmp_path)
    usual, kept = (CicIomt2024(keep=k).load(tmp_path, rng()) for k in ((), ("Number",)))
    assert kept.schema.id != usual.schema.id
    assert "Number" not in {d.column for d in kept.dropped}
    assert any(note.startswith("WARNING: column 'Number'") for note in kept.notes)
    with pytest.raises(UsageError, match="no column 'Weight'"):
        CicIomt2024(keep=("Weight",)).load(tmp_path, rng())


def test_ciciomt2024_v1(tmp_path: Path) -> None:
    cic_v1(tmp_path)
    cic_v2(tmp_path / "new")
    read = CicIomt2024(version="v1").load(tmp_path, rng())
    assert counts(read) == {"Benign": 5, "DDoS": 3}
    assert {"IAT", "Number", "Weight", "Drate"} <= {d.column for d in read.dropped}
    assert len(read.schema.columns) == 34


def test_wustl(tmp_path: Path) -> None:
    path = wustl(tmp_path)
    read = WustlEhms().load(tmp_path, rng())
    assert counts(read) == {"Normal": 10, "Attack": 20}
    assert read.time is not None
    assert (np.diff(read.time) > 0).all()
    assert {"SrcMac", "Sport", "Packet_num", "Flgs"} <= {d.column for d in read.dropped}
    assert any("Sport: 1 row(s)" in note for note in read.notes)
    three = WustlEhms(labels="3class", flags=True).load(path, rng())
    assert counts(three) == {"Normal": 10, "Spoofing": 10, "Data Alteration": 10}
    assert (column(three, "Flgs")[20:] == 3).all()
    assert any("WARNING: column 'Flgs'" in note for note in three.notes)


def test_wustl_older_file_without_categories(tmp_path: Path) -> None:
    text = wustl(tmp_path).read_text().splitlines()
    older = tmp_path / "old" / "wustl-ehms-2020.csv"
    older.parent.mkdir()
    cut = [",".join([*line.split(",")[:-2], line.split(",")[-1]]) for line in text]
    older.write_text("\n".join(cut) + "\n")
    assert len(WustlEhms().load(older.parent, rng())) == 30
    with pytest.raises(DataError, match=r'set labels = "binary"'):
        WustlEhms(labels="3class").load(older.parent, rng())


def test_iot23_zeek_form(tmp_path: Path) -> None:
    zeek(tmp_path)
    read = Iot23(labels="family").load(tmp_path, rng())
    assert read.groups == ("CTU-Honeypot-Capture-4-1", "CTU-IoT-Malware-Capture-8-1", "CTU-IoT-Malware-Capture-34-1")
    assert counts(read) == {"Benign": 6, "C&C": 6, "PortScan": 6}
    assert np.bincount(read.group).tolist() == [6, 6, 6]
    assert (column(read, "history S") == 1).all()
    assert sorted(set(column(read, "history d").tolist())) == [0, 1]
    assert np.isnan(column(read, "duration")).sum() == 9
    assert read.time is not None
    assert read.time[0] == 1540469300.5
    assert set(ZEEK) - {c.name for c in read.schema.columns} - {"label", "detailed-label"} == {
        d.column for d in read.dropped
    }


def test_iot23_csv_form_archive_and_folder_agree(tmp_path: Path) -> None:
    iot23_csv(tmp_path / "folder")
    pack(tmp_path / "folder" / "iot-23", "iot-23.tar.xz").rename(tmp_path / "iot-23.tar.xz")
    archive = tmp_path / "alone"
    archive.mkdir()
    (tmp_path / "iot-23.tar.xz").rename(archive / "iot-23.tar.xz")
    one, two = (Iot23().load(where, rng()) for where in (tmp_path / "folder", archive))
    np.testing.assert_array_equal(one.x, two.x)
    assert one.groups == two.groups == ("CTU-Honeypot-Capture-4-1", "CTU-Malware-Capture-34-1")
    assert counts(one) == {"Benign": 4, "Malicious": 8}
    distinct = Iot23(deduplicate=True).load(archive, rng())
    assert counts(distinct) == {"Benign": 4, "Malicious": 4}
    assert distinct.notes[-1] == "deduplicate: 4 repeated row(s) left out"
    assert one.schema.id == two.schema.id == iot23.SCHEMA.id


def test_ton_iot(tmp_path: Path) -> None:
    ton(tmp_path)
    fridge = TonIot(labels="type").load(tmp_path, rng())
    assert counts(fridge) == {"normal": 3, "ddos": 3}
    assert column(fridge, "temp_condition").tolist() == [1, 0, 1, 0, 1, 0]
    assert [d.column for d in fridge.dropped] == ["ts", "date", "time"]
    assert fridge.groups == ("Fridge",)
    assert fridge.time is not None
    assert fridge.time[1] == 1556245181
    weather = TonIot(device="Weather").load(tmp_path, rng())
    assert weather.time is not None
    assert np.diff(weather.time).tolist() == [86400, 86400]
    with pytest.raises(DataError, match="no TON_IoT telemetry of Modbus"):
        TonIot(device="Modbus").load(tmp_path, rng())


def test_ton_iot_network(tmp_path: Path) -> None:
    ton_network(tmp_path)
    read = TonIot(device="Network", labels="type").load(tmp_path, rng())
    assert counts(read) == {"backdoor": 4}
    assert "src_bytes: 1 value(s) that are no number read as missing" in read.notes
    assert column(read, "dns_RD").tolist() == [1, 1, 1, 1]
    assert np.isnan(column(read, "dns_RA")).all()
    assert {"src_ip", "dns_query", "http_uri"} <= {d.column for d in read.dropped}


@pytest.mark.parametrize("layout", [nbaiot_uci, nbaiot_kaggle])
def test_nbaiot(tmp_path: Path, layout: object) -> None:
    layout(tmp_path)  # type: ignore[operator]
    read = NBaIot(labels="3class").load(tmp_path, rng())
    assert counts(read) == {"benign": 5 if layout is nbaiot_uci else 4, "gafgyt": 2, "mirai": 3}
    devices = {read.groups[g] for g in read.group}
    if layout is nbaiot_uci:
        assert devices == {"Danmini_Doorbell", "Ennio_Doorbell"}
    else:
        assert devices == {nbaiot.DEVICES[0], nbaiot.DEVICES[2], nbaiot.DEVICES[8]}
    assert read.x.shape[1] == 115


def test_nbaiot_of_an_unknown_device_is_refused(tmp_path: Path) -> None:
    table(tmp_path / "Toaster/benign_traffic.csv", nbaiot_rows(2))
    with pytest.raises(DataError, match="names no device"):
        NBaIot().load(tmp_path, rng())


def test_xiomt(tmp_path: Path) -> None:
    xiomt_files(tmp_path)
    read = XIomt(labels="layer").load(tmp_path, rng())
    assert counts(read) == {"Normal": 2, "Application": 2, "Network": 3}
    assert column(read, "mqtt.hdrflags").tolist() == [48] * 4 + [1] * 3
    assert column(read, "http.request.method").tolist() == [0] * 4 + [1] * 3
    assert read.time is not None
    assert read.time[0] == 1749723920.575462
    assert {"Temperature", "frame.time"} <= {d.column for d in read.dropped}
    kept = XIomt(telemetry=True).load(tmp_path, rng())
    assert np.isnan(column(kept, "Temperature")).sum() == 5  # two unset, and a file without the column
    assert kept.notes[0].startswith("WARNING")


def test_edge_iiotset(tmp_path: Path) -> None:
    edge(tmp_path)
    read = EdgeIiotset().load(tmp_path, rng())
    assert counts(read) == {"Normal": 3, "DDoS": 2, "MITM": 1}
    assert "dns.qry.name.len: 1 value(s) that are no number read as missing" in read.notes
    assert column(read, "http.request.method").tolist() == [0, 1, 0, 0, 1, 0]
    assert {"tcp.payload", "ip.src_host"} <= {d.column for d in read.dropped}
    assert counts(EdgeIiotset(labels="15class").load(tmp_path, rng())) == {"Normal": 3, "DDoS_UDP": 2, "MITM": 1}


@pytest.mark.parametrize("source", list(SOURCES))
def test_nothing_found_says_where_it_looked(tmp_path: Path, source: str) -> None:
    if source in ("hospital", "lab"):
        pytest.skip("the generator needs no file")
    said = r"site\.db is not there" if source == "site" else r"looked for: .*\n?.*WARDROUND_DATA"
    with pytest.raises(DataError, match=said):
        SOURCES[source]().load(tmp_path, rng())
    if source == "site":
        return  # one file that watch makes, not a folder of downloads
    with pytest.raises(DataError, match="no such folder"):
        SOURCES[source]().load(tmp_path / "absent", rng())


def test_a_negative_max_rows_is_refused(tmp_path: Path) -> None:
    wustl(tmp_path)
    with pytest.raises(UsageError, match="max_rows = -1"):
        WustlEhms(max_rows=-1).load(tmp_path, rng())


def test_max_rows_is_a_seeded_sample_per_class_and_file_in_order(tmp_path: Path) -> None:
    wustl(tmp_path)
    source = WustlEhms(labels="3class", max_rows=4)
    one, same, other = (source.load(tmp_path, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert counts(one) == {"Normal": 4, "Spoofing": 4, "Data Alteration": 4}
    np.testing.assert_array_equal(one.x, same.x)
    assert not np.array_equal(one.x, other.x)
    assert one.time is not None
    assert (np.diff(one.time) > 0).all()
    assert "max_rows = 4: 18 row(s) left out by a seeded sample per class and file" in one.notes
