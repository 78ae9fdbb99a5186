"""The pairwise baseline: exact sums with dropouts, and the two faults of its best-known implementation refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wardround.errors import AuthError, RemoteProtocolError, RoundError
from wardround.rng import stream
from wardround.secagg import in_memory, pairwise, summation
from wardround.secagg.client import Plain
from wardround.secagg.parameters import Lattice

NAMES = [f"gw-{i:02d}" for i in range(10)]
SEED = bytes(range(32))


def plain(name: Any) -> Any:
    rng = stream(3, name)
    return Plain((rng.integers(0, 256, 30) / 127.5 - 1).astype(np.float32), rng.integers(-99, 99, 4).astype(float))


def plan(neighbours: Any = 6) -> Any:
    return pairwise.agree(b"round", NAMES, neighbours, (30, 4), Lattice())


@pytest.mark.parametrize("gone", [(), ("gw-03",), ("gw-00", "gw-05")])
def test_sums_are_exact_with_clients_vanishing_before_their_input(gone: Any) -> None:
    row = summation.pairwise_sum(plan(), plain, SEED, frozenset(gone))
    left = [n for n in NAMES if n not in gone]
    assert row.clients == tuple(left)
    assert np.array_equal(row.counts, sum(plain(n).counts for n in left))
    assert np.allclose(row.update, sum(plain(n).update.astype(float) for n in left), atol=1e-5)


def test_too_many_lost_neighbours_fail_the_round() -> None:
    with pytest.raises(RoundError, match="shares of a secret"):
        summation.pairwise_sum(plan(), plain, SEED, frozenset(NAMES[:6]))


def neighbours_of_one() -> Any:
    agreed = plan()
    clients = {
        n: pairwise.PairwiseClient(n, agreed, in_memory.entropy_of(SEED[:-1] + bytes([i]))) for i, n in enumerate(NAMES)
    }
    public = {n: c.advertise() for n, c in clients.items()}
    server = pairwise.PairwiseServer(agreed)
    for client in clients.values():
        server.relay(client.share(public))
    for n, client in clients.items():
        client.receive(server.letters(n))
    return agreed, clients, server


def test_a_client_is_never_both_active_and_dead() -> None:
    agreed, clients, _ = neighbours_of_one()
    victim, *others = agreed.around("gw-00")
    with pytest.raises(RemoteProtocolError, match="never given out"):
        clients["gw-00"].unmask(pairwise.UnmaskRequest((victim, *others), (victim,)))
    clients["gw-00"].unmask(pairwise.UnmaskRequest((victim,), ()))
    with pytest.raises(RemoteProtocolError, match="never given out"):
        clients["gw-00"].unmask(pairwise.UnmaskRequest((), (victim,)))


def test_mask_seeds_have_256_bits_and_inputs_look_uniform() -> None:
    _, clients, _ = neighbours_of_one()
    assert all(len(clients["gw-09"]._pair(n)) == 32 for n in clients["gw-09"].held)
    zero = clients["gw-01"].masked(-np.ones(30, np.float32), np.zeros(4))
    assert len(set(zero.update)) > 20  # the all-zero vector is sent as masks


def test_letters_of_strangers_or_with_changed_bytes_are_refused() -> None:
    from dataclasses import replace

    agreed, clients, server = neighbours_of_one()
    letter = server.letters("gw-04")[0]
    with pytest.raises(AuthError):
        clients["gw-04"].receive(
            [
                replace(
                    letter, sealed=letter.sealed[:-1] + b"\0" * 1 if letter.sealed[-1] else letter.sealed[:-1] + b"\1"
                )
            ]
        )
    with pytest.raises(RemoteProtocolError):
        clients["gw-04"].receive([replace(letter, sender="nobody")])
    masked = clients["gw-04"].masked(np.zeros(30, np.float32), np.zeros(4))
    server.add(masked)
    with pytest.raises(RemoteProtocolError, match="second input"):
        server.add(masked)
    assert agreed.widths == (12, 44)


def test_neighbours_must_be_even_and_fewer_than_the_clients() -> None:
    for k in (3, 10, 0):
        with pytest.raises(ValueError, match="even"):
            plan(k)
