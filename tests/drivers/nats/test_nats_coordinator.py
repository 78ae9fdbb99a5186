"""Nothing is lost: the coordinator's loop over a port where processes die, messages repeat, swap and vanish."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wardround.drivers.nats.coordinator import Coordinator
from wardround.drivers.nats.port import Reply
from wardround.events import Measured, Note, RoundDone, RoundFailed
from wardround.federation.messages import ASKS
from wardround.wire import decode

RUNS = 40
KILLS = (
    "server before its checkpoint",
    "server after its checkpoint",
    "server while sending",
    "server while waiting",
    "server before settling",
    "gateway before training",
    "gateway before storing",
    "gateway after storing",
)


def test_the_model_of_a_disturbed_federation_is_the_undisturbed_ones(lab: Any) -> None:
    calm = lab.run(lab.town(0, 0.0))
    assert calm.starts == 1
    seen: Counter[str] = Counter()
    for seed in range(RUNS):
        wild = lab.run(lab.town(seed, 0.06))
        seen += Counter(wild.town.chaos.kills)
        # answers are summed in float64 in the order they come: equal to float32 rounding, not always to the bit
        assert np.abs(wild.parameters - calm.parameters).max() < 1e-6, (seed, wild.town.chaos.kills)
        rounds = [e.round for e in wild.events if isinstance(e, RoundDone)]
        assert sorted(set(rounds)) == [1, 2, 3, 4]
        assert all(e.answered == 4 for e in wild.events if isinstance(e, RoundDone))
    assert sum(seen[kind] for kind in KILLS) > 300
    assert all(seen[kind] >= 5 for kind in (*KILLS, "ask lost", "answer lost", "duplicate", "disk full", "broker away"))
    assert seen["broker loses its disk"] >= 5


def test_a_gateway_killed_after_storing_does_not_train_twice(lab: Any) -> None:
    """SCAFFOLD's control variate moves once per round: a second training of the same exchange would move it again."""
    town = lab.town(3, 0.0)
    lab.run(town)
    once = dict(town.disk)
    name = town.roster[0]
    before, (_, ask) = once[name], town.asks[name]
    first, second = lab.gateway(town, name, ask), lab.gateway(town, name, ask)
    assert first == second
    assert town.disk[name] == before


def test_stragglers_are_cut_at_the_deadline_counted_and_invited_again(lab: Any) -> None:
    slow = lab.tiny()[3][2]

    def answer(town: Any, peer: str, body: bytes) -> Any:
        return None if peer == slow and town.now < 1_200 else lab.gateway(town, peer, body)

    done = lab.run(lab.town(1, 0.0, answer=answer, now=1_060.0), patience_s=60.0)
    rounds = [e for e in done.events if isinstance(e, RoundDone)]
    # set-up is cut at 1,120 and round 1 at 1,180; in round 2 the slow one answers a repeated message
    assert [e.invited for e in rounds] == [4, 4, 4, 4]
    assert [e.answered for e in rounds] == [3, 4, 4, 4]
    assert [e.dropped for e in rounds] == [1, 0, 0, 0]
    assert done.coordinator.counts.repeats >= 20


def test_an_absent_gateway_is_not_invited_and_catches_up_with_one_message(lab: Any) -> None:
    name = lab.tiny()[3][1]
    town = lab.town(2, 0.0, absent=frozenset([name]))
    away: list[int] = []

    def answer(inner: Any, peer: str, body: bytes) -> Any:
        if peer == name:
            away.append(len(body))
        elif len(inner.disk) and lab_round(inner) >= 3:
            inner.absent = frozenset()
        return lab.gateway(inner, peer, body)

    def lab_round(inner: Any) -> Any:
        return inner.sends - 2  # set-up, rounds 1 and 2, then the measurement

    town.answer = answer
    done = lab.run(town, wait_for=3)
    rounds = [e for e in done.events if isinstance(e, RoundDone)]
    assert rounds[0].invited == 3
    assert rounds[0].offline == 1
    assert rounds[-1].answered == 4
    assert name in town.disk
    assert (
        len(away) == len(rounds[rounds.index(next(r for r in rounds if r.invited == 4)) :]) + 1
    )  # one message per exchange


def test_garbage_and_late_answers_are_counted_and_change_nothing(lab: Any) -> None:
    calm = lab.run(lab.town(0, 0.0)).parameters

    def answer(town: Any, peer: str, body: bytes) -> Any:
        good = lab.gateway(town, peer, body)
        if good is not None:
            turn = town.asks[peer][0]
            town.undelivered.append(Reply(peer, turn, b"junk"))
            town.undelivered.append(Reply(peer, turn - 1, good))
        return good

    done = lab.run(lab.town(4, 0.0, answer=answer))
    assert done.coordinator.counts.refused > 0
    assert done.coordinator.counts.late > 0
    assert [e.code for e in done.events if isinstance(e, Note) and e.code == "answer.refused"]
    assert np.abs(done.parameters - calm).max() < 1e-6


