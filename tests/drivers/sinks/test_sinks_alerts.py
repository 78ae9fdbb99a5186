"""Alerts in four formats and over every transport; what stands in them cannot forge a field, a line or a message."""

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from wardround.detect.alert import Alert, Identity
from wardround.detect.findings import Flow, Reason
from wardround.detect.incident import Count, Incident
from wardround.detect.inventory import Device
from wardround.drivers.sinks.alert_cef import cef, leef
from wardround.drivers.sinks.alert_ecs import ecs
from wardround.drivers.sinks.alert_eve import eve, line
from wardround.drivers.sinks.alert_out import FileOutput, Outputs, SyslogOutput, output
from wardround.drivers.sinks.alert_prometheus import Metrics
from wardround.drivers.sinks.alert_syslog import Syslog, Target, framed, message
from wardround.drivers.sinks.alert_tally import Tally
from wardround.errors import UsageError

AT = 1_700_000_000_123_456_000


def told(label: str = "TCP_IP-DDoS-SYN", family: str = "flood", ward: str = "ICU 2", **more: object) -> Alert:
    i = Incident(
        3,
        "02:00:00:00:00:01",
        "open",
        AT - 10**10,
        AT,
        opened=AT,
        windows=4,
        families=(Count(family, 4),),
        detectors=(Count("model", 4),),
        labels=(Count(label, 4),) if label else (),
        peers=("10.0.0.9",),
        score=7.25,
        threshold=2.5,
        p_value=0.001,
        detector="model",
        label=label,
        flow=Flow("10.0.0.1", "10.0.0.9", 443, 6, False, 2575),
        reasons=(Reason("SYN share", 0.97, 0.02, 0.08, 0.8),),
        severity=1,
    )
    device = Device("02:00:00:00:00:01", "10.0.0.1", "infusion pump", ward=ward, criticality=1)
    return Alert(AT, str(more.get("kind", "opened")), i, device, Identity("v3", "ab" * 32, 41), "gateway 1")


def test_eve_has_suricatas_shape_and_our_facts() -> None:
    record = json.loads(line(told()))
    assert record["timestamp"] == "2023-11-14T22:13:20.123456+0000"
    assert (record["event_type"], record["src_ip"], record["dest_ip"]) == ("alert", "10.0.0.9", "10.0.0.1")
    assert (record["src_port"], record["dest_port"], record["proto"]) == (443, 2575, "TCP")
    assert record["community_id"].startswith("1:")
    assert record["alert"]["severity"] == 1
    assert record["alert"]["metadata"]["mitre_technique_id"] == ["T1498", "T1499"]
    assert record["alert"]["metadata"]["mitre_ics_technique_id"] == ["T0814"]
    ours = record["fl_ids"]
    assert (ours["round"], ours["model_version"], ours["incident_id"]) == (41, "v3", "gateway 1-I3")
    assert ours["explanation"][0]["text"] == "SYN share 0.97, usually 0.02-0.08"
    assert ours["device"] == {
        "name": "02:00:00:00:00:01",
        "address": "10.0.0.1",
        "type": "infusion pump",
        "ward": "ICU 2",
        "criticality": 1,
    }
    assert eve(told())["flow_id"] == eve(told(kind="closed"))["flow_id"]


def test_an_anomaly_has_no_technique_and_no_community_id_without_ports() -> None:
    plain = told(label="", family="anomaly")
    record = eve(plain)
    assert "mitre_technique_id" not in record["alert"]["metadata"]
    assert record["alert"]["metadata"]["attack_class"] == ["anomaly"]
    bare = Alert(AT, "opened", Incident(1, "02:00:00:00:00:09", "open", AT, AT), Device("02:00:00:00:00:09"))
    assert "community_id" not in eve(bare)
    assert "src_ip" not in eve(bare)
    assert "threat" not in ecs(plain)
    assert bare.severity == 3


def test_ecs_names_fields_as_elastic_does() -> None:
    record = ecs(told(kind="closed"))
    assert record["@timestamp"] == "2023-11-14T22:13:20.123456Z"
    assert record["event"]["category"] == ["network", "intrusion_detection"]
    assert record["event"]["type"] == ["info", "end"]
    assert record["threat"]["technique"]["id"] == ["T1498", "T1499", "T0814"]
    assert record["source"] == {"ip": "10.0.0.9", "port": 443}
    assert record["network"]["transport"] == "tcp"
    assert record["observer"]["name"] == "gateway 1"
    json.dumps(record, allow_nan=False)


def fields_of(text: str) -> dict[str, str]:
    """CEF's extension as a reader parses it: keys are words before an unescaped '='."""
    found: dict[str, str] = {}
    key = ""
    for word in text.split("|", 7)[7].split(" "):
        head, equals, rest = word.partition("=")
        if equals and not head.endswith("\\"):
            key = head
            found[key] = rest
        else:
            found[key] += " " + word
    return found


def test_cef_and_leef_hold_the_same_facts() -> None:
    text = cef(told())
    assert text.startswith("CEF:0|wardround|wardround|")
    assert text.split("|")[4:7] == ["9100000", "wardround flood: TCP_IP-DDoS-SYN", "9"]
    found = fields_of(text)
    assert (found["src"], found["dst"], found["dpt"], found["cs1"]) == (
        "10.0.0.9",
        "10.0.0.1",
        "2575",
        "02:00:00:00:00:01",
    )
    assert found["msg"] == "SYN share 0.97, usually 0.02-0.08"
    parts = leef(told()).split("|")
    assert parts[:2] == ["LEEF:2.0", "wardround"]
    assert parts[5] == "x09"
    attributes = dict(item.split("=", 1) for item in leef(told()).split("|", 6)[6].split("\t"))
    assert (attributes["srcPort"], attributes["sev"], attributes["cat"]) == ("443", "9", "flood")


