"""Laws of the stacked engine: a client's result is its own, whatever the chunk."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.training.models import Autoencoder, Logistic, Mlp, Residual
from wardround.training.stacked import StackedEngine
from wardround.training.task import Job, LocalTraining, Rows

F, C = 5, 3


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from([Logistic(), Mlp((6,)), Residual(4, 1), Autoencoder((4, 2, 4))]),
    st.lists(st.integers(0, 40), min_size=1, max_size=6),
    st.integers(1, 12),
    st.integers(0, 5),
    st.sampled_from(["sgd", "adamw"]),
)
def test_a_client_gets_in_a_chunk_what_it_gets_alone(
    model: Any, sizes: Any, batch: Any, steps: Any, optimiser: Any
) -> None:
    training = LocalTraining(epochs=2, steps=steps, batch_size=batch, optimiser=optimiser, learning_rate=0.01)
    engine = StackedEngine(model, training, F, C)
    start = model.init(F, C, np.random.default_rng(0))

    def jobs() -> Any:
        rng = np.random.default_rng(1)
        rows = [Rows(rng.standard_normal((n, F)).astype(np.float32), rng.integers(0, C, n)) for n in sizes]
        return [Job(i, r, np.random.default_rng(i), start) for i, r in enumerate(rows)]

    together = engine.train(jobs())
    again = engine.train(jobs())
    alone = [engine.train([job])[0] for job in jobs()]
    for a, b, c in zip(together, again, alone, strict=True):
        assert np.array_equal(a.delta, b.delta)
        assert (a.client, a.steps, a.rows) == (c.client, c.steps, c.rows)
        np.testing.assert_allclose(a.delta, c.delta, atol=2e-5 if optimiser == "adamw" else 2e-6)
        assert abs(a.loss - c.loss) < 1e-5
