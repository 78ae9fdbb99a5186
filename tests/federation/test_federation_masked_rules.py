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


def training(rule: FLTrust) -> tuple[Plan, Pair, LinearCoding]:
    plan = replace(
        make_plan(model=Mlp(hidden=(8,))),
        compress=Compress(up=(Importance(0.3),)),
        identity=b"masked",
        ring=Ring(8, 4),
        protected=True,
        rule=rule,
    )
    pair = Pair(with_schedule(plan, rounds=3)).until(Phase.TRAINING)
    support = pair.server._shared()
    assert support is not None
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
