"""wardround's stacked engine. Modes: ``stacked`` (one thread), ``threads`` (one chunk per thread), ``alone`` (chunks of 1).

Batches are drawn and gathered inside the timed region.
"""

# mypy: ignore-errors
# a script for an environment that mypy does not see: imported names are the peer's, and task.py by its folder

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import task
from threadpoolctl import threadpool_limits

from wardround.training.models import Mlp
from wardround.training.stacked import StackedEngine
from wardround.training.task import Job, LocalTraining, Rows, Trained


def main() -> None:
    options = task.arguments()
    training = LocalTraining(steps=task.STEPS, batch_size=task.BATCH, learning_rate=task.RATE)
    engine = StackedEngine(Mlp(task.WIDTHS[1:-1]), training, task.WIDTHS[0], task.WIDTHS[-1])
    start = task.flat(task.start())
    rows = [Rows(*task.client(i)) for i in range(options.clients)]
    size = 1 if options.mode == "alone" else engine.chunk
    threads = len(os.sched_getaffinity(0)) if options.mode == "threads" else 1

    def chunk(at: int) -> list[Trained]:
        numbers = range(at, min(at + size, options.clients))
        return engine.train([Job(i, rows[i], task.stream(i), start) for i in numbers])

    @contextmanager
    def chunks() -> Iterator[Iterator[list[Trained]]]:
        places = range(0, options.clients, size)
        if threads == 1:
            yield map(chunk, places)
            return
        with ThreadPoolExecutor(threads) as pool:
            # a few chunks at a time, so that results do not pile up
            groups = (places[at : at + 2 * threads] for at in range(0, len(places), 2 * threads))
            yield (found for group in groups for found in pool.map(chunk, group))

    def one_round() -> np.ndarray:
        total = np.zeros_like(start)
        with chunks() as found:
            for part in found:
                for result in part:
                    total += result.delta
        return start + total / np.float32(options.clients)

    def weights() -> np.ndarray:
        return np.stack([start + r.delta for at in range(0, options.clients, size) for r in chunk(at)])

    with threadpool_limits(limits=1):
        task.measure(options, one_round, weights if options.clients <= 1000 else None)


if __name__ == "__main__":
    main()
