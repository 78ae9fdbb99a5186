"""What each attack sends, against its paper's formula written out; that none changes what it is given."""

from itertools import pairwise

import numpy as np
import pytest

from wardround.aggregate.mean import Mean
from wardround.aggregate.rooted import FLTrust
from wardround.aggregate.rule import Context
from wardround.arrays import F32
from wardround.attacks.adversaries import ATTACKS, Attack, Target
from wardround.attacks.forging import FreeRider, Gaussian, Mimic, SignFlip
from wardround.attacks.omniscient import ALIE, IPM, MinMax, MinSum, hidden_deviations
from wardround.attacks.poisoning import ModelReplacement

PLAIN = Target(Mean())


def stream(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def round_of(h: int = 12, f: int = 3, d: int = 40, seed: int = 0) -> tuple[F32, F32]:
    rng = stream(seed)
    rows = (rng.normal(size=d) + rng.normal(size=(h + f, d)) * rng.uniform(0.2, 2, d)).astype(np.float32)
    return rows[:h], rows[h:]


@pytest.mark.parametrize("cls", ATTACKS, ids=lambda cls: cls.name)
@pytest.mark.parametrize("f", [0, 1, 3])
def test_every_attack_sends_one_finite_update_per_client_and_changes_nothing(cls: type[Attack], f: int) -> None:
    honest, own = round_of(f=f)
    before = honest.copy(), own.copy()
    honest.setflags(write=False)
    own.setflags(write=False)
    target = Target(FLTrust(), cohort_size=3, context=Context(root=honest[0]))
    sent = cls().forge(honest, own, target, stream())
    assert sent.shape == own.shape
    assert sent.dtype == np.float32
    assert np.isfinite(sent).all()
    np.testing.assert_array_equal(honest, before[0])
    np.testing.assert_array_equal(own, before[1])
    np.testing.assert_array_equal(sent, cls().forge(honest, own, target, stream()))  # the same stream, the same attack


@pytest.mark.parametrize("cls", [ALIE, IPM, MinMax, MinSum, Mimic, Gaussian])
def test_an_omniscient_attack_without_honest_updates_says_so(cls: type[Attack]) -> None:
    with pytest.raises(ValueError, match="honest updates"):
        cls().forge(np.zeros((0, 4), dtype=np.float32), np.ones((2, 4), dtype=np.float32), PLAIN, stream())


def test_sign_flip_and_free_rider() -> None:
    honest, own = round_of()
    np.testing.assert_array_equal(SignFlip(scale=2.0).forge(honest, own, PLAIN, stream()), -2 * own)
    assert not FreeRider().forge(honest, own, PLAIN, stream()).any()


@pytest.mark.parametrize("attack", [Gaussian(scale=3.0), FreeRider(noise=3.0)])
def test_noise_has_the_length_it_is_told_and_differs_between_clients(attack: Attack) -> None:
    honest, own = round_of(d=4000)
    sent = attack.forge(honest, own, PLAIN, stream())
    typical = np.median(np.linalg.norm(honest, axis=1))
    np.testing.assert_allclose(np.linalg.norm(sent, axis=1), 3 * typical, rtol=0.05)
    assert abs(float(sent[0] @ sent[1])) < 0.1 * float(sent[0] @ sent[0])


def test_alie_moves_every_coordinate_by_z_deviations() -> None:
    honest, own = round_of()
    sent = ALIE(z=1.5).forge(honest, own, PLAIN, stream())
    np.testing.assert_allclose(sent[1], honest.mean(axis=0) - 1.5 * honest.std(axis=0), rtol=1e-4, atol=1e-5)


def test_alie_s_own_z_is_the_papers() -> None:
    """n = 50, m = 12: s = 26 - 12 = 14, share (38 - 14) / 38, z = 0.336 from the normal table."""
    assert hidden_deviations(38, 12) == pytest.approx(0.336, abs=2e-3)
    assert hidden_deviations(3, 3) > hidden_deviations(38, 12)


def test_ipm_is_the_reversed_mean() -> None:
    honest, own = round_of()
    np.testing.assert_allclose(
        IPM(epsilon=0.7).forge(honest, own, PLAIN, stream())[0], -0.7 * honest.mean(axis=0), rtol=1e-5
    )


@pytest.mark.parametrize("direction", ["std", "unit", "sign"])
def test_min_max_goes_to_the_limit_and_no_farther(direction: str) -> None:
    honest, own = round_of()
    sent = MinMax(direction=direction).forge(honest, own, PLAIN, stream())[0].astype(float)  # type: ignore[arg-type]
    between = max(np.linalg.norm(a - b) for a in honest.astype(float) for b in honest.astype(float))
    assert max(np.linalg.norm(sent - row) for row in honest) == pytest.approx(between, rel=1e-4)


@pytest.mark.parametrize("direction", ["std", "unit", "sign"])
def test_min_sum_goes_to_the_limit_and_no_farther(direction: str) -> None:
    honest, own = round_of()
    sent = MinSum(direction=direction).forge(honest, own, PLAIN, stream())[0].astype(float)  # type: ignore[arg-type]
    x = honest.astype(float)
    most = max(sum(float((a - b) @ (a - b)) for b in x) for a in x)
    assert sum(float((sent - b) @ (sent - b)) for b in x) == pytest.approx(most, rel=1e-4)


def test_equal_honest_updates_leave_min_max_nowhere_to_go() -> None:
    honest = np.ones((4, 6), dtype=np.float32)
    np.testing.assert_allclose(MinMax().forge(honest, honest[:2], PLAIN, stream()), honest[:2], atol=1e-6)


def test_mimic_copies_the_client_that_stands_out_along_the_main_direction() -> None:
    honest, own = round_of()
    honest[5] += 30
    sent = Mimic().forge(honest, own, PLAIN, stream())
    np.testing.assert_array_equal(sent, np.tile(honest[5], (3, 1)))


def test_model_replacement_makes_the_backdoored_model_the_mean() -> None:
    honest, own = round_of()
    honest -= honest.mean(axis=0)
    sent = ModelReplacement().forge(honest, own, PLAIN, stream())
    got = Mean().combine(np.concatenate([honest, sent]), np.ones(15)).vector
    np.testing.assert_allclose(got, own.mean(axis=0), rtol=1e-3, atol=1e-4)
    alone = ModelReplacement().forge(honest, own[:1], PLAIN, stream())
    got = Mean().combine(np.concatenate([honest, alone]), np.ones(13)).vector
    np.testing.assert_allclose(got, own[0], rtol=1e-3, atol=1e-4)


def test_more_hostile_clients_hide_larger_deviations() -> None:
    values = [hidden_deviations(20 - f, f) for f in range(1, 9)]
    assert all(later >= earlier for earlier, later in pairwise(values))
