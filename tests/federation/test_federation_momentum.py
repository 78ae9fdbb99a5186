"""Client momentum: its laws, and that it goes through the round, a checkpoint and an adversary's hands."""

import numpy as np
import pytest
from federation_pair import Pair, make_plan, with_schedule  # type: ignore[import-not-found]
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.aggregate.optimise import SGD
from wardround.arrays import F32
from wardround.federation.algorithms import EMPTY, FedAvg
from wardround.federation.momentum import ClientMomentum, made, sent
from wardround.training.task import LocalTraining, Trained

LAW = settings(max_examples=30, deadline=None, derandomize=True)
TRAINING = LocalTraining()


def trained(delta: np.ndarray, steps: int = 3) -> Trained:
    return Trained(0, delta.astype(np.float32), steps, 1.0, 10)


def course(algorithm: ClientMomentum, deltas: list[F32]) -> list[F32]:
    """What one client sends, round by round."""
    memory, blocks = EMPTY, []
    for delta in deltas:
        block, memory = algorithm.block(trained(delta), TRAINING, memory, EMPTY)
        blocks.append(block)
    return blocks


@LAW
@given(seed=st.integers(0, 2**31), keep=st.floats(0.0, 0.99))
def test_what_is_sent_is_the_weighted_mean_of_all_rounds(seed: int, keep: float) -> None:
    deltas = list(np.random.default_rng(seed).normal(size=(6, 5)).astype(np.float32))
    last = course(ClientMomentum(keep=keep), deltas)[-1]
    weights = np.array([keep**5, *((1 - keep) * keep ** (5 - t) for t in range(1, 6))])
    assert weights.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(last, weights @ np.stack(deltas), atol=1e-5)


@LAW
@given(seed=st.integers(0, 2**31), keep=st.floats(0.0, 0.95))
def test_an_update_made_for_a_block_is_sent_as_that_block(seed: int, keep: float) -> None:
    rng = np.random.default_rng(seed)
    algorithm = ClientMomentum(keep=keep)
    memory, block = rng.normal(size=(2, 7)).astype(np.float32)
    np.testing.assert_allclose(sent(algorithm, made(algorithm, block, memory), memory), block, atol=1e-4)
    assert made(algorithm, block, EMPTY) is block, "in its first round a client sends its update"
    assert sent(FedAvg(), block, memory) is block


def test_equal_updates_are_sent_as_they_are() -> None:
    delta = np.arange(4, dtype=np.float32)
    for block in course(ClientMomentum(keep=0.75), [delta] * 5):
        np.testing.assert_allclose(block, delta, rtol=1e-6)


def test_noise_shrinks_and_what_a_clients_data_owe_stays() -> None:
    rng = np.random.default_rng(4)
    own = np.full(2000, 3.0)
    last = course(ClientMomentum(keep=0.9), [(own + rng.normal(size=2000)).astype(np.float32) for _ in range(80)])[-1]
    assert last.mean() == pytest.approx(3.0, abs=0.05)
    assert last.std() == pytest.approx(np.sqrt(0.1 / 1.9), rel=0.1)  # (1 - b) / (1 + b) of the variance


def test_a_client_without_rows_remembers_nothing() -> None:
    memory = np.ones(3, dtype=np.float32)
    block, kept = ClientMomentum().block(trained(np.zeros(3), steps=0), TRAINING, memory, EMPTY)
    assert not block.any()
    assert kept is memory


@pytest.mark.parametrize("wrong", [{"keep": 1.0}, {"keep": -0.1}, {"mu": -1.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ClientMomentum(**wrong)


def test_without_memory_it_is_fedavg_to_the_bit() -> None:
    plain = Pair(with_schedule(make_plan(algorithm=FedAvg()), rounds=3)).run()
    same = Pair(with_schedule(make_plan(algorithm=ClientMomentum(keep=0.0)), rounds=3)).run()
    np.testing.assert_array_equal(same.server.parameters, plain.server.parameters)


def test_the_pull_to_the_rounds_model_is_fedproxs() -> None:
    assert ClientMomentum(mu=0.3).correct(EMPTY, EMPTY).proximal == 0.3


def test_where_all_take_part_it_moves_the_model_as_a_servers_moving_mean_would() -> None:
    """The first round is FedAvg's; what follows is a mean over rounds, so the path is longer-winded and ends nearby."""
    first = Pair(with_schedule(make_plan(algorithm=ClientMomentum(keep=0.5)), rounds=1)).run()
    plain = Pair(with_schedule(make_plan(optimiser=SGD()), rounds=1)).run()
    np.testing.assert_array_equal(first.server.parameters, plain.server.parameters)
    learnt = Pair(with_schedule(make_plan(algorithm=ClientMomentum(keep=0.5)), rounds=6)).run()
    assert learnt.events[-1].roc_auc > 0.8
