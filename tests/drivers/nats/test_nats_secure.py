"""The lattice sum over the coordinator's loop, where processes die, messages repeat, swap and vanish."""

import os
from collections import Counter
from typing import Any

import numpy as np
import pytest

from wardround.drivers.nats.coordinator import Patience
from wardround.drivers.strategies import full
from wardround.errors import RemoteProtocolError
from wardround.events import Note, RoundDone, RoundFailed
from wardround.federation.messages import Answer
from wardround.federation.secure_messages import AskMember, AskOffer, MemberAnswer, SecureAnswer, SecureAsk
from wardround.federation.secure_server import TURNS, TURNS_PER_EXCHANGE
from wardround.federation.secure_state import SecureState
from wardround.federation.server_state import ServerState
from wardround.secagg.messages import (
    BeaconShare,
    BeaconShares,
    Certificate,
    Checked,
    EpochOffer,
    Proposal,
    ShareBatch,
    SumShares,
    Vote,
    decode_answer,
    decode_question,
)
from wardround.wire import decode, encode

RUNS = 8 * int(os.environ.get("WARDROUND_CHAOS", "1"))
KILLS = (
    "server before its checkpoint",
    "server after its checkpoint",
    "server while sending",
    "server while waiting",
    "server before settling",
    "gateway before answering",
    "gateway before storing",
    "gateway after storing",
    "member before answering",
    "member before storing",
    "member after storing",
)


def codes(done: Any) -> list[str]:
    return [e.code for e in done.events if isinstance(e, Note)]


def rounds(done: Any) -> list[tuple[int, int]]:
    return [(e.round, e.answered) for e in done.events if isinstance(e, RoundDone)]


def failed(done: Any) -> list[int]:
    return [e.round for e in done.events if isinstance(e, RoundFailed)]


def said(town: Any, kind: type) -> list[Any]:
    """What members sent of one kind."""
    found = []
    for peer, body in town.sent:
        if peer.endswith("(committee)"):
            answer: Any = decode(body, MemberAnswer, EpochOffer)
            if isinstance(answer, MemberAnswer) and isinstance(decode_answer(answer.answer), kind):
                found.append(decode_answer(answer.answer))
    return found


def question(body: bytes) -> Any:
    """What a message asks of a member."""
    asked: Any = decode(body, AskMember, AskOffer, SecureAsk)
    return decode_question(asked.question) if isinstance(asked, AskMember) else asked


def fine(text: str) -> str:
    """The same federation at 16 bits: the quantiser's error is 256 times smaller."""
    return text.replace('use = "lattice"', 'use = "lattice"\nbits = 16')


def test_processes_end_with_the_simulations_model_within_the_quantisers_error(lab: Any) -> None:
    plain = lab.run(lab.town(0, 0.0)).parameters
    apart = {}
    for bits, text in ((8, lab.lattice), (16, fine(lab.lattice))):
        where = lab.place(text)
        done = lab.run_secure(where, lab.secure_town(0, 0.0, where))
        assert rounds(done) == [(1, 4), (2, 4), (3, 4), (4, 4)]
        apart[bits] = float(np.abs(done.parameters - lab.simulated(where)).max())
        assert np.abs(done.parameters - plain).max() < 0.06, "what is out of reach is cut, and rounding adds up"
    # one step is 2 * reach / (2^bits - 1), the reach 1 at first (4 for SCAFFOLD's variate); rounding errors of four rounds add up
    assert apart[8] < 4 * 8 / 255
    assert apart[16] < 4 * 8 / 65535


def test_nobody_loses_a_round_and_nobody_votes_twice_when_everybody_is_killed(lab: Any) -> None:
    where = lab.place(fine(lab.lattice))
    calm = lab.run_secure(where, lab.secure_town(0, 0.0, where)).parameters
    seen: Counter[str] = Counter()
    for seed in range(RUNS):
        wild = lab.run_secure(where, lab.secure_town(seed, 0.07, where))
        seen += Counter(wild.town.chaos.kills)
        assert np.abs(wild.parameters - calm).max() < 2e-3, (seed, wild.town.chaos.kills)
        assert sorted(set(rounds(wild))) == [(1, 4), (2, 4), (3, 4), (4, 4)]
        assert failed(wild) == []
        votes = {(vote.round, vote.member, vote.digest) for vote in said(wild.town, Vote)}
        assert len(votes) == len({key[:2] for key in votes}), "one vote per member and round"
        assert all(len(bodies) == 1 for bodies in wild.town.told.values()), "a turn says one thing to a peer"
    assert sum(seen[kind] for kind in KILLS) > 25 * RUNS
    assert all(seen[kind] for kind in (*KILLS, "ask lost", "answer lost", "duplicate", "disk full", "broker away"))


