"""Model-contrastive training: its gradient is that of the written loss, torch agrees, and clients stay independent."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wardround.training.models import Autoencoder, Logistic, Mlp, Residual
from wardround.training.stacked import StackedEngine
from wardround.training.task import Contrast, Job, LocalTraining, Rows

F, C = 5, 3
MODELS = [Mlp((6, 4)), Residual(4, 1)]
ONE_STEP = LocalTraining(epochs=1, batch_size=64, learning_rate=1.0)


def job(model: Any, contrast: Contrast | None, client: int = 0, n: int = 12) -> Job:
    rng = np.random.default_rng(client)
    rows = Rows(rng.standard_normal((n, F)).astype(np.float32), rng.integers(0, C, n))
    start = model.init(F, C, np.random.default_rng(9))
    anchor = model.init(F, C, np.random.default_rng(10))
    return Job(client, rows, np.random.default_rng(client), start, contrast=contrast, anchor=anchor)


def away(model: Any) -> Any:
    return model.init(F, C, np.random.default_rng(11))


def term(model: Any, w: Any, one: Job) -> float:
    """The paper's equation 3, written down in float64 (He et al.'s layers by hand would say no more: the MLP alone)."""

    def inner(parameters: Any) -> Any:
        at, x = 0, one.rows.x.astype(np.float64)
        for a, b in zip((F, *model.hidden[:-1]), model.hidden, strict=True):
            weight = parameters[at : at + a * b].reshape(a, b)
            x = np.maximum(x @ weight + parameters[at + a * b : at + a * b + b], 0)
            at += a * b + b
        return x

    def cosine(a: Any, b: Any) -> Any:
        return (a * b).sum(1) / (
            np.maximum(np.linalg.norm(a, axis=1), 1e-8) * np.maximum(np.linalg.norm(b, axis=1), 1e-8)
        )

    h, near, far = inner(w), inner(one.anchor), inner(one.contrast.away)  # type: ignore[union-attr]
    t = one.contrast.temperature  # type: ignore[union-attr]
    ratio = np.exp(cosine(h, near) / t) / (np.exp(cosine(h, near) / t) + np.exp(cosine(h, far) / t))
    return float(-one.contrast.weight * np.log(ratio).mean())  # type: ignore[union-attr]


def test_a_step_follows_the_gradient_of_the_written_loss() -> None:
    model = Mlp((6, 4))
    engine = StackedEngine(model, ONE_STEP, F, C)
    one = job(model, Contrast(2.0, 0.5, away(model)))
    plain = engine.train([replace(one, contrast=None, batches=np.random.default_rng(0))])[0].delta
    moved = engine.train([one])[0].delta - plain
    w = one.start.astype(np.float64)
    expected = np.zeros_like(w)
    for i in range(len(w)):
        step = np.zeros_like(w)
        step[i] = 1e-5
        expected[i] = -(term(model, w + step, one) - term(model, w - step, one)) / 2e-5
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(moved, expected, atol=2e-4)


@pytest.mark.torch
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9, "clip_norm": 1.0}, {"optimiser": "adamw"}])
def test_torch_trains_the_same_weights(model: Any, settings: Any) -> None:
    pytest.importorskip("torch", reason="needs the extra wardround[torch]")
    from wardround.training.torch_engine import TorchEngine

    training = LocalTraining(epochs=3, batch_size=4, learning_rate=0.05, **settings)
    found = []
    for engine in (StackedEngine(model, training, F, C), TorchEngine(model, training, F, C)):
        one = replace(job(model, Contrast(1.5, 0.3, away(model))), proximal=0.1)
        found.append(engine.train([one])[0])
    np.testing.assert_allclose(found[0].delta, found[1].delta, atol=2e-4 if "optimiser" in settings else 5e-6)
    assert found[0].loss == pytest.approx(found[1].loss, abs=1e-5)


def test_clients_with_and_without_the_term_share_a_chunk() -> None:
    model = Mlp((6, 4))
    engine = StackedEngine(model, LocalTraining(epochs=2, batch_size=4, learning_rate=0.1), F, C)

    def jobs() -> list[Job]:
        told = [None, Contrast(1.0, 0.5, away(model)), Contrast(0.0, 0.5, away(model))]
        return [job(model, contrast, i, 10 + 7 * i) for i, contrast in enumerate(told)]

    together, alone = engine.train(jobs()), [engine.train([one])[0] for one in jobs()]
    plain = engine.train([replace(one, contrast=None) for one in jobs()])
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.delta, b.delta, atol=2e-6)
    assert np.array_equal(together[0].delta, plain[0].delta)
    np.testing.assert_allclose(together[2].delta, plain[2].delta, atol=2e-6)
    assert not np.allclose(together[1].delta, plain[1].delta, atol=1e-4)


def test_a_row_that_leaves_every_relu_at_zero_harms_nothing() -> None:
    model = Mlp((4,))
    engine = StackedEngine(model, ONE_STEP, F, C)
    one = job(model, Contrast(1.0, 0.5, np.zeros(model.layout(F, C).size, np.float32)))
    found = engine.train([replace(one, rows=Rows(np.zeros_like(one.rows.x), one.rows.y))])[0]
    assert np.isfinite(found.delta).all()


@pytest.mark.parametrize("model", [Logistic()])
def test_a_model_without_a_hidden_layer_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="hidden layer"):
        StackedEngine(model, ONE_STEP, F, C).train([job(model, Contrast(1.0, 0.5, away(model)))])


def test_a_contrast_of_another_size_is_refused() -> None:
    model = Mlp((4,))
    with pytest.raises(ValueError, match="contrast of shape"):
        StackedEngine(model, ONE_STEP, F, C).train([job(model, Contrast(1.0, 0.5, np.zeros(3, np.float32)))])


def test_an_autoencoder_can_be_trained_without_it() -> None:
    model = Autoencoder((4, 2, 4))
    found = StackedEngine(model, ONE_STEP, F, C).train(
        [replace(job(Mlp((4,)), None), start=model.init(F, C, np.random.default_rng(0)), anchor=None)]
    )
    assert np.isfinite(found[0].delta).all()
