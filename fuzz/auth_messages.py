"""Fuzz target: every decoder of authentication on arbitrary bytes; anything but our own errors is a finding.

    python fuzz/auth_messages.py [seconds]        mutates the committed vectors with a seeded generator
    python fuzz/auth_messages.py --atheris [seconds] [libFuzzer options]     coverage-guided, where atheris is installed

The seeds are the messages of tests/vectors/auth/v1.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from wardround.auth.book import Book
from wardround.auth.broadcast import open_body
from wardround.auth.credential import Anchor, Credential, Descriptor, Issuer, RevocationList, Signed
from wardround.auth.device_end import DeviceBytes, DeviceEnd
from wardround.auth.enrolment import Answer, Grant, Request, Token
from wardround.auth.handshake import messages
from wardround.auth.handshake.initiator import Initiator
from wardround.auth.in_memory import World, world
from wardround.auth.record import Announcement, Update, open_announcement, open_update
from wardround.auth.roster import RosterBytes
from wardround.auth.server_end import ServerBytes, ServerEnd
from wardround.auth.session import Session
from wardround.auth.signed_update import SignedPayload, Statement
from wardround.auth.suites import SUITES
from wardround.auth.trust import Standing, Verdict
from wardround.drivers.parties.secured import Invitation, KnockReply
from wardround.drivers.store.export import RosterExport
from wardround.drivers.store.member_keys import IdentityBytes, PendingBytes, ServerPublic
from wardround.errors import DecodeError, ProtocolError
from wardround.wire import decode, encode

KINDS = (
    Anchor, Announcement, Answer, Credential, Descriptor, DeviceBytes, Grant, IdentityBytes, Invitation, Issuer,
    KnockReply, PendingBytes, Request, RevocationList, RosterBytes, RosterExport, ServerBytes, ServerPublic, Signed,
    SignedPayload, Standing, Statement, Token, Update, Verdict,
)  # fmt: skip
VECTORS = Path(__file__).parent.parent / "tests" / "vectors" / "auth" / "v1"


class Target:
    """Two ends of suite 1 with a session between them, so that every decoder has its place."""

    def __init__(self) -> None:
        self.world: World = world(1, SUITES[1])
        self.device, self.server, _ = self.world.handshake()
        self.waiting = self.world.initiator()
        self.world.hello(self.waiting)

    def one_input(self, data: bytes) -> None:
        memory = self.world.memories[self.device.device_id]
        for read in (
            lambda: self.world.server.receive(data, b"", 0.0, os.urandom),
            lambda: self.waiting.receive(data),
            lambda: open_update(self.server, bytes(32), data),
            lambda: open_announcement(self.device.copy(), memory, data),
            lambda: Session.from_bytes(SUITES[1], data),
            lambda: Initiator.from_bytes(self.world.devices[0], data),
            lambda: Book.from_bytes(SUITES[1], self.world.roster, data),
            lambda: DeviceEnd(self.world.devices[0]).restore(data),
            lambda: ServerEnd.resume(self.world.server.identity, self.world.roster, ("run", 1, 1), data, os.urandom),
            lambda: self._end().knock("gateway-0", data, 0.0, os.urandom),
            lambda: open_body(bytes(32), bytes(32), 1, data),
        ):
            try:
                read()
            except ProtocolError:
                continue
        self._messages(data)

    def _end(self) -> ServerEnd:
        return ServerEnd(self.world.server, "run", 1, bytes(32))

    def _messages(self, data: bytes) -> None:
        """Accepted bytes must encode back to themselves."""
        try:
            if encode(decode(data, *KINDS)) != data:
                raise AssertionError("two encodings of one message")
        except DecodeError:
            pass
        try:
            parsed = messages.parse_confirm(SUITES[1], data)
        except DecodeError:
            return
        if parsed.header + parsed.sealed != data:
            raise AssertionError("two encodings of M3")


def samples() -> list[bytes]:
    """The committed seeds and a few things at rest."""
    found = []
    for path in sorted(VECTORS.glob("handshake-*.json")):
        vector = json.loads(path.read_text())
        found += [bytes.fromhex(vector[name]) for name in ("m1", "m2", "m3")]
        found += [bytes.fromhex(vector[name]["record"]) for name in ("update", "announcement")]
    thing = json.loads((VECTORS / "objects.json").read_text())
    found += [bytes.fromhex(thing[name]["signed"]) for name in ("descriptor", "revocations")]
    target = Target()
    device, server = DeviceEnd(target.world.devices[0], session=target.device), target._end()
    found += [device.to_bytes(), server.to_bytes(), encode(Invitation(found[-1])), encode(KnockReply(found[1], False))]
    found += [encode(ServerPublic(1, bytes(64))), encode(RosterExport(found[-1], found[-2]))]
    found += [
        encode(IdentityBytes(bytes(64), bytes(32), b"", found[0], found[1])),
        encode(PendingBytes("icu", found[0], "S")),
    ]
    return [*found, target.device.to_bytes(), target.world.book.to_bytes(), target.waiting.to_bytes()]


def main(seconds: float) -> None:
    rng, seeds, done, end = np.random.default_rng(1), samples(), 0, time.monotonic() + seconds
    target = Target()
    while time.monotonic() < end:
        data = bytearray(seeds[rng.integers(len(seeds))])
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(len(data))] = rng.integers(256)
        target.one_input(bytes(data[: rng.integers(1, len(data) + 1)] if rng.integers(3) == 0 else data))
        done += 1
    print(f"{done} inputs, nothing found")


def guided(seconds: float, options: list[str]) -> None:
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

    target = Target()
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(samples()):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.instrument_all()
        atheris.Setup(
            [sys.argv[0], f"-max_total_time={int(seconds)}", "-max_len=8192", corpus, *options], target.one_input
        )
        atheris.Fuzz()


if __name__ == "__main__":
    words = [w for w in sys.argv[1:] if w != "--atheris"]
    limit = float(words[0]) if words else 20.0
    if "--atheris" in sys.argv:
        guided(limit, words[1:])
    else:
        main(limit)
