"""Codecs in the round: two ends wired in memory, catching up, error feedback over restarts, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from federation_pair import SEED, Pair, make_plan, with_schedule  # type: ignore[import-not-found]

from wardround.compress.budget import Ring
from wardround.compress.codec import Codec
from wardround.compress.feedback import ErrorFeedback
from wardround.compress.quantise import Float32, Integer
from wardround.compress.sparsify import SparseTernary, TopK
from wardround.compress.supports import Importance, RandomK
from wardround.compress.table import Compress
from wardround.errors import DecodeError, RemoteProtocolError
from wardround.events import Measured
from wardround.federation import coding, cohorts
from wardround.federation.algorithms import FedNova, FedProx, Scaffold
from wardround.federation.client import Client
from wardround.federation.coding import Coded, take_varint, varint
from wardround.federation.messages import Answer, AskTraining
from wardround.federation.plan import Plan
from wardround.federation.server import Phase, Server
from wardround.training.models import Mlp
from wardround.wire import decode, encode

STC = Compress(up=(ErrorFeedback(), SparseTernary(0.1)), down=(TopK(0.3), Integer(8)))
SUPPORT = Compress(up=(Importance(0.3),), down=(Importance(0.3, weigh=False), Integer(8)))
RING = Ring(8, 4)


def coded(compress: Compress, *, ring: Ring | None = None, rounds: int = 5, **changes: Any) -> Plan:
    plan = make_plan(model=Mlp(hidden=(8,)), **changes)
    plan = replace(plan, compress=compress, identity=b"pair", ring=ring, protected=ring is not None)
    scheduled: Plan = with_schedule(plan, rounds=rounds)
    return scheduled


class Secure(Pair):  # type: ignore[misc]
    """A pair whose answers enter ideal secure sums: the server gets totals, not answers."""

    def exchange(self, here: Any = None, silent: Any = ()) -> list[Any]:
        total, peers = None, []
        for peer, ask in self.ask(here).items():
            if peer in set(silent):
                continue
            answer = self.reply(peer, ask)
            assert isinstance(answer, Answer)
            total = cohorts.add(total or cohorts.empty(answer.update.size, answer.counts.size), answer)
            peers.append(peer)
        assert total is not None
        self.server.opened(peers, [total])
        return self.close()  # type: ignore[no-any-return]


# --- the law: nothing configured is nothing changed ---------------------------------------------------------------


def test_an_empty_table_is_todays_model_to_the_bit() -> None:
    plain, empty = Pair(make_plan()).run(), Pair(replace(make_plan(), compress=Compress(), identity=b"x")).run()
    np.testing.assert_array_equal(plain.server.parameters, empty.server.parameters)
    assert plain.downlink == empty.downlink
    assert plain.server.announced is None


def test_lossless_codecs_give_todays_model_to_rounding() -> None:
    plain = Pair(with_schedule(make_plan(model=Mlp(hidden=(8,))), rounds=5)).run()
    whole = Pair(coded(Compress(up=(Float32(),)))).run()
    np.testing.assert_allclose(whole.server.parameters, plain.server.parameters, atol=1e-6)


def test_under_a_secure_sum_an_empty_uplink_gives_the_mean_of_updates() -> None:
    down = Compress(down=(Float32(),))
    both = [Secure(coded(down, ring=RING)).run(), Pair(coded(Compress(up=(Float32(),)))).run()]
    np.testing.assert_allclose(both[0].server.parameters, both[1].server.parameters, atol=2e-2)  # what the reach cuts


# --- two ends agree -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "compress", [STC, SUPPORT, Compress(up=(Integer(8, 256),)), Compress(down=(TopK(0.1), Integer(8)))]
)
def test_clients_and_server_hold_the_same_model(compress: Compress) -> None:
    pair = Pair(coded(compress)).run()
    held = pair.server.announced
    assert held is not None
    for client in pair.clients.values():
        assert client.state.held is not None
        assert encode(client.state.held) == encode(held)
    np.testing.assert_array_equal(pair.server.outcome().parameters, held.model)


@pytest.mark.parametrize("compress", [STC, SUPPORT])
def test_restarting_every_machine_after_every_step_changes_nothing(compress: Compress) -> None:
    straight, broken = Pair(coded(compress)).run(), Pair(coded(compress), restart=True).run()
    assert straight.server.to_bytes() == broken.server.to_bytes()
    assert {n: c.to_bytes() for n, c in straight.clients.items()} == {
        n: c.to_bytes() for n, c in broken.clients.items()
    }


def test_the_model_learns_through_a_narrow_pipe() -> None:
    pair = Pair(coded(STC, rounds=30), sizes=(80, 60, 90, 70)).run()
    scores = [event.macro_f1 for event in pair.events if isinstance(event, Measured)]
    assert scores[-1] > 0.75
    assert scores[-1] > scores[0]


def test_an_open_answer_is_smaller_than_the_update_and_says_weight_loss_and_steps() -> None:
    pair = Pair(coded(STC)).until(Phase.TRAINING)
    asks = pair.ask()
    answer = pair.reply("gw0", asks["gw0"])
    assert isinstance(answer, Coded)
    assert len(encode(answer)) < pair.server.parameters.size
    (weight, loss, steps), code = coding.unpack(answer)
    assert (weight, steps) == (20, 3)
    assert loss > 0
    assert len(code) <= pair.server.prepared.coder.links[0].message_bytes


# --- clients that miss rounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [STC, SUPPORT])
def test_a_client_that_was_away_catches_up_with_one_message(compress: Compress) -> None:
    pair = Pair(coded(compress, rounds=12)).until(Phase.TRAINING)
    pair.exchange()
    for _ in range(3):
        pair.exchange(here=pair.names[:3])
    pair.exchange()
    held = [encode(client.state.held) for client in pair.clients.values()]
    assert len(set(held)) == 1


def test_differences_are_sent_where_they_are_shorter_and_a_snapshot_to_who_never_came() -> None:
    pair = Pair(coded(STC, rounds=12)).until(Phase.TRAINING)
    pair.exchange(here=pair.names[:3])
    first, again = pair.ask()["gw3"], pair.server.repeat()
    d = pair.server.parameters.size
    assert len(first.model) > 4 * d
    known = next(send for send in again.send if "gw0" in send.peers)
    assert len(known.message.model) < d
    assert first.parameters.size == known.message.parameters.size == 0


def test_an_answer_that_was_lost_leaves_the_server_behind_and_the_client_skips_what_it_has() -> None:
    pair = Pair(coded(STC, rounds=12)).until(Phase.TRAINING)
    pair.exchange()
    asks = pair.ask()
    pair.reply("gw0", asks["gw0"])  # follows and answers, and the answer never comes
    for peer in pair.names[1:]:
        pair.deliver(peer, pair.reply(peer, asks[peer]))
    pair.close()
    pair.exchange()
    assert len({encode(client.state.held) for client in pair.clients.values()}) == 1


def test_a_client_without_its_state_gets_a_snapshot_after_three_silent_exchanges_or_when_told() -> None:
    for told in (False, True):
        pair = Pair(coded(STC, rounds=20)).until(Phase.TRAINING)
        pair.exchange()
        pair.clients["gw0"] = Client(pair.plan, SEED, replace(pair.clients["gw0"].state, held=None))
        ask = pair.ask()["gw0"]
        with pytest.raises(RemoteProtocolError, match="for a client that holds no model"):
            pair.reply("gw0", ask)
        for peer in pair.names[1:]:
            pair.deliver(peer, pair.reply(peer, next(s.message for s in pair.server.repeat().send if peer in s.peers)))
        pair.close()
        if told:
            pair.server.forget(["gw0"])
        else:
            pair.exchange(silent=["gw0"])
            pair.exchange(silent=["gw0"])
        pair.exchange()
        assert len({encode(client.state.held) for client in pair.clients.values()}) == 1


def test_a_round_that_was_given_up_leaves_model_support_and_versions_alone() -> None:
    pair = Pair(coded(SUPPORT, rounds=12)).until(Phase.TRAINING)
    pair.exchange()
    before = pair.server.announced
    pair.exchange(silent=pair.names)
    assert pair.server.announced is before


# --- answers that are lost on the way -----------------------------------------------------------------------------


def lossy(pair: Any, lost: Any = (), silent: Any = ()) -> None:
    """One exchange: the ``lost`` train and answer and nobody hears it, the ``silent`` are asked and do nothing."""
    for peer, ask in pair.ask().items():
        if peer in silent:
            continue
        answer = pair.reply(peer, ask)
        if peer not in lost:
            pair.deliver(peer, answer)
    pair.close()


def owed(pair: Any) -> Any:
    """What each client will add to its next update, by the acknowledgement that comes with its next ask."""
    while pair.server.phase is not Phase.TRAINING:
        pair.exchange()
    asks = pair.ask()
    return {p: encode(c._feedback(asks[p])[0]) if c._feedback(asks[p]) else b"" for p, c in pair.clients.items()}


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("feedback", [ErrorFeedback(), ErrorFeedback(momentum=0.5)])
def test_an_answer_that_is_lost_takes_nothing_with_it(feedback: Any, restart: bool) -> None:
    """To the bit: who answered in vain goes on as one who was not heard of, over restarts of every machine."""
    compress = replace(STC, up=(feedback, SparseTernary(0.1)))
    vain = Pair(coded(compress, rounds=12), restart=restart).until(Phase.TRAINING)
    away = Pair(coded(compress, rounds=12)).until(Phase.TRAINING)
    for absent in ((), ("gw0",), ("gw0", "gw2"), (), ("gw1",), ()):
        lossy(vain, lost=absent)
        lossy(away, silent=absent)
    assert vain.server.to_bytes() == away.server.to_bytes()
    assert owed(vain) == owed(away)


def test_answers_to_a_round_that_was_given_up_take_nothing_with_them() -> None:
    given_up = Pair(coded(STC, rounds=12)).until(Phase.TRAINING)
    lossy(given_up)
    before = {name: encode(client.state.feedback[0]) for name, client in given_up.clients.items()}
    lossy(given_up, lost=given_up.names[1:])  # one answer arrives, two are needed
    assert all(encode(c.state.feedback[0]) != before[name] for name, c in given_up.clients.items())
    assert owed(given_up) == before


def test_who_is_killed_between_an_answer_and_its_acknowledgement_gives_the_same_answer_and_owes_the_same() -> None:
    pair = Pair(coded(STC, rounds=12)).until(Phase.TRAINING)
    lossy(pair)
    stored = pair.clients["gw0"].to_bytes()
    ask = pair.ask()["gw0"]
    first = pair.reply("gw0", ask)
    kept = pair.clients["gw0"].to_bytes()
    for state in (stored, kept):  # killed before the answer was stored: trains again; after: gives it again
        pair.clients["gw0"] = Client.from_bytes(pair.plan, SEED, state)
        assert encode(pair.reply("gw0", ask)) == encode(first)
        assert pair.clients["gw0"].to_bytes() == kept


def test_a_secure_sum_that_left_a_client_out_leaves_its_feedback_alone() -> None:
    compress = Compress(up=(ErrorFeedback(), RandomK(0.3, unbiased=False)))
    vain, away = (Secure(coded(compress, ring=RING, rounds=9)).until(Phase.TRAINING) for _ in range(2))
    for absent in ((), ("gw1",), ()):
        asks = vain.ask()
        total, heard = None, [peer for peer in vain.names if peer not in absent]
        for peer, ask in asks.items():
            answer = vain.reply(peer, ask)
            if peer in heard:
                total = cohorts.add(total or cohorts.empty(answer.update.size, answer.counts.size), answer)
        vain.server.opened(heard, [total])
        vain.close()
        away.exchange(silent=absent)
    assert vain.server.to_bytes() == away.server.to_bytes()
    assert owed(vain) == owed(away)


def test_acknowledgements_split_no_message_where_nobody_keeps_feedback() -> None:
    pair = Pair(coded(SUPPORT, rounds=9)).until(Phase.TRAINING)
    pair.exchange()
    asks = pair.ask()
    assert {ask.settled for ask in asks.values()} == {0}
    assert not pair.server.settled("gw0")


# --- under a secure sum -------------------------------------------------------------------------------------------


def test_a_secure_sum_carries_the_numbers_of_the_support_and_nothing_else() -> None:
    pair = Secure(coded(SUPPORT, ring=RING)).until(Phase.TRAINING)
    d = pair.server.parameters.size
    answer = pair.reply("gw0", pair.ask()["gw0"])
    assert isinstance(answer, Answer)
    assert answer.update.size == round(0.3 * d)
    assert answer.counts.size == 5


def test_public_data_that_differ_are_another_round_for_a_secure_sum() -> None:
    """The digest goes into the descriptor's codec: who was given other public data contributes to no sum of the others."""
    pair = Secure(coded(SUPPORT, ring=RING, rounds=9)).until(Phase.TRAINING)
    pair.exchange()
    asks = pair.ask()
    pair.reply("gw0", asks["gw0"])
    pair.reply("gw1", asks["gw1"])
    mine, state = pair.clients["gw0"], pair.clients["gw1"].state
    assert mine.codec == pair.clients["gw1"].codec == pair.server.codec
    assert len(mine.codec) == 32
    assert state.held is not None
    levels = state.held.public.levels.copy()
    levels[3] += 1
    forged = replace(state, held=replace(state.held, public=replace(state.held.public, levels=levels)))
    assert Client(pair.plan, SEED, forged, pair.server.prepared).codec != mine.codec
    assert Pair(make_plan()).until(Phase.TRAINING).server.codec == b""


