"""One message at a part of a node (its client, its seat on the committee) where keys are in play: layers 1 and 2.

    NODE'S STATE/TOKEN/state.db   "auth": the session, "handshake": one under way, "client RUN": the machine; mode 0600
    NODE'S KEYS/TOKEN.id ...      identities from enrolment; mode 0600, or under WARDROUND_PASSPHRASE

Flower starts a process for each message, so a part is made from its files, answers, and is gone. Law: what is said was stored
before; nothing of it is ever in Flower's Context, which the SuperNode holds and the SuperLink could ask for.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from wardround.auth.choice import NoAuth
from wardround.config import Experiment
from wardround.drivers.flower import frames
from wardround.drivers.flower.settings import NodeSettings, RunSettings, fingerprint
from wardround.drivers.flower.site import names, site
from wardround.drivers.parties.identities import device, passphrase
from wardround.drivers.parties.machines import Seated, gateway
from wardround.drivers.parties.names import parts, signs
from wardround.drivers.parties.secured import DeviceGuard, Invitation, KnockReply
from wardround.drivers.parties.securing import Securing
from wardround.drivers.store.state import DiskError, State
from wardround.errors import RemoteProtocolError, UsageError
from wardround.events import ignore
from wardround.federation.answering import Answering
from wardround.wire import decode, encode

WAIT_S = 300.0  # for another message's process that has the same part in hand


@dataclass(frozen=True)
class Node:
    """What a node knows of itself for one message."""

    experiment: Experiment
    run: RunSettings
    settings: NodeSettings

    def __post_init__(self) -> None:
        for name in ("state", "keys"):
            if not getattr(self.settings, name):
                raise UsageError(
                    f"{name} is missing: with [auth] or [secagg] a node needs folders of its own; "
                    f"""flower-supernode --node-config 'state="DIR" keys="DIR"'"""
                )

    @cached_property
    def names(self) -> tuple[str, ...]:
        return names(self.experiment, self.run, self.settings)

    @property
    def who(self) -> str:
        """Its own name, by which the federation knows it."""
        index = self.settings.partition_id
        return self.names[index] if 0 <= index < len(self.names) else self.settings.member

    def answer(self, asked: frames.Request, knock: bool) -> bytes:
        """What the part that is asked says.

        Raises:
            UsageError: no such part, a key is missing, the disk is full. RemoteProtocolError: refused.
        """
        its = parts(self.experiment, self.names, self.who)
        if asked.peer not in its:
            raise UsageError(f"{asked.peer!r} is not here: this node is {self.who!r}")
        owner = its[asked.peer]
        try:
            with closing(State(Path(self.settings.state).expanduser() / owner, WAIT_S)) as state:
                guard = self._guard(state, asked.peer, owner)
                return _knocked(guard, state, asked.body) if knock else self._answer(guard, state, owner, asked)
        except DiskError as error:
            raise UsageError(f"{self.settings.state} cannot be written: {error}; free some space") from error

    def _answer(self, guard: DeviceGuard | None, state: State, owner: str, asked: frames.Request) -> bytes:
        body = asked.body if guard is None else guard.open(asked.record, asked.body)
        kept = f"client {asked.run}"
        machine = self._machine(owner, asked, state.load(kept))
        found = machine.answer(body)
        state.save(kept, machine.to_bytes())
        with suppress(DiskError):  # another run's state stays a little longer
            state.forget("client ", kept)
        return found if guard is None else guard.seal(found)

    def _guard(self, state: State, peer: str, owner: str) -> DeviceGuard | None:
        if isinstance(self.experiment.auth, NoAuth):
            return None
        end = device(self._keys, peer, owner, signs(self.experiment), passphrase())
        return DeviceGuard(end, state.load("auth"), partial(state.save, "auth"), ignore)

    def _machine(self, owner: str, asked: frames.Request, saved: bytes | None) -> Answering:
        agreed = fingerprint(self.experiment, self.names)
        securing = Securing.of(self.experiment, agreed, self.names, self._keys, passphrase())
        if securing is not None:
            for seat in securing.seats_of(self.who):
                if seat.token == owner:
                    return securing.member(seat, asked.run, saved)
        place = site(self.experiment, self.run, self.settings)
        who = Seated(self.settings.partition_id, self.who, securing)
        return gateway(place, self.experiment.seed, who, asked.run, saved)

    @property
    def _keys(self) -> Path:
        return Path(self.settings.keys).expanduser()


def _knocked(guard: DeviceGuard | None, state: State, body: bytes) -> bytes:
    """The handshake's next message."""
    if guard is None:
        raise RemoteProtocolError("no handshake: [auth] is off")
    asked: Invitation | KnockReply = decode(body, Invitation, KnockReply)  # type: ignore[assignment]
    guard.end.take_up(state.load("handshake") or b"")
    data = guard.invited(asked) if isinstance(asked, Invitation) else guard.replied(asked)
    state.save("handshake", guard.end.handshake())
    return encode(frames.Knock(data))
