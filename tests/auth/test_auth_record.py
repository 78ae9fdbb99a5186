"""Records: what they are bound to, and the book that counts them once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wardround.auth.book import Book, RoundToken
from wardround.auth.identity import Memory
from wardround.auth.in_memory import World, world
from wardround.auth.record import (
    CHUNK,
    Announcement,
    Direction,
    Update,
    open_announcement,
    open_update,
    receipt,
    seal,
    seal_announcement,
    seal_update,
)
from wardround.auth.session import LIFETIME_ROUNDS, Session
from wardround.auth.suites import SUITES
from wardround.auth.trust import State as Trust
from wardround.errors import AuthError, DecodeError, LocalProtocolError, ProtocolError, RemoteProtocolError
from wardround.wire import encode

MODEL, OTHER = b"M" * 32, b"N" * 32
FRAME = CHUNK + 40
BIG = bytes(range(256)) * 600  # three frames


def fresh(count: int = 1) -> tuple[World, Session, Session]:
    w = world(count, SUITES[1], token=RoundToken(1, 1, MODEL))
    return w, *w.handshake()[:2]


def announcement(number: int) -> Announcement:
    return Announcement(1, number, 0, MODEL, bytes(32), 1 << 20)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 20, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_opens_what_was_sealed(size: int) -> None:
    _, ours, theirs = fresh()
    data = b"\x5a" * size
    record = seal_update(ours, MODEL, Update(data))
    assert open_update(theirs, MODEL, record) == Update(data)
    frames = max(1, -(-len(encode(Update(data))) // CHUNK))
    assert len(record) == len(encode(Update(data))) + 40 * frames


def test_bound_to_model_round_session_device_federation_and_epoch() -> None:
    w, ours, theirs = fresh(2)
    record = seal_update(ours, MODEL, Update(b"u"))
    other_device, other_session = w.handshake(1)[1], w.handshake(0)[1]
    with pytest.raises(AuthError):
        open_update(theirs, OTHER, record)
    with pytest.raises(AuthError):
        open_update(other_device, MODEL, record)
    with pytest.raises(AuthError):
        open_update(other_session, MODEL, record)
    elsewhere = theirs.copy()
    elsewhere.federation = b"other"
    with pytest.raises(AuthError):
        open_update(elsewhere, MODEL, record)
    later = theirs.copy()
    later.advance(2)
    with pytest.raises(DecodeError, match="a record of round 1 arrives in round 2"):
        open_update(later, MODEL, record)
    next_epoch = theirs.copy()
    next_epoch.epoch = 2
    with pytest.raises(DecodeError, match="a record of epoch 1 arrives in a session of epoch 2"):
        open_update(next_epoch, MODEL, record)
    # also where the header is changed to fit: the key belongs to the round
    moved = record[:8] + (2).to_bytes(8, "big") + record[16:]
    with pytest.raises(AuthError):
        open_update(later, MODEL, moved)
    assert open_update(theirs, MODEL, record).data == b"u"


def test_frames_cut_reordered_doubled_or_mixed() -> None:
    w, ours, theirs = fresh()
    record = seal_update(ours, MODEL, Update(BIG))
    a, b, c = record[:FRAME], record[FRAME : 2 * FRAME], record[2 * FRAME :]
    ours2, _, _ = w.handshake()
    d = seal_update(ours2, MODEL, Update(BIG))[FRAME : 2 * FRAME]
    for bad in (b + a + c, a + c, a + b, a + a + c, a + b + b + c, b + c, a + d + c, a + b + c[:-1], a + b + c + b"\0"):
        with pytest.raises(ProtocolError):
            open_update(theirs, MODEL, bad)
    assert open_update(theirs, MODEL, record).data == BIG


def test_every_byte_of_a_header_and_a_tag_matters() -> None:
    _, ours, theirs = fresh()
    record = seal_update(ours, MODEL, Update(b"payload"))
    for at in range(len(record)):
        with pytest.raises(ProtocolError):
            open_update(theirs, MODEL, record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :])


def test_lengths_are_checked_before_anything_else() -> None:
    _, ours, theirs = fresh()
    record = seal_update(ours, MODEL, Update(b"payload"))
    with pytest.raises(DecodeError, match="is longer than the 50 allowed"):
        open_update(theirs, MODEL, record, 50)
    for size in (0, 1, 39):
        with pytest.raises(DecodeError, match="are not whole frames"):
            open_update(theirs, MODEL, record[:size])
    with pytest.raises(DecodeError, match="are not whole frames"):
        open_update(theirs, MODEL, bytes(FRAME + 10))


def test_one_payload_per_round() -> None:
    _, ours, _ = fresh()
    record = seal_update(ours, MODEL, Update(b"u"))
    assert seal_update(ours, MODEL, Update(b"u")) == record  # a retry is the same bytes
    for model, update in ((MODEL, Update(b"v")), (OTHER, Update(b"u"))):
        with pytest.raises(LocalProtocolError, match="would use its key twice"):
            seal_update(ours, model, update)
    again = Session.from_bytes(ours.suite, ours.to_bytes())
    with pytest.raises(LocalProtocolError):
        seal_update(again, MODEL, Update(b"v"))  # not after a restart either
    ours.advance(2)
    assert seal_update(ours, MODEL, Update(b"v"))[40:] != record[40:]


def test_each_end_seals_in_its_own_direction() -> None:
    w, ours, theirs = fresh()
    with pytest.raises(LocalProtocolError, match="a device does not send DOWN"):
        seal(ours, Direction.DOWN, MODEL, b"")
    with pytest.raises(LocalProtocolError, match="a server does not send UP"):
        seal(theirs, Direction.UP, MODEL, b"")
    up = seal_update(ours, MODEL, Update(b"u"))
    with pytest.raises(DecodeError, match="type, version, suite"):
        open_announcement(ours, w.memories[ours.device_id], up)  # reflected
    reflected = b"\x11" + up[1:]
    with pytest.raises(AuthError):
        open_announcement(ours, w.memories[ours.device_id], reflected)


def test_announcements_move_the_device_and_never_back() -> None:
    w, ours, theirs = fresh()
    memory = w.memories[ours.device_id]
    fifth = seal_announcement(theirs, announcement(5))
    before = ours.to_bytes()
    for at in (0, 9, 30, len(fifth) - 1):
        with pytest.raises(ProtocolError):
            open_announcement(ours, memory, fifth[:at] + bytes([fifth[at] ^ 1]) + fifth[at + 1 :])
        assert ours.to_bytes() == before
    heard, memory = open_announcement(ours, memory, fifth)
    assert (heard.round, ours.round, memory.round) == (5, 5, 5)
    with pytest.raises(RemoteProtocolError, match="round 5 was announced before"):
        open_announcement(ours, memory, fifth)
    seventh = seal_announcement(theirs, announcement(7))
    with pytest.raises(RemoteProtocolError, match="went back"):
        open_announcement(ours, Memory(1, 8), seventh)
    assert ours.round == 5
    open_announcement(ours, memory, seventh)


def test_an_announcement_must_speak_of_its_own_round() -> None:
    w, ours, theirs = fresh()
    theirs.advance(2)
    lie = seal(theirs, Direction.DOWN, bytes(32), encode(announcement(3)))
    with pytest.raises(DecodeError, match="another round than its header"):
        open_announcement(ours, w.memories[ours.device_id], lie)
    assert ours.round == 1


@pytest.mark.parametrize(
    "change",
    [
        {"model_hash": b"short"},
        {"policy_hash": b""},
        {"epoch": -1},
        {"epoch": 1 << 32},
        {"round": -1},
        {"max_bytes": 0},
    ],
)
def test_announcements_and_tokens_check_themselves(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"32 bytes|not negative"):
        replace(announcement(1), **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"32 bytes|not negative"):
        replace(RoundToken(1, 1), **change)  # type: ignore[arg-type]


# --- the book


def test_a_record_counts_once_and_a_retry_gets_the_same_receipt() -> None:
    w, ours, theirs = fresh()
    record = seal_update(ours, MODEL, Update(b"u"))
    first = w.book.accept(theirs.session_id, record)
    assert (first.data, first.weight, first.repeated, first.device_id) == (b"u", 1.0, False, ours.device_id)
    assert first.receipt == receipt(ours, record)
    second = w.book.accept(theirs.session_id, record)
    assert (second.data, second.repeated, second.receipt) == (b"", True, first.receipt)


def test_a_second_record_of_a_round_is_refused_also_after_a_new_handshake_and_a_restart() -> None:
    w, ours, theirs = fresh()
    w.book.accept(theirs.session_id, seal_update(ours, MODEL, Update(b"u")))
    again, theirs_again, _ = w.handshake()
    second = seal_update(again, MODEL, Update(b"v"))
    with pytest.raises(RemoteProtocolError, match="a second, different record in round 1"):
        w.book.accept(theirs_again.session_id, second)
    book = Book.from_bytes(w.suite, w.roster, w.book.to_bytes())
    with pytest.raises(RemoteProtocolError, match="a second, different record"):
        book.accept(theirs_again.session_id, second)


def test_a_record_of_another_session_of_the_same_device_is_refused() -> None:
    w, ours, theirs = fresh()
    record = seal_update(ours, MODEL, Update(b"u"))
    _, newer, _ = w.handshake()
    with pytest.raises(AuthError, match="denied"):
        w.book.accept(theirs.session_id, record)
    with pytest.raises(AuthError, match="does not open"):
        w.book.accept(newer.session_id, record)


@pytest.mark.parametrize("state", [Trust.REVOKED, Trust.QUARANTINED])
def test_revocation_cuts_a_live_session_in_the_middle_of_a_round(state: Trust) -> None:
    w, ours, theirs = fresh()
    record = seal_update(ours, MODEL, Update(b"u"))
    w.roster.set_state(ours.device_id, state)
    for call in (
        lambda: w.book.accept(theirs.session_id, record),
        lambda: w.book.announce(theirs.session_id, w.entropy),
    ):
        with pytest.raises(AuthError, match="denied"):
            call()
    assert w.roster.weight(ours.device_id) == 0.0
    assert w.roster.revocation_epoch == 1


def test_probation_halves_the_weight_and_asks_for_a_handshake_every_round() -> None:
    w, ours, theirs = fresh()
    w.roster.set_state(ours.device_id, Trust.PROBATION)
    assert not w.book.needs_handshake(ours.device_id)
    assert w.book.accept(theirs.session_id, seal_update(ours, MODEL, Update(b"u"))).weight == 0.5
    w.book.turn_to(RoundToken(1, 2, MODEL))
    assert w.book.needs_handshake(ours.device_id)
    with pytest.raises(AuthError, match="denied"):
        w.book.announce(theirs.session_id, w.entropy)
    again, theirs, _ = w.handshake()
    assert w.book.accept(theirs.session_id, seal_update(again, MODEL, Update(b"v"))).weight == 0.5


def test_many_rounds_with_and_without_their_messages() -> None:
    w, ours, theirs = fresh()
    memory = w.memories[ours.device_id]
    healed = set()
    for number in range(2, 120):
        w.book.turn_to(RoundToken(1, number, MODEL, max_bytes=5000))
        record = w.book.announce(theirs.session_id, w.entropy)
        w.roster.revocation_epoch += 1
        assert w.book.announce(theirs.session_id, w.entropy) == record  # asked twice: the same bytes
        if number % 5 == 0:
            continue  # the announcement is lost
        heard, memory = open_announcement(ours, memory, record)
        answer = ours.answer(heard.offer, w.entropy) if heard.offer else b""
        update = seal_update(ours, heard.model_hash, Update(b"%d" % number, answer))
        if number % 7 == 0:
            continue  # the update is lost
        assert w.book.accept(theirs.session_id, update).data == b"%d" % number
        healed.add(theirs.healed_round)
    assert len(healed) == 4  # the handshake and three KEM ratchets
    with pytest.raises(DecodeError, match="longer than the 5000 allowed"):
        w.book.accept(theirs.session_id, bytes(5001))


def test_the_token_never_goes_back_and_a_new_epoch_ends_all_sessions() -> None:
    w, ours, theirs = fresh()
    for bad in (RoundToken(1, 0, MODEL), RoundToken(0, 9, MODEL), RoundToken(1, 1, OTHER)):
        with pytest.raises(LocalProtocolError, match="the round token may not go"):
            w.book.turn_to(bad)
    w.book.turn_to(RoundToken(1, 1, MODEL))
    w.book.turn_to(RoundToken(2, 1, MODEL))
    assert len(w.book) == 0
    assert w.book.needs_handshake(ours.device_id)
    with pytest.raises(AuthError, match="denied"):
        w.book.accept(theirs.session_id, seal_update(ours, MODEL, Update(b"u")))


def test_a_session_ends_after_its_lifetime_and_beyond_its_reach() -> None:
    w, ours, theirs = fresh()
    for number in (4096, 8000, LIFETIME_ROUNDS):
        w.book.turn_to(RoundToken(1, number, MODEL))
        w.book.announce(theirs.session_id, w.entropy)
    w.book.turn_to(RoundToken(1, 1 + LIFETIME_ROUNDS, MODEL))
    assert w.book.needs_handshake(ours.device_id)
    w, ours, theirs = fresh()
    w.book.turn_to(RoundToken(1, 1 + 4097, MODEL))
    assert w.book.needs_handshake(ours.device_id)
    with pytest.raises(AuthError, match="denied"):
        w.book.announce(theirs.session_id, w.entropy)


def test_unknown_sessions_are_denied() -> None:
    w, _, _ = fresh()
    with pytest.raises(AuthError, match="denied"):
        w.book.accept(b"no such.", b"")
    assert not w.book.cut(b"nobody")


def test_a_device_session_in_a_servers_book_is_refused() -> None:
    w, ours, _ = fresh()
    w.book.admit(ours)
    with pytest.raises(DecodeError, match="holds a device's session"):
        Book.from_bytes(w.suite, w.roster, w.book.to_bytes())
