"""Suricata, Zeek and NetFlow to the same flow records: samples as the sensors write them, and garbage."""

import gzip
import json
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.drivers.sources import feeds
from wardround.drivers.sources.eve import EveReader, SensorAlert, nanoseconds
from wardround.drivers.sources.tail import Position, Tail
from wardround.drivers.sources.zeek import ZeekReader, logs
from wardround.errors import DataError, DecodeError, UsageError
from wardround.traffic import flows as fl
from wardround.traffic import netflow as nf
from wardround.traffic import packets as p
from wardround.traffic.flow import FlowFeatures
from wardround.traffic.pairing import Pairing
from wardround.traffic.services import SERVICES

EVE: dict[str, Any] = {
    "timestamp": "2012-11-12T13:22:30.581378+0000", "flow_id": 45, "event_type": "flow", "src_ip": "141.81.0.10", "src_port": 60789,
    "dest_ip": "141.81.0.86", "dest_port": 502, "proto": "TCP", "app_proto": "failed",
    "flow": {"pkts_toserver": 17, "pkts_toclient": 16, "bytes_toserver": 1052, "bytes_toclient": 1074, "start": "2012-11-12T13:22:24.773347+0000", "end": "2012-11-12T13:22:30.581378+0000", "age": 6, "state": "established", "reason": "shutdown", "alerted": False},
    "ether": {"dest_macs": ["00:04:17:02:58:b7"], "src_macs": ["78:e7:d1:e0:02:5e"]},
    "tcp": {"tcp_flags": "1b", "tcp_flags_ts": "1b", "tcp_flags_tc": "1b"},
}  # fmt: skip
ZEEK_FIELDS = [
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
]
ZEEK_ROW = [
    "1700000000.250000",
    "Cx1",
    "192.168.1.5",
    "51000",
    "192.168.1.9",
    "1883",
    "tcp",
    "mqtt",
    "2.5",
    "100",
    "20",
    "SF",
    "-",
    "-",
    "0",
    "ShADadFf",
    "6",
    "420",
    "5",
    "290",
    "(empty)",
]


def zeek_log(*rows: list[str], fields: list[str] = ZEEK_FIELDS) -> list[bytes]:
    head = [
        "#separator \\x09",
        "#set_separator\t,",
        "#unset_field\t-",
        "#path\tconn",
        "\t".join(["#fields", *fields]),
        "#types\ttime",
    ]
    return [line.encode() for line in [*head, *("\t".join(row) for row in rows), "#close\t2023-11-14"]]


def one(flows: fl.Flows, i: int = 0) -> dict[str, Any]:
    return {name: getattr(flows, name)[i].tolist() for name in fl.COLUMNS}


def test_eve_flow() -> None:
    found = EveReader().read([json.dumps(EVE).encode(), b"", b'{"event_type": "stats"}'])
    assert len(found) == 1
    row = one(found)
    assert row["start"] == 1352726544773347000
    assert row["end"] == row["reported"] == 1352726550581378000
    assert (row["packets_out"], row["packets_in"], row["bytes_out"], row["bytes_in"]) == (17, 16, 1052, 1074)
    assert p.address_text(*row["source"]) == "141.81.0.10"
    assert p.mac_text(row["target_mac"]) == "00:04:17:02:58:b7"
    assert SERVICES[row["service"]] == "modbus"
    assert fl.STATES[row["state"]] == "closed"
    assert not found.layer2


@pytest.mark.parametrize(
    ("flags_out", "flags_in", "answers", "state"),
    [("02", "00", 0, "attempt"), ("02", "14", 1, "rejected"), ("1e", "12", 3, "reset"), ("1a", "1a", 3, "established")],
)
def test_eve_states(flags_out: str, flags_in: str, answers: int, state: str) -> None:
    event = EVE | {
        "flow": EVE["flow"] | {"pkts_toclient": answers},
        "tcp": {"tcp_flags_ts": flags_out, "tcp_flags_tc": flags_in},
    }
    assert fl.STATES[EveReader().read([json.dumps(event).encode()]).state[0]] == state


def test_eve_arp_is_seen_and_alerts_are_passed_on() -> None:
    arp = {
        "timestamp": EVE["timestamp"],
        "event_type": "arp",
        "arp": {
            "src_ip": "10.0.0.1",
            "dest_ip": "10.0.0.2",
            "src_mac": "02:00:00:00:00:01",
            "dest_mac": "02:00:00:00:00:02",
            "opcode": "reply",
        },
    }
    alert = EVE | {
        "event_type": "alert",
        "alert": {"signature_id": 7, "signature": "x", "category": "y", "severity": 1},
        "payload": "secret",
    }
    seen: list[SensorAlert] = []
    found = EveReader(seen.append).read([json.dumps(arp).encode(), json.dumps(alert).encode()])
    assert found.layer2
    assert found.protocol.tolist() == [0]
    assert [
        (p.address_text(*a), p.mac_text(m))
        for a, m in zip(found.claims.address.tolist(), found.claims.mac.tolist(), strict=True)
    ] == [("10.0.0.1", "02:00:00:00:00:01")]
    assert seen == [SensorAlert(1352726550581378000, "141.81.0.10", "141.81.0.86", 7, "x", "y", 1)]