def test_nothing_about_a_single_gateway_reaches_the_server_in_clear(lab: Any) -> None:
    """Everything the server received and stored, beside what each gateway would have said in the clear."""
    where = lab.place()
    secret: list[bytes] = []

    def answer(town: Any, peer: str, body: bytes) -> Any:
        found = lab.secure_answer(where)(town, peer, body)
        if found is not None and peer in where.names:
            plain = kept_answer(town.disk[peer])
            secret.extend(part.tobytes() for part in (plain.update, plain.counts) if part.size > 3)
        return found

    done = lab.run_secure(where, lab.secure_town(3, 0.02, where, answer=answer))
    town = done.town
    assert len(secret) >= 4 * (1 + 4 + 2)
    whole = b"".join(town.received) + b"".join(town.stored)
    for clear in secret:
        middle = len(clear) // 16 * 8
        for piece in (clear[:16], clear[middle : middle + 16]):
            assert len(set(piece)) < 5 or piece not in whole
    for body in town.received:  # no message of the plain protocol is ever sent
        decode(body, SecureAnswer, MemberAnswer, EpochOffer)
        with pytest.raises(RemoteProtocolError):
            decode(body, Answer)
    for data in town.stored:
        machine = decode(decode(data, SecureState).server, ServerState)
        assert machine.open is None or (machine.open.total is None and not machine.open.held)
        assert not machine.totals.size or machine.totals[0] == 4  # the statistics of four gateways, never of one


def kept_answer(data: bytes) -> Answer:
    from wardround.federation.client import ClientState
    from wardround.federation.secure_client import SecureClientState

    last = decode(decode(data, SecureClientState).client, ClientState).last
    assert last is not None
    return last


def silent_from(lab: Any, where: Any, turn: str, members: int, until: float) -> Any:
    """Members 1..``members`` vanish when they are first asked in ``turn`` of round 2, and come back at ``until``."""
    gone: set[str] = set()

    def answer(town: Any, peer: str, body: bytes) -> Any:
        if peer not in where.names and town.now < until and town.desk.server.round == 2:
            seat = next(seat for seat in where.securing.seats if seat.peer == peer)
            if seat.number <= members and (peer in gone or TURNS[town.desk.turn % TURNS_PER_EXCHANGE] == turn):
                gone.add(peer)
                return None
        return lab.secure_answer(where)(town, peer, body)

    return answer


STEPS = [
    ("checking", ShareBatch, 0),
    ("voting", Proposal, 0),
    ("opening", Certificate, 0),
    ("beacon", Certificate, 2),
    ("partition", BeaconShares, 2),
    ("opening", Certificate, 2),
]


def in_cohorts(text: str, cohort: int) -> str:
    return text.replace("measure_every = 2", f"measure_every = 2\ncohort_size = {cohort}")


@pytest.mark.parametrize("turn, kind, cohort", STEPS)
def test_as_many_members_as_may_be_away_vanish_at_each_step(lab: Any, turn: str, kind: type, cohort: int) -> None:
    where, asked = lab.place(in_cohorts(lab.lattice, cohort)), list[Any]()
    vanishing = silent_from(lab, where, turn, 1, 1e9)

    def answer(town: Any, peer: str, body: bytes) -> Any:
        found = vanishing(town, peer, body)
        if found is None:
            asked.append(question(body))
        return found

    done = lab.run_secure(where, lab.secure_town(1, 0.0, where, answer=answer))
    assert rounds(done) == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert isinstance(asked[0], kind)


@pytest.mark.parametrize("turn, kind, cohort", STEPS)
def test_beyond_that_the_round_is_given_up_nothing_is_opened_and_the_next_one_works(
    lab: Any, turn: str, kind: type, cohort: int
) -> None:
    del kind
    where = lab.place(in_cohorts(lab.lattice, cohort))
    # three of four: even the sum-shares of the one that is left open nothing (t + ell = 3)
    town = lab.secure_town(1, 0.0, where, answer=silent_from(lab, where, turn, 3, 1_100.0))
    done = lab.run_secure(where, town, Patience(60.0, 5.0, 30.0))
    assert failed(done) == [2]
    assert rounds(done) == [(1, 4), (3, 4), (4, 4)]
    assert codes(done).count("secagg.failed") == 2, "the round, and the measurement after it, while they were away"
    note = next(e.text for e in done.events if isinstance(e, Note) and e.code == "secagg.failed")
    assert "needed" in note or "sum-shares" in note or "shares" in note, note
    sums = Counter(opened.round for opened in said(town, SumShares))
    lost = {check.round for check in said(town, Checked)} - {identity for identity, count in sums.items() if count >= 3}
    assert len(lost) <= 2
    assert turn == "opening" or not any(sums[identity] for identity in lost), "not one member gave out a sum-share"


