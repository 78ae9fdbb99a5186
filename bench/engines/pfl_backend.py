"""pfl-research 0.6: FederatedAveraging on its SimulatedBackend, PyTorch model. Batches are ordered beforehand (its best case).

Its own metrics and evaluation are switched off; one run of R + 1 rounds from the start, the first untimed.
"""

# mypy: ignore-errors
# a script for an environment that mypy does not see: imported names are the peer's, and task.py by its folder

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np
import task
import torch
import torch_loop
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = torch_loop.network()

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.net(x), y)

    def metrics(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, Any]:
        del x, y
        return {}


class Clock(TrainingProcessCallback):
    """Times between the ends of rounds, and the model after the first."""

    def __init__(self) -> None:
        self.marks = [(time.process_time(), time.perf_counter())]
        self.mean = np.empty(0, np.float32)

    def after_central_iteration(self, aggregate_metrics: Any, model: Any, *, central_iteration: int) -> Any:
        del aggregate_metrics
        if central_iteration == 0:
            self.mean = torch_loop.read(model.pytorch_model)
        self.marks.append((time.process_time(), time.perf_counter()))
        return False, Metrics()


def main() -> None:
    options = task.arguments()
    torch.set_num_threads(1)
    net = Net()
    torch_loop.load(net.net, [torch.from_numpy(t) for t in task.start()])
    users = {}
    for i in range(options.clients):
        (x, y), order = task.client(i), task.batches(i).reshape(-1)
        users[i] = Dataset((torch.from_numpy(x[order]), torch.from_numpy(y[order])), user_id=str(i))
    numbers = iter(list(range(options.clients)) * (options.rounds + 2))
    data = FederatedDataset(lambda i: users[i], lambda: next(numbers))
    model = PyTorchModel(net, torch.optim.SGD, torch.optim.SGD(net.parameters(), lr=1.0))
    parameters = NNAlgorithmParams(
        central_num_iterations=options.rounds + 1,
        evaluation_frequency=10**9,
        train_cohort_size=options.clients,
        val_cohort_size=0,
    )
    clock = Clock()
    FederatedAveraging().run(
        parameters,
        SimulatedBackend(training_data=data, val_data=data),
        model,
        NNTrainHyperParams(local_num_epochs=1, local_learning_rate=task.RATE, local_batch_size=task.BATCH),
        NNEvalHyperParams(local_batch_size=task.BATCH),
        callbacks=[clock],
        send_metrics_to_platform=False,
    )
    steps = np.diff(np.array(clock.marks), axis=0)
    figures = {
        "cpu_s": steps[1:, 0].tolist(),
        "wall_s": steps[1:, 1].tolist(),
        "first_round_s": float(steps[0, 1]),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    task.report(options, figures, clock.mean)


if __name__ == "__main__":
    main()
