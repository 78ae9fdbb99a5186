"""A key folder read: who is enrolled here, what the coordinator holds.

    KEYS/federation.anchor   public, from the registrar        KEYS/TOKEN.id         identity (store/member_keys.py), 0600
    KEYS/server.key          the coordinator's KEM key, 0600   KEYS/roster.export    the registrar's signed export

What it does not do: make keys (`wardround keys`, `wardround enrol`).
"""

from __future__ import annotations

import os
from pathlib import Path

from wardround.auth.device_end import DeviceEnd
from wardround.drivers.parties.secured import Papers
from wardround.drivers.store.export import ANCHOR, EXPORT, read_anchor
from wardround.drivers.store.member_keys import Gateway, read_identity, read_server_key
from wardround.errors import UsageError

SERVER_KEY = "server.key"


def passphrase() -> str:
    """What opens this process's key files: WARDROUND_PASSPHRASE, or nothing."""
    return os.environ.get("WARDROUND_PASSPHRASE", "")


def enrolled(keys: Path, name: str, owner: str, word: str = "") -> Gateway:
    """What enrolment left here for ``name``, which is called ``owner`` in file names; ``word``: the passphrase.

    Raises:
        UsageError: it is not enrolled here.
    """
    file = keys / f"{owner}.id"
    if not file.exists():
        raise UsageError(
            f"{name} is not enrolled here ({file} is missing): wardround enrol FEDERATION.toml --as NAME --token TOKEN"
        )
    return read_identity(file, read_anchor(keys / ANCHOR), word)


def device(keys: Path, name: str, owner: str, signed: bool, word: str = "") -> DeviceEnd:
    """The device end of ``name``; ``signed``: it signs its answers.

    Raises:
        UsageError: it is not enrolled here, or enrolled without a signing key.
    """
    gateway = enrolled(keys, name, owner, word)
    end = gateway.end()
    if signed:
        if gateway.member is None:
            raise UsageError(f"[auth] signed_update: {name} enrolled without a signing key; enrol it with --committee")
        end.signer = gateway.member
    return end


def papers(keys: Path, word: str = "") -> Papers:
    """What the coordinator brings to layer 1.

    Raises:
        UsageError: the anchor or the coordinator's key is missing or damaged.
    """
    anchor = read_anchor(keys / ANCHOR)
    return Papers(anchor, read_server_key(keys / SERVER_KEY, anchor, word), keys / EXPORT)
