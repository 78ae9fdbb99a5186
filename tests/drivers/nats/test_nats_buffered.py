"""Asynchronous rounds over the coordinator's loop: a slow gateway holds nobody up, and kills cost nothing."""

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wardround.events import Note, RoundDone, RoundFailed
from wardround.federation.messages import Answer
from wardround.federation.secure_messages import SecureAnswer
from wardround.federation.staleness import Asynchronous
from wardround.wire import decode


@pytest.fixture
def buffered(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tiny federation with a buffer of two, FedAvg and eight rounds."""
    from wardround.federation.algorithms import FedAvg

    federation, table, plan, names = lab.tiny()
    plan = replace(
        plan,
        algorithm=FedAvg(),
        asynchronous=Asynchronous(buffer=2),
        schedule=replace(plan.schedule, rounds=8, measure_every=4),
    )
    monkeypatch.setitem(lab.run.__globals__, "tiny", lambda: (federation, table, plan, names))
    return lab


def rounds(done: Any) -> list[RoundDone]:
    return [e for e in done.events if isinstance(e, RoundDone)]


def ages(done: Any) -> list[int]:
    told = [e.text for e in done.events if isinstance(e, Note) and e.code == "buffer.combined"]
    return [int(word.strip("[],")) for text in told for word in text.split(": ")[-1].split(", ")]


def test_a_slow_gateway_holds_nobody_up_and_comes_in_late(buffered: Any) -> None:
    slow = buffered.tiny()[3][0]
    late: list[bytes] = []

    def answer(town: Any, peer: str, body: bytes) -> Any:
        if peer != slow:
            return buffered.gateway(town, peer, body)
        if town.sends < 3:  # set-up
            return buffered.gateway(town, peer, body)
        late.append(body)
        return buffered.gateway(town, peer, late[0]) if len(late) == 4 else None

    town = buffered.town(1, 0.0, answer=answer)
    done = buffered.run(town, patience_s=60.0)
    assert [e.round for e in rounds(done)] == list(range(1, 9))
    assert all(e.answered == 2 for e in rounds(done))


def test_a_killed_asynchronous_federation_ends_and_loses_no_round(buffered: Any) -> None:
    seen = 0
    for seed in range(12):
        wild = buffered.run(buffered.town(seed, 0.04))
        told = [e.round for e in rounds(wild)]
        assert sorted(set(told)) == list(range(1, 9)), wild.town.chaos.kills
        assert all(e.answered == 2 for e in rounds(wild))
        assert np.isfinite(wild.parameters).all()
        seen += sum(wild.town.chaos.kills.values())
    assert seen > 100


def test_without_disturbance_it_repeats_itself(buffered: Any) -> None:
    one, two = (buffered.run(buffered.town(7, 0.0)) for _ in range(2))
    assert np.array_equal(one.parameters, two.parameters)
    assert min(ages(one)) == 0


def secure_place(lab: Any) -> Any:
    text = lab.lattice.replace('use = "scaffold"', 'use = "fedavg"').replace("count = 4", "count = 6")
    return lab.place(f"{text}\n[asynchronous]\nbuffer = 3\n")


def test_under_the_lattice_each_buffer_is_a_cohort_and_only_the_word_ready_is_in_clear(lab: Any) -> None:
    where = secure_place(lab)
    slow, held = where.names[0], list[bytes]()

    def answer(town: Any, peer: str, body: bytes) -> Any:
        if peer == slow and town.sends > 12 and len(held) < 3:  # it trains for long: silent for a while
            held.append(body)
            return None
        return lab.secure_answer(where)(town, peer, body)

    done = lab.run_secure(where, lab.secure_town(1, 0.0, where, answer=answer))
    assert [(e.round, e.answered) for e in rounds(done)] == [(r, 3) for r in range(1, 7)]
    assert not [e for e in done.events if isinstance(e, RoundFailed)]
    words = 0
    for peer, sent in done.town.sent:
        if peer in where.names:
            found: Any = decode(sent, Answer, SecureAnswer)
            if isinstance(found, Answer):
                words += 1
                assert not found.update.size
                assert not found.counts.size
    assert words >= 18, "three words for each of six models"


def test_a_killed_asynchronous_secure_federation_ends(lab: Any) -> None:
    where = secure_place(lab)
    for seed in range(int(os.environ.get("WARDROUND_CHAOS", "1"))):
        wild = lab.run_secure(where, lab.secure_town(seed, 0.05, where))
        told = [e for e in wild.events if isinstance(e, RoundDone | RoundFailed)]
        assert sorted({e.round for e in told}) == list(range(1, 7)), wild.town.chaos.kills
        assert all(e.answered == 3 for e in rounds(wild))
        assert sum(wild.town.chaos.kills.values()) > 20