MODELS = {
    "logistic": 'use = "logistic"',
    "mlp": 'use = "mlp"\nhidden = [4, 3]',
    "residual": 'use = "residual"\nwidth = 4\nblocks = 1',
    "autoencoder": 'use = "autoencoder"\nhidden = [4, 2, 4]',
}


def test_every_model_is_among_those_that_are_compared() -> None:
    assert set(full().names("model")) == set(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_ends_over_processes_where_the_simulation_does(lab: Any, model: str) -> None:
    """FedAvg at 16 bits. A step is 2 reach / 65535 (reach 1 at first), what is out of reach is cut, and a unit near a ReLU's edge may
    carry one of them further; keys are fresh in every session, so is the rounding. Parameters are of size 0.1 to 1.
    """
    text = fine(lab.lattice).replace('use = "mlp"\nhidden = [4]', MODELS[model]).replace('"scaffold"', '"fedavg"')
    assert MODELS[model] in text
    where = lab.place(text)
    done = lab.run_secure(where, lab.secure_town(4, 0.03, where))
    assert rounds(done)[-1] == (4, 4)
    for other, middle, most in ((where, 1e-3, 0.03), (lab.plainly(where), 3e-3, 0.1)):
        apart = np.abs(done.parameters - lab.simulated(other))
        assert np.median(apart) < middle
        assert apart.max() < most


def test_gateways_vanish_before_during_and_after_their_upload(lab: Any) -> None:
    where = lab.place()
    before, during, after = where.names[:3]

    def answer(town: Any, peer: str, body: bytes) -> Any:
        training = town.desk.server.round == 2 and not town.desk.committee
        if training and peer == before:
            return None
        found = lab.secure_answer(where)(town, peer, body)
        if training and peer == during:
            return None  # it stored what it sent, and the connection broke
        if training and peer == after:
            town.absent = frozenset([after])
        if town.desk.server.round == 3:
            town.absent = frozenset()
        return found

    done = lab.run_secure(where, lab.secure_town(2, 0.0, where, answer=answer, now=1_000.0))
    assert rounds(done)[0] == (1, 4)
    assert (2, 2) in rounds(done), "the one that left after its upload is in the sum, with the one that stayed"
    assert failed(done) == []


def test_below_the_minimum_nothing_is_opened(lab: Any) -> None:
    where = lab.place()

    def answer(town: Any, peer: str, body: bytes) -> Any:
        if town.desk.server.round == 2 and peer in where.names[:3]:
            return None
        return lab.secure_answer(where)(town, peer, body)

    done = lab.run_secure(where, lab.secure_town(2, 0.0, where, answer=answer))
    assert failed(done) == [2]
    assert rounds(done) == [(1, 4), (3, 4), (4, 4)]
    assert (
        len({opened.round for opened in said(done.town, SumShares)}) == 1 + 3 + 1
    )  # set-up, rounds, measurements: the one
    # after round 2 is below the minimum too


def test_a_member_and_a_gateway_that_lost_their_disks_are_healed_by_a_new_epoch(lab: Any) -> None:
    where = lab.place()
    broken: list[str] = []
    epochs: set[int] = set()

    def answer(town: Any, peer: str, body: bytes) -> Any:
        asked: Any = decode(body, AskMember, AskOffer, SecureAsk)
        if isinstance(asked, AskOffer):
            epochs.add(asked.epoch)
        if town.desk.server.round == 2 and not broken:
            broken.extend([where.names[0], *(seat.peer for seat in where.securing.seats[:2])])
            for name in broken:
                town.disk.pop(name)
        return lab.secure_answer(where)(town, peer, body)

    done = lab.run_secure(where, lab.secure_town(2, 0.0, where, answer=answer))
    assert failed(done) == [2], "two of four members know nothing of the epoch"
    assert epochs == {1, 2}
    assert rounds(done)[-1] == (4, 4)


def test_a_gateway_alone_without_its_disk_is_left_out_and_named(lab: Any) -> None:
    where = lab.place()

    def answer(town: Any, peer: str, body: bytes) -> Any:
        if town.desk.server.round == 2 and town.disk.pop("once", b"once") == b"once":
            town.disk[where.names[0]] = b""
            del town.disk[where.names[0]]
            town.disk["once"] = b"done"
        elif town.desk.server.round >= 2:
            town.disk["once"] = b"done"
        return lab.secure_answer(where)(town, peer, body)

    done = lab.run_secure(where, lab.secure_town(2, 0.0, where, answer=answer))
    assert failed(done) == []
    assert [answered for _, answered in rounds(done)][1:] == [3, 3, 3]


def test_cohorts_are_dealt_after_the_upload_and_restarts_go_on_inside_the_beacon(lab: Any) -> None:
    text = lab.lattice.replace("measure_every = 2", "measure_every = 2\ncohort_size = 2")
    where = lab.place(text)
    for seed in range(3):
        done = lab.run_secure(where, lab.secure_town(seed, 0.04, where))
        assert sorted(set(rounds(done))) == [(1, 4), (2, 4), (3, 4), (4, 4)]
        assert said(done.town, BeaconShare)
        assert {len(opened.sums) for opened in said(done.town, SumShares)} == {1, 2}


def test_a_members_vote_survives_kill_9(lab: Any) -> None:
    where = lab.place()
    peer = where.securing.seats[0].peer
    kept: dict[str, Any] = {}

    def answer(town: Any, who: str, body: bytes) -> Any:
        if who == peer and isinstance(question(body), Proposal) and "proposal" not in kept:
            kept["before"], kept["proposal"] = town.disk[peer], body
        found = lab.secure_answer(where)(town, who, body)
        if who == peer and kept.get("proposal") == body:
            kept["vote"], kept["after"] = found, town.disk[peer]
        return found

    lab.run_secure(where, lab.secure_town(0, 0.0, where, answer=answer))
    proposal = question(kept["proposal"])
    smaller = encode(AskMember(None, None, encode(Proposal(proposal.round, proposal.clients[:3]))))
    again = lab.secure_member(where, peer, kept["after"])
    assert again.answer(kept["proposal"]) == kept["vote"], "the same bytes after kill -9"
    for body in (smaller, encode(AskMember(None, None, encode(Certificate(proposal.round, b"x" * 32, ()))))):
        with pytest.raises(RemoteProtocolError):
            lab.secure_member(where, peer, kept["after"]).answer(body)
    # had the vote not been stored before it was sent, the restarted member would vote for the smaller set
    forgot = decode(lab.secure_member(where, peer, kept["before"]).answer(smaller), MemberAnswer)
    assert isinstance(decode_answer(forgot.answer), Vote)


def test_a_file_that_differs_is_refused(lab: Any) -> None:
    where, other = lab.place(), lab.place(lab.lattice.replace("learning_rate = 0.05", "learning_rate = 0.06"))
    town = lab.secure_town(0, 0.0, where)
    lab.run_secure(where, town)
    odd = where.names[0]
    fresh = lab.secure_town(0, 0.0, where)

    def answer(inner: Any, peer: str, body: bytes) -> Any:
        return lab.secure_answer(other if peer == odd else where)(inner, peer, body)

    fresh.answer = answer
    done = lab.run_secure(where, fresh)
    assert [answered for _, answered in rounds(done)] == [3, 3, 3, 3]
    assert any("session" in why for peer, why in fresh.refusals if peer == odd)


def test_codecs_under_the_secure_sum_survive_kills_and_bind_the_support(lab: Any) -> None:
    """A shared support up, differences of models down: the same model whoever is killed, and no sum over two supports."""
    coded = "[compress]\nup = [{use = 'random-k', share = 0.5}]\ndown = [{use = 'int', bits = 8}]\n"
    where = lab.place(fine(lab.lattice) + coded)
    calm = lab.run_secure(where, lab.secure_town(0, 0.0, where))
    assert rounds(calm) == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert np.abs(calm.parameters - lab.simulated(where)).max() < 0.05  # rounding of the way down falls to either side
    wild = lab.run_secure(where, lab.secure_town(3, 0.05, where))
    assert sorted(set(rounds(wild))) == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert np.abs(wild.parameters - calm.parameters).max() < 0.05
