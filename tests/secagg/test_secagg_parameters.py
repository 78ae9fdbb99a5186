"""Sizes: the suite table, the published bits per value, the rules and what their errors say would fit."""

from __future__ import annotations

import math
from typing import Any

import pytest

from wardround.errors import ConfigError, RemoteProtocolError
from wardround.secagg.explain import dithered_rows, explain, markdown, preset_rows, suite_rows, text
from wardround.secagg.parameters import (
    PRESETS,
    Committee,
    Lattice,
    choose_dithered,
    choose_exact,
    fit,
    key_sum_fits,
    largest_opened,
)
from wardround.secagg.suites import SUITES, suite, suite_for


def test_no_suite_leaves_the_policy() -> None:
    largest = {1024: 25, 2048: 49}
    for row in SUITES:
        assert row.k <= largest[row.n]
        assert row.classical >= 118  # ML-KEM-512 in the same model
        assert row.quantum >= 107
        assert suite(row.number) == row
    assert len({row.number for row in SUITES}) == len(SUITES)


def test_a_suite_covers_smaller_moduli_and_no_larger() -> None:
    assert suite_for(1024, 19) == suite(0x0114)
    assert suite_for(1024, 25) == suite(0x0119)
    assert suite_for(1024, 26) is None
    assert suite_for(4096, 20) is None
    with pytest.raises(RemoteProtocolError, match="not on this program's list"):
        suite(0x0119 + 1)


@pytest.mark.parametrize(
    "clients, bits, width, k, n",
    [(16, 8, 12, 18, 1024), (100, 8, 15, 21, 1024), (1000, 8, 18, 24, 1024), (10_000, 8, 22, 25, 1024), (100, 12, 19, 25, 1024), (1000, 16, 26, 32, 2048)],
)  # fmt: skip
def test_dithered_widths_are_those_of_modular_masking(clients: Any, bits: Any, width: Any, k: Any, n: Any) -> None:
    mode: Any = choose_dithered(n, clients, bits)
    assert (mode.width, mode.k) == (width, k)
    assert mode.width == math.ceil(math.log2(clients * (2**bits - 1) + 1))
    assert clients * mode.levels + 2 * mode.margin < 2**mode.width
    assert mode.levels >= 0.98 * (2**bits - 1)


@pytest.mark.parametrize("clients, per_value", [(16, 41 / 3), (100, 18.0), (1000, 22.0), (10_000, 32.0)])
def test_exact_widths_are_the_published_ones(clients: Any, per_value: Any) -> None:
    mode: Any = choose_exact(2048, clients, 8)
    assert mode.bits_per_value == pytest.approx(per_value)
    assert 2 ** (mode.r + mode.nu - 1) >= mode.noise_bound
    assert mode.base**mode.slots * 2**mode.nu <= 2**mode.width


def test_every_configuration_in_reach_fits_or_says_what_would() -> None:
    for clients in (4, 16, 100, 1000, 10_000):
        for cohort in (0, 5, 50):
            for bits in (2, 8, 12, 16):
                config = Lattice(bits=bits)
                if clients < max(cohort, config.minimum):
                    continue
                if choose_dithered(2048, largest_opened(clients, cohort), bits) is None:
                    with pytest.raises(ConfigError, match="would fit"):
                        fit(config, clients, cohort)
                    continue
                found: Any = fit(config, clients, cohort)
                assert max(found.update.k, found.counts.k) <= found.suite.k
                assert found.suite.n == found.n
                assert found.largest == largest_opened(clients, cohort)
                assert key_sum_fits(found.largest)


@pytest.mark.parametrize(
    "clients, cohort, says",
    [
        (3, 0, "4 \\(minimum\\) to 10000"),
        (20_000, 0, "10000 can"),
        (20, 3, "cohort_size = 4 or more"),
        (20, 30, "cohort_size = 20 or less"),
    ],
)
def test_rules_of_size_say_what_would_fit(clients: Any, cohort: Any, says: Any) -> None:
    with pytest.raises(ConfigError, match=says):
        fit(Lattice(), clients, cohort)


@pytest.mark.parametrize(
    "numbers, says",
    [((5, 0, 2, 4, 0), "threshold of 1"), ((5, 1, 2, 4, 2), "t = 2 would fit"), ((5, 1, 2, 3, 1), "so 4 to 5"), ((5, 1, 4, 4, 1), "ell = 3 would fit"),
     ((9, 4, 1, 6, 2), "honest members must stand behind"), ((5, 1, 2, 6, 1), "so 4 to 5")],
)  # fmt: skip
def test_committee_rules_say_what_would_fit(numbers: Any, says: Any) -> None:
    with pytest.raises(ValueError, match=says):
        Committee(*numbers)


def test_presets_are_those_of_the_protocol() -> None:
    assert {n: (c.members, c.threshold, c.pack, c.quorum) for n, c in PRESETS.items()} == {
        "small": (4, 1, 2, 3), "consortium": (5, 1, 2, 4), "standard": (9, 2, 3, 6), "large": (20, 6, 6, 14), "client-drawn": (50, 16, 16, 34)
    }  # fmt: skip
    for committee in PRESETS.values():
        assert 2 * committee.quorum > committee.members + committee.corrupt
        assert committee.threshold + 1 <= committee.quorum - committee.corrupt


@pytest.mark.parametrize(
    "keys",
    [
        {"bits": 1},
        {"bits": 17},
        {"clip": 0.0},
        {"clip": math.nan},
        {"count_bits": 60},
        {"count_fraction": 40},
        {"committee": "x"},
        {"minimum": 1},
    ],
)
def test_a_wrong_table_is_refused_when_it_is_read(keys: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(keys)).split("_")[0]):
        Lattice(**keys)


def test_explain_tells_bytes_security_and_tolerance() -> None:
    facts = explain(Lattice(), 100, 0, 20_000)
    assert (facts.bits_per_update, facts.update_bytes, facts.n, facts.k) == (15.0, 37_500, 1024, 21)
    assert facts.error_std_steps == pytest.approx(3.02, abs=0.01)
    assert facts.dropped_clients == 96
    words = text(facts)
    for needed in ("15 bits per update value", "158 / 144 bits", "committee of 5: 1 may be away", "1 hostile"):
        assert needed in words
    small = explain(Lattice(), 100, 8, 20_000)
    assert small.update_bytes < facts.update_bytes
    assert small.largest_opened == 15


def test_tables_are_printed_from_the_code() -> None:
    assert markdown(suite_rows()).count("\n") == len(SUITES) + 1
    assert "15 (n 1024, k 21, r 6)" in markdown(dithered_rows())
    assert preset_rows()[1]["bytes n = 1024"] == str(explain(Lattice(sharing="keys"), 100, 0, 10).fixed_bytes)
