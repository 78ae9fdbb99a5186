"""Losses on stacks, fused with their gradient: the outputs' workspace becomes the gradient at the outputs.

``share`` [a, b] is each row's part of its client's batch: its weight over the batch's sum of weights, 0 for padding, so
loss = sum of share * row loss, as torch's cross_entropy with weights has it. ``pace`` multiplies the gradient only (an
optimiser that would scale it anyway saves one pass over all parameters).
"""

from __future__ import annotations

import numpy as np

from wardround.arrays import F32, I64


def cross_entropy(z: F32, y: I64, share: F32, pace: float) -> F32:
    """Loss [a] of logits ``z`` [a, b, c] (contiguous) for classes ``y`` [a, b]; ``z`` becomes the gradient."""
    rows, classes = z.shape[0] * z.shape[1], z.shape[2]
    place = np.arange(0, rows * classes, classes) + y.reshape(-1)
    z -= z.max(axis=2, keepdims=True)
    values = z.reshape(-1)
    picked = values[place].reshape(share.shape)
    np.exp(z, out=z)
    total = z.sum(axis=2)
    scaled = share * np.float32(pace)
    z *= (scaled / total)[:, :, None]
    values[place] -= scaled.reshape(-1)
    np.log(total, out=total)
    total -= picked
    total *= share
    loss: F32 = total.sum(axis=1)
    return loss


def squared_error(z: F32, x: F32, share: F32, pace: float) -> F32:
    """Loss [a]: mean over features of (z - x)^2; ``z`` [a, b, f] becomes the gradient."""
    features = z.shape[2]
    z -= x
    loss: F32 = np.einsum("abf,abf,ab->a", z, z, share) / np.float32(features)
    z *= (share * np.float32(2 * pace / features))[:, :, None]
    return loss