def test_times() -> None:
    assert (
        nanoseconds("2012-11-12T14:22:30.581378+0100")
        == nanoseconds("2012-11-12T13:22:30.581378+00:00")
        == 1352726550581378000
    )
    assert nanoseconds("1970-01-01T00:00:01Z") == 10**9


def test_zeek_tsv_and_json_say_the_same() -> None:
    tsv = ZeekReader().read(zeek_log(ZEEK_ROW))
    said: dict[str, Any] = dict(zip(ZEEK_FIELDS, ZEEK_ROW, strict=True))
    numbers = ("ts", "duration", "id.orig_p", "id.resp_p", "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes")
    said = {k: json.loads(v) if k in numbers else v for k, v in said.items() if v not in ("-", "(empty)")}
    as_json = ZeekReader().read([json.dumps(said).encode()])
    assert one(tsv) == one(as_json)
    row = one(tsv)
    assert (row["start"], row["end"]) == (1700000000250000000, 1700000002750000000)
    assert (row["packets_out"], row["bytes_in"], fl.STATES[row["state"]], SERVICES[row["service"]]) == (
        6,
        290,
        "closed",
        "mqtt",
    )


def test_zeek_labels_of_iot_23() -> None:
    fields = [*ZEEK_FIELDS[:-1], "tunnel_parents   label   detailed-label"]
    rows = [
        [*ZEEK_ROW[:-1], f"-   {words}"]
        for words in ("Benign   -", "Malicious   PartOfAHorizontalPortScan", "malicious  C&C")
    ]
    reader = ZeekReader({"benign": 0, "malicious": 1})
    assert reader.read(zeek_log(*rows, fields=fields)).label.tolist() == [0, 1, 1]
    assert reader.malformed == 0


def test_zeek_records_are_reported_in_order() -> None:
    later = ["1699999990.5", *ZEEK_ROW[1:8], "-", *ZEEK_ROW[9:]]
    found = ZeekReader().read(zeek_log(ZEEK_ROW, later))
    assert found.reported.tolist() == [1700000002750000000] * 2
    assert found.end.tolist() == [1700000002750000000, 1699999990500000000]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([json.dumps(EVE).encode(), b'{"event_type":"flow"}', b"[]", b"null", *zeek_log(ZEEK_ROW)]).map(lambda b: b[:-3]), st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda c: st.dictionaries(st.sampled_from(["event_type", "flow", "src_ip", "ts", "proto", "id.orig_h", "tcp"]), c)).map(lambda x: json.dumps(x).encode())), max_size=8))  # fmt: skip
def test_any_lines_are_read_or_counted(lines: list[bytes]) -> None:
    for reader in (EveReader(), ZeekReader(fields=tuple(ZEEK_FIELDS))):
        assert len(reader.read(lines)) + reader.malformed <= len(lines)


def template(
    number: int = 300,
    fields: tuple[tuple[int, int], ...] = (
        (8, 4),
        (12, 4),
        (7, 2),
        (11, 2),
        (4, 1),
        (6, 1),
        (2, 4),
        (1, 4),
        (22, 4),
        (21, 4),
    ),
) -> bytes:
    return struct.pack(">HH", number, len(fields)) + b"".join(struct.pack(">HH", *f) for f in fields)


def record(
    source: str = "10.0.0.1",
    target: str = "10.0.0.2",
    source_port: int = 40000,
    target_port: int = 80,
    flags: int = 0x1B,
    start: int = 1000,
) -> bytes:
    return (
        socket.inet_aton(source)
        + socket.inet_aton(target)
        + struct.pack(">HHBBIIII", source_port, target_port, 6, flags, 5, 500, start, start + 50)
    )


def version_9(*sets: tuple[int, bytes], seconds: int = 1_700_000_000, uptime: int = 5000) -> bytes:
    body = b"".join(struct.pack(">HH", kind, 4 + len(data)) + data for kind, data in sets)
    return struct.pack(">HHIIII", 9, len(sets), uptime, seconds, 1, 7) + body


