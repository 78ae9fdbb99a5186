"""A hospital's own broker as a *leaf node*: gateways connect to it, and it keeps one connection per gateway's account outward.

At the cluster a gateway's account stays what it is (brokerconfig.py: seven names). At the leaf the account of the same name holds
the gateway's key and nothing else; the leaf joins the two with a secret that admits to that one account. So two gateways
of one hospital are as far apart as ever, and the leaf's operator can reach no account but its own gateways'.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from wardround.drivers.nats.keys import KeyFolder, read_secret, write_secret
from wardround.errors import UsageError

SECRET_BYTES = 24
PORT = 7422


def secret(folder: KeyFolder, owner: str) -> str:
    """The secret with which a leaf joins ``owner``'s account; made where there is none.

    Raises:
        UsageError: it cannot be read.
    """
    path = folder.path / f"{owner}.leaf"
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(SECRET_BYTES).encode())
    return read_secret(path)


def users(folder: KeyFolder) -> str:
    """What goes into ``leafnodes { authorization { ... } }`` of the cluster's brokers: a user per account that has a secret.

    Raises:
        UsageError: no leaf was made yet.
    """
    owners = sorted(path.stem for path in folder.path.glob("*.leaf"))
    if not owners:
        raise UsageError(
            "there is no leaf yet: make one with: wardround keys FILE --leaf NAME --through tls://HOST:7422"
        )
    each = [f'  {{user: "{o}", password: "{secret(folder, o)}", account: GATEWAY_{o}}}' for o in owners]
    return "users: [\n" + "\n".join(each) + "\n]\n"


def configuration(folder: KeyFolder, public: Mapping[str, str], owners: Sequence[str], through: Sequence[str]) -> str:
    """The leaf's ``accounts`` and ``leafnodes`` for ``owners``, whose ``public`` keys are known, towards the cluster ``through``.

    Raises:
        UsageError: an address is no tls:// address, or a key is missing.
    """
    missing = [owner for owner in owners if owner not in public]
    if missing:
        raise UsageError(f"no public key of {', '.join(missing)} yet: enrol them first")
    gates = "\n".join(f"  GATEWAY_{o} {{ users: [{{nkey: {public[o]}}}] }}" for o in owners)
    remotes = "\n".join(_remote(folder, owner, through) for owner in owners)
    return f"""accounts {{
{gates}
}}
leafnodes {{
  remotes: [
{remotes}
  ]
}}
"""


def _remote(folder: KeyFolder, owner: str, through: Sequence[str]) -> str:
    urls = [_admitted(url, owner, secret(folder, owner)) for url in through]
    return f"""    {{ urls: {json.dumps(urls)}
      account: GATEWAY_{owner}
      tls {{ ca_file: {json.dumps(str(folder.authority.resolve()))} }} }}"""


def _admitted(url: str, owner: str, word: str) -> str:
    parts = urlsplit(url.strip())
    if parts.scheme != "tls" or not parts.hostname:
        raise UsageError(f"{url!r} should be tls://HOST:PORT, where a broker of the cluster takes leaf nodes")
    return f"tls://{owner}:{word}@{parts.hostname}:{parts.port or PORT}"
