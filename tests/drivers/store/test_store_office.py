"""The registrar's commands as typed, on SQLite and on PostgreSQL: init, token, enrol, revoke, audit."""

from __future__ import annotations

import contextlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from wardround.auth.suites import SUITES
from wardround.cli.commands import build
from wardround.drivers.nats.provisioning import Asked, Enrol, keys
from wardround.drivers.store.administering import Office
from wardround.drivers.store.export import ANCHOR, read_anchor
from wardround.drivers.store.member_keys import read_identity
from wardround.drivers.store.registrar import Registrar, Wish
from wardround.drivers.store.suspicion import trust_moves
from wardround.errors import DataError, UsageError

PLAIN = re.compile(r'use = "lattice"\ncommittee.*\nminimum.*')  # for fewer gateways than a committee has members
WORD = "correct horse battery"
ENVIRONMENT = {"WARDROUND_PASSPHRASE": WORD, "USER": "operator", "SUDO_USER": None}


def say(*words: str) -> str:
    """A command's output; an error comes through as it is."""
    done = CliRunner().invoke(build(words), list(words), env=ENVIRONMENT, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert WORD not in done.output
    return done.output.strip()


def test_init_token_enrol_revoke_audit_on_either_database(url: str, tmp_path: Path) -> None:
    given = url.replace("postgresql+psycopg:", "postgresql:")  # as PostgreSQL's own tools write it
    ward, office = tmp_path / "ward", ("--registrar", str(tmp_path / "ward" / "registrar"))
    say("init", str(ward), "--suite", "ml-kem-768", "--registry", given)
    assert json.loads((ward / "registrar" / "registrar.json").read_text())["registry"] == given
    assert not (ward / "registrar" / "registry.db").exists()
    file = ward / "federation.toml"
    file.write_text(PLAIN.sub('use = "plain"', file.read_text()) + '\n[broker]\ngateways = ["icu"]\n')
    list(keys(Asked(file, coordinator=True, passphrase=WORD)))
    say("registry", "publish", str(ward / "keys" / "server.pub"), *office)

    request, answer = tmp_path / "request", tmp_path / "answer"
    token = say("token", "icu", *office)
    request.write_text(say("enrol", str(file), "--as", "icu", "--token", token))
    answer.write_text(say("registry", "answer", str(request), *office))
    assert "icu is enrolled (serial 1)" in say("enrol", str(file), "--as", "icu", "--answer", str(answer))
    seed = read_identity(ward / "keys" / "g00000.id", read_anchor(ward / "keys" / ANCHOR), WORD).identity.key.seed
    for path in (p for p in ward.rglob("*") if p.is_file()):  # key files, registry, request: nothing in clear
        assert seed not in path.read_bytes(), path
        assert WORD.encode() not in path.read_bytes(), path
    assert " active " in say("registry", "list", *office)
    assert "is revoked" in say("registry", "revoke", "icu", "--reason", "stolen", *office)
    told = say("registry", "audit", "--entries", *office)
    assert [line.split()[3:5] for line in told.splitlines()[:-1]] == [
        ["operator", a] for a in ("create", "publish", "token", "enrol", "state")
    ]
    head = told.rpartition(" head ")[2]
    assert say("registry", "audit", "--head", head, *office).endswith(head)

    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE audit SET detail = 'lost' WHERE number = 5"))
    engine.dispose()
    with pytest.raises(DataError, match="broken at entry 5"):
        say("registry", "audit", *office)


def test_a_wrong_url_leaves_no_half_made_registrar(tmp_path: Path) -> None:
    registrar = Registrar(tmp_path / "registrar")
    with pytest.raises(UsageError, match="cannot be opened") as caught:
        registrar.create(Wish("A", SUITES[1], "postgresql://me:hunter2@127.0.0.1:1/none"), WORD)
    assert "hunter2" not in str(caught.value)
    registrar.create(Wish("A", SUITES[1]), WORD).close()


def test_no_passphrase_token_or_database_password_in_a_repr(tmp_path: Path) -> None:
    shown = repr(
        (
            Office(Registrar(tmp_path), WORD),
            Enrol(tmp_path, "icu", token="wrt1-open", passphrase=WORD),
            Asked(tmp_path, passphrase=WORD),
            Wish("A", SUITES[1], "postgresql://me:hunter2@db/ward"),
        )
    )
    for secret in (WORD, "wrt1-open", "hunter2"):
        assert secret not in shown


NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def moved(name: str, after: str, at: str, why: str = "in 14 of 15 rejected cohorts") -> str:
    return json.dumps(
        {"time": at, "event": "TrustMoved", "round": 12, "peer": name, "before": "active", "after": after, "why": why}
    )


def test_the_coordinators_suspicion_is_listed_and_followed_only_if_asked(tmp_path: Path) -> None:
    ward, office = tmp_path / "ward", ("--registrar", str(tmp_path / "ward" / "registrar"))
    say("init", str(ward), "--suite", "ml-kem-768")
    file = ward / "federation.toml"
    file.write_text(PLAIN.sub('use = "plain"', file.read_text()) + '\n[broker]\ngateways = ["icu", "er"]\n')
    list(keys(Asked(file, coordinator=True, passphrase=WORD)))
    say("registry", "publish", str(ward / "keys" / "server.pub"), *office)
    for name in ("icu", "er"):
        token = say("token", name, *office)
        (tmp_path / "request").write_text(say("enrol", str(file), "--as", name, "--token", token))
        say("registry", "answer", str(tmp_path / "request"), *office)
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"time": "x", "event": "RoundDone", "round": 1}) + "\n")
    assert say("registry", "suspects", str(log), *office) == "nothing is said about any gateway's trust"
    late = datetime.now(UTC).isoformat()  # after the enrolments above
    lines = [moved("icu", "probation", late), moved("er", "probation", late), moved("icu", "quarantined", late)]
    log.write_text("\n".join([*lines, moved("ghost", "quarantined", late)]))
    told = say("registry", "suspects", str(log), *office).splitlines()
    assert told == [
        "er: probation since round 12 (in 14 of 15 rejected cohorts), active here",
        "icu: quarantined since round 12 (in 14 of 15 rejected cohorts), active here",
        "ghost: quarantined since round 12 (in 14 of 15 rejected cohorts), unknown here",
    ]
    assert "quarantined" not in say("registry", "list", *office), "it was only listed"
    log.write_text("\n".join(lines))
    done = say("registry", "suspects", str(log), "--quarantine", *office).splitlines()
    assert done[-1].endswith("active here: quarantined")
    assert say("registry", "list", *office).count("quarantined") == 1
    assert "14 of 15 rejected cohorts" in say("registry", "show", "icu", *office)
    again = say("registry", "suspects", str(log), "--quarantine", *office)
    assert "quarantined here" in again
    assert not again.endswith(": quarantined"), "once"
    say("registry", "release", "icu", "--reason", "its sensor was miscalibrated", *office)
    log.write_text(moved("icu", "quarantined", "2020-01-01T00:00:00+00:00"))
    assert not say("registry", "suspects", str(log), "--quarantine", *office).endswith(": quarantined"), "decided since"
    assert "the audit log holds" in say("registry", "audit", *office)


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        "{}",
        '{"event": "TrustMoved"}',
        moved("icu", "king", "2026-01-01T00:00:00+00:00"),
        moved("icu", "probation", "yesterday"),
        moved("icu", "probation", "0001-01-01T00:00:00"),
        moved("icu", "probation", "2026-01-01T00:10:00+00:00"),  # later than anybody's clock
        moved(7, "probation", "2026-01-01T00:00:00+00:00"),  # type: ignore[arg-type]
        "[" * 100_000,
    ],
)
def test_what_is_no_coordinators_log_is_refused(line: str) -> None:
    good = moved("icu", "probation", "2026-01-01T00:04:00+00:00")  # clocks differ a little
    assert trust_moves(good, NEW_YEAR)[0].peer == "icu"
    with pytest.raises(UsageError, match="line 2 is not of a coordinator's log"):
        trust_moves(f"{good}\n{line}", NEW_YEAR)


def test_what_the_log_says_reaches_a_terminal_as_plain_text() -> None:
    (word,) = trust_moves(
        moved("icu\x1b[2J", "probation", "2026-01-01T00:00:00+00:00", "\x1b]0;x\x07 in\n14"), NEW_YEAR
    )
    assert (word.peer, word.why) == ("icu?[2J", "?]0;x? in 14")


@given(st.text(max_size=200))
def test_any_text_is_a_log_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        trust_moves(text, NEW_YEAR)