def test_netflow_9_against_the_reference_decoder() -> None:
    reference = pytest.importorskip("netflow")
    datagram = version_9((0, template()), (300, record() + record(source_port=41000)))
    found = nf.decode(nf.Collector(), datagram, "x")
    wanted = [flow.data for flow in reference.parse_packet(datagram, {"netflow": {}, "ipfix": {}}).flows]
    assert len(found) == len(wanted) == 2
    for i, flow in enumerate(wanted):
        assert p.address_text(*found.source[i].tolist()) == flow["IPV4_SRC_ADDR"]
        assert found.source_port[i] == flow["L4_SRC_PORT"]
        assert found.packets_out[i] == flow["IN_PKTS"]
        assert found.bytes_out[i] == flow["IN_BYTES"]
        assert found.start[i] == (1_700_000_000_000 - 5000 + flow["FIRST_SWITCHED"]) * 10**6


def test_ipfix_with_reduced_sizes_variable_lengths_and_both_directions() -> None:
    reverse = struct.pack(">HHI", 0x8000 | 2, 2, 29305)
    fields = [struct.pack(">HH", *f) for f in ((27, 16), (28, 16), (371, 0xFFFF), (7, 2), (11, 2), (4, 1), (2, 3))] + [
        reverse,
        struct.pack(">HH", 152, 8),
        struct.pack(">HH", 153, 8),
    ]
    learn = struct.pack(">HH", 400, len(fields)) + b"".join(fields)
    data = b"".join(
        bytes(15)
        + bytes([i])
        + bytes(15)
        + b"\x09"
        + bytes([len(name)])
        + name
        + struct.pack(">HHB", 5000 + i, 53, 17)
        + b"\x00\x00\x07"
        + struct.pack(">HQQ", 3, 1_700_000_000_123, 1_700_000_000_456)
        for i, name in enumerate([b"", b"abc"], 1)
    )
    sets = b"".join(struct.pack(">HH", kind, 4 + len(body)) + body for kind, body in ((2, learn), (400, data)))
    found = nf.decode(nf.Collector(), struct.pack(">HHIII", 10, 16 + len(sets), 1_700_000_001, 1, 1) + sets, "x")
    assert found.source_port.tolist() == [5001, 5002]
    assert (found.packets_out.tolist(), found.packets_in.tolist()) == ([7, 7], [3, 3])
    assert found.start.tolist() == [1_700_000_000_123_000_000] * 2
    assert set(found.state.tolist()) == {fl.ESTABLISHED}


def test_netflow_5() -> None:
    entry = (
        socket.inet_aton("10.0.0.1")
        + socket.inet_aton("10.0.0.2")
        + bytes(8)
        + struct.pack(">IIIIHHBBBB", 4, 400, 1000, 2000, 40000, 80, 0, 2, 6, 0)
        + bytes(8)
    )
    found = nf.decode(nf.Collector(), struct.pack(">HHIIIIBBH", 5, 1, 5000, 1_700_000_000, 0, 1, 0, 0, 0) + entry, "x")
    assert (found.packets_out[0], found.target_port[0], fl.STATES[found.state[0]]) == (4, 80, "attempt")
    assert found.end[0] == 1_699_999_997 * 10**9


def test_data_before_its_template_waits_within_bounds() -> None:
    collector = nf.Collector()
    assert len(nf.decode(collector, version_9((300, record())), "x")) == 0
    assert len(nf.decode(collector, version_9((0, template())), "y")) == 0, "another exporter's template is another's"
    assert len(nf.decode(collector, version_9((0, template())), "x")) == 1
    for i in range(nf.MOST_WAITING + 10):
        nf.decode(collector, version_9((1000 + i, record())), "x")
    assert (len(collector.waiting), collector.lost) == (nf.MOST_WAITING, 10)
    for i in range(nf.MOST_TEMPLATES + 10):
        nf.decode(collector, version_9((0, template())), str(i))
    assert len(collector.templates) == nf.MOST_TEMPLATES


@pytest.mark.parametrize("datagram", [b"", b"\x00\x09" + bytes(10), struct.pack(">HHIIII", 9, 1, 1, 1, 1, 1) + struct.pack(">HH", 0, 0) + bytes(4), struct.pack(">HHIII", 10, 24, 1, 1, 1) + struct.pack(">HH", 2, 0) + bytes(4), struct.pack(">H", 7) + bytes(40)])  # fmt: skip
def test_a_message_that_lies_is_refused(datagram: bytes) -> None:
    with pytest.raises(DecodeError):
        nf.decode(nf.Collector(), datagram, "x")


@settings(deadline=None, max_examples=150)
@given(st.one_of(st.binary(max_size=120), st.tuples(st.sampled_from([9, 10]), st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 300, 301]), st.one_of(st.binary(max_size=60), st.just(template()), st.just(record()))), max_size=5)).map(lambda v: version_9(*v[1]) if v[0] == 9 else struct.pack(">HHIII", 10, 9999, 1, 1, 1) + version_9(*v[1])[20:])), st.data())  # fmt: skip
def test_any_datagram_is_decoded_or_refused(datagram: bytes, data: st.DataObject) -> None:
    collector = nf.Collector()
    nf.decode(collector, version_9((0, template())), "x")
    cut = data.draw(st.integers(0, len(datagram)))
    for part in (datagram, datagram[:cut]):
        try:
            found = nf.decode(collector, part, "x")
        except DecodeError:
            continue
        assert np.all(found.end >= found.start)


