"""The handshake between two real ends: what is accepted, and every way in which it is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wardround.auth.book import RoundToken
from wardround.auth.handshake import messages
from wardround.auth.handshake.gate import Limits
from wardround.auth.handshake.initiator import MAX_RETRIES, WAIT_SECONDS, Initiator, State
from wardround.auth.handshake.responder import Responder
from wardround.auth.handshake.symmetric import SymmetricState, psk_mac
from wardround.auth.identity import DeviceIdentity, Memory
from wardround.auth.in_memory import FEDERATION, UNHURRIED, Seeded, World, device
from wardround.auth.in_memory import world as in_memory
from wardround.auth.suites import SUITES, Suite, suite
from wardround.auth.trust import State as Trust
from wardround.errors import (
    AuthError,
    DecodeError,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    UsageError,
)

EVERY_SUITE = pytest.mark.parametrize("one", SUITES.values(), ids=lambda s: s.name)


def world(
    number: int, count: int = 1, seed: str = "world", token: RoundToken | None = None, limits: Limits = UNHURRIED
) -> World:
    return in_memory(count, SUITES[number], Seeded(seed), token, limits)


def take(w: World, data: bytes, now: float = 0.0, source: bytes = b"") -> bytes | None:
    return w.server.receive(data, source, now, w.entropy).send


@EVERY_SUITE
def test_both_ends_agree_and_sizes_are_as_written(one: Suite) -> None:
    w = world(one.number)
    ours, theirs, sent = w.handshake()
    assert (ours.root, ours.transcript, ours.exporter) == (theirs.root, theirs.transcript, theirs.exporter)
    assert (ours.session_id, ours.device_id, ours.epoch, ours.round) == (
        theirs.session_id,
        w.devices[0].device_id,
        1,
        1,
    )
    kem = one.kem
    assert [len(m) for m in sent] == [
        12 + kem.public_bytes + kem.ciphertext_bytes + 96,
        20 + 2 * kem.ciphertext_bytes + 80,
        60,
    ]
    assert sum(map(len, sent)) == {1: 4716, 2: 4844, 3: 6540}[one.number]
    assert len(sent[1]) < len(sent[0])  # the server never sends more than it got: no amplification


def test_two_handshakes_share_nothing() -> None:
    w = world(1)
    a, _, first = w.handshake()
    b, _, second = w.handshake()
    assert a.root != b.root
    assert a.transcript != b.transcript
    assert all(x[12:] != y[12:] for x, y in zip(first, second, strict=True))
    assert w.devices[0].device_id not in b"".join(first + second)


def outcome(w: World, change: Callable[[int, bytes], bytes]) -> int:
    """Runs one handshake with ``change`` applied to message 1, 2 or 3; gives the message that was refused."""
    initiator = w.initiator()
    m1 = change(1, w.hello(initiator))
    before = len(w.book)
    try:
        m2 = take(w, m1)
    except ProtocolError:
        return 1
    assert m2 is not None
    at_rest = initiator.to_bytes()
    try:
        step = initiator.receive(change(2, m2))
    except ProtocolError:
        assert initiator.to_bytes() == at_rest  # a refused message changes no state
        return 2
    assert step.send is not None
    try:
        w.server.receive(change(3, step.send), b"", 0.0, w.entropy)
    except ProtocolError:
        assert len(w.book) == before
        return 3
    return 0


def fields(one: Suite) -> dict[int, dict[str, int]]:
    """First byte of every field of every message."""
    kem = one.kem
    m1, at = {}, 0
    for name, size in (
        ("type", 1), ("version", 1), ("suite", 1), ("flags", 1), ("sid", 8), ("e_pk", kem.public_bytes),
        ("ct_A", kem.ciphertext_bytes), ("id", 48), ("psk mac", 16), ("mac1", 16),
    ):  # fmt: skip
        m1[name], at = at, at + size
    m2, at = {}, 0
    for name, size in (
        ("type", 1), ("version", 1), ("suite", 1), ("flags", 1), ("sid_A", 8), ("sid_D", 8),
        ("ct_e", kem.ciphertext_bytes), ("ct_D", kem.ciphertext_bytes), ("params", 80),
    ):  # fmt: skip
        m2[name], at = at, at + size
    m3 = {"type": 0, "version": 1, "suite": 2, "flags": 3, "sid_A": 4, "confirmation": 12}
    return {1: m1, 2: m2, 3: m3}


@EVERY_SUITE
def test_every_field_of_every_message_corrupted(one: Suite) -> None:
    w = world(one.number)
    for number, starts in fields(one).items():
        for name, start in starts.items():
            for bit in (0, 7):

                def flip(n: int, m: bytes, start: int = start, number: int = number, bit: int = bit) -> bytes:
                    return m if n != number else m[:start] + bytes([m[start] ^ (1 << bit)]) + m[start + 1 :]

                # sid_A in M2 is the server's choice and bound by M3: M2 with another one is refused by the device's
                # AEAD already, because the header is hashed
                assert outcome(w, flip) == number, (number, name)
    assert outcome(w, lambda _, m: m) == 0


@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_last_byte_matters(number: int) -> None:
    w = world(1)
    length = {1: 2380, 2: 2276, 3: 60}[number]
    covered = length - 16 if number == 1 else length  # the cookie means nothing while the server is not loaded
    for at in [*range(0, covered, 41 if number < 3 else 1), covered - 1]:
        assert outcome(w, lambda n, m, at=at: m if n != number else m[:at] + bytes([m[at] ^ 4]) + m[at + 1 :]) == number  # type: ignore[misc]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_truncated_and_extended(number: int) -> None:
    w = world(2)
    for cut in (1, 15, 16, 17, 59):
        assert outcome(w, lambda n, m, c=cut: m[:-c] if n == number else m) == number  # type: ignore[misc]
        assert outcome(w, lambda n, m, c=cut: m + bytes(c) if n == number else m) == number  # type: ignore[misc]
    for other in (b"", b"\1", b"\2", b"\3", b"\4" * 16, b"\5" * 2444):
        assert outcome(w, lambda n, m, o=other: o if n == number else m) == number  # type: ignore[misc]


def test_exact_errors_of_broken_bytes() -> None:
    w = world(1)
    initiator = w.initiator()
    m1 = w.hello(initiator)
    with pytest.raises(DecodeError, match="M1 has 2380 bytes in this suite, not 2379"):
        take(w, m1[:-1])
    for at, value in ((0, 9), (1, 2), (2, 2), (3, 1)):
        with pytest.raises(DecodeError, match="M1 has type, version, suite, flags"):
            take(w, m1[:at] + bytes([value]) + m1[at + 1 :])
    with pytest.raises(AuthError, match="mac1"):
        take(w, m1[:100] + bytes([m1[100] ^ 1]) + m1[101:])
    with pytest.raises(DecodeError, match="M3 has 60 bytes"):
        take(w, b"\3" * 61)
    with pytest.raises(DecodeError, match="a retry has 17 bytes"):
        initiator.receive(b"\4" * 18)
    with pytest.raises(DecodeError, match="M2 has 2276 bytes"):
        initiator.receive(b"")


def test_messages_swapped_between_sessions() -> None:
    w = world(1, count=2)
    first, second, other = w.initiator(0), w.initiator(0), w.initiator(1)
    replies = [w.to_server(w.hello(i)) for i in (first, second, other)]
    with pytest.raises(DecodeError, match="another handshake"):
        first.receive(replies[1])
    with pytest.raises(DecodeError, match="another handshake"):
        first.receive(replies[2])
    # the header of one's own, the body of the other's
    with pytest.raises(AuthError):
        first.receive(replies[0][:20] + replies[1][20:])
    for cut in (1108, 2196):
        with pytest.raises(AuthError):
            first.receive(replies[0][:cut] + replies[1][cut:])
    m3 = [i.receive(reply).send for i, reply in zip((first, second, other), replies, strict=True)]
    assert all(m3)
    with pytest.raises(AuthError):
        take(w, m3[0][:12] + m3[1][12:])  # type: ignore[index]
    assert w.server.receive(m3[0] or b"", b"", 0, w.entropy).done is not None


@EVERY_SUITE
def test_every_field_of_every_message_swapped_between_sessions(one: Suite) -> None:
    """Two handshakes of one device side by side: any field of the other's message in one's own is refused there."""
    for number, starts in fields(one).items():
        ends = [*list(starts.values())[1:], None]
        for (name, start), end in zip(starts.items(), ends, strict=True):
            w = world(one.number)
            first, second = w.initiator(), w.initiator()
            sent = {1: (w.hello(first), w.hello(second))}
            if number > 1:
                sent[2] = (w.to_server(sent[1][0]), w.to_server(sent[1][1]))
            if number > 2:
                sent[3] = (first.receive(sent[2][0]).send or b"", second.receive(sent[2][1]).send or b"")
            own, other = sent[number]
            mixed = own[:start] + other[start:end] + (b"" if end is None else own[end:])
            if mixed == own:
                assert name in ("type", "version", "suite", "flags")  # the same in both
                continue
            before = first.to_bytes(), w.server.pending, len(w.book)
            with pytest.raises(ProtocolError):
                first.receive(mixed) if number == 2 else take(w, mixed)
            assert (first.to_bytes(), w.server.pending, len(w.book)) == before, (number, name)
            first.receive(own) if number == 2 else take(w, own)  # and the honest one still goes through


@pytest.mark.parametrize("number", [1, 2, 3])
def test_cut_at_every_field(number: int) -> None:
    w = world(2)
    for start in fields(w.suite)[number].values():
        assert outcome(w, lambda n, m, s=start: m[:s] if n == number else m) == number  # type: ignore[misc]


def test_replays_are_refused() -> None:
    w = world(1)
    initiator = w.initiator()
    m1 = w.hello(initiator)
    m2 = w.to_server(m1)
    with pytest.raises(RemoteProtocolError, match="answered before"):
        take(w, m1)
    with pytest.raises(RemoteProtocolError, match="answered before"):
        take(w, m1[:-16] + b"c" * 16)  # the cookie does not make it another M1
    m3 = initiator.receive(m2).send
    assert m3 is not None
    with pytest.raises(LocalProtocolError, match="that is done cannot take"):
        initiator.receive(m2)
    session = w.server.receive(m3, b"", 0.0, w.entropy).done
    with pytest.raises(RemoteProtocolError, match="no half-open handshake"):
        take(w, m3)
    assert list(w.book) == [session]


def test_the_four_refusals_cannot_be_told_apart() -> None:
    w = world(1, count=3)
    stranger = device(w.suite, w.server.identity.key.public, w.entropy)
    known = w.devices[0]
    wrong_psk = DeviceIdentity(w.suite, FEDERATION, known.key, bytes(32), known.server_public)
    w.roster.set_state(w.devices[1].device_id, Trust.REVOKED)
    w.roster.set_state(w.devices[2].device_id, Trust.QUARANTINED)
    seen = set()
    for identity in (stranger, wrong_psk, w.devices[1], w.devices[2]):
        with pytest.raises(AuthError) as caught:
            take(w, w.hello(w.initiator(identity)))
        seen.add((type(caught.value), str(caught.value), repr(caught.value.__cause__)))
    assert seen == {(AuthError, "denied", "None")}
    assert w.server.pending == 0


def test_who_stole_the_registry_cannot_be_a_device() -> None:
    """The registry holds public key and psk: enough for M1, not for M3."""
    w = world(1)
    victim = w.devices[0]

    class Forged(DeviceIdentity):
        device_id = victim.device_id

    thief = Forged(w.suite, FEDERATION, w.suite.kem.key(bytes(64)), victim.psk, victim.server_public)
    initiator = Initiator(thief, Memory())
    m2 = w.to_server(w.hello(initiator))
    with pytest.raises(AuthError):
        initiator.receive(m2)


def test_another_server_another_federation_another_suite() -> None:
    w, other = world(1), world(1, seed="other")
    m1 = w.hello(w.initiator())
    with pytest.raises(AuthError, match="mac1"):
        take(other, m1)
    known = w.devices[0]
    elsewhere = DeviceIdentity(w.suite, b"ward eight", known.key, known.psk, known.server_public)
    with pytest.raises(AuthError, match="does not open"):
        take(w, w.hello(w.initiator(elsewhere)))
    with pytest.raises(DecodeError, match="in this suite"):
        take(world(2), m1)


def test_a_suite_is_never_negotiated() -> None:
    w = world(1)
    m1 = w.hello(w.initiator())
    for number in (0, 2, 3, 200):
        with pytest.raises(DecodeError, match="type, version, suite"):
            take(w, m1[:2] + bytes([number]) + m1[3:])
    with pytest.raises(UsageError, match=r"there is no suite 0; the suites are 1 .ML-KEM-768., 2 .X-Wing."):
        suite(0)
    assert [suite(n).name for n in (1, 2, 3)] == ["ML-KEM-768", "X-Wing", "ML-KEM-1024"]


def test_a_malformed_ephemeral_key_from_a_member_is_refused() -> None:
    """FIPS 203 section 7.2: a member who sends coefficients beyond the modulus is refused by name."""
    w = world(1)
    with pytest.raises(DecodeError, match="not a public key of ML-KEM-768"):
        take(w, _hello_with_a_bad_key(w))
    assert w.server.pending == 0


def _hello_with_a_bad_key(w: World) -> bytes:
    """M1 of a real member, every MAC right, around an ephemeral key beyond the modulus."""
    identity = w.devices[0]
    state = SymmetricState.start(w.suite, FEDERATION, identity.server_public)
    header = messages.hello_header(w.suite, b"12345678")
    state.mix_hash(header)
    public = b"\xff" * 1184
    state.mix_hash(public)
    secret, ciphertext = w.suite.kem.load(identity.server_public).encapsulate(w.entropy)
    state.mix_hash(ciphertext)
    state.mix_key(secret)
    sealed = state.seal(identity.device_id)
    macked = header + public + ciphertext + sealed + psk_mac(w.suite, identity.psk, state.h)
    return macked + messages.mac1(identity.mac1_key, macked) + messages.NO_COOKIE


def test_a_server_that_goes_back_is_refused() -> None:
    w = world(1, token=RoundToken(3, 9))
    w.handshake()
    memory = w.memories[w.devices[0].device_id]
    assert (memory.epoch, memory.round, memory.attempts) == (3, 9, 1)
    for epoch, number in ((3, 8), (2, 900), (0, 0)):
        w.book.token = RoundToken(epoch, number)
        initiator = w.initiator()
        with pytest.raises(RemoteProtocolError, match="the server went back"):
            initiator.receive(w.to_server(w.hello(initiator)))
        assert initiator.state is State.AWAIT_REPLY
    w.book.token = RoundToken(4, 0)
    w.handshake()
    assert w.memories[w.devices[0].device_id].epoch == 4


def test_a_revocation_epoch_that_falls_is_refused() -> None:
    w = world(1)
    w.roster.revocation_epoch = 7
    w.handshake()
    w.roster.revocation_epoch = 6
    initiator = w.initiator()
    with pytest.raises(RemoteProtocolError, match="revocation epoch went back from 7 to 6"):
        initiator.receive(w.to_server(w.hello(initiator)))


def test_floors_survive_a_restart_of_the_device() -> None:
    w = world(1, token=RoundToken(3, 9))
    initiator = w.initiator()
    m2 = w.to_server(w.hello(initiator))
    again = Initiator.from_bytes(w.devices[0], initiator.to_bytes())
    step = again.receive(m2)  # restarted between M1 and M2
    assert step.done is not None
    assert w.server.receive(step.send or b"", b"", 0, w.entropy).done is not None
    restored = Initiator.from_bytes(w.devices[0], again.to_bytes())
    assert restored.memory == again.memory == Memory(3, 9, 0, 1)
    assert restored.state is State.DONE


def test_a_junk_datagram_does_not_burn_a_handshake() -> None:
    w = world(1)
    initiator = w.initiator()
    m2 = w.to_server(w.hello(initiator))
    for at in (5, 13, 30, 1200, 2270):
        with pytest.raises(ProtocolError):
            initiator.receive(m2[:at] + bytes([m2[at] ^ 1]) + m2[at + 1 :])
    m3 = initiator.receive(m2).send
    assert m3 is not None
    for at in (20, 30, 50):
        with pytest.raises(AuthError):
            take(w, m3[:at] + bytes([m3[at] ^ 1]) + m3[at + 1 :])
    assert w.server.receive(m3, b"", 0.0, w.entropy).done is not None


def test_the_fourth_wrong_confirmation_drops_the_handshake() -> None:
    w = world(1)
    initiator = w.initiator()
    m3 = initiator.receive(w.to_server(w.hello(initiator))).send
    assert m3 is not None
    for left in (1, 1, 1, 0):
        with pytest.raises(AuthError):
            take(w, m3[:-1] + bytes([m3[-1] ^ 1]))
        assert w.server.pending == left
    with pytest.raises(RemoteProtocolError, match="no half-open"):
        take(w, m3)


def test_an_unfinished_handshake_does_not_disturb_the_session() -> None:
    w = world(1)
    _, session, _ = w.handshake()
    w.to_server(w.hello(w.initiator()))
    assert list(w.book) == [session]
    _, newer, _ = w.handshake()
    assert list(w.book) == [newer]


def test_a_device_cut_in_the_middle() -> None:
    w = world(1)
    w.handshake()
    initiator = w.initiator()
    m3 = initiator.receive(w.to_server(w.hello(initiator))).send
    assert m3 is not None
    w.roster.set_state(w.devices[0].device_id, Trust.REVOKED)
    with pytest.raises(AuthError, match="denied"):
        take(w, m3)
    assert w.server.pending == 0
    w.server.cut(w.devices[0].device_id)
    assert len(w.book) == 0


def test_cut_ends_half_open_handshakes_and_the_session() -> None:
    w = world(1, count=2)
    for number in (0, 1):
        w.handshake(number)
        w.to_server(w.hello(w.initiator(number)))
    w.server.cut(w.devices[0].device_id)
    assert w.server.pending == 1
    assert [s.device_id for s in w.book] == [w.devices[1].device_id]


def test_half_open_handshakes_are_bounded_and_expire() -> None:
    w = world(1, limits=Limits(pending=4, device_per_minute=1e9, cookie_above=100))
    waiting = [w.initiator() for _ in range(6)]
    replies = [w.to_server(w.hello(i), now=float(n)) for n, i in enumerate(waiting)]
    assert w.server.pending == 4
    with pytest.raises(RemoteProtocolError, match="no half-open"):
        take(w, waiting[1].receive(replies[1]).send or b"", now=5.0)
    m3 = waiting[5].receive(replies[5]).send
    step = w.server.expire(12.5)
    assert (w.server.pending, step.wake) == (3, 13.0)
    with pytest.raises(RemoteProtocolError, match="no half-open"):
        take(w, m3 or b"", now=15.0)  # begun at 5, ten seconds are over
    assert w.server.pending == 0


def test_under_load_a_cookie_is_asked_for() -> None:
    w = world(1, limits=Limits(cookie_above=0, device_per_minute=1e9))
    initiator = w.initiator()
    m1 = w.hello(initiator, now=1000.0)
    reply = take(w, m1, 1000.0, b"10.0.0.1:5")
    assert reply is not None
    assert (reply[0], len(reply), w.server.pending) == (4, 17, 0)
    again = initiator.receive(reply).send
    assert again is not None
    assert again[:-16] == m1[:-16]
    assert (take(w, again, 1000.0, b"10.0.0.2:5") or b"")[0] == 4  # a cookie belongs to one source
    assert (take(w, m1[:-16] + b"x" * 16, 1000.0, b"10.0.0.1:5") or b"")[0] == 4
    assert (take(w, again, 1000.0 + 400, b"10.0.0.1:5") or b"")[0] == 4  # and to a few minutes
    m2 = take(w, again, 1100.0, b"10.0.0.1:5")
    assert m2 is not None
    m3 = initiator.receive(m2).send
    assert w.server.receive(m3 or b"", b"10.0.0.1:5", 1100.0, w.entropy).done is not None


def test_forged_retries_are_bounded_and_harmless() -> None:
    w = world(1)
    initiator = w.initiator()
    m2 = w.to_server(w.hello(initiator))
    for _ in range(MAX_RETRIES):
        assert initiator.receive(b"\4" + bytes(16)).send is not None
    with pytest.raises(RemoteProtocolError, match="more than 3 retries"):
        initiator.receive(b"\4" + bytes(16))
    assert initiator.receive(m2).done is not None


def test_rates_are_limited_by_device_and_by_source() -> None:
    w = world(1, count=2, limits=Limits(device_per_minute=2, source_per_second=4))
    w.handshake(0)
    w.handshake(0)
    with pytest.raises(RemoteProtocolError, match="of one device"):
        w.to_server(w.hello(w.initiator(0)))
    w.handshake(1)
    with pytest.raises(RemoteProtocolError, match="from one source"):
        w.to_server(w.hello(w.initiator(1)))
    w.handshake(0, now=31.0)  # half a minute later there is one more


def test_the_machines_refuse_calls_out_of_order() -> None:
    w = world(1)
    initiator = w.initiator()
    with pytest.raises(LocalProtocolError, match="that is idle cannot take"):
        initiator.receive(bytes(2276))
    w.hello(initiator)
    with pytest.raises(LocalProtocolError, match="await M2 cannot take"):
        initiator.start(0.0, w.entropy)
    assert initiator.expire(WAIT_SECONDS - 1).wake == WAIT_SECONDS
    assert initiator.expire(WAIT_SECONDS).wake is None
    assert initiator.state is State.FAILED
    with pytest.raises(LocalProtocolError, match="that is failed"):
        initiator.receive(b"\4" + bytes(16))


def test_a_server_restarts_with_its_sessions_and_floors() -> None:
    w = world(1, token=RoundToken(2, 5))
    ours, _, _ = w.handshake()
    stored = w.server.to_bytes()
    server = Responder.from_bytes(w.server.identity, w.roster, stored, Seeded("restart"))
    assert server.book.token == RoundToken(2, 5)
    assert [(s.root, s.device_id) for s in server.book] == [(ours.root, ours.device_id)]
    with pytest.raises(LocalProtocolError, match="round token"):
        server.book.turn_to(RoundToken(2, 4))


@pytest.mark.parametrize("cut", [0, 1, 5, 40])
def test_damaged_state_is_a_decode_error(cut: int) -> None:
    w = world(1)
    initiator = w.initiator()
    w.hello(initiator)
    w.handshake()
    with pytest.raises(DecodeError):
        Initiator.from_bytes(w.devices[0], initiator.to_bytes()[: -cut or None] + b"x" * (cut == 0))
    with pytest.raises(DecodeError):
        Responder.from_bytes(
            w.server.identity, w.roster, w.server.to_bytes()[: -cut or None] + b"x" * (cut == 0), w.entropy
        )


def test_no_secret_in_a_repr() -> None:
    w = world(1)
    ours, theirs, _ = w.handshake()
    shown = repr((w.devices[0], w.server.identity, ours, theirs, next(iter(w.roster)), w.initiator(), w.book))
    for secret in (w.devices[0].psk, w.devices[0].key.seed, ours.root, ours.exporter, w.server.identity.key.seed):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1][:12] not in shown


def test_channel_binding_is_part_of_the_transcript() -> None:
    w = world(1)
    server = Responder(w.server.identity, w.book, w.entropy, w.server.limits, binding=b"exporter of this channel")
    bound = Initiator(w.devices[0], Memory(), binding=b"exporter of this channel")
    m2 = server.receive(w.hello(bound), b"", 0, w.entropy).send
    assert bound.receive(m2 or b"").done is not None
    elsewhere = Initiator(w.devices[0], Memory(), binding=b"exporter of another")
    with pytest.raises(AuthError):
        server.receive(w.hello(elsewhere), b"", 0, w.entropy)


def test_a_broken_random_generator_alone_does_not_repeat_an_ephemeral_key() -> None:
    w = world(1)
    first, second = w.initiator(), Initiator(w.devices[0], Memory(attempts=1))
    a, b = first.start(0, bytes).send, second.start(0, bytes).send
    assert a is not None
    assert b is not None
    assert a[12:1196] != b[12:1196]


def test_enrolled_later() -> None:
    w = world(1)
    late = device(w.suite, w.server.identity.key.public, w.entropy)
    with pytest.raises(AuthError, match="denied"):
        w.handshake(late)
    w.enrol([late])
    w.handshake(late)


def test_seeded_entropy_repeats_itself() -> None:
    a, b, c = world(1), world(1), world(1, seed="another")
    assert a.devices[0].key.public == b.devices[0].key.public != c.devices[0].key.public


def test_the_psk_is_part_of_m2() -> None:
    """If ML-KEM falls, the psk alone still keeps strangers out: without it M2 does not open."""
    w = world(1)
    initiator = w.initiator()
    m2 = w.to_server(w.hello(initiator))
    known = w.devices[0]
    initiator.identity = DeviceIdentity(w.suite, FEDERATION, known.key, bytes(32), known.server_public)
    with pytest.raises(AuthError, match="does not open"):
        initiator.receive(m2)
