# mypy: ignore-errors
"""Flower's SecAgg+ client masking, in Flower's own environment: prints one line of JSON.

    python -m venv /tmp/peers/flower && /tmp/peers/flower/bin/pip install flwr==1.41.0

What ``secaggplus_mod`` does in its stage "collect masked vectors" with one self mask and k pair masks, with Flower's own
functions; key exchange and secret sharing are timed beside it (k shares of two 32-byte secrets).
"""

from __future__ import annotations

import argparse
import json
import os
import time

import numpy as np
from flwr.common.secure_aggregation.crypto.shamir import create_shares
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    parameters_addition,
    parameters_mod,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.quantization import quantize
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

MODULUS = 1 << 32  # Flower's default modulus_range
CLIP, TARGET = 8.0, 1 << 22


def mask(vector, seeds, own):
    quantised = quantize([vector], CLIP, TARGET)
    shapes = [a.shape for a in quantised]
    total = parameters_addition(quantised, pseudo_rand_gen(own, MODULUS, shapes))
    for i, seed in enumerate(seeds):
        pair = pseudo_rand_gen(seed, MODULUS, shapes)
        total = parameters_addition(total, pair) if i % 2 else parameters_subtraction(total, pair)
    return parameters_mod(total, MODULUS)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("values", type=int, nargs="+")
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    out = {}
    for values in chosen.values:
        vector = np.random.default_rng(1).uniform(-1, 1, values).astype(np.float32)
        out[values] = {}
        for k in (10, 50):
            seeds, spent = [os.urandom(32) for _ in range(k)], []
            for _ in range(chosen.repeats):
                begun = time.perf_counter()
                masked = mask(vector, seeds, os.urandom(32))
                spent.append(1e3 * (time.perf_counter() - begun))
            begun = time.perf_counter()
            for _ in range(2):
                create_shares(os.urandom(32), max(2, 2 * k // 3), k)
            shares = 1e3 * (time.perf_counter() - begun)
            out[values][k] = {
                "client_masking": {"best_ms": min(spent), "median_ms": sorted(spent)[len(spent) // 2]},
                "shares_ms": shares,
                "vector_bytes": sum(a.nbytes for a in masked),
            }
    print(json.dumps(out))


if __name__ == "__main__":
    main()