def test_two_directions_become_one_record() -> None:
    collector = nf.Collector()
    nf.decode(collector, version_9((0, template())), "x")
    there, back = record(start=1000), record("10.0.0.2", "10.0.0.1", 80, 40000, start=1010)
    alone = record(source_port=41111, flags=2)
    flows = nf.decode(collector, version_9((300, back + alone + there)), "x")
    pairing, now = Pairing(), 1_700_000_000 * 10**9
    pairs = pairing.update(flows, now)
    assert (pairs.source_port.tolist(), pairs.packets_out.tolist(), pairs.packets_in.tolist()) == ([40000], [5], [5])
    assert len(pairing.update(fl.blank(0), now + 10 * 10**9)) == 0
    late = pairing.update(fl.blank(0), now + 16 * 10**9)
    assert (late.source_port.tolist(), fl.STATES[late.state[0]]) == ([41111], "attempt")
    assert len(pairing.flush(now)) == 0


def test_a_log_is_followed_through_rotation(tmp_path: Path) -> None:
    path = tmp_path / "eve.json"
    seen: list[list[bytes]] = []

    def write() -> None:
        step = len(seen)
        if step == 1:
            path.write_bytes(b"one\ntwo\nth")
        elif step == 2:
            with path.open("ab") as more:
                more.write(b"ree\n")
            path.rename(tmp_path / "eve.json.1")
        elif step == 4:
            path.write_bytes(b"four\n")

    tail = Tail(path, follow=True, stop=lambda: b"four" in [x for lines in seen for x in lines], pause=lambda _: None)
    for lines in tail:
        seen.append(lines)
        write()
        assert len(seen) < 50
    assert [line for lines in seen for line in lines] == [b"one", b"two", b"three", b"four"]


def test_a_reader_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "conn.log"
    path.write_bytes(b"a\nb\n")
    first = Tail(path)
    assert [line for lines in first for line in lines] == [b"a", b"b"]
    with path.open("ab") as more:
        more.write(b"c\n")
    again = Tail(path, position=first.position)
    assert [line for lines in again for line in lines] == [b"c"]
    other = Tail(path, position=Position(inode=first.position.inode + 1, offset=2))
    assert [line for lines in other for line in lines] == [b"a", b"b", b"c"]


def test_feeds_of_logs_give_windows(tmp_path: Path) -> None:
    (tmp_path / "eve.json").write_text(json.dumps(EVE) + "\nnonsense\n")
    feed = feeds.eve(tmp_path / "eve.json", FlowFeatures())
    rows = [windows for windows in feed if len(windows)]
    assert rows[-1].devices == ("00:04:17:02:58:b7", "78:e7:d1:e0:02:5e")
    assert (feed.stats.packets, feed.stats.malformed) == (1, 1)
    (tmp_path / "conn.2023-11-14.log.gz").write_bytes(gzip.compress(b"\n".join(zeek_log(ZEEK_ROW))))
    (tmp_path / "conn.log").write_bytes(b"\n".join(zeek_log(["1700000100.0", *ZEEK_ROW[1:]])))
    assert [path.name for path in logs(tmp_path)] == ["conn.2023-11-14.log.gz", "conn.log"]
    starts = [int(windows.start[0]) for windows in feeds.zeek(tmp_path, FlowFeatures()) if len(windows)]
    assert starts == [1_700_000_000 * 10**9, 1_700_000_100 * 10**9]


def test_missing_logs_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no conn\.log here"):
        list(feeds.zeek(tmp_path, FlowFeatures()))
    with pytest.raises(DataError, match="no such file"):
        list(feeds.eve(tmp_path / "x", FlowFeatures()))


def test_netflow_arrives_over_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = threading.Event()
    feed = feeds.netflow(("127.0.0.1", port), FlowFeatures(), done.is_set)
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as exporter:
        for windows in feed:
            exporter.sendto(
                version_9((0, template()), (300, record() + record("10.0.0.2", "10.0.0.1", 80, 40000))),
                ("127.0.0.1", port),
            )
            exporter.sendto(b"nonsense", ("127.0.0.1", port))
            found.append(windows)
            if feed.stats.packets >= 2:
                done.set()
    assert feed.stats.malformed > 0
    assert {windows.name(i) for windows in found for i in range(len(windows))} == {"10.0.0.1", "10.0.0.2"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UsageError, match="cannot listen"):
            list(feeds.netflow(taken.getsockname(), FlowFeatures()))
