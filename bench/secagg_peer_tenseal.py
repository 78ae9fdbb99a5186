# mypy: ignore-errors
"""TenSEAL's CKKS, in its own environment: prints one line of JSON.

    python -m venv /tmp/peers/tenseal && /tmp/peers/tenseal/bin/pip install tenseal==0.3.18

Ring 4096, moduli [54, 54], scale 2^30: the smallest ciphertext that still sums float updates (research/secagg.md 2.2). One
shared secret key, as in the applications that use it; the lattice layer has none.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import tenseal as ts

DEGREE = 4096


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("values", type=int, nargs="+")
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    context = ts.context(ts.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=[54, 54])
    context.global_scale = 2**30
    out = {}
    for values in chosen.values:
        vector = np.random.default_rng(1).uniform(-1, 1, values)
        pieces = [vector[i : i + DEGREE // 2].tolist() for i in range(0, values, DEGREE // 2)]
        encrypt, add, decrypt = [], [], []
        for _ in range(chosen.repeats):
            begun = time.perf_counter()
            sealed = [ts.ckks_vector(context, piece) for piece in pieces]
            wire = [piece.serialize() for piece in sealed]
            encrypt.append(1e3 * (time.perf_counter() - begun))
            begun = time.perf_counter()
            total = [a + b for a, b in zip(sealed, sealed, strict=True)]
            add.append(1e3 * (time.perf_counter() - begun))
            begun = time.perf_counter()
            for piece in total:
                piece.decrypt()
            decrypt.append(1e3 * (time.perf_counter() - begun))
        out[values] = {
            "client_encrypt": {"best_ms": min(encrypt), "median_ms": sorted(encrypt)[len(encrypt) // 2]},
            "client_bytes": sum(len(piece) for piece in wire),
            "server_add_ms": min(add),
            "decrypt_ms": min(decrypt),
        }
    print(json.dumps(out))


if __name__ == "__main__":
    main()
