"""The audit log: every change of the registry is one entry, hashed into a chain and signed by the issuing key.

    hash_n = H(AUDIT_HASH || hash_{n-1} || entry_n)        signature_n = composite over hash_n

Law: ``verify`` returns the head of an untouched log, and for any entry that was changed, inserted, removed or reordered it
raises and names the first entry that does not hold. A log cut off at its end verifies as far as it goes: compare the head
with one noted elsewhere (``expected``).

What it does not do: keep an administrator who holds the issuing key from writing a false entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, select

from wardround.crypto import kdf, labels
from wardround.crypto.sign import SigningKey, Verifier
from wardround.drivers.store.registry_tables import AUDIT
from wardround.errors import AuthError, DataError
from wardround.wire import encode, message

GENESIS = bytes(32)


@message(0x3910)
@dataclass(frozen=True)
class Entry:
    """One change. ``at`` is seconds since 1970, by the registrar's clock; ``detail`` is text for people and for replay."""

    number: int
    at: float
    actor: str
    action: str
    subject: str
    detail: str


@dataclass(frozen=True)
class Head:
    """How long the log is, and its last hash: note it somewhere else, and a later cut is seen."""

    number: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.number}:{self.hash.hex()}"


def append(connection: Connection, key: SigningKey, at: float, what: tuple[str, str, str, str]) -> Head:
    """Add the entry (actor, action, subject, detail) inside the transaction of the change itself."""
    last = head(connection)
    actor, action, subject, detail = what
    entry = Entry(last.number + 1, at, actor, action, subject, detail)
    link = _link(last.hash, entry)
    row = {**entry.__dict__, "hash": link, "signature": key.sign(labels.SIGN_AUDIT, link)}
    connection.execute(AUDIT.insert().values(row))
    return Head(entry.number, link)


def head(connection: Connection) -> Head:
    """The last entry's number and hash; number 0 for an empty log."""
    row = connection.execute(select(AUDIT.c.number, AUDIT.c.hash).order_by(AUDIT.c.number.desc()).limit(1)).first()
    return Head(row.number, row.hash) if row else Head(0, GENESIS)


def entries(connection: Connection) -> Iterator[Entry]:
    """All entries, oldest first; not verified."""
    for row in connection.execute(select(AUDIT).order_by(AUDIT.c.number)):
        yield Entry(row.number, row.at, row.actor, row.action, row.subject, row.detail)


def verify(connection: Connection, verifier: Verifier, expected: Head | None = None) -> Head:
    """Check every hash and signature.

    Raises:
        DataError: the log is broken; the text names the entry.
    """
    last = Head(0, GENESIS)
    for row in connection.execute(select(AUDIT).order_by(AUDIT.c.number)):
        if row.number != last.number + 1:
            raise DataError(f"the audit log is broken: entry {last.number + 1} is missing")
        entry = Entry(row.number, row.at, row.actor, row.action, row.subject, row.detail)
        if not kdf.equal(_link(last.hash, entry), row.hash):
            raise DataError(f"the audit log is broken at entry {row.number} ({row.action} {row.subject}): hash")
        try:
            verifier.verify(labels.SIGN_AUDIT, row.hash, row.signature)
        except AuthError as error:
            text = f"the audit log is broken at entry {row.number} ({row.action} {row.subject}): signature"
            raise DataError(text) from error
        last = Head(row.number, row.hash)
        if expected is not None and expected.number == last.number and expected.hash != last.hash:
            raise DataError(f"the audit log was rewritten: entry {last.number} is not the one noted")
    if expected is not None and last.number < expected.number:
        raise DataError(f"the audit log was cut: it ends at entry {last.number}, {expected.number} were noted")
    return last


def _link(previous: bytes, entry: Entry) -> bytes:
    return kdf.digest("sha256", labels.AUDIT_HASH, previous, encode(entry))
