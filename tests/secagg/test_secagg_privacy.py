"""Noise and clipping inside the secure sum: as much as promised, and no server can ask for less."""

import math
from dataclasses import replace

import numpy as np
import pytest

from wardround.errors import ConfigError, RemoteProtocolError
from wardround.secagg import transcript
from wardround.secagg.client import Plain
from wardround.secagg.in_memory import Absences, Parties, lattice_sum
from wardround.secagg.messages import RoundStart
from wardround.secagg.parameters import Lattice
from wardround.secagg.privacy import Private, private, shorten

SEED, ENTROPY = bytes(32), b"e" * 32
D = 3000


def parties(mechanism: str, multiplier: float, clients: int = 6) -> Parties:
    config = private(Lattice(minimum=4), Private(mechanism, multiplier, 0.25))  # type: ignore[arg-type]
    return Parties([f"c{i}" for i in range(clients)], config, SEED)


@pytest.mark.parametrize("mechanism", ["gaussian", "skellam"])
def test_the_opened_sum_carries_the_promised_noise_and_the_counts_none(mechanism: str) -> None:
    where = parties(mechanism, 1.5)
    values = {name: np.full(D, 0.01 * i, np.float32) for i, name in enumerate(where.clients)}
    start = where.start(6, 0, (D, 3))
    source = lambda name: Plain(values[name], np.array([1.0, 2.0, 3.0]))  # noqa: E731
    opened = lattice_sum(where, start, source, ENTROPY, absences=Absences(frozenset(["c5"])))
    (row,) = opened.cohorts
    assert row.plausible
    assert (row.counts == [5.0, 10.0, 15.0]).all()
    off = row.update - sum(values[name] for name in row.clients)
    sensitivity = math.sqrt(D) / 8  # in units of clip = 1; rounding adds less than a hundredth
    honest = 3  # of the smallest set, 4, a quarter adds nothing
    wanted = 1.5 * sensitivity * math.sqrt(5 / honest)
    assert abs(off.std() / wanted - 1) < 0.05
    assert abs(off.mean()) < 5 * wanted / math.sqrt(D)


def test_an_update_is_shortened_to_the_norm() -> None:
    x = np.full(D, 0.5, np.float32)
    assert np.linalg.norm(shorten(x, 3.0)) <= 3.0
    assert np.linalg.norm(shorten(x, 3.0)) > 2.999
    assert shorten(x, 100.0) is x
    where = parties("gaussian", 0.1)
    start = where.start(6, 0, (D, 0))
    opened = lattice_sum(where, start, lambda name: Plain(x, np.zeros(0)), ENTROPY)
    (row,) = opened.cohorts
    assert abs(row.update.mean() - 6 / 8) < 0.02, "six updates of norm sqrt(D) / 8, not of sqrt(D) / 2"


def test_a_server_that_asks_for_less_noise_is_refused() -> None:
    where = parties("gaussian", 1.0)
    start = where.start(6, 0, (D, 0))
    mode = start.descriptor.update
    assert mode is not None
    assert mode.noise is not None
    for noise in (
        None,
        replace(mode.noise, spread=mode.noise.spread / 2),
        replace(mode.noise, norm=mode.noise.norm * 2),
    ):
        described = replace(start.descriptor, update=replace(mode, noise=noise))
        forged = RoundStart(described, where.server_signer.sign(transcript.round_id(described)))
        with pytest.raises(RemoteProtocolError, match="update differ"):
            where.clients["c0"].contribute(forged, Plain(np.zeros(D, np.float32), np.zeros(0)), ENTROPY)


def test_sizes_hold_the_noise_and_too_little_noise_is_refused() -> None:
    plain = Lattice(minimum=4)
    noisy = private(plain, Private("gaussian", 2.0, 0.0))
    from wardround.secagg.parameters import fit

    quiet, loud = fit(plain, 100, 0), fit(noisy, 100, 0, noise=noisy.noise(20_000, 80))
    assert quiet.update is not None
    assert loud.update is not None
    assert quiet.update.width < loud.update.width <= quiet.update.width + 4
    assert 100 * loud.update.levels + 2 * loud.update.margin < 1 << loud.update.width
    with pytest.raises(ConfigError, match="too little noise"):
        private(Lattice(bits=2, minimum=4), Private("gaussian", 0.1, 0.0)).noise(1, 10_000)
