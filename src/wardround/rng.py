"""Named, seeded random streams: the same seed and the same name give the same numbers on every machine.

A stream is addressed by a path of names and numbers, e.g. ``stream(7, "client", 12, "round", 3)``; two different
paths give independent streams (their SHA-256 digests seed numpy's SeedSequence, whose mixing the numpy manual
recommends for this). Law: drawing from one stream never moves another, so the order in which clients are
trained cannot change a result.

These streams are for simulation, partitioning and training. Secrets never come from here: machines take
entropy as an argument.
"""

from __future__ import annotations

import hashlib

import numpy as np


def seed_words(seed: int, *path: str | int) -> tuple[int, ...]:
    """Eight 32-bit words that address the stream ``path`` under ``seed``.

    Raises:
        ValueError: a path element is neither text nor an integer.
    """
    digest = hashlib.sha256(b"wardround stream")
    for part in (seed, *path):
        if isinstance(part, str):
            text = b"s" + part.encode()
        elif isinstance(part, int | np.integer):
            text = b"i" + str(int(part)).encode()
        else:
            raise ValueError(f"a stream's path holds names and whole numbers, not {type(part).__name__}")
        # the length stands before the text so that ("ab", "c") and ("a", "bc") are two streams
        digest.update(len(text).to_bytes(4, "big") + text)
    return tuple(int(word) for word in np.frombuffer(digest.digest(), dtype=">u4"))


def stream(seed: int, *path: str | int) -> np.random.Generator:
    """The generator of the stream ``path`` under ``seed``."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed_words(seed, *path))))
