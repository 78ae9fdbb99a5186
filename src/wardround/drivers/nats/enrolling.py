"""A gateway's enrolment in its federation's key folder, and the lab's short cut where all parties are on one machine.

    KEYS/federation.anchor   public, from the registrar          KEYS/TOKEN.nk     key towards the broker
    KEYS/TOKEN.id            identity (store/member_keys.py)      KEYS/TOKEN.enrolment   while the answer is awaited
    KEYS/server.key .pub     the coordinator's KEM key            KEYS/roster.export     the registrar's signed export

``TOKEN`` is the gateway's number in the roster (g00000). The gateway makes every key itself; E1 carries the public halves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wardround.auth.credential import FOREVER, Anchor
from wardround.auth.enrolment import Enrolment, Token
from wardround.auth.suites import Suite
from wardround.drivers.nats.keys import KeyFolder, keep_seed, new_key, public_of
from wardround.drivers.parties.identities import enrolled
from wardround.drivers.store.export import ANCHOR, EXPORT, read_anchor
from wardround.drivers.store.member_keys import (
    ANSWER,
    REQUEST,
    Gateway,
    PendingBytes,
    armour,
    make_server_key,
    read_pending,
    server_public,
    unarmour,
    write_identity,
    write_pending,
)
from wardround.drivers.store.registrar import Registrar, Wish, act
from wardround.drivers.store.registry import Registry
from wardround.drivers.store.rundir import write_atomic
from wardround.errors import RemoteProtocolError, UsageError

FIRST_EPOCH = 1


@dataclass(frozen=True)
class Place:
    """One gateway's (or committee member's) place in a key folder: ``name`` as enrolled, ``owner`` as in file names."""

    keys: KeyFolder
    name: str
    owner: str
    passphrase: str = field(default="", repr=False)

    @property
    def identity_file(self) -> Path:
        return self.keys.path / f"{self.owner}.id"

    @property
    def pending_file(self) -> Path:
        return self.keys.path / f"{self.owner}.enrolment"

    @property
    def anchor(self) -> Anchor:
        """The federation's anchor.

        Raises:
            UsageError: it is missing or damaged.
        """
        return read_anchor(self.keys.path / ANCHOR)

    def gateway(self) -> Gateway:
        """The enrolled gateway.

        Raises:
            UsageError: it is not enrolled here.
        """
        return enrolled(self.keys.path, self.name, self.owner, self.passphrase)

    def ask(self, token: str, serves: bool) -> str:
        """Make the keys; the request for the registrar as one word.

        Raises:
            UsageError: the token is not one of this federation, or an enrolment is under way.
        """
        if self.pending_file.exists():
            raise UsageError(
                f"an enrolment of {self.name} is under way: give its answer with --answer, or delete {self.pending_file}"
            )
        machine = Enrolment(self.anchor, Token.parse(token))
        has_one = self.keys.seed_file(self.owner).exists()  # a rotation keeps it: the broker need not hear of it
        broker_seed = self.keys.seed(self.owner) if has_one else new_key()[0]
        request = machine.ask(os.urandom, serves, public_of(broker_seed))
        write_pending(self.pending_file, PendingBytes(self.name, machine.to_bytes(), broker_seed), self.passphrase)
        return armour(REQUEST, request)

    def again(self) -> str:
        """The request of the enrolment that is under way, once more.

        Raises:
            UsageError: none is.
        """
        return armour(REQUEST, read_pending(self.pending_file, self.anchor, self.passphrase)[1].again())

    def take(self, answer: str) -> Gateway:
        """The registrar's answer: write the identity and the key towards the broker.

        Raises:
            UsageError: it is no answer to this request, or for another name.
        """
        pending, machine = read_pending(self.pending_file, self.anchor, self.passphrase)
        try:
            enrolled = machine.receive(unarmour(ANSWER, answer))
        except RemoteProtocolError as error:
            raise UsageError(
                f"this is not the registrar's answer to the request that was made here: {error}"
            ) from error
        if enrolled.credential.name != self.name:
            raise UsageError(f"the token was issued to {enrolled.credential.name!r}, not to {self.name!r}")
        keep_seed(self.keys, self.owner, pending.broker_seed)
        write_identity(self.identity_file, enrolled, self.passphrase)
        self.pending_file.unlink()
        return self.gateway()


def answer(registry: Registry, request: str) -> str:
    """The registrar's side: E2 for E1, as one word.

    Raises:
        UsageError: it is not a request.
        AuthError: the token is not good (any more).
    """
    return armour(ANSWER, registry.enrol(unarmour(REQUEST, request), registry.epoch(), act(), os.urandom))


def server_key(keys: KeyFolder, suite: Suite, passphrase: str = "") -> list[Path]:
    """The coordinator's KEM key where there is none yet; the files made."""
    secret, public = keys.path / "server.key", keys.path / "server.pub"
    if secret.exists():
        return []
    keys.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(public, (make_server_key(secret, suite, os.urandom, passphrase) + "\n").encode())
    return [secret, public]


@dataclass(frozen=True)
class Lab:
    """All parties on one machine: registrar, coordinator and every gateway; for trying out, and for tests."""

    registrar: Registrar
    keys: KeyFolder
    name: str
    suite: Suite

    def enrol_all(self, members: Sequence[tuple[str, str]]) -> Iterator[Path]:
        """Make what is missing for (name, owner) each; gives the files made."""
        registry = self._registry()
        try:
            yield from self._server(registry)
            fresh = [each for each in members if not (self.keys.path / f"{each[1]}.id").exists()]
            for name, owner in fresh:
                token = registry.issue_token(name, FOREVER, act(), os.urandom)
                site = Place(self.keys, name, owner)
                site.take(answer(registry, site.ask(token.text(), serves=True)))
                yield site.identity_file
            self.registrar.export(registry)
        finally:
            registry.close()

    def _registry(self) -> Registry:
        if self.registrar.anchor_file.exists():
            return self.registrar.open()
        export = os.path.relpath((self.keys.path / EXPORT).resolve(), self.registrar.path.resolve())
        return self.registrar.create(Wish(self.name, self.suite, exports=(export,)), "")

    def _server(self, registry: Registry) -> Iterator[Path]:
        self.keys.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        anchor = self.keys.path / ANCHOR
        if not anchor.exists():
            write_atomic(anchor, self.registrar.anchor_file.read_bytes())
            yield anchor
        yield from server_key(self.keys, self.suite)
        if not registry.descriptor():
            public = server_public((self.keys.path / "server.pub").read_text(encoding="ascii"), self.suite)
            registry.publish(public, (FIRST_EPOCH, FOREVER), act())