def test_the_secure_sum_s_model_is_the_open_one_s_where_nothing_is_cut() -> None:
    secure = Secure(coded(SUPPORT, ring=RING, rounds=1)).until(Phase.TRAINING)
    plain = Pair(coded(SUPPORT, rounds=1)).until(Phase.TRAINING)
    secure.exchange()
    plain.exchange()
    got, want = secure.server.parameters, plain.server.parameters
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_the_reach_follows_the_values_until_few_are_cut() -> None:
    pair = Secure(coded(SUPPORT, ring=RING, rounds=25), sizes=(80, 60, 90, 70)).until(Phase.TRAINING)
    reaches = []
    while pair.server.phase is not Phase.DONE:
        pair.exchange()
        reaches.append(decode(pair.server.to_bytes(), type(pair.server._state)).carried.reach[0])
    assert max(reaches) < 4.0
    assert min(reaches) > 1e-4
    assert len(set(reaches)) > 2


@pytest.mark.parametrize("algorithm", [FedProx(), FedNova(), Scaffold()])
def test_every_algorithm_s_block_travels(algorithm: Any) -> None:
    up: tuple[Codec, ...] = (RandomK(0.5),)
    open_pair = Pair(coded(Compress(up=up), algorithm=algorithm)).run()
    secure = Secure(coded(Compress(up=up), ring=RING, algorithm=algorithm)).run()
    for pair in (open_pair, secure):
        assert np.isfinite(pair.server.parameters).all()
        assert np.abs(pair.server.parameters).max() < 10


