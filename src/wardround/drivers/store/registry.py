"""The registrar's registry: tokens, devices, standings, descriptors, and the audit log, in one database.

The registrar is a role of its own: it runs apart from the aggregation server and hands it signed exports (``export``), so a
server that is broken into can enrol nobody. Laws: every change is one transaction together with its audit entry (none
without the other); the version and the revocation epoch never fall; a token answers one request; ``verify`` finds any
standing that was changed behind the audit log's back.

Time and entropy are arguments here too; who calls gives the operator's name as ``actor``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, select, update

from wardround.auth import credential as objects
from wardround.auth import enrolment
from wardround.auth.credential import Anchor, Credential, Descriptor, RevocationList
from wardround.auth.enrolment import TOKEN_TRANSITIONS, Issuing, Token, TokenEvent, TokenState
from wardround.auth.identity import PSK_BYTES, device_id
from wardround.auth.roster import EntryBytes, RosterBytes
from wardround.auth.signers import listed
from wardround.auth.trust import Standing, State, TrustPolicy, Turn, Verdict, observe, turned
from wardround.crypto import labels
from wardround.crypto.kem import Entropy
from wardround.drivers.store import registry_audit as audit
from wardround.drivers.store.registry_audit import Head
from wardround.drivers.store.registry_rows import (
    ANCHOR,
    DESCRIPTOR,
    REVOCATIONS,
    VERSION,
    Act,
    Device,
    anchor_of,
    device_of,
    fact,
    find,
    name_taken,
    number,
    standing_of,
)
from wardround.drivers.store.registry_tables import DEVICES, FACTS, METADATA, TOKENS, connect
from wardround.errors import AuthError, DataError, UsageError
from wardround.wire import encode


class Registry:
    """One federation's registry. ``issuing`` may be absent for reading and verifying."""

    def __init__(self, engine: Engine, anchor: Anchor, issuing: Issuing | None = None) -> None:
        self._engine, self.anchor, self._issuing = engine, anchor, issuing
        self.policy = TrustPolicy()

    @classmethod
    def create(cls, url: str, issuing: Issuing, act: Act) -> Registry:
        """A new registry in an empty database.

        Raises:
            UsageError: the database cannot be opened, or holds a registry already.
        """
        engine = connect(url, create=True)
        registry = cls(engine, issuing.anchor, issuing)
        try:
            METADATA.create_all(engine)
            registry._found(act)
        except BaseException:
            engine.dispose()
            raise
        return registry

    @classmethod
    def open(cls, url: str, issuing: Issuing | None = None) -> Registry:
        """The registry in a database.

        Raises:
            UsageError: there is none, or it belongs to another federation than the keys.
        """
        engine = connect(url)
        try:
            anchor = anchor_of(engine)
            if issuing is not None and issuing.anchor != anchor:
                raise UsageError("the registrar's keys belong to another federation than this registry")
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, anchor, issuing)

    def close(self) -> None:
        self._engine.dispose()

    # --- enrolment

    def issue_token(self, name: str, epoch_limit: int, act: Act, entropy: Entropy) -> Token:
        """A one-time token for a gateway called ``name``.

        Raises:
            UsageError: the name is empty, or a device or an open token has it already.
        """
        return self._issue(name, epoch_limit, act, entropy)

    def rotate(self, which: str, epoch_limit: int, act: Act, entropy: Entropy) -> Token:
        """A token for a device's next key; the old key is revoked when the new one has finished its first handshake.

        Raises:
            UsageError: no such device, or it is revoked.
        """
        with self._engine.begin() as connection:
            row = find(connection, which)
        if State(row.state) is State.REVOKED:
            raise UsageError(f"device {row.name} is revoked; issue a fresh token instead")
        return self._issue(row.name, epoch_limit, act, entropy, row.device_id)

    def enrol(self, data: bytes, epoch: int, act: Act, entropy: Entropy) -> bytes:
        """Answer E1 with E2. The same request again gets the same answer.

        Raises:
            DecodeError: not a request, or its keys are not keys.
            AuthError: the token is unknown, used, withdrawn or too old (one refusal), or a proof does not hold.
        """
        issuing = self._keys()
        request, digest = enrolment.open_request(issuing, data)
        with self._change() as connection:
            row = connection.execute(select(TOKENS).where(TOKENS.c.token_id == request.token_id.hex())).first()
            asked = Token(request.token_id, request.secret, 0, bytes(32))
            if row is None or row.secret_hash != asked.secret_hash.hex() or epoch > row.epoch_limit:
                raise AuthError(enrolment.REFUSED)
            if row.state == TokenState.ANSWERED.value and row.request == digest.hex():
                return bytes(row.reply)
            after = TOKEN_TRANSITIONS[TokenState(row.state)].get(TokenEvent.REQUEST)
            if after is None:
                raise AuthError(enrolment.REFUSED)
            descriptor = fact(connection, DESCRIPTOR)
            if descriptor is None or not descriptor.data:
                raise UsageError("no server key was published yet, so a gateway would have nobody to talk to")
            granted = self._credential(connection, row.name, request, epoch)
            psk = entropy(PSK_BYTES)
            reply = enrolment.answer(issuing, request, (granted, bytes(descriptor.data), psk), entropy)
            self._add_device(connection, granted, psk, request.broker)
            where = TOKENS.c.token_id == row.token_id
            changed = {
                "state": after.value,
                "request": digest.hex(),
                "reply": reply,
                "device_id": granted.device_id.hex(),
            }
            connection.execute(update(TOKENS).where(where).values(changed))
            self._note(
                connection, act, ("enrol", granted.device_id.hex(), f"active serial={granted.serial} {row.name}")
            )
            return reply

    def finished(self, device: bytes, act: Act) -> None:
        """A device finished its first handshake: burn its token, and revoke the key that it replaces. Idempotent."""
        with self._change() as connection:
            where = (TOKENS.c.device_id == device.hex()) & (TOKENS.c.state == TokenState.ANSWERED.value)
            row = connection.execute(select(TOKENS).where(where)).first()
            if row is None:
                return
            burnt = TOKEN_TRANSITIONS[TokenState.ANSWERED][TokenEvent.FINISH].value
            connection.execute(update(TOKENS).where(TOKENS.c.token_id == row.token_id).values(state=burnt, reply=b""))
            self._note(connection, act, ("finish", device.hex(), row.token_id))
            if row.replaces:
                old = find(connection, row.replaces)
                if State(old.state) is not State.REVOKED:
                    self._set(connection, old, turned(self.policy, standing_of(old), Turn.REVOKE), act, "replaced")

    def withdraw(self, token_id: str, act: Act) -> None:
        """Make a token worthless.

        Raises:
            UsageError: no such token, or it is used up.
        """
        with self._change() as connection:
            row = connection.execute(select(TOKENS).where(TOKENS.c.token_id == token_id)).first()
            if row is None:
                raise UsageError(f"there is no token {token_id}")
            after = TOKEN_TRANSITIONS[TokenState(row.state)].get(TokenEvent.WITHDRAW)
            if after is None:
                raise UsageError(f"token {token_id} is {row.state} and cannot be withdrawn; revoke the device instead")
            connection.execute(update(TOKENS).where(TOKENS.c.token_id == token_id).values(state=after.value, reply=b""))
            self._note(connection, act, ("withdraw", token_id, row.name))

    # --- standings

    def turn(self, which: str, turn: Turn, act: Act, reason: str = "") -> Device:
        """An operator's turn (quarantine, release, revoke) of the device ``which``: name, id, or the beginning of an id.

        Raises:
            UsageError: no such device, or its state has no such turn.
        """
        with self._change() as connection:
            row = find(connection, which)
            self._set(connection, row, turned(self.policy, standing_of(row), turn), act, reason)
            return device_of(find(connection, row.device_id))

    def observe(self, device: bytes, verdict: Verdict, act: Act) -> Turn | None:
        """Evidence from another room; gives the turn it caused. Only turns enter the audit log."""
        with self._change() as connection:
            row = find(connection, device.hex())
            standing, turn = observe(self.policy, standing_of(row), verdict)
            if turn is None:
                evidence = {"good": standing.good, "bad": standing.bad}
                connection.execute(update(DEVICES).where(DEVICES.c.device_id == row.device_id).values(evidence))
            else:
                self._set(connection, row, standing, act, verdict.source)
            return turn

    # --- what others get

    def publish(self, public: bytes, epochs: tuple[int, int], act: Act) -> bytes:
        """A signed descriptor of the server's key for ``epochs`` (first, last), linked to the one before.

        Raises:
            UsageError: not a key of the federation's suite, or the epochs are not later than the last descriptor's.
        """
        issuing = self._keys()
        with self._change() as connection:
            held = self._descriptor(fact(connection, DESCRIPTOR))
            link = held.link if held else objects.NO_DESCRIPTOR
            if held and epochs[0] <= held.epoch_from:
                raise UsageError(f"the last server key is of epoch {held.epoch_from}; the next one must be later")
            try:
                new = Descriptor(self.anchor.federation, self.anchor.suite, public, *epochs, link)
            except ValueError as error:
                raise UsageError(f"this server key cannot be published: {error}") from error
            signed = objects.sign(issuing.key, new)
            connection.execute(update(FACTS).where(FACTS.c.name == DESCRIPTOR).values(data=signed))
            self._note(connection, act, ("publish", new.link.hex(), f"epochs {epochs[0]} to {epochs[1]}"))
            return signed

    def descriptor(self) -> bytes:
        """The signed descriptor of the server's present key; empty before the first."""
        with self._engine.begin() as connection:
            stored = fact(connection, DESCRIPTOR)
        return bytes(stored.data) if stored else b""

    def epoch(self) -> int:
        """The epoch of the server's present key; 0 before the first."""
        held = self._descriptor_now()
        return held.epoch_from if held else 0

    def export(self) -> bytes:
        """The signed roster for the aggregation server: secret, because of the pre-shared keys."""
        issuing = self._keys()
        with self._change() as connection:
            rows = connection.execute(select(DEVICES).order_by(DEVICES.c.device_id)).all()
            version, revocations = number(connection, VERSION), number(connection, REVOCATIONS)
        packed = tuple(
            EntryBytes(bytes.fromhex(r.device_id), r.name, r.public, r.psk, r.state, r.member, r.broker) for r in rows
        )
        roster = RosterBytes(self.anchor.federation, self.anchor.suite, version, revocations, packed)
        return objects.seal_signed(issuing.key, labels.SIGN_ROSTER, roster)

    def signers(self) -> bytes:
        """The signed list of verification keys: public, for gateways and committee members."""
        issuing = self._keys()
        roster = objects.open_signed(issuing.key.verifier, labels.SIGN_ROSTER, self.export(), RosterBytes)
        listed_now = listed(self.anchor.federation, roster.version, roster.entries)
        return objects.seal_signed(issuing.key, labels.SIGN_SIGNERS, listed_now)

    def revocations(self) -> bytes:
        """The signed revocation list: public, for fog nodes and peers."""
        issuing = self._keys()
        with self._change() as connection:
            where = DEVICES.c.state == State.REVOKED.value
            ids = (
                connection.execute(select(DEVICES.c.device_id).where(where).order_by(DEVICES.c.device_id))
                .scalars()
                .all()
            )
            epoch = number(connection, REVOCATIONS)
        listed = RevocationList(self.anchor.federation, epoch, tuple(bytes.fromhex(i) for i in ids))
        return objects.sign(issuing.key, listed)

    def devices(self) -> list[Device]:
        """All devices in the order of their serials."""
        with self._engine.begin() as connection:
            return [device_of(row) for row in connection.execute(select(DEVICES).order_by(DEVICES.c.serial))]

    def device(self, which: str) -> Device:
        """One device by name, id, or the beginning of its id.

        Raises:
            UsageError: none, or several.
        """
        with self._engine.begin() as connection:
            return device_of(find(connection, which))

    def tokens(self) -> list[tuple[str, str, str]]:
        """(token id, name, state) of all tokens."""
        with self._engine.begin() as connection:
            columns = select(TOKENS.c.token_id, TOKENS.c.name, TOKENS.c.state).order_by(TOKENS.c.token_id)
            return [(row.token_id, row.name, row.state) for row in connection.execute(columns)]

    # --- audit

    def log(self) -> list[audit.Entry]:
        """The audit log, oldest first; not verified."""
        with self._engine.begin() as connection:
            return list(audit.entries(connection))

    def verify(self, expected: Head | None = None) -> Head:
        """Check the chain, the signatures, and that every standing is the last one the log gave it.

        Raises:
            DataError: something does not hold; the text says what and where.
        """
        with self._change() as connection:
            head = audit.verify(connection, self.anchor.issued_by().verifier, expected)
            told = {e.subject: e.detail.split()[0] for e in audit.entries(connection) if e.action in ("enrol", "state")}
            rows = connection.execute(select(DEVICES.c.device_id, DEVICES.c.name, DEVICES.c.state)).all()
            version = number(connection, VERSION)
        if version != head.number:
            raise DataError(f"the audit log ends at entry {head.number}, the registry stands at version {version}")
        for row in rows:
            if told.get(row.device_id) != row.state:
                was = told.get(row.device_id, "never enrolled")
                raise DataError(f"device {row.name} is {row.state}, but by the audit log it is {was}")
        missing = set(told) - {row.device_id for row in rows}
        if missing:
            raise DataError(f"device {min(missing)[:16]} is in the audit log, but not in the registry")
        return head

    # --- private

    @contextmanager
    def _change(self) -> Iterator[Connection]:
        """One transaction; on PostgreSQL the version's row is the lock that SQLite's BEGIN IMMEDIATE is."""
        with self._engine.begin() as connection:
            connection.execute(select(FACTS).where(FACTS.c.name == VERSION).with_for_update())
            yield connection

    def _found(self, act: Act) -> None:
        with self._change() as connection:
            if fact(connection, ANCHOR) is not None:
                raise UsageError("this database holds a registry already; name another one")
            for name, data in ((ANCHOR, encode(self.anchor)), (DESCRIPTOR, b""), (VERSION, b""), (REVOCATIONS, b"")):
                connection.execute(FACTS.insert().values(name=name, number=0, data=data))
            self._note(connection, act, ("create", self.anchor.name, self.anchor.fingerprint.hex()))

    def _note(self, connection: Connection, act: Act, what: tuple[str, str, str]) -> None:
        head = audit.append(connection, self._keys().key, act.now, (act.actor, *what))
        connection.execute(update(FACTS).where(FACTS.c.name == VERSION).values(number=head.number))

    def _issue(self, name: str, epoch_limit: int, act: Act, entropy: Entropy, replaces: str = "") -> Token:
        if not name or name != name.strip() or not name.isprintable():
            raise UsageError("a gateway's name is printable text without blanks around it")
        token = Token.issue(self.anchor, epoch_limit, entropy)
        with self._change() as connection:
            if not replaces and name_taken(connection, name):
                raise UsageError(
                    f"the name {name} is taken; revoke that device, withdraw its token, or choose another name"
                )
            connection.execute(
                TOKENS.insert().values(
                    token_id=token.token_id.hex(),
                    secret_hash=token.secret_hash.hex(),
                    name=name,
                    epoch_limit=epoch_limit,
                    state=TokenState.ISSUED.value,
                    replaces=replaces,
                )
            )
            self._note(connection, act, ("token", token.token_id.hex(), f"{name} until epoch {epoch_limit}"))
        return token

    def _credential(self, connection: Connection, name: str, request: enrolment.Request, epoch: int) -> Credential:
        if connection.execute(select(DEVICES).where(DEVICES.c.device_id == self._id(request).hex())).first():
            raise AuthError(enrolment.REFUSED)  # a key enrols once, also after it was revoked
        serial = (connection.execute(select(func.max(DEVICES.c.serial))).scalar() or 0) + 1
        suite, federation = self.anchor.suite, self.anchor.federation
        try:
            return Credential(federation, serial, name, suite, request.public, request.member, epoch, objects.FOREVER)
        except ValueError as error:
            raise AuthError(enrolment.REFUSED) from error

    def _id(self, request: enrolment.Request) -> bytes:
        return device_id(self.anchor.federation, request.public)

    def _add_device(self, connection: Connection, granted: Credential, psk: bytes, broker: str) -> None:
        row = {"device_id": granted.device_id.hex(), "serial": granted.serial, "name": granted.name, "psk": psk}
        row |= {"public": granted.public, "member": granted.member, "broker": broker, "state": State.ACTIVE.value}
        connection.execute(DEVICES.insert().values(row | {"epoch_to": granted.epoch_to}))

    def _set(self, connection: Connection, row: Row[Any], standing: Standing, act: Act, reason: str) -> None:
        values = {"state": standing.state, "good": standing.good, "bad": standing.bad}
        connection.execute(update(DEVICES).where(DEVICES.c.device_id == row.device_id).values(values))
        if standing.name in (State.QUARANTINED, State.REVOKED):
            where = FACTS.c.name == REVOCATIONS
            connection.execute(update(FACTS).where(where).values(number=FACTS.c.number + 1))
        self._note(
            connection, act, ("state", row.device_id, f"{standing.state} was {row.state}; {reason}".rstrip("; "))
        )

    def _descriptor_now(self) -> Descriptor | None:
        with self._engine.begin() as connection:
            return self._descriptor(fact(connection, DESCRIPTOR))

    def _descriptor(self, stored: Row[Any] | None) -> Descriptor | None:
        if stored is None or not stored.data:
            return None
        return objects.verify(self.anchor.issued_by().verifier, bytes(stored.data), Descriptor)

    def _keys(self) -> Issuing:
        if self._issuing is None:
            raise UsageError("this needs the registrar's keys; run it where they are")
        return self._issuing
