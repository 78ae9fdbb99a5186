"""Heads by type of device: one body by everybody, heads by their own type, and nobody's type in the sum alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from federation_pair import LocalRows, Pair, local_rows, make_plan  # type: ignore[import-not-found]

from wardround.arrays import F32, I32, I64
from wardround.federation import clusters
from wardround.federation.algorithms import EMPTY, FedAvg
from wardround.federation.clusters import View
from wardround.federation.typeheads import TypeHeads
from wardround.training.models import Mlp
from wardround.training.task import LocalTraining, Rows, Trained

HEADS = TypeHeads(clusters=3, head=2)
D = 5


class OfType(LocalRows):  # type: ignore[misc]
    """A gateway whose devices are all of one type."""

    kind = 0

    def typed(self, part: str) -> tuple[F32, I64, I32]:
        x, y, types = super().typed(part)
        return x, y, np.full_like(types, self.kind)


def view(kind: int, told: Any = EMPTY) -> View:
    rows = Rows(np.zeros((1, 2), np.float32), np.zeros(1, np.int64))
    return View(np.zeros((3, D), np.float32), told, rows, lambda w: np.zeros(1), EMPTY, kind)


def block(value: float, kind: int) -> Any:
    trained = Trained(0, np.full(D, value, dtype=np.float32), 5, 1.0, 10)
    return HEADS.block(trained, LocalTraining(), HEADS.place(view(kind)), EMPTY)[0]


def test_the_body_is_everybodys_and_a_head_its_types() -> None:
    blocks = np.stack([block(1.0, 0), block(3.0, 0), block(-4.0, 2)])
    mean: F32 = blocks.mean(0).astype(np.float32)
    assert mean.size == sum(part.size for part in HEADS.parts(3 * D))
    delta, shares = HEADS.delta(mean, EMPTY, 3 * D, 1.0)
    assert np.allclose(delta.reshape(3, D), [[0, 0, 0, 2, 2], [0, 0, 0, 0, 0], [0, 0, 0, -4, -4]])
    assert np.allclose(shares, 0.8 / 3 + 0.2 * np.array([2 / 3, 0, 1 / 3]))


def test_unknown_and_closed_types_use_the_first_open_head() -> None:
    assert HEADS.place(view(2)).tolist() == [2]
    assert HEADS.place(view(-1)).tolist() == HEADS.place(view(7)).tolist() == [0]
    assert HEADS.place(view(2, np.array([0.5, 0.5, 0.001], np.float32))).tolist() == [0]
    assert HEADS.place(view(2, np.array([0.0, 0.9, 0.001], np.float32))).tolist() == [1]


def test_the_type_of_most_rows_is_the_gateways() -> None:
    assert clusters.commonest(np.array([2, 1, 2, -1, -1, -1], np.int32)) == 2
    assert clusters.commonest(np.array([-1, -1], np.int32)) == -1


def test_types_that_disagree_get_heads_of_their_own_and_keep_one_body() -> None:
    scores = {}
    head = 8 * 2 + 2
    for name, algorithm in {"fedavg": FedAvg(), "heads": TypeHeads(clusters=2, head=head)}.items():
        plan = make_plan(algorithm=algorithm, model=Mlp((8,)))
        pair = Pair(replace(plan, schedule=replace(plan.schedule, rounds=40, measure_every=40)), sizes=(80,) * 6)
        for i, gateway in enumerate(pair.names):
            rows = local_rows(i, 80)
            pair.rows[gateway] = OfType(rows.x, 1 - rows.y if i % 2 else rows.y)
            object.__setattr__(pair.rows[gateway], "kind", i % 2)
        pair.run()
        scores[name] = [e.macro_f1 for e in pair.events if type(e).__name__ == "Measured"][-1]
        if name == "heads":
            models = pair.server.outcome().models
            assert np.array_equal(models[0][:-head], models[1][:-head])
            assert not np.allclose(models[0][-head:], models[1][-head:])
    assert scores["heads"] > scores["fedavg"] + 0.2


def test_with_one_type_it_is_fedavg() -> None:
    ends = [
        Pair(make_plan(algorithm=algorithm, model=Mlp((8,)))).run().server
        for algorithm in (FedAvg(), TypeHeads(clusters=1, starve=0.0, head=18))
    ]
    np.testing.assert_allclose(ends[0].parameters, ends[1].parameters, atol=1e-6)


def test_it_survives_restarts_to_the_bit() -> None:
    plan = make_plan(algorithm=TypeHeads(clusters=2, head=18), model=Mlp((8,)))
    ends = [Pair(plan, restart=restart).run().server.parameters for restart in (False, True)]
    assert np.array_equal(*ends)


@pytest.mark.parametrize("bad", [{"head": -1}, {"clusters": 0}, {"starve": 0.2}])
def test_settings_out_of_range_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        TypeHeads(**bad)
