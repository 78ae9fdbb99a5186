"""The plain sequential PyTorch loop: nn.Sequential, cross_entropy, autograd, optim.SGD, one client after the other.

Batches are drawn and gathered inside the timed region.
"""

# mypy: ignore-errors
# a script for an environment that mypy does not see: imported names are the peer's, and task.py by its folder

from __future__ import annotations

from itertools import pairwise

import numpy as np
import task
import torch


def network() -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for a, b in pairwise(task.WIDTHS):
        layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def load(net: torch.nn.Module, tensors: list[torch.Tensor]) -> None:
    with torch.no_grad():
        for parameter, tensor in zip(net.parameters(), tensors, strict=True):
            parameter.copy_(tensor.T if tensor.ndim == 2 else tensor)


def read(net: torch.nn.Module) -> np.ndarray:
    return torch.cat([(p.T if p.ndim == 2 else p).detach().reshape(-1) for p in net.parameters()]).numpy()


def train(net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, order: torch.Tensor) -> None:
    optimiser = torch.optim.SGD(net.parameters(), lr=task.RATE)
    for batch in order:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
        optimiser.step()


def main() -> None:
    options = task.arguments()
    torch.set_num_threads(1)
    net = network()
    begin = [torch.from_numpy(t) for t in task.start()]
    data = [tuple(map(torch.from_numpy, task.client(i))) for i in range(options.clients)]

    def clients() -> list[np.ndarray]:
        found = []
        for i, (x, y) in enumerate(data):
            load(net, begin)
            train(net, x, y, torch.from_numpy(task.batches(i)))
            found.append(read(net))
        return found

    task.measure(options, lambda: np.mean(clients(), axis=0), lambda: np.stack(clients()))


if __name__ == "__main__":
    main()
