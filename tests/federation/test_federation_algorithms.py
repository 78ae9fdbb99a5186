import numpy as np
import pytest
from federation_pair import Pair, make_plan  # type: ignore[import-not-found]

from wardround.events import RoundDone
from wardround.federation.algorithms import EMPTY, FedAvg, FedDyn, FedNova, FedProx, Moon, Scaffold, accumulated_steps
from wardround.federation.fairness import Afl, QFfl, Term
from wardround.training.models import Mlp
from wardround.training.task import LocalTraining, Trained

D = 4
TRAINING = LocalTraining(learning_rate=0.1)


def trained(value: float, steps: int = 5, rows: int = 10) -> Trained:
    return Trained(0, np.full(D, value, dtype=np.float32), steps, 1.0, rows)


@pytest.mark.parametrize("algorithm", [FedAvg(), FedProx(mu=0.1), Scaffold(), FedNova(), Term(), Afl(), QFfl(q=0.0)])
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
    scaffold, gradient = Scaffold(most=0.0), 3.0
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


def test_scaffolds_correction_is_bounded_and_its_variates_stay_mean_gradients() -> None:
    """What was really added to each step comes off again, so that a bounded correction leaves no error behind."""
    scaffold, gradient = Scaffold(most=0.5), 3.0
    broadcast = np.full(D, 10.0, dtype=np.float32)
    added = scaffold.correct(EMPTY, broadcast).gradient
    assert added is not None
    assert np.linalg.norm(added) == pytest.approx(0.5)
    moved = -TRAINING.learning_rate * 5 * (gradient + added)  # five steps along gradient and correction
    result = Trained(0, moved.astype(np.float32), 5, 1.0, 10)
    _, memory = scaffold.block(result, TRAINING, EMPTY, broadcast)
    assert np.allclose(memory, gradient, atol=1e-5)


def test_feddyn_steps_beyond_the_mean_and_remembers() -> None:
    dyn = FedDyn(mu=0.5, most=0.0)
    block, memory = dyn.block(trained(2.0), TRAINING, EMPTY, EMPTY)
    assert np.allclose(memory, -1.0)  # h_i - mu delta
    delta, state = dyn.delta(block, EMPTY, D, 1.0)
    assert np.allclose(state, -1.0)
    assert np.allclose(delta, 4.0)  # the mean, and -h / mu beyond it
    correction = dyn.correct(memory, EMPTY)
    assert (correction.proximal, correction.gradient is not None and correction.gradient[0]) == (0.5, 1.0)


def tilted(loss: float, value: float) -> Trained:
    return Trained(0, np.full(D, value, dtype=np.float32), 5, loss, 10)


@pytest.mark.parametrize("algorithm", [Term(tilt=1.0), QFfl(q=1.0), Afl(rate=1.0)])
def test_a_client_that_is_served_badly_pulls_harder(algorithm: Term | QFfl | Afl) -> None:
    low, _ = algorithm.block(tilted(0.1, -1.0), TRAINING, EMPTY, EMPTY)
    high, _ = algorithm.block(tilted(2.0, 1.0), TRAINING, EMPTY, EMPTY)
    delta, _ = algorithm.delta(np.float32(0.5) * (low + high), EMPTY, D, 1.0)
    assert (delta > 0).all()
    assert (np.abs(delta) <= 1).all()


@pytest.mark.parametrize("algorithm", [Term(tilt=1.0, most=5), Afl(rate=1.0, most=5)])
def test_a_claimed_loss_gains_at_most_the_bound(algorithm: Term | Afl) -> None:
    honest, _ = algorithm.block(tilted(0.0, -1.0), TRAINING, EMPTY, EMPTY)
    liar, _ = algorithm.block(tilted(1e9, 1.0), TRAINING, EMPTY, EMPTY)
    assert liar[-1] / honest[-1] == pytest.approx(5.0, rel=1e-5)
    assert np.isfinite(liar).all()
    assert np.abs(liar).max() <= 1


def test_afl_remembers_who_is_served_badly() -> None:
    afl = Afl(rate=0.5)
    _, once = afl.block(tilted(2.0, 1.0), TRAINING, EMPTY, EMPTY)
    _, twice = afl.block(tilted(2.0, 1.0), TRAINING, once, EMPTY)
    assert twice[0] > once[0] > 0


def test_moon_is_fedavg_in_its_first_round_and_keeps_its_own_model_to_itself() -> None:
    plans = [make_plan(algorithm=algorithm, model=Mlp((6,))) for algorithm in (FedAvg(), Moon(), Moon(mu=0.0))]
    pairs = [Pair(plan).run() for plan in plans]
    losses = [[e.loss for e in pair.events if isinstance(e, RoundDone)] for pair in pairs]
    assert losses[0][0] == losses[1][0]
    assert losses[0][1:] != losses[1][1:]
    assert losses[0] == pytest.approx(losses[2], abs=1e-5)
    d = pairs[1].server.parameters.size
    assert {c.state.memory.size for c in pairs[1].clients.values()} == {d}
    assert {c.state.last.update.size for c in pairs[1].clients.values() if c.state.last} == {
        0
    }  # the last exchange measured
    restarted = Pair(plans[1], restart=True).run()
    assert np.array_equal(restarted.server.parameters, pairs[1].server.parameters)
