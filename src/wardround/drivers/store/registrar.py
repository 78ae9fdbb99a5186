"""The registrar's folder: its keys, where its registry is, and the federation's anchor. It belongs on a machine of its own.

    FOLDER/root.key         ML-DSA-87: signs the issuing key once; take it off this machine after `wardround init`
    FOLDER/issuer.key       Ed25519 + ML-DSA-65: signs credentials, server keys, exports and the audit log
    FOLDER/enrolment.key    X-Wing: opens enrolment requests
    FOLDER/federation.anchor   public: what gateways and coordinator are given
    FOLDER/registrar.json   where the registry is, and where exports go
    FOLDER/registry.db      the registry, unless it is elsewhere (PostgreSQL by URL)

All key files have mode 0600 and may be under a passphrase. What it does not do: administer (registry.py).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wardround.auth.credential import FOREVER, Anchor, Issuer, sign
from wardround.auth.enrolment import Issuing
from wardround.auth.suites import Suite
from wardround.crypto.kem import X_WING, Entropy
from wardround.crypto.sign import COMPOSITE, ML_DSA_87
from wardround.drivers.store.export import ANCHOR, SIGNERS, RosterExport, read_anchor
from wardround.drivers.store.keys import read_secret, write_private, write_secret
from wardround.drivers.store.registry import Registry
from wardround.drivers.store.registry_rows import Act
from wardround.drivers.store.registry_tables import connect
from wardround.drivers.store.rundir import to_json, write_atomic
from wardround.errors import UsageError
from wardround.wire import encode

ROOT, ISSUER, ENROLMENT = "root.key", "issuer.key", "enrolment.key"
FEDERATION_BYTES = 16


@dataclass(frozen=True)
class Wish:
    """What `wardround init` is told: the federation's name and suite, the registry's URL (empty: SQLite in the folder)."""

    name: str
    suite: Suite
    registry: str = field(default="", repr=False)
    exports: tuple[str, ...] = ()


def act() -> Act:
    """Who acts now: the operating system's user, for the audit log."""
    return Act(os.environ.get("SUDO_USER") or os.environ.get("USER") or f"uid {os.getuid()}", time.time())


@dataclass(frozen=True)
class Registrar:
    """The registrar whose folder is ``path``."""

    path: Path

    @property
    def anchor_file(self) -> Path:
        return self.path / ANCHOR

    def create(self, wish: Wish, passphrase: str, entropy: Entropy = os.urandom) -> Registry:
        """Make the keys and an empty registry.

        Raises:
            UsageError: the folder holds a registrar, or cannot be written; the database cannot be opened.
        """
        if (self.path / ISSUER).exists() or self.anchor_file.exists():
            raise UsageError(f"{self.path} holds a registrar already; name another folder")
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be made: {error.strerror}") from error
        url = wish.registry or f"sqlite:///{self.path.resolve() / 'registry.db'}"
        connect(url, create=True).dispose()  # a wrong URL shows before there are keys
        seeds = {ROOT: entropy(32), ISSUER: entropy(32), ENROLMENT: entropy(X_WING.seed_bytes)}
        root, key = ML_DSA_87.key(seeds[ROOT]), COMPOSITE.key(seeds[ISSUER])
        federation = entropy(FEDERATION_BYTES)
        issuer = Issuer(federation, key.verifier.data, X_WING.key(seeds[ENROLMENT]).public, 0, FOREVER)
        anchor = Anchor(federation, wish.name, wish.suite.number, root.verifier.data, sign(root, issuer))
        for file, seed in seeds.items():
            write_secret(self.path / file, _purpose(file), seed, passphrase)
        settings = {"registry": wish.registry, "exports": list(wish.exports)}
        write_private(self.path / "registrar.json", to_json(settings))  # a URL may hold a password
        registry = Registry.create(url, Issuing(anchor, key, seeds[ENROLMENT]), act())
        write_atomic(self.anchor_file, encode(anchor))
        return registry

    def open(self, passphrase: str = "", *, keys: bool = True) -> Registry:
        """The registry; without ``keys`` for reading only.

        Raises:
            UsageError: no registrar is here, a key file or its passphrase is wrong, or the database cannot be opened.
        """
        if not self.anchor_file.exists():
            raise UsageError(
                f"{self.path} holds no registrar: make one with wardround init, or name it with --registrar"
            )
        url = str(self._settings()["registry"]) or f"sqlite:///{self.path.resolve() / 'registry.db'}"
        if not keys:
            return Registry.open(url)
        anchor = read_anchor(self.anchor_file)
        key = COMPOSITE.key(read_secret(self.path / ISSUER, _purpose(ISSUER), passphrase))
        return Registry.open(
            url, Issuing(anchor, key, read_secret(self.path / ENROLMENT, _purpose(ENROLMENT), passphrase))
        )

    @property
    def exports(self) -> Sequence[Path]:
        """Files that a change of the registry is exported to at once."""
        listed = self._settings()["exports"]
        return [self.path / str(each) for each in listed] if isinstance(listed, list) else []

    def export(self, registry: Registry, to: Path | None = None) -> list[Path]:
        """Write the signed roster to ``to`` or to all standing exports.

        Raises:
            UsageError: a file cannot be written.
        """
        files = [to] if to is not None else list(self.exports)
        data = encode(RosterExport(registry.export(), registry.descriptor())) if files else b""
        for file in files:
            write_private(file, data)
            write_atomic(file.with_name(SIGNERS), registry.signers())
        return files

    def _settings(self) -> dict[str, object]:
        try:
            found: dict[str, object] = json.loads((self.path / "registrar.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.path / 'registrar.json'} cannot be read: {error}") from error
        if not isinstance(found.get("registry"), str) or not isinstance(found.get("exports"), list):
            raise UsageError(f"{self.path / 'registrar.json'} lacks registry or exports")
        return found


def _purpose(file: str) -> str:
    return f"registrar's {file.removesuffix('.key')} key"
