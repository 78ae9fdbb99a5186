"""Layer 1 in the simulated round: every client of the federation and the server, the real machines, in memory.

    open(exchange, asks)     who has no session authenticates (M1, M2, M3); each is told of its ask in a sealed record
    seal / carry / receive   an answer travels as the one record of its device and round, and counts once

Long-term keys come from the experiment's seed. Encapsulations do not (the library draws their coins), so no number that a run
reports depends on them: sizes are fixed. A resumed run authenticates anew where an undisturbed one would have gone on, at no
cost in its counted bytes. What is left out: the body that is the same for many clients is opened once, not by each.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from wardround.arrays import I64
from wardround.auth.broadcast import open_body
from wardround.auth.choice import MlKem768, MlKem1024, XWing
from wardround.auth.device_end import DeviceEnd
from wardround.auth.identity import ServerIdentity
from wardround.auth.in_memory import FEDERATION, UNHURRIED, Seeded, device, entry
from wardround.auth.roster import Roster
from wardround.auth.server_end import ServerEnd
from wardround.auth.session import Session
from wardround.auth.trust import Standing, State, TrustPolicy, Turn, Verdict, observe
from wardround.crypto.sign import ML_DSA_65, SEED_BYTES
from wardround.errors import RemoteProtocolError, UsageError
from wardround.events import Event, Note
from wardround.wire import decode, encode, message

NEVER = -1
RUN = ("simulation", 1, 0)


@message(0x4710)
@dataclass(frozen=True, eq=False)
class Resumed:
    """What a resumed run must know: [clients, 2] first and last healed round of each session (NEVER: none), standings."""

    sessions: I64
    standings: tuple[Standing, ...]


@dataclass(frozen=True)
class Asked:
    """One message of an exchange: its encoded ``body`` and who gets it."""

    peers: Sequence[str]
    body: bytes


@dataclass
class Tolls:
    """What layer 1 adds to an exchange: bytes, handshakes, refusals."""

    up: int = 0
    down: int = 0
    handshakes: int = 0
    refused: int = 0


@dataclass
class Authenticated:
    """The federation's layer 1. ``policy`` says when verdicts move a client."""

    choice: XWing | MlKem768 | MlKem1024
    names: Sequence[str]
    seed: int
    policy: TrustPolicy = field(default_factory=TrustPolicy)

    def __post_init__(self) -> None:
        suite, tape = self.choice.suite, Seeded(f"simulated layer 1 {self.seed}")
        identity = ServerIdentity(suite, FEDERATION, suite.kem.key(tape(suite.kem.seed_bytes)))
        devices = [device(suite, identity.key.public, tape) for _ in self.names]
        signs = self.choice.signed_update
        signers = [ML_DSA_65.key(tape(SEED_BYTES)) if signs else None for _ in self.names]
        rows = list(zip(devices, self.names, signers, strict=True))
        roster = Roster(suite, (entry(d, name, s.verifier.data if s else b"") for d, name, s in rows))
        self._server = ServerEnd.begin(identity, roster, RUN, tape, UNHURRIED)
        self._server.signed = signs
        self._ends = {name: DeviceEnd(d, signer=signer) for d, name, signer in rows}
        self._index = {name: i for i, name in enumerate(self.names)}
        self._standings = [Standing() for _ in self.names]
        self._went: dict[str, tuple[int, int]] = {}
        self._falls = _schedule(self.choice.revoke, self._index)
        self._tolls = Tolls()
        self._events: list[Event] = []

    # --- who takes part

    def state(self, peer: str) -> State:
        """The client's standing."""
        return self._standings[self._index[peer]].name

    def weight(self, peer: str) -> float:
        """What its update counts: 1, 0.5 on probation, 0 else."""
        return self._server.roster.weight(self._ends[peer].identity.device_id)

    def takes_part(self, peer: str, round_: int) -> bool:
        """Whether it is invited to a training round: one on probation to every second (weight 1/2, under a secure sum too)."""
        state = self.state(peer)
        if state is State.PROBATION:
            return (round_ + self._index[peer]) % 2 == 0
        return state is State.ACTIVE

    def judge(self, peer: str, verdict: Verdict) -> Turn | None:
        """Evidence from another room; the turn it caused, which takes effect at once."""
        at = self._index[peer]
        standing, turn = observe(self.policy, self._standings[at], verdict)
        self._standings[at] = standing
        if turn is not None:
            self._server.set_state(peer, standing.name)
            self._events.append(Note("trust.turn", f"{peer} is {standing.state}: {turn.value} ({verdict.source})"))
        return turn

    def revoke(self, peer: str) -> None:
        """Cut a client off for good, now."""
        self._standings[self._index[peer]] = Standing(State.REVOKED.value)
        self._server.set_state(peer, State.REVOKED)
        self._events.append(Note("trust.turn", f"{peer} is revoked: operator revokes (scenario)"))

    def fall(self, round_: int) -> None:
        """The scenario's revocations of a training round, once its asks are out."""
        for peer in self._falls.get(round_, ()):
            if self.state(peer) is not State.REVOKED:
                self.revoke(peer)

    # --- the exchange

    def open(self, exchange: int, asks: Sequence[Asked]) -> frozenset[str]:
        """Authenticate who needs it and tell each of its ask; gives those who know of it."""
        self._server.turn(exchange)
        told = set()
        for ask in asks:
            sealed, key, digest = self._server.body(exchange, ask.body)
            open_body(key, digest, self._server.position(exchange), sealed)
            for peer in ask.peers:
                try:
                    record = self._told(peer, digest, key)
                except RemoteProtocolError:
                    self._tolls.refused += 1
                    continue
                self._tolls.down += len(sealed) - len(ask.body) + len(record)
                told.add(peer)
        return frozenset(told)

    def seal(self, peer: str, payload: bytes) -> bytes:
        """The client's record of this exchange (each client's own state only, so threads may seal for different clients)."""
        return self._ends[peer].seal(payload, os.urandom)

    def receive(self, peer: str, record: bytes) -> bytes | None:
        """What the record holds, counted once; None where it is refused."""
        try:
            return self._server.open(peer, record).data
        except RemoteProtocolError:
            self._tolls.refused += 1
            return None

    def carry(self, peer: str, payload: bytes) -> bytes | None:
        """``seal`` and ``receive``; the record's extra bytes are counted here."""
        record = self.seal(peer, payload)
        self._tolls.up += len(record) - len(payload)
        return self.receive(peer, record)

    def take(self) -> tuple[Tolls, tuple[Event, ...]]:
        """What this exchange cost and what happened, and begin to count anew."""
        tolls, events = self._tolls, tuple(self._events)
        self._tolls, self._events = Tolls(), []
        return tolls, events

    # --- resuming

    def to_bytes(self) -> bytes:
        rows = np.full((len(self.names), 2), NEVER, dtype=np.int64)
        for name, at in self._index.items():
            session = self._session(name)
            if session is not None:
                rows[at] = session.first_round, session.healed_round
            elif name in self._went:
                rows[at] = self._went[name]
        return encode(Resumed(rows, tuple(self._standings)))

    def restore(self, data: bytes) -> None:
        """Go on from ``to_bytes``.

        Raises:
            DecodeError: damaged bytes.
        """
        packed = decode(data, Resumed)
        self._standings = list(packed.standings)
        for name, row, standing in zip(self.names, packed.sessions.tolist(), packed.standings, strict=True):
            if row[0] != NEVER:
                self._went[name] = row[0], row[1]
            if standing.name is not State.ACTIVE:
                self._server.set_state(name, standing.name)

    # --- private

    def _told(self, peer: str, digest: bytes, key: bytes) -> bytes:
        if not self._server.live(peer):
            self._handshake(peer)
        record = self._server.seal(peer, digest, key, os.urandom)
        self._ends[peer].hear(record)
        return record

    def _handshake(self, peer: str) -> None:
        end, went = self._ends[peer], self._went.pop(peer, None)
        m1 = end.invited(b"", 0.0, os.urandom)
        m2 = self._server.knock(peer, m1, 0.0, os.urandom)
        m3 = end.reply(m2)
        self._server.knock(peer, m3, 0.0, os.urandom)
        if went is not None:  # an undisturbed run would have gone on with its session: the same ages, nothing counted
            for session in (end.session, self._session(peer)):
                if session is not None:
                    session.first_round, session.healed_round = went
            if self._server.live(peer):
                return
        self._tolls.handshakes += 1
        self._tolls.up += len(m1) + len(m3)
        self._tolls.down += len(m2)

    def _session(self, peer: str) -> Session | None:
        return self._server.book.of_device(self._ends[peer].identity.device_id)


def _schedule(revoke: Sequence[str], index: dict[str, int]) -> dict[int, tuple[str, ...]]:
    """Training round -> clients that are revoked in its middle.

    Raises:
        UsageError: a name that no client has.
    """
    falls: dict[int, tuple[str, ...]] = {}
    for each in revoke:
        name, _, round_ = each.rpartition("@")
        if name not in index:
            raise UsageError(f"[auth] revoke names {name!r}, which no client is called; there are {', '.join(index)}")
        falls[int(round_)] = (*falls.get(int(round_), ()), name)
    return falls