@pytest.mark.parametrize("evil", ["a|b=c\\d", "x\ny=z", "t\tcat=none", "dst=1.2.3.4 src=6.6.6.6", "\u2028line"])
def test_no_value_can_forge_a_field_or_a_line(evil: str) -> None:
    alert = told(label=evil, ward=evil)
    for text in (cef(alert), leef(alert), line(alert)):
        assert len(text.splitlines()) == 1 or text == line(alert)
    assert "\n" not in line(alert)
    clean = fields_of(cef(told()))
    assert fields_of(cef(alert))["dst"] == clean["dst"]
    attributes = dict(item.split("=", 1) for item in leef(alert).split("|", 6)[6].split("\t"))
    assert attributes["cat"] == "flood"
    assert cef(alert).count("CEF:0|") == 1


def test_an_rfc_5424_message() -> None:
    data = message(told(), "text", "gate way")
    assert data.startswith(b"<129>1 2023-11-14T22:13:20.123456Z gate_way wardround ")
    assert data.endswith(b" opened - text")
    assert framed(b"abc") == b"3 abc"


@contextmanager
def collector(context: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """A TCP or TLS syslog collector of one connection."""
    server = socket.create_server(("127.0.0.1", 0))
    got: list[bytes] = []

    def serve() -> None:
        plain, _ = server.accept()
        with context.wrap_socket(plain, server_side=True) if context else plain as connection:
            while part := connection.recv(65536):
                got.append(part)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1], got
    thread.join(5)
    server.close()


def unframed(data: bytes) -> list[bytes]:
    found = []
    while data:
        length, _, rest = data.partition(b" ")
        found.append(rest[: int(length)])
        data = rest[int(length) :]
    return found


def test_tcp_counts_octets() -> None:
    with collector() as (port, got):
        out = output(f"cef+tcp://127.0.0.1:{port}")
        out.write(told())
        out.write(told(ward="Zürich\u00e9"))
        out.close()
    messages = unframed(b"".join(got))
    assert len(messages) == 2
    assert messages[1].endswith(cef(told(ward="Zürich\u00e9")).encode())
    assert out.counts == (2, 0)


def test_tls_proves_the_collector(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {key} -out {cert} -days 1 -subj /CN=localhost"
    subprocess.run([*command.split(), "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with collector(context) as (port, got):
        out = output(f"leef+tls://localhost:{port}?ca={cert}")
        out.write(told())
        out.close()
    assert unframed(b"".join(got))[0].endswith(leef(told()).encode())
    with pytest.raises(UsageError, match="CA file"):
        output("leef+tls://localhost:6514?ca=/nowhere.pem")


def test_udp_sends_one_datagram_each() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        out = output(f"eve+udp://127.0.0.1:{server.getsockname()[1]}")
        out.write(told())
        assert server.recv(65536).endswith(line(told()).encode())
        out.close()


def test_a_collector_that_is_away_stops_nothing_and_gets_what_waited() -> None:
    now = [0.0]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    syslog = Syslog(Target("tcp", "127.0.0.1", port), lambda: now[0])
    out = SyslogOutput(cef, syslog)
    for _ in range(3):
        out.write(told())
    assert (syslog.sent, syslog.waiting) == (0, 3)
    server = socket.create_server(("127.0.0.1", port))
    out.pump()
    assert syslog.sent == 0  # too early to try again
    now[0] = 2.0
    out.pump()
    assert (syslog.sent, syslog.waiting) == (3, 0)
    out.close()
    server.close()
    away = Syslog(Target("tcp", "127.0.0.1", port), lambda: now[0])
    away.send(b"x")
    away.close()
    assert away.dropped == 1


def test_files_are_appended_and_follow_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("before\n")
    out = output(f"eve:{path}")
    out.write(told())
    path.rename(tmp_path / "a.1")
    out.write(told())
    out.close()
    assert len((tmp_path / "a.1").read_text().splitlines()) == 2
    assert len(path.read_text().splitlines()) == 1
    assert path.stat().st_mode & 0o777 == 0o640
    assert isinstance(out, FileOutput)


def test_standard_output_and_all_outputs_together(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    both = Outputs([output("ecs:-"), output(f"cef:{tmp_path}/x")])
    both.write(told())
    both.pump()
    assert json.loads(capsys.readouterr().out)["event"]["kind"] == "alert"
    assert both.counts == (2, 0)
    both.close()


@pytest.mark.parametrize("text", ["eve", "xml:file", "cef+smtp://x", "eve:", "cef+tcp://", "cef+tcp://x:99999"])
def test_a_wrong_place_is_told(text: str) -> None:
    with pytest.raises(UsageError):
        output(text)
    with pytest.raises(UsageError, match="cannot be written"):
        output("eve:/nowhere/at/all.jsonl")


def test_prometheus_counts_what_was_told() -> None:
    class Stats:
        packets, dropped, malformed = 7, 1, 2

    tally = Tally(windows=5)
    tally.told(told())
    tally.model(41, AT)
    registry = CollectorRegistry()
    registry.register(Metrics(tally, Stats(), lambda: AT / 1e9 + 60))
    text = generate_latest(registry).decode()
    assert 'wardround_watch_alerts_total{family="flood",kind="opened",severity="1"} 1.0' in text
    assert "wardround_watch_packets_dropped_total 1.0" in text
    assert "wardround_watch_model_round 41.0" in text
    assert "wardround_watch_model_age_seconds 60" in text
    assert 'wardround_watch_score_bucket{le="+Inf"}' in text
