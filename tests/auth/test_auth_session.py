"""Round ratchet, KEM ratchet, expiry and the session at rest."""

from __future__ import annotations

import pytest

from wardround.auth.in_memory import Seeded, world
from wardround.auth.record import Announcement, Update, open_announcement, seal_announcement, seal_update
from wardround.auth.session import HEAL_EVERY, LIFETIME_ROUNDS, MAX_SKIP, Session, State
from wardround.auth.suites import SUITES
from wardround.errors import AuthError, DecodeError, LocalProtocolError, RemoteProtocolError

MODEL = b"M" * 32


def announcement(number: int, offer: bytes = b"") -> Announcement:
    return Announcement(1, number, 0, MODEL, bytes(32), 1000, offer)


def ends() -> tuple[Session, Session]:
    ours, theirs, _ = world(suite=SUITES[1]).handshake()
    return ours, theirs


def test_the_ratchet_is_a_function_of_the_round() -> None:
    ours, theirs = ends()
    seen = set()
    for number in range(1, 40):
        ours.advance(number)
        seen.add(ours.root)
    assert len(seen) == 39
    theirs.advance(20)
    theirs.advance(39)
    assert (ours.root, ours.round) == (theirs.root, theirs.round)


def test_4096_missed_rounds_and_not_one_more() -> None:
    ours, theirs = ends()
    ours.advance(1 + MAX_SKIP)
    for number in range(1, 2 + MAX_SKIP):
        theirs.advance(number)
    assert ours.root == theirs.root
    at_rest = ours.to_bytes()
    for wrong in (ours.round - 1, 0, ours.round + MAX_SKIP + 1):
        with pytest.raises(RemoteProtocolError, match="out of this session's reach"):
            ours.advance(wrong)
    assert ours.to_bytes() == at_rest


def test_a_captured_state_tells_nothing_about_the_round_before() -> None:
    """What the tests can say: the old root is neither kept nor computable by going on; the ProVerif model says the rest."""
    ours, _ = ends()
    old = ours.root
    ours.advance(2)
    assert old not in ours.to_bytes()


def test_a_kem_ratchet_heals_both_ends() -> None:
    w = world(suite=SUITES[1])
    ours, theirs, _ = w.handshake()
    stolen = ours.copy()  # a thief copies the device's state in round 1
    memory = w.memories[ours.device_id]
    offer = theirs.offer(w.entropy)
    heard, memory = open_announcement(ours, memory, seal_announcement(theirs, announcement(2, offer)))
    update = Update(b"u", ours.answer(heard.offer, w.entropy))
    record = seal_update(ours, MODEL, update)
    assert ours.state is State.ANSWERED
    w.book.turn_to(type(w.book.token)(1, 2, MODEL))
    assert w.book.accept(theirs.session_id, record).data == b"u"
    assert (theirs.state, theirs.healed_round) == (State.LIVE, 2)
    stolen.advance(2)  # it also saw every message, but not the secret inside the ciphertext
    assert stolen._healed(bytes(32), update.ciphertext, heard.offer) != theirs.root
    heard, memory = open_announcement(ours, memory, seal_announcement(theirs, announcement(3)))
    assert (ours.root, ours.state, ours.healed_round) == (theirs.root, State.LIVE, 3)
    stolen.advance(3)
    assert stolen.root != ours.root  # the thief's copy is worthless from here on


def test_a_lost_answer_costs_a_repetition_and_nothing_else() -> None:
    w = world(suite=SUITES[1])
    ours, theirs, _ = w.handshake()
    memory = w.memories[ours.device_id]
    for number in (2, 3, 4):
        record = seal_announcement(theirs, announcement(number, theirs.offer(w.entropy)))
        heard, memory = open_announcement(ours, memory, record)
        assert ours.state is State.LIVE
        ours.answer(heard.offer, w.entropy)  # and the update is lost
    _, memory = open_announcement(ours, memory, seal_announcement(theirs, announcement(5)))
    assert (ours.root, ours.candidate, ours.state) == (theirs.root, b"", State.LIVE)


def test_an_offer_is_due_every_32_rounds() -> None:
    ours, theirs = ends()
    assert not theirs.heal_due()
    theirs.advance(HEAL_EVERY)
    assert not theirs.heal_due()
    theirs.advance(HEAL_EVERY + 1)
    assert theirs.heal_due()
    ours.advance(HEAL_EVERY + 1)
    assert not ours.heal_due()  # the server begins


def test_each_end_keeps_to_its_part() -> None:
    w = world(suite=SUITES[1])
    ours, theirs, _ = w.handshake()
    with pytest.raises(LocalProtocolError, match="a device's session that is live cannot take"):
        ours.offer(w.entropy)
    with pytest.raises(LocalProtocolError, match="a server's session"):
        theirs.answer(w.suite.kem.key(bytes(64)).public, w.entropy)
    with pytest.raises(LocalProtocolError):
        ours.settle(confirmed=True)
    with pytest.raises(RemoteProtocolError, match="not offered"):
        theirs.heal(bytes(1088))
    theirs.offer(w.entropy)
    with pytest.raises(DecodeError, match="ciphertext"):
        theirs.heal(bytes(5))
    assert theirs.state is State.OFFERED
    with pytest.raises(DecodeError, match="public key"):
        ours.answer(b"no key", w.entropy)
    assert ours.state is State.LIVE


def test_a_forged_ciphertext_cannot_desynchronise_without_the_keys() -> None:
    """Only a record that opens reaches ``heal``: junk on the wire never does."""
    w = world(suite=SUITES[1])
    _, theirs, _ = w.handshake()
    theirs.offer(w.entropy)
    before = theirs.to_bytes()
    with pytest.raises((AuthError, DecodeError)):
        w.book.accept(theirs.session_id, b"\x10\x01\x01\x01" + bytes(2000))
    assert theirs.to_bytes() == before


def test_thirty_days() -> None:
    ours, _ = ends()
    assert not ours.expired(ours.first_round + LIFETIME_ROUNDS - 1)
    assert ours.expired(ours.first_round + LIFETIME_ROUNDS)


def test_at_rest_and_back() -> None:
    for session in ends():
        session.advance(7)
        again = Session.from_bytes(session.suite, session.to_bytes())
        assert again == session
        with pytest.raises(DecodeError, match="is not one of ours"):
            Session.from_bytes(SUITES[2], session.to_bytes())
        for bad in (
            session.to_bytes()[:-1],
            session.to_bytes() + b"\0",
            b"",
            session.to_bytes().replace(b"LIVE", b"DEAD"),
        ):
            with pytest.raises(DecodeError):
                Session.from_bytes(session.suite, bad)
        for role in (b"device", b"server"):
            if role in session.to_bytes():
                with pytest.raises(DecodeError, match="unknown role"):
                    Session.from_bytes(session.suite, session.to_bytes().replace(role, b"devise"))


def test_a_restarted_device_goes_on_where_it_was() -> None:
    w = world(suite=SUITES[1])
    ours, theirs, _ = w.handshake()
    memory = w.memories[ours.device_id]
    record = seal_announcement(theirs, announcement(9, theirs.offer(Seeded("offer"))))
    heard, memory = open_announcement(ours, memory, record)
    ours.answer(heard.offer, w.entropy)
    again = Session.from_bytes(w.suite, ours.to_bytes())
    _, memory = open_announcement(again, memory, seal_announcement(theirs, announcement(10)))
    assert again.root == theirs.root
    with pytest.raises(RemoteProtocolError, match="announced before"):
        open_announcement(again, memory, record)
