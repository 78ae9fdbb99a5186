import numpy as np
import pytest

from wardround.federation.algorithms import EMPTY, FedAvg, FedNova, FedProx, Scaffold, accumulated_steps
from wardround.training.task import LocalTraining, Trained

D = 4
TRAINING = LocalTraining(learning_rate=0.1)


def trained(value: float, steps: int = 5, rows: int = 10) -> Trained:
    return Trained(0, np.full(D, value, dtype=np.float32), steps, 1.0, rows)


@pytest.mark.parametrize("algorithm", [FedAvg(), FedProx(mu=0.1), Scaffold(), FedNova()])
def test_equal_clients_give_fedavgs_step(algorithm: FedAvg | Scaffold | FedNova) -> None:
    broadcast = algorithm.broadcast(EMPTY, D)
    block, _ = algorithm.block(trained(2.0), TRAINING, EMPTY, broadcast)
    assert block.size == sum(part.size for part in algorithm.parts(D))
    delta, _ = algorithm.delta(block, EMPTY, D, 1.0)
    assert np.allclose(delta, 2.0)


def test_fednova_does_not_let_many_steps_pull_harder() -> None:
    nova = FedNova()
    slow, _ = nova.block(trained(1.0, steps=1), TRAINING, EMPTY, EMPTY)
    fast, _ = nova.block(trained(-10.0, steps=10), TRAINING, EMPTY, EMPTY)
    delta, _ = nova.delta(np.float32(0.5) * (slow + fast), EMPTY, D, 1.0)
    assert np.allclose(delta, 0.0)  # per step they pull equally hard, in opposite directions


def test_accumulated_steps_follow_the_recursion_of_heavy_ball() -> None:
    momentum, total, velocity = 0.9, 0.0, 0.0
    for _ in range(7):
        velocity = momentum * velocity + 1.0
        total += velocity
    assert accumulated_steps(7, momentum) == pytest.approx(total)
    assert accumulated_steps(7, 0.0) == 7


def test_scaffold_variates_are_the_mean_gradients() -> None:
    scaffold, gradient = Scaffold(), 3.0
    delta = -TRAINING.learning_rate * 5 * gradient  # five SGD steps along a constant gradient
    block, memory = scaffold.block(trained(delta), TRAINING, EMPTY, scaffold.broadcast(EMPTY, D))
    assert np.allclose(memory, gradient)
    _, state = scaffold.delta(block, EMPTY, D, share=0.5)
    assert np.allclose(state, gradient / 2)  # half of the clients took part
    correction = scaffold.correct(memory, state).gradient
    assert correction is not None
    assert np.allclose(correction, gradient / 2 - gradient)


def test_scaffold_learns_nothing_from_a_client_without_rows() -> None:
    scaffold = Scaffold()
    block, memory = scaffold.block(trained(0.0, steps=0), TRAINING, EMPTY, scaffold.broadcast(EMPTY, D))
    assert not block.any()
    assert not memory.any()


def test_fedprox_passes_its_pull_and_checks_it() -> None:
    assert FedProx(mu=0.3).correct(EMPTY, EMPTY).proximal == 0.3
    with pytest.raises(ValueError, match="mu must be 0 or more"):
        FedProx(mu=-1.0)
