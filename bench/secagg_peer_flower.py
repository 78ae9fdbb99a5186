# mypy: ignore-errors
"""A Flower SecAgg+ client's work in one round, by Flower's own functions: prints one line of JSON.

    python -m venv /tmp/peers/flower && /tmp/peers/flower/bin/pip install flwr==1.41.0

``secaggplus_mod`` calls its stages in every round: key pairs (``setup``), key agreement with k neighbours and shares of two
secrets (``share_keys``), and the masked vector (``collect``). The neighbours here only make keys and send one share each.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import time

import numpy as np

logging.disable(logging.CRITICAL)

from flwr.common import ndarrays_to_parameters  # noqa: E402
from flwr.common.secure_aggregation.secaggplus_constants import Key  # noqa: E402

mod = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")


def settings(k):
    return {
        Key.SAMPLE_NUMBER: k + 1,
        Key.SHARE_NUMBER: k + 1,
        Key.THRESHOLD: 2 * (k + 1) // 3,
        Key.CLIPPING_RANGE: 8.0,
        Key.TARGET_RANGE: 1 << 22,
        Key.MOD_RANGE: 1 << 32,
        Key.MAX_WEIGHT: 1000.0,
    }


def client(number, k):
    state = mod.SecAggPlusState()
    state.nid = number
    mod._setup(state, settings(k))
    return state


def letters(me, neighbours):
    """What each neighbour sends to ``me``: one sealed share of each of its two secrets."""
    sealed = []
    for other in neighbours:
        shared = mod.generate_shared_key(mod.bytes_to_private_key(other.sk2), mod.bytes_to_public_key(me.pk2))
        sealed.append(
            mod.encrypt(shared, mod.share_keys_plaintext_concat(other.nid, me.nid, os.urandom(36), os.urandom(52)))
        )
    return sealed


def spent(work):
    begun = time.perf_counter()
    result = work()
    return 1e3 * (time.perf_counter() - begun), result


def summary(times):
    return {"best_ms": min(times), "median_ms": sorted(times)[len(times) // 2]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("values", type=int, nargs="+")
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    out = {values: {} for values in chosen.values}
    for k in (10, 50):
        neighbours = [client(number, k) for number in range(2, k + 2)]
        setup, share, uploads = [], [], 0
        for _ in range(min(chosen.repeats, 5)):
            a, me = spent(lambda k=k: client(1, k))
            public = {str(s.nid): [s.pk1, s.pk2] for s in (me, *neighbours)}
            b, made = spent(lambda me=me, public=public: mod._share_keys(me, dict(public)))
            setup.append(a)
            share.append(b)
            uploads = sum(map(len, made[Key.CIPHERTEXT_LIST])) + len(me.pk1) + len(me.pk2)
        inbox = {Key.CIPHERTEXT_LIST: letters(me, neighbours), Key.SOURCE_LIST: [s.nid for s in neighbours]}
        for values in chosen.values:
            vector = np.random.default_rng(1).uniform(-1, 1, values).astype(np.float32)
            parameters, masking = ndarrays_to_parameters([vector]), []
            for _ in range(chosen.repeats if values < 1_000_000 else min(chosen.repeats, 3)):
                a, masked = spent(
                    lambda p=parameters, me=me, inbox=inbox: mod._collect_masked_vectors(me, inbox, 10, p)
                )
                masking.append(a)
            out[values][k] = {
                "client_masking": summary(masking),
                "client_whole": {
                    m: summary(setup)[m] + summary(share)[m] + summary(masking)[m] for m in summary(masking)
                },
                "vector_bytes": sum(map(len, masked[Key.MASKED_PARAMETERS])),
                "other_bytes_up": uploads,
            }
    print(json.dumps(out))


if __name__ == "__main__":
    main()
