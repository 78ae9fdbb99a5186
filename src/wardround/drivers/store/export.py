"""What the registrar gives out, as the others read it: anchor, export, list of signers. Without the registry's database.

federation.anchor   public    roster.export   for the coordinator, secret (0600)    signers.roster   public
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wardround.auth.credential import Anchor, Descriptor, of_federation, open_roster, verify
from wardround.auth.roster import RosterBytes
from wardround.drivers.store.keys import read_private
from wardround.errors import DecodeError, RemoteProtocolError, UsageError
from wardround.wire import decode, message

ANCHOR = "federation.anchor"
EXPORT = "roster.export"
SIGNERS = "signers.roster"


@message(0x4723)
@dataclass(frozen=True)
class RosterExport:
    """What the registrar gives the coordinator: the signed roster (secret: it holds the psks) and the signed server key."""

    roster: bytes = field(repr=False)
    descriptor: bytes


def read_anchor(path: Path) -> Anchor:
    """A federation's anchor file; the root's signature in it is checked.

    Raises:
        UsageError: it is missing or damaged.
    """
    try:
        anchor = decode(path.read_bytes(), Anchor)
    except (OSError, DecodeError) as error:
        raise UsageError(f"{path} is not a federation's anchor ({error}); the registrar gives it out") from error
    anchor.issued_by()
    return anchor


def read_export(path: Path, anchor: Anchor) -> tuple[RosterBytes, Descriptor, bytes]:
    """(roster, server key, the server key as signed) of an export; both signatures are checked.

    Raises:
        UsageError: it is missing, others may read it, it is damaged, another federation's, or no server key is published.
    """
    try:
        packed = decode(read_private(path), RosterExport)
        if not packed.descriptor:
            raise UsageError(f"{path} names no server key: wardround registry publish KEY, then export again")
        found = of_federation(verify(anchor.issued_by().verifier, packed.descriptor, Descriptor), anchor.federation)
        return open_roster(anchor, packed.roster), found, packed.descriptor
    except RemoteProtocolError as error:
        raise UsageError(f"{path} is not an export of this federation's registrar: {error}") from error
