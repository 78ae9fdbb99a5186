"""Who signs for a secure sum: the registrar's public list of verification keys.

The roster of the aggregation server (roster.py) holds pre-shared keys and is secret; gateways and committee members need only to
know whose ML-DSA-65 key is whose. The registrar, which is not the server, signs that list; everybody holds the same one, for
its digest is bound into every round of the secure sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wardround.auth.credential import Anchor, of_federation, open_signed
from wardround.auth.roster import EntryBytes
from wardround.auth.trust import State
from wardround.crypto import labels
from wardround.wire import message


@message(0x520B)
@dataclass(frozen=True)
class SignerKey:
    """An enrolled name and its ML-DSA-65 verification key."""

    name: str
    key: bytes


@message(0x520C)
@dataclass(frozen=True)
class Signers:
    """All of them, in ascending order of names, each once."""

    federation: bytes
    version: int
    keys: tuple[SignerKey, ...]

    def __post_init__(self) -> None:
        names = [one.name for one in self.keys]
        if names != sorted(set(names)):
            raise ValueError("names must stand in ascending order, each once")


def listed(federation: bytes, version: int, entries: Iterable[EntryBytes]) -> Signers:
    """The list of a registry's ``entries``. A name that enrolled again counts with the key that was not revoked; one that is
    revoked altogether stays on the list (it may not authenticate, and rounds that name it stay what they were).
    """
    found: dict[str, bytes] = {}
    for entry in sorted(entries, key=lambda entry: entry.state != State.REVOKED.value):
        if entry.member:
            found[entry.name] = entry.member
    return Signers(federation, version, tuple(SignerKey(name, found[name]) for name in sorted(found)))


def open_signers(anchor: Anchor, data: bytes) -> dict[str, bytes]:
    """Verification key by name.

    Raises:
        AuthError: not signed by this federation's registrar.
        DecodeError: damaged bytes.
    """
    opened = open_signed(anchor.issued_by().verifier, labels.SIGN_SIGNERS, data, Signers)
    return {one.name: one.key for one in of_federation(opened, anchor.federation).keys}
