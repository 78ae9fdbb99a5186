from __future__ import annotations

import numpy as np
import pytest

from wardround.compress.budget import Ring
from wardround.compress.chain import Chain
from wardround.compress.codec import Memory, flat
from wardround.compress.downlink import Track
from wardround.compress.feedback import ErrorFeedback
from wardround.compress.quantise import Float32, Integer
from wardround.compress.sparsify import SparseTernary, TopK
from wardround.compress.supports import Importance, RandomK
from wardround.compress.table import DEFAULT, Compress
from wardround.params import Layout

MODEL = Layout(("w", "b"), ((100, 50), (50,)))


def test_the_file_s_own_chain() -> None:
    table = Compress(up=(TopK(0.1), Integer(4)), down=(TopK(0.2),))
    bought = table.links(MODEL, None)
    assert list(bought) == [DEFAULT]
    assert bought[DEFAULT].codecs == table.up
    assert table.downlink(MODEL, None) == table.down
    with pytest.raises(ValueError, match="'top-k' is not linear"):
        table.check_secure()
    with pytest.raises(ValueError, match="'top-k' is not linear"):
        table.links(MODEL, Ring(4, 20))


def test_linear_codecs_pass_under_a_secure_sum() -> None:
    table = Compress(up=(Importance(0.1),))
    table.check_secure()
    assert table.links(MODEL, Ring(4, 20))[DEFAULT].message_bytes == -(-505 * 9 // 8)


def test_a_budget_chooses_for_each_class() -> None:
    table = Compress(budget_bytes=100_000, classes=("cellular",), class_bytes=(70,), class_clients=("gw*",))
    bought = table.links(MODEL, None)
    assert bought[DEFAULT].codecs == (Float32(),)
    assert bought["cellular"].codecs == (ErrorFeedback(), SparseTernary(0.01))
    assert table.downlink(MODEL, None) == ()


@pytest.mark.parametrize("ring", [None, Ring(4, 20)])
def test_what_a_budget_chooses_makes_a_track(ring: Ring | None) -> None:
    for budget in (100, 600, 3000):
        table = Compress(budget_bytes=budget)
        up = Chain.of(table.links(MODEL, ring)[DEFAULT].codecs)
        Track(b"f", MODEL, up, Chain.of(table.downlink(MODEL, ring)))


def test_a_client_keeps_its_memory_when_its_budget_changes() -> None:
    rng, memory, layout = np.random.default_rng(1), Memory(), flat(1000)
    total, got = np.zeros(1000), np.zeros(1000)
    sizes = set()
    for r, budget in enumerate([120, 60, 120, 25]):
        chain = Chain.of(Compress(budget_bytes=budget).links(layout, None)[DEFAULT].codecs)
        update = np.random.default_rng(r).normal(size=1000).astype(np.float32)
        coding = chain.plan(chain.init(layout), b"", layout)
        data, memory = coding.encode(update, memory, rng)
        assert len(data) <= budget
        assert chain.linear.feedback is not None
        sizes.add(len(data) // 20)
        total += update
        got += coding.decode(data)
    assert len(sizes) > 1  # the chains did differ
    np.testing.assert_allclose(total, got + memory.residual, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Compress(budget_bytes=-1), "budget_bytes"),
        (lambda: Compress(up=(RandomK(),), budget_bytes=100), "leave up and down out"),
        (lambda: Compress(budget_bytes=100, classes=("a",)), "class_bytes"),
        (lambda: Compress(budget_bytes=100, classes=("a", "a"), class_bytes=(1, 2)), "each class once"),
        (lambda: Compress(budget_bytes=100, classes=("a",), class_bytes=(1,)), "class_clients"),
        (lambda: Compress(classes=("a",), class_bytes=(1,), class_clients=("*",)), "set budget_bytes"),
        (lambda: Compress(up=(Integer(), TopK())), "order"),
        (lambda: Compress(down=(ErrorFeedback(), TopK())), "own error feedback"),
    ],
)
def test_keys_that_do_not_fit_are_named(make: type[Compress], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        make()
