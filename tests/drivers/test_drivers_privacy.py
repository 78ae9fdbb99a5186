"""The accountant agrees with Google's, budgets stop training, and what is not covered is not sent."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wardround.config import parse
from wardround.drivers import privacy
from wardround.drivers.strategies import full
from wardround.errors import ConfigError
from wardround.events import Note, RoundDone, RoundFailed
from wardround.secagg.privacy import SPREAD

dp_accounting = pytest.importorskip("dp_accounting", reason="needs wardround[privacy]")

TEXT = """
name = "private"
seed = 3
[data]
use = "hospital"
wards = 2
devices_per_ward = 2
windows_per_device = 80
labels = "binary"
[partition]
use = "iid"
clients = 6
[participation]
minimum = 5
[secagg]
use = "lattice"
minimum = 5
[model]
use = "mlp"
hidden = [4]
[rounds]
count = 6
measure_every = 3
weighting = "uniform"
[privacy]
mechanism = "gaussian"
epsilon = 20.0
[evaluation]
centralised = false
local = false
"""


def experiment(**change: Any) -> Any:
    found = parse(TEXT, full())
    return replace(found, privacy=replace(found.privacy, **change))


def test_the_gaussian_account_is_googles() -> None:
    from dp_accounting.rdp import rdp_privacy_accountant

    account = privacy.settle(experiment(multiplier=1.7, epsilon=100.0))
    assert account is not None
    for rounds in (1, 6, 40):
        theirs = rdp_privacy_accountant.RdpAccountant(privacy.ORDERS)
        theirs.compose(dp_accounting.GaussianDpEvent(1.7), rounds)
        assert abs(account.epsilon(rounds) - theirs.get_epsilon(1e-5)) < 1e-9
    assert account.epsilon(0) == 0


def test_skellam_costs_a_little_more_and_a_budget_sets_the_smallest_multiplier() -> None:
    gaussian = privacy.settle(experiment())
    skellam = privacy.settle(experiment(mechanism="skellam"))
    assert gaussian is not None
    assert skellam is not None
    assert gaussian.multiplier <= skellam.multiplier < gaussian.multiplier + 0.01
    for account in (gaussian, skellam):
        assert account.rounds == 6
        assert 19.5 < account.epsilon(6) <= 20.0
        assert replace(account, multiplier=account.multiplier - 0.01).epsilon(6) > 20.0


def test_the_skellam_bound_in_exact_numbers() -> None:
    """By hand from the paper's formula, once with either term as the smaller one."""
    assert privacy.skellam_rdp(2, 4.0, 1.0, 1.0) == 1 / 4 + 9 / 64
    assert privacy.skellam_rdp(100, 4.0, 1.0, 1.0) == 100 / 8 + 3 / 8
    assert privacy.skellam_rdp(3, 50.0, 5.0, 12.0) == 75 / 100 + (5 * 25 + 72) / 10_000
    assert privacy.skellam_rdp(10, 8.0, 6.0, 36.0) == 360 / 16 + min((19 * 36 + 216) / 256, 108 / 16)


@pytest.mark.parametrize("shift, deviation", [(1, 1.5), (1, 8.0), (5, 4.0), (20, 13.5), (62, 42.0), (62, 125.0)])
def test_the_skellam_bound_lies_above_the_true_divergence_and_not_far(shift: int, deviation: float) -> None:
    """The divergence of Skellam noise from itself moved by ``shift``, summed over its probabilities (Bessel functions)."""
    from scipy.special import ive, logsumexp

    variance = deviation**2
    reach = int(40 * deviation + 40 * shift)
    x = np.arange(-reach, reach + 1)
    with np.errstate(divide="ignore"):
        density = np.log(ive(np.abs(x), variance))
    if not np.isfinite(density).all():  # beyond float64: too improbable to matter at the orders below
        keep = np.isfinite(density)
        x, density = x[keep], density[keep]
    for order in (2, 3, 8, 32):
        here, moved = density[shift:], density[:-shift]
        true = float(logsumexp(order * here + (1 - order) * moved)) / (order - 1)
        bound = privacy.skellam_rdp(order, variance, shift, shift)
        assert 0 < true <= bound * (1 + 1e-9), (order, true, bound)
        if variance > 20 * order * max(1, shift / 8):  # where the noise is wide, as the accountant wants it
            assert bound < true * 1.15


