"""The research suite runs through the same machines, and no byte on the wire reaches it."""

from __future__ import annotations

import pytest

from wardround.auth import suites
from wardround.auth.credential import Descriptor
from wardround.auth.in_memory import world
from wardround.auth.record import Update, open_update, seal_update
from wardround.auth.research import NUMBER, research_suite
from wardround.errors import DecodeError, UsageError


def test_the_same_handshake() -> None:
    w = world(1, research_suite(experimental=True))
    ours, theirs, sent = w.handshake()
    assert (ours.root, ours.transcript) == (theirs.root, theirs.transcript)
    assert list(map(len, sent)) == [12 + 1856 + 2208 + 96, 20 + 2 * 2208 + 80, 60]
    assert open_update(theirs, bytes(32), seal_update(ours, bytes(32), Update(b"u"))) == Update(b"u")


def test_it_must_be_asked_for_by_name() -> None:
    with pytest.raises(UsageError, match="experimental=True"):
        research_suite(experimental=False)
    assert research_suite(experimental=True).experimental
    assert not any(suite.experimental for suite in suites.SUITES.values())


def test_nothing_on_the_wire_or_in_a_credential_names_it() -> None:
    assert NUMBER not in suites.SUITES
    with pytest.raises(UsageError, match="there is no suite 200"):
        suites.suite(NUMBER)
    with pytest.raises(ValueError, match="there is no suite 200"):
        Descriptor(b"f", NUMBER, bytes(1856), 0, 1)
    w = world(1)
    m1 = w.hello(w.initiator())
    with pytest.raises(DecodeError, match="type, version, suite"):
        w.to_server(m1[:2] + bytes([NUMBER]) + m1[3:])
