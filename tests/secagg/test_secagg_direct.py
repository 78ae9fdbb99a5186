"""Direct mode: short vectors shared themselves, through the same votes; and the planner that chooses it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.crypto.sharing import PRIME
from wardround.errors import ConfigError, DataError, RemoteProtocolError
from wardround.secagg import direct, planner
from wardround.secagg.client import Plain as Answer
from wardround.secagg.direct import Plain, choose_counts, choose_update
from wardround.secagg.explain import explain, text
from wardround.secagg.in_memory import Parties
from wardround.secagg.messages import Certificate, Proposal, ShareBatch
from wardround.secagg.parameters import PRESETS, Lattice
from wardround.secagg.summation import Order, secure_sum
from wardround.wire import encode

SEED = bytes(range(32))


# --- laws of the encoding -----------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(2, 30), st.integers(2, 9), st.integers(1, 40), st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_opened_elements_are_the_sum_of_steps_and_counts(clients: int, bits: int, d: int, m: int, seed: int) -> None:
    layout = Plain(choose_update(clients, bits) if d else None, choose_counts(clients, 40) if m else None, d, m)
    rng = np.random.default_rng(seed)
    values = [rng.uniform(-1.5, 1.5, d).astype(np.float32) for _ in range(clients)]
    counts = [rng.integers(0, 1 << 40, m).astype(np.uint64) for _ in range(clients)]
    total = sum(
        direct.share(layout, v, c, 1.0, i.to_bytes(32, "big"))
        for i, (v, c) in enumerate(zip(values, counts, strict=True))
    )
    assert isinstance(total, np.ndarray)
    assert total.size == layout.elements
    assert not total.size or total.max() < PRIME  # never wraps: an honest sum is an element
    steps, whole, plausible = direct.read(layout, total, clients)
    assert plausible
    np.testing.assert_array_equal(whole, np.sum(counts, axis=0, dtype=np.uint64) if m else np.zeros(0, np.uint64))
    if layout.update is not None:
        exact = sum((np.clip(v, -1, 1).astype(float) + 1) * layout.update.levels / 2 for v in values)
        assert np.abs(steps - exact).max() < clients


def test_rounding_is_unbiased_and_zero_is_a_step() -> None:
    layout = Plain(choose_update(50, 4), None, 4, 0)
    assert layout.update is not None
    values = np.array([0.0, 0.03, -0.4, 1.0], np.float32)
    drawn = [
        direct.read(
            layout, direct.share(layout, values, np.zeros(0, np.uint64), 1.0, bytes([i // 256, i % 256]) * 16), 1
        )[0]
        for i in range(2000)
    ]
    assert (np.array(drawn)[:, 0] == 7).all()  # zero costs no noise
    mean = np.mean(drawn, axis=0) * (2 / layout.update.levels) - 1
    np.testing.assert_allclose(mean, values, atol=5 * 0.5 * (2 / 14) / 2000**0.5)


def test_what_is_not_a_number_is_not_shared() -> None:
    layout = Plain(choose_update(50, 4), None, 1, 0)
    with pytest.raises(DataError):
        direct.share(layout, np.array([np.nan], np.float32), np.zeros(0, np.uint64), 1.0, SEED)


def test_values_that_no_honest_clients_can_sum_to_are_implausible() -> None:
    layout = Plain(choose_update(50, 8), choose_counts(50, 40), 3, 2)
    good = np.zeros(layout.elements, np.int64)
    assert direct.read(layout, good, 50)[2]
    for at in (0, layout.elements - 1):
        bad = good.copy()
        bad[at] = PRIME - 1
        assert not direct.read(layout, bad, 3)[2]


# --- the round ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("committee", ["consortium", "standard"])
@pytest.mark.parametrize("cohort", [0, 3])
def test_sums_are_those_of_the_clients_that_uploaded(table: Any, cohort: int, committee: str) -> None:
    laid = table(7, cohort, committee, sharing="values")
    assert laid.start.descriptor.suite == direct.SUITE
    laid.upload(list(laid.parties.clients)[:6])
    opened = laid.finish()
    laid.check(opened)
    assert sum(len(row.clients) for row in opened.cohorts) == 6


def test_a_contribution_is_what_the_planner_said_and_holds_no_ciphertext(table: Any) -> None:
    laid = table(6, sharing="values")
    sent = laid.contribution("gw-00")
    way = planner.choose(Lattice(minimum=3, sharing="values"), 6, 0, *laid.sizes)
    assert sent.update == sent.counts == b""
    assert sum(map(len, (*sent.sealed, *sent.commitments, sent.low_degree))) == way.client_bytes


def test_the_server_never_sees_a_value_and_any_t_shares_say_nothing(table: Any) -> None:
    laid = table(6, sharing="values")
    sent = laid.contribution("gw-00")
    elements = direct.share(
        Plain(laid.start.descriptor.update, None, laid.sizes[0], 0),
        laid.plain("gw-00").update,
        np.zeros(0, np.uint64),
        1.0,
        SEED,
    )
    assert elements.astype("<u2").tobytes()[:16] not in encode(sent)
    shape = PRESETS["consortium"].sharing(laid.start.descriptor.n)
    assert shape.threshold == PRESETS["consortium"].corrupt  # what c hostile members hold is independent of the secret


def test_what_a_hostile_server_tries_on_keys_it_tries_in_vain_on_values(table: Any) -> None:
    laid = table(6, sharing="values")
    laid.question = lambda _, message: message if isinstance(message, ShareBatch) else None
    laid.upload()
    member, names = laid.parties.members[1], tuple(laid.parties.clients)
    with pytest.raises(RemoteProtocolError, match="never opened"):
        member.receive(Proposal(laid.server.identity, names[:2]))
    member.receive(Proposal(laid.server.identity, names))
    with pytest.raises(RemoteProtocolError, match="not allowed in state voted"):  # one vote, ever
        member.receive(Proposal(laid.server.identity, names[1:]))
    with pytest.raises(RemoteProtocolError, match="did not vote for"):  # and nothing is opened without a certificate
        member.receive(Certificate(laid.server.identity, bytes(32), ()))


def test_a_damaged_sealed_share_excludes_its_client_and_the_round_goes_on(table: Any) -> None:
    laid = table(6, sharing="values")

    def spoil(contribution: Any) -> Any:
        if contribution.client != "gw-02":
            return contribution
        sealed = [bytes([item[0] ^ 1]) + item[1:] for item in contribution.sealed]
        return replace(contribution, sealed=tuple(sealed))

    laid.upload(change=spoil)
    opened = laid.finish()
    assert "gw-02" in opened.refused
    assert all("gw-02" not in row.clients for row in opened.cohorts)
    laid.check(opened)


def test_a_server_cannot_choose_the_way(table: Any) -> None:
    keys, values = table(6, sharing="keys"), table(6, sharing="values")
    name = "gw-00"
    with pytest.raises(RemoteProtocolError, match="differ from this program"):
        keys.parties.clients[name].contribute(values.start, keys.plain(name), SEED)
    with pytest.raises(RemoteProtocolError, match="differ from this program"):
        values.parties.clients[name].contribute(keys.start, values.plain(name), SEED)


def test_both_ways_open_the_same_sum_to_the_rounding() -> None:
    names = [f"gw-{i}" for i in range(5)]

    def opened(sharing: Any) -> Any:
        parties = Parties(names, Lattice(minimum=3, sharing=sharing), SEED)

        def plain(name: str) -> Any:
            rng = np.random.default_rng(int(name[3:]))
            return Answer(rng.uniform(-1, 1, 30).astype(np.float32), rng.integers(0, 99, 4).astype(float))

        return secure_sum("lattice", parties, Order(tuple(names), 0, (30, 4)), plain, SEED)[0]

    keys, values = opened("keys"), opened("values")
    np.testing.assert_array_equal(keys.counts, values.counts)
    np.testing.assert_allclose(keys.update, values.update, atol=5 * 2 / 254)


# --- the planner --------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    st.integers(4, 300), st.integers(1, 6000), st.integers(0, 20), st.integers(2, 10), st.sampled_from(list(PRESETS))
)
def test_the_planner_never_takes_the_dearer_way(clients: int, values: int, counts: int, bits: int, preset: str) -> None:
    asked = Lattice(bits=bits, committee=preset)
    chosen = planner.choose(asked, clients, 0, values, counts)
    for only in ("keys", "values"):
        try:
            other = planner.choose(replace(asked, sharing=only), clients, 0, values, counts)
        except ConfigError:
            continue
        assert chosen.client_bytes <= other.client_bytes


def test_short_vectors_are_shared_and_long_ones_masked_and_the_text_says_why() -> None:
    short, long = explain(Lattice(bits=4), 50, 0, 251, 5), explain(Lattice(bits=4), 50, 0, 5011, 5)
    assert "sharing values takes" in short.why
    assert "sharing keys takes" in long.why
    assert "shared one by one" in text(short)
    assert "need no server" in text(short)
    assert "ring n = 1024" in text(long)


def test_too_many_clients_for_an_element_take_the_lattice_or_are_refused() -> None:
    assert planner.choose(Lattice(), 1000, 0, 10, 5).name == "keys"
    with pytest.raises(ConfigError, match=r'sharing = "values" cannot sum 1000 clients'):
        planner.choose(Lattice(sharing="values"), 1000, 0, 10, 5)


@pytest.mark.parametrize("counts", [1, 5, 400])
def test_counts_alone_can_be_shared(counts: int) -> None:
    way = planner.choose(Lattice(sharing="values"), 50, 0, 0, counts)
    assert way.update is None
    assert way.n == Plain(None, way.counts, 0, counts).elements