def test_more_values_cost_less_than_the_one_that_the_accountant_counts() -> None:
    bits, z = 8, 1.3
    (least, *_), rest = privacy._rdp("skellam", z, bits), privacy.ORDERS
    s = 0.98 * 255 * 4 / 2 / SPREAD
    assert least == privacy.skellam_rdp(2, (z * s) ** 2, s, s)
    for order, counted in zip(rest, privacy._rdp("skellam", z, bits), strict=True):
        for values in (2, 10, 5_651, 10**6):
            euclidean = values**0.5 * s
            absolute = euclidean * min(values**0.5, euclidean)  # of whole numbers: |x|_1 <= |x|_2^2 too
            assert privacy.skellam_rdp(order, (z * euclidean) ** 2, euclidean, absolute) <= counted


def test_a_budget_that_is_spent_stops_training() -> None:
    account = privacy.settle(experiment(multiplier=0.6))
    assert account is not None
    assert 1 <= account.rounds < 6
    assert account.epsilon(account.rounds) <= 20.0 < account.epsilon(account.rounds + 1)
    done = RoundDone(account.rounds, 6, 6, 0, 0, 0, 0, 0.0, 0.0, 0, 0, 0.0)
    codes = [event.code for event in privacy.spent(account, [done]) if isinstance(event, Note)]
    assert codes == ["privacy.spent", "privacy.over"]
    first = privacy.spent(account, [RoundFailed(1, 6, 2, 5, "few")])
    assert [event.code for event in first if isinstance(event, Note)] == ["privacy.spent"], (
        "a round given up counts too"
    )
    assert privacy.spent(account, []) == privacy.spent(None, [done]) == ()
    with pytest.raises(ConfigError, match="one round with multiplier"):
        privacy.settle(experiment(multiplier=0.2, epsilon=1.0))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('use = "lattice"\nminimum = 5', 'use = "plain"', "lattice"),
        ('weighting = "uniform"', 'weighting = "rows"', "uniform"),
        ("[model]", '[algorithm]\nuse = "fednova"\n[model]', "fedavg"),
        ("[model]", '[[compress.up]]\nuse = "rand-k"\n[model]', "compress"),
        ("epsilon = 20.0", "delta = 1.0", "delta"),
        ("epsilon = 20.0", "multiplier = 0.01", "multiplier"),
        ("epsilon = 20.0", "hostile = 1.0", "hostile"),
        ("epsilon = 20.0", "norm = 0.0", "norm"),
    ],
)
def test_what_does_not_fit_is_refused_when_the_file_is_read(old: str, new: str, says: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=says):
        parse(TEXT.replace(old, new), full())


def test_a_private_simulation_stops_logs_epsilon_and_sends_constants_for_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from wardround.drivers.simulation import engines, secure
    from wardround.drivers.simulation.federate import Federation
    from wardround.drivers.world import build, plan
    from wardround.events import ignore
    from wardround.federation.server import Server
    from wardround.rng import stream

    asked = experiment(multiplier=0.6)
    table = asked.data.load(None, stream(asked.seed, "data"))
    world, agreed = build(asked, table), plan(asked, table)
    counts: list[Any] = []
    plain = secure._Queue.plain

    def seen(self: Any, client: str) -> Any:
        found = plain(self, client)
        if found.update.size:
            counts.append(found.counts)
        return found

    monkeypatch.setattr(secure._Queue, "plain", seen)
    server = Server.new(agreed, asked.participation, world.names, asked.seed)
    maker = engines.maker(asked.model, asked.training, agreed.classes)
    with ThreadPoolExecutor(1) as pool:
        run = Federation(asked, world, agreed, server, maker, ignore, pool, 1)
        events = [event for step in run.run() for event in step]
    assert counts
    assert all((one == [1.0, 0.0, 0.0, 1.0, 0.0]).all() for one in counts), "nothing about a client"
    account = privacy.settle(asked)
    assert account is not None
    assert [e.round for e in events if isinstance(e, RoundDone)] == list(range(1, account.rounds + 1))
    assert "privacy.over" in [e.code for e in events if isinstance(e, Note)]
    assert "epsilon" in next(e.text for e in events if isinstance(e, Note) and e.code == "privacy.spent")
    assert all(np.isnan(e.loss) for e in events if isinstance(e, RoundDone))
    server_reach = run.server.carried.reach
    assert server_reach.size == 1
    assert server_reach[0] == np.float32(8.0 / np.sqrt(run.server.parameters.size)), (
        "it does not follow the clients' values"
    )
