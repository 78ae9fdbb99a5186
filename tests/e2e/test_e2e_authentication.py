"""Real processes: a registrar's word while the federation runs. Revoked in the middle, enrolled in the middle, strangers."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_e2e_nats import NAMES, Hospital, pytestmark, wardround  # type: ignore[import-not-found]  # noqa: E402, F401

LATE = "outpatients 1"


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    place = Hospital(tmp_path, 4000)
    yield place
    place.close()


def until(what: str, holds: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def done(hospital: Hospital) -> list[int]:
    return [e["answered"] for e in hospital.events() if e["event"] == "RoundDone"]


def codes(hospital: Hospital, code: str) -> list[str]:
    return [e["text"] for e in hospital.events() if e["event"] == "Note" and e["code"] == code]


def test_the_registrars_word_counts_while_the_federation_runs(hospital: Hospital) -> None:
    for who in ("serve", *NAMES):
        hospital.start(who)
    until("rounds with three gateways", lambda: len(done(hospital)) >= 3 and done(hospital)[-1] == 3)
    assert sorted(codes(hospital, "auth.session")) == sorted(f"{name} has authenticated" for name in NAMES)

    hospital.do("registry", "revoke", LATE, "--reason", "stolen")
    until("it is cut off", lambda: codes(hospital, "auth.cut") != [])
    before = len(done(hospital))
    until("rounds go on with two", lambda: done(hospital)[before + 1 : before + 3] == [2, 2])
    told = hospital.folder / "federation-state" / "g00002" / "log.jsonl"
    until("it is told so when it asks for a session again", lambda: "auth.refused" in told.read_text())

    # the same hospital enrols the gateway anew, with new keys, while the coordinator runs
    hospital.kill(LATE)
    token = hospital.do("token", LATE).strip()
    hospital.do("enrol", "federation.toml", "--as", LATE, "--token", token, "--registrar", "registrar")
    hospital.start(LATE)
    before = len(done(hospital))
    until("three again", lambda: 3 in done(hospital)[before:])
    authenticated = (hospital.state / "authenticated.txt").read_text().split()
    assert len(authenticated) == 4, "three gateways, and the new key of one"
    hospital.do("registry", "finish", str(hospital.state / "authenticated.txt"))
    assert "the audit log holds" in hospital.do("registry", "audit")
    assert "token" not in hospital.do("registry", "list")


def test_who_is_not_enrolled_does_not_join(hospital: Hospital) -> None:
    (hospital.folder / "keys" / "g00001.id").unlink()
    command = wardround(hospital.folder, "join", "federation.toml", "--as", "radiology 1", "--quiet")
    refused = subprocess.run(command, cwd=hospital.folder, capture_output=True, text=True, timeout=200, check=False)
    assert refused.returncode == 2
    assert "radiology 1 is not enrolled here" in refused.stderr
    # another gateway's identity under this gateway's account
    shutil.copy(hospital.folder / "keys" / "g00000.id", hospital.folder / "keys" / "g00001.id")
    for who in ("serve", *NAMES):
        hospital.start(who)
    until("two authenticate", lambda: len(codes(hospital, "auth.session")) >= 2)
    until("the third is refused", lambda: any(t.startswith("radiology 1") for t in codes(hospital, "auth.refused")))
    assert not [t for t in codes(hospital, "auth.session") if t.startswith("radiology 1")]
    assert done(hospital) == [], "wait_for = 3 is never met"
