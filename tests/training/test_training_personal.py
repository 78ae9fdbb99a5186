"""Personal strategies: what is common, what stays, and how a late client begins."""

from typing import Any

import numpy as np
import pytest

from wardround.training.models import Mlp
from wardround.training.personal import STRATEGIES, Apfl, Ditto, FedPer, FedRep, Finetune, check_patterns, chosen
from wardround.training.stacked import StackedEngine
from wardround.training.task import Job, LocalTraining, Rows
from wardround.training.tuning import Pupil, loss, tune

F, C = 6, 3
MODEL = Mlp((8,))
LAYOUT = MODEL.layout(F, C)
ENGINE = StackedEngine(MODEL, LocalTraining(epochs=1, learning_rate=0.1, batch_size=8), F, C)
HEAD = chosen(LAYOUT, ("out.*",))
NOTHING = np.zeros(0, dtype=np.float32)


def base(seed: int = 0, n: int = 40) -> Job:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, C, n)
    x = (rng.standard_normal((C, F))[y] * 2 + rng.standard_normal((n, F)) * 0.5).astype(np.float32)
    return Job(0, Rows(x, y), np.random.default_rng(7), MODEL.init(F, C, np.random.default_rng(1)))


def one_round(personal: Any, job: Job, memory: Any) -> Any:
    done: list[Any] = []
    jobs = []
    for leg in range(personal.legs):
        jobs.append(personal.job(leg, job, memory, LAYOUT, done))
        done += ENGINE.train([jobs[-1]])
    common, own = personal.finish(job, memory, LAYOUT, done)
    return common, own, jobs


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_client_without_memory_has_the_common_model(strategy: Any) -> None:
    job = base()
    assert np.array_equal(strategy().model(NOTHING, job.start, LAYOUT), job.start)


@pytest.mark.parametrize("strategy", [FedPer, FedRep])
def test_private_tensors_leave_nothing_in_the_common_change(strategy: Any) -> None:
    common, own, _ = one_round(strategy(), base(), NOTHING)
    assert not common.delta[HEAD].any()
    assert common.delta[~HEAD].any()
    job = base()
    model = strategy().model(own, job.start, LAYOUT)
    assert np.array_equal(model[~HEAD], job.start[~HEAD])  # only the head is its own
    assert (model[HEAD] != job.start[HEAD]).any()


def test_fedrep_trains_the_head_alone_and_then_the_body_alone() -> None:
    _, _, (first, second) = one_round(FedRep(), base(), NOTHING)
    assert np.array_equal(first.frozen, ~HEAD)
    assert np.array_equal(second.frozen, HEAD)
    assert np.array_equal(second.start[~HEAD], first.start[~HEAD])
    assert (second.start[HEAD] != first.start[HEAD]).any()


def test_ditto_and_apfl_send_what_fedavg_sends() -> None:
    plain = ENGINE.train([base()])[0]
    for strategy in (Ditto(), Apfl()):
        common, own, _ = one_round(strategy, base(), NOTHING)
        assert np.array_equal(common.delta, plain.delta)
        assert own.shape == (LAYOUT.size,)
        assert (own != base().start).any()


def test_a_strong_pull_holds_dittos_own_model_at_the_common_one() -> None:
    def distance(pull: float) -> float:
        _, own, _ = one_round(Ditto(pull), base(), NOTHING)
        return float(np.abs(own - base().start).max())

    assert distance(5.0) < 0.6 * distance(0.0)


def test_apfl_with_share_one_trains_alone() -> None:
    memory = base(3).start + np.float32(0.01)
    _, own, jobs = one_round(Apfl(1.0), base(), memory)
    alone = ENGINE.train([Job(0, base().rows, np.random.default_rng(7), memory)])[0]
    assert np.array_equal(jobs[1].start, memory)
    # leg 1 draws its batches after leg 0 here, so the vectors differ; both start at the own model and both move
    assert np.abs(own - memory).max() == pytest.approx(np.abs(alone.delta).max(), rel=0.5)


def test_apfls_mixture_moves_as_the_paper_says() -> None:
    """One SGD step on v at rate r, gradient of f at u = a v + (1 - a) w, chain rule a: compare with the leg at a^2 r."""
    share, job = 0.25, base(n=8)
    memory = job.start + np.float32(0.05)
    mixed = share * memory + (1 - share) * job.start
    gradient = ENGINE.train([Job(0, job.rows, np.random.default_rng(7), mixed.astype(np.float32))])[0].delta / -0.1
    expected = memory - 0.1 * share * gradient
    leg = ENGINE.train([Apfl(share).job(1, base(n=8), memory, LAYOUT, ())])[0]
    common = ENGINE.train([base(n=8)])[0]
    _, own = Apfl(share).finish(base(n=8), memory, LAYOUT, (common, leg))
    np.testing.assert_allclose(own, expected, atol=2e-6)


def test_tuning_keeps_the_best_epoch_and_stops() -> None:
    good, flipped = base(), base()
    wrong = Rows(flipped.rows.x, (flipped.rows.y + 1) % C)  # validation says the opposite of training
    pupils = [Pupil(good, good.rows), Pupil(flipped, wrong), Pupil(base(), Rows(good.rows.x[:0], good.rows.y[:0]))]
    learnt, stayed, blind = tune(Finetune(most_epochs=8), ENGINE, pupils, LAYOUT)
    assert loss(ENGINE, learnt, good.rows) < 0.7 * loss(ENGINE, good.start, good.rows)
    assert loss(ENGINE, stayed, wrong) <= loss(ENGINE, flipped.start, wrong)
    assert np.array_equal(blind, good.start)  # nothing to stop by


def test_tuning_biases_leaves_the_weights() -> None:
    job = base()
    tuned = tune(Finetune(tensors=("*.bias",)), ENGINE, [Pupil(job, job.rows)], LAYOUT)[0]
    biases = chosen(LAYOUT, ("*.bias",))
    assert np.array_equal(tuned[~biases], job.start[~biases])
    assert (tuned[biases] != job.start[biases]).any()


def test_names_that_fit_no_tensor_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no tensor is named head\.\*; there are hidden1\.weight"):
        check_patterns(FedPer(("head.*",)), LAYOUT)
    with pytest.raises(ValueError, match="leave nothing"):
        check_patterns(FedPer(("*",)), LAYOUT)
    check_patterns(Finetune(tensors=("*",)), LAYOUT)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Ditto(-1.0),
        lambda: Apfl(0.0),
        lambda: Finetune(most_epochs=0),
        lambda: FedPer(()),
    ],
)
def test_settings_out_of_range_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|name at least"):
        bad()
