"""Whole rounds: with and without cohorts, with clients and members vanishing at every step, and crash recovery."""

from __future__ import annotations

from typing import Any

import pytest

from wardround.crypto.sampling import subseed
from wardround.errors import LocalProtocolError, RemoteProtocolError, RoundError
from wardround.secagg import server as roles
from wardround.secagg.client import Client
from wardround.secagg.decryptor import Decryptor
from wardround.secagg.keys import Signer
from wardround.secagg.messages import Proposal
from wardround.secagg.server import Server
from wardround.secagg.server_state import Patience, ServerState
from wardround.wire import decode, encode

ENTROPY = bytes(range(32))
STEPS = ["Checked", "Vote", "BeaconShare", "SumShares"]


def silent_from(kind: str, members: set[int]) -> Any:
    """A hook: these members never give this answer, nor any later one."""
    later = STEPS[STEPS.index(kind) :]
    return lambda j, m: None if j in members and type(m).__name__ in later else m


@pytest.mark.parametrize("cohort", [0, 3])
def test_sums_are_those_of_the_clients_that_uploaded(table: Any, cohort: Any) -> None:
    t = table(8, cohort)
    t.upload(list(t.parties.clients)[:7])
    opened = t.finish()
    t.check(opened)
    assert sorted(c for row in opened.cohorts for c in row.clients) == list(t.parties.clients)[:7]
    assert len(opened.cohorts) == (1 if cohort == 0 else 2)
    assert not opened.faulty
    assert not opened.refused


def test_fewer_than_two_cohorts_are_opened_as_one_without_a_beacon(table: Any) -> None:
    t = table(8, 3)
    seen: list[str] = []
    t.answer = lambda j, m: [seen.append(type(m).__name__), m][-1]  # type: ignore[func-returns-value]
    t.upload(list(t.parties.clients)[:5])
    t.check(t.finish())
    assert "BeaconShare" not in seen


@pytest.mark.parametrize("cohort", [0, 3])
@pytest.mark.parametrize("kind", STEPS)
def test_a_member_may_vanish_at_every_step(table: Any, cohort: Any, kind: Any) -> None:
    t = table(6, cohort)
    t.answer = silent_from(kind, {4})
    t.upload()
    t.check(t.finish())


@pytest.mark.parametrize("kind", STEPS[:3])
def test_beyond_the_limit_the_round_fails_and_the_next_one_works(table: Any, kind: Any) -> None:
    t = table(6, 3)
    opened_shares = []
    drop = silent_from(kind, {4, 5})
    t.answer = lambda j, m: opened_shares.append(m) if type(m).__name__ == "SumShares" else drop(j, m)
    t.upload()
    with pytest.raises(RoundError, match="needed"):
        t.finish()
    assert t.server.state == roles.FAILED
    assert not opened_shares  # no member released anything about the key
    again = type(t)(t.parties, 3)
    again.upload()
    again.check(again.finish())


def test_too_few_clients_fail_the_round_before_anything_is_asked(table: Any) -> None:
    t = table(6)
    t.upload(list(t.parties.clients)[:2])
    with pytest.raises(RoundError, match="2 contributions, 3 are needed"):
        t.finish()


def test_every_role_survives_a_restart_between_any_two_messages(table: Any) -> Any:
    t = table(6, 3)

    def restart_member(j: Any, message: Any) -> Any:
        old = t.parties.members[j]
        fresh = Decryptor(
            j, Signer(subseed(bytes(32), b"member" + bytes([j]))), t.parties.roster, t.parties.config, b"simulation"
        )
        fresh.restore(old.to_bytes())
        assert fresh.to_bytes() == old.to_bytes()
        t.parties.members[j] = fresh
        fresh_server = Server(t.start, tuple(t.parties.clients), t.parties.roster, ENTROPY)
        fresh_server.restore(t.server.to_bytes())
        assert fresh_server.to_bytes() == t.server.to_bytes()
        t.server = fresh_server
        return message

    t.question = restart_member
    for name, client in list(t.parties.clients.items()):
        fresh = Client(
            name,
            Signer(subseed(bytes(32), b"client" + name.encode())),
            t.parties.roster,
            t.parties.config,
            b"simulation",
        )
        fresh.restore(client.to_bytes())
        t.parties.clients[name] = fresh
    t.upload()
    t.check(t.finish())


@pytest.mark.parametrize(
    "state", [roles.COLLECTING, roles.CHECKING, roles.VOTING, roles.BEACON, roles.PARTITION, roles.OPENING]
)
def test_a_killed_server_resumes_where_it_was_and_asks_again(table: Any, state: Any) -> None:
    t = table(6, 3)
    lost = lambda j, m: None if t.server.state == state else m  # noqa: E731 - what was under way when it died is lost
    t.question = lost
    t.upload(list(t.parties.clients)[:5] if state == roles.COLLECTING else None)
    kept = t.server.to_bytes()
    assert t.server.state == state
    t.server = Server(t.start, tuple(t.parties.clients), t.parties.roster, ENTROPY)
    t.server.restore(kept)
    t.question = lambda _, m: m
    step = t.server.resume(t.now)
    if state == roles.COLLECTING:
        assert step.send[0].clients == ("gw-05",)
    t.deliver(step.send)
    t.check(t.finish())


def test_a_retry_sends_identical_bytes(table: Any) -> None:
    t = table()
    name = "gw-00"
    first = t.contribution(name)
    again = t.parties.clients[name].contribute(t.start, t.plain("gw-01"), bytes(32))
    assert encode(again) == encode(first)  # another vector and other entropy change nothing


def test_batches_and_verdicts_may_arrive_while_clients_still_upload(table: Any) -> None:
    t = table(8)
    t.server = Server(t.start, tuple(t.parties.clients), t.parties.roster, ENTROPY, patience=Patience(batch=2))
    t.server.begin(0.0)
    names = list(t.parties.clients)
    t.upload(names[:4])
    kept = decode(t.server.to_bytes(), ServerState)
    assert [k.folded for k in kept.kept] == [True] * 4  # judged by all members: added, and the ciphertexts are gone
    assert all(k.contribution.update == b"" for k in kept.kept)
    t.upload(names[4:])
    t.check(t.finish())


def test_machines_refuse_wrong_calls_loudly(table: Any) -> None:
    t = table()
    fresh = Client(
        "gw-00", Signer(subseed(bytes(32), b"client" + b"gw-00")), t.parties.roster, t.parties.config, b"simulation"
    )
    with pytest.raises(LocalProtocolError, match="not expected in state new"):
        fresh.contribute(t.start, t.plain("gw-00"), ENTROPY)
    with pytest.raises(RoundError, match="invited"):
        Server(t.start, ("gw-00",), t.parties.roster, ENTROPY)
    with pytest.raises(LocalProtocolError, match="not on the roster"):
        Server(t.start, ("stranger", "gw-00", "gw-01"), t.parties.roster, ENTROPY)
    with pytest.raises(RemoteProtocolError, match="not in that round"):
        t.parties.members[1].receive(Proposal(t.server.identity, ("gw-00",)))
