"""Keys, state, the TOML schema, health pages, doctor and status: everything of the deployment that needs no broker."""

import asyncio
import json
import os
import socket
import stat
import urllib.error
import urllib.request
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wardround.config import dump, parse
from wardround.drivers.nats import doctor, keys, provisioning, serving, standing
from wardround.drivers.nats.brokerconfig import Listen, private
from wardround.drivers.nats.coordinator import Counts
from wardround.drivers.nats.deployment import Broker, Federation, Gateway, fingerprint, load, read, roster
from wardround.drivers.nats.keys import KeyFolder
from wardround.drivers.nats.link import LinkError
from wardround.drivers.nats.rows import own_rows
from wardround.drivers.nats.serving import Saved
from wardround.drivers.parties.names import COORDINATOR, token
from wardround.drivers.sinks.health import Health, Snapshot
from wardround.drivers.sinks.jsonlog import JsonLog
from wardround.drivers.sinks.jsonlog import read as read_log
from wardround.drivers.store.state import DiskError, State
from wardround.drivers.strategies import full
from wardround.errors import ConfigError, DataError, UsageError
from wardround.events import Note, RoundDone, RoundFailed
from wardround.federation.server import Server
from wardround.wire import encode

TEXT = """
name = "files"
[data]
use = "hospital"
wards = 3
devices_per_ward = 1
windows_per_device = 30
[partition]
use = "natural"
[secagg]
use = "plain"
[participation]
minimum = 2
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "federation.toml"
    path.write_text(TEXT + "[broker]\nhttp = 0\n")
    return path


# the schema


def test_a_federation_is_an_experiment_with_two_more_tables(file: Path) -> None:
    federation = read(file)
    assert federation.broker == Broker(http=0)
    assert federation.gateway == Gateway()
    assert parse(dump(federation), full(), "again", Federation) == federation
    assert parse(TEXT, full()).data == federation.data
    assert federation.broker.servers == ["tls://127.0.0.1:4222"]
    assert Broker(url="tls://a:1, tls://b:2").servers == ["tls://a:1", "tls://b:2"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('[secagg]\nuse = "pairwise"\n', "benchmark baseline"),
        ("[broker]\nprot = 1\n", "did you mean 'port'"),
        ("[broker]\npatience_s = 0\n", "patience_s must be above 0"),
        ("[broker]\nport = 70000\n", "must be a port"),
        ('[broker]\ngateways = ["a", "a"]\n', "twice"),
        ("[broker]\nwait_for = -1\n", "wait_for"),
        ("[gateway]\nheartbeat_s = -1\n", "heartbeat_s"),
        ("[gateway]\nown_data = true\n", "needs the names"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, more: str, message: str) -> None:
    path = tmp_path / "f.toml"
    text = (
        TEXT.replace('[secagg]\nuse = "plain"\n', "").replace("minimum = 2", "minimum = 4")
        if "secagg" in more
        else TEXT
    )
    path.write_text(text + more)
    with pytest.raises(ConfigError, match=message):
        read(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "none.toml")


def test_names_come_from_the_partition_or_the_file(file: Path) -> None:
    federation = read(file)
    table = load(federation, None)
    assert roster(federation, table) == ("intensive care 1", "radiology 1", "outpatients 1")
    assert roster(replace(federation, broker=Broker(gateways=("x", "y"))), None) == ("x", "y")
    with pytest.raises(UsageError, match="partition"):
        roster(federation, None)


def test_a_gateway_sees_its_share_or_all_of_its_own_folder(file: Path) -> None:
    federation = read(file)
    table = load(federation, None)
    shares = [own_rows(federation, table, name).raw() for name in roster(federation, table)]
    whole = own_rows(replace(federation, gateway=Gateway(own_data=True)), table, "anybody").raw()
    assert sum(len(y) for _, y in shares) == len(whole[1])
    assert all(len(x) == len(y) > 0 for x, y in shares)
    with pytest.raises(UsageError, match="no rows to 'nobody'"):
        own_rows(federation, table, "nobody")


def test_a_run_may_change_its_broker_but_not_its_course(file: Path) -> None:
    federation = read(file)
    names = ("a", "b")
    same = replace(federation, broker=Broker(port=1), gateway=Gateway(http=5))
    assert fingerprint(same, names) == fingerprint(federation, names)
    assert fingerprint(replace(federation, seed=2), names) != fingerprint(federation, names)
    assert fingerprint(federation, ("b", "a")) != fingerprint(federation, names)


# keys


def test_keys_are_made_once_and_private(file: Path) -> None:
    lines = list(provisioning.keys(provisioning.Asked(file)))
    folder = KeyFolder(file.parent / "keys")
    assert lines[-3:] == ["g00000  intensive care 1", "g00001  radiology 1", "g00002  outpatients 1"]
    assert set(folder.roster()) == {COORDINATOR, "g00000", "g00001", "g00002"}
    for path in (folder.private, folder.seed_file(COORDINATOR), folder.seed_file("g00001")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = folder.seed("g00001")
    assert list(provisioning.keys(provisioning.Asked(file))) == lines[-3:]
    assert folder.seed("g00001") == before
    folder.seed_file("g00001").chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        folder.seed("g00001")
    with pytest.raises(UsageError, match="cannot be read"):
        folder.seed("g00009")


def test_a_broker_of_ones_own_needs_every_public_key(file: Path) -> None:
    list(provisioning.keys(provisioning.Asked(file, coordinator=True)))
    with pytest.raises(UsageError, match="no public key of intensive care 1, radiology 1, outpatients 1 yet"):
        list(provisioning.keys(provisioning.Asked(file, broker_config=True)))
    list(provisioning.keys(provisioning.Asked(file)))
    (block,) = provisioning.keys(provisioning.Asked(file, broker_config=True))
    assert KeyFolder(file.parent / "keys").roster()["g00001"] in block


def test_an_nkey_is_what_nkeys_says(tmp_path: Path) -> None:
    import nkeys  # type: ignore[import-untyped]

    seed, public = keys.new_key()
    pair = nkeys.from_seed(bytearray(seed.encode()))
    assert pair.public_key.decode() == public
    assert pair.verify(b"nonce", pair.sign(b"nonce"))
    with pytest.raises(UsageError, match="copy ca"):
        KeyFolder(tmp_path).client_tls()


def test_no_secret_is_in_the_brokers_configuration(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path)
    keys.make(folder, ["a", "b"], ["host.example", "10.0.0.1"])
    text = private(Listen("127.0.0.1", 1, tmp_path), folder, folder.roster(), ["g00000", "g00001"])
    assert all(folder.seed(owner) not in text for owner in folder.roster())
    from cryptography import x509

    names = x509.load_pem_x509_certificate(folder.certificate.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert [str(n.value) for n in names.value] == ["host.example", "10.0.0.1"]


# state


def test_state_survives_and_has_one_owner(tmp_path: Path) -> None:
    state = State(tmp_path / "s")
    state.save("a", b"1")
    state.save("client old", b"o")
    state.save("client new", b"n")
    state.forget("client ", "client new")
    with pytest.raises(UsageError, match="another wardround process"):
        State(tmp_path / "s")
    state.close()
    again = State(tmp_path / "s")
    assert (again.load("a"), again.load("client old"), again.load("client new")) == (b"1", None, b"n")
    again.close()


def test_a_disk_that_takes_nothing_leaves_the_old_value(tmp_path: Path) -> None:
    state = State(tmp_path / "s")
    state.save("a", b"1")
    state._db.execute("PRAGMA max_page_count = 1")  # SQLite's own way to be full: it takes not one page more
    with pytest.raises(DiskError, match="full"):
        state.save("a", os.urandom(200_000))
    assert state.load("a") == b"1"
    state._db.execute("PRAGMA max_page_count = 100000")
    state.save("a", b"2")
    assert state.load("a") == b"2"
    state.close()


def test_a_damaged_or_unwritable_state_is_said(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "state.db").write_bytes(b"not a database" * 100)
    with pytest.raises(UsageError, match="move it away"):
        State(tmp_path / "bad")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        State(tmp_path / "file" / "s")


# pages


def _get(port: int, page: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_metrics_and_status() -> None:
    state = {"healthy": True, "x": 1}
    counts = Counts(answers=3)
    health = Health(0, lambda: state, Snapshot("wr", lambda: {"here": 2.0}, lambda: counts))
    try:
        assert _get(health.port, "health") == (200, '{"healthy": true}\n')
        assert json.loads(_get(health.port, "status")[1]) == state
        text = _get(health.port, "metrics")[1]
        assert "# TYPE wr_here gauge" in text
        assert "wr_here 2.0" in text
        assert "wr_answers_total 3.0" in text
        state["healthy"] = False
        assert _get(health.port, "health")[0] == 503
        assert _get(health.port, "status")[0] == 200
        assert _get(health.port, "else")[0] == 404
        with pytest.raises(UsageError, match="taken"):
            Health(health.port, lambda: state, Snapshot("wr", dict, lambda: counts))
    finally:
        health.close()


def test_status_and_rounds_read_the_disk_where_nobody_runs(file: Path, tmp_path: Path, lab: Any) -> None:
    folder = tmp_path / "st" / "coordinator"
    with pytest.raises(UsageError, match="no coordinator runs"):
        standing.status(file, tmp_path / "st")
    federation, _, agreed, names = lab.tiny()
    machine = Server.new(agreed, federation.participation, names, 1)
    machine.begin(0.0, names)
    state = State(folder)
    state.save("coordinator", encode(Saved("run 7", "x", machine.to_bytes(), 0)))
    state.close()
    found = standing.status(file, tmp_path / "st")
    assert found == {"running": False, "run": "run 7", "phase": "statistics", "exchange": 1, "round": 0}
    assert standing.text(found) == "run run 7: not running, phase statistics, round 0, exchange 1"
    log = JsonLog(folder / "log.jsonl")
    log(RoundDone(1, 3, 2, 0, 1, 1, 0, 0.5, 0.1, 1, 1, 2.0))
    log(RoundFailed(2, 3, 1, 2, "too few"))
    log.close()
    lines = standing.rounds(tmp_path / "st", 20).splitlines()
    assert lines[1].split() == ["1", "3", "2", "1", "0", "0.5000", "2.00"]
    assert "given up: too few" in lines[2]
    assert len(standing.rounds(tmp_path / "st", 1).splitlines()) == 2


def test_doctor_finds_what_is_wrong_and_says_what_to_do(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def findings(**changes: Any) -> dict[str, doctor.Finding]:
        patient = doctor.Patient(file, changes.pop("name", ""), None, tmp_path / "state")
        return {f.what: f for f in doctor.examine(patient)}

    monkeypatch.setattr(doctor, "CONNECT_S", 0.5)
    before = findings()
    assert not before["keys"].ok
    assert "wardround keys" in before["keys"].remedy
    list(provisioning.keys(provisioning.Asked(file)))
    file.write_text(TEXT + "[broker]\nport = 9\n")
    after = findings()
    assert after["key"].ok
    assert after["authority"].ok
    assert after["membership"].ok
    assert "enrolled, serial" in findings(name="radiology 1")["membership"].found
    assert after["data source"].ok
    assert "wardround serve starts it" in after["broker"].found
    gateway = findings(name="radiology 1")
    assert not gateway["broker"].ok
    assert "outbound" in gateway["broker"].remedy
    assert not findings(name="nobody")["keys"].ok
    monkeypatch.setattr(doctor, "FREE_BYTES", 10**18)
    assert "free some space" in findings()["disk"].remedy
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("wardround.drivers.nats.broker.shutil.which", lambda *_, **__: None)
    assert "apt-get install nats-server" in findings()["nats-server"].remedy
    file.write_text("nonsense")
    assert not findings()["federation file"].ok
    assert all(f.remedy for f in findings().values() if not f.ok)


def test_status_names_who_is_waited_for_and_who_runs_another_version() -> None:
    gateway = {"here": True, "token": "g00000", "name": "icu", "silent_s": 1.0, "turn": 3, "busy": True}
    found = {"run": "r", "running": True, "phase": "training", "round": 2, "rounds": 9, "exchange": 3, "version": "2"}
    text = standing.text({**found, "waiting_for": ["icu"], "gateways": [{**gateway, "version": "1"}]})
    assert "  waiting for icu" in text.splitlines()
    assert text.endswith("busy, OTHER VERSION 1 (here 2)")
    same = standing.text({**found, "waiting_for": [], "gateways": [{**gateway, "version": "2"}]})
    assert "VERSION" not in same
    assert "waiting" not in same


def test_doctor_sees_taken_ports_an_unset_clock_and_keys_that_end_soon(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "CONNECT_S", 0.5)
    clock = tmp_path / "timedatectl"
    clock.write_text("#!/bin/sh\necho no\n")
    clock.chmod(0o755)
    monkeypatch.setattr(
        "wardround.drivers.nats.doctor.shutil.which", lambda name, **_: str(clock) if name == "timedatectl" else None
    )
    monkeypatch.setattr(doctor, "SOON", timedelta(days=100_000))
    list(provisioning.keys(provisioning.Asked(file)))
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        file.write_text(TEXT + f"[broker]\nport = {port}\nhttp = {port}\n")
        found = {f.what: f for f in doctor.examine(doctor.Patient(file, "", None, tmp_path / "state"))}
    for what, remedy in {
        "broker": "another program listens on port",
        "http port": "choose another [broker] http",
        "clock synchronised": "systemd-timesyncd",
        "authority": "make new keys",
        "broker certificate": "give gateways the new ca.pem",
    }.items():
        assert not found[what].ok, what
        assert remedy in found[what].remedy
    health = Health(0, lambda: {"healthy": True}, Snapshot("wr", dict, Counts))
    try:
        file.write_text(TEXT + f"[broker]\nport = 9\nhttp = {health.port}\n")
        found = {f.what: f for f in doctor.examine(doctor.Patient(file, "", None, tmp_path / "state"))}
        assert found["http port"].ok
    finally:
        health.close()


@pytest.mark.parametrize("url", ["tls://broker:4222", ""])
def test_a_broker_of_ones_own_may_come_up_later(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """After a power cut nobody waits for an operator; a private broker that does not answer is a fault."""
    monkeypatch.setattr(serving, "AGAIN_S", 0.0)
    monkeypatch.setattr(serving, "OPEN_S", 60.0 if url else -1.0)
    tries, said = [], list[Note]()

    class Waking:
        async def open(self, *_: object) -> None:
            tries.append(1)
            if len(tries) < 4:
                raise LinkError("no route")

        async def close(self) -> None:
            return

    federation = SimpleNamespace(broker=Broker(url=url))
    process = SimpleNamespace(_federation=federation, _keys=lambda: None, _emit=said.append)
    opened: Any = serving._Process._opened
    waiting = opened(process, Waking(), SimpleNamespace(draining=False))
    if url:
        assert asyncio.run(waiting)
        assert len(tries) == 4
        assert [note.code for note in said] == ["broker.away"]
        assert not asyncio.run(opened(process, Waking(), SimpleNamespace(draining=True)))
    else:
        with pytest.raises(UsageError, match="wardround doctor"):
            asyncio.run(waiting)


def test_tokens_are_fit_for_subjects() -> None:
    assert token(7) == "g00007"
    assert len({token(i) for i in range(200_000)}) == 200_000


def test_a_leaf_node_gets_its_gateways_accounts_and_no_other(file: Path) -> None:
    with pytest.raises(UsageError, match="no leaf yet"):
        list(provisioning.keys(provisioning.Asked(file, leaf_users=True)))
    list(provisioning.keys(provisioning.Asked(file)))
    through = "tls://one:7422,tls://two"
    name = "intensive care 1"
    (block,) = provisioning.keys(provisioning.Asked(file, leaf=(name,), through=through))
    (again,) = provisioning.keys(provisioning.Asked(file, leaf=(name,), through=through))
    assert block == again, "a secret is made once"
    assert "GATEWAY_g00000" in block
    assert "GATEWAY_g00001" not in block
    assert "imports" not in block
    (users,) = provisioning.keys(provisioning.Asked(file, leaf_users=True))
    word = users.split('password: "')[1].split('"')[0]
    assert f"tls://g00000:{word}@one:7422" in block
    assert f"tls://g00000:{word}@two:7422" in block
    assert (file.parent / "keys" / "g00000.leaf").stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError, match="no gateway is named"):
        list(provisioning.keys(provisioning.Asked(file, leaf=("nobody",), through=through)))
    with pytest.raises(UsageError, match="should be tls://HOST:PORT"):
        list(provisioning.keys(provisioning.Asked(file, leaf=(name,), through="nats://one")))


def test_a_log_waits_for_its_disk_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wardround.drivers.nats.log import PatientLog

    log = PatientLog(tmp_path / "log.jsonl")
    log(RoundFailed(1, 3, 0, 2, "x"))
    full_disk = [True]
    write = JsonLog.__call__

    def refused(self: JsonLog, event: Any) -> None:
        if full_disk[0]:
            raise DataError("the disk is full")
        write(self, event)

    monkeypatch.setattr(JsonLog, "__call__", refused)
    log(RoundFailed(2, 3, 0, 2, "x"))
    log(RoundFailed(3, 3, 0, 2, "x"))
    with pytest.raises(DiskError, match="full"):
        log.position()
    full_disk[0] = False
    assert log.position() == (tmp_path / "log.jsonl").stat().st_size
    log.close()
    assert [e.round for e in read_log(tmp_path / "log.jsonl") if isinstance(e, RoundFailed)] == [1, 2, 3]


@pytest.mark.parametrize(("sets", "text"), [({"replicas": 2}, "1, 3 or 5"), ({"replicas": 3}, "cluster of your own")])
def test_copies_need_a_cluster(sets: dict[str, int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Broker(**sets)  # type: ignore[arg-type]
