"""`wardround keys`: who gets which key, in the lab all at once, in a hospital one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wardround.config import nearest
from wardround.drivers.nats.brokerconfig import accounts
from wardround.drivers.nats.deployment import Federation, load, read, roster, token
from wardround.drivers.nats.keys import COORDINATOR, KeyFolder, accept, make, make_own
from wardround.errors import UsageError


@dataclass(frozen=True)
class Asked:
    """The command line of `wardround keys`."""

    file: Path
    data: Path | None = None
    gateway: str = ""
    accept: tuple[str, ...] = ()
    broker_config: bool = False


def keys(asked: Asked) -> Iterator[str]:
    """Do it; lines to print.

    Raises:
        UsageError: a name or key is wrong, or a key is there already.
    """
    federation = read(asked.file)
    folder = KeyFolder(asked.file.parent / federation.broker.keys)
    names = roster(federation, None if federation.broker.gateways else load(federation, asked.data))
    if asked.gateway:
        yield f"{asked.gateway}={make_own(folder, token(_place(names, asked.gateway)))}"
    elif asked.accept:
        for each in asked.accept:
            name, _, public = each.partition("=")
            accept(folder, token(_place(names, name)), public)
            yield f"{name} is in the roster"
    elif asked.broker_config:
        yield accounts(_complete(folder, names), [token(i) for i in range(len(names))])
    else:
        yield from _all(folder, federation, names)


def _all(folder: KeyFolder, federation: Federation, names: Sequence[str]) -> Iterator[str]:
    hosts = dict.fromkeys([federation.broker.host, "localhost", "127.0.0.1"])
    for path in make(folder, names, list(hosts)):
        yield f"made {path}"
    for index, name in enumerate(names):
        yield f"{token(index)}  {name}"


def _complete(folder: KeyFolder, names: Sequence[str]) -> dict[str, str]:
    public = folder.roster()
    missing = [name for i, name in enumerate(names) if token(i) not in public]
    if missing or COORDINATOR not in public:
        raise UsageError(
            f"no public key of {', '.join(missing) or COORDINATOR} yet: wardround keys FILE --accept NAME=KEY"
        )
    return public


def _place(names: Sequence[str], name: str) -> int:
    if name not in names:
        raise UsageError(f"no gateway is named {name!r}{nearest(name, names)}; there are {', '.join(names)}")
    return names.index(name)
