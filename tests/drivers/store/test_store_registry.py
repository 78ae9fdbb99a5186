"""The registry on SQLite, and the same tests on PostgreSQL where a server program is installed."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from wardround.auth.book import Book, RoundToken
from wardround.auth.credential import (
    FOREVER,
    Anchor,
    Descriptor,
    Issuer,
    RevocationList,
    next_descriptor,
    open_roster,
    sign,
    verify,
)
from wardround.auth.enrolment import Enrolled, Enrolment, Issuing, Token
from wardround.auth.handshake.initiator import Initiator
from wardround.auth.handshake.responder import Responder
from wardround.auth.identity import Memory, ServerIdentity
from wardround.auth.in_memory import Seeded
from wardround.auth.roster import Roster
from wardround.auth.suites import SUITES
from wardround.auth.trust import State, Turn, Verdict
from wardround.crypto.kem import X_WING
from wardround.crypto.sign import COMPOSITE, ML_DSA_87
from wardround.drivers.store.registry import Registry
from wardround.drivers.store.registry_audit import Head
from wardround.drivers.store.registry_rows import Act
from wardround.errors import AuthError, DataError, DecodeError, UsageError

ACT = Act("operator", 1_790_000_000.0)
ENTROPY = Seeded("registry")
SERVER = SUITES[1].kem.key(bytes(64))
ON_SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)  # where nothing depends on the database


def issuing_keys(federation: bytes = b"ward seven", seed: bytes = bytes(32)) -> Issuing:
    root, key = ML_DSA_87.key(seed), COMPOSITE.key(seed)
    issuer = Issuer(federation, key.verifier.data, X_WING.key(seed).public, 0, FOREVER)
    anchor = Anchor(federation, "Ward Seven", 1, root.verifier.data, sign(root, issuer))
    return Issuing(anchor, key, seed)


KEYS = issuing_keys()


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    made = Registry.create(url, KEYS, ACT)
    made.publish(SERVER.public, (0, 10), ACT)
    yield made
    made.close()


def enrol(registry: Registry, name: str, serves: bool = False) -> Enrolled:
    machine = Enrolment(KEYS.anchor, registry.issue_token(name, 10, ACT, ENTROPY))
    return machine.receive(registry.enrol(machine.ask(ENTROPY, serves), 1, ACT, ENTROPY))


def server_of(registry: Registry) -> Responder:
    roster = Roster(SUITES[1])
    roster.update(open_roster(KEYS.anchor, registry.export()))
    identity = ServerIdentity(SUITES[1], KEYS.anchor.federation, SERVER)
    return Responder(identity, Book(SUITES[1], roster, RoundToken(1, 1)), ENTROPY)


def authenticate(server: Responder, who: Enrolled) -> None:
    initiator = Initiator(who.identity, Memory())
    m2 = server.receive(initiator.start(0, ENTROPY).send or b"", b"", 0, ENTROPY).send
    m3 = initiator.receive(m2 or b"").send
    assert server.receive(m3 or b"", b"", 0, ENTROPY).done is not None


def test_from_token_to_session_to_revocation(registry: Registry) -> None:
    who = enrol(registry, "icu-1", serves=True)
    assert (who.credential.name, who.credential.serial, who.credential.suite) == ("icu-1", 1, 1)
    assert who.member is not None
    assert who.credential.member == who.member.verifier.data
    server = server_of(registry)
    authenticate(server, who)
    registry.finished(who.identity.device_id, ACT)
    registry.turn("icu-1", Turn.REVOKE, ACT, "stolen")
    lost = server.book.roster.update(open_roster(KEYS.anchor, registry.export()))
    assert lost == (who.identity.device_id,)
    with pytest.raises(AuthError, match="denied"):
        authenticate(server, who)
    listed = verify(KEYS.key.verifier, registry.revocations(), RevocationList)
    assert (listed.ids, listed.revocation_epoch) == ((who.identity.device_id,), 1)
    assert [(e.action, e.actor) for e in registry.log()] == [
        (a, "operator") for a in ("create", "publish", "token", "enrol", "finish", "state")
    ]
    assert registry.verify().number == 6


def test_a_token_answers_one_request(registry: Registry) -> None:
    token = registry.issue_token("icu-1", 10, ACT, ENTROPY)
    first, second = Enrolment(KEYS.anchor, token), Enrolment(KEYS.anchor, token)
    asked = first.ask(ENTROPY)
    answer = registry.enrol(asked, 1, ACT, ENTROPY)
    assert registry.enrol(first.again(), 1, ACT, ENTROPY) == answer  # E2 was lost
    with pytest.raises(AuthError, match="this token is not good"):
        registry.enrol(second.ask(ENTROPY), 1, ACT, ENTROPY)
    who = first.receive(answer)
    registry.finished(who.identity.device_id, ACT)
    registry.finished(who.identity.device_id, ACT)
    with pytest.raises(AuthError, match="this token is not good"):
        registry.enrol(asked, 1, ACT, ENTROPY)  # burnt
    assert registry.tokens() == [(token.token_id.hex(), "icu-1", "burnt")]
    assert len(registry.devices()) == 1


@ON_SQLITE
def test_unknown_old_withdrawn_and_wrong_tokens_are_one_refusal(registry: Registry) -> None:
    old, withdrawn = (registry.issue_token(name, 3, ACT, ENTROPY) for name in ("a", "b"))
    registry.withdraw(withdrawn.token_id.hex(), ACT)
    known = registry.issue_token("c", 3, ACT, ENTROPY)
    guessed = Token(known.token_id, bytes(32), 3, known.anchor)
    unknown = Token.issue(KEYS.anchor, 3, ENTROPY)
    told = set()
    for token, epoch in ((old, 4), (withdrawn, 1), (guessed, 1), (unknown, 1)):
        with pytest.raises(AuthError) as caught:
            registry.enrol(Enrolment(KEYS.anchor, token).ask(ENTROPY), epoch, ACT, ENTROPY)
        told.add(str(caught.value))
    assert told == {"this token is not good (any more)"}
    assert registry.devices() == []
    with pytest.raises(UsageError, match="is withdrawn and cannot be withdrawn"):
        registry.withdraw(withdrawn.token_id.hex(), ACT)
    with pytest.raises(UsageError, match="there is no token ffff"):
        registry.withdraw("ffff", ACT)


@ON_SQLITE
def test_the_registry_holds_no_open_token(registry: Registry, url: str) -> None:
    token = registry.issue_token("icu-1", 10, ACT, ENTROPY)
    engine = create_engine(url)
    with engine.connect() as connection:
        row = connection.execute(text("SELECT secret_hash FROM tokens")).scalar_one()
    engine.dispose()
    assert row == token.secret_hash.hex() != token.secret.hex()


def test_rotation_revokes_the_old_key_when_the_new_one_stands(registry: Registry) -> None:
    old = enrol(registry, "icu-1")
    machine = Enrolment(KEYS.anchor, registry.rotate("icu-1", 10, ACT, ENTROPY))
    new = machine.receive(registry.enrol(machine.ask(ENTROPY), 1, ACT, ENTROPY))
    server = server_of(registry)
    authenticate(server, old)
    authenticate(server, new)
    registry.finished(new.identity.device_id, ACT)
    assert {d.device_id: d.state for d in registry.devices()} == {
        old.identity.device_id.hex(): State.REVOKED,
        new.identity.device_id.hex(): State.ACTIVE,
    }
    assert registry.device("icu-1").serial == 2
    with pytest.raises(UsageError, match="is revoked; issue a fresh token"):
        registry.rotate(old.identity.device_id.hex(), 10, ACT, ENTROPY)
    registry.verify()


def test_evidence_moves_a_device_and_operators_too(registry: Registry) -> None:
    who = enrol(registry, "icu-1").identity.device_id
    turns = [registry.observe(who, Verdict("robust rule", bad=1.0), ACT) for _ in range(40)]
    assert [t for t in turns if t] == [Turn.DOUBT, Turn.CONDEMN]
    assert registry.device("icu-1").state is State.QUARANTINED
    assert registry.turn("icu-1", Turn.RELEASE, ACT).state is State.PROBATION
    assert registry.turn("icu-1", Turn.QUARANTINE, ACT).state is State.QUARANTINED
    with pytest.raises(UsageError, match="that is quarantined cannot take this turn"):
        registry.turn("icu-1", Turn.QUARANTINE, ACT)
    roster = open_roster(KEYS.anchor, registry.export())
    assert (roster.entries[0].state, roster.revocation_epoch) == ("quarantined", 2)
    registry.verify()


@ON_SQLITE
def test_devices_are_found_by_name_and_by_the_beginning_of_an_id(registry: Registry) -> None:
    who = enrol(registry, "icu-1")
    assert registry.device(who.identity.device_id.hex()[:8]) == registry.device("icu-1")
    for wrong in ("icu-2", who.identity.device_id.hex()[:3], "%", "____"):
        with pytest.raises(UsageError, match="no device match"):
            registry.device(wrong)


@ON_SQLITE
@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "\x1b[2J"])
def test_names_are_checked(registry: Registry, name: str) -> None:
    with pytest.raises(UsageError, match="printable text"):
        registry.issue_token(name, 1, ACT, ENTROPY)


@ON_SQLITE
def test_a_name_is_given_once(registry: Registry) -> None:
    registry.issue_token("icu-1", 10, ACT, ENTROPY)
    with pytest.raises(UsageError, match="the name icu-1 is taken"):
        registry.issue_token("icu-1", 10, ACT, ENTROPY)


def test_server_keys_form_a_chain(registry: Registry) -> None:
    verifier = KEYS.key.verifier
    first = verify(verifier, registry.descriptor(), Descriptor)
    signed = registry.publish(SUITES[1].kem.key(b"\1" * 64).public, (11, 20), ACT)
    second = next_descriptor(verifier, first, signed)
    assert second.previous == first.link
    with pytest.raises(UsageError, match="the next one must be later"):
        registry.publish(SERVER.public, (11, 30), ACT)
    with pytest.raises(UsageError, match="a server's key has 1184 bytes"):
        registry.publish(b"short", (30, 31), ACT)
    with pytest.raises(UsageError, match="are not a range"):
        registry.publish(SERVER.public, (31, 30), ACT)


def test_nobody_enrols_before_there_is_a_server(url: str) -> None:
    registry = Registry.create(url, KEYS, ACT)
    machine = Enrolment(KEYS.anchor, registry.issue_token("icu-1", 10, ACT, ENTROPY))
    with pytest.raises(UsageError, match="no server key was published"):
        registry.enrol(machine.ask(ENTROPY), 1, ACT, ENTROPY)
    assert registry.tokens()[0][2] == "issued"  # the whole change was undone
    registry.verify()
    registry.close()


def test_opened_again_without_keys_it_can_be_read_and_verified(registry: Registry, url: str) -> None:
    enrol(registry, "icu-1")
    reader = Registry.open(url)
    assert reader.verify() == registry.verify()
    assert [d.name for d in reader.devices()] == ["icu-1"]
    for change in (lambda: reader.turn("icu-1", Turn.REVOKE, ACT), reader.export, reader.revocations):
        with pytest.raises(UsageError, match="needs the registrar's keys"):
            change()
    assert reader.device("icu-1").state is State.ACTIVE
    reader.close()
    with pytest.raises(UsageError, match="another federation than this registry"):
        Registry.open(url, issuing_keys(b"ward eight"))
    with pytest.raises(UsageError, match="holds a registry already"):
        Registry.create(url, KEYS, ACT)


# --- the audit log


def tamper(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.fixture
def busy(registry: Registry) -> Registry:
    """Six entries: create, publish, token, enrol, quarantine, release."""
    enrol(registry, "icu-1")
    registry.turn("icu-1", Turn.QUARANTINE, ACT)
    registry.turn("icu-1", Turn.RELEASE, ACT)
    return registry


@ON_SQLITE
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE audit SET detail = 'icu-9' WHERE number = 3", "broken at entry 3 .* hash"),
        ("UPDATE audit SET actor = 'nobody' WHERE number = 5", "broken at entry 5 .* hash"),
        ("UPDATE audit SET at = at + 1 WHERE number = 2", "broken at entry 2 .* hash"),
        ("UPDATE audit SET signature = (SELECT signature FROM audit WHERE number = 1) WHERE number = 4",
         "broken at entry 4 .* signature"),
        ("DELETE FROM audit WHERE number = 4", "entry 4 is missing"),
        ("DELETE FROM audit WHERE number = 1", "entry 1 is missing"),
        ("DELETE FROM audit WHERE number = 6", "ends at entry 5, the registry stands at version 6"),
        ("UPDATE devices SET state = 'active'", "device icu-1 is active, but by the audit log it is probation"),
        ("DELETE FROM devices", "is in the audit log, but not in the registry"),
        ("UPDATE audit SET number = 40 WHERE number = 4", "entry 4 is missing"),
    ],
)  # fmt: skip
def test_the_audit_says_where_it_breaks(busy: Registry, url: str, statement: str, said: str) -> None:
    assert busy.verify().number == 6
    tamper(url, statement)
    with pytest.raises(DataError, match=said):
        busy.verify()


def test_a_cut_or_rewritten_log_is_seen_by_who_noted_its_head(busy: Registry, url: str) -> None:
    noted = busy.verify()
    assert str(noted) == f"6:{noted.hash.hex()}"
    busy.turn("icu-1", Turn.REVOKE, ACT)
    assert busy.verify(noted).number == 7
    with pytest.raises(DataError, match="was rewritten: entry 6"):
        busy.verify(Head(6, bytes(32)))
    tamper(url, "DELETE FROM audit WHERE number > 4", "UPDATE facts SET number = 4 WHERE name = 'version'")
    with pytest.raises(DataError, match="was cut: it ends at entry 4, 6 were noted"):
        busy.verify(noted)


def test_a_change_that_fails_leaves_nothing(busy: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    from wardround.drivers.store import registry_audit

    def fail(*_: object) -> Head:
        raise RuntimeError("power cut")

    monkeypatch.setattr(registry_audit, "append", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        busy.turn("icu-1", Turn.REVOKE, ACT)
    monkeypatch.undo()
    assert busy.device("icu-1").state is State.PROBATION
    busy.verify()


def test_two_registrars_at_once_do_not_lose_a_change(busy: Registry, url: str) -> None:
    import threading

    def work(name: str) -> None:
        other = Registry.open(url, KEYS)
        for number in range(5):
            other.issue_token(f"{name}-{number}", 10, ACT, Seeded(name + str(number)))
        other.close()

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert busy.verify().number == 16
    assert len(busy.tokens()) == 11


# --- the door


@ON_SQLITE
def test_an_export_of_another_federation_is_refused(registry: Registry) -> None:
    with pytest.raises(AuthError):
        open_roster(issuing_keys(b"ward eight", b"\2" * 32).anchor, registry.export())
    data = registry.export()
    with pytest.raises((AuthError, DecodeError)):
        open_roster(KEYS.anchor, data[:-1])


@pytest.mark.parametrize("wrong", ["", "no url", "sqlite:////nowhere/at/all.db", "mysql://x@127.0.0.1/y"])
def test_a_database_that_cannot_be_opened(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"the registry's database .* cannot be opened"):
        Registry.open(wrong)


def test_an_empty_database_and_a_password(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be opened: .*No such file"):
        Registry.open(f"sqlite:///{tmp_path}/missing.db")
    assert list(tmp_path.iterdir()) == []
    empty = tmp_path / "empty.db"
    empty.touch(mode=0o600)
    with pytest.raises(UsageError, match="holds no registry; wardround init makes one"):
        Registry.open(f"sqlite:///{empty}")
    Registry.create(f"sqlite:///{tmp_path}/new.db", KEYS, ACT).close()
    assert stat.S_IMODE((tmp_path / "new.db").stat().st_mode) == 0o600
    (tmp_path / "new.db").chmod(0o640)
    with pytest.raises(UsageError, match="can be read by others and holds pre-shared keys: chmod 600"):
        Registry.open(f"sqlite:///{tmp_path}/new.db")
    with pytest.raises(UsageError, match=r"://\.\.\.@127") as caught:
        Registry.open("nonsense://me:hunter2@127.0.0.1/x")
    assert "hunter2" not in str(caught.value)
