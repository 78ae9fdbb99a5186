"""`wardround keys` and `wardround enrol`: who gets which key, in the lab all at once, in a hospital each on its own machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from wardround.auth.choice import NoAuth
from wardround.auth.suites import Suite
from wardround.drivers.nats import leaf
from wardround.drivers.nats.brokerconfig import accounts
from wardround.drivers.nats.deployment import Federation, load, read, roster
from wardround.drivers.nats.enrolling import Lab, Place, answer, server_key
from wardround.drivers.nats.keys import KeyFolder, make, public_keys
from wardround.drivers.parties.names import COORDINATOR, SEAT, peers, seats, signs
from wardround.drivers.store.export import ANCHOR, read_anchor
from wardround.drivers.store.registrar import Registrar
from wardround.errors import UsageError, nearest
from wardround.secagg.parameters import Lattice

REGISTRAR = "registrar"


@dataclass(frozen=True)
class Asked:
    """The command line of `wardround keys`."""

    file: Path
    data: Path | None = None
    coordinator: bool = False
    broker_config: bool = False
    leaf: tuple[str, ...] = ()
    through: str = ""
    leaf_users: bool = False
    passphrase: str = field(default="", repr=False)


@dataclass(frozen=True)
class Enrol:
    """The command line of `wardround enrol`: a ``token`` begins, an ``answer`` ends; ``registrar``: both at once, here."""

    file: Path
    name: str
    data: Path | None = None
    token: str = field(default="", repr=False)
    answer: str = ""
    committee: bool = False
    registrar: Path | None = None
    passphrase: str = field(default="", repr=False)


def keys(asked: Asked) -> Iterator[str]:
    """Do it; lines to print.

    Raises:
        UsageError: a name or key is wrong, or a key is there already.
    """
    federation = read(asked.file)
    folder = KeyFolder(asked.file.parent / federation.broker.keys)
    if asked.coordinator:
        hosts = _hosts(federation)
        made = [*make(folder, (), hosts), *server_key(folder, _suite(federation), asked.passphrase)]
        yield from (f"made {path}" for path in made)
        return
    if asked.leaf_users:
        yield leaf.users(folder)
        return
    names = _names(federation, asked.data)
    if asked.leaf:
        owners = peers(federation, names)
        wanted = [owners[name] for name in _at_leaf(asked.leaf, owners)]
        yield leaf.configuration(folder, public_keys(folder, owners), wanted, asked.through.split(","))
    elif asked.broker_config:
        owners = peers(federation, names)
        yield accounts(_complete(folder, owners), list(owners.values()))
    else:
        yield from _all(asked.file, folder, federation, names)


def _at_leaf(names: Sequence[str], owners: Mapping[str, str]) -> list[str]:
    """The gateways ``names`` and the committee's seats that sit with them."""
    for name in names:
        if name not in owners:
            raise UsageError(f"no gateway is named {name!r}{nearest(name, owners)}; there are {', '.join(owners)}")
    return [peer for peer in owners if peer in names or peer.removesuffix(SEAT) in names]


def enrol(asked: Enrol) -> Iterator[str]:
    """One step of an enrolment; lines to print: the request as one word, or what was written.

    Raises:
        UsageError: the name, the token or the answer is wrong, or a step is out of turn.
    """
    federation = read(asked.file)
    owners = enrolled_owners(federation, _names(federation, asked.data))
    folder = KeyFolder(asked.file.parent / federation.broker.keys)
    if asked.name not in owners:
        raise UsageError(
            f"no gateway is named {asked.name!r}{nearest(asked.name, owners)}; there are {', '.join(owners)}"
        )
    site = Place(folder, asked.name, owners[asked.name], asked.passphrase)
    serves = asked.committee or isinstance(federation.secagg, Lattice) or signs(federation)  # they sign, too
    if read_anchor(folder.path / ANCHOR).suite != _suite(federation).number:
        raise UsageError(
            f"{asked.file}: [auth] use = {federation.auth.name!r} is not the suite of this federation's anchor"
        )
    if asked.answer:
        gateway = site.take(asked.answer)
        yield f"{asked.name} is enrolled (serial {gateway.credential.serial}): {site.identity_file}"
    elif asked.registrar is not None:
        yield from _at_once(asked, site, serves)
    elif asked.token:
        yield site.ask(asked.token, serves)
    else:
        yield site.again()


def answered(registrar: Path, request: str, passphrase: str = "") -> Iterator[str]:
    """The registrar's answer to a gateway's request, as one word; standing exports are written anew.

    Raises:
        UsageError: it is not a request, or no registrar is there. AuthError: the token is not good (any more).
    """
    office = Registrar(registrar)
    with closing(office.open(passphrase)) as registry:
        yield answer(registry, request)
        office.export(registry)


def enrolled_owners(federation: Federation, names: Sequence[str]) -> dict[str, str]:
    """Owner (as in file names) by name, of everybody that enrols: gateways; under a secure sum also its committee and the
    coordinator, who sign.
    """
    found = peers(federation, names)
    return found | ({COORDINATOR: COORDINATOR} if seats(federation, names) else {})


def _at_once(asked: Enrol, site: Place, serves: bool) -> Iterator[str]:
    registrar = Registrar(asked.registrar or Path())
    with closing(registrar.open(asked.passphrase)) as registry:
        gateway = site.take(answer(registry, site.ask(asked.token, serves)))
        registrar.export(registry)
    yield f"{asked.name} is enrolled (serial {gateway.credential.serial}): {site.identity_file}"


def _all(file: Path, folder: KeyFolder, federation: Federation, names: Sequence[str]) -> Iterator[str]:
    seated = [seat.token for seat in seats(federation, names)]
    for path in make(folder, names, _hosts(federation), seated):
        yield f"made {path}"
    lab = Lab(Registrar(file.parent / REGISTRAR), folder, federation.name, _suite(federation))
    for path in lab.enrol_all(list(enrolled_owners(federation, names).items())):
        yield f"made {path}"
    for name, owner in peers(federation, names).items():
        yield f"{owner}  {name}"


def _names(federation: Federation, data: Path | None) -> tuple[str, ...]:
    return roster(federation, None if federation.broker.gateways else load(federation, data))


def _hosts(federation: Federation) -> list[str]:
    return list(dict.fromkeys([federation.broker.host, "localhost", "127.0.0.1"]))


def _suite(federation: Federation) -> Suite:
    if isinstance(federation.auth, NoAuth):
        raise UsageError('[auth] use = "none" is for simulations: a deployed federation authenticates')
    return federation.auth.suite


def _complete(folder: KeyFolder, owners: Mapping[str, str]) -> dict[str, str]:
    public = public_keys(folder, owners)
    missing = [name for name, owner in owners.items() if owner not in public]
    if missing or COORDINATOR not in public:
        raise UsageError(
            f"no public key of {', '.join(missing) or COORDINATOR} yet: gateways bring theirs when they enrol, "
            f"the coordinator's comes from wardround keys FEDERATION.toml --coordinator",
        )
    return public
