"""From packets to alerts, on real files: incidents, the store, verdicts, restarts, models; and no patient data anywhere."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from live_captures import PATIENT, START_S  # type: ignore[import-not-found]
from typer.testing import CliRunner

from wardround.cli.everything import app
from wardround.detect.detector import Budget
from wardround.drivers.live import feeding
from wardround.drivers.live.feeding import Choice
from wardround.drivers.live.session import Outcome, Session, run
from wardround.drivers.sources.site import SiteWindows
from wardround.drivers.store import knowledge
from wardround.drivers.store.site import SiteStore
from wardround.drivers.store.site_rows import Retention, Verdict
from wardround.errors import DataError, UsageError
from wardround.events import ignore
from wardround.rng import stream
from wardround.traffic.pkt import PacketFeatures
from wardround.traffic.scaling import Quantile
from wardround.training.bundle import Bundle, to_safetensors
from wardround.training.models import Mlp

EVERYWHERE = ("eve:{0}/alerts.jsonl", "ecs:{0}/ecs.jsonl", "cef:{0}/alerts.cef", "leef:{0}/alerts.leef")


def watched(capture: Path, site: Path, alerts: tuple[str, ...] = EVERYWHERE, policy: Path | None = None) -> Outcome:
    site.mkdir(exist_ok=True)
    return run(Session(Choice(capture), site, "icu", [a.format(site) for a in alerts], policy), ignore)


def told(site: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for line in (site / "alerts.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, calm_capture: Path, attacked_capture: Path) -> Path:
    """A site that has seen half an hour of quiet, calibrated, then the attacks."""
    folder = tmp_path_factory.mktemp("site")
    watched(calm_capture, folder)
    store = SiteStore(folder)
    found = knowledge.calibrate(store, Budget(), 0)
    assert found.alarms[""].n == found.benign
    assert sum(rate.n for type_, rate in found.alarms.items() if type_) == found.benign
    store.close()
    watched(attacked_capture, folder)
    return folder


def test_quiet_traffic_gives_no_incident(calm_capture: Path, tmp_path: Path) -> None:
    outcome = watched(calm_capture, tmp_path / "s")
    assert outcome.incidents == {}
    assert outcome.windows > 3 * 300
    assert outcome.days == pytest.approx(3 * 1800 / 86400, rel=0.05)


def test_a_flood_is_one_incident_of_its_victim_and_an_arp_conflict_one_of_the_claimant(site: Path) -> None:
    opened = [r for r in told(site) if r["fl_ids"]["kind"] == "opened"]
    closed = [r for r in told(site) if r["fl_ids"]["kind"] == "closed"]
    by_device = {r["fl_ids"]["device"]["name"]: r for r in closed}
    assert len(opened) == len(closed) == 2
    assert set(by_device) == {"02:00:00:00:00:01", "02:00:00:00:00:09"}
    flood, arp = by_device["02:00:00:00:00:01"], by_device["02:00:00:00:00:09"]
    assert flood["alert"]["metadata"]["mitre_technique_id"] == ["T1498", "T1499"]
    assert "T0830" in arp["alert"]["metadata"]["mitre_ics_technique_id"]
    assert flood["fl_ids"]["explanation"]
    began = START_S + 4300
    first = min(r["timestamp"] for r in opened)
    assert first <= time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(began + 10)) + ".000000+0000"
    # every incident that was opened was closed at the capture's end
    assert sum(r["fl_ids"]["kind"] == "closed" for r in told(site)) == 2


def test_no_payload_and_no_patient_data_reaches_any_alert_or_file(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every planted string of HL7 and MQTT payloads is looked for in everything that was written."""
    files = [f for f in site.rglob("*") if f.is_file()]
    assert {f.name for f in files} >= {"alerts.jsonl", "ecs.jsonl", "alerts.cef", "alerts.leef", "site.db"}
    held = b"".join(f.read_bytes() for f in files)
    result = CliRunner().invoke(app, ["incidents", "list", "--site", str(site), "--json"])
    said = (held + result.output.encode() + capsys.readouterr().out.encode()).lower()
    assert b"02:00:00:00:00:01" in said
    for secret in PATIENT:
        for form in (secret.encode(), secret.encode("utf-16-le"), secret.encode().hex().encode()):
            assert form.lower() not in said
    for part in ("ERIKA", "JANSEN", "4711-0815", "patient"):
        assert part.lower().encode() not in said


