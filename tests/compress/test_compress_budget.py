from __future__ import annotations

import pytest

from wardround.compress import explain
from wardround.compress.budget import OPEN, SECURE, Ring, plan_open, plan_secure
from wardround.compress.chain import Chain, LinearChain
from wardround.compress.feedback import ErrorFeedback
from wardround.compress.quantise import Float32, Integer
from wardround.compress.sparsify import SparseTernary, TopK
from wardround.compress.supports import Importance, RandomK
from wardround.params import Layout

MODEL = Layout(("w1", "b1", "w2", "b2", "w3", "b3"), ((39, 64), (64,), (64, 32), (32,), (32, 19), (19,)))


def test_the_best_chain_that_fits_is_bought() -> None:
    bought = plan_open(MODEL, {"fibre": 100_000, "wifi": 1000, "cellular": 70, "edge": 10})
    assert bought["fibre"].codecs == (Float32(),)
    assert bought["cellular"].codecs == (ErrorFeedback(), SparseTernary(0.01))
    assert bought["cellular"].message_bytes == 67
    assert bought["edge"].every == 3
    for name, budget in (("fibre", 100_000), ("wifi", 1000), ("cellular", 70)):
        assert bought[name].message_bytes <= budget
        assert bought[name].every == 1


def test_a_larger_budget_never_buys_a_worse_chain() -> None:
    places = [OPEN.index(plan_open(MODEL, {"x": budget})["x"].codecs) for budget in range(30, 25_000, 97)]
    assert places == sorted(places, reverse=True)
    assert places[0] == len(OPEN) - 1
    assert places[-1] == 0


def test_chains_for_sale_get_smaller() -> None:
    expected = [Chain.of(codecs).size(MODEL).expected for codecs in OPEN]
    assert expected == sorted(expected, reverse=True)
    sizes = [LinearChain(codecs).outputs(MODEL) for codecs in SECURE]
    assert sizes == sorted(sizes, reverse=True)


def test_under_a_secure_sum_all_classes_share_one_chain_and_slow_ones_come_less_often() -> None:
    bought = plan_secure(MODEL, {"wifi": 700, "cellular": 200}, Ring(4, 50))
    assert bought["wifi"].codecs == bought["cellular"].codecs == (Importance(0.1),)
    assert (bought["wifi"].every, bought["cellular"].every) == (1, 4)
    assert bought["cellular"].message_bytes / bought["cellular"].every <= 200
    assert "one round of 4" in bought["cellular"].why


def test_a_class_that_could_never_send_the_fastest_chain_makes_the_cohort_s_smaller() -> None:
    bought = plan_secure(MODEL, {"fibre": 100_000, "cellular": 20}, Ring(4, 50))
    assert bought["fibre"].codecs == bought["cellular"].codecs == (Importance(0.1),)
    assert bought["cellular"].every == 33


def test_ring_bits_have_room_for_the_sum() -> None:
    assert Ring(4, 50).size(263) == 329  # 10 bits each
    assert Ring(4, 64, overhead_bytes=100).size(8) == 110
    assert Ring(4, 1).size(8) == 5


def test_a_budget_too_small_is_refused_with_the_smallest_that_would_do() -> None:
    with pytest.raises(ValueError, match="too few: the smallest chain needs 1"):
        plan_open(MODEL, {"x": 0})
    with pytest.raises(ValueError, match=r"too few: the smallest chain needs \d"):
        plan_secure(MODEL, {"x": 2}, Ring(4, 50, overhead_bytes=6000))


def test_explain_says_sizes_saving_and_state() -> None:
    rows = explain.rows(MODEL, (ErrorFeedback(), SparseTernary(0.01)), (TopK(0.05), Integer(8)))
    dense, up, down = rows
    assert dense.size.most == 21_068
    assert (up.size.expected, up.size.most, up.state_bytes) == (64, 67, 21_068)
    assert up.saved > 0.996
    assert up.biased
    assert not up.linear
    assert down.what == "down: top-k(share=0.05) > int(bits=8, block=0, stochastic=True)"
    assert explain.cells(up)[1:] == ("17", "64", "67", "99.70%", "no", "yes", "21,068")
    assert len(explain.cells(up)) == len(explain.HEADER)


def test_explain_under_a_ring_counts_ring_bits_and_refuses_what_is_not_linear() -> None:
    row = explain.rows(MODEL, (Importance(0.05, cap=20.0),), (), Ring(4, 50))[1]
    assert row.size.most == 329
    assert row.linear
    with pytest.raises(ValueError, match="not linear"):
        explain.rows(MODEL, (TopK(),), (), Ring(4, 50))
    assert explain.rows(MODEL, (RandomK(),), ())[1].linear