def test_too_few_gateways_are_said_and_waited_for(lab: Any) -> None:
    town = lab.town(5, 0.0, absent=frozenset(lab.tiny()[3][:3]))
    looks = []
    present = type(town).present

    def seen(self: Any) -> Any:
        looks.append(1)
        if len(looks) > 3:
            self.absent = frozenset()
        return present(self)

    type(town).present = seen
    try:
        done = lab.run(town)
    finally:
        type(town).present = present
    assert next(e.code for e in done.events if isinstance(e, Note)) == "gateways.few"
    assert not [e for e in done.events if isinstance(e, RoundFailed)]
    assert [e.round for e in done.events if isinstance(e, Measured)] == [2, 4]


def test_simulated_and_deployed_federations_end_with_the_same_model(lab: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from wardround.drivers.simulation import engines
    from wardround.drivers.simulation.federate import Federation as Simulated
    from wardround.drivers.world import build
    from wardround.events import ignore
    from wardround.federation.server import Server

    federation, table, agreed, names = lab.tiny()
    server = Server.new(agreed, federation.participation, names, federation.seed)
    maker = engines.maker(federation.model, federation.training, agreed.classes)
    with ThreadPoolExecutor(1) as pool:
        simulated = Simulated(federation, build(federation, table), agreed, server, maker, ignore, pool, 1)
        for _ in simulated.run():
            pass
        wanted = simulated.server.outcome()
    got = lab.run(lab.town(0, 0.0))
    # one client per stack instead of four: matrix products round differently (1e-8 per step)
    assert np.abs(got.parameters - wanted.parameters).max() < 1e-5


def test_a_drained_coordinator_goes_on_where_it_stopped(lab: Any) -> None:
    calm = lab.run(lab.town(0, 0.0)).parameters
    drained = lab.run(lab.town(0, 0.0, drain_at=frozenset({2, 9, 17, 30})))
    assert drained.starts == 5
    assert np.abs(drained.parameters - calm).max() < 1e-6
    # with the answer in hand that closes an exchange, too: what is dropped then is stored (Town.settle looks)
    often = lab.run(lab.town(0, 0.0, drain_at=frozenset(range(2, 200))))
    assert np.abs(often.parameters - calm).max() < 1e-6
    assert not [e for e in often.events if isinstance(e, RoundFailed)]


def test_a_wall_clock_that_jumps_changes_nothing(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines run on ticks; the wall clock goes a day forward, then two days back, in the middle of rounds."""
    calm = lab.run(lab.town(0, 0.0))
    jumps = iter([0.0, 0.0, 86_400.0, 86_400.0, 86_400.0, -86_400.0] + [-86_400.0] * 10_000)
    made = Coordinator.__init__

    def jumping(self: Coordinator, *given: Any, **named: Any) -> None:
        right = named["now"]
        made(self, *given, **{**named, "now": lambda: right() + next(jumps)})

    monkeypatch.setattr(Coordinator, "__init__", jumping)
    done = lab.run(lab.town(0, 0.0))
    assert np.array_equal(done.parameters, calm.parameters)
    rounds = [e for e in done.events if isinstance(e, RoundDone)]
    assert all(0 <= e.seconds < 60 for e in rounds), "how long a round took is not read off the wall"
    assert [e.answered for e in rounds] == [4, 4, 4, 4]


def test_a_gateway_that_was_away_for_50_rounds_catches_up_with_one_message(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation, table, plan, names = lab.tiny()
    long = replace(plan, schedule=replace(plan.schedule, rounds=56, measure_every=1000))
    monkeypatch.setitem(lab.run.__globals__, "tiny", lambda: (federation, table, long, names))
    name = names[1]
    got: list[int] = []

    def answer(town: Any, peer: str, body: bytes) -> Any:
        asked: Any = decode(body, *ASKS)
        if peer == name:
            got.append(getattr(asked, "round", 0))
        if not town.absent and getattr(asked, "round", 0) == 2 and peer != name:
            town.absent = frozenset([name])
        if getattr(asked, "round", 0) == 53:
            town.absent = frozenset()
        return lab.gateway(town, peer, body)

    done = lab.run(lab.town(6, 0.0, answer=answer), wait_for=4)
    rounds = [e for e in done.events if isinstance(e, RoundDone)]
    back = next(r for r in got if r > 2)
    assert back - max(r for r in got if r <= 2) > 50
    assert got.count(back) == 1, "one message, and it answered"
    assert rounds[back - 1].answered == 4
    assert [e.offline for e in rounds].count(1) >= 50