def test_windows_become_a_training_table_labelled_by_verdicts(site: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "site.db").write_bytes((site / "site.db").read_bytes())
    before = SiteWindows().load(copy, stream(1, "data"))
    assert set(before.y.tolist()) == {0}
    assert before.schema.id == PacketFeatures().schema.id
    store = SiteStore(copy)
    (flood,) = [i for i, _ in store.incidents() if i.family == "flood"]
    store.judge(flood.number, Verdict("true", "", "", "anna", 1))
    labelled = SiteWindows().load(copy, stream(1, "data"))
    assert (labelled.y == 1).sum() >= 3
    assert len(labelled) == len(before) + (labelled.y == 1).sum()
    named = SiteWindows(classes=("Benign", "Flood"), attack="").load(copy, stream(1, "data"))
    assert set(named.y.tolist()) == {0}
    store.judge(flood.number, Verdict("false", "", "", "anna", 2))
    assert (SiteWindows().load(copy, stream(1, "data")).y == 0).sum() == len(labelled)
    assert len(SiteWindows(max_rows=50).load(copy, stream(1, "data"))) <= 50
    with pytest.raises(UsageError, match="verdict"):
        store.judge(flood.number, Verdict("maybe", "", "", "anna", 3))
    with pytest.raises(UsageError, match="no incident 99"):
        store.judge(99, Verdict("true", "", "", "anna", 3))
    with pytest.raises(DataError, match="wardround watch"):
        SiteWindows().load(tmp_path, stream(1, "data"))


def test_maintenance_and_the_allow_list_mute(attacked_capture: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[[maintenance]]\ndevice = "02:00:00:00:00:01"\nstart = 2023-11-14T00:00:00Z\nend = 2023-11-15T12:00:00Z\n'
        'reason = "new monitor"\n[[allow]]\nfamily = "arp-spoofing"\nreason = "test of the network team"\n'
        '[[device]]\nname = "02:00:00:00:00:01"\ntype = "bedside monitor"\nward = "ICU 2"\ncriticality = 1\n',
        encoding="utf-8",
    )
    outcome = watched(attacked_capture, tmp_path / "s", policy=policy)
    assert outcome.incidents == {}
    assert not [r for r in told(tmp_path / "s") if r["fl_ids"]["kind"] in {"opened", "updated"}]
    store = SiteStore(tmp_path / "s")
    assert {i.state for i, _ in store.incidents()} == {"closed"}
    assert all(i.muted_by for i, _ in store.incidents())


def some_bundle(weight: float = 0.0, threshold: float = 2.0, bias: float = -3.0) -> Bundle:
    """A two-class model of pkt-v1 rows whose score is about ``bias``."""
    features = PacketFeatures()
    width = len(features.schema.columns)
    scaling = Quantile(bins=64)
    rng = np.random.default_rng(0)
    x = rng.lognormal(1, 2, (50, width)).astype(np.float32)
    p = scaling.fit(features.schema, scaling.statistics(features.schema, x))
    kind, inputs = Mlp((2,)), len(p.names)
    parameters = kind.init(inputs, 2, rng) * np.float32(weight)
    parameters[-1] = bias
    return Bundle(
        kind,
        parameters.astype(np.float32),
        inputs,
        ("Benign", "Attack"),
        0,
        features.schema.id,
        p.to_record(),
        threshold,
    )


