"""Writes the known-answer vectors beside it: run after a deliberate change of the format, and read the diff.

python tests/vectors/secagg/make_secagg_vectors.py
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from wardround.crypto import packing, ring, sampling, sharing
from wardround.secagg import direct, fixedpoint, kahe, partition
from wardround.secagg.descriptor import Wish, describe
from wardround.secagg.epoch import Ratchet
from wardround.secagg.parameters import Lattice, choose_dithered, choose_exact
from wardround.secagg.transcript import context, leaf, round_id, set_digest
from wardround.wire import encode

SEED = bytes(range(32))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def accepted() -> dict[str, Any]:
    """Every deterministic step, with its result (long ones as SHA-256)."""
    key = sampling.centred_binomial(SEED, 1024).astype(np.int64)
    product = ring.multiply(ring.expand(ring.Ring(1024, 21), SEED, 2), key)
    wide = ring.multiply(ring.expand(ring.Ring(2048, 41), SEED, 1), sampling.centred_binomial(SEED, 2048))
    dithered: Any = choose_dithered(1024, 100, 8)
    exact: Any = choose_exact(1024, 16, 20)
    update = kahe.Segment(dithered, 1024, 70, SEED)
    counts = kahe.Segment(exact, 1024, 9, SEED)
    values = np.linspace(-1.2, 1.2, 70).astype(np.float32)
    steps = fixedpoint.to_steps(values, 1.0, dithered.levels, dithered.r)
    whole = fixedpoint.to_counts(np.arange(-4, 5) / 4, 20, 8)
    shape = sharing.Sharing(5, 1, 2, 10, 2)
    dealing = sharing.deal(shape, np.arange(-5, 7) % sharing.PRIME, b"context", SEED)
    described = describe(
        Lattice(minimum=3, sharing="keys"), Wish(b"session", 1, 2, 100, 8, 70, 9, b"o" * 32, b"r" * 32)
    )
    short = describe(Lattice(bits=4, minimum=3), Wish(b"session", 1, 2, 50, 0, 9, 9, b"o" * 32, b"r" * 32))
    shared = direct.Plain(short.update, direct.choose_counts(50, 20), 9, 9)
    taken, after = Ratchet(3, SEED).take(5, b"id")
    bound = context(b"id", "gw", b"c")
    return {
        "stream": sampling.stream_bytes(SEED, 32).hex(),
        "cbd64": [int(v) for v in key[:32]],
        "product_1024_21": sha(product.astype("<u8").tobytes()),
        "product_2048_41": sha(wide.astype("<u8").tobytes()),
        "packed_15": packing.pack(np.arange(40, dtype=np.uint64) * np.uint64(800), 15).hex(),
        "packed_36": packing.pack(np.arange(20, dtype=np.uint64) << np.uint64(31), 36).hex(),
        "fine_steps": [int(v) for v in steps],
        "dithered": sha(kahe.encrypt(update, steps, key, SEED)),
        "exact": kahe.encrypt(counts, whole, key, SEED).hex(),
        "openings": [opening.hex() for opening in dealing.openings],
        "commitments": [commitment.hex() for commitment in dealing.commitments],
        "low_degree": dealing.proof.hex(),
        "descriptor": encode(described).hex(),
        "direct": [int(v) for v in direct.share(shared, values[:9], whole.astype(np.uint64), 1.0, SEED)],
        "direct_descriptor": encode(short).hex(),
        "round_id": round_id(described).hex(),
        "leaf": leaf(bound, dealing.commitments, dealing.proof).hex(),
        "set": set_digest(b"id", {"b": b"2", "a": b"1"}).hex(),
        "partition": [list(part) for part in partition.deal([f"c{i}" for i in range(11)], 3, SEED)],
        "round_key": taken.hex(),
        "next_chain": after.key.hex(),
    }


def refused(known: dict[str, Any]) -> list[dict[str, Any]]:
    """Operations that must fail, and with which class."""
    opening, public = known["openings"][1], {"commitments": known["commitments"], "low_degree": known["low_degree"]}
    changed = opening[:-4] + ("00000000" if opening[-4:] != "0000" else "01000000")[:4]
    return [
        {"operation": "unpack", "data": known["packed_15"][:-2], "count": 40, "width": 15, "error": "DecodeError"},
        {
            "operation": "unpack",
            "data": known["packed_15"][:-2] + "ff",
            "count": 40,
            "width": 15,
            "error": "DecodeError",
        },
        {"operation": "check", "member": 2, "opening": changed, **public, "error": "RemoteProtocolError"},
        {"operation": "check", "member": 3, "opening": opening, **public, "error": "RemoteProtocolError"},
        {"operation": "field", "data": "f1ff", "error": "DecodeError"},
        {"operation": "ratchet", "position": 6, "number": 5, "error": "LocalProtocolError"},
        {"operation": "ratchet", "position": 0, "number": 4096, "error": "LocalProtocolError"},
        {"operation": "suite", "number": 0x011A, "error": "RemoteProtocolError"},
        {"operation": "descriptor", "data": known["descriptor"] + "00", "error": "DecodeError"},
        {"operation": "descriptor", "data": known["descriptor"][:-2], "error": "DecodeError"},
    ]


def vectors() -> dict[str, Any]:
    known = accepted()
    return {"protocol": "wardround-secagg/1", "seed": SEED.hex(), "accepted": known, "refused": refused(known)}


if __name__ == "__main__":
    Path(__file__).with_name("secagg_1.json").write_text(json.dumps(vectors(), indent=1) + "\n")
