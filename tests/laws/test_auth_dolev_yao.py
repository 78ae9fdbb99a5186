"""The network is the attacker (Dolev and Yao, 1983), on the real machines.

It starts handshakes, delivers, replays, cross-delivers, splices and flips every message, owns an enrolled device, knows
pre-shared keys, knows a device's seed (key-compromise impersonation) and has devices revoked. Invariants: matching
conversations byte for byte, injectivity, unique keys, revoked devices are out, refused messages change nothing.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wardround.auth.handshake import messages
from wardround.auth.handshake.initiator import Initiator, State
from wardround.auth.handshake.messages import Params
from wardround.auth.handshake.symmetric import SymmetricState
from wardround.auth.identity import DeviceIdentity, Memory
from wardround.auth.in_memory import FEDERATION, Seeded, world
from wardround.auth.record import Update, open_update, seal_update
from wardround.auth.session import Session
from wardround.auth.suites import SUITES
from wardround.auth.trust import State as Trust
from wardround.errors import ProtocolError

SUITE = SUITES[1]
INDEX = st.integers(0, 10**6)
MODE = st.sampled_from(["as it is", "as it is", "as it is", "flip", "splice", "cut"])
OWNED = 2  # the attacker's own enrolled device


class DolevYao(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.w = world(3, SUITE, Seeded("dolev yao"))
        self.net: dict[int, list[bytes]] = {1: [], 2: [], 3: [], 4: []}
        self.running: list[tuple[int, Initiator, bytes]] = []
        self.answered: set[tuple[bytes, bytes]] = set()  # (M1 without cookie, M2) as the server made them
        self.device_accepts: dict[bytes, tuple[bytes, bytes, bytes, Session]] = {}
        self.server_accepts: list[tuple[bytes, bytes, bytes, bytes]] = []
        self.sealed: dict[bytes, bytes] = {}
        self.revoked: set[bytes] = set()

    # --- what the attacker does with messages

    def changed(self, kind: int, k: int, mode: str, p: int, k2: int) -> bytes:
        pool = self.net[kind]
        data = pool[k % len(pool)]
        at = p % len(data)
        if mode == "flip":
            return data[:at] + bytes([data[at] ^ (1 << (k2 % 8))]) + data[at + 1 :]
        if mode == "splice":
            return data[:at] + pool[k2 % len(pool)][at:]
        return data[:at] if mode == "cut" else data

    @rule(d=st.integers(0, 2))
    def start(self, d: int) -> None:
        initiator = Initiator(self.w.devices[d], Memory())
        m1 = self.w.hello(initiator)
        self.net[1].append(m1)
        self.running.append((d, initiator, m1))

    @precondition(lambda self: self.net[1])
    @rule(k=INDEX, mode=MODE, p=INDEX, k2=INDEX)
    def deliver_to_server(self, k: int, mode: str, p: int, k2: int) -> None:
        data = self.changed(1, k, mode, p, k2)
        pending, live = self.w.server.pending, len(self.w.book)
        try:
            m2 = self.w.to_server(data)
        except ProtocolError:
            assert (self.w.server.pending, len(self.w.book)) == (pending, live)
            return
        self.net[2].append(m2)
        self.answered.add((data[:-16], m2))

    @precondition(lambda self: self.net[2] and self.running)
    @rule(i=INDEX, k=INDEX, mode=MODE, p=INDEX, k2=INDEX, near=st.booleans())
    def deliver_to_device(self, i: int, k: int, mode: str, p: int, k2: int, near: bool) -> None:
        d, initiator, m1 = self.running[-1 - i % min(3, len(self.running))]
        if initiator.state is not State.AWAIT_REPLY:
            return
        data = self.changed(2, -1 - k % min(3, len(self.net[2])) if near else k, mode, p, k2)
        before = initiator.to_bytes()
        try:
            step = initiator.receive(data)
        except ProtocolError:
            assert initiator.to_bytes() == before
            return
        assert (m1[:-16], data) in self.answered  # the server answered exactly this M1 with exactly this M2
        assert step.done is not None
        assert step.send is not None
        assert step.done.transcript not in self.device_accepts
        self.device_accepts[step.done.transcript] = (
            self.w.devices[d].device_id, step.done.root, step.send, step.done,
        )  # fmt: skip
        self.net[3].append(step.send)

    @precondition(lambda self: self.net[3])
    @rule(k=INDEX, mode=MODE, p=INDEX, k2=INDEX, near=st.booleans())
    def confirm(self, k: int, mode: str, p: int, k2: int, near: bool) -> None:
        data = self.changed(3, -1 - k % min(3, len(self.net[3])) if near else k, mode, p, k2)
        live = sorted(s.session_id for s in self.w.book)
        try:
            done = self.w.server.receive(data, b"", 0.0, self.w.entropy).done
        except ProtocolError:
            assert sorted(s.session_id for s in self.w.book) == live
            return
        assert done is not None
        self.server_accepts.append((done.device_id, done.transcript, done.root, data))

    @rule(d=st.integers(0, 2))
    def honest_run(self, d: int) -> None:
        identity = self.w.devices[d]
        if identity.device_id in self.revoked:
            return
        ours, theirs, sent = self.w.handshake(d)
        self.answered.add((sent[0][:-16], sent[1]))
        self.device_accepts[ours.transcript] = (identity.device_id, ours.root, sent[2], ours)
        self.server_accepts.append((theirs.device_id, theirs.transcript, theirs.root, sent[2]))
        for kind, data in enumerate(sent, 1):
            self.net[kind].append(data)

    @precondition(lambda self: self.device_accepts)
    @rule(k=INDEX, payload=st.binary(max_size=8))
    def seal_record(self, k: int, payload: bytes) -> None:
        session = list(self.device_accepts.values())[k % len(self.device_accepts)][3]
        if session.sealed_round == session.round:
            return
        record = seal_update(session, bytes(32), Update(payload))
        self.sealed[record] = session.transcript
        self.net[4].append(record)

    @precondition(lambda self: bool(self.net[4]) and len(self.w.book) > 0)
    @rule(k=INDEX, s=INDEX, mode=MODE, p=INDEX, k2=INDEX)
    def deliver_record(self, k: int, s: int, mode: str, p: int, k2: int) -> None:
        record = self.changed(4, k, mode, p, k2)
        sessions = list(self.w.book)
        session = sessions[s % len(sessions)]
        try:
            open_update(session, bytes(32), record)
        except ProtocolError:
            return
        assert self.sealed[record] == session.transcript  # one accepted record is one sealed in this very session

    # --- what the attacker is besides the network

    @rule(d=st.integers(0, 1), psk_known=st.booleans())
    def impersonate_a_device(self, d: int, psk_known: bool) -> None:
        """The attacker's own enrolled key, the victim's id, and perhaps the victim's psk (a stolen registry)."""
        victim, own = self.w.devices[d], self.w.devices[OWNED]

        class Forged(DeviceIdentity):
            device_id = victim.device_id

        psk = victim.psk if psk_known else own.psk
        initiator = Initiator(Forged(SUITE, FEDERATION, own.key, psk, victim.server_public), Memory())
        try:
            m2 = self.w.to_server(self.w.hello(initiator))
        except ProtocolError:
            assert not psk_known or victim.device_id in self.revoked
            return
        assert psk_known
        assert victim.device_id not in self.revoked
        # the attacker follows the protocol as far as it can: everything but the victim's decapsulation
        m3 = self._finish_without_the_device_key(initiator, victim, m2)
        try:
            self.w.server.receive(m3, b"", 0.0, self.w.entropy)
        except ProtocolError:
            return
        raise AssertionError("a device was impersonated without its key")

    def _finish_without_the_device_key(self, initiator: Initiator, victim: DeviceIdentity, m2: bytes) -> bytes:
        reply = messages.parse_reply(SUITE, m2)
        assert initiator._symmetric is not None
        assert initiator._ephemeral is not None
        state = initiator._symmetric.copy()
        state.mix_hash(reply.header)
        state.mix_hash(reply.to_ephemeral)
        state.mix_key(initiator._ephemeral.decapsulate(reply.to_ephemeral))
        state.mix_hash(reply.to_device)
        state.mix_key(bytes(32))  # what it cannot know
        state.mix_hash(victim.key.public)
        state.mix_key_and_hash(victim.psk)
        state.counter += 1
        state.mix_hash(reply.sealed_params)
        return _confirm(state, reply.server_sid)

    @rule(d=st.integers(0, 2))
    def impersonate_the_server(self, d: int) -> None:
        """Key-compromise impersonation: the attacker knows the device's seed and psk, not the server's key."""
        victim = self.w.devices[d]
        initiator = Initiator(victim, Memory())
        m1 = messages.parse_hello(SUITE, self.w.hello(initiator))
        state = SymmetricState.start(SUITE, FEDERATION, victim.server_public)
        for part in (m1.header, m1.ephemeral, m1.ciphertext):
            state.mix_hash(part)
        state.mix_key(bytes(32))  # what it cannot know
        state.mix_hash(m1.sealed_id)
        state.mix_hash(m1.psk_mac)
        header = messages.reply_header(SUITE, b"attacker", m1.sid)
        state.mix_hash(header)
        out = header
        for public in (m1.ephemeral, victim.key.public):
            secret, ciphertext = SUITE.kem.load(public).encapsulate(self.w.entropy)
            state.mix_hash(ciphertext)
            state.mix_key(secret)
            out += ciphertext
        state.mix_hash(victim.key.public)
        state.mix_key_and_hash(victim.psk)
        try:
            initiator.receive(out + state.seal(Params(9, 9, 9, bytes(32), bytes(16)).build()))
        except ProtocolError:
            return
        raise AssertionError("the server was impersonated without its key")

    @precondition(lambda self: len(self.server_accepts) > 2)
    @rule(d=st.integers(0, 1))
    def revoke(self, d: int) -> None:
        device_id = self.w.devices[d].device_id
        self.w.roster.set_state(device_id, Trust.REVOKED)
        self.w.server.cut(device_id)
        self.revoked.add(device_id)

    # --- what must hold

    @invariant()
    def agreement(self) -> None:
        transcripts = [t for _, t, _, _ in self.server_accepts]
        assert len(transcripts) == len(set(transcripts))  # injective
        assert len({root for _, _, root, _ in self.server_accepts}) == len(self.server_accepts)
        owned = self.w.devices[OWNED].device_id
        for device_id, transcript, root, m3 in self.server_accepts:
            if device_id != owned:
                assert self.device_accepts[transcript][:3] == (device_id, root, m3)

    @invariant()
    def the_revoked_are_out(self) -> None:
        assert not {s.device_id for s in self.w.book} & self.revoked


def _confirm(state: SymmetricState, server_sid: bytes) -> bytes:
    from wardround.auth.handshake.symmetric import confirmation

    header = messages.confirm_header(SUITE, server_sid)
    state.mix_hash(header)
    split = state.split()
    return header + state.seal(confirmation(SUITE, split, state.h))


TestDolevYao = DolevYao.TestCase
TestDolevYao.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
