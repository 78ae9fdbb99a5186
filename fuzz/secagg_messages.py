"""Fuzz target: every decoder of secure aggregation on arbitrary bytes; anything but DecodeError is a finding.

python fuzz/secagg_messages.py [seconds]     mutates valid messages with a seeded generator; atheris finds ``one_input``
"""

from __future__ import annotations

import sys
import time

import numpy as np

from wardround.crypto.sampling import subseed
from wardround.errors import DecodeError
from wardround.secagg import messages
from wardround.secagg.client import ClientState, Plain
from wardround.secagg.decryptor import DecryptorState
from wardround.secagg.in_memory import Parties
from wardround.secagg.parameters import Lattice
from wardround.secagg.server_state import ServerState
from wardround.wire import decode, encode

KINDS = (
    messages.RoundStart,
    messages.Contribution,
    messages.EpochInvitation,
    messages.EpochContacts,
    ClientState,
    DecryptorState,
    ServerState,
)


def one_input(data: bytes) -> None:
    """Accepted bytes must encode back to themselves."""
    for read in (messages.decode_answer, messages.decode_question, lambda d: decode(d, *KINDS)):
        try:
            found = read(data)
        except DecodeError:
            continue
        if encode(found) != data:
            raise AssertionError("two encodings of one message")


def samples() -> list[bytes]:
    parties = Parties(["a", "b", "c"], Lattice(minimum=2), bytes(32))
    start = parties.start(3, 0, (8, 2))
    client = parties.clients["a"]
    contribution = client.contribute(start, Plain(np.zeros(8, np.float32), np.zeros(2)), subseed(bytes(32), b"e"))
    member = parties.members[1]
    return [encode(start), encode(contribution), encode(parties.invitation), client.to_bytes(), member.to_bytes()]


def main(seconds: float) -> None:
    rng, seeds, done, end = np.random.default_rng(1), samples(), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        data = bytearray(seeds[rng.integers(len(seeds))])
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(min(len(data), 400))] = rng.integers(256)
        one_input(bytes(data[: rng.integers(1, len(data) + 1)] if rng.integers(3) == 0 else data))
        done += 1
    print(f"{done} inputs, nothing found")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
