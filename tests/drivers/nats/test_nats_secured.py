"""Layer 1 between a coordinator and gateways, without a broker: restarts, losses, revocation, and whatever comes over the wire."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.auth.credential import open_signed
from wardround.auth.signed_update import Statement
from wardround.auth.suites import SUITES
from wardround.auth.trust import Turn, Verdict
from wardround.crypto import kdf, labels
from wardround.crypto.sign import ML_DSA_65
from wardround.drivers.nats.enrolling import Lab, Place
from wardround.drivers.nats.keys import KeyFolder
from wardround.drivers.parties.secured import Authenticated, DeviceGuard, Invitation, KnockReply, Papers, ServerGuard
from wardround.drivers.store.export import ANCHOR, EXPORT, read_anchor
from wardround.drivers.store.member_keys import read_server_key
from wardround.drivers.store.registrar import Registrar, act
from wardround.drivers.store.state import DiskError
from wardround.errors import AuthError, ProtocolError, RemoteProtocolError, UsageError
from wardround.events import Event

NAMES = ("icu", "ward 2")
ASK = b"an ask " * 3000


@dataclass
class Ward:
    """Key folder, disks and both ends; ``reboot`` ends a process and starts it from its disk."""

    folder: Path
    disk: dict[str, bytes] = field(default_factory=dict)
    heard: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys, self.registrar = KeyFolder(self.folder / "keys"), Registrar(self.folder / "registrar")
        self.keys.path.mkdir(mode=0o700)
        self.lab = Lab(self.registrar, self.keys, "ward", SUITES[1])
        list(self.lab.enrol_all([(name, f"g0000{i}") for i, name in enumerate(NAMES)]))
        self.anchor = read_anchor(self.keys.path / ANCHOR)
        self.start()

    def start(self, run: str = "run") -> None:
        self.server = self.serve(run)
        self.gates = {name: self.join(name) for name in NAMES}

    def serve(self, run: str = "run") -> ServerGuard:
        papers = Papers(
            self.anchor, read_server_key(self.keys.path / "server.key", self.anchor), self.keys.path / EXPORT
        )
        self.server = ServerGuard(papers, run, self.disk.get("server"), self.keep("server"), self.heard.append)
        return self.server

    def join(self, name: str) -> DeviceGuard:
        place = Place(self.keys, name, f"g0000{NAMES.index(name)}")
        return DeviceGuard(place.gateway().end(), self.disk.get(name), self.keep(name), self.heard.append)

    def keep(self, who: str) -> Callable[[bytes], None]:
        def save(data: bytes) -> None:
            self.disk[who] = data

        return save

    def meet(self, name: str = "icu", account: str = "") -> bool:
        """A handshake as the broker carries it; ``account``: whose account it comes through."""
        gate, peer = self.gates[name], account or name
        sent = gate.invited(Invitation(self.server._descriptor))
        while True:
            reply, stands = self.server.knock(peer, sent)
            if stands:
                return True
            sent = gate.replied(reply)

    def tell(self, turn: int, name: str = "icu", body: bytes = ASK) -> tuple[bytes, bytes]:
        """(record, sealed body) as stored and sent."""
        sealed = self.server.body(turn, body)
        record = self.server.record(name, sealed)
        assert record is not None, "no live session"
        self.server.store()
        return record, sealed.data

    def exchange(self, turn: int, name: str = "icu", answer: bytes = b"answer") -> None:
        gate = self.gates[name]
        assert gate.open(*self.tell(turn, name)) == ASK
        assert self.server.opened(name, turn, gate.seal(answer)) == answer
        self.server.settle()

    def administer(self, name: str, turn: Turn) -> None:
        with closing(self.registrar.open()) as registry:
            registry.turn(name, turn, act())
            self.registrar.export(registry)


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def codes(ward: Ward) -> list[str]:
    return [event.code for event in ward.heard if hasattr(event, "code")]


def test_from_invitation_to_answers(ward: Ward) -> None:
    assert not ward.server.may("icu")
    assert ward.server.record("icu", ward.server.body(1, ASK)) is None, "no handshake, no round"
    assert ward.meet()
    assert ward.server.may("icu")
    assert not ward.server.may("ward 2")
    for turn in (2, 3, 40):  # 40: past a KEM ratchet
        ward.exchange(turn)
    assert ward.server.invitation("icu", ward.gates["icu"].session) is None
    assert ward.server.invitation("icu", b"") is not None
    assert ward.server.invitation("icu", b"") is None, "not again at once"


def test_the_broker_sees_neither_asks_nor_answers_and_stores_a_body_once(ward: Ward) -> None:
    for name in NAMES:
        ward.meet(name)
    told = [ward.tell(1, name) for name in NAMES]
    assert told[0][1] == told[1][1], "one body for all"
    assert told[0][0] != told[1][0]
    answer = ward.gates["icu"].open(*told[0]) and ward.gates["icu"].seal(b"a secret answer " * 10)
    assert all(ASK[:14] not in data for pair in told for data in pair)
    assert b"secret answer" not in answer
    with pytest.raises(AuthError):
        ward.gates["ward 2"].open(*told[0])
    with pytest.raises(RemoteProtocolError):
        ward.server.opened("ward 2", 1, answer)
    other = ward.tell(1, "ward 2")
    with pytest.raises(AuthError):
        ward.gates["ward 2"].open(other[0], told[0][1][:-1] + b"x")


def test_an_answer_is_for_its_own_ask(ward: Ward) -> None:
    ward.meet("icu")
    ward.meet("ward 2")
    record, data = ward.tell(1, "icu", b"ask for icu")
    other, more = ward.tell(1, "ward 2", b"ask for ward 2")
    assert (ward.gates["icu"].open(record, data), ward.gates["ward 2"].open(other, more)) == (
        b"ask for icu",
        b"ask for ward 2",
    )
    answers = {name: ward.gates[name].seal(b"yes") for name in NAMES}
    assert [ward.server.opened(name, 1, answers[name]) for name in NAMES] == [b"yes", b"yes"]
    assert ward.server.opened("icu", 1, answers["icu"]) == b"", "counted once"
    assert ward.server.opened("icu", 9, answers["icu"]) == b"", "another exchange's: late"


def test_a_slow_gateway_may_answer_what_it_was_told_last(ward: Ward) -> None:
    for name in NAMES:
        ward.meet(name)
    slow = ward.gates["icu"]
    slow.open(*ward.tell(1, "icu"))
    ward.exchange(2, "ward 2")
    ward.exchange(3, "ward 2")
    answer = slow.seal(b"late but of use")
    assert ward.server.opened("icu", 2, answer) == b"", "not of the exchange that it says"
    assert ward.server.opened("icu", 1, answer) == b"late but of use"
    assert ward.server.opened("icu", 1, answer) == b"", "counted once"
    slow.open(*ward.tell(4, "icu"))
    assert ward.server.opened("icu", 1, answer) == b"", "it was told of a later one since"
    assert ward.server.opened("icu", 4, slow.seal(b"on time")) == b"on time"


@pytest.mark.parametrize("who", ["server", "icu", "both"])
def test_a_restart_between_any_two_steps_costs_no_handshake(ward: Ward, who: str) -> None:
    ward.meet()

    def reboot() -> None:
        if who in ("server", "both"):
            ward.serve()
        if who in ("icu", "both"):
            ward.gates["icu"] = ward.join("icu")

    for turn in range(1, 71, 3):
        record, data = ward.tell(turn)
        reboot()
        assert ward.tell(turn) == (record, data), "a repetition is the same bytes"
        assert ward.gates["icu"].open(record, data) == ASK
        answer = ward.gates["icu"].seal(b"x" * turn)
        reboot()
        if who in ("icu", "both"):  # it lost the opened body, not its session: the notice is handled once more
            assert ward.gates["icu"].open(record, data) == ASK
            assert ward.gates["icu"].seal(b"x" * turn) == answer
        assert ward.server.opened("icu", turn, answer) == b"x" * turn
        if who != "icu":  # killed after it took the answer and before it stored the outcome: the transport has it still
            ward.serve()
            assert ward.server.opened("icu", turn, answer) == b"x" * turn
        ward.server.settle()
        reboot()
    assert codes(ward).count("auth.session") == 1


@pytest.mark.parametrize("who", ["server", "icu"])
def test_who_lost_its_state_authenticates_again_and_nothing_passes_before(ward: Ward, who: str) -> None:
    ward.meet()
    ward.exchange(1)
    del ward.disk[who]
    if who == "server":
        ward.serve()
        assert not ward.server.may("icu")
        assert ward.server.record("icu", ward.server.body(2, ASK)) is None
    else:
        ward.gates["icu"] = ward.join("icu")
        with pytest.raises(AuthError, match="no session"):
            ward.gates["icu"].open(*ward.tell(2))
    assert ward.server.invitation("icu", ward.gates["icu"].session) is not None
    ward.meet()
    ward.exchange(3)


def test_positions_never_go_back_whatever_run_begins(ward: Ward) -> None:
    ward.meet()
    ward.exchange(50)
    at = ward.server.end.book.token.round
    ward.serve("another run")
    assert ward.server.end.position(1) > at
    ward.exchange(1)  # the session goes on into the new run


def test_revocation_cuts_a_live_session_in_the_middle_of_a_round(ward: Ward) -> None:
    for name in NAMES:
        ward.meet(name)
    records = {name: ward.tell(1, name) for name in NAMES}
    for name in NAMES:
        ward.gates[name].open(*records[name])
    assert not ward.server.look()
    ward.administer("icu", Turn.REVOKE)
    assert ward.server.look()
    assert ward.server.barred == {"icu"}
    with pytest.raises(AuthError, match="denied"):
        ward.server.opened("icu", 1, ward.gates["icu"].seal(b"mine"))
    assert ward.server.opened("ward 2", 1, ward.gates["ward 2"].seal(b"mine")) == b"mine"
    assert not ward.server.may("icu")
    with pytest.raises(AuthError, match="refused"):
        ward.meet("icu")
    ward.serve()
    assert not ward.server.may("icu"), "a restart does not bring it back"
    assert {"auth.cut", "auth.refused", "auth.record"} <= set(codes(ward))


def test_signed_answers_leave_evidence_and_unsigned_ones_are_refused(ward: Ward) -> None:
    kept: list[bytes] = []
    ward.server.end.signed, ward.server.evidence = True, kept.append
    for name in NAMES:
        ward.meet(name)
    gateway = Place(ward.keys, "icu", "g00000").gateway()
    assert gateway.member is not None
    ward.gates["icu"].end.signer = gateway.member
    record, data = ward.tell(1)
    ward.gates["icu"].open(record, data)
    answer = ward.gates["icu"].seal(b"mine")
    ward.gates["icu"] = ward.join(
        "icu"
    )  # killed before it could send: the same bytes again, though signatures are randomised
    ward.gates["icu"].end.signer = gateway.member
    ward.gates["icu"].open(record, data)
    assert ward.gates["icu"].seal(b"mine") == answer
    assert ward.server.opened("icu", 1, answer) == b"mine"
    said = open_signed(ML_DSA_65.load(gateway.credential.member), labels.SIGN_UPDATE, kept[0], Statement)
    assert said.payload_hash == kdf.digest("sha256", b"mine")
    assert said.model_hash == kdf.digest("sha256", ASK)
    assert (said.device_id, said.round) == (gateway.identity.device_id, ward.server.end.position(1))
    # another's signature, and none
    for signer in (gateway.member, None):
        ward.meet("ward 2")
        ward.gates["ward 2"].end.signer = signer
        turn = 2 + (signer is None)
        ward.gates["ward 2"].open(*ward.tell(turn, "ward 2"))
        with pytest.raises(RemoteProtocolError):
            ward.server.opened("ward 2", turn, ward.gates["ward 2"].seal(b"not signed by ward 2"))
    assert len(kept) == 1


def test_on_probation_half_the_exchanges_and_a_handshake_for_each(ward: Ward) -> None:
    for name in NAMES:
        ward.meet(name)
    with closing(ward.registrar.open()) as registry:
        device = ward.gates["icu"].end.identity.device_id
        assert registry.observe(device, Verdict("rule.krum", bad=6.0), act()) is Turn.DOUBT
        ward.registrar.export(registry)
    assert ward.server.look()
    invited = 0
    for turn in range(1, 101):
        ward.exchange(turn, "ward 2")
        assert ward.server.may("ward 2")
        invited += ward.server.may("icu")
    assert 30 <= invited <= 70
    assert ward.server.record("icu", ward.server.body(101, ASK)) is None, "not in the session of before"
    ward.meet()
    ward.exchange(101)
    assert ward.server.record("icu", ward.server.body(102, ASK)) is None


def test_every_refusal_looks_the_same(ward: Ward) -> None:
    """Unknown, quarantined, revoked, junk: a gateway, or who plays one, gets the same two bytes."""
    ward.administer("icu", Turn.QUARANTINE)
    ward.administer("ward 2", Turn.REVOKE)
    ward.server.look()
    stranger = ward.join("icu")
    stranger.end.identity = replace(stranger.end.identity, psk=bytes(32))
    replies = []
    for gate, peer in ((ward.gates["icu"], "icu"), (ward.gates["ward 2"], "ward 2"), (stranger, "icu")):
        replies.append(ward.server.knock(peer, gate.invited(Invitation(b""))))
    replies += [ward.server.knock("icu", junk) for junk in (b"", b"\x01" * 2380, os.urandom(60))]
    assert replies == [(KnockReply(b"", True), False)] * 6


def test_a_session_counts_only_in_its_own_account(ward: Ward) -> None:
    with pytest.raises(AuthError, match="refused"):
        ward.meet("icu", account="ward 2")
    assert not ward.server.may("ward 2")
    assert not ward.server.may("icu")


def test_an_older_or_foreign_export_is_not_taken(ward: Ward, tmp_path: Path) -> None:
    export = ward.keys.path / EXPORT
    old = export.read_bytes()
    ward.administer("icu", Turn.REVOKE)
    ward.server.look()
    for data in (old, b"", b"junk" * 100):
        export.write_bytes(data)
        os.utime(export, ns=(len(data), len(data)))
        assert not ward.server.look()
    assert codes(ward).count("auth.export") == 3
    assert not ward.server.end.allowed("icu")
    with pytest.raises(UsageError):
        ward.serve()
    export.write_bytes(old)
    with pytest.raises(UsageError, match="went back"):
        ward.serve()


def test_rotation_takes_over_where_the_new_key_authenticates(ward: Ward) -> None:
    ward.meet()
    ward.exchange(1)
    with closing(ward.registrar.open()) as registry:
        token = registry.rotate("icu", 9, act(), os.urandom)
        place = Place(ward.keys, "icu", "g00000")
        from wardround.drivers.nats.enrolling import answer

        place.take(answer(registry, place.ask(token.text(), serves=False)))
        ward.registrar.export(registry)
    ward.server.look()
    ward.exchange(2)  # the old key still works
    ward.gates["icu"] = ward.join("icu")
    assert ward.gates["icu"].session == b""
    ward.meet()
    ward.exchange(3)


def test_a_new_epoch_of_the_server_begins_with_a_handshake(ward: Ward) -> None:
    ward.meet()
    ward.exchange(1)
    (ward.keys.path / "server.key").unlink()
    from wardround.drivers.nats.enrolling import server_key
    from wardround.drivers.store.member_keys import server_public

    server_key(ward.keys, SUITES[1])
    public = server_public((ward.keys.path / "server.pub").read_text(), SUITES[1])
    with closing(ward.registrar.open()) as registry:
        registry.publish(public, (2, 9), act())
        ward.registrar.export(registry)
    ward.serve()
    assert not ward.server.may("icu")
    ward.meet()  # the invitation brings the new key, signed and linked to the old one
    ward.exchange(2)
    ward.gates["icu"] = ward.join("icu")
    ward.exchange(3)


def test_a_forged_invitation_changes_nothing(ward: Ward, tmp_path: Path) -> None:
    ward.meet()
    other = tmp_path / "other"
    other.mkdir()
    foreign = Ward(other).server._descriptor
    for descriptor in (foreign, b"junk", ward.server._descriptor[:-1]):
        with pytest.raises(RemoteProtocolError):
            ward.gates["icu"].invited(Invitation(descriptor))
    ward.exchange(1)


def test_a_full_disk_stops_what_depends_on_it(ward: Ward) -> None:
    ward.meet()
    record, data = ward.tell(1)
    gate = ward.gates["icu"]
    gate.open(record, data)

    def full(data: bytes) -> None:
        raise DiskError("full")

    kept, gate._save = gate._save, full
    with pytest.raises(DiskError):
        gate.seal(b"answer")
    gate._save = kept
    assert ward.server.opened("icu", 1, gate.seal(b"answer")) == b"answer"


def test_the_list_of_authenticated_devices_grows_once_each(ward: Ward, tmp_path: Path) -> None:
    path = tmp_path / "authenticated.txt"
    for _ in range(2):
        ward.server.authenticated = Authenticated(path).add
        ward.meet()
        ward.meet()
    assert path.read_text().split() == [ward.gates["icu"].end.identity.device_id.hex()]


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=3000), at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_whatever_arrives_is_refused_with_our_own_errors(
    data: bytes, at: int, flip: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ward = _shared(tmp_path_factory)
    state = (ward.server.end.to_bytes(), ward.gates["icu"].end.to_bytes())
    record, body = ward.told  # type: ignore[attr-defined]
    changed = bytearray(record)
    changed[at % len(record)] ^= flip
    attempts: tuple[Callable[[], object], ...] = (
        lambda: ward.gates["icu"].open(data, body),
        lambda: ward.gates["icu"].open(bytes(changed), body),
        lambda: ward.gates["icu"].open(record, data),
        lambda: ward.gates["icu"].replied(KnockReply(data, False)),
        lambda: ward.gates["icu"].invited(Invitation(data or b"x")),
        lambda: ward.server.opened("icu", 1, data),
    )
    for attempt in attempts:
        with pytest.raises(ProtocolError):
            attempt()
    assert ward.server.knock("icu", data)[0].refused
    assert (ward.server.end.to_bytes(), ward.gates["icu"].end.to_bytes()) == state


_WARDS: list[Ward] = []


def _shared(factory: pytest.TempPathFactory) -> Ward:
    if not _WARDS:
        ward = Ward(factory.mktemp("ward"))
        ward.meet()
        ward.told = ward.tell(1)  # type: ignore[attr-defined]
        ward.gates["icu"].open(*ward.told)  # type: ignore[attr-defined]
        _WARDS.append(ward)
    return _WARDS[0]
