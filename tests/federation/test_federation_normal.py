"""A baseline of normal rows learnt in the round: moments with the statistics, distances when measured, nothing of one client."""

from dataclasses import replace

import numpy as np
import pytest
from federation_pair import Pair, make_plan  # type: ignore[import-not-found]

from wardround.errors import RemoteProtocolError
from wardround.federation import measure
from wardround.federation.messages import Answer
from wardround.federation.plan import Plan, prepare
from wardround.federation.server import Phase
from wardround.traffic import normal
from wardround.traffic.normal import NormalTraffic


def plan_with(least: int = 5) -> Plan:
    plan: Plan = replace(make_plan(), normal=NormalTraffic(fit=True, least=least), kinds=("pump", "monitor"))
    return plan


@pytest.mark.parametrize("restart", [False, True])
def test_the_federation_learns_what_pooled_rows_would_say(restart: bool) -> None:
    pair = Pair(plan=plan_with(), restart=restart).run()
    outcome, parts = pair.server.outcome(), [rows.typed("train") for rows in pair.rows.values()]
    x, y, kind = (np.concatenate([part[k] for part in parts]) for k in range(3))
    pooled = normal.fit(normal.statistics(x[y == 0], kind[y == 0], 2), 4, 5)
    found = prepare(pair.plan, outcome.totals).normal
    assert len(found) == 3
    for mine, theirs in zip(found, pooled, strict=True):
        assert mine is not None
        assert theirs is not None
        assert mine.rows == theirs.rows
        assert np.allclose(mine.scores(x), theirs.scores(x), atol=0.05)
    assert all(client._prepared is not None and client._prepared.normal for client in pair.clients.values())


def test_measurements_count_normal_validation_rows_by_distance() -> None:
    pair = Pair(plan=plan_with()).run()
    outcome = pair.server.outcome()
    counts = outcome.measures[: pair.plan.distances].reshape(3, -1)
    benign = sum(int((rows.typed("validation")[1] == 0).sum()) for rows in pair.rows.values())
    assert counts[0].sum() == benign
    assert 0 < counts[1:].sum() < benign, "rows of no type count for all devices alone"
    scored = measure.benign_scores(outcome.measures)
    assert scored is not None
    assert scored.sum() == benign
    plain = Pair().run().server.outcome()
    assert np.array_equal(plain.parameters, outcome.parameters), "the model does not depend on it"
    assert measure.read(pair.plan, outcome.measures) == measure.read(Pair().plan, plain.measures)


def test_a_type_with_few_rows_has_no_baseline() -> None:
    pair = Pair(plan=plan_with(least=25)).until(Phase.TRAINING)
    assert pair.server.prepared is not None
    assert [spread is None for spread in pair.server.prepared.normal] == [False, True, True]


def test_answers_without_moments_are_refused() -> None:
    pair = Pair(plan=plan_with())
    asks = pair.ask()
    short = Pair(plan=make_plan()).clients["gw0"].receive(asks["gw0"], pair.rows["gw0"], None)
    assert isinstance(short, Answer)
    with pytest.raises(RemoteProtocolError, match="due"):
        pair.deliver("gw0", short)
