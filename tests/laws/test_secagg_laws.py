"""Laws of secure aggregation under Hypothesis and over many rounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.crypto.packing import pack, unpack
from wardround.crypto.sampling import centred_binomial, subseed
from wardround.errors import DecodeError, RoundError
from wardround.rng import stream
from wardround.secagg import fixedpoint, kahe
from wardround.secagg.client import Plain
from wardround.secagg.in_memory import Absences, Parties, lattice_sum
from wardround.secagg.messages import decode_answer, decode_question
from wardround.secagg.parameters import Lattice, choose_dithered, choose_exact

SEED = bytes(range(32))


@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 60), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_exact_mode_opens_to_the_sum(clients: Any, bits: Any, values: Any, seed: Any) -> None:
    n = 1024 if choose_exact(1024, clients, bits) else 2048
    mode: Any = choose_exact(n, clients, bits)
    segment, rng = kahe.Segment(mode, n, values, SEED), stream(seed, "law")
    total, key_sum, wanted = kahe.start(segment), np.zeros(n, np.int64), np.zeros(values, np.uint64)
    for i in range(clients):
        plain = rng.integers(0, 1 << bits, values, dtype=np.uint64)
        key = centred_binomial(subseed(SEED, b"k" + bytes([i])), n).astype(np.int64)
        kahe.add(segment, total, kahe.encrypt(segment, plain, key, subseed(SEED, b"e" + bytes([i]))))
        wanted, key_sum = wanted + plain, key_sum + key
    assert np.array_equal(kahe.decrypt_counts(segment, total, key_sum)[0], wanted)


@pytest.mark.parametrize("clients, bits", [(16, 8), (100, 8), (100, 12), (40, 16)])
@pytest.mark.parametrize("value", [-1.0, -0.123, 0.0, 0.5])
def test_dithered_error_is_unbiased_has_the_variance_of_the_formula_and_ignores_the_value(
    clients: Any, bits: Any, value: Any
) -> None:
    mode: Any = choose_dithered(1024, clients, bits)
    count = 4096
    segment = kahe.Segment(mode, 1024, count, SEED)
    steps = fixedpoint.to_steps(np.full(count, value, np.float32), 1.0, mode.levels, mode.r)
    total, key_sum = kahe.start(segment), np.zeros(1024, np.int64)
    for i in range(clients):
        key = centred_binomial(subseed(SEED, b"d" + bytes([i])), 1024).astype(np.int64)
        kahe.add(segment, total, kahe.encrypt(segment, steps, key, subseed(SEED, b"n" + bytes([i]))))
        key_sum += key
    error = kahe.decrypt_steps(segment, total, key_sum, clients) - clients * steps[0] / (1 << mode.r)
    variance = clients * mode.variance  # N (1/12 + 32/4^r)
    assert abs(error.mean()) < 5 * (variance / count) ** 0.5
    assert abs(error.var() / variance - 1) < 5 * (2 / count) ** 0.5
    assert np.abs(error).max() < mode.margin


@pytest.mark.parametrize("clients, bits", [(400, 8), (2000, 12)])  # r = 6 and r = 2: a coarse grid
def test_clients_that_send_the_same_vector_do_not_add_up_one_rounding_error(clients: Any, bits: Any) -> None:
    """Values between grid points, the same at every client: what a fixed rounding would multiply by their number."""
    mode: Any = choose_dithered(1024, clients, bits)
    segment = kahe.Segment(mode, 1024, 1024, SEED)
    values = stream(7, "same").uniform(-1, 1, 1024).astype(np.float32)
    offsets = stream(8, "offsets").integers(0, 1 << fixedpoint.OFFSET_BITS, clients)
    total, key_sum = kahe.start(segment), np.zeros(1024, np.int64)
    for i, offset in enumerate(offsets.tolist()):
        steps = fixedpoint.to_steps(values, 1.0, mode.levels, mode.r, offset)
        key = centred_binomial(subseed(SEED, b"same" + i.to_bytes(2, "big")), 1024).astype(np.int64)
        kahe.add(segment, total, kahe.encrypt(segment, steps, key, subseed(SEED, b"noise" + i.to_bytes(2, "big"))))
        key_sum += key
    exact = clients * (values.astype(float) + 1) * mode.levels / 2
    error = kahe.decrypt_steps(segment, total, key_sum, clients) - exact
    variance = clients * (
        1 / 12 + (32 + 1 / 6) / 4**mode.r
    )  # 1/6: of f (1 - f) over all places f between two grid points
    assert variance <= clients * mode.variance
    assert (
        abs(error.mean()) < 5 * (variance / 1024 + clients / 4 / 4**mode.r) ** 0.5
    )  # one offset for a client's values
    assert abs(error.var() / variance - 1) < 5 * (2 / 1024) ** 0.5
    nearest = fixedpoint.to_steps(values, 1.0, mode.levels, mode.r) / 2**mode.r - exact / clients
    if mode.r < 6:  # what the same rounding at every client would give
        assert clients * nearest.std() > 2 * variance**0.5


@given(st.floats(-1.25, 1.25, width=32), st.integers(2, 16), st.integers(0, 6))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_rounding_by_a_uniform_offset_is_right_on_average(value: Any, bits: Any, r: Any) -> None:
    levels, array = (1 << bits) - 1, np.array([value], np.float32)
    cut = float(np.clip(np.float32(value), -1, 1))
    exact = (cut + 1) * levels * 2**r / 2
    low, high = int(np.floor(exact)), int(np.ceil(exact))
    found = {
        offset: int(fixedpoint.to_steps(array, 1.0, levels, r, offset)[0]) for offset in (0, 1, 1 << 15, (1 << 16) - 1)
    }
    assert set(found.values()) <= {low, high}
    assert list(found.values()) == sorted(found.values())
    threshold = (1 << 16) - int((exact - low) * (1 << 16))  # offsets from here on round up
    for offset, steps in found.items():
        assert steps == (high if offset >= threshold and high > low else low) or abs(offset - threshold) <= 1


@pytest.fixture(scope="module")
def parties() -> Any:
    return Parties([f"gw-{i:02d}" for i in range(9)], Lattice(minimum=3, sharing="keys"), SEED)


@given(st.sets(st.integers(0, 8)), st.dictionaries(st.integers(1, 5), st.sampled_from(["checking", "voting", "beacon", "partition", "opening"]), max_size=3),
       st.sampled_from([0, 3, 4]), st.integers(0, 2**31))  # fmt: skip
@settings(max_examples=30, deadline=None, derandomize=True)
def test_random_rounds_give_the_sums_of_the_survivors_or_nothing(
    parties: Any, gone: Any, away: Any, cohort: Any, seed: Any
) -> None:
    names = list(parties.clients)
    rng = stream(seed, "values")
    plains = {
        n: Plain(rng.uniform(-1, 1, 12).astype(np.float32), rng.integers(-99, 99, 3).astype(float)) for n in names
    }
    absences = Absences(frozenset(names[i] for i in gone), away)
    start: Any = parties.start(len(names), cohort, (12, 3))
    left = [n for n in names if n not in absences.clients]
    first_gone = [
        j
        for j, state in away.items()
        if state in {"checking", "voting"} or (cohort and state in {"beacon", "partition"})
    ]
    try:
        opened = lattice_sum(
            parties, start, plains.__getitem__, subseed(SEED, seed.to_bytes(8, "big")), absences=absences
        )
    except RoundError:
        assert len(left) < max(3, cohort) or len(away) > 1
        return
    assert len(left) >= max(3, cohort)
    assert len(first_gone) <= 1 or len(left) < 2 * cohort
    assert sorted(c for row in opened.cohorts for c in row.clients) == left
    for row in opened.cohorts:
        assert row.plausible
        assert np.array_equal(row.counts, sum(plains[c].counts for c in row.clients))
        wanted = sum(plains[c].update.astype(float) for c in row.clients)
        assert np.abs(row.update - wanted).max() < start.descriptor.update.margin * 2 / start.descriptor.update.levels


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_arbitrary_bytes_give_a_decode_error_and_nothing_else(data: Any) -> None:
    for prefix in (b"", b"WR\x01\x50\x31", b"WR\x01\x50\x36"):
        for read in (decode_answer, decode_question):
            with pytest.raises(DecodeError):
                read(prefix + data)


@given(st.integers(1, 63), st.lists(st.integers(0, 2**63 - 1), max_size=80))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_packing_is_a_bijection(width: Any, values: Any) -> None:
    v = np.array(values, np.uint64) & np.uint64((1 << width) - 1)
    assert np.array_equal(unpack(pack(v, width), v.size, width), v)
