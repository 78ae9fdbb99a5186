"""Robust and frugal together: what the server compares rows with passes through the round's support as the rows did."""

from dataclasses import replace

import numpy as np
import pytest
from federation_pair import Pair, make_plan, with_schedule  # type: ignore[import-not-found]

from wardround.aggregate.rooted import FLTrust
from wardround.aggregate.rules import Context
from wardround.arrays import F32
from wardround.compress.budget import Ring
from wardround.compress.chain import LinearCoding
from wardround.compress.supports import Importance
from wardround.compress.table import Compress
from wardround.federation import coding, pipeline, reach
from wardround.federation.cohorts import CohortSum
from wardround.federation.pipeline import Moment
from wardround.federation.plan import Plan
from wardround.federation.server import Phase
from wardround.training.models import Mlp


def training(rule: FLTrust, *, protected: bool = True) -> tuple[Plan, Pair, LinearCoding]:
    plan = replace(
        make_plan(model=Mlp(hidden=(8,))),
        compress=Compress(up=(Importance(0.3),)),
        identity=b"masked",
        ring=Ring(8, 4) if protected else None,
        protected=protected,
        rule=rule,
    )
    pair = Pair(with_schedule(plan, rounds=3)).until(Phase.TRAINING)
    support = pair.server._shared() if protected else pair.server._support()
    assert support is not None
    assert (pair.server._shared() is None) != protected
    assert (pair.server._support() is None) == protected
    return pair.plan, pair, support


def test_what_the_server_holds_is_masked_as_a_clients_numbers_are() -> None:
    plan, pair, support = training(FLTrust())
    d = pair.server.parameters.size
    block = np.random.default_rng(1).normal(size=d).astype(np.float32)
    seen = coding.through(plan.algorithm.parts(d), block, support)
    np.testing.assert_array_equal(
        seen, coding.spread(plan.algorithm.parts(d), support.forward(block)[None], support)[0]
    )
    assert np.count_nonzero(seen) == round(0.3 * d)


def test_fltrust_gives_an_honest_masked_row_its_length_and_a_hostile_one_nothing() -> None:
    plan, pair, support = training(FLTrust())
    d, rng = pair.server.parameters.size, np.random.default_rng(2)
    root: F32 = (0.01 * rng.normal(size=d)).astype(np.float32)
    updates = [root, -5 * root]  # one agrees with the server to the digit, one goes against it
    parts = coding.numbers(plan.algorithm.parts(d), support)
    carried = pair.server.carried
    rows = []
    for update in updates:
        z = support.forward(update)
        sent = reach.shrink(parts, z, carried.reach)
        np.testing.assert_allclose(reach.spread(parts, sent.astype(np.float64), carried.reach), z, atol=1e-6)
        counts = np.zeros(pipeline.count_training(parts))
        counts[[0, 3]] = 1.0
        rows.append(CohortSum(1, sent.astype(np.float64), counts))
    moment = Moment(1.0, 1, Context(root=root), support)
    done = pipeline.combine(plan, rows, pair.server.parameters, carried, moment)
    weights = done.mean.weights
    assert weights is not None
    assert weights[0] == pytest.approx(1.0, abs=1e-3), "against the whole root it would be stretched and half trusted"
    assert weights[1] == 0.0
    np.testing.assert_allclose(done.reference, coding.through(plan.algorithm.parts(d), root, support), atol=1e-6)


def test_in_the_open_too_rows_on_the_support_are_held_against_what_the_server_sees_there() -> None:
    plan, pair, support = training(FLTrust(), protected=False)
    d, parts = pair.server.parameters.size, plan.algorithm.parts(pair.server.parameters.size)
    root: F32 = (0.01 * np.random.default_rng(3).normal(size=d)).astype(np.float32)
    rows = []
    for update in (root, -5 * root):  # as they are when the server has decoded them
        counts = np.zeros(pipeline.count_training(parts))
        counts[[0, 3]] = 1.0
        rows.append(CohortSum(1, coding.through(parts, update, support).astype(np.float64), counts))
    moment = Moment(1.0, 1, Context(root=root), support=support)
    done = pipeline.combine(plan, rows, pair.server.parameters, pair.server.carried, moment)
    weights = done.mean.weights
    assert weights is not None
    assert weights[0] == pytest.approx(1.0, abs=1e-6), (
        "a row as long as the server's own is neither stretched nor shrunk"
    )
    assert weights[1] == 0.0
    np.testing.assert_allclose(done.rows[0], coding.through(parts, root, support), atol=1e-6)


def test_a_round_in_the_open_looks_at_the_servers_update_through_the_support(monkeypatch: pytest.MonkeyPatch) -> None:
    _, pair, _ = training(FLTrust(), protected=False)
    seen: list[Moment] = []
    combine = pipeline.combine

    def watched(
        plan: Plan, sums: list[CohortSum], parameters: F32, carried: pipeline.Carried, moment: Moment
    ) -> object:
        seen.append(moment)
        return combine(plan, sums, parameters, carried, moment)

    root = np.ones_like(pair.server.parameters)
    monkeypatch.setattr(pair.server, "context", lambda: Context(root=root))
    monkeypatch.setattr(pipeline, "combine", watched)
    pair.until(Phase.DONE)
    assert len(seen) == 3
    assert all(moment.coding is None and moment.support is not None and moment.support.maps for moment in seen)
