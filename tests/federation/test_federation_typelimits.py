"""Limits of types learnt in the round: gateways of a type with the statistics, margins when measured, of types that enough have."""

from dataclasses import replace

import numpy as np
import pytest
from federation_pair import Pair, make_plan  # type: ignore[import-not-found]

from wardround.federation import measure
from wardround.federation.plan import Plan, type_limits
from wardround.federation.server import Phase
from wardround.traffic.normal import NormalTraffic
from wardround.training.limits import BINS, TypeLimits


def plan_with(gateways: int = 1, *, normal: bool = False) -> Plan:
    plan: Plan = replace(
        make_plan(),
        limits=TypeLimits(even=True, gateways=gateways),
        kinds=("pump", "monitor"),
        normal=NormalTraffic(fit=normal),
    )
    return plan


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("normal", [False, True])
def test_measurements_count_margins_by_type_and_nothing_else_changes(restart: bool, normal: bool) -> None:
    pair = Pair(plan=plan_with(normal=normal), restart=restart).run()
    outcome, plain = pair.server.outcome(), Pair().run().server.outcome()
    at = pair.plan.distances
    counts = outcome.measures[at : at + pair.plan.margins].reshape(2, BINS)
    parts = [rows.typed("validation") for rows in pair.rows.values()]
    for kind in range(2):
        assert counts[kind].sum() == sum(int(((y == 0) & (k == kind)).sum()) for _, y, k in parts)
    assert counts.sum() > 0
    assert np.array_equal(plain.parameters, outcome.parameters), "the model does not depend on it"
    assert measure.read(pair.plan, outcome.measures) == measure.read(Pair().plan, plain.measures)
    assert type_limits(pair.plan, outcome.measures).shape == (2,)
    assert type_limits(Pair().plan, plain.measures).shape == (0,)


def test_a_type_that_too_few_gateways_have_is_not_counted() -> None:
    pair = Pair(plan=plan_with()).until(Phase.TRAINING)
    holders = [
        sum(((y == 0) & (k == kind)).any() for _, y, k in (r.typed("train") for r in pair.rows.values()))
        for kind in (0, 1)
    ]
    most = max(holders)
    assert pair.server.prepared is not None
    assert pair.server.prepared.asked.tolist() == [True, True]
    pair = Pair(plan=plan_with(gateways=most + 1)).run()
    assert not any(client._prepared.asked.any() for client in pair.clients.values() if client._prepared is not None)
    assert pair.server.outcome().measures[: pair.plan.margins].sum() == 0
    assert not type_limits(pair.plan, pair.server.outcome().measures).any()
