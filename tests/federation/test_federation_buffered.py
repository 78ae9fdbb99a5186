"""Asynchronous rounds: the machines of buffered.py, in memory."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from federation_pair import Pair, make_plan, with_schedule  # type: ignore[import-not-found]
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.errors import LocalProtocolError, RemoteProtocolError
from wardround.events import Measured, Note, RoundDone, RoundFailed
from wardround.federation.algorithms import FedAvg, FedNova, Moon
from wardround.federation.buffered import BufferedServer, ready
from wardround.federation.messages import Answer, AskAhead, AskKept, AskMeasures
from wardround.federation.server import Phase
from wardround.federation.staleness import Asynchronous
from wardround.training.models import Mlp
from wardround.training.task import LocalTraining


def buffered(size: int, rounds: int = 6, **more: Any) -> Any:
    plan = make_plan(
        asynchronous=Asynchronous(buffer=size, **more), training=LocalTraining(batch_size=8, learning_rate=0.2, steps=2)
    )
    return with_schedule(plan, rounds=rounds, measure_every=3)


def set_up(pair: Pair) -> Pair:
    pair.exchange()
    assert pair.server.phase is Phase.TRAINING
    return pair


def test_a_buffer_of_everybody_gives_fedavgs_model_to_the_bit() -> None:
    plain = Pair(with_schedule(replace(buffered(4), asynchronous=Asynchronous()), rounds=5)).run()
    for restart in (False, True):
        wide = Pair(with_schedule(buffered(4), rounds=5), restart=restart).run()
        assert np.array_equal(wide.server.outcome().parameters, plain.server.outcome().parameters)
        assert [e.round for e in wide.events if isinstance(e, RoundDone)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("algorithm", [FedNova(), Moon()])
def test_fednova_and_moon_compose_with_buffers(algorithm: Any) -> None:
    plan = replace(buffered(4), algorithm=algorithm, model=Mlp(hidden=(4,)))
    plain = Pair(with_schedule(replace(plan, asynchronous=Asynchronous()), rounds=4)).run()
    wide = Pair(with_schedule(plan, rounds=4), restart=True).run()
    assert np.array_equal(wide.server.outcome().parameters, plain.server.outcome().parameters)


@pytest.mark.parametrize(("fraction", "at_once"), [(0.25, 3), (0.5, 3), (1.0, 4)])
def test_a_fraction_says_how_many_train_at_once(fraction: float, at_once: int) -> None:
    """Never fewer than fill the buffer of three; who has just contributed may rest; the choice survives a restart."""
    pair = Pair(buffered(3, rounds=9), restart=True)
    pair = set_up(Pair(buffered(3, rounds=9), restart=True, policy=replace(pair.policy, fraction=fraction)))
    asks: dict[str, Any] = {}
    for _ in range(8):
        asks |= pair.ask()
        flights = pair.server._flights.values()
        assert sum(not flight.ready for flight in flights) == at_once
        for peer in sorted(pair.server.waiting):
            if pair.server.waiting:
                pair.deliver(peer, pair.reply(peer, asks[peer]))
        pair.close()
        pair.exchange()
        if pair.server.phase is Phase.MEASURES:
            pair.exchange()
    assert set(asks) == set(pair.names)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=40, max_size=60), st.integers(1, 3), st.booleans())
def test_whatever_the_order_each_buffer_holds_k_different_gateways(turns: list[int], size: int, restart: bool) -> None:
    """Gateways become ready in any order; the federation ends, and each next model came from K different gateways."""
    pair = set_up(Pair(buffered(size), restart=restart, policy=replace(Pair().policy, minimum=1)))
    kept: dict[str, Any] = {}
    order = iter(turns * 20)
    while pair.server.phase is not Phase.DONE:
        asks = pair.ask()
        if not asks and pair.server.phase is Phase.MEASURES:  # nobody is idle: nothing is measured
            pair.close()
            continue
        if isinstance(pair.server, BufferedServer) and pair.server.ahead:
            kept |= asks
            while pair.server.waiting:
                peer = pair.names[next(order)]
                if peer in pair.server.waiting:
                    pair.deliver(peer, pair.reply(peer, kept[peer]))
        else:
            if pair.server.phase is Phase.TRAINING:
                assert len(asks) == size
                assert all(isinstance(ask, AskKept) for ask in asks.values())
            for peer, ask in asks.items():
                pair.deliver(peer, pair.reply(peer, ask))
        pair.close()
    rounds = [e for e in pair.events if isinstance(e, RoundDone)]
    assert [e.round for e in rounds] == list(range(1, 7))
    assert all(e.answered == size for e in rounds)
    assert isinstance(pair.events[-1], Measured)


def slow_one(staleness: float, algorithm: Any = FedAvg()) -> tuple[Pair, Any, Answer]:
    """gw3 trains on the first model while two more are made from the others; (pair, what it kept, what it sends)."""
    pair = set_up(Pair(replace(buffered(3, rounds=9, staleness=staleness), algorithm=algorithm)))
    asks = pair.ask()
    slow = asks.pop("gw3")
    for _ in range(2):
        for peer, ask in asks.items():
            pair.deliver(peer, pair.reply(peer, ask))
        pair.close()
        pair.exchange()
        asks = pair.ask()
        assert set(asks) == set(pair.names[:3]), "the slow one is not asked again"
    pair.deliver("gw3", pair.reply("gw3", slow))
    kept = pair.clients["gw3"]._kept
    for peer in ("gw0", "gw1"):
        pair.deliver(peer, pair.reply(peer, asks[peer]))
    pair.close()
    sent = {peer: pair.reply(peer, ask) for peer, ask in pair.ask().items()}
    assert set(sent) == {"gw0", "gw1", "gw3"}
    for peer, answer in sent.items():
        pair.deliver(peer, answer)
    return pair, kept, sent["gw3"]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_an_old_update_counts_less_and_is_said(exponent: float) -> None:
    pair, kept, sent = slow_one(exponent)
    assert np.allclose(sent.update, kept.update * 3.0**-exponent, rtol=1e-6)
    assert np.array_equal(sent.counts, kept.counts), "counts are whole numbers and stay what they are"
    events = pair.close()
    assert next(e.text for e in events if isinstance(e, Note)).endswith("[0, 0, 2]")


def test_what_fednova_says_of_the_way_is_not_weighed_by_its_age() -> None:
    """Direction times (1 + s)^-a, length as it was: weighed twice, an old update would count (1 + s)^-2a."""
    _, kept, sent = slow_one(1.0, FedNova())
    assert np.allclose(sent.update[:-1], kept.update[:-1] / 3.0, rtol=1e-6)
    assert sent.update[-1] == kept.update[-1] > 0


def test_who_is_too_old_or_took_too_long_is_asked_anew() -> None:
    pair = set_up(Pair(buffered(3, rounds=9, oldest=1)))
    for turn in range(3):
        asks = pair.ask()
        assert ("gw3" in asks) == (turn in (0, 2))
        for peer in pair.names[:3]:
            pair.deliver(peer, pair.reply(peer, asks[peer]))
        pair.close()
        pair.exchange()
    pair = set_up(Pair(buffered(3, rounds=9, patience_s=200.0)))
    for turn in range(3):
        asks = pair.ask()
        assert ("gw3" in asks) == (turn in (0, 2)), "a next model takes 120 s here"
        for peer in pair.names[:3]:
            pair.deliver(peer, pair.reply(peer, asks[peer]))
        pair.close()
        pair.exchange()


def test_a_gateway_that_goes_away_is_forgotten_and_asked_when_it_is_back() -> None:
    pair = set_up(Pair(buffered(2)))
    pair.ask()
    pair.close()  # nobody was ready in time
    events = pair.exchange(here=())
    assert isinstance(events[0], RoundFailed)
    assert pair.ask(here=pair.names[:2]) == {}, "they train still"
    pair.close()
    pair.exchange()
    assert set(pair.ask()) == {"gw2", "gw3"}


def test_an_update_where_nothing_is_due_and_a_second_ready_are_refused() -> None:
    pair = set_up(Pair(buffered(2)))
    asks = pair.ask()
    exchange = asks["gw0"].exchange
    with pytest.raises(RemoteProtocolError, match="send nothing"):
        pair.server.receive("gw0", Answer(exchange, np.ones(3, dtype=np.float32), np.ones(4)), pair.now)
    assert pair.server.due("gw0", exchange)
    pair.deliver("gw0", ready(exchange))
    assert not pair.server.due("gw0", exchange)
    with pytest.raises(RemoteProtocolError, match="already"):
        pair.server.receive("gw0", ready(exchange), pair.now)
    with pytest.raises(LocalProtocolError):
        pair.server.begin(pair.now, pair.names)


def test_a_gateway_answers_each_ask_once_and_keeps_nothing_it_was_not_asked_for() -> None:
    pair = set_up(Pair(buffered(4), restart=True))
    asks = pair.ask()
    first = pair.reply("gw0", asks["gw0"])
    assert not first.update.size
    assert not first.counts.size
    state = pair.clients["gw0"].to_bytes()
    again = pair.clients["gw0"].receive(asks["gw0"], pair.rows["gw0"], pair.engine())
    assert isinstance(again, Answer)
    assert again.exchange == first.exchange
    assert pair.clients["gw0"].to_bytes() == state, "it does not train twice"
    bad = replace(asks["gw0"], exchange=asks["gw0"].exchange + 1)
    with pytest.raises(RemoteProtocolError, match="asks to train"):
        pair.clients["gw0"].receive(bad, pair.rows["gw0"], pair.engine())
    kept = AskKept(99, 1, asks["gw0"].schema, np.zeros(0, dtype=np.float32))
    with pytest.raises(RemoteProtocolError, match="not kept"):
        pair.clients["gw1"].receive(kept, pair.rows["gw1"], pair.engine())
    with pytest.raises(RemoteProtocolError, match="schema"):
        pair.clients["gw0"].receive(replace(kept, schema="x"), pair.rows["gw0"], pair.engine())
    one = pair.clients["gw0"].receive(kept, pair.rows["gw0"], pair.engine())
    two = pair.clients["gw0"].receive(kept, pair.rows["gw0"], pair.engine())
    assert isinstance(one, Answer)
    assert isinstance(two, Answer)
    assert np.array_equal(one.update, two.update)


def test_measuring_leaves_alone_who_is_training() -> None:
    pair = set_up(Pair(buffered(2, rounds=6)))
    seen: list[set[str]] = []
    while pair.server.phase is not Phase.DONE:
        phase = pair.server.phase
        asks = pair.ask()
        if phase is Phase.MEASURES:
            assert all(isinstance(ask, AskMeasures) for ask in asks.values())
            seen.append(set(asks))
        for peer, ask in asks.items():
            if peer in ("gw0", "gw1") or not isinstance(ask, AskAhead):
                pair.deliver(peer, pair.reply(peer, ask))
        pair.close()
    assert seen == [{"gw0", "gw1"}, set(pair.names)], "the last measurement asks everybody"


def test_staleness_weights_fall_from_one() -> None:
    rules = Asynchronous(buffer=2)
    weights = [rules.weight(behind) for behind in range(-1, 30)]
    assert weights[0] == weights[1] == 1.0
    assert all(a > b > 0 for a, b in itertools.pairwise(weights[1:]))
    for bad in ({"buffer": -1}, {"staleness": -0.1}, {"oldest": -1}, {"patience_s": 0.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Asynchronous(**bad)


def test_who_said_it_is_ready_and_left_is_counted_out_and_loses_no_round() -> None:
    """Its word is worth nothing while it is away, and what it kept counts when it is back."""
    pair = set_up(Pair(buffered(2), restart=True))
    asks = pair.ask()
    for peer in ("gw0", "gw1"):
        pair.deliver(peer, pair.reply(peer, asks[peer]))
    pair.close()
    others = pair.names[1:]
    assert pair.ask(here=others) == {}, "gw0 has left: the others train still, and no exchange with gw1 alone is opened"
    assert pair.server.waiting == {"gw2", "gw3"}, "the word of gw0 fills no buffer"
    pair.deliver("gw2", pair.reply("gw2", asks["gw2"]))
    pair.close()
    sums = pair.ask(here=others)
    assert set(sums) == {"gw1", "gw2"}
    for peer, ask in sums.items():
        pair.deliver(peer, pair.reply(peer, ask))
    assert isinstance(pair.close()[0], RoundDone)
    asks |= pair.ask()
    assert pair.server.waiting == {"gw1", "gw2", "gw3"}, "gw0 is back, ready as before"
    pair.deliver("gw3", pair.reply("gw3", asks["gw3"]))
    pair.close()
    assert set(pair.ask()) == {"gw0", "gw3"}
