"""Ring products are exact: against big-integer schoolbook products, for honest and for adversarial keys."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wardround.crypto.ring as room
from wardround.crypto.ring import Ring, coefficients, expand, multiply, transform
from wardround.crypto.sampling import centred_binomial
from wardround.crypto.sharing import LARGEST

SEED = bytes(range(32))


def schoolbook(a: Any, s: Any, k: Any) -> Any:
    """The negacyclic product with Python's integers: fold the product of the two numbers that hold the coefficients."""
    n, width = len(s), 96
    big_a = sum(int(v) << (width * i) for i, v in enumerate(a))
    positive = sum(max(int(v), 0) << (width * i) for i, v in enumerate(s))
    negative = sum(max(-int(v), 0) << (width * i) for i, v in enumerate(s))
    out = np.zeros(n, np.uint64)
    for number, sign in ((big_a * positive, 1), (big_a * negative, -1)):
        digits = [(number >> (width * i)) & ((1 << width) - 1) for i in range(2 * n)]
        for i in range(n):
            out[i] = (int(out[i]) + sign * (digits[i] - digits[i + n])) % (1 << k)
    return out


KEYS: dict[str, Any] = {
    "honest": lambda n: centred_binomial(SEED, n).astype(np.int64),
    "sum of 10,000 keys": lambda n: np.rint(np.random.default_rng(1).normal(0, 566, n)).astype(np.int64),
    "all largest": lambda n: np.full(n, LARGEST),
    "alternating": lambda n: np.where(np.arange(n) % 2, LARGEST, -LARGEST),
    "random signs": lambda n: np.random.default_rng(2).choice([-LARGEST, LARGEST], n),
    "zero": lambda n: np.zeros(n, np.int64),
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("n, k", [(1024, 21), (1024, 25), (2048, 25), (2048, 41), (2048, 49)])
def test_products_equal_the_schoolbook(n: Any, k: Any, key: Any) -> None:
    ring, s = Ring(n, k), KEYS[key](n)
    product = multiply(expand(ring, SEED, 3), s)
    assert product.shape == (3, n)
    assert np.array_equal(product[2], schoolbook(coefficients(ring, SEED, 3)[2], s, k))


@pytest.mark.parametrize("n, k", [(1024, 25), (2048, 49)])
def test_adversarial_public_polynomials_stay_exact(n: Any, k: Any) -> None:
    """Even all-extreme coefficients against all-extreme keys, which no hash of an id ever gives."""
    ring, top = Ring(n, k), (1 << (k - 1)) - 1
    for a in (np.full((1, n), top, np.uint64), np.where(np.arange(n) % 2, top, top + 2).astype(np.uint64)[None]):
        s = KEYS["alternating"](n)
        assert np.array_equal(multiply(transform(ring, a), s)[0], schoolbook(a[0], s, k))


def test_a_product_that_would_not_be_exact_raises(monkeypatch: Any) -> None:
    ring = Ring(2048, 52)
    public = transform(ring, np.full((1, 2048), 1 << 51, np.uint64))
    with pytest.raises(ArithmeticError, match=f"a coefficient beyond {room.LONGEST}"):
        multiply(public, np.full(2048, room.LONGEST + 1))
    monkeypatch.setattr(room, "MARGIN", 0.0)
    with pytest.raises(ArithmeticError, match=r"from an integer, 0\.0 allowed"):
        multiply(public, np.full(2048, 3))


def test_a_value_that_is_no_number_fails_the_check() -> None:
    values = np.array([[1.0, np.nan, 2.0]])
    assert not room._round(values, np.empty((1, 3)), np.empty((1, 3))) < room.MARGIN
    values[0, 1] = 7.4
    assert abs(room._round(values, np.empty((1, 3)), np.empty((1, 3))) - 0.4) < 1e-9


@pytest.mark.parametrize("n, k", [(1024, 21), (1024, 25), (2048, 41), (2048, 49)])
def test_distance_to_the_integers_has_the_margin_of_the_documents(n: Any, k: Any, monkeypatch: Any) -> None:
    worst: list[float] = []
    honest = room._round

    def spy(*arrays: Any) -> Any:
        worst.append(honest(*arrays))
        return worst[-1]

    monkeypatch.setattr(room, "_round", spy)
    for key, most in (("honest", 1e-4), ("all largest", 0.05), ("alternating", 0.05), ("random signs", 0.05)):
        worst.clear()
        multiply(expand(Ring(n, k), SEED, 2), KEYS[key](n))
        assert max(worst) < most, key


def test_rings_that_were_not_checked_are_refused() -> None:
    for n, k in ((512, 20), (4096, 20), (1024, 0), (2048, 53)):
        with pytest.raises(ValueError, match="ring"):
            Ring(n, k)


@pytest.mark.parametrize("n, k", [(1024, 21), (2048, 25), (2048, 41)])
def test_products_come_in_wire_order_whatever_the_size_of_a_block(n: Any, k: Any, monkeypatch: Any) -> None:
    ring, s = Ring(n, k), KEYS["honest"](n)
    natural = multiply(expand(ring, SEED, 5), s)
    wire = natural.reshape(5, 2, n // 2).transpose(0, 2, 1).reshape(-1)
    assert (wire[:4] == natural[0, [0, n // 2, 1, n // 2 + 1]]).all()
    for block in (1, 3 * n, 1 << 20):
        monkeypatch.setattr(room, "_BLOCK", block)
        blocks = [block.astype(np.uint64) for block in room.products(expand(ring, SEED, 5), s)]
        assert (np.concatenate(blocks) & ring.mask == wire).all()


def test_odd_and_even_counts_give_the_same_polynomials() -> None:
    ring, s = Ring(1024, 21), KEYS["honest"](1024)
    assert np.array_equal(multiply(expand(ring, SEED, 4), s)[:3], multiply(expand(ring, SEED, 3), s))
