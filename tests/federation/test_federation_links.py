"""Classes of links by measured speed: averages, bounds on claims, hysteresis, misses, and one class per exchange."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from federation_pair import SEED, Pair, make_plan, with_schedule  # type: ignore[import-not-found]
from hypothesis import given
from hypothesis import strategies as st

from wardround.compress.chain import Chain
from wardround.compress.table import Compress
from wardround.errors import RemoteProtocolError
from wardround.events import Note
from wardround.federation.coding import Coded
from wardround.federation.links import BACK, FRESH_ROUNDS, LEAST_BYTES, Links
from wardround.federation.server import Phase, Server
from wardround.training.models import Mlp

TABLE = Compress(
    budget_bytes=4000, classes=("cellular", "satellite"), class_bytes=(300, 60), class_speeds=(10_000.0, 1_000.0)
)


def links(compress: Compress = TABLE, kept: Any = ()) -> Links:
    return Links(("a", "b"), kept, compress)


def measure(found: Links, speed: float, times: int = 1, peer: str = "a") -> list[int]:
    """The class after each of ``times`` rounds with one measurement of ``speed`` bytes/s."""
    classes = []
    for _ in range(times):
        found.measured(peer, 10_000, 10_000 / speed, 1e9)
        found.choose()
        classes.append(found.of(peer))
    return classes


def test_a_link_is_in_the_slowest_class_that_fits_and_unmeasured_links_in_none() -> None:
    assert [measure(links(), speed)[0] for speed in (50_000, 9_000, 5_000, 900, 10)] == [0, 1, 1, 2, 2]
    found = links()
    found.choose()
    assert found.of("a") == found.of("b") == 0
    assert found.of("nobody") == 0


def test_one_bad_moment_moves_nobody_far_and_a_lasting_change_does() -> None:
    found = links()
    measure(found, 100_000, 8)
    assert measure(found, 500) == [0]  # a quarter of the logarithm
    assert measure(found, 100_000, 2) == [0, 0]
    assert measure(found, 5_000, 12)[-1] == 1


def test_the_way_up_needs_a_margin() -> None:
    found = links()
    measure(found, 9_000)
    assert measure(found, 10_000 * (1 + BACK) / 2, 30)[-1] == 1
    assert measure(found, 10_000 * BACK * 1.2, 30)[-1] == 0
    assert measure(found, 10_100, 30)[-1] == 0


def test_a_name_in_a_pattern_is_in_that_class_whatever_is_measured() -> None:
    found = links(replace(TABLE, class_clients=("a", "")))
    assert measure(found, 10) == [1]
    assert measure(found, 10, peer="b") == [2]
    found.missed(["a", "a", "a"])
    found.choose()
    assert found.of("a") == 1


@given(
    size=st.integers(LEAST_BYTES, 1 << 24), waited=st.floats(0.01, 1e4), claimed=st.floats(), rounds=st.integers(1, 6)
)
def test_no_claim_makes_a_link_slower_than_the_server_saw(
    size: int, waited: float, claimed: float, rounds: int
) -> None:
    liar, seen = links(), links()
    for _ in range(rounds):
        liar.measured("a", size, claimed, waited)
        seen.measured("a", size, waited, waited)
        liar.choose()
        seen.choose()
    assert liar.of("a") <= seen.of("a")  # a higher number is a slower class here
    assert all(link.speed >= 0 for link in liar.keep())


@pytest.mark.parametrize(("size", "claimed", "waited"), [(LEAST_BYTES - 1, 5, 9), (5000, -1, 9), (5000, 5, 0)])
def test_short_messages_and_seconds_that_are_none_say_nothing(size: int, claimed: float, waited: float) -> None:
    found = links()
    found.measured("a", size, claimed, waited)
    found.measured("nobody", 5000, 1, 1)
    assert found.keep() == ()


def test_who_claims_to_be_fast_and_misses_exchanges_goes_down_a_class_at_a_time() -> None:
    found, classes = links(), []
    for _ in range(8):
        found.measured("a", 10_000, 0.0, 60.0)
        found.missed(["a"])
        for moved in found.choose():
            assert "2 exchanges without an answer" in moved.text
        classes.append(found.of("a"))
    assert classes == [0, 1, 1, 2, 2, 2, 2, 2]
    found.answered("a")
    found.choose()
    assert measure(found, 1e6, FRESH_ROUNDS + 9)[-1] == 0  # it may try again after 64 rounds


def test_one_missed_exchange_between_answers_is_nothing() -> None:
    found = links()
    for _ in range(9):
        found.missed(["a"])
        found.choose()
        found.answered("a")
    assert found.of("a") == 0


def test_a_slow_class_is_left_for_a_try_when_nothing_was_measured_for_long() -> None:
    found = links()
    measure(found, 500)
    moves = [moved for _ in range(FRESH_ROUNDS + 3) for moved in found.choose()]
    assert [(moved.before, moved.after) for moved in moves] == [("satellite", "cellular")]
    assert "speed not known" in moves[0].text


def test_what_is_kept_goes_on_exactly_there() -> None:
    found = links()
    measure(found, 3_000, 3)
    again = links(kept=found.keep())
    for one in (found, again):
        measure(one, 700, 4)
    assert found.keep() == again.keep()
    assert links().keep() == () == links(Compress()).keep()


def test_without_class_speeds_nothing_is_measured() -> None:
    found = Links(("a",), (), Compress(budget_bytes=400, classes=("x",), class_bytes=(60,), class_clients=("y",)))
    found.measured("a", 9999, 99.0, 99.0)
    found.missed(["a", "a", "a"])
    assert found.choose() == []
    assert found.keep() == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"class_speeds": (1.0,)}, "for each class"),
        ({"class_speeds": (5.0, 5.0)}, "different"),
        ({"class_speeds": (0.0, 5.0)}, "above 0"),
        ({"class_speeds": ()}, "class_clients"),
        ({"class_clients": ("a",)}, "class_clients"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(changes: Any, says: str) -> None:
    if "class_clients" in changes:
        changes = {**changes, "class_speeds": ()}
    with pytest.raises(ValueError, match=says):
        replace(TABLE, **changes)


# --- in the round -------------------------------------------------------------------------------------------------


def federation(restart: bool = False) -> Any:
    # 77 parameters: float32 for all (320 bytes), sparse for who is slow
    slow = Compress(budget_bytes=400, classes=("slow",), class_bytes=(40,), class_speeds=(1_000.0,))
    plan = replace(make_plan(model=Mlp(hidden=(8,))), compress=slow, identity=b"pair")
    return Pair(with_schedule(plan, rounds=9, measure_every=9), restart=restart).until(Phase.TRAINING)


@pytest.mark.parametrize("restart", [False, True])
def test_a_slow_gateway_gets_the_slow_chain_from_the_next_exchange_on(restart: bool) -> None:
    pair = federation(restart)
    asks = pair.ask()
    answers = {peer: pair.reply(peer, ask) for peer, ask in asks.items()}
    assert {ask.link for ask in asks.values()} == {0}
    for peer, answer in answers.items():
        pair.server.measured(peer, 20_000, 60.0 if peer == "gw2" else 0.1, 90.0)
        pair.deliver(peer, answer)  # still under the chain it was asked for
    (note,) = [event for event in pair.close() if isinstance(event, Note) and event.code == "link.class"]
    assert note.text.startswith("gw2: all -> slow (measured; 333 bytes/s)")
    asks = pair.ask()
    assert {peer: ask.link for peer, ask in asks.items()} == {"gw0": 0, "gw1": 0, "gw2": 1, "gw3": 0}
    sizes = {}
    for peer, ask in asks.items():
        answer = pair.reply(peer, ask)
        assert isinstance(answer, Coded)
        sizes[peer] = len(answer.body)
        pair.deliver(peer, answer)
    assert sizes["gw2"] < 60 < 200 < min(sizes[peer] for peer in ("gw0", "gw1", "gw3"))
    back = Server.from_bytes(pair.plan, pair.policy, pair.names, SEED, pair.server.to_bytes())
    assert [back.link(peer) for peer in pair.names] == [0, 0, 1, 0]


def test_an_answer_under_another_class_s_chain_is_refused() -> None:
    pair = federation()
    ask = pair.ask()["gw0"]
    answer = pair.reply("gw0", replace(ask, link=1))
    with pytest.raises(RemoteProtocolError):
        pair.deliver("gw0", answer)


def test_both_classes_chains_are_what_the_budgets_buy() -> None:
    pair = federation()
    layout = pair.server.prepared.layout
    bought = pair.server.prepared.coder.links
    assert [Chain.of(b.codecs).size(layout).most <= limit for b, limit in zip(bought, (400, 40), strict=True)] == [
        True,
        True,
    ]
    assert pair.server.link("gw0") == 0