def test_a_gateway_without_rows_says_so_in_a_few_bytes() -> None:
    pair = Pair(coded(STC), sizes=(40, 24, 60, 1)).until(Phase.TRAINING)
    answer = pair.reply("gw3", pair.ask()["gw3"])
    assert isinstance(answer, Coded)
    assert len(encode(answer)) <= 12
    pair.deliver("gw3", answer)


# --- classes of links ---------------------------------------------------------------------------------------------


def test_each_class_of_link_has_its_own_chain_in_the_open() -> None:
    budget = Compress(budget_bytes=400, classes=("slow",), class_bytes=(30,), class_clients=("gw[01]",))
    pair = Pair(coded(budget)).until(Phase.TRAINING)
    asks = pair.ask()
    assert [asks[peer].link for peer in pair.names] == [1, 1, 0, 0]
    sizes = {peer: len(coding.unpack(pair.reply(peer, asks[peer]))[1]) for peer in pair.names}
    assert max(sizes["gw0"], sizes["gw1"]) <= 30
    assert max(sizes["gw2"], sizes["gw3"]) <= 400
    assert min(sizes["gw2"], sizes["gw3"]) > 30
    for peer in pair.names:
        pair.server.receive(peer, pair.reply(peer, asks[peer]), pair.now)
    pair.close()
    pair.run()


