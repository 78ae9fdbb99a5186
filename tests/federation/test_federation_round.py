"""The whole round, both ends: what comes out of server and clients together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from federation_pair import RULE, SEED, Pair, make_plan, with_schedule  # type: ignore[import-not-found]

from wardround.aggregate.optimise import OPTIMISERS, SGD
from wardround.events import Measured, RoundDone, RoundFailed
from wardround.federation.algorithms import Algorithm, FedAvg, FedNova, FedProx, Scaffold
from wardround.federation.participation import Participation
from wardround.federation.server import Phase
from wardround.rng import stream
from wardround.training.models import Autoencoder, Mlp
from wardround.training.stacked import StackedEngine
from wardround.training.task import Job
from wardround.wire import decode

ALGORITHMS: tuple[Algorithm, ...] = (FedAvg(), FedProx(mu=0.1), Scaffold(), FedNova())
AUTOENCODER = make_plan(model=Autoencoder((3, 2, 3)))


def measured(pair: Any) -> list[Measured]:
    return [event for event in pair.events if isinstance(event, Measured)]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_every_algorithm_learns_the_two_clouds(algorithm: Algorithm) -> None:
    pair = Pair(with_schedule(make_plan(algorithm=algorithm), rounds=6)).run()
    assert measured(pair)[-1].roc_auc > 0.8
    assert [event.round for event in pair.events if isinstance(event, RoundDone)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("optimiser", [kind() for kind in OPTIMISERS], ids=lambda o: o.name)
def test_every_server_optimiser_moves_the_model_its_own_way(optimiser: Any) -> None:
    pair = Pair(make_plan(optimiser=optimiser)).run()
    plain = Pair(make_plan()).run()
    assert np.isfinite(pair.server.parameters).all()
    assert np.array_equal(pair.server.parameters, plain.server.parameters) == (optimiser.name == "sgd")


@pytest.mark.parametrize("weighting", ["rows", "sqrt", "uniform"])
def test_the_model_is_the_weighted_mean_of_the_clients_models(weighting: Any) -> None:
    """One round worked out by hand: each client trained alone, weights from the policy's definition."""
    pair = Pair(make_plan(weighting=weighting)).until(Phase.TRAINING)
    prepared, start = pair.server.prepared, pair.server.parameters
    engine = StackedEngine(pair.plan.model, pair.plan.training, len(prepared.preprocessor.names), 2)
    deltas, weights = [], []
    for number, name in enumerate(pair.names):
        rows = pair.rows[name].prepared("train", prepared)
        batches = stream(SEED, "batches", number, 1)
        deltas.append(engine.train([Job(number, rows, batches, start)])[0].delta)
        n = len(rows)
        weights.append({"rows": min(n, 30), "sqrt": round(n**0.5), "uniform": 1}[weighting])
    pair.exchange()
    assert np.allclose(pair.server.parameters, start + np.average(deltas, axis=0, weights=weights), atol=1e-6)


@pytest.mark.parametrize("plan", [make_plan(algorithm=a) for a in ALGORITHMS] + [AUTOENCODER])
@pytest.mark.parametrize("cohort_size", [0, 2])
def test_machines_rebuilt_from_bytes_at_every_step_end_equal_to_the_bit(plan: Any, cohort_size: int) -> None:
    plan = with_schedule(plan, cohort_size=cohort_size, keep="best")
    once, often = Pair(plan).run(), Pair(plan, restart=True).run()
    assert once.server.to_bytes() == often.server.to_bytes()
    assert once.events == often.events
    for name in once.names:
        assert once.clients[name].to_bytes() == often.clients[name].to_bytes()
    assert np.array_equal(once.server.outcome().parameters, often.server.outcome().parameters)


def test_cohorts_of_any_size_agree_for_the_mean() -> None:
    ends = [Pair(with_schedule(make_plan(), cohort_size=size)).run().server.parameters for size in (0, 1, 3)]
    assert np.allclose(ends[0], ends[1], atol=1e-6)
    assert np.allclose(ends[0], ends[2], atol=1e-6)


def test_a_robust_rule_survives_a_forged_answer_and_the_mean_does_not() -> None:
    def far_off(answer: Any) -> Any:
        return replace(answer, update=np.full_like(answer.update, 50.0))

    ends = {}
    for rule in ("mean", "trimmed-mean"):
        plan = with_schedule(make_plan(rule=RULE[rule](), weighting="uniform"), cohort_size=1)
        pair = Pair(plan, sizes=(40,) * 6).until(Phase.TRAINING)
        before = pair.server.parameters
        for peer, ask in pair.ask().items():
            pair.deliver(peer, pair.reply(peer, ask, far_off if peer == "gw3" else None))
        pair.close()
        ends[rule] = float(np.abs(pair.server.parameters - before).max())
    assert ends["mean"] > 5
    assert ends["trimmed-mean"] < 1


def test_a_diverged_client_weighs_nothing() -> None:
    pair = Pair(make_plan()).until(Phase.TRAINING)
    without = Pair(make_plan()).until(Phase.TRAINING)
    asks = pair.ask()
    client = pair.clients["gw1"]
    job = client.receive(asks["gw1"], pair.rows["gw1"], pair.engine())
    assert isinstance(job, Job)
    (result,) = pair.engine().train([job])
    answer = client.trained(replace(result, delta=np.full_like(result.delta, np.nan)))
    assert not answer.update.any()
    assert not answer.counts.any()
    pair.deliver("gw1", answer)
    for peer in ("gw0", "gw2", "gw3"):
        pair.deliver(peer, pair.reply(peer, asks[peer]))
    pair.close()
    without.exchange(silent=["gw1"])
    assert np.array_equal(pair.server.parameters, without.server.parameters)


