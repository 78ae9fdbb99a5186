"""Malformed contributions: the client is named and left out, or its cohort is; everybody else's sum is exact."""

from typing import Any

import numpy as np
import pytest

from wardround.attacks.malformed import PARTS, Malformed, OtherKey, Part, damaged, flipped
from wardround.rng import stream
from wardround.secagg.client import Plain
from wardround.secagg.in_memory import Ledger, Parties, lattice_sum
from wardround.secagg.messages import Contribution
from wardround.secagg.parameters import Lattice
from wardround.wire import decode, encode

SEED, LIAR = bytes(range(32)), "gw-03"
NAMES = [f"gw-{i:02d}" for i in range(9)]


def opened(part: Part, cohort: int, sharing: Any = "keys") -> tuple[Any, dict[str, Plain], dict[str, str]]:
    parties = Parties(NAMES, Lattice(minimum=3, sharing=sharing), SEED, kinds={LIAR: OtherKey})
    liar, rng = parties.clients[LIAR], stream(1, "values")
    assert isinstance(liar, OtherKey)
    liar.lies = part == "ciphertext"
    plains = {n: Plain(rng.uniform(-1, 1, 40).astype(np.float32), rng.integers(-9, 9, 3).astype(float)) for n in NAMES}

    def carry(name: str, payload: bytes) -> bytes:
        if name != LIAR:
            return payload
        return encode(damaged(decode(payload, Contribution), part, stream(2, part)))

    ledger = Ledger()
    start = parties.start(len(NAMES), cohort, (40, 3))
    result = lattice_sum(parties, start, plains.__getitem__, SEED, ledger=ledger, carry=carry)
    return result, plains, ledger.named


@pytest.mark.parametrize("part", ["size", "share", "proof"])
@pytest.mark.parametrize("cohort", [0, 3])
def test_what_is_malformed_is_named_and_left_out(part: Part, cohort: int) -> None:
    result, plains, named = opened(part, cohort)
    assert set(named) == {LIAR}
    assert named[LIAR]
    assert {c for row in result.cohorts for c in row.clients} == set(NAMES) - {LIAR}
    for row in result.cohorts:
        assert row.plausible
        assert np.array_equal(row.counts, sum(plains[c].counts for c in row.clients))


def test_a_ciphertext_under_another_key_spoils_its_cohort_and_no_other() -> None:
    result, plains, named = opened("ciphertext", 3)
    assert named == {}, "each piece is well formed: nobody can say who it was"
    assert len(result.cohorts) == 3
    for row in result.cohorts:
        assert row.plausible == (LIAR not in row.clients)
        if row.plausible:
            assert np.array_equal(row.counts, sum(plains[c].counts for c in row.clients))


def test_a_client_that_does_not_lie_is_any_client() -> None:
    result, _, named = opened("any", 0)
    assert named == {}
    assert all(row.plausible for row in result.cohorts)


def test_what_is_broken_is_drawn_where_it_is_not_said() -> None:
    drawn = {Malformed().broken(stream(seed, "draw")) for seed in range(40)}
    assert drawn == set(PARTS)
    assert {Malformed(part="proof").broken(stream(seed, "draw")) for seed in range(5)} == {"proof"}


def test_one_bit_is_flipped() -> None:
    data = bytes(20)
    assert sum(byte.bit_count() for byte in flipped(data, stream(1, "flip"))) == 1
