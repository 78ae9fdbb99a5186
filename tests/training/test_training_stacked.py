"""The stacked engine against PyTorch, against itself alone, and against bad jobs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wardround.params import views
from wardround.training.models import Autoencoder, Logistic, Mlp, Residual
from wardround.training.stacked import StackedEngine
from wardround.training.task import Job, LocalTraining, Rows

MODELS = [Logistic(), Mlp((16, 8)), Residual(12, 2), Autoencoder((8, 3, 8))]
F, C = 7, 4
SIZES = (37, 64, 5, 1)


def jobs(model: Any, sizes: Any = SIZES, **more: Any) -> Any:
    rng = np.random.default_rng(4)
    start = model.init(F, C, np.random.default_rng(1))
    found = []
    for i, n in enumerate(sizes):
        rows = Rows(rng.standard_normal((n, F)).astype(np.float32), rng.integers(0, C, n))
        found.append(Job(i, rows, np.random.default_rng(100 + i), start, **more))
    return found


TRAININGS = {
    "sgd": LocalTraining(learning_rate=0.05),
    "epochs": LocalTraining(learning_rate=0.05, epochs=3, batch_size=16),
    "steps": LocalTraining(learning_rate=0.05, steps=9),
    "momentum": LocalTraining(learning_rate=0.02, epochs=2, momentum=0.9, weight_decay=0.01),
    "adamw": LocalTraining(learning_rate=0.002, epochs=2, optimiser="adamw", weight_decay=0.05),
    "clip": LocalTraining(learning_rate=0.05, epochs=2, clip_norm=0.3),
}


@pytest.mark.torch
@pytest.mark.parametrize("extra", ["none", "proximal", "correction", "class weights", "anchor", "frozen", "offset"])
@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_the_stack_gives_the_weights_of_the_torch_engine(model: Any, name: Any, extra: Any) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra wardround[torch]")
    torch.set_num_threads(1)  # two threads on small matrices spend their time waiting for each other
    from wardround.training.torch_engine import TorchEngine

    d = model.layout(F, C).size
    kinds: dict[str, dict[str, Any]] = {
        "none": {},
        "proximal": {"proximal": 0.5},
        "correction": {"correction": np.linspace(-0.1, 0.1, d, dtype=np.float32)},
        "class weights": {"class_weights": np.array([0.2, 1, 3, 0], dtype=np.float32)},
        "anchor": {"proximal": 0.5, "anchor": np.linspace(-0.2, 0.2, d, dtype=np.float32), "rate": 0.5},
        "frozen": {"frozen": np.arange(d) % 3 == 0},
        "offset": {"offset": np.array([0.5, -1, 0, 2], dtype=np.float32)},
    }
    more = kinds[extra]
    ours = StackedEngine(model, TRAININGS[name], F, C).train(jobs(model, **more))
    theirs = TorchEngine(model, TRAININGS[name], F, C).train(jobs(model, **more))
    for a, b in zip(ours, theirs, strict=True):
        assert (a.client, a.steps, a.rows) == (b.client, b.steps, b.rows)
        assert np.abs(a.delta - b.delta).max() < 1e-6
        assert a.loss == pytest.approx(b.loss, abs=1e-5)
        if extra != "class weights":
            assert np.abs(a.delta).max() > 1e-4
        if extra == "frozen":
            assert not a.delta[::3].any()


@pytest.mark.torch
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_stack_gives_the_weights_of_plain_pytorch(momentum: Any) -> None:
    """Written without any of our code but the start and the permutation: nn.Linear, cross_entropy, optim.SGD."""
    torch = pytest.importorskip("torch", reason="needs the extra wardround[torch]")
    model = Mlp((16, 8))
    training = LocalTraining(learning_rate=0.05, momentum=momentum, epochs=2)
    ours = StackedEngine(model, training, F, C).train(jobs(model))
    for job, result in zip(jobs(model), ours, strict=True):
        net = torch.nn.Sequential(
            torch.nn.Linear(F, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, C)
        )
        start = views(model.layout(F, C), job.start)
        with torch.no_grad():
            for parameter, value in zip(net.parameters(), start.values(), strict=True):
                parameter.copy_(torch.from_numpy(value.T.copy()))
        optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=momentum)
        for _ in range(2):
            order = job.batches.permutation(len(job.rows))
            for at in range(0, len(order), 32):
                batch = order[at : at + 32]
                optimiser.zero_grad()
                x, y = torch.from_numpy(job.rows.x[batch]), torch.from_numpy(job.rows.y[batch])
                torch.nn.functional.cross_entropy(net(x), y).backward()
                optimiser.step()
        after = views(model.layout(F, C), job.start + result.delta)
        for parameter, value in zip(net.parameters(), after.values(), strict=True):
            assert np.abs(parameter.detach().numpy().T - value).max() < 1e-6


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_backward_is_the_derivative_of_the_loss(model: Any) -> None:
    """One step of SGD is -rate * gradient: compare with differences of the loss, no torch needed."""
    job = jobs(model, sizes=(32,))[0]
    rate = 1e-3
    training = LocalTraining(learning_rate=rate, steps=1, batch_size=32)
    engine = StackedEngine(model, training, F, C)
    gradient = engine.train([job])[0].delta / -rate

    def loss(parameters: Any) -> Any:
        z = engine.outputs(parameters.astype(np.float32), job.rows.x).astype(np.float64)
        if model.unsupervised:
            return np.square(z - job.rows.x).mean()
        top = z.max(axis=1)
        return (top + np.log(np.exp(z - top[:, None]).sum(axis=1)) - z[np.arange(32), job.rows.y]).mean()

    rng = np.random.default_rng(0)
    for _ in range(8):
        way = rng.standard_normal(len(job.start))
        way /= np.linalg.norm(way)
        slope = (loss(job.start + 1e-3 * way) - loss(job.start - 1e-3 * way)) / 2e-3
        assert gradient @ way == pytest.approx(slope, abs=3e-3)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_a_model_learns(model: Any) -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, C, 400)
    hidden = rng.standard_normal((C, F)) * 3
    x = (hidden[y] + rng.standard_normal((400, F)) * 0.3).astype(np.float32)
    training = LocalTraining(learning_rate=0.05, epochs=8)
    start = model.init(F, C, np.random.default_rng(1))
    engine = StackedEngine(model, training, F, C)
    result = engine.train([Job(0, Rows(x, y), np.random.default_rng(3), start)])[0]
    before, after = engine.outputs(start, x), engine.outputs(start + result.delta, x)
    if model.unsupervised:
        assert np.square(after - x).mean() < 0.6 * np.square(before - x).mean()
    else:
        assert (after.argmax(axis=1) == y).mean() > 0.95


def test_results_come_in_the_order_of_the_jobs_and_a_client_without_rows_stays() -> None:
    model = Mlp((8,))
    found = StackedEngine(model, LocalTraining(), F, C).train(jobs(model, sizes=(3, 0, 90, 40)))
    assert [r.client for r in found] == [0, 1, 2, 3]
    assert [r.steps for r in found] == [1, 0, 3, 2]
    assert not found[1].delta.any()
    assert found[1].loss == 0.0


def test_outputs_of_many_rows_and_of_none() -> None:
    model = Mlp((8,))
    engine = StackedEngine(model, LocalTraining(), F, C)
    start = model.init(F, C, np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((9000, F)).astype(np.float32)
    whole = engine.outputs(start, x)
    assert np.allclose(whole[5000:5010], engine.outputs(start, x[5000:5010]), atol=1e-6)
    assert engine.outputs(start, x[:0]).shape == (0, C)


def test_divergence_of_one_client_leaves_its_neighbours_alone() -> None:
    model = Mlp((8,))
    good = jobs(model, sizes=(40, 40, 40))
    wild = [good[0], replace(good[1], rows=Rows(good[1].rows.x * np.float32(1e30), good[1].rows.y)), good[2]]
    engine = StackedEngine(model, LocalTraining(), F, C)
    found = engine.train(wild)
    assert not np.isfinite(found[1].delta).all()
    alone = engine.train(jobs(model, sizes=(40, 40, 40)))
    for i in (0, 2):
        assert np.array_equal(found[i].delta, alone[i].delta)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rows": Rows(np.zeros((3, F + 1), np.float32), np.zeros(3, np.int64))}, "inputs"),
        ({"rows": Rows(np.zeros((2, F), np.float32), np.array([0, C]))}, "labels from 0 to"),
        ({"start": np.zeros(3, np.float32)}, "start"),
        ({"correction": np.zeros(3, np.float32)}, "correction"),
        ({"class_weights": np.zeros(3, np.float32)}, "class weights"),
    ],
)
def test_a_job_that_does_not_fit_is_refused_by_name(change: Any, text: Any) -> None:
    model = Logistic()
    engine = StackedEngine(model, LocalTraining(), F, C)
    with pytest.raises(ValueError, match=f"client 0: .*{text}"):
        engine.train([replace(jobs(model)[0], **change)])


def test_a_model_without_layers_is_sent_to_torch() -> None:
    class Own:
        name = "own"
        unsupervised = False

    with pytest.raises(ValueError, match="torch"):
        StackedEngine(Own(), LocalTraining(), F, C)  # type: ignore[arg-type]
