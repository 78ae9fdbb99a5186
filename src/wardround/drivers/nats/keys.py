"""Who is who towards the broker: a certificate authority for TLS, and one nkey (Ed25519) per gateway and for the coordinator.

    KEYS/ca.pem broker.pem broker.key     TLS: gateways check the broker's name against ca.pem
    KEYS/coordinator.nk g00000.nk ...     seeds, mode 0600: each stays with its owner (a gateway's kit is ca.pem and its own seed)
    KEYS/roster.json                      public keys: what the broker's configuration is made of

These keys admit to the broker and keep gateways apart there. They do not protect a gateway from the broker's operator:
end-to-end sessions and credentials are layer 2's (auth/).
"""

from __future__ import annotations

import ipaddress
import json
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from wardround.drivers.parties.names import COORDINATOR, token
from wardround.drivers.store.export import ANCHOR, EXPORT, read_anchor, read_export
from wardround.drivers.store.rundir import to_json, write_atomic
from wardround.errors import UsageError

if TYPE_CHECKING:
    from cryptography import x509

AUTHORITY_DAYS = 3650
BROKER_DAYS = 825  # what TLS clients accept at most


@dataclass(frozen=True)
class KeyFolder:
    """The files of ``path``."""

    path: Path

    @property
    def authority(self) -> Path:
        return self.path / "ca.pem"

    @property
    def certificate(self) -> Path:
        return self.path / "broker.pem"

    @property
    def private(self) -> Path:
        return self.path / "broker.key"

    def seed_file(self, owner: str) -> Path:
        """``owner``: COORDINATOR or a gateway's token."""
        return self.path / f"{owner}.nk"

    def seed(self, owner: str) -> str:
        """An owner's secret seed.

        Raises:
            UsageError: the file is missing, or others may read it.
        """
        return read_secret(self.seed_file(owner))

    def roster(self) -> dict[str, str]:
        """Public keys by owner.

        Raises:
            UsageError: there is no readable roster.
        """
        try:
            found: dict[str, str] = json.loads((self.path / "roster.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self.path / 'roster.json'} cannot be read: {error}; run: wardround keys FEDERATION.toml"
            ) from error
        return found

    def client_tls(self) -> ssl.SSLContext:
        """TLS 1.3 towards the broker, trusting this federation's authority and nobody else.

        Raises:
            UsageError: ca.pem is missing or not a certificate.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(self.authority)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"{self.authority} cannot be used: {error}; copy ca.pem from the coordinator") from error
        return context


def read_secret(file: Path) -> str:
    """The text of a secret file.

    Raises:
        UsageError: the file is missing, or others may read it.
    """
    try:
        mode = file.stat().st_mode & 0o077
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the key {file} cannot be read: {error}; make it with: wardround keys FEDERATION.toml"
        ) from error
    if mode:
        raise UsageError(f"the key {file} can be read by others: chmod 600 {file}")
    return text


def make(folder: KeyFolder, gateways: Sequence[str], hosts: Sequence[str], members: Sequence[str] = ()) -> list[Path]:
    """Make what is missing for these gateways, committee ``members`` (tokens) and a broker on ``hosts``; returns the files made.
    Nothing is replaced.
    """
    folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = [] if folder.certificate.exists() else _certificates(folder, hosts)
    roster = folder.roster() if (folder.path / "roster.json").exists() else {}
    for owner in (COORDINATOR, *(token(i) for i in range(len(gateways))), *members):
        if owner not in roster:
            seed, roster[owner] = new_key()
            write_secret(folder.seed_file(owner), seed.encode())
            made.append(folder.seed_file(owner))
    write_atomic(folder.path / "roster.json", to_json(roster))
    return made


def public_keys(folder: KeyFolder, owners: Mapping[str, str]) -> dict[str, str]:
    """Public keys towards the broker by owner: those made here, and those that came with enrolments (``owners`` by name).

    Raises:
        UsageError: the registrar's export cannot be read.
    """
    known = folder.roster() if (folder.path / "roster.json").exists() else {}
    if (folder.path / EXPORT).exists():
        packed, _, _ = read_export(folder.path / EXPORT, read_anchor(folder.path / ANCHOR))
        known |= {
            owners[e.name]: e.broker for e in packed.entries if e.broker and e.name in owners and e.state != "revoked"
        }
    return known


def new_key() -> tuple[str, str]:
    """(seed, public key) of a new nkey."""
    import nkeys  # type: ignore[import-untyped]

    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    return seed.decode(), nkeys.from_seed(bytearray(seed)).public_key.decode()


def public_of(seed: str) -> str:
    """The public key of a seed."""
    import nkeys

    return str(nkeys.from_seed(bytearray(seed.encode())).public_key.decode())


def keep_seed(folder: KeyFolder, owner: str, seed: str) -> None:
    """Write an owner's seed where there is none."""
    if not folder.seed_file(owner).exists():
        write_secret(folder.seed_file(owner), seed.encode())


def write_secret(path: Path, data: bytes) -> None:
    """A new file of mode 0600, on the disk when this returns."""
    handle = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600
    )  # never readable by others, not even for a moment
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)


def _certificates(folder: KeyFolder, hosts: Sequence[str]) -> list[Path]:
    """A new authority, whose key is thrown away, and the one certificate it signs: the broker's."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def begun(subject: str, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(named("wardround authority"), named(subject), key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        return builder.not_valid_after(now + timedelta(days=days))

    now = datetime.now(UTC)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = (
        begun("wardround authority", authority_key, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    broker = (
        begun("wardround broker", key, BROKER_DAYS)
        .add_extension(x509.SubjectAlternativeName([_name(host) for host in hosts]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    write_secret(
        folder.private, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    write_atomic(folder.authority, authority.public_bytes(pem))
    write_atomic(folder.certificate, broker.public_bytes(pem))
    return [folder.authority, folder.certificate, folder.private]


def _name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
