"""Enrolment between machines: key folders of registrar, coordinator and gateways apart, files and words in between."""

from __future__ import annotations

import json
import stat
from contextlib import closing
from pathlib import Path

import pytest

from wardround.auth.credential import Anchor
from wardround.auth.suites import SUITES
from wardround.auth.trust import Turn
from wardround.drivers.nats import provisioning
from wardround.drivers.nats.enrolling import Place, server_key
from wardround.drivers.nats.keys import KeyFolder, public_keys
from wardround.drivers.nats.provisioning import Asked, Enrol, answered, enrol, keys
from wardround.drivers.parties.names import COORDINATOR
from wardround.drivers.store.administering import Office
from wardround.drivers.store.export import ANCHOR, EXPORT, read_anchor, read_export
from wardround.drivers.store.member_keys import read_identity, read_server_key
from wardround.drivers.store.registrar import Registrar, Wish
from wardround.errors import AuthError, UsageError
from wardround.wire import encode

FEDERATION = """
name = "apart"
[data]
use = "hospital"
wards = 3
devices_per_ward = 1
windows_per_device = 60
[partition]
use = "natural"
[secagg]
use = "plain"
[auth]
use = "ml-kem-768"
[broker]
gateways = ["icu", "ward 2"]
"""
WORD = "a good passphrase"


class Machines:
    """Three machines in folders of their own."""

    def __init__(self, root: Path) -> None:
        self.office, self.coordinator, self.gateway = root / "office", root / "coordinator", root / "gateway"
        for place in (self.office, self.coordinator, self.gateway):
            place.mkdir()
            (place / "federation.toml").write_text(FEDERATION)
        self.registrar = Registrar(self.office / "registrar")
        list(Office(self.registrar).init(self.office, Wish("Apart", SUITES[1])))
        for place in (self.coordinator, self.gateway):
            (place / "keys").mkdir(mode=0o700)
            (place / "keys" / ANCHOR).write_bytes((self.office / "keys" / ANCHOR).read_bytes())
        list(keys(Asked(self.coordinator / "federation.toml", coordinator=True)))
        list(Office(self.registrar).publish((self.coordinator / "keys" / "server.pub").read_text(), None, None))

    def token(self, name: str = "icu") -> str:
        (text,) = Office(self.registrar).token(name, None)
        return text

    def ask(self, token: str, name: str = "icu", **more: object) -> str:
        (text,) = enrol(Enrol(self.gateway / "federation.toml", name, token=token, **more))  # type: ignore[arg-type]
        return text

    def answer(self, request: str) -> str:
        (text,) = answered(self.registrar.path, request)
        return text

    def take(self, answer: str, name: str = "icu", passphrase: str = "") -> list[str]:
        return list(enrol(Enrol(self.gateway / "federation.toml", name, answer=answer, passphrase=passphrase)))


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path)


def test_a_gateway_enrols_over_files_and_can_join(machines: Machines) -> None:
    answer = machines.answer(machines.ask(machines.token(), committee=True))
    (line,) = machines.take("\n".join(answer[i : i + 76] for i in range(0, len(answer), 76)))  # as a mail breaks it
    assert line.startswith("icu is enrolled (serial 1)")
    folder = KeyFolder(machines.gateway / "keys")
    assert sorted(p.name for p in folder.path.iterdir()) == [ANCHOR, "g00000.id", "g00000.nk"]
    assert {stat.S_IMODE((folder.path / n).stat().st_mode) for n in ("g00000.id", "g00000.nk")} == {0o600}
    gateway = Place(folder, "icu", "g00000").gateway()
    assert gateway.member is not None
    assert gateway.credential.member == gateway.member.verifier.data
    # the coordinator learns of it by the signed export only, and so does its broker
    export = machines.coordinator / "keys" / EXPORT
    list(Office(machines.registrar).export(export))
    packed, descriptor, _ = read_export(export, read_anchor(machines.coordinator / "keys" / ANCHOR))
    server = read_server_key(machines.coordinator / "keys" / "server.key", gateway.anchor)
    assert descriptor.public == server.key.public == gateway.identity.server_public
    assert [(e.name, e.state, e.member) for e in packed.entries] == [("icu", "active", gateway.credential.member)]
    public = public_keys(KeyFolder(machines.coordinator / "keys"), {"icu": "g00000", "ward 2": "g00001"})
    assert set(public) == {COORDINATOR, "g00000"}
    assert stat.S_IMODE(export.stat().st_mode) == 0o600


def test_issuing_keys_stay_with_the_registrar(machines: Machines) -> None:
    secret = {p.read_bytes() for p in machines.registrar.path.glob("*.key")}
    elsewhere = [p for place in (machines.coordinator, machines.gateway) for p in place.rglob("*") if p.is_file()]
    assert len(secret) == 3
    assert not [p for p in elsewhere for s in secret if s[-32:] in p.read_bytes()]


def test_steps_out_of_turn_are_refused(machines: Machines) -> None:
    with pytest.raises(UsageError, match="no enrolment is under way"):
        machines.take("wre2-AAAA")
    request = machines.ask(machines.token())
    (again,) = enrol(Enrol(machines.gateway / "federation.toml", "icu"))
    assert again == request, "a lost request is asked for again, byte for byte"
    with pytest.raises(UsageError, match="is under way"):
        machines.ask("wrt1-anything")
    answer = machines.answer(request)
    assert machines.answer(request) == answer, "a lost answer too"
    with pytest.raises(UsageError, match="copy it whole"):
        machines.take(answer[5:])
    with pytest.raises(UsageError, match="not the registrar's answer"):
        machines.take(answer[:-8] + "AAAAAAAA")
    machines.take(answer)
    with pytest.raises(UsageError, match="no enrolment is under way"):
        machines.take(answer)