def test_under_a_secure_sum_a_slow_class_sends_less_often_and_never_less() -> None:
    ring = Ring(8, 4, overhead_bytes=50)
    budget = Compress(budget_bytes=200, classes=("slow",), class_bytes=(40,), class_clients=("gw3",))
    pair = Secure(coded(budget, ring=ring, rounds=12)).until(Phase.TRAINING)
    every = pair.server.prepared.coder.links[1].every
    assert every > 1
    seen = []
    while pair.server.phase is not Phase.DONE:
        training = pair.server.phase is Phase.TRAINING
        before = len(pair.downlink["gw3"])
        pair.exchange()
        if training:
            seen.append(len(pair.downlink["gw3"]) - before)
    assert sum(seen) == 12 // every
    assert len({link.codecs for link in pair.server.prepared.coder.links}) == 1


def test_where_too_few_are_due_all_are_asked() -> None:
    ring = Ring(8, 4, overhead_bytes=50)
    budget = Compress(budget_bytes=200, classes=("slow",), class_bytes=(40,), class_clients=("gw[123]",))
    pair = Secure(coded(budget, ring=ring)).until(Phase.TRAINING)
    for _ in range(4):
        assert len(pair.ask()) >= 2
        pair.close()
        if pair.server.phase is not Phase.TRAINING:
            pair.until(Phase.TRAINING)


# --- what is refused ----------------------------------------------------------------------------------------------


def damaged(answer: Coded) -> list[Coded]:
    body = answer.body
    at = take_varint(body, 0)[1]
    return [
        *(Coded(body[:cut]) for cut in range(at, len(body))),
        Coded(body + b"\x00"),
        Coded(body[:at] + varint(10**6) + body[at + 1 :]),  # a weight above the policy's
        Coded(body[:at] + b"\x00" + body[at + 1 :]),  # weighs nothing and says more
    ]


