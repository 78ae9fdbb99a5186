"""Who signs what in the secure sum: an ML-DSA-65 key per gateway, committee member and for the coordinator.

    KEYS/TOKEN.id, coordinator.id   identities from enrolment ; each holds its owner's signing key
    KEYS/signers.roster             everybody's verification keys, signed by the registrar; public

The digest of the roster is bound into every round, so whoever holds another one sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wardround.auth.signers import open_signers
from wardround.drivers.parties.identities import enrolled
from wardround.drivers.parties.names import COORDINATOR, Seat
from wardround.drivers.store.export import ANCHOR, SIGNERS, read_anchor
from wardround.errors import RemoteProtocolError, UsageError
from wardround.secagg.keys import Signer
from wardround.secagg.messages import Roster, RosterEntry


def signer(folder: Path, name: str, owner: str, passphrase: str = "") -> Signer:
    """The signing key of ``name``, which is called ``owner`` in file names.

    Raises:
        UsageError: it is not enrolled here, or enrolled without a signing key.
    """
    key = enrolled(folder, name, owner, passphrase).member
    if key is None:
        raise UsageError(f"{name} enrolled without a signing key: enrol it again with --committee")
    return Signer(key.seed)


def roster(folder: Path, gateways: Sequence[str], seats: Sequence[Seat]) -> Roster:
    """Everybody's verification keys.

    Raises:
        UsageError: the registrar's list is missing, not the registrar's, or lacks a key.
    """
    file = folder / SIGNERS
    public = _load(file, folder)

    def key(name: str) -> bytes:
        if name not in public:
            raise UsageError(
                f"{file} holds no signing key of {name}: is it enrolled, and is this the registrar's newest {SIGNERS}?"
            )
        return public[name]

    return Roster(
        tuple(RosterEntry(name, key(name)) for name in gateways),
        tuple(key(seat.peer) for seat in seats),
        key(COORDINATOR),
    )


def _load(file: Path, folder: Path) -> dict[str, bytes]:
    try:
        return open_signers(read_anchor(folder / ANCHOR), file.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}; the registrar writes it beside its export: copy it here"
        ) from error
    except RemoteProtocolError as error:
        raise UsageError(f"{file} is not this federation's list of signers: {error}") from error