def test_all_diverged_keeps_the_model_and_goes_on() -> None:
    pair = Pair(make_plan()).until(Phase.TRAINING)
    before = pair.server.parameters
    for peer, ask in pair.ask().items():
        zero = pair.reply(peer, ask, lambda a: replace(a, update=0 * a.update, counts=0 * a.counts))
        pair.deliver(peer, zero)
    (failed,) = pair.close()
    assert isinstance(failed, RoundFailed)
    assert failed.reason == "no answer carries weight"
    assert np.array_equal(pair.server.parameters, before)
    assert isinstance(pair.exchange()[0], RoundDone)


def test_a_short_round_keeps_the_model_and_the_next_one_goes_on() -> None:
    pair = Pair(make_plan(), policy=Participation(minimum=3)).until(Phase.TRAINING)
    before = pair.server.parameters
    (failed,) = pair.exchange(silent=["gw0", "gw1"])
    assert failed == RoundFailed(1, 4, 2, 3, "too few clients answered")
    assert np.array_equal(pair.server.parameters, before)
    (done,) = pair.exchange()
    assert isinstance(done, RoundDone)
    assert done.round == 2


def test_a_client_that_was_away_catches_up_with_one_message() -> None:
    plan = with_schedule(make_plan(algorithm=Scaffold()), rounds=8)
    pair = Pair(plan)
    others = pair.names[:3]
    while pair.server.phase is not Phase.TRAINING or pair.server.round < 5:
        pair.exchange(here=others)
    known = len(pair.downlink["gw3"])
    events = pair.exchange()
    assert any(isinstance(event, RoundDone) and event.answered == 4 for event in events)
    assert len(pair.downlink["gw3"]) == known + 1
    assert pair.downlink["gw3"][-1] > pair.downlink["gw0"][-1]  # the statistics came along
    pair.exchange()
    assert pair.downlink["gw3"][-1] == pair.downlink["gw0"][-1]  # and are not sent twice


def test_the_statistics_go_to_each_client_once() -> None:
    pair = Pair(make_plan()).run()
    first, second, *_ = (pair.downlink["gw0"][i] for i in (1, 2))
    assert first > second


def test_the_best_model_is_kept_on_request() -> None:
    plan = with_schedule(make_plan(), rounds=6, measure_every=1, keep="best")
    pair = Pair(plan).run()
    scores = {event.round: event.macro_f1 for event in measured(pair)}
    outcome = pair.server.outcome()
    assert outcome.round == max(scores, key=lambda r: (scores[r], -r))
    last = Pair(with_schedule(plan, keep="last")).run().server.outcome()
    assert last.round == 6


def test_an_autoencoder_is_measured_by_the_federations_own_errors() -> None:
    pair = Pair(with_schedule(AUTOENCODER, rounds=6)).run()
    assert pair.server.errors[0] == sum((rows.y[len(rows.y) // 2 :] == 0).sum() for rows in pair.rows.values())
    assert np.isnan(measured(pair)[-1].macro_f1)
    assert 0 <= measured(pair)[-1].roc_auc <= 1


def test_an_autoencoder_goes_on_when_nobody_sends_errors() -> None:
    pair = Pair(AUTOENCODER).until(Phase.ERRORS)
    pair.exchange(silent=pair.names)
    assert pair.server.phase is Phase.MEASURES
    assert isinstance(pair.exchange()[0], Measured)


def test_sampling_invites_the_share_and_sees_every_client_in_time() -> None:
    pair = Pair(with_schedule(make_plan(), rounds=12), policy=Participation(fraction=0.5, minimum=2)).until(
        Phase.TRAINING
    )
    seen: set[str] = set()
    while pair.server.phase is not Phase.DONE:
        training = pair.server.phase is Phase.TRAINING
        asks = pair.ask()
        if training:
            assert len(asks) == 2
            seen |= set(asks)
        for peer, ask in asks.items():
            pair.deliver(peer, pair.reply(peer, ask))
        pair.close()
    assert seen == set(pair.names)


def test_a_client_without_rows_and_one_class_clients_take_part() -> None:
    pair = Pair(make_plan(model=Mlp((3,))), sizes=(40, 0, 1, 30))
    pair.rows["gw3"] = replace(pair.rows["gw3"], y=np.zeros_like(pair.rows["gw3"].y))
    pair.run()
    assert np.isfinite(pair.server.parameters).all()


def test_another_seed_is_another_federation() -> None:
    pair = Pair(make_plan()).until(Phase.TRAINING)
    again = Pair(make_plan()).until(Phase.TRAINING)
    assert np.array_equal(pair.server.parameters, again.server.parameters)
    assert not np.array_equal(pair.server.parameters, pair.plan.model.init(4, 2, stream(SEED + 1, "init")))


def test_momentum_of_the_server_survives_its_restart() -> None:
    plan = make_plan(optimiser=SGD(momentum=0.9))
    ends = [Pair(plan, restart=restart).run().server.parameters for restart in (False, True)]
    assert np.array_equal(*ends)


def test_state_bytes_are_canonical() -> None:
    pair = Pair(make_plan()).until(Phase.TRAINING)
    data = pair.server.to_bytes()
    again = type(pair.server).from_bytes(pair.plan, pair.policy, pair.names, SEED, data)
    assert again.to_bytes() == data
    with pytest.raises(Exception, match="too many"):
        decode(data + b"x", type(again._state))