def test_a_token_is_for_one_name_and_one_request(machines: Machines) -> None:
    token = machines.token("ward 2")
    request = machines.ask(token, "icu")
    with pytest.raises(UsageError, match="issued to 'ward 2', not to 'icu'"):
        machines.take(machines.answer(request))
    other = machines.ask(token, "ward 2")
    with pytest.raises(AuthError, match="not good"):
        machines.answer(other)
    with pytest.raises(UsageError, match="did you mean 'icu'"):
        machines.ask(token, "icu1")


def test_passphrases_protect_what_is_kept(machines: Machines) -> None:
    request = machines.ask(machines.token(), passphrase=WORD)
    answer = machines.answer(request)
    with pytest.raises(UsageError, match="protected by a passphrase"):
        machines.take(answer)
    machines.take(answer, passphrase=WORD)
    anchor = read_anchor(machines.gateway / "keys" / ANCHOR)
    identity = machines.gateway / "keys" / "g00000.id"
    with pytest.raises(UsageError, match="does not open"):
        read_identity(identity, anchor, "wrong")
    assert read_identity(identity, anchor, WORD).credential.name == "icu"


def test_another_federation_is_refused_everywhere(machines: Machines, tmp_path: Path) -> None:
    machines.take(machines.answer(machines.ask(machines.token())))
    other = Registrar(tmp_path / "other")
    other.create(Wish("Other", SUITES[1]), "").close()
    anchor = read_anchor(other.anchor_file)
    with pytest.raises(AuthError):
        read_identity(machines.gateway / "keys" / "g00000.id", anchor)
    export = machines.coordinator / "keys" / EXPORT
    list(Office(machines.registrar).export(export))
    with pytest.raises(UsageError, match="not an export of this federation"):
        read_export(export, anchor)
    (token,) = Office(other).token("icu", None)
    (machines.gateway / "keys" / "g00000.id").unlink()
    with pytest.raises(UsageError, match="another federation"):
        machines.ask(token)


def test_rotation_keeps_the_name_and_the_broker_key(machines: Machines) -> None:
    machines.take(machines.answer(machines.ask(machines.token())))
    folder = KeyFolder(machines.gateway / "keys")
    before, seed = Place(folder, "icu", "g00000").gateway(), folder.seed("g00000")
    (token,) = Office(machines.registrar).rotate("icu", None)
    machines.take(machines.answer(machines.ask(token)))
    after = Place(folder, "icu", "g00000").gateway()
    assert after.identity.device_id != before.identity.device_id
    assert folder.seed("g00000") == seed
    (line, *_) = Office(machines.registrar).finish(after.identity.device_id.hex() + "\n")
    assert line == "1 devices have finished their first handshake"
    with closing(machines.registrar.open(keys=False)) as registry:
        states = {d.device_id: d.state.value for d in registry.devices()}
    assert states == {before.identity.device_id.hex(): "revoked", after.identity.device_id.hex(): "active"}


def test_the_lab_makes_everything_once(tmp_path: Path) -> None:
    file = tmp_path / "federation.toml"
    file.write_text(FEDERATION)
    made = [line for line in keys(Asked(file)) if line.startswith("made")]
    assert any(line.endswith("g00001.id") for line in made)
    packed, _, _ = read_export(tmp_path / "keys" / EXPORT, read_anchor(tmp_path / "keys" / ANCHOR))
    assert sorted(e.name for e in packed.entries) == ["icu", "ward 2"]
    assert not [line for line in keys(Asked(file)) if line.startswith("made")]
    list(Office(Registrar(tmp_path / provisioning.REGISTRAR)).turn("icu", Turn.REVOKE, "stolen"))
    packed, _, _ = read_export(tmp_path / "keys" / EXPORT, read_anchor(tmp_path / "keys" / ANCHOR))
    assert {e.name: e.state for e in packed.entries} == {"icu": "revoked", "ward 2": "active"}


def test_the_registrars_folder_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    registrar = Registrar(tmp_path / "registrar")
    with pytest.raises(UsageError, match="holds no registrar"):
        registrar.open()
    registrar.create(Wish("A", SUITES[1]), WORD).close()
    with pytest.raises(UsageError, match="holds a registrar already"):
        registrar.create(Wish("A", SUITES[1]), WORD)
    with pytest.raises(UsageError, match="protected by a passphrase"):
        registrar.open()
    registrar.open(WORD).close()
    (registrar.path / "registrar.json").write_text(json.dumps({"registry": 1}))
    with pytest.raises(UsageError, match="lacks registry or exports"):
        registrar.open(WORD)
    (registrar.path / ANCHOR).write_bytes(b"no")
    with pytest.raises(UsageError, match="not a federation's anchor"):
        read_anchor(registrar.anchor_file)


def test_an_anchor_that_the_root_did_not_sign_is_refused(tmp_path: Path, machines: Machines) -> None:
    anchor = read_anchor(machines.registrar.anchor_file)
    forged = Anchor(anchor.federation, anchor.name, anchor.suite, bytes(len(anchor.root)), anchor.issuer)
    (tmp_path / "forged").write_bytes(encode(forged))
    with pytest.raises(AuthError):
        read_anchor(tmp_path / "forged")


def test_a_server_key_is_made_once(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "keys")
    assert [p.name for p in server_key(folder, SUITES[1])] == ["server.key", "server.pub"]
    assert server_key(folder, SUITES[1]) == []