def test_every_damaged_answer_is_refused_and_changes_nothing() -> None:
    pair = Pair(coded(STC)).until(Phase.TRAINING)
    good = pair.reply("gw0", pair.ask()["gw0"])
    before = pair.server.to_bytes()
    for bad in damaged(good):
        with pytest.raises(RemoteProtocolError):
            pair.deliver("gw0", bad)
    assert pair.server.to_bytes() == before
    pair.deliver("gw0", good)


def test_a_plain_answer_is_no_answer_where_bytes_are_due_and_the_other_way_round() -> None:
    pair = Pair(coded(STC)).until(Phase.TRAINING)
    pair.ask()
    d = pair.server.parameters.size
    with pytest.raises(RemoteProtocolError, match="not how this exchange is answered"):
        pair.deliver("gw0", Answer(pair.server.exchange, np.zeros(d, np.float32), np.zeros(5)))
    plain = Pair(make_plan()).until(Phase.TRAINING)
    plain.ask()
    with pytest.raises(RemoteProtocolError, match="not how this exchange is answered"):
        plain.deliver("gw0", coding.pack(plain.server.exchange, [1, 1, 1], b""))


def test_a_client_refuses_a_damaged_model_and_stays_as_it_was() -> None:
    pair = Pair(coded(STC, rounds=9)).until(Phase.TRAINING)
    pair.exchange()
    ask = pair.ask()["gw0"]
    assert isinstance(ask, AskTraining)
    before = pair.clients["gw0"].to_bytes()
    for bad in (ask.model[:-1], ask.model + b"\x00", b"", ask.model[:9] + b"\xff" + ask.model[10:]):
        with pytest.raises(RemoteProtocolError):
            pair.clients["gw0"].receive(replace(ask, model=bad), pair.rows["gw0"], pair.engine())
    with pytest.raises(DecodeError, match="link class 3"):
        pair.clients["gw0"].receive(replace(ask, link=3), pair.rows["gw0"], pair.engine())
    assert pair.clients["gw0"].to_bytes() == before


def test_a_server_s_state_from_before_set_up_goes_on() -> None:
    pair = Pair(coded(STC))
    pair.server = Server.from_bytes(pair.plan, pair.policy, pair.names, SEED, pair.server.to_bytes())
    pair.run()


def test_statistics_and_measures_travel_packed_and_arrive_whole() -> None:
    plain, pair = Pair(with_schedule(make_plan(model=Mlp(hidden=(8,))), rounds=2)), Pair(coded(STC, rounds=2))
    asks, whole = pair.ask(), plain.ask()
    for peer, ask in asks.items():
        answer, dense = pair.reply(peer, ask), plain.reply(peer, whole[peer])
        assert isinstance(answer, Coded)
        np.testing.assert_array_equal(coding.unpack_answer(answer, dense.counts.size), dense.counts)
        for bad in (Coded(answer.body[:-1]), Coded(answer.body + b"\x00"), Coded(answer.body[:1])):
            with pytest.raises(RemoteProtocolError):
                pair.deliver(peer, bad)
        pair.deliver(peer, answer)
    pair.close()
    first = pair.ask()["gw0"]
    assert first.preparation is None
    assert first.packed
    for bad_pack in (first.packed[:-1], first.packed + b"\x00", b"\x00"):
        with pytest.raises(RemoteProtocolError):
            pair.clients["gw0"].receive(replace(first, packed=bad_pack), pair.rows["gw0"], pair.engine())
    pair.reply("gw0", first)


# --- golden bytes -------------------------------------------------------------------------------------------------


def test_golden_bytes_of_an_open_answer() -> None:
    answer = coding.pack(300, [1000, 70_000, 10], b"\x01\x02")
    assert encode(answer).hex() == "5752014301" + "0000000a" + "ac02" + "e807" + "f0a204" + "0a" + "0102"
    assert coding.unpack(answer) == ([1000, 70_000, 10], b"\x01\x02")
    assert encode(coding.pack(300, [0], b"")).hex() == "5752014301" + "00000003" + "ac02" + "00"


def test_equal_federations_send_equal_bytes() -> None:
    def bodies() -> list[bytes]:
        pair = Pair(coded(STC)).until(Phase.TRAINING)
        pair.exchange()
        asks = pair.ask()
        return [encode(pair.reply(peer, ask)) for peer, ask in asks.items()]

    assert bodies() == bodies()
