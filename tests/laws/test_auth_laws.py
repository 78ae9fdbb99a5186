"""Decoders give one of our errors or a value, never another exception; ratchets commute; layouts are one to one."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.auth.book import Book
from wardround.auth.credential import Anchor, Credential, Descriptor, Issuer, RevocationList, Signed
from wardround.auth.enrolment import Answer, Grant, Request, Token
from wardround.auth.handshake import messages
from wardround.auth.handshake.initiator import Initiator
from wardround.auth.in_memory import Seeded, World, world
from wardround.auth.record import Announcement, Update, open_announcement, open_update, seal_update
from wardround.auth.roster import RosterBytes
from wardround.auth.session import MAX_SKIP, Session
from wardround.auth.suites import SUITES
from wardround.auth.trust import Standing, State, TrustPolicy, Verdict, observe
from wardround.errors import ProtocolError, UsageError
from wardround.wire import decode

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
SUITE = SUITES[1]
MESSAGES = (
    Anchor, Announcement, Answer, Credential, Descriptor, Grant, Issuer, Request, RevocationList, RosterBytes, Signed,
    Standing, Token, Update, Verdict,
)  # fmt: skip


@cache
def ends() -> tuple[World, Session, Session]:
    w = world(1, SUITE, Seeded("laws"))
    return w, *w.handshake()[:2]


@QUICK
@given(st.binary(max_size=300) | st.binary(min_size=60, max_size=60) | st.binary(min_size=2276, max_size=2380))
def test_arbitrary_bytes_give_our_errors_only(data: bytes) -> None:
    w, ours, theirs = ends()
    initiator = w.initiator()
    w.hello(initiator)
    for call in (
        lambda: w.server.receive(data, b"", 0.0, w.entropy),
        lambda: initiator.receive(data),
        lambda: open_update(theirs, bytes(32), data),
        lambda: open_announcement(ours.copy(), w.memories[ours.device_id], data),
        lambda: Session.from_bytes(SUITE, data),
        lambda: Initiator.from_bytes(w.devices[0], data),
        lambda: Book.from_bytes(SUITE, w.roster, data),
    ):
        with pytest.raises(ProtocolError):
            call()
    for kind in MESSAGES:
        with pytest.raises(ProtocolError):
            decode(data, kind)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.text(max_size=40))
def test_arbitrary_text_is_no_token(text: str) -> None:
    with pytest.raises(UsageError, match=r"enrolment token"):
        Token.parse(text)


@QUICK
@given(kind=st.integers(0, 255), body=st.binary(min_size=59, max_size=59))
def test_layouts_are_one_to_one(kind: int, body: bytes) -> None:
    data = bytes([kind]) + body
    try:
        parsed = messages.parse_confirm(SUITE, data)
    except ProtocolError:
        assert data[:4] != b"\3\1\1\0"
    else:
        assert messages.confirm_header(SUITE, parsed.server_sid) + parsed.sealed == data


@QUICK
@given(st.lists(st.integers(0, 300), max_size=12))
def test_any_path_to_a_round_gives_the_same_root(jumps: list[int]) -> None:
    _, ours, theirs = ends()
    walker, jumper = ours.copy(), theirs.copy()
    for jump in jumps:
        walker.advance(walker.round + jump)
    total = walker.round - jumper.round
    while total > 0:
        jumper.advance(jumper.round + min(total, MAX_SKIP))
        total = walker.round - jumper.round
    assert walker.root == jumper.root


@QUICK
@given(data=st.binary(max_size=200), at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_record_with_any_bit_changed_does_not_open(data: bytes, at: int, bit: int) -> None:
    _, ours, theirs = ends()
    record = seal_update(ours.copy(), bytes(32), Update(data))
    assert open_update(theirs, bytes(32), record).data == data
    at %= len(record)
    with pytest.raises(ProtocolError):
        open_update(theirs, bytes(32), record[:at] + bytes([record[at] ^ (1 << bit)]) + record[at + 1 :])


@QUICK
@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e5)), max_size=40))
def test_evidence_never_revokes_and_never_releases(verdicts: list[tuple[float, float]]) -> None:
    policy, standing = TrustPolicy(), Standing()
    was = standing.name
    for good, bad in verdicts:
        standing, turn = observe(policy, standing, Verdict("law", good, bad))
        assert standing.name is not State.REVOKED
        assert was is not State.QUARANTINED or standing.name is State.QUARANTINED
        assert (turn is None) is (standing.name is was)
        assert 0.0 <= policy.score(standing) <= 1.0
        was = standing.name