def test_a_worse_model_is_refused_and_a_good_one_can_be_rolled_back(calm_capture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    watched(calm_capture, folder)
    store = SiteStore(folder)
    first, verdict = knowledge.offer(store, "model", some_bundle(), (1, 1))
    assert verdict.fit
    noisy, verdict = knowledge.offer(store, "model", some_bundle(threshold=-5.0, bias=-2.9), (2, 2))
    assert not verdict.fit
    assert "more false alarms" in verdict.reason
    unsure, verdict = knowledge.offer(store, "model", some_bundle(bias=1.0), (3, 3))
    assert not verdict.fit
    assert "loss" in verdict.reason
    good, verdict = knowledge.offer(store, "model", some_bundle(bias=-3.1), (4, 4))
    assert verdict.fit
    assert {row.version: row.state for row in store.models()} == {
        first: "retired",
        noisy: "refused",
        unsure: "refused",
        good: "active",
    }
    again, _ = knowledge.offer(store, "model", some_bundle(bias=-3.1), (5, 5))
    assert again == good
    runner, at = CliRunner(), ["--site", str(folder)]
    assert runner.invoke(app, ["models", "rollback", *at]).output == f"v{first} is in service again\n"
    assert knowledge.load(store, Budget()).bundles["model"].parameters[-1] == np.float32(-3.0)
    assert runner.invoke(app, ["models", "use", f"v{noisy}", *at]).exit_code == 0
    assert "refused" not in {row.state for row in store.models() if row.version == noisy}
    path = tmp_path / "worse.safetensors"
    path.write_bytes(to_safetensors(some_bundle(bias=5.0)))
    refused = runner.invoke(app, ["models", "add", str(path), *at])
    assert (refused.exit_code, "is refused" in refused.output) == (1, True)
    assert "v1" in runner.invoke(app, ["models", "list", *at]).output
    with pytest.raises(UsageError, match="no model version"):
        store.activate(99, "")


def test_commands_tell_devices_incidents_and_verdicts(site: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "site.db").write_bytes((site / "site.db").read_bytes())
    runner, at = CliRunner(), ["--site", str(copy)]
    devices = json.loads(runner.invoke(app, ["devices", "--json", *at]).output)
    found = {d["name"]: d for d in devices}
    assert found["02:00:00:00:00:01"]["type"] == "hl7-monitor"
    assert "windows" in found["02:00:00:00:00:01"]["status"]["baseline"]
    assert "02:00:00:00:00:03" in runner.invoke(app, ["devices", *at]).output
    shown = runner.invoke(app, ["incidents", "show", "I1", *at]).output
    assert "because" in shown
    assert "ATT&CK" in shown
    labelled = runner.invoke(app, ["incidents", "label", "I1", "false", "--note", "load test", *at])
    assert labelled.exit_code == 0
    assert "false" in runner.invoke(app, ["incidents", "list", *at]).output
    assert "taken for normal" in runner.invoke(app, ["calibrate", "--days", "0", *at]).output
    for wrong in (
        ["incidents", "show", "X"],
        ["incidents", "show", "I99"],
        ["models", "rollback"],
        ["models", "use", "v9"],
    ):
        assert isinstance(runner.invoke(app, [*wrong, *at]).exception, UsageError)
    assert isinstance(runner.invoke(app, ["devices", "--site", str(tmp_path / "nowhere")]).exception, UsageError)


def test_verdicts_given_while_it_watches_are_taken_up(site: Path, tmp_path: Path, attacked_capture: Path) -> None:
    folder = tmp_path / "s"
    watched(attacked_capture, folder)
    store = SiteStore(folder)
    before = store.settings
    store.judge(1, Verdict("expected", "", "planned", "anna", 1))
    assert store.settings == before + 1
    assert store.verdicts()[0][2] == "expected"
    store.close()
    del site


def test_the_store_is_bounded_and_has_one_watcher(tmp_path: Path, calm_capture: Path) -> None:
    folder = tmp_path / "s"
    watched(calm_capture, folder)
    with SiteStore(folder, retention=Retention(keep_windows=100)).batch():
        pass
    store = SiteStore(folder, retention=Retention(keep_windows=100))
    whole = store.stored()
    newest = int(whole.end[-1])
    last = store.stored(newest=7)
    assert (last.end == whole.end[-7:]).all()
    assert np.array_equal(last.x, whole.x[-7:], equal_nan=True)
    assert last.device == whole.device[-7:]
    assert len(store.stored(since=newest)) == 0
    store.prune(newest)
    assert store.count() == 100
    store.prune(newest + int(15 * 86400e9))
    assert store.count() == 0
    held = SiteStore(folder, watching=True)
    with pytest.raises(UsageError, match="another wardround watch"):
        SiteStore(folder, watching=True)
    held.close()
    thin = SiteStore(tmp_path / "t", retention=Retention(per_device_day=10))
    assert sum(thin._kept("a", 5) for _ in range(110)) == 10 + 10
    (tmp_path / "u").mkdir()
    (tmp_path / "u" / "site.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(UsageError, match="move it away"):
        SiteStore(tmp_path / "u")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_or_killed_watch_leaves_a_whole_store(
    number: int, tmp_path: Path, attacked_capture: Path, calm_capture: Path
) -> None:
    for attempt in range(5):
        folder = tmp_path / f"s{attempt}"
        code = _interrupted(number, folder, calm_capture)
        if code != -signal.SIGTERM:  # else the capture had ended before the signal came: it met no watch, once more
            break
    assert code in ({0} if number == signal.SIGTERM else {-9, 0})
    outcome = watched(attacked_capture, folder)
    assert sum(outcome.incidents.values()) >= 2
    store = SiteStore(folder)
    assert store.get("detector") is not None


def test_wrong_flags_are_one_clear_error(tmp_path: Path, calm_capture: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        watched(tmp_path / "none.pcap", tmp_path / "a")
    with pytest.raises(UsageError, match="alerts go to"):
        watched(calm_capture, tmp_path / "b", alerts=("nonsense",))
    other = Bundle(**{**vars(some_bundle()), "schema": "f" * 64})
    store = SiteStore(tmp_path / "c")
    knowledge.offer(store, "model", other, (0, 0))
    store.close()
    with pytest.raises(UsageError, match="schema"):
        watched(calm_capture, tmp_path / "c")
    with pytest.raises(DataError, match="calibration needs"):
        knowledge.calibrate(SiteStore(tmp_path / "d"), Budget(), 0)


# --- existing sensors


def test_a_scan_in_zeeks_log_is_found_and_the_source_is_chosen_by_one_flag(tmp_path: Path) -> None:
    logs = tmp_path / "zeek"
    logs.mkdir()
    rows = [
        {"ts": START_S + i, "id.orig_h": "10.0.0.5", "id.orig_p": 40000 + i, "id.resp_h": "10.0.0.1", "id.resp_p": 443}
        for i in range(300)
    ]
    rows += [
        {
            "ts": START_S + 200 + i / 40,
            "id.orig_h": "10.0.0.66",
            "id.orig_p": 50000,
            "id.resp_h": "10.0.0.1",
            "id.resp_p": 1 + i,
        }
        for i in range(2000)
    ]
    usual = {"proto": "tcp", "duration": 0.1, "orig_bytes": 100, "resp_bytes": 100, "orig_pkts": 3, "resp_pkts": 3}
    lines: list[str] = []
    for row in sorted(rows, key=lambda r: r["ts"]):
        scan = row["id.orig_h"] == "10.0.0.66"
        more = (
            {"conn_state": "REJ", "history": "Sr", "orig_pkts": 1, "resp_pkts": 1}
            if scan
            else {"conn_state": "SF", "history": "ShADadFf"}
        )
        lines.append(json.dumps({**row, **usual, **more, "uid": f"C{len(lines)}"}))
    (logs / "conn.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
    folder = tmp_path / "s"
    folder.mkdir()
    outcome = run(Session(Choice(zeek=logs), folder, "icu", [f"eve:{folder}/alerts.jsonl"]), ignore)
    assert outcome.packets == 2300
    opened = [r for r in told(folder) if r["fl_ids"]["kind"] == "opened"]
    assert [(r["fl_ids"]["device"]["name"], r["alert"]["signature"].split(":")[0]) for r in opened] == [
        ("10.0.0.66", "wardround scan")
    ]


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({}, "name one source"),
        ({"iface": "eth0", "eve": Path("x")}, "name one source"),
        ({"netflow": "nonsense"}, "HOST:PORT"),
        ({"eve": Path("/nowhere/eve.json")}, "is not a file"),
        ({"zeek": Path(), "features": "pkt-v9"}, "no features named"),
    ],
)
def test_a_wrong_choice_of_source_is_told(choice: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        feeding.opened(Choice(**choice), "", lambda: True)  # type: ignore[arg-type]


def test_the_features_are_the_models() -> None:
    assert feeding.extractor("packets", PacketFeatures(2).schema.id).schema.name == "pkt-v1/2s"
    assert feeding.extractor("flows", "").schema.name == "flow-v1/10s"
    assert feeding.extractor("packets", feeding.extractor("flows", "").schema.id).schema.name == "flow-v1/10s"
    with pytest.raises(UsageError, match="watch another source"):
        feeding.extractor("flows", PacketFeatures(2).schema.id)
    assert not Choice(pcap=Path("x")).live
    assert Choice(netflow=":2055").live
    assert Choice(eve=Path("x"), follow=True).live


def _interrupted(number: int, folder: Path, capture: Path) -> int:
    """The exit code of a watch that gets the signal as soon as its store is there."""
    script = "from wardround.cli.main import main; main()"
    command = [sys.executable, "-c", script, "watch", "--site", str(folder), "--pcap", str(capture), "-q"]
    process = subprocess.Popen(command, env=os.environ.copy())
    end = time.monotonic() + 200
    while not (folder / "site.db").exists() and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(number)
    return process.wait(60)
