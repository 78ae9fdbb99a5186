"""JAX: one jit over all clients, ``lax.map`` over clients, ``lax.scan`` over steps.

Batches are gathered beforehand (its best case).
"""

# mypy: ignore-errors
# a script for an environment that mypy does not see: imported names are the peer's, and task.py by its folder

from __future__ import annotations

import os

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp
import numpy as np
import task


def logits(p: list[jax.Array], x: jax.Array) -> jax.Array:
    x = jax.nn.relu(x @ p[0] + p[1])
    x = jax.nn.relu(x @ p[2] + p[3])
    return x @ p[4] + p[5]


def loss(p: list[jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
    z = jax.nn.log_softmax(logits(p, x))
    return -jnp.take_along_axis(z, y[:, None], axis=1).mean()


@jax.jit
def clients(p: list[jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
    def step(q: list[jax.Array], batch: tuple[jax.Array, jax.Array]) -> tuple[list[jax.Array], None]:
        gradient = jax.grad(loss)(q, *batch)
        return [w - task.RATE * g for w, g in zip(q, gradient, strict=True)], None

    def one(batches: tuple[jax.Array, jax.Array]) -> jax.Array:
        q, _ = jax.lax.scan(step, p, batches)
        return jnp.concatenate([w.reshape(-1) for w in q])

    return jax.lax.map(one, (x, y))


def main() -> None:
    options = task.arguments()
    rows = [(*task.client(i), task.batches(i)) for i in range(options.clients)]
    x = jnp.asarray(np.stack([x[order] for x, _, order in rows]))
    y = jnp.asarray(np.stack([y[order] for _, y, order in rows]).astype(np.int32))
    p = [jnp.asarray(t) for t in task.start()]

    def one_round() -> np.ndarray:
        return np.asarray(clients(p, x, y)).mean(axis=0)

    task.measure(options, one_round, lambda: np.asarray(clients(p, x, y)))


if __name__ == "__main__":
    main()
