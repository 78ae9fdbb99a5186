# mypy: ignore-errors
"""The reference prototype of PROTOCOLS.md part B: prints one line of JSON.

    PYTHONPATH=../shared/research/secagg_prototype python bench/secagg_peer_prototype.py 2000 20000

The same steps as its bench_final.py: key, encryption and packing (``client_protect``), shares of the key, their sealing by ML-KEM,
server add, decryption; N = 100, b = 8, committee of 5 with t = 1 and ell = 2.
"""

from __future__ import annotations

import argparse
import json
import os
import time

import numpy as np
from lsa import transport
from lsa.kahe import DitheredKahe
from lsa.params import choose_dither
from lsa.shamir import Sharing


def timed(work, repeats):
    work()
    spent = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        spent.append(1e3 * (time.perf_counter() - begun))
    return {"best_ms": round(min(spent), 4), "median_ms": round(sorted(spent)[len(spent) // 2], 4)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("values", type=int, nargs="+")
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    parameters, out = choose_dither(100, 8), {}
    for values in chosen.values:
        x = np.random.default_rng(1).uniform(-1, 1, values).astype(np.float32)
        scheme = DitheredKahe(parameters, values, os.urandom(32))
        sharing = Sharing(5, 1, 2, parameters.n)
        public = [transport.kem_keygen()[1] for _ in range(5)]
        key = scheme.keygen()
        ciphertext = scheme.to_bytes(scheme.encrypt((x + 1) * np.float32(127.5), key))
        total = np.zeros(scheme.m, np.uint64)
        shares = sharing.deal(key, b"context")[0]

        def protect(scheme=scheme, x=x):
            steps = (np.clip(x, -1, 1) + np.float32(1)) * np.float32(127.5)
            scheme.to_bytes(scheme.encrypt(steps, scheme.keygen()))

        def shared(sharing=sharing, key=key):
            sharing.deal(key, b"context")

        def sealed(public=public, shares=shares):
            for one, share in zip(public, shares, strict=True):
                transport.seal(one, b"i", b"a", share)

        def added(scheme=scheme, total=total, ciphertext=ciphertext):
            np.add(total, scheme.from_bytes(ciphertext), out=total)

        def opened(scheme=scheme, key=key, ciphertext=ciphertext):
            scheme.decrypt(scheme.from_bytes(ciphertext), key, 1)

        unpack = timed(lambda s=scheme, c=ciphertext: s.from_bytes(c), chosen.repeats)
        whole = timed(opened, chosen.repeats)
        out[values] = {
            "client_protect": timed(protect, chosen.repeats),
            "shares": timed(shared, chosen.repeats),
            "sealing": timed(sealed, chosen.repeats),
            "server_add": timed(added, chosen.repeats),
            "decrypt": {k: round(whole[k] - unpack[k], 4) for k in whole},
            "ciphertext_bytes": len(ciphertext),
        }
    print(json.dumps(out))


if __name__ == "__main__":
    main()
