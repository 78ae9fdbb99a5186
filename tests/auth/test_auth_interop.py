"""Both directions against an independent implementation (the research prototype beside the repository, where present).

Only its names differ; they are exchanged for ours in the text before it is executed. Nothing of it is part of this project.
"""

from __future__ import annotations

import os
import types
from pathlib import Path
from typing import Any

import pytest

from wardround.auth.book import Book, RoundToken
from wardround.auth.handshake.initiator import Initiator
from wardround.auth.handshake.responder import Responder
from wardround.auth.identity import DeviceIdentity, Memory, ServerIdentity
from wardround.auth.in_memory import UNHURRIED, entry
from wardround.auth.record import Direction, _open, seal
from wardround.auth.roster import Roster
from wardround.auth.suites import SUITES

PROTOTYPE = Path(__file__).parents[3] / "shared" / "research" / "auth_prototype" / "qrma.py"
NAMES = {
    'b"QRMA-FL/1 ': 'b"wardround-auth/1 ',
    'b"QRMA id"': 'b"wardround id"',
    'b"mac1"': 'b"wardround-auth/1 mac1"',
    'b"round0"': 'b"wardround-auth/1 round0"',
    'b"ratchet"': 'b"wardround-auth/1 ratchet"',
    'b"key" + d': 'b"wardround-auth/1 record " + d',
}
FEDERATION = b"interop"
MODEL = b"M" * 32


@pytest.fixture(scope="module")
def other() -> Any:
    if not PROTOTYPE.exists():
        pytest.skip(f"the independent implementation is not here ({PROTOTYPE})")
    source = PROTOTYPE.read_text()
    for theirs, ours in NAMES.items():
        assert theirs in source
        source = source.replace(theirs, ours)
    module = types.ModuleType("interop_prototype")
    import sys

    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(source, str(PROTOTYPE), "exec"), module.__dict__)  # noqa: S102
    return module


@pytest.mark.parametrize("number", [1, 2, 3])
def test_our_device_and_their_server(other: Any, number: int) -> None:
    suite = SUITES[number]
    server = other.Responder(other.SUITES[number], FEDERATION, os.urandom(suite.kem.seed_bytes), epoch=3, round_=9)
    device = DeviceIdentity(
        suite, FEDERATION, suite.kem.key(os.urandom(suite.kem.seed_bytes)), os.urandom(32), server.pk
    )
    assert server.enrol(device.key.public, device.psk) == device.device_id
    initiator = Initiator(device, Memory())
    step = initiator.receive(server.m1(initiator.start(0.0, os.urandom).send))
    theirs, ours = server.m3(step.send), step.done
    assert ours is not None
    assert (ours.root, ours.transcript, ours.epoch, ours.round) == (theirs.rk, theirs.h, 3, 9)
    ours.advance(30)
    theirs.advance(30)
    record = seal(ours, Direction.UP, MODEL, b"x" * 100_000)
    size = (1 << 16) + 40
    assert theirs.open_update(MODEL, [record[:size], record[size:]]) == b"x" * 100_000


@pytest.mark.parametrize("number", [1, 2, 3])
def test_their_device_and_our_server(other: Any, number: int) -> None:
    suite = SUITES[number]
    identity = ServerIdentity(suite, FEDERATION, suite.kem.key(os.urandom(suite.kem.seed_bytes)))
    psk, seed = os.urandom(32), os.urandom(suite.kem.seed_bytes)
    device = other.Device(other.SUITES[number], FEDERATION, seed, psk, identity.key.public)
    known = DeviceIdentity(suite, FEDERATION, suite.kem.key(seed), psk, identity.key.public)
    book = Book(suite, Roster(suite, [entry(known)]), RoundToken(3, 9, MODEL))
    server = Responder(identity, book, os.urandom, UNHURRIED)
    initiator = other.Initiator(device)
    m2 = server.receive(initiator.m1(), b"", 0.0, os.urandom).send
    ours = server.receive(initiator.m2(m2), b"", 0.0, os.urandom).done
    theirs = initiator.session
    assert ours is not None
    assert (ours.root, ours.transcript, ours.device_id) == (theirs.rk, theirs.h, device.id)
    frames = theirs.seal_update(MODEL, b"y" * 70_000)
    assert _open(ours, ours.root, Direction.UP, MODEL, b"".join(frames)) == b"y" * 70_000
