"""Builders for tests: small hand-made copies of every data set in its owner's layout; the folder of the real ones."""

from __future__ import annotations

import csv
import gzip
import io
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from wardround.drivers.sources import ciciomt2024, edge_iiotset, nbaiot, wustl_ehms, xiomt
from wardround.traffic.ciciomt import V2

Write = Callable[[Path], Path]
"""Writes a data set below a folder; answers the first of its files."""


def table(path: Path, rows: Sequence[Mapping[str, object]], *, end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    data = out.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def cic_row(columns: tuple[str, ...], i: int, **other: object) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(columns, i % 3 / 2)
    return {**row, "Protocol Type": (6, 17, 0)[i % 3], "Rate": 100.5 + i, **other}


def cic_v2(folder: Path) -> Path:
    names = (
        "Benign_test",
        "TCP_IP-DDoS-UDP1_train",
        "TCP_IP-DoS-SYN_test",
        "Recon-Port_Scan_test",
        "ARP_Spoofing_train",
    )
    files = [
        table(
            folder / f"WiFi_and_MQTT/{name.rsplit('_', 1)[1]}/{name}.pcap.csv",
            [cic_row(V2, i) for i in range(4)],
        )
        for name in (*names, "MQTT-DDoS-Connect_Flood_train")
    ]
    return files[0]


def cic_merged(folder: Path) -> Path:
    classes = ("Benign", "TCP_IP-DoS-ICMP", "MQTT-Malformed_Data")
    rows = [
        cic_row(V2, i, attack_type=f"WiFi_and_MQTT_test_{classes[i % 3]}_test.pcap", Rate="inf" if i == 4 else i)
        for i in range(9)
    ]
    return table(folder / "ciciomt2024/v2_39feat/merged_sample.csv.gz", rows)


def cic_v1(folder: Path) -> Path:
    here = folder / "WiFI_and_MQTT/attacks/CSV"
    table(here / "test/TCP_IP-DDoS-ICMP8_test.pcap.csv", [cic_row(ciciomt2024.V1, i) for i in range(3)])
    return table(here / "train/Benign_train.pcap.csv", [cic_row(ciciomt2024.V1, i) for i in range(5)])


def wustl(folder: Path) -> Path:
    rows: list[dict[str, object]] = []
    for i in range(30):
        kind = ("normal", "Spoofing", "Data Alteration")[i // 10]
        row: dict[str, object] = dict.fromkeys(wustl_ehms.NUMERIC, i + 0.5)
        rows.append(
            {
                "Dir": "   ->",
                "Flgs": " M        " if kind == "Data Alteration" else " e        ",
                "SrcAddr": "10.0.1.172",
                "DstAddr": "10.0.1.150",
                "Sport": "fido" if i == 3 else 50000 + i,
                "Dport": 1111,
                "SrcGap": 0,
                "DstGap": 0,
                "DIntPktAct": 0,
                "dMinPktSz": 60,
                "Trans": 1,
                "Packet_num": i,
                "SrcMac": "aa" if kind == "normal" else "bb",
                "DstMac": "cc",
                **row,
                "Attack Category": kind,
                "Label": int(kind != "normal"),
            }
        )
    return table(folder / "wustl-ehms-2020_with_attacks_categories.csv", rows, end="\r\n")


ZEEK = [
    "ts",
    "uid",
    "id.orig_h",
    "id.orig_p",
    "id.resp_h",
    "id.resp_p",
    "proto",
    "service",
    "duration",
    "orig_bytes",
    "resp_bytes",
    "conn_state",
    "local_orig",
    "local_resp",
    "missed_bytes",
    "history",
    "orig_pkts",
    "orig_ip_bytes",
    "resp_pkts",
    "resp_ip_bytes",
    "tunnel_parents",
    "label",
    "detailed-label",
]


def flow(i: int, label: str, detail: str) -> list[str]:
    known = ["0.25", "48", "76"] if i % 2 else ["-", "-", "-"]
    return [
        *(f"{1540469300 + i}.5", f"C{i}", "192.168.1.2", "5000", "8.8.8.8", "53", "udp" if i % 3 else "tcp"),
        *(
            "dns" if i % 2 else "-",
            *known,
            "SF" if i % 2 else "S0",
            "-",
            "-",
            "0",
            "ShADad" if i % 2 else "S",
            "3",
            "180",
        ),
        *("1", "76", "(empty)", label, detail),
    ]


def zeek(folder: Path) -> Path:
    for capture, label, detail in (
        ("CTU-IoT-Malware-Capture-34-1", "Malicious", "PartOfAHorizontalPortScan"),
        ("CTU-IoT-Malware-Capture-8-1", "Malicious", "C&C-HeartBeat"),
        ("CTU-Honeypot-Capture-4-1", "benign", "-"),
    ):
        fields = "\t".join([*ZEEK[:-3], "   ".join(ZEEK[-3:])])
        lines = ["#separator \\x09", "#path\tconn", "#fields\t" + fields, "#types\ttime\tstring"]
        for i in range(6):
            *first, tunnel, said, more = flow(i, label, detail)
            lines.append("\t".join([*first, f"{tunnel}   {said}   {more}"]))
        path = folder / capture / "bro/conn.log.labeled"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join([*lines, "#close\t2019-01-01-00-00-00", ""]))
    return path


def iot23_csv(folder: Path) -> Path:
    rows = [dict(zip(ZEEK, flow(i % 4, "Malicious", "DDoS"), strict=True)) for i in range(8)]
    table(folder / "iot-23/CTU-Malware-Capture-34-1-labeled.csv", rows)
    benign = [dict(zip(ZEEK, flow(i, "Benign", "-"), strict=True)) for i in range(4)]
    return table(folder / "iot-23/CTU-Honeypot-Capture-4-1-labeled.csv", benign)


def ton(folder: Path) -> Path:
    here = folder / "Train_Test_datasets/Train_Test_IoT_dataset"
    fridge = [
        {"ts": 1556245180 + i, "date": "25-Apr-19", "time": " 19:19:40 ", "fridge_temperature": 9.25 + i}
        | {"temp_condition": ("high", "low  ")[i % 2], "label": i % 2, "type": ("normal", "ddos")[i % 2]}
        for i in range(6)
    ]
    path = table(here / "Train_Test_IoT_Fridge.csv", fridge)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    weather = [
        {
            "date": f"{2 + i}-Apr-19",
            "time": "8:59:02",
            "temperature": 40.5,
            "pressure": -0.1,
            "humidity": 38,
            "label": 0,
        }
        | {"type": "normal"}
        for i in range(3)
    ]
    table(here / "Train_Test_IoT_Weather.csv", weather, end="\r\n")
    return path


def ton_network(folder: Path) -> Path:
    rows = [
        {"src_ip": "1.2.3.4", "src_port": 4444, "dst_ip": "3.2.1.1", "dst_port": 49178, "proto": "tcp", "service": "-"}
        | {"duration": 290.37, "src_bytes": "0.0.0.0" if i == 2 else 101568, "dst_bytes": 2592, "conn_state": "OTH"}
        | dict.fromkeys(("missed_bytes", "src_pkts", "src_ip_bytes", "dst_pkts", "dst_ip_bytes"), 108)
        | {"dns_query": "-", "dns_AA": "F", "dns_RD": "T", "dns_RA": "-", "dns_rejected": "-", "ssl_resumed": "-"}
        | {"ssl_established": "-", "http_request_body_len": 0, "http_response_body_len": 0, "http_uri": "-"}
        | {"label": 1, "type": "backdoor"}
        for i in range(4)
    ]
    return table(folder / "Train_Test_Network_dataset/train_test_network.csv", rows)


def nbaiot_rows(n: int) -> list[dict[str, object]]:
    return [dict.fromkeys(nbaiot.FEATURES, i + 0.25) for i in range(n)]


def nbaiot_uci(folder: Path) -> Path:
    table(folder / "Danmini_Doorbell/gafgyt_attacks/combo.csv", nbaiot_rows(2))
    table(folder / "Danmini_Doorbell/mirai_attacks/udpplain.csv", nbaiot_rows(3))
    table(folder / "Ennio_Doorbell/benign_traffic.csv", nbaiot_rows(1))
    return table(folder / "Danmini_Doorbell/benign_traffic.csv", nbaiot_rows(4))


def nbaiot_kaggle(folder: Path) -> Path:
    table(folder / "3.gafgyt.scan.csv", nbaiot_rows(2))
    table(folder / "9.mirai.ack.csv", nbaiot_rows(3))
    return table(folder / "1.benign.csv", nbaiot_rows(4))


def xiomt_files(folder: Path) -> Path:
    plain = dict.fromkeys((*xiomt.FLAGS, *xiomt.NUMERIC, *xiomt.LOOSE), 1)
    names = {"frame.time": 1749723920575462, "ip.src_host": "10.42.0.149", "http.request.method": "0.0"}
    clinical = [
        names
        | plain
        | {"mqtt.hdrflags": "0x30", "Temperature": 39.0 if i % 2 else "", "HR": ""}
        | {
            "anomaly.layer": 3 if i % 2 else 0,
            "anomaly.name": "Clinical" if i % 2 else "Normal",
            "anomaly.label": i % 2,
        }
        for i in range(4)
    ]
    table(folder / "OriginalDataset/ApplicationAnomaliesClinical.csv", clinical)
    flood = [
        names
        | plain
        | {"http.request.method": "GET", "anomaly.layer": "2.0", "anomaly.name": "SYNFlood", "anomaly.label": "1.0"}
        for _ in range(3)
    ]
    return table(folder / "OriginalDataset/NetworkAnomaliesSYNFlood_part_001.csv", flood)


def edge(folder: Path) -> Path:
    rows = [
        {"frame.time": " 2021 11:44:10.0", "ip.src_host": "192.168.0.128"}
        | dict.fromkeys((*edge_iiotset.FLAGS, *edge_iiotset.NUMERIC), 0)
        | {"dns.qry.name.len": "_googlecast._tcp.local" if i == 1 else "0.0", "mqtt.conack.flags": "0x00000000"}
        | {"http.request.method": ("0.0", "GET", "0")[i % 3], "tcp.payload": "ab"}
        | {"Attack_label": int(i > 2), "Attack_type": "Normal" if i < 3 else "DDoS_UDP" if i < 5 else "MITM"}
        for i in range(6)
    ]
    return table(folder / "ML-EdgeIIoT-dataset.csv", rows)


def pack(folder: Path, name: str) -> Path:
    """The folder's content as an archive of that name beside it."""
    archive = folder.parent / name
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(folder, arcname=name.split(".", maxsplit=1)[0])
    return archive


def real_data() -> Path:
    """The folder of the real data sets, or a skip that says why."""
    folder = Path(os.environ.get("WARDROUND_DATA", Path(__file__).resolve().parents[4] / "shared/data"))
    if not (folder / "wustl-ehms-2020").is_dir():
        pytest.skip(f"the real data sets are not in {folder}; set WARDROUND_DATA")
    return folder
